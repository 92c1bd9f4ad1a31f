//! `migctl sim calls`: what every process did to the simulated driver.
//!
//! Must never show a call that did not take effect: the log ends where the shared state says.

use std::process::ExitCode;

use clap::Args;
use model::GpuUuid;
use serde_json::Value;
use sim_gpu::Node;
use sim_nvml::CallEntry;

use super::machine::{self, of_sim};
use super::table;
use crate::{Context, Failure};

/// `migctl sim calls`.
#[derive(Debug, Args)]
pub(super) struct CallsArgs {
    /// Forget the calls after printing them
    #[arg(long)]
    clear: bool,
}

pub(super) fn run(context: &Context, args: &CallsArgs) -> Result<ExitCode, Failure> {
    let machine = machine::open(context)?;
    let calls = machine.calls().map_err(|error| of_sim("cannot read the calls", &error))?;
    if context.json() {
        context.output.data(&calls)?;
    } else if calls.is_empty() {
        context.output.say("no mutating call was made");
    } else {
        let node = machine.node().map_err(|error| of_sim("cannot read the machine", &error))?;
        context.output.print(&table_of(&calls, &node.value))?;
    }
    if args.clear {
        machine.clear_calls().map_err(|error| of_sim("cannot forget the calls", &error))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn table_of(calls: &[CallEntry], node: &Node) -> String {
    let days: Vec<String> = calls.iter().map(|entry| local(entry.time_ms, "%F")).collect();
    let one_day = days.iter().all(|day| Some(day) == days.first());
    let format = if one_day { "%H:%M:%S%.3f" } else { "%F %H:%M:%S%.3f" };
    let rows: Vec<Vec<String>> = calls
        .iter()
        .map(|entry| {
            vec![
                local(entry.time_ms, format),
                entry.pid.to_string(),
                entry.call.clone(),
                arguments(&entry.args, node),
                entry.result.clone(),
                words(&entry.output),
            ]
        })
        .collect();
    let titles = ["TIME", "PID", "CALL", "ARGUMENTS", "RESULT", "OUTPUT"];
    table::aligned(&titles, &rows, 0)
}

/// The arguments as people name them: the GPU by its index, since its UUID is long and in the
/// JSON; a placement as START:SIZE; from the outside in.
fn arguments(args: &Value, node: &Node) -> String {
    const ORDER: [&str; 4] = ["gpu", "gpu_instance", "compute_instance", "profile_id"];
    let Value::Object(args) = args else { return words(args) };
    let mut args = args.clone();
    if let Some(gpu) = args.get_mut("gpu")
        && let Some(index) = gpu.as_str().and_then(|uuid| node.gpu_by_uuid(&GpuUuid::new(uuid)))
    {
        *gpu = Value::from(index);
    }
    if let (Some(start), Some(size)) = (args.remove("start"), args.remove("size")) {
        args.insert("placement".to_owned(), Value::from(format!("{start}:{size}")));
    }
    let mut pairs: Vec<(String, Value)> = args.into_iter().collect();
    let rank = |name: &str| ORDER.iter().position(|known| *known == name).unwrap_or(ORDER.len());
    pairs.sort_by_key(|(name, _)| rank(name));
    let pairs: Vec<String> =
        pairs.iter().map(|(name, value)| format!("{name}={}", word(value))).collect();
    pairs.join(" ")
}

/// A moment in local time.
fn local(unix_millis: u64, format: &str) -> String {
    let millis = i64::try_from(unix_millis).unwrap_or(i64::MAX);
    match jiff::Timestamp::from_millisecond(millis) {
        Ok(time) => time.to_zoned(jiff::tz::TimeZone::system()).strftime(format).to_string(),
        Err(_) => unix_millis.to_string(),
    }
}

/// `gpu=0 profile=19 placement=4:4`.
fn words(values: &Value) -> String {
    match values {
        Value::Null => String::new(),
        Value::Object(values) => {
            let pairs: Vec<String> =
                values.iter().map(|(name, value)| format!("{name}={}", word(value))).collect();
            pairs.join(" ")
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => word(values),
    }
}

fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn arguments_are_written_shortly_and_from_the_outside_in() {
        let spec = sim_gpu::HostSpec::named("x", "a30x4").unwrap();
        let node = Node::new(&spec, &mut sim_gpu::BoardCache::new()).unwrap();
        let args = json!({
            "gpu": node.gpus[3].uuid, "size": 4, "start": 4, "profile_id": 5, "gpu_instance": 2,
        });
        let words = arguments(&args, &node);
        assert_eq!(words, "gpu=3 gpu_instance=2 profile_id=5 placement=4:4");
        assert_eq!(arguments(&json!({"gpu": "GPU-gone"}), &node), "gpu=GPU-gone");
    }
}
