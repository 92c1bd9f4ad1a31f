//! Waiting for the driver's events on GPUs.
//!
//! Must never be taken for state: events are hints, and whoever gets one reads the GPU again.

use std::time::Duration;

use crate::answers::DriverEvent;
use crate::error::DriverError;

/// A set of GPUs whose MIG configuration changes and Xids are waited for. It keeps the NVML session
/// alive: drop it before closing the driver for a reset.
#[derive(Debug)]
pub struct EventWatch {}

impl EventWatch {
    /// Waits for the next event, at most `timeout` (NVML counts whole milliseconds).
    ///
    /// # Errors
    /// [`DriverError::Call`]; `GPU_IS_LOST` when a watched GPU fell off the bus.
    pub fn wait(&self, timeout: Duration) -> Result<Option<DriverEvent>, DriverError> {
        let _ = timeout;
        Err(DriverError::Closed)
    }
}
