//! What the fuzzers reach of the daemon's insides.
//!
//! Must never be called by anything else.

use api::LeaseRequest;
use broker::Policy;
use model::{BootId, NodeSnapshot, Tenant, Timestamp, Uid};

use crate::requests::{self, Asker};

/// Parses a request as if somebody sent it to a daemon of a machine without GPUs.
pub fn bears(request: LeaseRequest) {
    let tenant = Tenant::new("fuzzed");
    let asker = Asker { tenant, uid: Uid::new(1), process: None, admin: false };
    let observed = NodeSnapshot {
        taken_at: Timestamp::default(),
        driver_version: "570.1".to_owned(),
        cuda_version: None,
        gpus: Vec::new(),
    };
    let boot = BootId::new("fuzzed");
    let _ = requests::parse(
        request,
        asker,
        &boot,
        &Policy::default(),
        &observed,
        &broker::State::default(),
    );
}
