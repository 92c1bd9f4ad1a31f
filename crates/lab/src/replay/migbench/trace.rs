//! The trace: 500 jobs by arrival, work and memory, from a seed or from a file.
//!
//! Must never choose a profile: that is a scheduler's part in this benchmark.

use std::path::Path;

use super::go::{Pcg, Ziggurat};

/// The seed that the benchmark's results were published for.
pub const BENCH_SEED: u64 = 20_260_914;

/// Jobs of a trace.
const JOBS: usize = 500;
/// GPC slots of two machines of four GPUs.
const GPCS: u64 = 56;
/// How much more is wanted than there is.
const OFFERED_LOAD: f64 = 1.40;
/// Median and spread of the lengths at the smallest profile, log-normal.
const LENGTH_MS: (f64, f64) = (600_000.0, 0.8);

/// A profile of the benchmark's H100-80GB.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct BenchProfile {
    /// Compute slices.
    pub(super) gpcs: u8,
    pub(super) gib: u64,
    /// What it gets done of a GPU's work, in percent.
    pub(super) percent: u64,
    weight: f64,
}

impl BenchProfile {
    /// How long so much work takes on it.
    pub(super) const fn run_ms(&self, work: u64) -> u64 {
        work.div_ceil(self.percent)
    }
}

/// From the smallest to the largest. A 4g is left out by the benchmark, since one of the schedulers it
/// was made for has none.
#[rustfmt::skip]
pub(super) const PROFILES: [BenchProfile; 4] = [
    BenchProfile { gpcs: 1, gib: 10, percent: 14, weight: 35.0 },
    BenchProfile { gpcs: 2, gib: 20, percent: 28, weight: 25.0 },
    BenchProfile { gpcs: 3, gib: 40, percent: 42, weight: 25.0 },
    BenchProfile { gpcs: 7, gib: 80, percent: 100, weight: 5.0 },
];

/// A job of the trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceJob {
    /// When it arrives.
    pub arrival_ms: u64,
    /// Its work: milliseconds times percent of a GPU.
    pub compute_core_ms: u64,
    /// The memory it must have.
    pub memory_mib: u64,
}

impl TraceJob {
    /// The profiles whose memory holds it, the smallest first.
    pub(super) fn feasible(&self) -> impl Iterator<Item = &'static BenchProfile> {
        let memory = self.memory_mib;
        PROFILES.iter().filter(move |profile| profile.gib * 1024 >= memory)
    }
}

/// The jobs of a seed, as the benchmark draws them: profile and length first, then, with a generator
/// of its own, the arrivals, so dense that 1.4 times the machine is wanted.
pub fn generate(seed: u64) -> Vec<TraceJob> {
    let (normal, exponential) = (Ziggurat::normal(), Ziggurat::exponential());
    let mut draw = Pcg::new(seed, seed ^ 0x9E37_79B9_7F4A_7C15);
    let mut jobs = Vec::with_capacity(JOBS);
    let mut area = 0.0;
    for _ in 0..JOBS {
        let profile = choose(draw.unit());
        let length = (LENGTH_MS.0.ln() + LENGTH_MS.1 * normal.draw_normal(&mut draw)).exp();
        let compute_core_ms = (length as u64).max(1) * profile.percent;
        let memory_mib = profile.gib * 1024;
        area += f64::from(profile.gpcs) * profile.run_ms(compute_core_ms) as f64;
        jobs.push(TraceJob { arrival_ms: 0, compute_core_ms, memory_mib });
    }
    let mean = area / (JOBS as u64 * GPCS) as f64 / OFFERED_LOAD;
    let mut draw = Pcg::new(seed ^ 0xD1B5_4A32_D192_ED03, seed ^ 0x94D0_49BB_1331_11EB);
    let mut arrival = 0;
    for job in &mut jobs {
        arrival += (exponential.draw_exponential(&mut draw) * mean) as u64;
        job.arrival_ms = arrival;
    }
    jobs
}

fn choose(drawn: f64) -> &'static BenchProfile {
    let total: f64 = PROFILES.iter().map(|profile| profile.weight).sum();
    let mut left = drawn * total;
    for profile in &PROFILES {
        left -= profile.weight;
        if left <= 0.0 {
            return profile;
        }
    }
    &PROFILES[PROFILES.len() - 1]
}

/// Why a trace cannot be read.
#[derive(Debug)]
pub enum TraceError {
    /// The file cannot be read.
    File(std::io::Error),
    /// A line is not `id,arrival_ms,computeCoreMS,memoryMB`.
    Line(usize),
    /// A job wants more memory than a GPU has.
    TooLarge(usize),
}

impl std::fmt::Display for TraceError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(error) => write!(f, "the trace cannot be read: {error}"),
            Self::Line(line) => {
                write!(f, "line {line} of the trace is not id,arrival_ms,computeCoreMS,memoryMB")
            }
            Self::TooLarge(line) => write!(f, "line {line} of the trace wants more than 80 GiB"),
        }
    }
}

impl std::error::Error for TraceError {}

/// The jobs of a file with a line each: number, arrival, work, memory.
///
/// # Errors
/// [`TraceError`].
pub fn read_csv(path: &Path) -> Result<Vec<TraceJob>, TraceError> {
    let text = std::fs::read_to_string(path).map_err(TraceError::File)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let jobs = lines.map(|(at, line)| {
        let fields: Option<Vec<u64>> = line.split(',').map(|f| f.trim().parse().ok()).collect();
        let Some([_, arrival_ms, compute_core_ms @ (1..), memory_mib]) = fields.as_deref() else {
            return Err(TraceError::Line(at + 1));
        };
        let job = TraceJob {
            arrival_ms: *arrival_ms,
            compute_core_ms: *compute_core_ms,
            memory_mib: *memory_mib,
        };
        job.feasible().next().map(|_| job).ok_or(TraceError::TooLarge(at + 1))
    });
    jobs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of the trace that was made with Go from the published seed.
    #[test]
    fn the_published_trace_comes_out_of_its_seed() {
        let jobs = generate(BENCH_SEED);
        let rows = [
            (1, (37_318, 19_177_620, 20_480)),
            (2, (59_343, 16_145_892, 20_480)),
            (4, (118_729, 25_069_000, 81_920)),
            (30, (1_011_603, 97_928_400, 81_920)),
            (100, (2_451_694, 15_155_420, 10_240)),
            (250, (5_478_450, 37_104_732, 40_960)),
            (500, (11_487_561, 10_904_026, 10_240)),
        ];
        for (row, (arrival_ms, compute_core_ms, memory_mib)) in rows {
            let job = TraceJob { arrival_ms, compute_core_ms, memory_mib };
            assert_eq!(jobs[row - 1], job, "row {row}");
        }
        assert_eq!(jobs.len(), 500);
    }

    #[test]
    fn a_file_is_read_and_its_bad_lines_are_named() {
        let folder = std::env::temp_dir().join(format!("migbench-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("trace.csv");
        std::fs::write(&path, "1,5,1400,10240\n2,9,2800,20480\n").unwrap();
        let jobs = read_csv(&path).unwrap();
        assert_eq!((jobs.len(), jobs[1].arrival_ms, jobs[1].memory_mib), (2, 9, 20_480));
        for (text, line) in [("1,2,3\n", 1), ("1,5,1400,10240\n1,x,3,4\n", 2), ("1,2,0,4\n", 1)] {
            std::fs::write(&path, text).unwrap();
            assert!(matches!(read_csv(&path), Err(TraceError::Line(at)) if at == line), "{text}");
        }
        std::fs::write(&path, "1,2,3,99999\n").unwrap();
        assert!(matches!(read_csv(&path), Err(TraceError::TooLarge(1))));
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(matches!(read_csv(&path), Err(TraceError::File(_))));
    }
}
