//! The tables, as Markdown: one published seed beside the published figures, and paired seeds.
//!
//! Must never print a difference between seeds that are not the same.

use std::fmt::Write as _;

use super::rows::{Entry, Row};

/// What the benchmark published for its seed: backend, makespan, mean, P95 and P99 wait in
/// milliseconds, compute in use in percent.
const PUBLISHED: [(&str, u64, u64, u64, u64, f64); 3] = [
    ("HAMi v2.10.0 (published)", 29_199_026, 1_996_134, 10_601_688, 13_867_992, 86.86),
    ("HAMi master 684c5f74 (published)", 29_282_173, 1_910_064, 10_337_852, 13_342_334, 87.12),
    ("NVIDIA DRA v0.5.0 (published)", 29_195_586, 2_119_875, 12_714_828, 15_141_259, 85.32),
];

/// Student's t for 95 % of both sides, by degrees of freedom from 1; from thirty on nearly normal.
const STUDENT: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
];

/// The mean of some values, and half of its 95 % interval; none of fewer than two.
fn interval(values: &[f64]) -> (f64, Option<f64>) {
    let count = values.len();
    let mean = values.iter().sum::<f64>() / count.max(1) as f64;
    let half = count.checked_sub(1).filter(|free| *free > 0).map(|free| {
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let student = STUDENT.get(free - 1).copied().unwrap_or(1.96);
        student * (squares / free as f64 / count as f64).sqrt()
    });
    (mean, half)
}

fn seconds(ms: f64) -> String {
    let whole = (ms / 1000.0).round() as u64;
    let digits = whole.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .filter_map(|group| std::str::from_utf8(group).ok())
        .collect();
    groups.join(",")
}

/// Both tables. `published` are the rows of the published seed; `seeds` those of others, each with
/// all of [`Entry::ALL`].
pub fn markdown(published: &[Row], seeds: &[(u64, Vec<Row>)]) -> String {
    let mut text = String::new();
    if !published.is_empty() {
        one_seed(&mut text, published);
    }
    if !seeds.is_empty() {
        many_seeds(&mut text, seeds);
    }
    text
}

fn one_seed(text: &mut String, rows: &[Row]) {
    text.push_str(
        "Seed 20260914, times in seconds.\n\n\
         |  | makespan | mean wait | P95 | P99 | compute in use | 1g | 2g | 3g | 7g |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for (name, makespan, mean, p95, p99, used) in PUBLISHED {
        let times = [makespan, mean, p95, p99].map(|ms| seconds(ms as f64)).join(" | ");
        let _ = writeln!(text, "| {name} | {times} | {used:.1} % | – | – | – | – |");
    }
    for row in rows {
        let waits = row.waits;
        let times = [row.makespan_ms as f64, waits.mean_ms, waits.p95_ms, waits.p99_ms];
        let sizes = row.mean_wait_ms.iter().map(|(_, mean)| seconds(*mean));
        let _ = writeln!(
            text,
            "| {} | {} | {:.1} % | {} |",
            row.entry.name(),
            times.map(seconds).join(" | "),
            100.0 * row.gpc_use,
            sizes.collect::<Vec<_>>().join(" | ")
        );
    }
    text.push('\n');
}

fn many_seeds(text: &mut String, seeds: &[(u64, Vec<Row>)]) {
    let names: Vec<String> = seeds.iter().map(|(seed, _)| seed.to_string()).collect();
    let _ = writeln!(
        text,
        "Seeds {}: mean over the seeds in seconds, and the difference from the first row in percent \
         of it, seed by seed, with its 95 % interval.\n",
        names.join(", ")
    );
    text.push_str(
        "|  | makespan | mean wait | P95 | P99 | compute in use | mean wait of 7g |\n\
         |---|---:|---:|---:|---:|---:|---:|\n",
    );
    for (at, entry) in Entry::ALL.iter().enumerate() {
        let column = |figure: &dyn Fn(&Row) -> f64| {
            let pairs = seeds
                .iter()
                .filter_map(|(_, rows)| Some((figure(rows.first()?), figure(rows.get(at)?))));
            let pairs: Vec<(f64, f64)> = pairs.collect();
            let (mean, _) = interval(&pairs.iter().map(|pair| pair.1).collect::<Vec<_>>());
            let differences = pairs.iter().map(|(base, own)| 100.0 * (own / base - 1.0));
            (mean, interval(&differences.collect::<Vec<_>>()))
        };
        let time = |figure: &dyn Fn(&Row) -> f64| {
            let (mean, (difference, half)) = column(figure);
            match half {
                Some(half) if at > 0 => {
                    format!("{} ({difference:+.0} ± {half:.0} %)", seconds(mean))
                }
                Some(_) | None => seconds(mean),
            }
        };
        let of_7g = |row: &Row| row.mean_wait_ms.last().map_or(0.0, |(_, mean)| *mean);
        let cells = [
            time(&|row| row.makespan_ms as f64),
            time(&|row| row.waits.mean_ms),
            time(&|row| row.waits.p95_ms),
            time(&|row| row.waits.p99_ms),
            format!("{:.1} %", 100.0 * column(&|row| row.gpc_use).0),
            time(&of_7g),
        ];
        let _ = writeln!(text, "| {} | {} |", entry.name(), cells.join(" | "));
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_that_of_student() {
        let (mean, half) = interval(&[1.0, 2.0, 3.0, 4.0]);
        assert!((mean - 2.5).abs() < 1e-12);
        // Standard deviation 1.29099, over the root of four, times 3.182.
        assert!((half.unwrap() - 2.0539).abs() < 1e-3, "{half:?}");
        assert_eq!(interval(&[7.0]), (7.0, None));
    }

    #[test]
    fn seconds_are_grouped_and_rounded() {
        let found = [0.0, 1_499.0, 999_500.0, 29_199_026.0].map(seconds);
        assert_eq!(found, ["0", "1", "1,000", "29,199"]);
    }
}
