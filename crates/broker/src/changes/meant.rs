//! What of a wish is still about the instances it was made for. Ids of instances are used again, so
//! an id alone names nothing once time has passed.
//!
//! Must never let a wish pass on to another instance that got the same id.

use alloc::string::String;
use alloc::vec::Vec;

use model::shape::InstanceShape;
use model::{ComputeInstanceId, DesiredCompute, DesiredGpu, GpuInstanceId, GpuShape, GpuSnapshot};

/// The wish without what is gone already, given the GPU as it was when it was planned.
///
/// # Errors
/// In words, when another instance has an id that the wish names.
pub(crate) fn still(
    desired: &DesiredGpu,
    before: &GpuShape,
    seen: &GpuSnapshot,
) -> Result<DesiredGpu, String> {
    let then = Then { before, now: GpuShape::of(seen), index: seen.index.get() };
    match desired {
        DesiredGpu::Without { instances, computes } => {
            let instances = kept(instances, |id| then.instance(*id).map(|found| found.is_some()))?;
            let computes = kept(computes, |(of, id)| then.compute(*of, *id))?;
            Ok(DesiredGpu::Without { instances, computes })
        }
        DesiredGpu::Beside { instances, computes } => {
            let there = |(of, _): &(GpuInstanceId, DesiredCompute)| match then.instance(*of)? {
                Some(_) => Ok(true),
                None => Err(alloc::format!("GPU instance {of} of GPU {} is gone", then.index)),
            };
            let computes = kept(computes, there)?;
            Ok(DesiredGpu::Beside { instances: instances.clone(), computes })
        }
        DesiredGpu::Whole | DesiredGpu::Sliced | DesiredGpu::Exactly(_) => Ok(desired.clone()),
    }
}

fn kept<T: Clone>(all: &[T], stays: impl Fn(&T) -> Result<bool, String>) -> Result<Vec<T>, String> {
    let mut kept = Vec::new();
    for one in all {
        if stays(one)? {
            kept.push(one.clone());
        }
    }
    Ok(kept)
}

/// A GPU then and now.
struct Then<'a> {
    before: &'a GpuShape,
    now: GpuShape,
    index: u32,
}

impl Then<'_> {
    /// The instance that had this id then, as it is now; `None` if it is gone.
    fn instance(&self, id: GpuInstanceId) -> Result<Option<&InstanceShape>, String> {
        let of = |shape: &'_ GpuShape| shape.instances.iter().position(|i| i.id == id);
        let index = self.index;
        let Some(then) = of(self.before).and_then(|at| self.before.instances.get(at)) else {
            return Err(alloc::format!(
                "GPU {index} had no GPU instance {id} when this was planned"
            ));
        };
        let Some(now) = of(&self.now).and_then(|at| self.now.instances.get(at)) else {
            return Ok(None);
        };
        if (now.profile, now.placement) == (then.profile, then.placement) {
            Ok(Some(now))
        } else {
            Err(alloc::format!(
                "GPU instance {id} of GPU {index} is another one than was planned for"
            ))
        }
    }

    /// Whether a compute instance is still there and the same.
    fn compute(&self, of: GpuInstanceId, id: ComputeInstanceId) -> Result<bool, String> {
        let Some(now) = self.instance(of)? else { return Ok(false) };
        let then = self.before.instances.iter().find(|instance| instance.id == of);
        let then = then.and_then(|instance| instance.computes.iter().find(|c| c.id == id));
        let index = self.index;
        let Some(then) = then else {
            return Err(alloc::format!(
                "GPU instance {of} of GPU {index} had no compute instance {id} when this was planned"
            ));
        };
        match now.computes.iter().find(|compute| compute.id == id) {
            None => Ok(false),
            Some(now) if now == then => Ok(true),
            Some(_) => Err(alloc::format!(
                "compute instance {id} of GPU instance {of} on GPU {index} is another one than was planned for"
            )),
        }
    }
}
