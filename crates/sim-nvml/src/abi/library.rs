//! Questions about the driver as a whole.
//!
//! Must never need a GPU.

use sim_gpu::Return;

use super::args::{Buffer, Out, Outcome};
use super::structs::{DriverBranch, fixed_version};
use crate::call::Call;
use crate::types::ExcludedDevice;
use crate::{process, session};

/// `nvmlSystemGetNVMLVersion`; without a host the default driver's.
pub(crate) fn nvml_version(version: Buffer, length: u32) -> Outcome {
    let node = match session::current() {
        Some(session) => session.host.node().ok(),
        None => session::bound_to()
            .and_then(|dir| crate::SimHost::open(&dir).ok())
            .and_then(|host| host.node().ok()),
    };
    let text = node.map_or_else(
        || sim_gpu::Driver::default().nvml_version(),
        |node| node.value.driver.nvml_version(),
    );
    version.put_text(&text, length)
}

pub(crate) fn driver_version(call: &Call, version: Buffer, length: u32) -> Outcome {
    call.fault()?;
    version.put_text(&call.node().driver.version, length)
}

pub(crate) fn cuda_version(call: &Call, version: Out<i32>) -> Outcome {
    call.fault()?;
    version.put(call.node().driver.cuda.cast_signed())
}

pub(crate) fn driver_branch(call: &Call, branch: Out<DriverBranch>, _length: u32) -> Outcome {
    let version = branch.cast::<u32>().get()?;
    fixed_version::<DriverBranch>(version, 1)?;
    let text = format!("r{}_00", call.node().driver.branch());
    branch.put(DriverBranch { version, branch: super::args::fixed(&text) })
}

pub(crate) fn process_name(_call: &Call, pid: u32, name: Buffer, length: u32) -> Outcome {
    name.check()?;
    if length == 0 {
        return Err(Return::InvalidArgument);
    }
    let found = process::name(pid).ok_or(Return::NotFound)?;
    // The real call cuts the name to fit.
    let room = length as usize - 1;
    let mut end = found.len().min(room);
    while !found.is_char_boundary(end) {
        end -= 1;
    }
    name.put_text(&found[..end], length)
}

pub(crate) fn hic_version(_call: &Call, count: Out<u32>, _entries: Out<u64>) -> Outcome {
    count.put(0)
}

pub(crate) fn unit_count(_call: &Call, count: Out<u32>) -> Outcome {
    count.put(0)
}

pub(crate) fn excluded_device(_call: &Call, _index: u32, _info: Out<ExcludedDevice>) -> Outcome {
    Err(Return::InvalidArgument)
}
