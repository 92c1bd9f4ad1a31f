//! Room kept for somebody for a time to come.
//!
//! Must never hold a time zone or a calendar: whoever books turned them into instants.

use alloc::string::String;
use alloc::vec::Vec;

use model::{BookingId, GpuUuid, Tenant, Timestamp, Uid};
use serde::{Deserialize, Serialize};

use crate::event::SliceTarget;
use crate::request::{GpuSelector, Wanted};

/// What is booked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BookingSpec {
    /// Whom it is charged to.
    pub tenant: Tenant,
    /// Who booked; a request that uses the booking comes from the same user or tenant.
    pub uid: Uid,
    /// What is wanted.
    pub wanted: Wanted,
    /// How many, all or none.
    pub count: u32,
    /// On which GPUs.
    pub gpu: GpuSelector,
    /// From when.
    pub from: Timestamp,
    /// Until when; leases that use it end then.
    pub until: Timestamp,
    /// A name of its own.
    pub name: Option<String>,
    /// The window of the configuration it comes from, if it does.
    #[serde(default)]
    pub window: Option<String>,
}

/// A booking that was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Booking {
    /// Its number.
    pub id: BookingId,
    /// What is booked.
    pub spec: BookingSpec,
    /// The places kept for it. A place is closed to every lease that might still be there at
    /// [`BookingSpec::from`].
    pub places: Vec<SliceTarget>,
    /// Whole GPUs kept for it.
    pub whole: Vec<GpuUuid>,
    /// When it was accepted.
    pub booked_at: Timestamp,
    /// Whether a lease made use of it.
    #[serde(default)]
    pub used: bool,
}

/// Why a booking is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BookingEnd {
    /// Its time is over.
    Over,
    /// Whoever booked, or an administrator, gave it up.
    Cancelled,
    /// Nobody came; the room is given to others.
    NotUsed,
    /// Its places are lost and no others could be found; the sentence says why.
    Lost(String),
}
