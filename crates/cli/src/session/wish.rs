//! What somebody asks for, as options: the same under `run`, `shell` and `lease`.
//!
//! Must never hold a value that a daemon of this version would refuse for its form.

use api::{ArrangementKind, HolderKind, LeaseRequest};
use clap::{ArgGroup, Args};
use model::{MemoryRequest, Millis, ProfileSelector};

use crate::session::rank::RankArgs;
use crate::session::terms::TermsArgs;

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(
    next_help_heading = "Slice",
    group = ArgGroup::new("wanted")
        .args(["profile", "gpu_mem", "compute", "whole_gpu", "booking"])
        .required(true)
        .multiple(true)
)]
pub(crate) struct WishArgs {
    /// The profile (1g.10gb, 7g, or its id); see `migctl profiles`
    #[arg(
        short,
        long,
        value_name = "P",
        conflicts_with_all = ["gpu_mem", "compute"]
    )]
    pub(crate) profile: Option<ProfileSelector>,

    /// At least so much memory: 20g as in profile names, 20480MiB to the byte
    #[arg(long, value_name = "M")]
    pub(crate) gpu_mem: Option<MemoryRequest>,

    /// At least so many compute slices (3g)
    #[arg(long, value_name = "Ng", value_parser = compute_slices)]
    pub(crate) compute: Option<u8>,

    /// Whole GPUs: MIG off, or boards without MIG
    #[arg(long, conflicts_with_all = ["profile", "gpu_mem", "compute"])]
    pub(crate) whole_gpu: bool,

    /// What was booked (B3 or its name), on the places kept for it
    #[arg(
        long,
        value_name = "BOOKING",
        conflicts_with_all = ["profile", "gpu_mem", "compute", "whole_gpu", "count", "gpu"]
    )]
    pub(crate) booking: Option<String>,

    /// How many slices, all or none
    #[arg(
        long,
        value_name = "N",
        default_value = "1",
        value_parser = count,
        allow_negative_numbers = true
    )]
    pub(crate) count: u32,

    /// On which GPU (index, UUID, PCI address or model)
    #[arg(long, value_name = "SEL", value_parser = gpu_text)]
    pub(crate) gpu: Option<String>,

    /// How several slices lie to each other
    #[command(flatten)]
    pub(crate) arrangement: ArrangementArgs,

    /// Hard limit: the lease ends after so long (90s, 15m, 2h, 1h30m)
    #[arg(long, value_name = "T")]
    pub(crate) time: Option<Millis>,

    /// How long it will probably take; helps others plan
    #[arg(long, value_name = "T")]
    pub(crate) expect: Option<Millis>,

    /// Do not wait at all
    #[arg(long, conflicts_with = "max_wait")]
    pub(crate) immediate: bool,

    /// Wait at most so long
    #[arg(long, value_name = "T")]
    pub(crate) max_wait: Option<Millis>,

    /// May be ended after a notice, for somebody with a better right
    #[arg(long)]
    pub(crate) preemptible: bool,

    /// A name for the lease, for `status` and `release`
    #[arg(long, value_name = "NAME", value_parser = lease_name)]
    pub(crate) name: Option<String>,

    /// What is agreed to beside
    #[command(flatten)]
    pub(crate) terms: TermsArgs,

    #[command(flatten)]
    pub(crate) rank: RankArgs,
}

/// How several slices lie to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
#[group(multiple = false)]
pub(crate) struct ArrangementArgs {
    /// Several slices on as few GPUs as there is room for
    #[arg(long)]
    pub(crate) pack: bool,

    /// Several slices on as many GPUs as there is room for
    #[arg(long)]
    pub(crate) spread: bool,

    /// Several slices on one GPU, or none at all
    #[arg(long)]
    pub(crate) same_gpu: bool,

    /// Several slices each on a GPU of its own, or none at all
    #[arg(long)]
    pub(crate) other_gpu: bool,
}

impl ArrangementArgs {
    const fn kind(self) -> Option<ArrangementKind> {
        match self {
            Self { pack: true, .. } => Some(ArrangementKind::Pack),
            Self { spread: true, .. } => Some(ArrangementKind::Spread),
            Self { same_gpu: true, .. } => Some(ArrangementKind::SameGpu),
            Self { other_gpu: true, .. } => Some(ArrangementKind::OtherGpu),
            Self { pack: false, spread: false, same_gpu: false, other_gpu: false } => None,
        }
    }
}

impl WishArgs {
    /// The wish as the daemon takes it.
    pub(crate) fn request(&self, holder: HolderKind) -> LeaseRequest {
        LeaseRequest {
            profile: self.profile.as_ref().map(ToString::to_string),
            gpu_mem: self.gpu_mem.map(|memory| memory.to_string()),
            compute: self.compute.map(|slices| format!("{slices}g")),
            count: self.count,
            gpu: self.gpu.clone(),
            time_ms: self.time.map(Millis::get),
            expect_ms: self.expect.map(Millis::get),
            max_wait_ms: if self.immediate { Some(0) } else { self.max_wait.map(Millis::get) },
            name: self.name.clone(),
            holder,
            token_life_ms: None,
            command: None,
            one_process: false,
            idle_limit_ms: self.terms.idle_limit.map(Millis::get),
            stay_idle: self.terms.stay_idle,
            restartable: self.terms.restartable,
            linger_ms: self.terms.linger.map(Millis::get),
            notice_signal: self.terms.notice_signal.clone(),
            whole_gpu: self.whole_gpu,
            arrangement: self.arrangement.kind(),
            preemptible: self.preemptible,
            booking: self.booking.clone(),
            priority: self.rank.priority.into(),
            container: None,
            engine: None,
        }
    }
}

/// `3g`, or `3` for short.
pub(crate) fn compute_slices(text: &str) -> Result<u8, String> {
    let digits = text.strip_suffix(['g', 'G']).unwrap_or(text);
    match digits.parse() {
        Ok(slices @ 1..=32) => Ok(slices),
        _ => Err(format!("`{text}` is not a number of compute slices; write 1g, 2g, 3g, 4g or 7g")),
    }
}

/// A count of slices.
pub(crate) fn count(text: &str) -> Result<u32, String> {
    match text.trim().parse::<i64>() {
        Ok(number) if number < 1 => {
            Err(format!("a count of slices must be 1 or more, and {number} is not"))
        }
        Ok(number) => u32::try_from(number).map_err(|_| format!("{number} slices are too many")),
        Err(_) => Err(format!("`{text}` is not a whole number of slices")),
    }
}

/// A GPU selector, checked and kept as typed.
pub(crate) fn gpu_text(text: &str) -> Result<String, String> {
    let parsed: Result<broker::GpuSelector, _> = text.parse();
    parsed.map(|_| text.trim().to_owned()).map_err(|error| error.to_string())
}

/// A name that can be told from a lease id, and printed.
pub(crate) fn lease_name(text: &str) -> Result<String, String> {
    if text.trim().is_empty() || text.chars().any(char::is_control) {
        return Err(String::from("a name must have letters and no control characters"));
    }
    if text.chars().count() > 64 {
        return Err(String::from("a name has at most 64 characters"));
    }
    if text.parse::<model::LeaseId>().is_ok() {
        return Err(format!("`{text}` looks like the id of a lease; choose another name"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Typed {
        #[command(flatten)]
        wish: WishArgs,
    }

    fn typed(line: &str) -> Result<WishArgs, String> {
        let words = ["x"].into_iter().chain(line.split_whitespace());
        Typed::try_parse_from(words).map(|typed| typed.wish).map_err(|error| error.to_string())
    }

    #[test]
    fn a_wish_becomes_a_request() {
        let wish = typed(
            "--gpu-mem 20g --compute 3g --count 2 --gpu a100 --time 1h30m --expect 1h --max-wait 5m \
             --name night",
        );
        let request = wish.unwrap().request(HolderKind::Process);
        assert_eq!(request.gpu_mem.as_deref(), Some("20g"));
        assert_eq!(request.compute.as_deref(), Some("3g"));
        assert_eq!(request.count, 2);
        assert_eq!(request.gpu.as_deref(), Some("a100"));
        assert_eq!(request.time_ms, Some(5_400_000));
        assert_eq!(request.expect_ms, Some(3_600_000));
        assert_eq!(request.max_wait_ms, Some(300_000));
        assert_eq!(request.name.as_deref(), Some("night"));
    }

    #[test]
    fn whole_gpus_bookings_and_arrangements_are_passed_on() {
        let request = |line: &str| typed(line).unwrap().request(HolderKind::Token);
        let whole = request("--whole-gpu --count 2 --preemptible");
        assert!(whole.whole_gpu && whole.preemptible && whole.count == 2);
        assert_eq!(request("--booking B3").booking.as_deref(), Some("B3"));
        for (option, kind) in [
            ("", None),
            ("--pack", Some(ArrangementKind::Pack)),
            ("--spread", Some(ArrangementKind::Spread)),
            ("--same-gpu", Some(ArrangementKind::SameGpu)),
            ("--other-gpu", Some(ArrangementKind::OtherGpu)),
        ] {
            assert_eq!(request(&format!("--profile 1g.5gb {option}")).arrangement, kind);
        }
    }

    #[test]
    fn strict_memory_stays_strict_and_labels_become_names() {
        let memory = |text: &str| {
            typed(&format!("--gpu-mem {text}")).unwrap().request(HolderKind::Token).gpu_mem
        };
        assert_eq!(memory("20GiB").as_deref(), Some("20GiB"));
        assert_eq!(memory("20480MiB").as_deref(), Some("20GiB"));
        assert_eq!(memory("20gb").as_deref(), Some("20g"));
        let label = typed("--profile 1g.5gb.me").unwrap().request(HolderKind::Token);
        assert_eq!(label.profile.as_deref(), Some("1g.5gb+me"));
        assert_eq!(
            typed("-p 7g --immediate").unwrap().request(HolderKind::Token).max_wait_ms,
            Some(0)
        );
    }

    #[test]
    fn bad_values_are_refused_with_a_sentence() {
        for (line, words) in [
            ("", "<--profile <P>|--gpu-mem <M>|--compute <Ng>|--whole-gpu|--booking <BOOKING>>"),
            ("--profile 1g.5gb --gpu-mem 5g", "cannot be used with"),
            ("--profile 1g.5gb --count 0", "a count of slices must be 1 or more, and 0 is not"),
            ("--profile 1g.5gb --count -3", "a count of slices must be 1 or more, and -3 is not"),
            ("--profile 1g.5gb --count many", "not a whole number"),
            ("--profile 1g.5gb --count 99999999999", "too many"),
            ("--profile huge", "not a MIG profile"),
            ("--gpu-mem 20", "no unit"),
            ("--gpu-mem 0g", "more than zero"),
            ("--compute 0g", "not a number of compute slices"),
            ("--profile 7g --time 5", "not a length of time"),
            ("--profile 7g --time 0s", "not a length of time"),
            ("--profile 7g --immediate --max-wait 5s", "cannot be used with"),
            ("--whole-gpu --profile 7g", "cannot be used with"),
            ("--booking B1 --count 2", "cannot be used with"),
            ("--profile 1g.5gb --pack --spread", "cannot be used with"),
            ("--profile 7g --name L7", "looks like the id of a lease"),
            ("--profile 7g --linger 5m", "--name"),
            ("--profile 7g --stay-idle --idle-limit 1h", "cannot be used with"),
            ("--profile 7g --notice-signal KILL", "no signal for a notice"),
        ] {
            let error = typed(line).unwrap_err();
            assert!(error.contains(words), "{line}: {error}");
        }
    }
}
