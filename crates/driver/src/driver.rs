//! The driver: signatures first.
#![allow(
    clippy::todo,
    missing_docs,
    unused_variables,
    clippy::missing_errors_doc,
    clippy::unused_self,
    clippy::unnecessary_wraps,
    reason = "signatures, committed ahead of the bodies"
)]
use crate::*;
use model::*;
use std::path::Path;
#[derive(Debug)]
pub struct Driver {}
impl Driver {
    pub fn load() -> Result<Self, DriverError> {
        todo!()
    }
    pub fn load_path(path: &Path) -> Result<Self, DriverError> {
        todo!()
    }
    pub fn open(resolver: Resolver) -> Result<Self, DriverError> {
        todo!()
    }
    pub fn close(&self) -> Result<(), DriverError> {
        todo!()
    }
    pub fn reopen(&self) -> Result<(), DriverError> {
        todo!()
    }
    pub fn versions(&self) -> Result<Versions, DriverError> {
        todo!()
    }
    pub fn gpus(&self) -> Result<Vec<GpuUuid>, DriverError> {
        todo!()
    }
    pub fn snapshot(&self, now: Timestamp) -> Result<NodeSnapshot, DriverError> {
        todo!()
    }
    pub fn gpu_snapshot(&self, gpu: &GpuUuid) -> Result<GpuSnapshot, DriverError> {
        todo!()
    }
    pub fn refresh_geometry(&self, gpu: &GpuUuid) {
        todo!()
    }
    pub fn create_gpu_instance(
        &self,
        gpu: &GpuUuid,
        profile: GpuInstanceProfileId,
        placement: Placement,
    ) -> Result<GpuInstanceId, DriverError> {
        todo!()
    }
    pub fn create_compute_instance(
        &self,
        gpu: &GpuUuid,
        gpu_instance: GpuInstanceId,
        profile: ComputeInstanceProfileId,
        placement: Option<Placement>,
    ) -> Result<CreatedCompute, DriverError> {
        todo!()
    }
    pub fn destroy_compute_instance(
        &self,
        gpu: &GpuUuid,
        gpu_instance: GpuInstanceId,
        compute_instance: ComputeInstanceId,
    ) -> Result<(), DriverError> {
        todo!()
    }
    pub fn destroy_gpu_instance(
        &self,
        gpu: &GpuUuid,
        gpu_instance: GpuInstanceId,
    ) -> Result<(), DriverError> {
        todo!()
    }
    pub fn set_mig_mode(&self, gpu: &GpuUuid, mode: MigMode) -> Result<ModeChange, DriverError> {
        todo!()
    }
    pub fn execute(&self, step: &Step) -> Result<Outcome, DriverError> {
        todo!()
    }
    pub fn gpu_extras(&self, gpu: &GpuUuid) -> Result<GpuExtras, DriverError> {
        todo!()
    }
    pub fn mig_device(&self, uuid: &MigUuid) -> Result<MigDevice, DriverError> {
        todo!()
    }
    pub fn remaining_capacity(
        &self,
        gpu: &GpuUuid,
        profile: GpuInstanceProfileId,
    ) -> Result<u32, DriverError> {
        todo!()
    }
    pub fn topology(&self) -> Result<TopologyMatrix, DriverError> {
        todo!()
    }
    pub fn watch(&self, gpus: &[GpuUuid]) -> Result<EventWatch, DriverError> {
        todo!()
    }
}
