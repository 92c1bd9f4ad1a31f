//! `migctl sim fault`: driver calls that fail, lie, hang or crash on demand.
//!
//! Must never accept a fault that can never happen: a misspelled call is refused.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use model::Millis;
use serde_json::{Value, json};
use sim_gpu::{Fault, FaultEffect, Return};
use sim_nvml::entry::IMPLEMENTED;

use super::machine::{self, GpuSelector, of_sim};
use super::table;
use crate::{Context, Failure};

/// `migctl sim fault`.
#[derive(Debug, Args)]
pub(super) struct FaultArgs {
    #[command(subcommand)]
    verb: FaultVerb,
}

#[derive(Debug, Subcommand)]
enum FaultVerb {
    /// Plant a fault
    Inject(InjectArgs),
    /// List the faults in waiting
    List,
    /// Remove every fault in waiting
    Clear,
}

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  \
    migctl sim fault inject GpuInstanceDestroy --return IN_USE\n  \
    migctl sim fault inject '*CreateComputeInstance' --gpu 0 --skip 1 --times 2 --return 23\n  \
    migctl sim fault inject DeviceSetMigMode --lie\n  \
    migctl sim fault inject DeviceGetHandleByUUID --hang 10s\n  \
    migctl sim fault inject DeviceCreateGpuInstanceWithPlacement --crash after")]
struct InjectArgs {
    /// The NVML function, with or without `nvml`; `*` stands for any characters
    call: String,
    /// Only calls about this GPU (index, UUID or PCI address)
    #[arg(long)]
    gpu: Option<GpuSelector>,
    /// Let this many matching calls pass first
    #[arg(long, default_value_t = 0, value_name = "N")]
    skip: u32,
    /// Harm this many matching calls, then be gone
    #[arg(long, default_value_t = 1, value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..))]
    times: u32,
    #[command(flatten)]
    effect: EffectOptions,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct EffectOptions {
    /// The call returns this code (IN_USE or 19) and changes nothing
    #[arg(long = "return", value_name = "CODE", value_parser = parse_code)]
    code: Option<Return>,
    /// The call changes everything and returns this code all the same
    #[arg(long, value_name = "CODE", value_parser = parse_code)]
    return_after: Option<Return>,
    /// The call returns SUCCESS and changes nothing
    #[arg(long)]
    lie: bool,
    /// The call takes this much longer (10s, 500ms)
    #[arg(long, value_name = "TIME")]
    hang: Option<Millis>,
    /// The calling process is killed before or after the change
    #[arg(long, value_name = "WHEN")]
    crash: Option<CrashMoment>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum CrashMoment {
    Before,
    After,
}

fn parse_code(text: &str) -> Result<Return, String> {
    let number = text.parse().ok().and_then(Return::from_code);
    match number.or_else(|| Return::from_name(text)) {
        Some(Return::Success) => Err("a fault does not return SUCCESS; --lie does".to_owned()),
        Some(code) => Ok(code),
        None => Err("not a code of NVML; examples: IN_USE, INSUFFICIENT_RESOURCES, 23".to_owned()),
    }
}

impl EffectOptions {
    fn effect(&self) -> Result<FaultEffect, Failure> {
        if let Some(code) = self.return_after {
            return Ok(FaultEffect::ReturnAfter(code));
        }
        Ok(match (self.code, self.hang, self.crash) {
            (Some(code), _, _) => FaultEffect::Return(code),
            (_, Some(time), _) => FaultEffect::Hang(time),
            (_, _, Some(CrashMoment::Before)) => FaultEffect::CrashBefore,
            (_, _, Some(CrashMoment::After)) => FaultEffect::CrashAfter,
            (None, None, None) if self.lie => FaultEffect::Lie,
            (None, None, None) => {
                return Err(Failure::usage("say what the fault does").hint("see --help"));
            }
        })
    }
}

pub(super) fn run(context: &Context, args: FaultArgs) -> Result<ExitCode, Failure> {
    let machine = machine::open(context)?;
    match args.verb {
        FaultVerb::Inject(args) => {
            let call = known_call(&args.call)?;
            let node = machine.node().map_err(|error| of_sim("cannot read the machine", &error))?;
            let gpu = args.gpu.map(|gpu| gpu.on(&node.value)).transpose()?;
            let effect = args.effect.effect()?;
            let fault = Fault { call, gpu, skip: args.skip, times: args.times, effect };
            context.output.say(&format!("planted: {}", sentence(&fault)));
            machine
                .inject_fault(fault)
                .map_err(|error| of_sim("cannot plant the fault", &error))?;
        }
        FaultVerb::List => {
            let node = machine.node().map_err(|error| of_sim("cannot read the machine", &error))?;
            list(context, &node.value.faults)?;
        }
        FaultVerb::Clear => {
            machine.clear_faults().map_err(|error| of_sim("cannot remove the faults", &error))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(context: &Context, faults: &[Fault]) -> Result<(), Failure> {
    if context.json() {
        return context.output.data(&faults.iter().map(json_of).collect::<Vec<_>>());
    }
    if faults.is_empty() {
        context.output.say("no fault is planted");
        return Ok(());
    }
    context.output.print(&table_of(faults, 0))
}

/// The faults in waiting as a table.
pub(super) fn table_of(faults: &[Fault], indent: usize) -> String {
    let rows: Vec<Vec<String>> = faults
        .iter()
        .map(|fault| {
            vec![
                fault.call.clone(),
                fault.gpu.map_or_else(|| "any".to_owned(), |gpu| gpu.to_string()),
                fault.skip.to_string(),
                fault.times.to_string(),
                effect_words(fault.effect),
            ]
        })
        .collect();
    table::aligned(&["CALL", "GPU", "SKIP", "TIMES", "EFFECT"], &rows, indent)
}

/// A fault in waiting as data.
pub(super) fn json_of(fault: &Fault) -> Value {
    json!({
        "call": fault.call,
        "gpu": fault.gpu,
        "skip": fault.skip,
        "times": fault.times,
        "effect": effect_words(fault.effect),
    })
}

fn sentence(fault: &Fault) -> String {
    let whose = fault.gpu.map_or_else(String::new, |gpu| format!(" on GPU {gpu}"));
    let after = match fault.skip {
        0 => String::new(),
        skip => format!(" after {skip} that pass"),
    };
    let times = match fault.times {
        1 => "the next call".to_owned(),
        times => format!("the next {times} calls"),
    };
    format!("{times} of {}{whose}{after}: {}", fault.call, effect_words(fault.effect))
}

fn effect_words(effect: FaultEffect) -> String {
    match effect {
        FaultEffect::Return(code) => format!("returns {}", code.name()),
        FaultEffect::ReturnAfter(code) => format!("changes everything, returns {}", code.name()),
        FaultEffect::Lie => "returns SUCCESS, changes nothing".to_owned(),
        FaultEffect::Hang(time) => format!("takes {time} longer"),
        FaultEffect::CrashBefore => "kills the caller before the change".to_owned(),
        FaultEffect::CrashAfter => "kills the caller after the change".to_owned(),
    }
}

/// The call as the simulator knows it.
fn known_call(typed: &str) -> Result<String, Failure> {
    let bare = typed.strip_prefix("nvml").unwrap_or(typed);
    let names = || IMPLEMENTED.iter().map(|name| name.strip_prefix("nvml").unwrap_or(name));
    if names().any(|name| like(bare, name)) {
        return Ok(bare.to_owned());
    }
    let wanted = bare.replace('*', "").to_lowercase();
    let near: Vec<&str> =
        names().filter(|name| name.to_lowercase().contains(&wanted)).take(4).collect();
    let near = if near.is_empty() {
        vec!["DeviceSetMigMode", "GpuInstanceDestroy", "'*CreateGpuInstance*'"]
    } else {
        near
    };
    Err(Failure::usage(format!("the simulated driver has no function `{typed}`"))
        .hint(format!("it has: {}, ...", near.join(", "))))
}

/// Whether `name` matches `pattern`, in which a star stands for any characters.
fn like(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_names_or_numbers_but_never_success() {
        assert_eq!(parse_code("in_use"), Ok(Return::InUse));
        assert_eq!(parse_code("NVML_ERROR_INSUFFICIENT_RESOURCES").unwrap().code(), 23);
        assert_eq!(parse_code("999"), Ok(Return::Unknown));
        for bad in ["SUCCESS", "0", "77", "busy", ""] {
            assert!(parse_code(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_misspelled_call_is_refused() {
        assert!(known_call("GpuInstanceDestroy").is_ok());
        assert!(known_call("nvmlGpuInstanceDestroy").is_ok());
        assert!(known_call("*Destroy").is_ok());
        assert!(known_call("Device*MigMode*").is_ok());
        for bad in ["GpuInstanceDestruct", "*Nonsense", "destroy", "", "DeviceGetMigMode*x"] {
            assert_eq!(known_call(bad).unwrap_err().exit.code(), 3, "{bad}");
        }
        let hint = known_call("createcompute").unwrap_err().hint.unwrap();
        assert!(hint.contains("GpuInstanceCreateComputeInstance"), "{hint}");
    }

    #[test]
    fn a_fault_is_told_in_a_sentence() {
        let fault = Fault {
            call: "GpuInstanceDestroy".into(),
            gpu: Some(2),
            skip: 1,
            times: 3,
            effect: FaultEffect::Return(Return::InUse),
        };
        let words = "the next 3 calls of GpuInstanceDestroy on GPU 2 after 1 that pass: \
                     returns IN_USE";
        assert_eq!(sentence(&fault), words);
    }
}
