//! `migctl access`: who may open the slices, and the break-glass.
//!
//! Must never leave an administrator without a way back to the driver's own permissions: that one
//! works without a daemon.

use std::process::ExitCode;

use api::{AccessView, NodeAccessView, StockRequest};
use clap::{Args, Subcommand};

use crate::draw::table::{Side, Table};
use crate::draw::text::clean;
use crate::session::wish::gpu_text;
use crate::{Context, Exit, Failure, connect};

/// Options of `access`.
#[derive(Debug, Args)]
#[command(
    about = "Show and set who may open the slices",
    long_about = "Every slice has two nodes in /dev/nvidia-caps. As the driver makes them, every \
                  user of the machine may open them. A daemon that runs with `--enforce on` opens \
                  them for the user of a lease alone, and closes them when nobody leases the slice. \
                  What that keeps out, and what it cannot: docs/threat-model.md.",
    after_help = "Examples:\n  \
        migctl access show\n  \
        migctl access stock --gpu 0\n  \
        migctl access enforce"
)]
pub(crate) struct AccessArgs {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// List each node: owner, permissions, what it should be, who has it open
    Show,
    /// Break the glass: let everybody open the slices, as without migd, until `access enforce`
    ///
    /// Also the last step of an uninstallation. Works without a daemon, too; the next one keeps to
    /// it.
    #[command(after_help = "Examples:\n  \
        migctl access stock --gpu 0\n  \
        migctl access stock --all")]
    Stock(StockArgs),
    /// Let only the user of a lease open its slice again
    Enforce,
}

#[derive(Debug, Args)]
struct StockArgs {
    /// The slices of this GPU (index, UUID or PCI address)
    #[arg(long, value_name = "SEL", value_parser = gpu_text, conflicts_with = "all")]
    gpu: Option<String>,
    /// The slices of every GPU
    #[arg(long, required_unless_present = "gpu")]
    all: bool,
}

/// Runs the verb.
pub(crate) fn run(context: &Context, args: &AccessArgs) -> Result<ExitCode, Failure> {
    let view = match &args.act {
        Act::Show => show(context)?,
        Act::Stock(stock) => break_glass(context, stock)?,
        Act::Enforce => enforce(context)?,
    };
    if context.json() {
        context.output.data(&view)?;
        return Ok(ExitCode::SUCCESS);
    }
    for line in lines(&view) {
        context.output.line(&line)?;
    }
    for warning in &view.warnings {
        context.output.warn(&format!("migctl: {}", clean(warning)));
    }
    Ok(ExitCode::SUCCESS)
}

fn show(context: &Context) -> Result<AccessView, Failure> {
    let asked = connect::runtime()?.block_on(async {
        let Some(client) = connect::existing(context).await? else { return Ok(None) };
        let answer = client.access().await;
        answer.map(Some).map_err(|error| Failure::of_client("cannot show the access", &error))
    })?;
    if let Some(view) = asked {
        return Ok(view);
    }
    context.output.say("migctl: no daemon runs; these are the nodes as they are");
    bare(context)
}

fn break_glass(context: &Context, args: &StockArgs) -> Result<AccessView, Failure> {
    let asked = connect::runtime()?.block_on(async {
        let Some(client) = connect::existing(context).await? else { return Ok(None) };
        let answer = client.stock_access(&StockRequest { gpu: args.gpu.clone() }).await;
        answer.map(Some).map_err(|error| Failure::of_client("cannot set the access", &error))
    })?;
    let view = match asked {
        Some(view) => view,
        None => alone(context, args)?,
    };
    let which = args.gpu.as_ref().map_or("every GPU".to_owned(), |gpu| format!("GPU {gpu}"));
    context.output.say(&format!(
        "migctl: everybody may open the slices of {which}, until `migctl access enforce`"
    ));
    Ok(view)
}

/// Without a daemon: what one would do, and the note for the next one.
fn alone(context: &Context, args: &StockArgs) -> Result<AccessView, Failure> {
    let places = context.places()?;
    let source;
    let selector: broker::GpuSelector;
    let gpu = match &args.gpu {
        Some(text) => {
            selector =
                text.parse().map_err(|error| Failure::usage(format!("bad --gpu: {error}")))?;
            source = connect::gpus(context)?;
            Some((&source, &selector))
        }
        None => None,
    };
    let report = daemon::stock_without_daemon(gpu, &places.host_root(), places.state_dir())
        .map_err(|error| super::of_daemon("cannot set the access", &error))?;
    context.output.say(&format!("migctl: {} nodes were different", report.changed()));
    let failed = report.errors().count();
    if let Some(error) = report.errors().next() {
        let failure = Failure::caused("E-ACCESS", "cannot set the access", error);
        let exit = if error.is_permission() { Exit::Permission } else { Exit::Failure };
        let more = failed - 1;
        return Err(failure.exit(exit).hint(format!("{more} more nodes failed; it takes root")));
    }
    bare(context)
}

fn bare(context: &Context) -> Result<AccessView, Failure> {
    let root = context.places()?.host_root();
    daemon::look_at_access(&root)
        .map_err(|error| Failure::caused("E-ACCESS", "cannot look at the nodes", &error))
}

fn enforce(context: &Context) -> Result<AccessView, Failure> {
    let view = connect::runtime()?.block_on(async {
        let client = connect::required(context).await?;
        let answer = client.enforce_access().await;
        answer.map_err(|error| Failure::of_client("cannot set the access", &error))
    })?;
    if view.enforce != "on" {
        context.output.say(&format!(
            "migctl: the daemon runs with --enforce {}, so nothing is closed",
            view.enforce
        ));
    }
    Ok(view)
}

fn lines(view: &AccessView) -> Vec<String> {
    let mut lines = Vec::new();
    if view.enforce != "none" {
        lines.push(format!("enforce: {}", view.enforce));
        lines.push(format!("filter:  {}", clean(&view.filter)));
    }
    if view.nodes.is_empty() {
        lines.push("no instance exists, so there is no node to open".to_owned());
        return lines;
    }
    let heads = ["NODE", "OF", "OWNER", "MODE", "SHOULD BE", "LEASE"];
    let mut table = Table::new(heads.map(|head| (head, Side::Left)));
    for node in &view.nodes {
        table.row(row(node));
    }
    let mut drawn = table.lines().into_iter();
    lines.extend(drawn.next());
    for (line, node) in drawn.zip(&view.nodes) {
        lines.push(line);
        lines.extend(node.open_by.iter().map(|words| format!("  open by {}", clean(words))));
    }
    lines
}

fn row(node: &NodeAccessView) -> Vec<String> {
    let name = node.path.rsplit("nvidia-").next().unwrap_or(&node.path).to_owned();
    let of = match node.compute_instance {
        Some(compute) => format!("gpu{} gi{} ci{compute}", node.gpu_minor, node.gpu_instance),
        None => format!("gpu{} gi{}", node.gpu_minor, node.gpu_instance),
    };
    let wanted = node.wanted.as_deref().unwrap_or("left alone");
    let wanted = if node.as_wanted { wanted.to_owned() } else { format!("{wanted} (is not)") };
    let dash = || "-".to_owned();
    vec![
        name,
        of,
        node.owner.clone().unwrap_or_else(dash),
        node.mode.clone().unwrap_or_else(dash),
        wanted,
        node.lease.map_or_else(dash, |lease| lease.to_string()),
    ]
}
