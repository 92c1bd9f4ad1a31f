//! The runs of one slice: each batch and number of processes in turn, several times.
//!
//! It is a process of its own, under a lease. Must never run anything beside the command, nor go on
//! when the output has no figures: all that followed would have none either.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use model::Millis;
use serde::{Deserialize, Serialize};

use super::figures::Figures;
use super::limited::{self, End};
use crate::{Context, Failure};

/// What is measured on one slice.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) model: String,
    pub(crate) profile: String,
    pub(crate) command: Vec<String>,
    pub(crate) batches: Vec<u32>,
    pub(crate) processes: Vec<u32>,
    /// Runs before those that count.
    pub(crate) warm_up: u32,
    pub(crate) repeat: u32,
    /// Each run of the command is one batch, and they are counted for so long.
    pub(crate) count_runs_ms: Option<u64>,
    /// How long a run may take, if that is limited.
    pub(crate) run_limit_ms: Option<u64>,
    /// Where the results go, a line of JSON each.
    pub(crate) results: PathBuf,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Step {
    /// A setting was measured.
    Measured { batch: u32, processes: u32, runs: Vec<Figures> },
    /// A setting does not work on this slice.
    Skipped { batch: u32, processes: u32, why: String },
    /// The command cannot be measured at all.
    Broken { why: String },
    /// All was tried.
    Done,
}

/// Why a run gave no figures.
enum Miss {
    /// The command failed: with less memory than it needs, for one.
    Failed(String),
    /// It said nothing, or could not be started.
    Broken(String),
}

impl Spec {
    /// Reads it.
    ///
    /// # Errors
    /// [`Failure`] that names the file.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let failed = |error: &dyn std::error::Error| {
            Failure::caused("E-BENCH", &format!("cannot read {}", path.display()), error)
        };
        let text = std::fs::read(path).map_err(|error| failed(&error))?;
        serde_json::from_slice(&text).map_err(|error| failed(&error))
    }

    /// Measures everything; what comes of it is in the results.
    ///
    /// # Errors
    /// [`Failure`] when the results cannot be written.
    pub(crate) fn measure(&self, context: &Context) -> Result<(), Failure> {
        let failed =
            |error: std::io::Error| Failure::caused("E-BENCH", "cannot write the results", &error);
        let mut results = File::create(&self.results).map_err(failed)?;
        for (batch, processes) in self.settings() {
            let step = self.setting(context, batch, processes);
            let broken = matches!(step, Step::Broken { .. });
            write(&mut results, &step).map_err(failed)?;
            if broken {
                return Ok(());
            }
        }
        write(&mut results, &Step::Done).map_err(failed)
    }

    fn settings(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.processes.iter().flat_map(|processes| self.batches.iter().map(|b| (*b, *processes)))
    }

    fn setting(&self, context: &Context, batch: u32, processes: u32) -> Step {
        let mut runs = Vec::new();
        for number in 0..self.warm_up + self.repeat {
            match self.run(batch, processes) {
                Ok(figures) if number >= self.warm_up => runs.push(figures),
                Ok(_) => {}
                Err(Miss::Failed(why)) => {
                    context
                        .output
                        .say(&format!("migctl: {}: {why}; no row", self.words(batch, processes)));
                    return Step::Skipped { batch, processes, why };
                }
                Err(Miss::Broken(why)) => return Step::Broken { why },
            }
        }
        let mean = |of: fn(&Figures) -> f64| runs.iter().map(of).sum::<f64>() / runs.len() as f64;
        context.output.say(&format!(
            "migctl: {}: {:.1}/s, {:.2} ms",
            self.words(batch, processes),
            mean(|run| run.throughput),
            mean(|run| run.latency_ms)
        ));
        Step::Measured { batch, processes, runs }
    }

    fn words(&self, batch: u32, processes: u32) -> String {
        let plural = if processes == 1 { "process" } else { "processes" };
        format!("{} on {}, batch {batch}, {processes} {plural}", self.model, self.profile)
    }

    /// One run: all processes at once.
    fn run(&self, batch: u32, processes: u32) -> Result<Figures, Miss> {
        let each: Vec<Result<Figures, Miss>> = std::thread::scope(|scope| {
            let one = |process| move || self.process(batch, processes, process);
            let threads: Vec<_> = (0..processes).map(|process| scope.spawn(one(process))).collect();
            let lost = || Err(Miss::Broken("a thread was lost".into()));
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| lost())).collect()
        });
        let figures: Vec<Figures> = each.into_iter().collect::<Result<_, _>>()?;
        Figures::together(&figures).ok_or_else(|| Miss::Broken("the figures add up to none".into()))
    }

    /// One process: by its own word, or by counting how often it can be run.
    fn process(&self, batch: u32, processes: u32, process: u32) -> Result<Figures, Miss> {
        let start = || self.command(batch, processes, process);
        let Some(millis) = self.count_runs_ms else {
            let mut command = start();
            command.stdout(Stdio::piped());
            let printed = self.finish(command)?;
            let text = String::from_utf8_lossy(&printed);
            return Figures::of_output(&text).ok_or_else(|| {
                Miss::Broken(
                    "the command printed no line with throughput=… and latency_ms=… (or both as \
                     JSON)"
                        .into(),
                )
            });
        };
        let (begin, long) = (Instant::now(), Duration::from_millis(millis));
        let mut runs = 0_u32;
        while runs == 0 || begin.elapsed() < long {
            let mut command = start();
            command.stdout(Stdio::null());
            self.finish(command)?;
            runs += 1;
        }
        let seconds = begin.elapsed().as_secs_f64();
        let throughput = f64::from(batch) * f64::from(runs) / seconds;
        Ok(Figures { throughput, latency_ms: seconds * 1000.0 / f64::from(runs) })
    }

    /// What a run printed that came to a good end in time.
    fn finish(&self, command: Command) -> Result<Vec<u8>, Miss> {
        let limit = self.run_limit_ms.map(Duration::from_millis);
        match limited::run(command, limit).map_err(|error| self.not_started(&error))? {
            End::Over(status, printed) if status.success() => Ok(printed),
            End::Over(status, _) => Err(Miss::Failed(format!("the command ended with {status}"))),
            End::Ended => {
                let limit = Millis::new(self.run_limit_ms.unwrap_or_default());
                Err(Miss::Failed(format!("the command was ended after {limit}")))
            }
        }
    }

    fn command(&self, batch: u32, processes: u32, process: u32) -> Command {
        let uuid = std::env::var("CUDA_VISIBLE_DEVICES").unwrap_or_default();
        let values = [
            ("batch", batch.to_string()),
            ("processes", processes.to_string()),
            ("process", process.to_string()),
            ("profile", self.profile.clone()),
            ("model", self.model.clone()),
            ("uuid", uuid),
        ];
        let filled = |word: &String| {
            values
                .iter()
                .fold(word.clone(), |word, (key, value)| word.replace(&format!("{{{key}}}"), value))
        };
        let mut words = self.command.iter().map(filled);
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).stdin(Stdio::null());
        for (key, value) in values {
            command.env(format!("MIGD_BENCH_{}", key.to_ascii_uppercase()), value);
        }
        command
    }

    fn not_started(&self, error: &std::io::Error) -> Miss {
        let program = self.command.first().map_or("", String::as_str);
        Miss::Broken(format!("{program} cannot be started: {error}"))
    }
}

fn write(results: &mut File, step: &Step) -> std::io::Result<()> {
    let line = serde_json::to_string(step).map_err(std::io::Error::other)?;
    writeln!(results, "{line}")?;
    results.flush()
}

/// The steps of a results file; a line that was cut off by an end in its middle is none.
pub(crate) fn steps(path: &Path) -> Vec<Step> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}
