//! What calls of the simulated NVML cost: `cargo run --release -p sim-nvml --example call_costs`.
//!
//! Must never be a test: it prints, and the reader compares with the budget (a read call under
//! 2 µs, a mutating call under 200 µs).
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use std::time::Instant;

use sim_nvml::entry;
use sim_nvml::types::{
    ComputeInstance, Device, GpuInstance, Memory, Out, Process, Text, Utilization,
};
use sim_nvml::{HostOptions, SimHost, spec_from_text};

fn report(name: &str, rounds: u32, mut call: impl FnMut()) {
    for _ in 0..rounds / 10 {
        call();
    }
    let start = Instant::now();
    for _ in 0..rounds {
        call();
    }
    println!("{name:45} {:>9} ns", start.elapsed().as_nanos() / u128::from(rounds));
}

/// Room for one value that C code fills.
fn room<T: Copy>() -> std::mem::MaybeUninit<T> {
    std::mem::MaybeUninit::uninit()
}

fn out<T>(room: &mut std::mem::MaybeUninit<T>) -> Out<T> {
    Out::new(room.as_mut_ptr())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let spec = spec_from_text("bench", "dgx-a100")?;
    let latencies = Some(sim_gpu::Latencies::ZERO);
    let host = SimHost::create(dir.path(), &spec, &HostOptions { latencies, shared: false })?;
    sim_nvml::attach(host.dir())?;
    assert_eq!(entry::nvmlInit_v2(), 0);

    let mut gpus = Vec::new();
    for index in 0..8 {
        let mut slot = [Device::from_bits(0)];
        assert_eq!(entry::nvmlDeviceGetHandleByIndex_v2(index, Out::new(slot.as_mut_ptr())), 0);
        let mut activation = 0;
        assert_eq!(entry::nvmlDeviceSetMigMode(slot[0], 1, Out::new(&raw mut activation)), 0);
        gpus.push(slot[0]);
    }
    // Seven slices on seven GPUs; the last GPU is for creating and destroying.
    for gpu in &gpus[..7] {
        for _ in 0..7 {
            let mut made = [GpuInstance::from_bits(0)];
            let instance = Out::new(made.as_mut_ptr());
            assert_eq!(entry::nvmlDeviceCreateGpuInstance(*gpu, 19, instance), 0);
            let mut compute = [ComputeInstance::from_bits(0)];
            let compute = Out::new(compute.as_mut_ptr());
            assert_eq!(entry::nvmlGpuInstanceCreateComputeInstance(made[0], 0, compute), 0);
        }
    }
    println!("8 GPUs, 49 MIG devices");

    let mut mig = [Device::from_bits(0)];
    assert_eq!(
        entry::nvmlDeviceGetMigDeviceHandleByIndex(gpus[6], 6, Out::new(mig.as_mut_ptr())),
        0
    );
    let mut text = [0; 96];
    let (mut number, mut other) = (0u32, 0u32);
    let mut memory = room::<Memory>();
    report("nvmlDeviceGetCount_v2", 100_000, || {
        entry::nvmlDeviceGetCount_v2(Out::new(&raw mut number));
    });
    report("nvmlDeviceGetMigMode", 100_000, || {
        entry::nvmlDeviceGetMigMode(gpus[0], Out::new(&raw mut number), Out::new(&raw mut other));
    });
    report("nvmlDeviceGetMemoryInfo (GPU)", 100_000, || {
        entry::nvmlDeviceGetMemoryInfo(gpus[0], out(&mut memory));
    });
    report("nvmlDeviceGetMemoryInfo (MIG device)", 100_000, || {
        entry::nvmlDeviceGetMemoryInfo(mig[0], out(&mut memory));
    });
    report("nvmlDeviceGetName (MIG device)", 100_000, || {
        entry::nvmlDeviceGetName(mig[0], Out::new(text.as_mut_ptr()), 96);
    });
    report("nvmlDeviceGetUUID (MIG device)", 100_000, || {
        entry::nvmlDeviceGetUUID(mig[0], Out::new(text.as_mut_ptr()), 96);
    });
    let mut handle = room::<Device>();
    report("nvmlDeviceGetMigDeviceHandleByIndex", 100_000, || {
        entry::nvmlDeviceGetMigDeviceHandleByIndex(gpus[3], 6, out(&mut handle));
    });
    report("nvmlDeviceGetHandleByUUID (none such)", 20_000, || {
        let text = Text::new(c"MIG-00000000-0000-5000-8000-000000000000");
        entry::nvmlDeviceGetHandleByUUID(text, out(&mut handle));
    });
    let mut rates = room::<Utilization>();
    report("nvmlDeviceGetUtilizationRates (refused)", 100_000, || {
        entry::nvmlDeviceGetUtilizationRates(gpus[0], out(&mut rates));
    });
    let mut processes = [room::<Process>()];
    report("nvmlDeviceGetComputeRunningProcesses_v3", 20_000, || {
        number = 0;
        let infos = Out::new(processes[0].as_mut_ptr());
        entry::nvmlDeviceGetComputeRunningProcesses_v3(gpus[0], Out::new(&raw mut number), infos);
    });
    report("create + destroy of a GPU instance", 1_000, || {
        let mut made = [GpuInstance::from_bits(0)];
        let code = entry::nvmlDeviceCreateGpuInstance(gpus[7], 19, Out::new(made.as_mut_ptr()));
        assert_eq!(code, 0);
        assert_eq!(entry::nvmlGpuInstanceDestroy(made[0]), 0);
    });
    report("a create that is refused", 1_000, || {
        let mut made = [GpuInstance::from_bits(0)];
        let code = entry::nvmlDeviceCreateGpuInstance(gpus[0], 19, Out::new(made.as_mut_ptr()));
        assert_eq!(code, 23);
    });
    assert_eq!(entry::nvmlShutdown(), 0);
    Ok(())
}
