//! Requests from the wire, parsed once into types that cannot hold nonsense.
//!
//! Must never take a pid or a user id from a body: both come from the socket.

use api::{ArrangementKind, BookingRequest, HolderKind, LeaseRequest, PriorityKind};
use axum::http::StatusCode;
use broker::{
    Arrangement, BookingSpec, GpuSelector, Holder, IdleRule, NoticeSignal, Patience, Policy,
    Priority, RequestSpec, State, Terms, Wanted,
};
use model::geometry::Need;
use model::{
    BookingId, BootId, MemoryRequest, Millis, NodeSnapshot, ProcessId, ProfileSelector, Tenant,
    Timestamp, Uid,
};

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
    /// Whether it may act for others.
    pub(crate) admin: bool,
}

/// Parses a request.
pub(crate) fn parse(
    request: LeaseRequest,
    asker: Asker,
    boot: &BootId,
    policy: &Policy,
    observed: &NodeSnapshot,
    state: &State,
) -> Result<RequestSpec, Failure> {
    if request.one_process && request.count > 1 {
        refuse_several(request.count, observed)?;
    }
    let wanted = wanted(&request)?;
    let booking =
        request.booking.as_deref().map(|text| booking(state, &asker, text)).transpose()?;
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
        HolderKind::Container => container(&request, &asker)?,
        HolderKind::Engine => engine(&request)?,
        HolderKind::Token => Holder::Token {
            // A hard limit that is longer than the default life is meant as the end.
            life: positive("token_life_ms", request.token_life_ms)?.unwrap_or_else(|| {
                policy.token_life.max(request.time_ms.map_or(Millis::default(), Millis::new))
            }),
        },
    };
    let terms = Terms { booking, ..terms(&request)? };
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
        terms,
    })
}

/// What the asker agrees to beside the slice.
fn terms(request: &LeaseRequest) -> Result<Terms, Failure> {
    let idle = match (request.stay_idle, positive("idle_limit_ms", request.idle_limit_ms)?) {
        (true, Some(_)) => {
            return Err(Failure::bad_request("a lease has an idle limit or stays idle, not both"));
        }
        (true, None) => IdleRule::Never,
        (false, Some(limit)) => IdleRule::After(limit),
        (false, None) => IdleRule::Tenant,
    };
    let linger = positive("linger_ms", request.linger_ms)?;
    if linger.is_some() && request.name.is_none() {
        return Err(Failure::bad_request(
            "only a lease with a name can outlive its holder: the next holder asks by that name",
        ));
    }
    let notice_signal = match request.notice_signal.as_deref() {
        None => None,
        Some(text) => Some(notice_signal(text)?),
    };
    let priority = match request.priority {
        PriorityKind::Low => Priority::Low,
        PriorityKind::Normal => Priority::Normal,
        PriorityKind::High => Priority::High,
    };
    Ok(Terms {
        priority,
        idle,
        restartable: request.restartable,
        preemptible: request.preemptible,
        arrangement: arrangement(request.arrangement),
        linger,
        notice_signal,
        ..Terms::default()
    })
}

const fn arrangement(kind: Option<ArrangementKind>) -> Arrangement {
    match kind {
        None => Arrangement::Any,
        Some(ArrangementKind::Pack) => Arrangement::Pack,
        Some(ArrangementKind::Spread) => Arrangement::Spread,
        Some(ArrangementKind::SameGpu) => Arrangement::SameGpu,
        Some(ArrangementKind::OtherGpu) => Arrangement::OtherGpu,
    }
}

/// The booking that somebody names by id or by name.
fn booking(state: &State, asker: &Asker, text: &str) -> Result<BookingId, Failure> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let named = state.bookings.values().find(|booking| {
        booking.spec.name.as_deref() == Some(text) && booking.spec.tenant == asker.tenant
    });
    named.map(|booking| booking.id).ok_or_else(|| no_such_booking(text))
}

pub(crate) fn no_such_booking(text: &str) -> Failure {
    let detail = format!("there is no booking {text}; it may be over");
    Failure::new(StatusCode::NOT_FOUND, "E-BOOKING-UNKNOWN", detail)
        .hint("`migctl book --list` lists the bookings")
}

/// Parses a booking.
pub(crate) fn parse_booking(body: BookingRequest, asker: Asker) -> Result<BookingSpec, Failure> {
    let request = LeaseRequest {
        profile: body.profile,
        gpu_mem: body.gpu_mem,
        compute: body.compute,
        whole_gpu: body.whole_gpu,
        ..LeaseRequest::of(HolderKind::Token)
    };
    Ok(BookingSpec {
        tenant: asker.tenant,
        uid: asker.uid,
        wanted: wanted(&request)?,
        count: body.count,
        gpu: match body.gpu {
            Some(text) => text.parse().map_err(|error| invalid("E-GPU-SELECTOR", &error))?,
            None => GpuSelector::Any,
        },
        from: Timestamp::from_millis(body.from_ms),
        until: Timestamp::from_millis(body.until_ms),
        name: body.name.map(name).transpose()?,
        window: None,
    })
}

fn notice_signal(text: &str) -> Result<NoticeSignal, Failure> {
    match text.trim().to_ascii_uppercase().trim_start_matches("SIG") {
        "USR1" => Ok(NoticeSignal::Usr1),
        "USR2" => Ok(NoticeSignal::Usr2),
        "TERM" => Ok(NoticeSignal::Term),
        "INT" => Ok(NoticeSignal::Int),
        _ => Err(Failure::bad_request(format!(
            "`{text}` is no signal for a notice: USR1, USR2, TERM or INT"
        ))),
    }
}

/// A container that holds a lease from the start: the one the caller is in, or one of the caller's
/// user.
fn container(request: &LeaseRequest, asker: &Asker) -> Result<Holder, Failure> {
    let named = request.container.as_ref();
    let (pid, id) = match named.map(|named| (named.pid, named.id.as_deref())) {
        None | Some((None, _)) => (asker.process.map(|process| process.pid), None),
        Some((Some(pid), id)) => {
            let id = id.ok_or_else(|| Failure::bad_request("a container with a pid has an id"))?;
            if !asker.admin && owner(pid) != Some(asker.uid) {
                return Err(foreign_container(id));
            }
            (Some(pid), Some(id))
        }
    };
    let found = pid.and_then(|pid| host::cgroups::container_of(pid, id));
    let found = found.ok_or_else(|| no_container(id))?;
    Ok(Holder::Container { id: found.id, cgroup: found.cgroup })
}

/// Whose a process is.
pub(crate) fn owner(pid: u32) -> Option<Uid> {
    let users = host::Users::default();
    let found = host::processes::describe(pid, &users, host::processes::Arguments::Hidden);
    found.map(|found| found.uid)
}

pub(crate) fn no_container(id: Option<&str>) -> Failure {
    let detail = match id {
        Some(id) => format!("the process is in no container {id}"),
        None => "the calling process is in no container that could be told".to_owned(),
    };
    Failure::new(StatusCode::CONFLICT, "E-NOT-A-CONTAINER", detail)
        .hint("start it with `migctl run --container -- docker run …`")
}

pub(crate) fn foreign_container(id: &str) -> Failure {
    Failure::new(
        StatusCode::FORBIDDEN,
        "E-NOT-YOUR-CONTAINER",
        format!("nothing shows that the container {id} is yours"),
    )
    .hint("start it with `migctl run --container -- docker run …`, which marks it with its lease")
}

/// A job of another engine.
fn engine(request: &LeaseRequest) -> Result<Holder, Failure> {
    let engine = request.engine.as_ref();
    let engine = engine.ok_or_else(|| {
        Failure::bad_request("a lease that an engine holds names the engine and its job")
    })?;
    let word = |text: &str| {
        let fits = (1..=NAME_MAX * 2).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        if fits {
            Ok(text.to_owned())
        } else {
            Err(Failure::bad_request(format!("`{text}` cannot name an engine or a job")))
        }
    };
    Ok(Holder::Engine { kind: word(&engine.kind)?, job: word(&engine.job)? })
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
    // What a booking is for is known to the broker, which puts it in the place of this.
    let whole = request.whole_gpu || request.booking.is_some();
    if whole && (need || request.profile.is_some()) {
        return Err(Failure::bad_request(
            "a request names a profile, a need, whole GPUs or a booking, and one of them alone",
        ));
    }
    match (&request.profile, need) {
        _ if whole => Ok(Wanted::WholeGpu),
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
