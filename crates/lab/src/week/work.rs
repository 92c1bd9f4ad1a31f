//! What a week's work is: kinds, tenants, and the moments that all of it is counted from.
//!
//! Must never know how a column serves it.

use broker::{GpuSelector, Holder, IdleRule, Patience, Priority, RequestSpec, Terms, Wanted};
use model::{Millis, ProfileSelector, Tenant, Timestamp, Uid};

pub(crate) use crate::play::work::{Course, Work};

/// When the week begins: a Monday, midnight.
pub(crate) const MONDAY: Timestamp = Timestamp::from_millis(1_767_571_200_000);

pub(crate) const MINUTE: u64 = 60_000;
pub(crate) const HOUR: u64 = 60 * MINUTE;
pub(crate) const DAY: u64 = 24 * HOUR;

/// Hard limit of leases whose owners name none, by every tenant's rules but the services'.
pub(crate) const DEFAULT_TIME: Millis = Millis::new(DAY);

/// The tenants by name, in the order of their indices.
pub(crate) const TENANTS: [&str; 6] =
    ["nlp", "vision", "biology", "teaching", "robotics", "serving"];

/// A piece of work of the week before it is a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Task {
    /// Whether it takes a GPU as a whole.
    pub(crate) whole: bool,
    /// Whether it is a replica of a service.
    pub(crate) replica: bool,
    pub(crate) tenant: usize,
    pub(crate) uid: u32,
    /// Compute slices of the profile; 7 for a whole GPU, too.
    pub(crate) slices: u8,
    pub(crate) count: u32,
    pub(crate) asked_at: Timestamp,
    pub(crate) course: Course,
    pub(crate) time: Option<Millis>,
    pub(crate) expect: Option<Millis>,
    pub(crate) patience: Patience,
    pub(crate) priority: Priority,
    pub(crate) preemptible: bool,
    pub(crate) restartable: bool,
    pub(crate) name: Option<String>,
}

/// Grid units, of eight, that a profile with so many compute slices takes on an A100.
pub(crate) const fn units(slices: u8) -> u32 {
    match slices {
        1 => 1,
        2 => 2,
        3 | 4 => 4,
        _ => 8,
    }
}

impl From<Task> for Work {
    fn from(task: Task) -> Self {
        let spec = RequestSpec {
            tenant: Tenant::new(TENANTS[task.tenant]),
            uid: Uid::new(task.uid),
            wanted: if task.whole {
                Wanted::WholeGpu
            } else {
                Wanted::Profile(ProfileSelector::Slices(task.slices))
            },
            count: task.count,
            gpu: GpuSelector::Any,
            time: task.time,
            expect: task.expect,
            patience: task.patience,
            name: task.name,
            holder: Holder::Token { life: Millis::new(u64::MAX / 4) },
            command: None,
            terms: Terms {
                priority: task.priority,
                idle: if task.replica { IdleRule::Never } else { IdleRule::Tenant },
                preemptible: task.preemptible,
                restartable: task.restartable,
                linger: task.replica.then(|| Millis::from_secs(600)),
                ..Terms::default()
            },
        };
        let units = units(task.slices) * task.count;
        Self { asked_at: task.asked_at, spec, course: task.course, units }
    }
}

/// The size of a piece of work as the table names it.
pub(crate) fn size(spec: &RequestSpec) -> String {
    match (&spec.wanted, spec.count) {
        (Wanted::WholeGpu, _) => "whole GPU".to_owned(),
        (wanted, 1) => wanted.to_string(),
        _ => "several slices".to_owned(),
    }
}
