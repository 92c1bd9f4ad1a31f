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
    let rows: Vec<Vec<String>> = calls
        .iter()
        .map(|entry| {
            vec![
                time(entry.time_ms),
                entry.pid.to_string(),
                entry.call.clone(),
                words(&with_index(&entry.args, node)),
                entry.result.clone(),
                words(&entry.output),
            ]
        })
        .collect();
    let titles = ["TIME", "PID", "CALL", "ARGUMENTS", "RESULT", "OUTPUT"];
    table::aligned(&titles, &rows, 0)
}

/// The arguments with the GPU's index for its UUID, which is long and in the JSON.
fn with_index(args: &Value, node: &Node) -> Value {
    let mut args = args.clone();
    if let Some(gpu) = args.get_mut("gpu")
        && let Some(index) = gpu.as_str().and_then(|uuid| node.gpu_by_uuid(&GpuUuid::new(uuid)))
    {
        *gpu = Value::from(index);
    }
    args
}

/// Local time to the millisecond.
fn time(unix_millis: u64) -> String {
    let millis = i64::try_from(unix_millis).unwrap_or(i64::MAX);
    match jiff::Timestamp::from_millisecond(millis) {
        Ok(time) => {
            let local = time.to_zoned(jiff::tz::TimeZone::system());
            local.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string()
        }
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
        Value::Object(values) => {
            // A placement is written as people write it.
            match (values.get("start"), values.get("size")) {
                (Some(start), Some(size)) if values.len() == 2 => format!("{start}:{size}"),
                _ => value.to_string(),
            }
        }
        Value::Null => "-".to_owned(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn arguments_are_written_shortly() {
        let args = json!({"gpu": 0, "placement": {"start": 4, "size": 4}, "profile": null});
        assert_eq!(words(&args), "gpu=0 placement=4:4 profile=-");
        assert_eq!(words(&Value::Null), "");
    }
}
