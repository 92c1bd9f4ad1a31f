//! Many runs: every contender on the same requests, seed by seed, on several threads.
//!
//! Must never let the number of threads change a figure.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::contender::Contender;
use super::figures::Figures;
use super::metric::Metric;
use super::mixes::{self, Demand, Mix};
use super::run::{Pace, Settings, Watch, simulate};
use super::site::Site;
use super::stats::Estimate;
use super::work::Workload;

/// Told after each piece of work: how many pieces are done, and of how many.
pub type Progress<'a> = &'a (dyn Fn(usize, usize) + Sync);

/// Where requests come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// Drawn anew from each seed.
    Mix(Mix, Demand),
    /// Read from a file: the same requests for every seed, so it is played once.
    Trace(Box<Workload>),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mix(mix, demand) => write!(f, "{mix}, {demand}"),
            Self::Trace(work) => f.write_str(&work.name),
        }
    }
}

/// What is to be played.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The fleet.
    pub site: Site,
    /// What is the same for all.
    pub settings: Settings,
    /// Who is compared; differences are to the first.
    pub contenders: Vec<Contender>,
    /// What is asked for.
    pub sources: Vec<Source>,
    /// The seeds of mixes.
    pub seeds: Vec<u64>,
}

/// One contender on one source, over all seeds.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// Which source, by its place in the plan.
    pub source: usize,
    /// Which contender, by its place in the plan.
    pub contender: usize,
    /// Seed by seed.
    pub runs: Vec<Figures>,
    /// The time of all its decisions. Different each time, unlike the rest.
    pub pace: Pace,
}

impl Cell {
    /// A figure over the seeds, in the unit of the metric.
    pub fn estimate(&self, metric: &Metric) -> Estimate {
        Estimate::of(&self.values(metric)).times(metric.factor)
    }

    fn values(&self, metric: &Metric) -> Vec<f64> {
        self.runs.iter().map(|run| (metric.of)(run)).collect()
    }

    /// What this one has more of than another, seed by seed on the same requests.
    pub fn difference(&self, other: &Self, metric: &Metric) -> Estimate {
        let pairs = self.values(metric).into_iter().zip(other.values(metric));
        let values: Vec<f64> = pairs.map(|(mine, its)| mine - its).collect();
        Estimate::of(&values).times(metric.factor)
    }
}

/// What came of a plan.
#[derive(Debug, Clone)]
pub struct Study {
    /// The plan.
    pub plan: Plan,
    /// Source by source, in each contender by contender.
    pub cells: Vec<Cell>,
    /// What a reader has to know, without repetition.
    pub notes: Vec<String>,
}

/// A source with one seed, by all contenders.
struct Piece {
    runs: Vec<(Figures, Vec<u64>)>,
    notes: Vec<String>,
}

impl Plan {
    /// Plays everything on so many threads. The figures do not depend on how many they are.
    pub fn play(self, threads: usize, watch: Watch<'_>, progress: Progress<'_>) -> Study {
        let jobs: Vec<(usize, u64)> = self
            .sources
            .iter()
            .enumerate()
            .flat_map(|(index, source)| self.seeds_of(source).iter().map(move |s| (index, *s)))
            .collect();
        let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let pieces: Vec<Mutex<Option<Piece>>> = jobs.iter().map(|_| Mutex::new(None)).collect();
        let work = || {
            loop {
                let mine = next.fetch_add(1, Ordering::Relaxed);
                let (Some((source, seed)), Some(slot)) = (jobs.get(mine), pieces.get(mine)) else {
                    return;
                };
                let piece = self.piece(&self.sources[*source], *seed, watch);
                if let Ok(mut slot) = slot.lock() {
                    *slot = Some(piece);
                }
                progress(done.fetch_add(1, Ordering::Relaxed) + 1, jobs.len());
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..threads.clamp(1, jobs.len().max(1)) {
                scope.spawn(work);
            }
            work();
        });
        let pieces = pieces.into_iter().filter_map(|slot| slot.into_inner().ok().flatten());
        self.gather(jobs.into_iter().map(|(source, _)| source).zip(pieces))
    }

    fn seeds_of(&self, source: &Source) -> &[u64] {
        match source {
            Source::Mix(..) => &self.seeds,
            Source::Trace(_) => &[0],
        }
    }

    fn piece(&self, source: &Source, seed: u64, watch: Watch<'_>) -> Piece {
        let drawn: Workload;
        let work = match source {
            Source::Trace(work) => work.as_ref(),
            Source::Mix(mix, demand) => {
                drawn = mixes::workload(&self.site, *mix, *demand, seed);
                &drawn
            }
        };
        let play = |contender: &Contender| {
            let run = simulate(&self.site, work, contender, self.settings, watch);
            (run.figures, run.taken)
        };
        Piece { runs: self.contenders.iter().map(play).collect(), notes: work.notes.clone() }
    }

    fn gather(self, pieces: impl Iterator<Item = (usize, Piece)>) -> Study {
        let mut cells: Vec<(Cell, Vec<u64>)> = Vec::new();
        for source in 0..self.sources.len() {
            for contender in 0..self.contenders.len() {
                let (runs, pace) = (Vec::new(), Pace::default());
                cells.push((Cell { source, contender, runs, pace }, Vec::new()));
            }
        }
        let mut notes: Vec<String> = Vec::new();
        for (source, piece) in pieces {
            for (contender, (figures, taken)) in piece.runs.into_iter().enumerate() {
                let (cell, all) = &mut cells[source * self.contenders.len() + contender];
                cell.runs.push(figures);
                all.extend(taken);
            }
            notes.extend(piece.notes);
        }
        notes.sort();
        notes.dedup();
        let close = |(cell, taken): (Cell, Vec<u64>)| Cell { pace: Pace::of(taken), ..cell };
        Study { cells: cells.into_iter().map(close).collect(), notes, plan: self }
    }
}

impl Study {
    /// The cells of one source, contender by contender.
    pub fn of_source(&self, source: usize) -> &[Cell] {
        let width = self.plan.contenders.len();
        self.cells.get(source * width..(source + 1) * width).unwrap_or(&[])
    }

    /// Whether there is a queue, so that waiting means something.
    pub fn has_queue(&self) -> bool {
        self.plan.settings.discipline != super::Discipline::Loss
    }
}
