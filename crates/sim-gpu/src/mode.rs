//! MIG mode, reset, driver reload, reboot: what each changes and what survives it.
//!
//! Must never lose or keep an instance against the persistence matrix (`nvml.md` §3.3).

use model::{MigMode, Timestamp};

use crate::caller::{Caller, Rights};
use crate::clients::HoldKind;
use crate::event::EventKind;
use crate::gpu::{GpuHealth, RecoveryAction, Virtualization};
use crate::node::Node;
use crate::ret::Return;

/// What an accepted `nvmlDeviceSetMigMode` reports: whether the wish took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ModeChange {
    /// SUCCESS, or why the mode is only pending: IN_USE or RESET_REQUIRED.
    pub activation: Return,
}

impl Node {
    /// Whether the GPU can do MIG here: its board has profiles and nothing refuses the mode.
    ///
    /// # Errors
    /// INVALID_ARGUMENT if there is no such GPU.
    pub fn mig_capable(&self, gpu: usize) -> Result<bool, Return> {
        let refused = self.gpu(gpu)?.mig_refused;
        Ok(!refused && !self.board(gpu)?.geometry.profiles.is_empty())
    }

    /// The mode in force and the mode after the next reset.
    ///
    /// # Errors
    /// NOT_SUPPORTED on a GPU without MIG.
    pub fn mig_mode(&self, gpu: usize) -> Result<(MigMode, MigMode), Return> {
        let found = self.working_gpu(gpu)?;
        if self.mig_capable(gpu)? {
            Ok((found.current, found.pending))
        } else {
            Err(Return::NotSupported)
        }
    }

    /// Wishes for a MIG mode. The result tells whether the wish was accepted, and inside it whether
    /// it took effect (`nvml.md` §3.3, row by row).
    ///
    /// # Errors
    /// NOT_SUPPORTED without MIG, NO_PERMISSION for callers but root and on vGPU guests, IN_USE
    /// when MIG is to be turned off while instances exist.
    pub fn set_mig_mode(
        &mut self,
        gpu: usize,
        caller: Caller,
        mode: MigMode,
        now: Timestamp,
    ) -> Result<ModeChange, Return> {
        let found = self.working_gpu(gpu)?;
        if !self.mig_capable(gpu)? {
            return Err(Return::NotSupported);
        }
        if found.virtualization == Virtualization::VgpuGuest {
            return Err(Return::NoPermission);
        }
        caller.require(Rights::Root)?;
        if found.current == mode {
            self.gpu_mut(gpu)?.pending = mode;
            return Ok(ModeChange { activation: Return::Success });
        }
        if mode == MigMode::Disabled && !found.instances.is_empty() {
            return Err(Return::InUse);
        }
        let activation = self.activation(gpu, caller)?;
        let found = self.gpu_mut(gpu)?;
        found.pending = mode;
        if activation == Return::Success {
            found.current = mode;
            self.record(gpu, EventKind::MigConfigChange, 0, None, None, now);
        }
        Ok(ModeChange { activation })
    }

    /// Whether a mode change of the GPU needs a reset: Ampere's does, unless overridden.
    ///
    /// # Errors
    /// INVALID_ARGUMENT if there is no such GPU.
    pub fn mode_change_needs_reset(&self, gpu: usize) -> Result<bool, Return> {
        let resetless = self.gpu(gpu)?.resetless;
        Ok(!resetless.unwrap_or(!self.board(gpu)?.mode_change_needs_reset))
    }

    fn activation(&self, gpu: usize, caller: Caller) -> Result<Return, Return> {
        let needs_reset = self.mode_change_needs_reset(gpu)?;
        let passthrough = self.gpu(gpu)?.virtualization == Virtualization::Passthrough;
        let held = self.held_by_client(gpu)
            || needs_reset && self.knobs.sessions_block_mode && self.held_by_session(gpu, caller);
        Ok(match (needs_reset && passthrough, held) {
            (true, _) => Return::ResetRequired,
            (false, true) => Return::InUse,
            (false, false) => Return::Success,
        })
    }

    /// Whether a context or a client-like holder is on the GPU or anything of it.
    pub fn held_by_client(&self, gpu: usize) -> bool {
        self.contexts.iter().any(|context| context.gpu == gpu)
            || self.holders.iter().any(|holder| {
                holder.kind == HoldKind::Client && holder.gpu.is_none_or(|held| held == gpu)
            })
    }

    /// Whether a process other than `caller` has an NVML session, or a holder pretends to.
    pub(crate) fn held_by_session(&self, gpu: usize, caller: Caller) -> bool {
        self.sessions.iter().any(|session| session.process != caller.process)
            || self.holders.iter().any(|holder| {
                holder.kind == HoldKind::Session && holder.gpu.is_none_or(|held| held == gpu)
            })
    }

    /// Resets the GPU: the pending mode becomes the mode, its instances are lost. NVML has no call
    /// for it; `nvidia-smi -r` and sysfs do.
    ///
    /// # Errors
    /// NO_PERMISSION, GPU_IS_LOST, NOT_SUPPORTED in a passthrough machine, IN_USE while anybody
    /// but the caller uses the GPU, or persistence mode is on.
    pub fn reset_gpu(&mut self, gpu: usize, caller: Caller, now: Timestamp) -> Result<(), Return> {
        let found = self.gpu(gpu)?;
        if found.health == GpuHealth::Lost {
            return Err(Return::GpuIsLost);
        }
        caller.require(Rights::Root)?;
        if found.virtualization != Virtualization::BareMetal {
            return Err(Return::NotSupported);
        }
        let by_session = self.knobs.sessions_block_mode && self.held_by_session(gpu, caller);
        // Persistence mode keeps the driver's state of the GPU, and with it the GPU (NVSentinel#1692).
        if self.held_by_client(gpu) || by_session || found.persistence {
            return Err(Return::InUse);
        }
        let found = self.gpu_mut(gpu)?;
        found.current = found.pending;
        found.lose_instances();
        found.recover();
        self.record(gpu, EventKind::MigConfigChange, 0, None, None, now);
        Ok(())
    }

    /// Unloads the driver and loads it again: Ampere keeps its mode (InfoROM), Hopper and later
    /// lose it, instances are lost. Simulated processes live on, so they get an event.
    ///
    /// # Errors
    /// NO_PERMISSION; IN_USE while anybody but the caller uses the driver.
    pub fn reload_driver(&mut self, caller: Caller, now: Timestamp) -> Result<(), Return> {
        caller.require(Rights::Root)?;
        let sessions = self.sessions.iter().any(|session| session.process != caller.process);
        if sessions || !self.contexts.is_empty() || !self.holders.is_empty() {
            return Err(Return::InUse);
        }
        self.start_driver(now);
        Ok(())
    }

    /// Reboots the machine: as a driver reload, and every process and holder is gone, every GPU
    /// works again.
    pub fn reboot(&mut self, now: Timestamp) {
        self.contexts.clear();
        self.sessions.clear();
        self.holders.clear();
        self.boots = self.boots.wrapping_add(1);
        self.start_driver(now);
        self.gpus.iter_mut().for_each(crate::gpu::Gpu::recover);
    }

    /// Takes everything back to how the host was made: MIG off, nobody there, no faults. Knobs and
    /// the numbers of events and creations stay.
    pub fn wipe(&mut self, now: Timestamp) {
        self.reboot(now);
        self.faults.clear();
        for gpu in &mut self.gpus {
            gpu.current = MigMode::Disabled;
            gpu.pending = MigMode::Disabled;
        }
    }

    fn start_driver(&mut self, now: Timestamp) {
        for (index, gpu) in self.gpus.iter_mut().enumerate() {
            let keeps =
                self.boards.get(index).is_none_or(|b| b.architecture < crate::BoardFacts::HOPPER);
            gpu.pending = if keeps { gpu.pending } else { MigMode::Disabled };
            gpu.current = gpu.pending;
            gpu.persistence = false;
            gpu.lose_instances();
        }
        for gpu in 0..self.gpus.len() {
            self.record(gpu, EventKind::MigConfigChange, 0, None, None, now);
        }
    }

    /// Turns persistence mode on or off.
    ///
    /// # Errors
    /// NO_PERMISSION for callers but root.
    pub fn set_persistence(&mut self, gpu: usize, caller: Caller, on: bool) -> Result<(), Return> {
        self.working_gpu(gpu)?;
        caller.require(Rights::Root)?;
        self.gpu_mut(gpu)?.persistence = on;
        Ok(())
    }
}

impl crate::gpu::Gpu {
    fn lose_instances(&mut self) {
        self.instances.clear();
        self.generation = self.generation.wrapping_add(1);
    }

    fn recover(&mut self) {
        self.health = GpuHealth::Ok;
        self.recovery = RecoveryAction::None;
        self.ecc_corrected = 0;
        self.ecc_uncorrected = 0;
    }
}
