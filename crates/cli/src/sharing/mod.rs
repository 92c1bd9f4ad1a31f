//! Which way to share a GPU suits a need: the decision of `advise sharing`.
//!
//! Must never read the machine: what is needed and what there is are arguments.

mod rules;

use api::{AdviceView, OptionView};
use model::{GpuInstanceProfile, MemoryRequest};

/// Who shares a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// The processes of one user.
    SameUser,
    /// Users who trust each other.
    Trusted,
    /// Users who do not.
    Strangers,
}

/// What is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Need {
    /// Who shares.
    pub(crate) trust: Trust,
    /// How many processes run at the same time.
    pub(crate) processes: u32,
    /// How much memory each needs, if that is known.
    pub(crate) memory: Option<MemoryRequest>,
    /// Whether each must answer in time whatever the others do.
    pub(crate) latency: bool,
    /// Whether each is idle most of the time.
    pub(crate) bursty: bool,
    /// Whether they are one program.
    pub(crate) one_program: bool,
    /// Whether one process works on several GPUs, or exchanges much between them.
    pub(crate) multi_gpu: bool,
}

/// The GPUs there are, as far as this matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hardware {
    /// Product name.
    pub(crate) name: String,
    /// How many.
    pub(crate) gpus: u32,
    /// Memory of one in MiB.
    pub(crate) memory_mib: u64,
    /// Its GPU instance profiles; none where it cannot do MIG.
    pub(crate) profiles: Vec<GpuInstanceProfile>,
}

impl Hardware {
    /// Plain profiles with enough memory, the smallest first.
    fn fitting(&self, memory: Option<MemoryRequest>) -> Vec<&GpuInstanceProfile> {
        let need = model::geometry::Need { memory, compute_slices: None };
        let plain = self.profiles.iter().filter(|profile| profile.name.attributes.is_plain());
        let mut fitting: Vec<_> = plain.filter(|profile| need.met_by(profile)).collect();
        fitting.sort_by_key(|profile| (profile.size, profile.name.slices, profile.nvml_enum));
        fitting
    }

    /// The smallest slice with enough memory.
    fn slice(&self, memory: Option<MemoryRequest>) -> Option<&GpuInstanceProfile> {
        self.fitting(memory).first().copied()
    }
}

/// An option while its reasons are collected.
#[derive(Debug)]
struct Weighed {
    id: &'static str,
    name: &'static str,
    score: i32,
    pro: Vec<String>,
    contra: Vec<String>,
    ruled_out: bool,
}

impl Weighed {
    const fn new(id: &'static str, name: &'static str) -> Self {
        Self { id, name, score: 0, pro: Vec::new(), contra: Vec::new(), ruled_out: false }
    }

    fn gains(&mut self, points: i32, why: impl Into<String>) {
        self.score += points;
        self.pro.push(why.into());
    }

    fn loses(&mut self, points: i32, why: impl Into<String>) {
        self.score -= points;
        self.contra.push(why.into());
    }

    /// It cannot serve the need at all.
    fn falls(&mut self, why: impl Into<String>) {
        self.ruled_out = true;
        self.contra.insert(0, why.into());
    }
}

/// Recommends a way to share.
pub(crate) fn advise(need: &Need, hardware: Option<&Hardware>) -> AdviceView {
    let mut weighed = rules::weigh(need, hardware);
    // The order in which they were listed decides between equals.
    weighed.sort_by_key(|option| (option.ruled_out, -option.score));
    let choice = weighed.first().map_or("whole_gpu", |option| option.id);
    AdviceView {
        choice: choice.to_owned(),
        commands: rules::commands(choice, need, hardware),
        assumed: assumed(need, hardware),
        options: weighed
            .into_iter()
            .map(|option| OptionView {
                id: option.id.to_owned(),
                name: option.name.to_owned(),
                possible: !option.ruled_out,
                pro: option.pro,
                contra: option.contra,
            })
            .collect(),
    }
}

fn assumed(need: &Need, hardware: Option<&Hardware>) -> Vec<String> {
    let mut assumed = Vec::new();
    if need.memory.is_none() {
        assumed.push("each process fits into the smallest slice (say --memory)".into());
    }
    match hardware {
        Some(hardware) => assumed.push(format!("{} x {}", hardware.gpus, hardware.name)),
        None => {
            assumed.push("a GPU that can do MIG (say --board, or run it on the machine)".into());
        }
    }
    assumed
}

#[cfg(test)]
mod tests;
