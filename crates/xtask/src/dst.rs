//! `cargo xtask dst`: campaigns of the deterministic simulation.
//!
//! Must never hide a broken law: it is printed with the one command that shows it again.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use lab::dst::{Coverage, Outcome, Script, TAIL, Violation, run as run_script, shrink};

use crate::or_usage;

const USAGE: &str = "\
usage: cargo xtask dst [OPTIONS]

  --seed N          run this seed alone
  --seeds A..B      run these seeds
  --events N        run seeds until so many events were checked (default 1000000)
  --minutes M       stop after so long
  --acts N          acts of one seed (default 2000)
  --without LIST    leave these acts out (3,7-9); with --seed
  --threads N       work on so many seeds at once (default: the number of processors)
  --no-shrink       do not shrink a failing seed
  --go-on           name each failing seed and go on with the next
  --tail N          show so many of the newest events of a failing seed (default 16)
  --progress N      say how far it is every N seconds
  --from N          the first seed (default 1)
";

/// How much of what a failing seed shows is told while others go on, in characters.
const LINE: usize = 300;

/// Runs that shrinking may take; a seed takes well under a second.
const SHRINKING_RUNS: u32 = 300;

struct Options {
    seeds: std::ops::Range<u64>,
    one: bool,
    events: u64,
    time: Option<Duration>,
    acts: u64,
    without: BTreeSet<u64>,
    threads: usize,
    shrink: bool,
    go_on: bool,
    tail: usize,
    progress: Option<Duration>,
}

/// Runs a campaign as its options say; the exit status is 1 if a law is broken, or if something that
/// should happen never does.
pub(crate) fn run(arguments: impl Iterator<Item = String>) -> anyhow::Result<ExitCode> {
    let options = match or_usage(parse(arguments), USAGE)? {
        Ok(options) => options,
        Err(status) => return Ok(status),
    };
    // A panic is a broken law like any other and is told with it.
    std::panic::set_hook(Box::new(|_| {}));
    let campaign = Campaign::default();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let workers: Vec<_> =
            (0..options.threads).map(|_| scope.spawn(|| campaign.work(&options, begun))).collect();
        if let Some(every) = options.progress {
            campaign
                .tell_progress(begun, every, || workers.iter().all(ScopedJoinHandle::is_finished));
        }
    });
    campaign.report(&options, begun.elapsed())
}

fn parse(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Option<Options>> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut options = Options {
        seeds: 1..u64::MAX,
        one: false,
        events: 1_000_000,
        time: None,
        acts: 2000,
        without: BTreeSet::new(),
        threads: processors,
        shrink: true,
        go_on: false,
        tail: TAIL,
        progress: None,
    };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} wants a value"));
        match argument.as_str() {
            "--seed" => {
                let seed = value()?.parse()?;
                options.seeds = seed..seed + 1;
                (options.one, options.threads) = (true, 1);
            }
            "--seeds" => {
                let text = value()?;
                let (from, to) = text.split_once("..").context("--seeds wants A..B")?;
                options.seeds = from.parse()?..to.parse()?;
                options.events = u64::MAX;
            }
            "--from" => options.seeds.start = value()?.parse()?,
            "--events" => options.events = value()?.replace('_', "").parse()?,
            "--minutes" => {
                options.time = Some(Duration::from_secs_f64(value()?.parse::<f64>()? * 60.0));
            }
            "--acts" => options.acts = value()?.parse()?,
            "--without" => options.without = numbers(&value()?)?,
            "--threads" => options.threads = value()?.parse::<usize>()?.max(1),
            "--tail" => options.tail = value()?.parse()?,
            "--progress" => {
                options.progress = Some(Duration::from_secs(value()?.parse::<u64>()?.max(1)));
            }
            "--go-on" => options.go_on = true,
            "--no-shrink" => options.shrink = false,
            "--help" | "-h" => return Ok(None),
            other => bail!("`{other}` is no option of dst"),
        }
    }
    Ok(Some(options))
}

/// `3,7-9` as numbers.
fn numbers(text: &str) -> anyhow::Result<BTreeSet<u64>> {
    let mut all = BTreeSet::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        match part.split_once('-') {
            Some((from, to)) => all.extend(from.parse()?..=to.parse::<u64>()?),
            None => {
                all.insert(part.parse()?);
            }
        }
    }
    Ok(all)
}

/// Numbers as `3,7-9`.
fn ranges(numbers: &BTreeSet<u64>) -> String {
    let mut parts: Vec<(u64, u64)> = Vec::new();
    for number in numbers {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            _ => parts.push((*number, *number)),
        }
    }
    let word = |(from, to): &(u64, u64)| {
        if from == to { from.to_string() } else { format!("{from}-{to}") }
    };
    parts.iter().map(word).collect::<Vec<_>>().join(",")
}

/// Says something while the campaign goes on, which is not given up because nobody listens.
fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
}

#[derive(Default)]
struct Campaign {
    next: AtomicU64,
    events: AtomicU64,
    seeds: AtomicU64,
    stop: AtomicBool,
    coverage: Mutex<Coverage>,
    failed: Mutex<Option<(Script, Box<Violation>)>>,
}

impl Campaign {
    fn work(&self, options: &Options, begun: Instant) {
        while !self.stop.load(Ordering::Relaxed) {
            let seed =
                options.seeds.start.saturating_add(self.next.fetch_add(1, Ordering::Relaxed));
            let late = options.time.is_some_and(|time| begun.elapsed() >= time);
            let enough = self.events.load(Ordering::Relaxed) >= options.events;
            if seed >= options.seeds.end || late || enough {
                return;
            }
            let script = Script { seed, acts: options.acts, without: options.without.clone() };
            let Outcome { events, coverage, violation } = run_script(&script, options.tail);
            self.events.fetch_add(events, Ordering::Relaxed);
            self.seeds.fetch_add(1, Ordering::Relaxed);
            if let Ok(mut all) = self.coverage.lock() {
                all.add(&coverage);
            }
            if let Some(violation) = violation {
                if options.go_on {
                    let Violation { law, text, .. } = &*violation;
                    let text: String = text.chars().take(LINE).collect();
                    say(&format!("seed {seed} breaks a law: {law}: {text}\n"));
                } else {
                    self.stop.store(true, Ordering::Relaxed);
                }
                if let Ok(mut failed) = self.failed.lock() {
                    failed.get_or_insert((script, violation));
                }
            }
        }
    }

    /// Says how far the campaign is until it is over.
    fn tell_progress(&self, begun: Instant, every: Duration, is_over: impl Fn() -> bool) {
        let mut next = begun + every;
        while !is_over() {
            std::thread::sleep(Duration::from_millis(200));
            if Instant::now() < next {
                continue;
            }
            next += every;
            let (events, seeds) =
                (self.events.load(Ordering::Relaxed), self.seeds.load(Ordering::Relaxed));
            let seconds = begun.elapsed().as_secs_f64();
            say(&format!("{seconds:>6.0} s: {events} events of {seeds} seeds\n"));
        }
    }

    fn report(&self, options: &Options, took: Duration) -> anyhow::Result<ExitCode> {
        let mut out = io::stdout().lock();
        let (events, seeds) =
            (self.events.load(Ordering::Relaxed), self.seeds.load(Ordering::Relaxed));
        let coverage = self.coverage.lock().map(|all| all.clone()).unwrap_or_default();
        for (what, count) in coverage.iter() {
            writeln!(out, "{count:>10}  {what}")?;
        }
        let rate = events as f64 / took.as_secs_f64().max(1e-9);
        writeln!(
            out,
            "{events} events of {seeds} seeds from {} checked in {:.1} s: {rate:.0} a second on \
             {} threads, {:.0} on each",
            options.seeds.start,
            took.as_secs_f64(),
            options.threads,
            rate / options.threads as f64
        )?;
        let failed = self.failed.lock().ok().and_then(|mut failed| failed.take());
        if let Some((script, violation)) = failed {
            tell(&mut out, options, &script, &violation)?;
            return Ok(ExitCode::FAILURE);
        }
        let missing = coverage.missing();
        if !options.one
            && options.events >= 500_000
            && options.time.is_none()
            && !missing.is_empty()
        {
            writeln!(out, "never happened: {}", missing.join(", "))?;
            return Ok(ExitCode::FAILURE);
        }
        writeln!(out, "no law is broken")?;
        Ok(ExitCode::SUCCESS)
    }
}

fn tell(
    out: &mut impl io::Write,
    options: &Options,
    script: &Script,
    violation: &Violation,
) -> anyhow::Result<()> {
    let mut smallest = script.clone();
    let mut shown = violation.clone();
    if options.shrink {
        writeln!(out, "seed {} breaks a law; shrinking it", script.seed)?;
        smallest = shrink(script, &violation.law, SHRINKING_RUNS);
        if let Some(found) = run_script(&smallest, options.tail).violation {
            shown = *found;
        }
    }
    writeln!(out, "\nthe newest events:")?;
    for event in &shown.tail {
        writeln!(out, "  {event}")?;
    }
    let left = smallest.acts - smallest.without.len() as u64;
    writeln!(
        out,
        "\nseed {} breaks a law in act {} after {} events, with {left} of {} acts:\n\n  {}\n  {}\n",
        script.seed, shown.act, shown.event, script.acts, shown.law, shown.text
    )?;
    let mut command = format!("cargo xtask dst --seed {} --acts {}", smallest.seed, smallest.acts);
    if !smallest.without.is_empty() {
        command = format!("{command} --without {}", ranges(&smallest.without));
    }
    writeln!(out, "again: {command}")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_they_are_written() {
        let all = numbers("3,7-9,11").unwrap();
        assert_eq!(all, BTreeSet::from([3, 7, 8, 9, 11]));
        assert_eq!(ranges(&all), "3,7-9,11");
        assert!(numbers("x").is_err());
    }
}
