//! Requests from the wire, parsed once into types that cannot hold nonsense.
//!
//! Must never take a pid or a user id from a body: both come from the socket.

use api::{HolderKind, LeaseRequest};
use axum::http::StatusCode;
use broker::{GpuSelector, Holder, Patience, Policy, RequestSpec, Terms, Wanted};
use model::geometry::Need;
use model::{BootId, MemoryRequest, Millis, NodeSnapshot, ProcessId, ProfileSelector, Tenant, Uid};

use crate::serve::Failure;

/// The driver branch from which one process may use several MIG devices (CUDA 12 with R570, MIG
/// User Guide).
const SEVERAL_SLICES_BRANCH: u32 = 570;
/// The longest name of a lease; it appears in tables and, later, in CDI device names.
const NAME_MAX: usize = 63;

/// Who asks, as the socket tells.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    pub(crate) tenant: Tenant,
    pub(crate) uid: Uid,
    /// The process at the other end; `None` if it is in another pid namespace or gone.
    pub(crate) process: Option<ProcessId>,
}

/// Parses a request.
pub(crate) fn parse(
    request: LeaseRequest,
    asker: Asker,
    boot: &BootId,
    policy: &Policy,
    observed: &NodeSnapshot,
) -> Result<RequestSpec, Failure> {
    if request.one_process && request.count > 1 {
        refuse_several(request.count, observed)?;
    }
    let wanted = wanted(&request)?;
    let gpu: GpuSelector = match &request.gpu {
        Some(text) => text.parse().map_err(|error| invalid("E-GPU-SELECTOR", &error))?,
        None => GpuSelector::Any,
    };
    let patience = match request.max_wait_ms {
        None => Patience::Forever,
        Some(0) => Patience::Immediate,
        Some(span) => Patience::AtMost(Millis::new(span)),
    };
    let holder = match request.holder {
        HolderKind::Process => Holder::Process {
            boot: boot.clone(),
            client: asker.process.ok_or_else(|| {
                Failure::bad_request("your process cannot be seen from here")
                    .hint("ask for a lease that is held by a token (`migctl lease`)")
            })?,
            command: None,
        },
        HolderKind::Container | HolderKind::Engine => {
            return Err(Failure::bad_request("containers and engines do not hold leases yet"));
        }
        HolderKind::Token => Holder::Token {
            // A hard limit that is longer than the default life is meant as the end.
            life: positive("token_life_ms", request.token_life_ms)?.unwrap_or_else(|| {
                policy.token_life.max(request.time_ms.map_or(Millis::default(), Millis::new))
            }),
        },
    };
    Ok(RequestSpec {
        tenant: asker.tenant,
        uid: asker.uid,
        wanted,
        count: request.count,
        gpu,
        time: positive("time_ms", request.time_ms)?,
        expect: positive("expect_ms", request.expect_ms)?,
        patience,
        name: request.name.map(name).transpose()?,
        holder,
        command: request.command.map(|command| command.chars().take(500).collect()),
        terms: Terms::default(),
    })
}

fn invalid(code: &str, error: &dyn std::error::Error) -> Failure {
    Failure::new(StatusCode::UNPROCESSABLE_ENTITY, code, error.to_string())
}

fn positive(field: &str, value: Option<u64>) -> Result<Option<Millis>, Failure> {
    match value {
        Some(0) => Err(Failure::bad_request(format!("{field} must be more than zero"))),
        other => Ok(other.map(Millis::new)),
    }
}

fn wanted(request: &LeaseRequest) -> Result<Wanted, Failure> {
    let need = request.gpu_mem.is_some() || request.compute.is_some();
    match (&request.profile, need) {
        (Some(_), true) => {
            Err(Failure::bad_request("a request names a profile or a need, not both"))
        }
        (None, false) => Err(Failure::bad_request("a request names a profile or a need")),
        (Some(profile), false) => {
            let selector: ProfileSelector =
                profile.parse().map_err(|error| invalid("E-PROFILE-SYNTAX", &error))?;
            Ok(Wanted::Profile(selector))
        }
        (None, true) => Ok(Wanted::Need(Need {
            memory: request.gpu_mem.as_deref().map(memory).transpose()?,
            compute_slices: request.compute.as_deref().map(compute).transpose()?,
        })),
    }
}

fn memory(text: &str) -> Result<MemoryRequest, Failure> {
    text.parse().map_err(|error| invalid("E-MEMORY-SYNTAX", &error))
}

fn compute(text: &str) -> Result<u8, Failure> {
    let digits = text.trim().trim_end_matches(['g', 'G']);
    match digits.parse() {
        Ok(slices @ 1..=32) => Ok(slices),
        _ => Err(Failure::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "E-COMPUTE-SYNTAX",
            format!("`{text}` is not an amount of compute; write 1g, 3g or 7g"),
        )),
    }
}

fn name(name: String) -> Result<String, Failure> {
    let fits = (1..=NAME_MAX).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !fits {
        return Err(Failure::bad_request(format!(
            "`{name}` cannot be a name: use up to {NAME_MAX} letters, digits, dots, dashes and underscores"
        )));
    }
    if name.parse::<model::LeaseId>().is_ok() {
        return Err(Failure::bad_request(format!("`{name}` looks like a lease id")));
    }
    Ok(name)
}

fn refuse_several(count: u32, observed: &NodeSnapshot) -> Result<(), Failure> {
    let branch = observed.driver_version.split('.').next().and_then(|text| text.parse().ok());
    if branch.is_some_and(|branch: u32| branch >= SEVERAL_SLICES_BRANCH) {
        return Ok(());
    }
    Err(Failure::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "E-SEVERAL-SLICES",
        format!(
            "one process cannot use {count} slices with driver {}: that takes R{SEVERAL_SLICES_BRANCH} and CUDA 12",
            observed.driver_version
        ),
    )
    .hint("ask for one larger slice, or start one process per slice"))
}
