//! The simulated CUDA: which device a process gets, what it must be able to open, and what it
//! occupies there.
//!
//! Must never give a process a device that the real CUDA would not: a process that cannot open the
//! nodes of a slice does not get the slice.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use model::MemoryMib;
use sim_gpu::{
    Activity, ComputeRef, ContextId, ContextKind, ContextRequest, Node, Return, Target,
    compute_instance_minor, gpu_instance_minor,
};

use crate::host::{SimError, SimHost};
use crate::process;
use crate::trees;

/// What a CUDA program wants.
#[derive(Debug, Clone, Default)]
pub struct CudaRequest {
    /// The value of `CUDA_VISIBLE_DEVICES`; `None` = not set.
    pub visible_devices: Option<String>,
    /// Memory it occupies.
    pub memory: MemoryMib,
    /// In which of NVML's process lists it appears.
    pub kind: ContextKind,
    /// How busy it keeps the device over time.
    pub activity: Activity,
}

/// Why a CUDA program fails, with CUDA's number.
#[derive(Debug, thiserror::Error)]
pub enum CudaError {
    /// 2: the device has not that much free memory.
    #[error("CUDA error 2: out of memory ({asked} asked for)")]
    OutOfMemory {
        /// What was asked for.
        asked: MemoryMib,
    },
    /// 100: nothing is visible.
    #[error("CUDA error 100: no CUDA-capable device is detected ({reason})")]
    NoDevice {
        /// Why nothing is visible.
        reason: String,
    },
    /// 46: the device is there but does not work or may not be used.
    #[error("CUDA error 46: all CUDA-capable devices are busy or unavailable ({0})")]
    Unavailable(Return),
    /// The simulated host itself failed.
    #[error(transparent)]
    Host(#[from] SimError),
}

impl CudaError {
    /// CUDA's number for it; 999 for what is not CUDA's.
    pub const fn code(&self) -> u32 {
        match self {
            Self::OutOfMemory { .. } => 2,
            Self::NoDevice { .. } => 100,
            Self::Unavailable(_) => 46,
            Self::Host(_) => 999,
        }
    }
}

/// A context with the device nodes it keeps open; they close when it is dropped, and the context
/// is forgotten when the process dies.
#[derive(Debug)]
pub struct CudaContext {
    /// Its number in the simulated driver.
    pub id: ContextId,
    /// Index of its GPU.
    pub gpu: usize,
    /// Its device on that GPU.
    pub target: Target,
    /// UUID of its device: of the GPU or of the MIG device.
    pub uuid: String,
    /// Usable memory of its device.
    pub memory_total: MemoryMib,
    _open: Vec<File>,
}

impl SimHost {
    /// Begins a context of this process, as the first CUDA call of a program does: chooses the
    /// device by `CUDA_VISIBLE_DEVICES`, opens its nodes, occupies memory.
    ///
    /// # Errors
    /// [`CudaError`]; nothing is held then.
    pub fn begin_context(&self, request: &CudaRequest) -> Result<CudaContext, CudaError> {
        let version = self.node()?;
        let node = &version.value;
        let visible = visible_devices(node, request.visible_devices.as_deref());
        let mut denied = None;
        for (gpu, mig) in visible {
            match open_nodes(self, node, gpu, mig) {
                Ok(open) => return self.occupy(node, gpu, mig, request, open),
                Err(path) => denied = Some(path),
            }
        }
        let reason = match denied {
            Some(path) => format!("cannot open {}", path.display()),
            None => format!(
                "CUDA_VISIBLE_DEVICES={} names nothing usable",
                request.visible_devices.as_deref().unwrap_or("(not set)")
            ),
        };
        Err(CudaError::NoDevice { reason })
    }

    fn occupy(
        &self,
        node: &Node,
        gpu: usize,
        mig: Option<ComputeRef>,
        request: &CudaRequest,
        open: Vec<File>,
    ) -> Result<CudaContext, CudaError> {
        let target = mig.map_or(Target::Gpu, |mig| Target::Compute(mig.instance.id, mig.id));
        let device = |code| CudaError::Unavailable(code);
        let (uuid, memory_total) = match mig {
            None => {
                let uuid = node.gpu(gpu).map_err(device)?.uuid.as_str().to_owned();
                (uuid, node.board(gpu).map_err(device)?.total_memory)
            }
            Some(mig) => {
                let found = node.mig_device(gpu, mig).map_err(device)?;
                (found.uuid.as_str().to_owned(), found.memory)
            }
        };
        let id = self.change(|node, now| {
            // The instance may have gone, or been made anew, since it was looked up.
            if let Some(mig) = mig {
                node.compute_instance(gpu, mig)?;
            }
            node.open_context(ContextRequest {
                process: process::this(),
                gpu,
                target,
                memory: request.memory,
                kind: request.kind,
                activity: request.activity.clone(),
                now,
            })
        })?;
        match id {
            Ok(id) => Ok(CudaContext { id, gpu, target, uuid, memory_total, _open: open }),
            Err(Return::Memory) => Err(CudaError::OutOfMemory { asked: request.memory }),
            Err(code) => Err(CudaError::Unavailable(code)),
        }
    }
}

/// What a process sees, in its order: whole GPUs with MIG off, and at most one MIG device, which
/// hides everything else (the rule up to R525, and what later CUDA does with one GPU instance).
fn visible_devices(node: &Node, variable: Option<&str>) -> Vec<(usize, Option<ComputeRef>)> {
    let everything = ordered(node);
    let Some(variable) = variable else { return first_slice_only(everything) };
    let mut chosen = Vec::new();
    for name in variable.split(',').map(str::trim) {
        // A name that means nothing ends the list: CUDA ignores what follows it.
        let Some(device) = named(node, &everything, name) else { break };
        if chosen.contains(&device) {
            // Naming a device twice makes the whole list invalid.
            return Vec::new();
        }
        chosen.push(device);
    }
    first_slice_only(chosen)
}

/// Every device CUDA could enumerate, in its index order.
fn ordered(node: &Node) -> Vec<(usize, Option<ComputeRef>)> {
    let mut devices = Vec::new();
    for (gpu, state) in node.gpus.iter().enumerate() {
        if state.mig_on() {
            let slices = node.mig_devices(gpu).unwrap_or_default();
            devices.extend(slices.into_iter().map(|mig| (gpu, Some(mig))));
        } else {
            devices.push((gpu, None));
        }
    }
    devices
}

fn named(
    node: &Node,
    everything: &[(usize, Option<ComputeRef>)],
    name: &str,
) -> Option<(usize, Option<ComputeRef>)> {
    if name.starts_with("MIG-") {
        return node.mig_device_by_uuid(name).map(|(gpu, mig)| (gpu, Some(mig)));
    }
    if name.starts_with("GPU-") {
        // CUDA accepts the beginning of a UUID if only one GPU has it.
        let mut matching = node.gpus.iter().enumerate().filter(|(_, gpu)| {
            gpu.uuid.as_str().get(..name.len()).is_some_and(|part| part.eq_ignore_ascii_case(name))
        });
        let (gpu, state) = matching.next()?;
        if matching.next().is_some() {
            return None;
        }
        return if state.mig_on() {
            // A GPU in MIG mode by its own UUID: its first slice.
            everything.iter().copied().find(|(other, mig)| *other == gpu && mig.is_some())
        } else {
            Some((gpu, None))
        };
    }
    let index: usize = name.parse().ok()?;
    everything.get(index).copied()
}

/// With a MIG device among them a process gets the first MIG device and nothing else.
fn first_slice_only(devices: Vec<(usize, Option<ComputeRef>)>) -> Vec<(usize, Option<ComputeRef>)> {
    match devices.iter().find(|(_, mig)| mig.is_some()) {
        Some(slice) => vec![*slice],
        None => devices,
    }
}

/// Opens what CUDA opens; the path of the first one that it cannot.
fn open_nodes(
    host: &SimHost,
    node: &Node,
    gpu: usize,
    mig: Option<ComputeRef>,
) -> Result<Vec<File>, PathBuf> {
    let root = host.root();
    let Ok(state) = node.gpu(gpu) else { return Err(root.to_owned()) };
    let open = |path: PathBuf, write: bool| {
        let mut options = File::options();
        options.read(true).write(write).custom_flags(0);
        options.open(&path).map_err(|_| path)
    };
    let mut files = vec![
        open(root.join("dev/nvidiactl"), true)?,
        open(root.join("dev/nvidia-uvm"), true)?,
        open(trees::gpu_node(root, state.minor), true)?,
    ];
    if let Some(mig) = mig {
        let instance = gpu_instance_minor(state.minor, mig.instance.id);
        let compute = compute_instance_minor(state.minor, mig.instance.id, mig.id);
        for minor in [instance, compute] {
            trees::modprobe(root, state.minor, mig, minor);
            files.push(open(trees::capability_node(root, minor), false)?);
        }
    }
    Ok(files)
}
