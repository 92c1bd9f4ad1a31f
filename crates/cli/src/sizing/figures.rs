//! What a measured command said of itself, and what several runs come to.
//!
//! Must never make a figure up: an output without one has none.

use layout_file::Spread;
use model::{Micros, Rate};
use serde::{Deserialize, Serialize};

/// One run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// Requests per second.
    pub(crate) throughput: f64,
    /// Milliseconds that a batch took.
    pub(crate) latency_ms: f64,
}

impl Figures {
    /// What the last line that has both figures says: `throughput=120.5 latency_ms=8.3` in any
    /// order and among other words, or a JSON object with these keys.
    pub(crate) fn of_output(output: &str) -> Option<Self> {
        output.lines().rev().find_map(|line| Self::of_json(line).or_else(|| Self::of_words(line)))
    }

    fn of_json(line: &str) -> Option<Self> {
        let value: serde_json::Value = serde_json::from_str(line.trim()).ok()?;
        let figure = |key: &str| value.get(key)?.as_f64();
        Self { throughput: figure("throughput")?, latency_ms: figure("latency_ms")? }.sound()
    }

    fn of_words(line: &str) -> Option<Self> {
        let figure = |key: &str| {
            let words = line.split([' ', '\t', ',', ';']);
            let mut values = words.filter_map(|word| word.strip_prefix(key)?.strip_prefix('='));
            values.next_back()?.parse::<f64>().ok()
        };
        Self { throughput: figure("throughput")?, latency_ms: figure("latency_ms")? }.sound()
    }

    /// Figures that can be: more than zero, and not endless.
    fn sound(self) -> Option<Self> {
        let can_be = |figure: f64| figure.is_finite() && figure > 0.0 && figure < 1e12;
        (can_be(self.throughput) && can_be(self.latency_ms)).then_some(self)
    }

    /// Processes that ran side by side: what they did together, and the slowest of their batches.
    pub(crate) fn together(processes: &[Self]) -> Option<Self> {
        let throughput = processes.iter().map(|process| process.throughput).sum();
        let slowest = processes.iter().map(|process| process.latency_ms).reduce(f64::max)?;
        Self { throughput, latency_ms: slowest }.sound()
    }
}

/// The mean of the runs and how far they lie apart (the standard deviation of a sample; zero for a
/// single run). Means are rounded against the slice: throughput down, latency up.
pub(crate) fn summary(runs: &[Figures]) -> Option<(Rate, Micros, Spread)> {
    let count = u32::try_from(runs.len()).ok().filter(|count| *count > 0)?;
    let of = |figure: fn(&Figures) -> f64| {
        let mean = runs.iter().map(figure).sum::<f64>() / f64::from(count);
        let squares: f64 = runs.iter().map(|run| (figure(run) - mean).powi(2)).sum();
        (mean, (squares / f64::from(count.max(2) - 1)).sqrt())
    };
    let (throughput, throughput_sd) = of(|run| run.throughput);
    let (latency, latency_sd) = of(|run| run.latency_ms);
    let rate = |per_second: f64| Rate::from_millionths((per_second * 1e6) as u64);
    let time = |millis: f64| Micros::new((millis * 1e3).ceil() as u64);
    let spread = Spread { throughput: rate(throughput_sd), latency: time(latency_sd), runs: count };
    Some((rate(throughput), time(latency), spread))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_with_both_figures_counts() {
        let figures = |throughput, latency_ms| Some(Figures { throughput, latency_ms });
        for (output, found) in [
            (
                "throughput=1 latency_ms=2\nthroughput=120.5, latency_ms=8.3 batch=4\nbye",
                figures(120.5, 8.3),
            ),
            ("x\n{\"latency_ms\": 8, \"throughput\": 1e2, \"p99\": 9}\n\n", figures(100.0, 8.0)),
            ("throughput=5\nlatency_ms=8", None),
            ("throughput=0 latency_ms=8", None),
            ("throughput=inf latency_ms=8", None),
            ("throughput=many latency_ms=8", None),
            ("", None),
        ] {
            assert_eq!(Figures::of_output(output), found, "{output}");
        }
    }

    #[test]
    fn processes_add_up_and_the_slowest_counts() {
        let run = |throughput, latency_ms| Figures { throughput, latency_ms };
        assert_eq!(Figures::together(&[run(10.0, 5.0), run(8.0, 7.0)]), Some(run(18.0, 7.0)));
        assert_eq!(Figures::together(&[]), None);
    }

    #[test]
    fn means_and_spreads() {
        let run = |throughput, latency_ms| Figures { throughput, latency_ms };
        let (rate, time, spread) = summary(&[run(9.0, 4.0), run(11.0, 4.0)]).unwrap();
        assert_eq!((rate, time), ("10".parse().unwrap(), Micros::new(4000)));
        assert_eq!(spread.throughput, "1.414213".parse().unwrap());
        assert_eq!((spread.latency, spread.runs), (Micros::new(0), 2));
        let (_, _, single) = summary(&[run(9.0, 4.0)]).unwrap();
        assert_eq!((single.throughput, single.runs), (Rate::ZERO, 1));
        assert_eq!(summary(&[]), None);
    }
}
