//! GPM: averages between two samples, on Hopper and later.
//!
//! Must never touch more metrics than the caller announced: the array's length grew between
//! header versions while the version word stayed 1.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use model::GpuInstanceId;
use sim_gpu::{GpmSample as Taken, GpmUse, HandleKind, Query, Return};

use super::args::{Out, Outcome};
use super::handles::{Kind, Parts};
use super::structs::{GpmMetric, sys};
use crate::call::Call;
use crate::types::{Device, GpmHead, GpmSample, GpmSupport};

/// The version of every GPM struct.
const VERSION: u32 = 1;
/// The most metrics of any header so far.
const MOST_METRICS: u32 = 333;

/// The samples of a session, by number; `None` until one is taken.
#[derive(Debug, Default)]
pub(crate) struct Samples(Mutex<(u32, BTreeMap<u32, Option<Taken>>)>);

impl Samples {
    fn lock(&self) -> MutexGuard<'_, (u32, BTreeMap<u32, Option<Taken>>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn support(call: &Call, device: Device, support: Out<GpmSupport>) -> Outcome {
    let found = call.device(device)?;
    let version = support.cast::<u32>().get()?;
    if version != VERSION {
        return Err(Return::ArgumentVersionMismatch);
    }
    let supported = u32::from(call.node().board(found.gpu)?.gpm);
    support.put(sys::nvmlGpmSupport_t { version, isSupportedDevice: supported })
}

pub(crate) fn streaming(call: &Call, device: Device, enabled: Out<u32>) -> Outcome {
    call.query(device, Query::Gpm)?;
    enabled.put(0)
}

pub(crate) fn alloc(call: &Call, sample: Out<GpmSample>) -> Outcome {
    sample.check()?;
    let mut samples = call.session.samples.lock();
    let number = samples.0;
    samples.0 = (number + 1) & 0x001f_ffff;
    samples.1.insert(number, None);
    sample.put(GpmSample::of(Parts {
        kind: Kind::GpmSample,
        gpu: 0,
        gpu_instance: 0,
        compute_instance: 0,
        generation: number,
    }))
}

pub(crate) fn free(call: &Call, sample: GpmSample) -> Outcome {
    let number = sample.parts()?.generation;
    let mut samples = call.session.samples.lock();
    samples.1.remove(&number).map(drop).ok_or(Return::InvalidArgument)
}

fn store(call: &Call, sample: GpmSample, taken: Taken) -> Outcome {
    let number = sample.parts()?.generation;
    let mut samples = call.session.samples.lock();
    *samples.1.get_mut(&number).ok_or(Return::InvalidArgument)? = Some(taken);
    Ok(())
}

/// A MIG handle samples its GPU instance.
pub(crate) fn sample(call: &Call, device: Device, sample: GpmSample) -> Outcome {
    call.query(device, Query::Gpm)?;
    sample.parts()?;
    let found = call.device(device)?;
    let instance = found.mig.map(|mig| mig.instance.id);
    let taken = call.swept().value.gpm_sample(found.gpu, instance, call.session.host.now())?;
    store(call, sample, taken)
}

pub(crate) fn sample_instance(
    call: &Call,
    device: Device,
    instance: u32,
    sample: GpmSample,
) -> Outcome {
    let gpu = call.gpu(device)?;
    call.node().supports(gpu, Query::Gpm, HandleKind::Gpu)?;
    sample.parts()?;
    let id = GpuInstanceId::new(instance);
    let taken = call.swept().value.gpm_sample(gpu, Some(id), call.session.host.now())?;
    store(call, sample, taken)
}

/// Number, names, unit and value of the metrics that the simulator knows.
type Known = (u32, &'static CStr, &'static CStr, fn(GpmUse) -> f64);

const KNOWN: &[Known] = &[
    (1, c"Graphics Util", c"Graphics engine utilization", |used| used.graphics),
    (2, c"SM Util", c"SM utilization", |used| used.sm),
    (3, c"SM Occupancy", c"SM occupancy", |used| used.sm / 2.0),
    (4, c"Integer Util", c"Integer pipe utilization", |used| used.sm / 8.0),
    (5, c"Any Tensor Util", c"Tensor pipe utilization", |used| used.sm / 4.0),
    (10, c"DRAM BW Util", c"DRAM bandwidth utilization", |used| used.dram),
    (11, c"FP64 Util", c"FP64 pipe utilization", |_| 0.0),
    (12, c"FP32 Util", c"FP32 pipe utilization", |used| used.sm / 4.0),
    (13, c"FP16 Util", c"FP16 pipe utilization", |used| used.sm / 8.0),
];

fn taken(call: &Call, bits: u64) -> Outcome<Taken> {
    let number = GpmSample::from_bits(bits).parts()?.generation;
    let samples = call.session.samples.lock();
    samples.1.get(&number).cloned().flatten().ok_or(Return::InvalidArgument)
}

pub(crate) fn metrics(call: &Call, metrics: Out<GpmHead>) -> Outcome {
    let head = metrics.get()?;
    if head.version != VERSION {
        return Err(Return::ArgumentVersionMismatch);
    }
    if head.num_metrics == 0 || head.num_metrics > MOST_METRICS {
        return Err(Return::InvalidArgument);
    }
    let earlier = taken(call, head.sample1)?;
    let later = taken(call, head.sample2)?;
    let used = Taken::between(&earlier, &later)?;
    let array = metrics.at(1).cast::<GpmMetric>();
    for index in 0..head.num_metrics as usize {
        let place = array.at(index);
        let mut metric = place.get()?;
        let known = KNOWN.iter().find(|known| known.0 == metric.id);
        if let Some((_, short, long, value)) = known {
            metric.code = Return::Success.code();
            metric.value = value(used);
            metric.short_name = short.as_ptr();
            metric.long_name = long.as_ptr();
            metric.unit = c"%".as_ptr();
        } else {
            metric.code = Return::NotSupported.code();
            metric.value = 0.0;
        }
        place.put(metric)?;
    }
    Ok(())
}
