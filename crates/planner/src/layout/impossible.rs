//! Why a desire cannot be met, in sentences.
//!
//! Must never blame an instance whose end would not help.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use model::{
    ComputeInstanceId, ComputeInstanceProfileId, GpuInstanceId, GpuInstanceProfileId, GpuUuid,
    Health, PlacedProfile, Placement,
};
use serde::{Deserialize, Serialize};

use super::report::Held;

/// Something in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Obstacle {
    /// Which GPU instance; `None` for processes on the GPU as a whole.
    pub instance: Option<GpuInstanceId>,
    /// The name of its profile; empty for the GPU as a whole.
    pub name: String,
    /// Where it lies; `None` for the GPU as a whole.
    pub placement: Option<Placement>,
    /// Who is on it or has it; nobody where it is in the way only because it was not to go.
    pub held: Held,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.instance, self.placement) {
            (Some(id), Some(at)) => {
                write!(f, "GPU instance {id} ({} at {at}, {})", self.name, self.held)
            }
            _ => write!(f, "the GPU as a whole ({})", self.held),
        }
    }
}

/// What of a desire would be missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// Of which profile.
    pub profile: GpuInstanceProfileId,
    /// Its name.
    pub name: String,
    /// How many.
    pub count: u32,
}

/// The most of a desire that can be met: the most grid units, then the most instances.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Best {
    /// What would lie on the GPU, what cannot go included; sorted.
    pub target: Vec<PlacedProfile>,
    /// What of the desire would be missing, by profile id.
    pub missing: Vec<Missing>,
}

impl Best {
    /// ` (the most that fits lacks 1 x 3g.20gb)`, or nothing where nothing is missing.
    fn clause(&self) -> String {
        if self.missing.is_empty() {
            return String::new();
        }
        let missing: Vec<String> =
            self.missing.iter().map(|m| alloc::format!("{} x {}", m.count, m.name)).collect();
        alloc::format!("; the most that fits now lacks {}", missing.join(", "))
    }
}

/// Why a desire cannot be met.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Impossible {
    /// The GPU cannot do MIG.
    #[error("{0} cannot do MIG")]
    NoMig(GpuUuid),
    /// The shapes of the GPU could not be read, so nothing can be placed on it.
    #[error("the MIG profiles of {0} could not be read")]
    NoGeometry(GpuUuid),
    /// The GPU does not work.
    #[error("{gpu} is not healthy ({}); nothing can be changed on it", health_words(health))]
    Unhealthy {
        /// Which GPU.
        gpu: GpuUuid,
        /// What is wrong with it.
        health: Health,
    },
    /// MIG mode is not in force, and this kind of change does not turn it on.
    #[error("MIG mode is not in force on {0}")]
    ModeOff(GpuUuid),
    /// MIG mode would have to change, and the rules forbid it.
    #[error("MIG mode of {0} would have to change, which is not allowed")]
    ModeFixed(GpuUuid),
    /// The GPU would have to be reset, and the rules forbid it.
    #[error("{0} would have to be reset, which is not allowed")]
    ResetForbidden(GpuUuid),
    /// The board has no such profile.
    #[error("{gpu} has no profile with id {profile}")]
    Unknown {
        /// Which GPU.
        gpu: GpuUuid,
        /// The id.
        profile: GpuInstanceProfileId,
    },
    /// A GPU instance profile has no such compute instance profile.
    #[error("{name} of {gpu} has no compute instance profile with id {compute}")]
    UnknownCompute {
        /// Which GPU.
        gpu: GpuUuid,
        /// The GPU instance profile's name.
        name: String,
        /// The id.
        compute: ComputeInstanceProfileId,
    },
    /// There is no GPU instance with that id.
    #[error("{gpu} has no GPU instance {instance}")]
    NoInstance {
        /// Which GPU.
        gpu: GpuUuid,
        /// The id.
        instance: GpuInstanceId,
    },
    /// There is no compute instance with that id.
    #[error("GPU instance {instance} on {gpu} has no compute instance {compute}")]
    NoCompute {
        /// Which GPU.
        gpu: GpuUuid,
        /// In which GPU instance.
        instance: GpuInstanceId,
        /// The id.
        compute: ComputeInstanceId,
    },
    /// The profile may not lie there on this board.
    #[error("{name} may not lie at {placement} on {gpu}")]
    Illegal {
        /// Which GPU.
        gpu: GpuUuid,
        /// The profile's name.
        name: String,
        /// Where.
        placement: Placement,
    },
    /// Even an empty GPU instance of the profile cannot hold the compute instances.
    #[error("{name} on {gpu} cannot hold these compute instances: {}", computes.join(", "))]
    TooMuchCompute {
        /// Which GPU.
        gpu: GpuUuid,
        /// The GPU instance profile's name.
        name: String,
        /// Names of the compute instances, with their placements where given.
        computes: Vec<String>,
    },
    /// A GPU instance has no room for compute instances beside those it has.
    #[error(
        "GPU instance {instance} ({name}) on {gpu} has no room for {} beside what it holds",
        computes.join(", ")
    )]
    NoComputeRoom {
        /// Which GPU.
        gpu: GpuUuid,
        /// Which GPU instance.
        instance: GpuInstanceId,
        /// Its profile's name.
        name: String,
        /// Names of the compute instances, with their placements where given.
        computes: Vec<String>,
    },
    /// Not even the empty GPU can hold it.
    #[error("{gpu} cannot hold that even when it is empty{}", best.clause())]
    TooMuch {
        /// Which GPU.
        gpu: GpuUuid,
        /// The best that can be met beside what is busy or held.
        best: Best,
    },
    /// There is no room beside what lies there, none of which was to go. Waiting does not help.
    #[error("{}", no_room_sentence(gpu, in_the_way, best))]
    NoRoom {
        /// Which GPU.
        gpu: GpuUuid,
        /// The fewest that would have to be destroyed first, ascending.
        in_the_way: Vec<Obstacle>,
        /// The best that fits beside all that lies there.
        best: Best,
    },
    /// Something that must not be touched is in the way.
    #[error("{}", blocked_sentence(gpu, blockers, best))]
    Blocked {
        /// Which GPU.
        gpu: GpuUuid,
        /// The fewest whose end would make it possible, ascending.
        blockers: Vec<Obstacle>,
        /// The best that can be met beside them.
        best: Best,
    },
}

impl Impossible {
    /// Whether the wish can never be met on that GPU, whatever ends and whatever is destroyed there.
    pub const fn is_for_ever(&self) -> bool {
        matches!(
            self,
            Self::Unknown { .. }
                | Self::UnknownCompute { .. }
                | Self::Illegal { .. }
                | Self::TooMuchCompute { .. }
                | Self::TooMuch { .. }
        )
    }
}

const fn health_words(health: &Health) -> &str {
    match health {
        Health::Ok => "ok",
        Health::Lost => "the driver no longer reaches it",
        Health::ResetRequired => "it must be reset first",
        Health::Failing(words) => words.as_str(),
    }
}

fn no_room_sentence(gpu: &GpuUuid, in_the_way: &[Obstacle], best: &Best) -> String {
    let words: Vec<String> = in_the_way.iter().map(|one| alloc::format!("{one}")).collect();
    let words = words.join(", ");
    let verb = if in_the_way.len() == 1 { "goes" } else { "go" };
    alloc::format!("{gpu} has no room for that unless {words} {verb} first{}", best.clause())
}

fn blocked_sentence(gpu: &GpuUuid, blockers: &[Obstacle], best: &Best) -> String {
    let words: Vec<String> = blockers.iter().map(|b| alloc::format!("{b}")).collect();
    let verb = if blockers.len() == 1 { "is" } else { "are" };
    alloc::format!("{} {verb} in the way on {gpu}{}", words.join(", "), best.clause())
}
