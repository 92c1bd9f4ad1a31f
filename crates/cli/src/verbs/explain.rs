//! `migctl explain`: the trade of CUDA streams, MPS and MIG.
//!
//! Must never read the machine: it says what holds everywhere, and where that is written.

use std::process::ExitCode;

use api::{ComparisonView, TopicView, TradeView};
use clap::{Args, ValueEnum};

use crate::draw::text::{pad, paragraph, width};
use crate::draw::{FAINT, HEADING, Page};
use crate::output::styled;
use crate::{Context, Failure};

/// Options of `explain`.
#[derive(Debug, Args)]
#[command(
    about = "Explain the ways to share a GPU: streams, MPS, MIG",
    long_about = "Explains how CUDA streams, the Multi-Process Service (MPS) and MIG share a GPU: \
                  what each isolates and what not, and its limits, with sources. Without a topic \
                  it compares all three. `migctl advise sharing` recommends one for a need.",
    after_help = "Examples:\n  \
        migctl explain\n  \
        migctl explain mps"
)]
pub(crate) struct ExplainArgs {
    /// One of them; all three beside each other without
    #[arg(value_enum, value_name = "TOPIC")]
    pub(crate) topic: Option<Topic>,
}

/// A way to share a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Topic {
    /// Several queues of one process.
    Streams,
    /// Several processes through one server.
    Mps,
    /// Several instances of the hardware.
    Mig,
}

/// Runs the verb.
pub(crate) fn run(context: &Context, args: &ExplainArgs) -> Result<ExitCode, Failure> {
    let view = comparison(args.topic);
    if context.json() {
        context.output.data(&view)?;
    } else {
        context.output.line(&lines(&view, Page::current().width).join("\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

const WAYS: [(&str, &str, &str, &str); 3] = [
    (
        "streams",
        "CUDA streams",
        "Queues of work inside one process. Kernels of different streams run at the same time where \
         one leaves multiprocessors free.",
        "Take them inside a program that you write, to overlap copies and small kernels. They share \
         nothing between programs.",
    ),
    (
        "mps",
        "Multi-Process Service (MPS)",
        "A server through which processes share one CUDA scheduler, so that their kernels run at the \
         same time. Each may be held to a share of multiprocessors and an amount of memory.",
        "Take it for many small or bursty processes of people who trust each other: nothing lies \
         idle that another could use. It works inside a MIG slice, too.",
    ),
    (
        "mig",
        "Multi-Instance GPU (MIG)",
        "The hardware is cut: each slice has its own multiprocessors, L2, memory, path to it and \
         engines, and looks like a small GPU.",
        "Take it where others must not slow you down, see your memory or break your run: several \
         tenants, latency that must hold, work of a known size.",
    ),
];

/// What they are compared by; the cells are in the order of [`WAYS`].
const TRADES: [(&str, [&str; 3]); 12] = [
    ("who shares", ["one process", "processes, as a rule of one user", "anybody, containers too"]),
    (
        "at most",
        [
            "no fixed bound",
            "48 clients a GPU; a share of that in a slice",
            "7 slices a GPU (4 on A30 and RTX PRO 6000)",
        ],
    ),
    (
        "multiprocessors",
        ["shared, first come", "shared; a limit in percent per client, no reservation", "own"],
    ),
    (
        "memory amount",
        ["one pool", "one pool; a limit per client since CUDA 11.5", "own, fixed sizes"],
    ),
    (
        "memory protection",
        [
            "none",
            "own address spaces; memory on the GPU shared in amount",
            "own address spaces in own memory",
        ],
    ),
    ("bandwidth and L2", ["shared", "shared", "own"]),
    (
        "errors",
        [
            "end the process",
            "a fatal one ends every client of the server on that GPU",
            "stay in the slice",
        ],
    ),
    ("latency of others' work", ["felt", "felt", "not felt, but for PCIe and power"]),
    ("idle share", ["used by others", "used by others", "stays idle"]),
    (
        "change of sizes",
        [
            "none needed",
            "limits are set when a client starts",
            "make and destroy slices, about a second each, when nothing runs in them",
        ],
    ),
    ("peer to peer, NVLink", ["yes", "yes", "no: a slice reaches no other GPU or slice"]),
    (
        "needs",
        [
            "nothing",
            "a control daemon per GPU or slice",
            "A30, A100, H100 or newer; mode change by an administrator",
        ],
    ),
];

const SOURCES: [&str; 4] = [
    "NVIDIA Multi-Instance GPU User Guide: docs.nvidia.com/datacenter/tesla/mig-user-guide \
     (Concurrency Mechanisms, Application Considerations)",
    "NVIDIA Multi-Process Service: docs.nvidia.com/deploy/mps (Limitations, Provisioning)",
    "CUDA C++ Programming Guide: docs.nvidia.com/cuda/cuda-c-programming-guide (Streams)",
    "peer to peer between slices of one GPU: the documentation of driver R570 and NCCL issue 1716 \
     disagree; migd counts on none",
];

fn comparison(only: Option<Topic>) -> ComparisonView {
    let chosen: Vec<usize> = match only {
        None => vec![0, 1, 2],
        Some(Topic::Streams) => vec![0],
        Some(Topic::Mps) => vec![1],
        Some(Topic::Mig) => vec![2],
    };
    let ways = WAYS.iter().enumerate().filter(|(at, _)| chosen.contains(at));
    let trade = |(aspect, cells): &(&str, [&str; 3])| TradeView {
        aspect: (*aspect).to_owned(),
        cells: chosen.iter().filter_map(|at| cells.get(*at)).map(|cell| (*cell).into()).collect(),
    };
    ComparisonView {
        ways: ways
            .map(|(_, (id, name, what, takes))| TopicView {
                id: (*id).to_owned(),
                name: (*name).to_owned(),
                what: (*what).to_owned(),
                takes: (*takes).to_owned(),
            })
            .collect(),
        trades: TRADES.iter().map(trade).collect(),
        sources: SOURCES.iter().map(|source| (*source).to_owned()).collect(),
    }
}

fn lines(view: &ComparisonView, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for way in &view.ways {
        lines.push(styled(HEADING, &way.name));
        lines.extend(paragraph(&way.what, columns, "  ", "  "));
        lines.extend(paragraph(&way.takes, columns, "  ", "  "));
        lines.push(String::new());
    }
    lines.extend(grid(view, columns));
    lines.extend([String::new(), styled(HEADING, "Sources")]);
    for source in &view.sources {
        let lines_of = paragraph(source, columns, "  ", "    ");
        lines.extend(lines_of.iter().map(|line| styled(FAINT, line)));
    }
    lines.push(String::new());
    lines.extend(paragraph(
        "For a recommendation: migctl advise sharing --help",
        columns,
        "",
        "  ",
    ));
    lines
}

/// The comparison, with cells broken between words so that it fits the page.
fn grid(view: &ComparisonView, columns: usize) -> Vec<String> {
    const GAP: usize = 2;
    let first = view.trades.iter().map(|trade| width(&trade.aspect)).max().unwrap_or(0);
    let count = view.ways.len().max(1);
    let room = columns.saturating_sub(first + GAP * count) / count;
    let row = |head: &str, cells: &[String]| -> Vec<String> {
        let broken: Vec<Vec<String>> =
            cells.iter().map(|cell| paragraph(cell, room, "", "")).collect();
        let height = broken.iter().map(Vec::len).max().unwrap_or(1);
        (0..height)
            .map(|at| {
                let mut line = pad(if at == 0 { head } else { "" }, first);
                for cell in &broken {
                    line.push_str(&" ".repeat(GAP));
                    line.push_str(&pad(cell.get(at).map_or("", String::as_str), room));
                }
                line.trim_end().to_owned()
            })
            .collect()
    };
    let heads: Vec<String> = view.ways.iter().map(|way| way.id.to_uppercase()).collect();
    let mut lines: Vec<String> = row("", &heads).iter().map(|line| styled(HEADING, line)).collect();
    lines.extend(view.trades.iter().flat_map(|trade| row(&trade.aspect, &trade.cells)));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(only: Option<Topic>, columns: usize) -> String {
        let text = lines(&comparison(only), columns).join("\n");
        anstream::adapter::strip_str(&text).to_string()
    }

    #[test]
    fn all_three_stand_beside_each_other_on_a_page() {
        let text = drawn(None, 80);
        assert!(text.lines().all(|line| width(line) <= 80), "{text}");
        let heads = text.lines().find(|line| line.contains("STREAMS")).unwrap();
        assert!(heads.contains("MPS") && heads.contains("MIG"), "{heads}");
        for aspect in ["memory protection", "bandwidth and L2", "errors", "multiprocessors"] {
            assert!(text.contains(aspect), "{aspect}");
        }
    }

    #[test]
    fn one_topic_is_told_alone() {
        let view = comparison(Some(Topic::Mps));
        assert_eq!(view.ways.len(), 1);
        assert!(view.trades.iter().all(|trade| trade.cells.len() == 1));
        let text = drawn(Some(Topic::Mps), 80);
        assert!(text.contains("48 clients") && !text.contains("STREAMS"), "{text}");
    }
}
