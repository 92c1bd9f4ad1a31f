//! Instances that words mean: by GPU and ids, by ids alone on a named GPU, or by UUID.
//!
//! Must never widen: a word that means nothing, or several things, is an error.

use std::fmt;
use std::str::FromStr;

use model::{ComputeInstanceId, GpuInstance, GpuInstanceId, GpuSnapshot};

use crate::changing::Ground;
use crate::{Exit, Failure};

/// A word for an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// The MIG device with this UUID, or the only one whose UUID begins so.
    Uuid(String),
    /// A GPU instance, or with the third number a compute instance in it.
    Ids {
        /// The GPU, where it was said.
        gpu: Option<String>,
        /// The GPU instance.
        gpu_instance: u32,
        /// The compute instance.
        compute: Option<u32>,
    },
}

impl FromStr for Target {
    type Err = String;

    /// `MIG-…`, `3` (with --gpu), `0:3`, `0:3:1`.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let lower = text.to_ascii_lowercase();
        if lower.starts_with("mig-") && lower.len() > 4 {
            return Ok(Self::Uuid(lower));
        }
        let bad = || {
            format!(
                "`{text}` names no instance; write a MIG UUID, GPU:GI or GPU:GI:CI (0:3, 0:3:1)"
            )
        };
        let number = |word: &str| word.parse::<u32>().map_err(|_| bad());
        let parts: Vec<&str> = text.split(':').collect();
        match parts.as_slice() {
            [instance] => {
                Ok(Self::Ids { gpu: None, gpu_instance: number(instance)?, compute: None })
            }
            [gpu, instance] if !gpu.is_empty() => Ok(Self::Ids {
                gpu: Some((*gpu).to_owned()),
                gpu_instance: number(instance)?,
                compute: None,
            }),
            [gpu, instance, compute] if !gpu.is_empty() => Ok(Self::Ids {
                gpu: Some((*gpu).to_owned()),
                gpu_instance: number(instance)?,
                compute: Some(number(compute)?),
            }),
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uuid(uuid) => f.write_str(&uuid.replacen("mig", "MIG", 1)),
            Self::Ids { gpu, gpu_instance, compute } => {
                let gpu = gpu.as_ref().map_or_else(String::new, |gpu| format!("{gpu}:"));
                write!(f, "{gpu}{gpu_instance}")?;
                compute.map_or(Ok(()), |compute| write!(f, ":{compute}"))
            }
        }
    }
}

/// An instance that was found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found<'g> {
    pub(crate) gpu: &'g GpuSnapshot,
    pub(crate) instance: GpuInstanceId,
    /// The compute instance alone; `None` for all of the GPU instance.
    pub(crate) compute: Option<ComputeInstanceId>,
}

impl Target {
    /// The instance that is meant; `on` is the GPU where a word does not name one.
    ///
    /// # Errors
    /// [`Failure`] with exit code 3 that says what there is instead.
    pub(crate) fn find<'g>(
        &self,
        ground: &'g Ground,
        on: Option<&'g GpuSnapshot>,
    ) -> Result<Found<'g>, Failure> {
        match self {
            Self::Uuid(prefix) => by_uuid(ground, prefix),
            Self::Ids { gpu, gpu_instance, compute } => {
                let gpu = match gpu {
                    Some(text) => one(ground, text)?,
                    None => on.ok_or_else(|| {
                        Failure::usage(format!("say on which GPU instance {gpu_instance} lies"))
                            .hint(format!("write 0:{gpu_instance}, or add --gpu 0"))
                    })?,
                };
                by_ids(gpu, *gpu_instance, *compute)
            }
        }
    }
}

fn one<'g>(ground: &'g Ground, text: &str) -> Result<&'g GpuSnapshot, Failure> {
    match ground.gpus(text)?.as_slice() {
        [gpu] => Ok(gpu),
        gpus => Err(Failure::usage(format!("{text} means {} GPUs; name one", gpus.len()))),
    }
}

fn by_uuid<'g>(ground: &'g Ground, prefix: &str) -> Result<Found<'g>, Failure> {
    let mut found = Vec::new();
    for gpu in &ground.node.gpus {
        for instance in &gpu.instances {
            for compute in &instance.compute_instances {
                let is_meant = compute
                    .uuid
                    .as_ref()
                    .is_some_and(|uuid| uuid.as_str().to_ascii_lowercase().starts_with(prefix));
                if is_meant {
                    // The last compute instance takes its GPU instance with it: nobody could use
                    // what would be left.
                    let alone = instance.compute_instances.len() == 1;
                    let compute = (!alone).then_some(compute.id);
                    found.push(Found { gpu, instance: instance.id, compute });
                }
            }
        }
    }
    match found.as_slice() {
        [one] => Ok(*one),
        [] => Err(unknown(format!("no MIG device has a UUID that begins with {prefix}"))),
        several => Err(unknown(format!(
            "{} MIG devices have such a UUID; write more of it",
            several.len()
        ))),
    }
}

fn by_ids(gpu: &GpuSnapshot, instance: u32, compute: Option<u32>) -> Result<Found<'_>, Failure> {
    let id = GpuInstanceId::new(instance);
    let Some(found) = gpu.instance(id) else {
        let there: Vec<String> = gpu.instances.iter().map(|i| i.id.to_string()).collect();
        let there = if there.is_empty() {
            String::from("it has none")
        } else {
            format!("it has {}", there.join(", "))
        };
        return Err(unknown(format!("GPU {} has no GPU instance {instance}; {there}", gpu.index)));
    };
    let compute = compute.map(|compute| compute_of(gpu, found, compute)).transpose()?;
    Ok(Found { gpu, instance: id, compute })
}

fn compute_of(
    gpu: &GpuSnapshot,
    instance: &GpuInstance,
    compute: u32,
) -> Result<ComputeInstanceId, Failure> {
    let id = ComputeInstanceId::new(compute);
    if instance.compute_instances.iter().any(|found| found.id == id) {
        return Ok(id);
    }
    let (gpu, instance) = (gpu.index, instance.id);
    Err(unknown(format!("GPU instance {instance} of GPU {gpu} has no compute instance {compute}")))
}

fn unknown(message: String) -> Failure {
    Failure::new("E-INSTANCE-UNKNOWN", message)
        .exit(Exit::Usage)
        .hint("`migctl instances` lists what there is")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_instances() {
        let ids = |gpu: Option<&str>, gpu_instance, compute| Target::Ids {
            gpu: gpu.map(str::to_owned),
            gpu_instance,
            compute,
        };
        assert_eq!("3".parse(), Ok(ids(None, 3, None)));
        assert_eq!("0:3".parse(), Ok(ids(Some("0"), 3, None)));
        assert_eq!("GPU-ab:3:1".parse(), Ok(ids(Some("GPU-ab"), 3, Some(1))));
        assert_eq!("MIG-0aF".parse(), Ok(Target::Uuid("mig-0af".to_owned())));
        for bad in ["", "x", ":3", "0:", "0:3:1:2", "-1", "mig-"] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
    }
}
