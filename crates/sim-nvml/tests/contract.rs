//! The order of checks, versions of structs, buffers, rights, and garbage.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail in its helpers too")]

mod common;

use common::{
    INSUFFICIENT_RESOURCES, INSUFFICIENT_SIZE, INVALID_ARGUMENT, NO_PERMISSION, NOT_FOUND,
    NOT_SUPPORTED, OK, TIMEOUT, UNINITIALIZED, VERSION_MISMATCH, ask, bench, create, create_at,
    create_compute, gpu, mig_device, mig_on, room,
};
use model::MemoryMib;
use proptest::prelude::*;
use sim_gpu::{Activity, ContextKind, Fault, FaultEffect, Return};
use sim_nvml::types::{
    ComputeInstance, Device, EventSet, GpmSample, GpuInstance, In, Out, Process, Text, Uuid,
};
use sim_nvml::{CudaError, CudaRequest, entry};

fn null<T>() -> Out<T> {
    Out::new(std::ptr::null_mut())
}

#[test]
fn uninitialized_comes_before_everything() {
    let bench = bench("a30:1");
    assert_eq!(entry::nvmlShutdown(), OK);
    assert_eq!(entry::nvmlDeviceGetCount_v2(null()), UNINITIALIZED);
    assert_eq!(entry::nvmlDeviceGetHandleByUUID(Text::NULL, null()), UNINITIALIZED);
    assert_eq!(entry::nvmlGpuInstanceDestroy(GpuInstance::from_bits(0)), UNINITIALIZED);
    assert_eq!(entry::stub(), UNINITIALIZED);
    // Without any init the real library answers SUCCESS.
    assert_eq!(entry::nvmlShutdown(), OK);
    // The version and the texts work before.
    let version = common::text(|out, n| entry::nvmlSystemGetNVMLVersion(out, n)).unwrap();
    assert_eq!(version, "13.580.126.09");
    // Initialisation counts.
    assert_eq!(entry::nvmlInit_v2(), OK);
    assert_eq!(entry::nvmlInitWithFlags(1), OK);
    assert_eq!(bench.host.node().unwrap().value.sessions[0].count, 2);
    assert_eq!(entry::nvmlShutdown(), OK);
    assert_eq!(ask(|out| entry::nvmlDeviceGetCount_v2(out)), Ok(1));
    assert_eq!(entry::stub(), NOT_SUPPORTED);
    assert_eq!(entry::nvmlShutdown(), OK);
    assert_eq!(entry::nvmlDeviceGetCount_v2(null()), UNINITIALIZED);
    assert!(bench.host.node().unwrap().value.sessions.is_empty());
}

#[test]
fn arguments_are_checked_before_the_state() {
    let _bench = bench("a100-sxm4-40gb:1");
    let device = gpu(0);
    assert_eq!(entry::nvmlDeviceGetCount_v2(null()), INVALID_ARGUMENT);
    assert_eq!(ask::<Device>(|out| entry::nvmlDeviceGetHandleByIndex_v2(1, out)), Err(2));
    let nobody = Device::from_bits(0);
    assert_eq!(ask::<u32>(|out| entry::nvmlDeviceGetIndex(nobody, out)), Err(INVALID_ARGUMENT));
    // MIG is off: the arguments still count first.
    assert_eq!(entry::nvmlDeviceCreateGpuInstance(device, 19, null()), INVALID_ARGUMENT);
    assert_eq!(create(device, 19), Err(NOT_SUPPORTED));
    assert_eq!(ask::<u32>(|out| entry::nvmlDeviceSetMigMode(device, 2, out)), Err(2));
    assert_eq!(mig_device(device, 0), Err(NOT_FOUND));
    assert_eq!(ask::<u32>(|out| entry::nvmlDeviceGetGpuInstanceId(device, out)), Err(3));
    mig_on(device);
    assert_eq!(create(device, 77), Err(INVALID_ARGUMENT));
    assert_eq!(create_at(device, 19, 7, 1), Err(INVALID_ARGUMENT));
    assert_eq!(create_at(device, 19, 1 << 30, u32::MAX), Err(INVALID_ARGUMENT));
    let one = create_at(device, 19, 6, 1).unwrap();
    assert_eq!(create_at(device, 19, 6, 1), Err(INSUFFICIENT_RESOURCES));
    // Profile enums: gaps, then the end.
    let profile = |number| {
        ask::<sim_nvml::types::GiProfile>(|out| {
            entry::nvmlDeviceGetGpuInstanceProfileInfo(device, number, out)
        })
        .map(|info| info.id)
    };
    let ids: Vec<_> = (0..19).map(profile).collect();
    assert_eq!(ids[..4], [Ok(19), Ok(14), Ok(9), Ok(5)]);
    assert_eq!(ids[5], Err(NOT_SUPPORTED));
    assert_eq!(ids[18], Err(INVALID_ARGUMENT));
    // Engine profiles: shared only.
    let engine = |engine| {
        ask::<sim_nvml::types::CiProfile>(|out| {
            entry::nvmlGpuInstanceGetComputeInstanceProfileInfo(one, 0, engine, out)
        })
        .map(|info| info.sliceCount)
    };
    assert_eq!((engine(0), engine(1)), (Ok(1), Err(INVALID_ARGUMENT)));
}

#[test]
fn a_mig_handle_answers_what_a_real_one_does() {
    let _bench = bench("a100-sxm4-40gb:1");
    let device = gpu(0);
    mig_on(device);
    create_compute(create(device, 14).unwrap(), 1).unwrap();
    let mig = mig_device(device, 0).unwrap();
    let is_mig = |device| ask(|out| entry::nvmlDeviceIsMigDeviceHandle(device, out));
    assert_eq!((is_mig(device), is_mig(mig)), (Ok(0), Ok(1)));
    let parent = ask(|out| entry::nvmlDeviceGetDeviceHandleFromMigDeviceHandle(mig, out));
    assert_eq!(parent, Ok(device));
    let refused = [
        ask::<u32>(|out| entry::nvmlDeviceGetPowerUsage(mig, out)),
        ask::<u32>(|out| entry::nvmlDeviceGetTemperature(mig, 0, out)),
        ask::<u32>(|out| entry::nvmlDeviceGetClockInfo(mig, 0, out)),
        ask::<u32>(|out| entry::nvmlDeviceGetCurrPcieLinkWidth(mig, out)),
        ask::<u32>(|out| entry::nvmlDeviceGetNvLinkState(mig, 0, out)),
        ask::<u32>(|out| entry::nvmlDeviceGetFanSpeed(device, out)),
        ask::<u32>(|out| entry::nvmlDeviceGetNumGpuCores(device, out)),
    ];
    assert_eq!(refused, [Err(NOT_SUPPORTED); 7]);
    let rates = ask::<sim_nvml::types::Utilization>(|out| {
        entry::nvmlDeviceGetUtilizationRates(device, out)
    });
    assert_eq!(rates.map(drop), Err(NOT_SUPPORTED));
    let attributes = ask(|out| entry::nvmlDeviceGetAttributes_v2(mig, out)).unwrap();
    assert_eq!(
        (attributes.multiprocessorCount, attributes.gpuInstanceSliceCount, attributes.memorySizeMB),
        (28, 2, 9984)
    );
    let wrong = ask::<u32>(|out| entry::nvmlDeviceSetMigMode(mig, 0, out));
    assert_eq!(wrong, Err(INVALID_ARGUMENT));
}

#[test]
fn versions_decide_what_is_written() {
    let _bench = bench("a100-sxm4-40gb:1");
    let device = gpu(0);
    mig_on(device);
    let info = |version: u32| {
        let mut words = [0xAAAA_AAAAu32; 39];
        words[0] = version;
        let out = Out::new(words.as_mut_ptr());
        let code = entry::nvmlDeviceGetGpuInstanceProfileInfoV(device, 0, out);
        (code, words)
    };
    let (code, second) = info(0x0200_0098);
    // id, P2P, slices, instances, SMs; nothing beyond the 152 bytes is touched.
    assert_eq!((code, &second[1..6]), (OK, &[19, 0, 1, 7, 14][..]));
    assert_eq!(second[38], 0xAAAA_AAAA);
    let (code, third) = info(0x0300_0098);
    assert_eq!((code, &third[1..5]), (OK, &[19, 1, 7, 14][..]));
    assert_eq!(third[36], 0, "capabilities");
    for bad in [0x0100_0098, 0x0400_0098, 0x0200_0097, 0] {
        let (code, untouched) = info(bad);
        assert_eq!(code, VERSION_MISMATCH);
        assert_eq!(untouched[1..], [0xAAAA_AAAA; 38]);
    }
    let mut words = [0u32; 10];
    words[0] = 0x0200_0028;
    let memory = Out::new(words.as_mut_ptr()).cast();
    assert_eq!(entry::nvmlDeviceGetMemoryInfo_v2(device, memory), OK);
    assert_eq!(u64::from(words[2]) | u64::from(words[3]) << 32, 40960 << 20);
}

#[test]
fn short_buffers_are_refused_and_long_lists_counted() {
    let bench = bench("a100-sxm4-40gb:1");
    let device = gpu(0);
    let mut name = [0x55i8; 8];
    let buffer = Out::new(name.as_mut_ptr());
    assert_eq!(entry::nvmlDeviceGetName(device, buffer, 8), INSUFFICIENT_SIZE);
    assert_eq!(name, [0x55; 8]);
    let request = CudaRequest { memory: MemoryMib::new(100), ..CudaRequest::default() };
    let _context = bench.host.begin_context(&request).unwrap();
    let (count, _) = room::<u32>();
    count.put(0).unwrap();
    let code = entry::nvmlDeviceGetComputeRunningProcesses_v3(device, count, null());
    assert_eq!((code, count.get()), (INSUFFICIENT_SIZE, Ok(1)));
    let (infos, _) = room::<Process>();
    let code = entry::nvmlDeviceGetComputeRunningProcesses_v3(device, count, infos);
    assert_eq!(code, OK);
    let process = infos.get().unwrap();
    assert_eq!((process.pid, process.gpuInstanceId), (std::process::id(), u32::MAX));
    assert_eq!(process.usedGpuMemory, 100 << 20);
}

#[test]
fn cuda_chooses_and_fails_as_the_real_one() {
    let bench = bench("a100-sxm4-40gb:2");
    let (first, second) = (gpu(0), gpu(1));
    mig_on(first);
    let visible = |value: Option<&str>, memory: u64| {
        bench.host.begin_context(&CudaRequest {
            visible_devices: value.map(str::to_owned),
            memory: MemoryMib::new(memory),
            ..CudaRequest::default()
        })
    };
    // MIG on without a slice: only the other GPU is there, as index 0.
    assert_eq!(visible(Some("0"), 1).unwrap().gpu, 1);
    assert_eq!(visible(Some("1"), 1).unwrap_err().code(), 100);
    assert_eq!(visible(Some("MIG-nobody"), 1).unwrap_err().code(), 100);
    let uuid = |device| common::text(|out, n| entry::nvmlDeviceGetUUID(device, out, n)).unwrap();
    assert_eq!(visible(Some(&uuid(first)), 1).unwrap_err().code(), 100);
    for _ in 0..2 {
        create_compute(create(first, 19).unwrap(), 0).unwrap();
    }
    let slices = [uuid(mig_device(first, 0).unwrap()), uuid(mig_device(first, 1).unwrap())];
    // Of two slices the process gets the first one only.
    let both = format!("{},{}", slices[1], slices[0]);
    assert_eq!(visible(Some(&both), 1).unwrap().uuid, slices[1]);
    assert_eq!(visible(Some(&slices[0]), 5000).unwrap_err().code(), 2);
    let old = format!("MIG-{}/{}/0", uuid(first), 11);
    assert_eq!(visible(Some(&old), 1).unwrap().uuid, slices[0]);
    assert_eq!(visible(Some(&uuid(second)), 1).unwrap().gpu, 1);
    assert_eq!(visible(Some(""), 1).unwrap_err().code(), 100);
    // A slice whose node cannot be opened is not there.
    let minor = 3 + 9 * 13;
    let node = bench.host.root().join(format!("dev/nvidia-caps/nvidia-cap{minor}"));
    std::fs::remove_file(&node).unwrap();
    let denied = visible(Some(&slices[1]), 1).unwrap_err();
    assert!(matches!(&denied, CudaError::NoDevice { reason } if reason.contains("nvidia-cap120")));
}

#[test]
fn a_context_blocks_its_slice_and_ends_with_it() {
    let bench = bench("h100-sxm5-80gb:1");
    let device = gpu(0);
    mig_on(device);
    let instance = create(device, 19).unwrap();
    let compute = create_compute(instance, 0).unwrap();
    let context = bench
        .host
        .begin_context(&CudaRequest {
            memory: MemoryMib::new(1000),
            kind: ContextKind::Compute,
            activity: Activity::constant(50, 20),
            ..CudaRequest::default()
        })
        .unwrap();
    assert_eq!(entry::nvmlComputeInstanceDestroy(compute), common::IN_USE);
    // GPM sees how busy it is.
    let samples = [(); 2].map(|()| ask(|out| entry::nvmlGpmSampleAlloc(out)).unwrap());
    assert_eq!(entry::nvmlGpmMigSampleGet(device, 13, samples[0]), OK);
    std::thread::sleep(std::time::Duration::from_millis(120));
    assert_eq!(entry::nvmlGpmMigSampleGet(device, 13, samples[1]), OK);
    let mut words = vec![0u64; 13344 / 8];
    words[0] = 1 | 2 << 32;
    for (at, sample) in samples.iter().enumerate() {
        words[1 + at] = sample.pointer::<u8>().addr() as u64;
    }
    (words[3], words[8]) = (2, 200);
    words[13] = 0xAAAA;
    let head = Out::new(words.as_mut_ptr()).cast();
    assert_eq!(entry::nvmlGpmMetricsGet(head), OK);
    assert!((f64::from_bits(words[4]) - 50.0).abs() < 1.0, "{}", f64::from_bits(words[4]));
    assert_eq!(words[8] >> 32, u64::from(NOT_SUPPORTED), "an unknown metric has its own code");
    assert_eq!(words[13], 0xAAAA, "a third metric is not touched");
    bench.host.end_context(context.id).unwrap();
    assert_eq!(entry::nvmlComputeInstanceDestroy(compute), OK);
}

#[test]
fn events_name_the_instance_and_time_out() {
    let _bench = bench("a100-sxm4-40gb:1");
    let device = gpu(0);
    let set = ask(|out| entry::nvmlEventSetCreate(out)).unwrap();
    let types = ask(|out| entry::nvmlDeviceGetSupportedEventTypes(device, out)).unwrap();
    assert_eq!(types & 0x108, 0x108);
    assert_eq!(entry::nvmlDeviceRegisterEvents(device, types, set), OK);
    assert_eq!(entry::nvmlDeviceRegisterEvents(device, 1 << 60, set), NOT_SUPPORTED);
    let wait = |ms| {
        ask::<sim_nvml::types::EventData>(|out| entry::nvmlEventSetWait_v2(set, out, ms))
            .map(|data| (data.eventType, data.gpuInstanceId))
    };
    assert_eq!(wait(1), Err(TIMEOUT));
    mig_on(device);
    let before = wait(0).unwrap();
    assert_eq!(before.0, 0x100);
    create(device, 19).unwrap();
    assert_eq!(wait(50), Ok((0x100, 13)));
    assert_eq!(entry::nvmlEventSetFree(set), OK);
    assert_eq!(entry::nvmlEventSetFree(set), INVALID_ARGUMENT);
}

#[test]
fn faults_hit_the_named_call_and_are_logged() {
    let bench = bench("a100-sxm4-40gb:1");
    let device = gpu(0);
    mig_on(device);
    let fault =
        |call: &str, effect| Fault { call: call.into(), gpu: None, skip: 1, times: 1, effect };
    let code = FaultEffect::Return(Return::Unknown);
    bench.host.inject_fault(fault("DeviceCreateGpuInstance", code)).unwrap();
    bench.host.clear_calls().unwrap();
    assert!(create(device, 19).is_ok());
    assert_eq!(create(device, 19), Err(999));
    let third = create(device, 19).unwrap();
    let destroyed = FaultEffect::Lie;
    bench.host.inject_fault(Fault { skip: 0, ..fault("GpuInstanceDestroy", destroyed) }).unwrap();
    assert_eq!(entry::nvmlGpuInstanceDestroy(third), OK);
    assert_eq!(common::place(third).2, 1, "it is still there");
    let read = FaultEffect::Return(Return::GpuIsLost);
    bench.host.inject_fault(Fault { skip: 0, ..fault("DeviceGetName", read) }).unwrap();
    let name = || common::text(|out, n| entry::nvmlDeviceGetName(device, out, n));
    assert_eq!(name(), Err(15));
    assert!(name().is_ok());
    let calls = bench.host.calls().unwrap();
    let results: Vec<_> = calls.iter().map(|call| call.result.as_str()).collect();
    assert_eq!(results, ["SUCCESS", "UNKNOWN", "SUCCESS", "SUCCESS"]);
    assert_eq!(calls[3].call, "nvmlGpuInstanceDestroy");
    assert!(calls.windows(2).all(|pair| pair[0].generation < pair[1].generation));
}

#[test]
fn old_drivers_lack_new_symbols() {
    let _bench = bench("driver = \"550.163.01\"\n[[gpu]]\nboard = \"a30\"\n");
    assert!(entry::symbol("nvmlDeviceGetGpuInstanceProfileInfoV").is_some());
    assert!(entry::symbol("nvmlDeviceGetGpuInstanceProfileInfoByIdV").is_none());
    assert!(entry::symbol("nvmlNothing").is_none());
    let missing =
        ask::<u32>(|out| entry::nvmlDeviceGetGpuInstanceProfileInfoByIdV(gpu(0), 14, out));
    assert_eq!(missing, Err(13));
}

#[test]
fn every_name_of_the_header_resolves() {
    let _bench = bench("driver = \"620.1\"\n[[gpu]]\nboard = \"a30\"\n");
    let mut count = 0;
    for name in include_str!("../src/nvml-symbols.txt").lines() {
        assert!(entry::symbol(name).is_some(), "{name}");
        count += 1;
    }
    assert_eq!(count, 412);
    assert!(entry::STUBS.iter().all(|name| !entry::IMPLEMENTED.contains(name)));
}

#[test]
fn plain_users_see_slices_but_not_the_list_of_instances() {
    // The rights are read at initialisation; another process is the honest way to have others.
    let bench = bench_of_plain_user();
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "as_a_plain_user", "--nocapture"])
        .env("MIGD_SIM_RIGHTS", "plain")
        .env(sim_nvml::HOST_VARIABLE, bench.host.dir())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("plain user saw everything right"), "{said}");
}

fn bench_of_plain_user() -> common::Bench {
    let bench = bench("a100-sxm4-40gb:1");
    let device = gpu(0);
    mig_on(device);
    create_compute(create(device, 19).unwrap(), 0).unwrap();
    bench
}

/// The other process of [`plain_users_see_slices_but_not_the_list_of_instances`]; run by itself it
/// has nothing to look at.
#[test]
fn as_a_plain_user() {
    if std::env::var_os("MIGD_SIM_RIGHTS").is_none() {
        return;
    }
    assert_eq!(entry::nvmlInit_v2(), OK);
    let device = gpu(0);
    let mig = mig_device(device, 0).unwrap();
    assert!(ask(|out| entry::nvmlDeviceGetMemoryInfo(mig, out)).is_ok());
    let by_id = ask::<GpuInstance>(|out| entry::nvmlDeviceGetGpuInstanceById(device, 13, out));
    assert_eq!(by_id, Err(NO_PERMISSION));
    assert_eq!(create(device, 19), Err(NO_PERMISSION));
    let mode = ask::<u32>(|out| entry::nvmlDeviceSetMigMode(device, 0, out));
    assert_eq!(mode, Err(NO_PERMISSION));
    println!("plain user saw everything right");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn garbage_handles_and_numbers_are_answered_not_followed(
        tagged: bool,
        low: u64,
        numbers: [u32; 4],
    ) {
        let bench = bench("a100-sxm4-40gb:1");
        mig_on(gpu(0));
        create_compute(create(gpu(0), 14).unwrap(), 0).unwrap();
        let bits = if tagged { 0x2D << 40 | low & ((1 << 40) - 1) } else { low };
        let device = Device::from_bits(bits);
        let [a, b, c, d] = numbers;
        let (count, _) = room::<u32>();
        count.put(0).unwrap();
        let known = |code: u32| code <= 30 || code == 999;
        let placement = Box::leak(Box::new(sim_nvml::types::GiPlacement { start: a, size: b }));
        let codes = [
            ask::<u32>(|out| entry::nvmlDeviceGetIndex(device, out)).err().unwrap_or(0),
            ask::<Device>(|out| entry::nvmlDeviceGetHandleByIndex_v2(a, out)).err().unwrap_or(0),
            mig_device(device, a).err().unwrap_or(0),
            create(device, a).err().unwrap_or(0),
            ask::<GpuInstance>(|out| entry::nvmlDeviceCreateGpuInstanceWithPlacement(
                device, c, In::new(&raw const *placement), out)).err().unwrap_or(0),
            entry::nvmlGpuInstanceDestroy(GpuInstance::from_bits(bits)),
            entry::nvmlComputeInstanceDestroy(ComputeInstance::from_bits(bits)),
            ask::<ComputeInstance>(|out| entry::nvmlGpuInstanceCreateComputeInstance(
                GpuInstance::from_bits(bits), d, out)).err().unwrap_or(0),
            entry::nvmlDeviceGetComputeRunningProcesses_v3(device, count, null()),
            ask::<u32>(|out| entry::nvmlDeviceGetClockInfo(device, a, out)).err().unwrap_or(0),
            ask::<u64>(|out| entry::nvmlDeviceGetTotalEccErrors(device, a, b, out)).err().unwrap_or(0),
            ask::<u32>(|out| entry::nvmlDeviceGetNvLinkState(device, a, out)).err().unwrap_or(0),
            ask::<u32>(|out| entry::nvmlDeviceGetP2PStatus(device, device, a, out)).err().unwrap_or(0),
            entry::nvmlDeviceRegisterEvents(device, low, EventSet::from_bits(bits)),
            entry::nvmlEventSetFree(EventSet::from_bits(bits)),
            entry::nvmlGpmSampleFree(GpmSample::from_bits(bits)),
            entry::nvmlDeviceGetHandleByUUIDV(null::<Uuid>(), null()),
            entry::nvmlDeviceGetFieldValues(device, a.cast_signed(), null()),
        ];
        for code in codes {
            prop_assert!(known(code), "{code}");
        }
        let node = bench.host.node().unwrap();
        prop_assert_eq!(node.value.check_invariants(), Ok(()));
    }
}
