//! The functions this library implements, each once, with its C signature.
//!
//! Must never hold behaviour: a line names the function of a sibling module that serves it.

/// Calls `$callback!` with every implemented function as
/// `name(argument: type, …) => module::function;`.
///
/// The types are those of [`crate::types`]; each function returns `nvmlReturn_t`.
#[macro_export]
macro_rules! nvml_functions {
    ($callback:ident) => {
        $callback! {
            nvmlSystemGetDriverVersion(version: Buffer, length: u32) => library::driver_version;
            nvmlSystemGetCudaDriverVersion(version: Out<i32>) => library::cuda_version;
            nvmlSystemGetCudaDriverVersion_v2(version: Out<i32>) => library::cuda_version;
            nvmlSystemGetDriverBranch(branch: Out<DriverBranch>, length: u32) => library::driver_branch;
            nvmlSystemGetProcessName(pid: u32, name: Buffer, length: u32) => library::process_name;
            nvmlSystemGetHicVersion(count: Out<u32>, entries: Out<u64>) => library::hic_version;
            nvmlUnitGetCount(count: Out<u32>) => library::unit_count;
            nvmlGetExcludedDeviceCount(count: Out<u32>) => library::unit_count;
            nvmlGetExcludedDeviceInfoByIndex(index: u32, info: Out<ExcludedDevice>) => library::excluded_device;

            nvmlDeviceGetCount(count: Out<u32>) => discovery::count;
            nvmlDeviceGetCount_v2(count: Out<u32>) => discovery::count;
            nvmlDeviceGetHandleByIndex(index: u32, device: Out<Device>) => discovery::by_index;
            nvmlDeviceGetHandleByIndex_v2(index: u32, device: Out<Device>) => discovery::by_index;
            nvmlDeviceGetHandleBySerial(serial: Text, device: Out<Device>) => discovery::by_serial;
            nvmlDeviceGetHandleByUUID(uuid: Text, device: Out<Device>) => discovery::by_uuid;
            nvmlDeviceGetHandleByUUIDV(uuid: Out<Uuid>, device: Out<Device>) => discovery::by_uuid_v;
            nvmlDeviceGetHandleByPciBusId(bus_id: Text, device: Out<Device>) => discovery::by_pci;
            nvmlDeviceGetHandleByPciBusId_v2(bus_id: Text, device: Out<Device>) => discovery::by_pci;
            nvmlDeviceGetName(device: Device, name: Buffer, length: u32) => discovery::name;
            nvmlDeviceGetBrand(device: Device, brand: Out<u32>) => discovery::brand;
            nvmlDeviceGetIndex(device: Device, index: Out<u32>) => discovery::index;
            nvmlDeviceGetSerial(device: Device, serial: Buffer, length: u32) => discovery::serial;
            nvmlDeviceGetUUID(device: Device, uuid: Buffer, length: u32) => discovery::uuid;
            nvmlDeviceGetMinorNumber(device: Device, minor: Out<u32>) => discovery::minor;
            nvmlDeviceGetModuleId(device: Device, id: Out<u32>) => discovery::module_id;
            nvmlDeviceGetBoardId(device: Device, id: Out<u32>) => discovery::board_id;
            nvmlDeviceGetBoardPartNumber(device: Device, part: Buffer, length: u32) => discovery::board_part_number;
            nvmlDeviceGetVbiosVersion(device: Device, version: Buffer, length: u32) => discovery::vbios_version;
            nvmlDeviceGetInforomImageVersion(device: Device, version: Buffer, length: u32) => discovery::inforom_image;
            nvmlDeviceGetMultiGpuBoard(device: Device, multi: Out<u32>) => discovery::multi_gpu_board;
            nvmlDeviceGetArchitecture(device: Device, arch: Out<u32>) => discovery::architecture;
            nvmlDeviceGetCudaComputeCapability(device: Device, major: Out<i32>, minor: Out<i32>) => discovery::compute_capability;
            nvmlDeviceGetPciInfo(device: Device, pci: Out<PciInfo>) => discovery::pci_info;
            nvmlDeviceGetPciInfo_v2(device: Device, pci: Out<PciInfo>) => discovery::pci_info;
            nvmlDeviceGetPciInfo_v3(device: Device, pci: Out<PciInfo>) => discovery::pci_info;
            nvmlDeviceGetPciInfoExt(device: Device, pci: Out<PciInfoExt>) => discovery::pci_info_ext;
            nvmlDeviceGetNumGpuCores(device: Device, cores: Out<u32>) => discovery::core_count;
            nvmlDeviceGetVirtualizationMode(device: Device, mode: Out<u32>) => discovery::virtualization;
            nvmlDeviceGetAddressingMode(device: Device, mode: Out<AddressingMode>) => discovery::addressing_mode;
            nvmlDeviceGetGspFirmwareVersion(device: Device, version: Buffer) => discovery::gsp_version;
            nvmlDeviceGetGspFirmwareMode(device: Device, enabled: Out<u32>, default: Out<u32>) => discovery::gsp_mode;
            nvmlDeviceOnSameBoard(first: Device, second: Device, same: Out<i32>) => discovery::on_same_board;

            nvmlDeviceGetMigMode(device: Device, current: Out<u32>, pending: Out<u32>) => mig_mode::get;
            nvmlDeviceSetMigMode(device: Device, mode: u32, activation: Out<u32>) => mig_mode::set;

            nvmlDeviceIsMigDeviceHandle(device: Device, is: Out<u32>) => mig_device::is_mig;
            nvmlDeviceGetGpuInstanceId(device: Device, id: Out<u32>) => mig_device::gpu_instance_id;
            nvmlDeviceGetComputeInstanceId(device: Device, id: Out<u32>) => mig_device::compute_instance_id;
            nvmlDeviceGetMaxMigDeviceCount(device: Device, count: Out<u32>) => mig_device::max_count;
            nvmlDeviceGetMigDeviceHandleByIndex(device: Device, index: u32, mig: Out<Device>) => mig_device::by_index;
            nvmlDeviceGetDeviceHandleFromMigDeviceHandle(mig: Device, device: Out<Device>) => mig_device::parent;
            nvmlDeviceGetAttributes(device: Device, attributes: Out<Attributes>) => mig_device::attributes;
            nvmlDeviceGetAttributes_v2(device: Device, attributes: Out<Attributes>) => mig_device::attributes;

            nvmlDeviceGetGpuInstanceProfileInfo(device: Device, profile: u32, info: Out<GiProfile>) => gpu_instance::profile_info;
            nvmlDeviceGetGpuInstanceProfileInfoV(device: Device, profile: u32, info: Out<u32>) => gpu_instance::profile_info_v;
            nvmlDeviceGetGpuInstanceProfileInfoByIdV(device: Device, profile_id: u32, info: Out<u32>) => gpu_instance::profile_info_by_id;
            nvmlDeviceGetGpuInstancePossiblePlacements(device: Device, profile_id: u32, placements: Out<GiPlacement>, count: Out<u32>) => gpu_instance::placements;
            nvmlDeviceGetGpuInstancePossiblePlacements_v2(device: Device, profile_id: u32, placements: Out<GiPlacement>, count: Out<u32>) => gpu_instance::placements;
            nvmlDeviceGetGpuInstanceRemainingCapacity(device: Device, profile_id: u32, count: Out<u32>) => gpu_instance::capacity;
            nvmlDeviceCreateGpuInstance(device: Device, profile_id: u32, instance: Out<GpuInstance>) => gpu_instance::create;
            nvmlDeviceCreateGpuInstanceWithPlacement(device: Device, profile_id: u32, placement: In<GiPlacement>, instance: Out<GpuInstance>) => gpu_instance::create_at;
            nvmlGpuInstanceDestroy(instance: GpuInstance) => gpu_instance::destroy;
            nvmlDeviceGetGpuInstances(device: Device, profile_id: u32, instances: Out<GpuInstance>, count: Out<u32>) => gpu_instance::list;
            nvmlDeviceGetGpuInstanceById(device: Device, id: u32, instance: Out<GpuInstance>) => gpu_instance::by_id;
            nvmlGpuInstanceGetInfo(instance: GpuInstance, info: Out<GiInfo>) => gpu_instance::info;

            nvmlGpuInstanceGetComputeInstanceProfileInfo(instance: GpuInstance, profile: u32, engine: u32, info: Out<CiProfile>) => compute_instance::profile_info;
            nvmlGpuInstanceGetComputeInstanceProfileInfoV(instance: GpuInstance, profile: u32, engine: u32, info: Out<u32>) => compute_instance::profile_info_v;
            nvmlGpuInstanceGetComputeInstanceRemainingCapacity(instance: GpuInstance, profile_id: u32, count: Out<u32>) => compute_instance::capacity;
            nvmlGpuInstanceGetComputeInstancePossiblePlacements(instance: GpuInstance, profile_id: u32, placements: Out<CiPlacement>, count: Out<u32>) => compute_instance::placements;
            nvmlGpuInstanceCreateComputeInstance(instance: GpuInstance, profile_id: u32, compute: Out<ComputeInstance>) => compute_instance::create;
            nvmlGpuInstanceCreateComputeInstanceWithPlacement(instance: GpuInstance, profile_id: u32, placement: In<CiPlacement>, compute: Out<ComputeInstance>) => compute_instance::create_at;
            nvmlComputeInstanceDestroy(compute: ComputeInstance) => compute_instance::destroy;
            nvmlGpuInstanceGetComputeInstances(instance: GpuInstance, profile_id: u32, computes: Out<ComputeInstance>, count: Out<u32>) => compute_instance::list;
            nvmlGpuInstanceGetComputeInstanceById(instance: GpuInstance, id: u32, compute: Out<ComputeInstance>) => compute_instance::by_id;
            nvmlComputeInstanceGetInfo(compute: ComputeInstance, info: Out<CiInfo>) => compute_instance::info;
            nvmlComputeInstanceGetInfo_v2(compute: ComputeInstance, info: Out<CiInfo>) => compute_instance::info_v2;

            nvmlDeviceGetMemoryInfo(device: Device, memory: Out<Memory>) => memory::info;
            nvmlDeviceGetMemoryInfo_v2(device: Device, memory: Out<MemoryV2>) => memory::info_v2;
            nvmlDeviceGetBAR1MemoryInfo(device: Device, memory: Out<Bar1>) => memory::bar1;
            nvmlDeviceGetMemoryBusWidth(device: Device, bits: Out<u32>) => memory::bus_width;

            nvmlDeviceGetComputeRunningProcesses(device: Device, count: Out<u32>, infos: Out<ProcessV1>) => processes::compute_v1;
            nvmlDeviceGetComputeRunningProcesses_v2(device: Device, count: Out<u32>, infos: Out<Process>) => processes::compute;
            nvmlDeviceGetComputeRunningProcesses_v3(device: Device, count: Out<u32>, infos: Out<Process>) => processes::compute;
            nvmlDeviceGetGraphicsRunningProcesses(device: Device, count: Out<u32>, infos: Out<ProcessV1>) => processes::graphics_v1;
            nvmlDeviceGetGraphicsRunningProcesses_v2(device: Device, count: Out<u32>, infos: Out<Process>) => processes::graphics;
            nvmlDeviceGetGraphicsRunningProcesses_v3(device: Device, count: Out<u32>, infos: Out<Process>) => processes::graphics;
            nvmlDeviceGetMPSComputeRunningProcesses(device: Device, count: Out<u32>, infos: Out<ProcessV1>) => processes::mps_v1;
            nvmlDeviceGetMPSComputeRunningProcesses_v2(device: Device, count: Out<u32>, infos: Out<Process>) => processes::mps;
            nvmlDeviceGetMPSComputeRunningProcesses_v3(device: Device, count: Out<u32>, infos: Out<Process>) => processes::mps;
            nvmlDeviceGetRunningProcessDetailList(device: Device, list: Out<ProcessDetailList>) => processes::details;
            nvmlDeviceGetProcessUtilization(device: Device, samples: Out<ProcessUtilization>, count: Out<u32>, since: u64) => processes::utilization;

            nvmlDeviceGetUtilizationRates(device: Device, rates: Out<Utilization>) => utilization::rates;
            nvmlDeviceGetEncoderUtilization(device: Device, percent: Out<u32>, period: Out<u32>) => utilization::engine;
            nvmlDeviceGetDecoderUtilization(device: Device, percent: Out<u32>, period: Out<u32>) => utilization::engine;
            nvmlDeviceGetJpgUtilization(device: Device, percent: Out<u32>, period: Out<u32>) => utilization::engine;
            nvmlDeviceGetOfaUtilization(device: Device, percent: Out<u32>, period: Out<u32>) => utilization::engine;
            nvmlDeviceGetSamples(device: Device, kind: u32, since: u64, value_type: Out<u32>, count: Out<u32>, samples: Out<Sample>) => utilization::samples;

            nvmlDeviceGetPowerUsage(device: Device, milliwatts: Out<u32>) => telemetry::power_usage;
            nvmlDeviceGetPowerManagementMode(device: Device, mode: Out<u32>) => telemetry::power_management_mode;
            nvmlDeviceGetPowerManagementLimit(device: Device, milliwatts: Out<u32>) => telemetry::power_limit;
            nvmlDeviceGetPowerManagementDefaultLimit(device: Device, milliwatts: Out<u32>) => telemetry::power_limit;
            nvmlDeviceGetEnforcedPowerLimit(device: Device, milliwatts: Out<u32>) => telemetry::power_limit;
            nvmlDeviceGetPowerManagementLimitConstraints(device: Device, min: Out<u32>, max: Out<u32>) => telemetry::power_constraints;
            nvmlDeviceGetTotalEnergyConsumption(device: Device, millijoules: Out<u64>) => telemetry::energy;
            nvmlDeviceGetPowerSource(device: Device, source: Out<u32>) => telemetry::power_source;
            nvmlDeviceGetPowerState(device: Device, state: Out<u32>) => telemetry::performance_state;
            nvmlDeviceGetPerformanceState(device: Device, state: Out<u32>) => telemetry::performance_state;
            nvmlDeviceGetTemperature(device: Device, sensor: u32, celsius: Out<u32>) => telemetry::temperature;
            nvmlDeviceGetTemperatureV(device: Device, temperature: Out<Temperature>) => telemetry::temperature_v;
            nvmlDeviceGetTemperatureThreshold(device: Device, kind: u32, celsius: Out<u32>) => telemetry::temperature_threshold;
            nvmlDeviceGetNumFans(device: Device, count: Out<u32>) => telemetry::fan_count;
            nvmlDeviceGetFanSpeed(device: Device, percent: Out<u32>) => telemetry::fan_speed;
            nvmlDeviceGetFanSpeed_v2(device: Device, fan: u32, percent: Out<u32>) => telemetry::fan_speed_of;
            nvmlDeviceGetClockInfo(device: Device, clock: u32, mhz: Out<u32>) => clocks::current;
            nvmlDeviceGetMaxClockInfo(device: Device, clock: u32, mhz: Out<u32>) => clocks::maximum;
            nvmlDeviceGetClock(device: Device, clock: u32, id: u32, mhz: Out<u32>) => clocks::by_id;
            nvmlDeviceGetApplicationsClock(device: Device, clock: u32, mhz: Out<u32>) => clocks::maximum;
            nvmlDeviceGetDefaultApplicationsClock(device: Device, clock: u32, mhz: Out<u32>) => clocks::maximum;
            nvmlDeviceGetMaxCustomerBoostClock(device: Device, clock: u32, mhz: Out<u32>) => clocks::maximum;
            nvmlDeviceGetSupportedMemoryClocks(device: Device, count: Out<u32>, mhz: Out<u32>) => clocks::supported_memory;
            nvmlDeviceGetSupportedGraphicsClocks(device: Device, memory: u32, count: Out<u32>, mhz: Out<u32>) => clocks::supported_graphics;
            nvmlDeviceGetCurrentClocksEventReasons(device: Device, reasons: Out<u64>) => clocks::event_reasons;
            nvmlDeviceGetCurrentClocksThrottleReasons(device: Device, reasons: Out<u64>) => clocks::event_reasons;
            nvmlDeviceGetSupportedClocksEventReasons(device: Device, reasons: Out<u64>) => clocks::supported_reasons;
            nvmlDeviceGetSupportedClocksThrottleReasons(device: Device, reasons: Out<u64>) => clocks::supported_reasons;
            nvmlDeviceSetApplicationsClocks(device: Device, memory: u32, graphics: u32) => clocks::set_applications;
            nvmlDeviceResetApplicationsClocks(device: Device) => clocks::reset;
            nvmlDeviceSetGpuLockedClocks(device: Device, min: u32, max: u32) => clocks::lock;
            nvmlDeviceSetMemoryLockedClocks(device: Device, min: u32, max: u32) => clocks::lock;
            nvmlDeviceResetGpuLockedClocks(device: Device) => clocks::reset;
            nvmlDeviceResetMemoryLockedClocks(device: Device) => clocks::reset;

            nvmlDeviceGetCurrPcieLinkGeneration(device: Device, generation: Out<u32>) => pcie::generation;
            nvmlDeviceGetMaxPcieLinkGeneration(device: Device, generation: Out<u32>) => pcie::generation;
            nvmlDeviceGetGpuMaxPcieLinkGeneration(device: Device, generation: Out<u32>) => pcie::generation;
            nvmlDeviceGetCurrPcieLinkWidth(device: Device, width: Out<u32>) => pcie::width;
            nvmlDeviceGetMaxPcieLinkWidth(device: Device, width: Out<u32>) => pcie::width;
            nvmlDeviceGetPcieThroughput(device: Device, counter: u32, kib: Out<u32>) => pcie::throughput;
            nvmlDeviceGetPcieReplayCounter(device: Device, value: Out<u32>) => pcie::replays;
            nvmlDeviceGetPcieSpeed(device: Device, mbps: Out<u32>) => pcie::speed;
            nvmlDeviceGetPcieLinkMaxSpeed(device: Device, speed: Out<u32>) => pcie::max_speed;
            nvmlDeviceGetBusType(device: Device, bus: Out<u32>) => pcie::bus_type;

            nvmlDeviceGetPersistenceMode(device: Device, mode: Out<u32>) => modes::persistence;
            nvmlDeviceSetPersistenceMode(device: Device, mode: u32) => modes::set_persistence;
            nvmlDeviceGetComputeMode(device: Device, mode: Out<u32>) => modes::compute;
            nvmlDeviceGetDisplayMode(device: Device, mode: Out<u32>) => modes::off;
            nvmlDeviceGetDisplayActive(device: Device, mode: Out<u32>) => modes::off;
            nvmlDeviceGetAccountingMode(device: Device, mode: Out<u32>) => modes::off;
            nvmlDeviceSetAccountingMode(device: Device, mode: u32) => modes::set_accounting;
            nvmlDeviceGetAccountingBufferSize(device: Device, size: Out<u32>) => modes::accounting_buffer;
            nvmlDeviceGetAccountingPids(device: Device, count: Out<u32>, pids: Out<u32>) => modes::accounting_pids;
            nvmlDeviceGetHostVgpuMode(device: Device, mode: Out<u32>) => modes::host_vgpu;
            nvmlDeviceGetConfComputeMemSizeInfo(device: Device, info: Out<ConfComputeMemory>) => modes::confidential_memory;

            nvmlDeviceGetEccMode(device: Device, current: Out<u32>, pending: Out<u32>) => ecc::mode;
            nvmlDeviceGetDefaultEccMode(device: Device, mode: Out<u32>) => ecc::default_mode;
            nvmlDeviceGetTotalEccErrors(device: Device, error: u32, counter: u32, count: Out<u64>) => ecc::total;
            nvmlDeviceGetMemoryErrorCounter(device: Device, error: u32, counter: u32, location: u32, count: Out<u64>) => ecc::at_location;
            nvmlDeviceGetDetailedEccErrors(device: Device, error: u32, counter: u32, counts: Out<EccCounts>) => ecc::detailed;
            nvmlDeviceGetRemappedRows(device: Device, corrected: Out<u32>, uncorrected: Out<u32>, pending: Out<u32>, failed: Out<u32>) => ecc::remapped_rows;
            nvmlDeviceGetRowRemapperHistogram(device: Device, values: Out<RowRemapper>) => ecc::row_histogram;

            nvmlDeviceGetTopologyCommonAncestor(first: Device, second: Device, level: Out<u32>) => topology::common_ancestor;
            nvmlDeviceGetTopologyNearestGpus(device: Device, level: u32, count: Out<u32>, devices: Out<Device>) => topology::nearest;
            nvmlSystemGetTopologyGpuSet(cpu: u32, count: Out<u32>, devices: Out<Device>) => topology::gpus_of_cpu;
            nvmlDeviceGetP2PStatus(first: Device, second: Device, index: u32, status: Out<u32>) => topology::p2p;
            nvmlDeviceGetCpuAffinity(device: Device, words: u32, set: Out<u64>) => topology::cpu_affinity;
            nvmlDeviceGetCpuAffinityWithinScope(device: Device, words: u32, set: Out<u64>, scope: u32) => topology::cpu_affinity_in;
            nvmlDeviceGetMemoryAffinity(device: Device, words: u32, set: Out<u64>, scope: u32) => topology::memory_affinity;
            nvmlDeviceGetNumaNodeId(device: Device, node: Out<u32>) => topology::numa_node;
            nvmlDeviceSetCpuAffinity(device: Device) => topology::set_cpu_affinity;
            nvmlDeviceClearCpuAffinity(device: Device) => topology::set_cpu_affinity;
            nvmlDeviceGetNvLinkState(device: Device, link: u32, active: Out<u32>) => nvlink::state;
            nvmlDeviceGetNvLinkVersion(device: Device, link: u32, version: Out<u32>) => nvlink::version;
            nvmlDeviceGetNvLinkCapability(device: Device, link: u32, capability: u32, result: Out<u32>) => nvlink::capability;
            nvmlDeviceGetNvLinkRemotePciInfo(device: Device, link: u32, pci: Out<PciInfo>) => nvlink::remote_pci;
            nvmlDeviceGetNvLinkRemotePciInfo_v2(device: Device, link: u32, pci: Out<PciInfo>) => nvlink::remote_pci;
            nvmlDeviceGetNvLinkRemoteDeviceType(device: Device, link: u32, kind: Out<u32>) => nvlink::remote_type;
            nvmlDeviceGetNvLinkErrorCounter(device: Device, link: u32, counter: u32, value: Out<u64>) => nvlink::errors;
            nvmlDeviceGetGpuFabricInfo(device: Device, info: Out<FabricInfo>) => nvlink::fabric;
            nvmlDeviceGetGpuFabricInfoV(device: Device, info: Out<u32>) => nvlink::fabric_v;

            nvmlDeviceGetFieldValues(device: Device, count: i32, values: Out<FieldValue>) => fields::get;

            nvmlEventSetCreate(set: Out<EventSet>) => events::create;
            nvmlDeviceRegisterEvents(device: Device, types: u64, set: EventSet) => events::register;
            nvmlDeviceGetSupportedEventTypes(device: Device, types: Out<u64>) => events::supported;
            nvmlEventSetWait(set: EventSet, data: Out<EventData>, timeout_ms: u32) => events::wait;
            nvmlEventSetWait_v2(set: EventSet, data: Out<EventData>, timeout_ms: u32) => events::wait;
            nvmlEventSetFree(set: EventSet) => events::free;

            nvmlGpmQueryDeviceSupport(device: Device, support: Out<GpmSupport>) => gpm::support;
            nvmlGpmSampleAlloc(sample: Out<GpmSample>) => gpm::alloc;
            nvmlGpmSampleFree(sample: GpmSample) => gpm::free;
            nvmlGpmSampleGet(device: Device, sample: GpmSample) => gpm::sample;
            nvmlGpmMigSampleGet(device: Device, instance: u32, sample: GpmSample) => gpm::sample_instance;
            nvmlGpmMetricsGet(metrics: Out<GpmHead>) => gpm::metrics;
            nvmlGpmQueryIfStreamingEnabled(device: Device, enabled: Out<u32>) => gpm::streaming;
        }
    };
}
