//! `migctl lab` as people use it: what it prints, writes and refuses.
//!
//! Must never need a machine: no test names one.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where a step fails")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn lab(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_migctl"));
    command.arg("lab").args(args).args(["--color", "never"]);
    command.env_remove("MIGD_SIMULATE").env("COLUMNS", "80").output().unwrap()
}

fn ok(args: &[&str]) -> String {
    let output = lab(args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn fails(code: i32, args: &[&str]) -> String {
    let output = lab(args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    assert!(output.stdout.is_empty());
    said
}

const SMALL: [&str; 8] =
    ["--gpus", "4", "--seeds", "2", "--mix", "bimodal", "--policy", "scar,mfi,oracle"];

fn mixes<'a>(more: &[&'a str]) -> Vec<&'a str> {
    ["mixes"].into_iter().chain(SMALL).chain(more.iter().copied()).collect()
}

/// What does not depend on the machine: all but the time of decisions.
fn without_times(text: &str) -> &str {
    text.split("Time of decisions").next().unwrap()
}

#[test]
fn a_comparison_fits_a_page_and_is_the_same_again() {
    let text = ok(&mixes(&["--load", "1.0"]));
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    for words in [
        "4 a100-sxm4-80gb; rejected at once; 2 seeds",
        "bimodal, steady, load 1.00: ",
        "POLICY  ACCEPTED %",
        "AVOIDABLE %",
        "Time of decisions on this machine",
    ] {
        assert!(text.contains(words), "no `{words}` in\n{text}");
    }
    let row = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap();
    assert!(row("scar").contains('±') && row("mfi").contains('±'));
    let cells: Vec<&str> = row("oracle").split("  ").filter(|cell| !cell.is_empty()).collect();
    assert_eq!(cells[3].trim(), "0", "the oracle rejects nothing that fits: {text}");
    let again = ok(&mixes(&["--load", "1.0", "--threads", "2"]));
    assert_eq!(without_times(&text), without_times(&again));
    let other = ok(&mixes(&["--load", "1.0", "--first-seed", "9"]));
    assert_ne!(without_times(&text), without_times(&other));
}

#[test]
fn programs_get_every_figure_with_its_interval() {
    let json: Value = serde_json::from_str(&ok(&mixes(&["--load", "1.2,0.5", "--json"]))).unwrap();
    assert_eq!(json["fleet"][0]["gpus"], 4);
    assert_eq!(json["seeds"], serde_json::json!([1, 2]));
    let results = json["results"].as_array().unwrap();
    assert_eq!(results.len(), 2);
    for (result, lowest) in results.iter().zip([50.0, 80.0]) {
        for policy in result["policies"].as_array().unwrap() {
            let accepted = &policy["figures"]["accepted"];
            let mean = accepted["mean"].as_f64().unwrap();
            assert!(mean > lowest && mean <= 100.0, "{policy}");
            assert_eq!(accepted["count"], 2);
            assert_eq!(policy["profiles"].as_array().unwrap().len(), 6);
        }
        assert_eq!(result["policies"][0]["difference_to_first"]["used"]["mean"], 0.0);
    }
}

#[test]
fn a_report_is_a_folder_of_files() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("new/report");
    let path = out.to_str().unwrap();
    ok(&["fill", "--gpus", "4", "--seeds", "2", "--mix", "uniform,skew-big", "--out", path]);
    let read = |name: &str| std::fs::read_to_string(out.join(name)).unwrap();
    let (page, html) = (read("report.md"), read("report.html"));
    assert!(page.contains("Made by `migctl lab fill --gpus 4"), "{page}");
    assert!(page.contains("](accepted_slices.svg)") && page.contains("| uniform, fill to 100 % |"));
    for svg in ["accepted.svg", "accepted_slices.svg", "avoidable.svg"] {
        let drawn = read(svg);
        assert!(html.contains(drawn.trim_end()), "{svg} is not in the page");
        assert!(drawn.contains("95 % intervals") && drawn.contains(">oracle</text>"));
    }
    assert!(!html.contains("src=") && !html.contains("href="), "the page needs something else");
    let policies = ok(&["policies"]).lines().filter(|line| !line.starts_with(' ')).count();
    let rows = read("runs.csv").lines().count() - 1;
    assert_eq!(rows, 2 * 2 * policies);
    assert!(serde_json::from_str::<Value>(&read("data.json")).is_ok());
}

fn file(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_table_of_requests_waits_in_a_queue() {
    let folder = tempfile::tempdir().unwrap();
    let jobs = "arrival_s,duration_s,profile,tenant,count\n0,100,7g,a,1\n10,50,1g.10gb,b,2\n";
    let path = file(folder.path(), "jobs.csv", jobs);
    let trace = ["trace", &path, "--gpus", "1", "--policy", "scar", "--queue", "fifo"];
    let text = ok(&trace);
    assert!(text.contains("one run, no intervals"), "{text}");
    let row = text.lines().find(|line| line.starts_with("scar")).unwrap();
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(cells[..5], ["scar", "45", "0", "90", "90"], "mean, P50, P95, P99 in\n{text}");
    let json: Value = serde_json::from_str(&ok(&[&trace[..], &["--json"]].concat())).unwrap();
    let tenants = &json["results"][0]["policies"][0]["tenants"];
    assert_eq!(tenants[1]["name"], "b");
    assert_eq!(tenants[1]["wait_mean_s"]["mean"], 90.0);
}

#[test]
fn what_cannot_be_played_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let bad = file(folder.path(), "bad.csv", "arrival_s,profile\n0,1g\nsoon,1g\n");
    let said = fails(3, &["trace", &bad]);
    for words in ["bad.csv as csv: line 3, column 1: arrival_s is `soon`", "E-TRACE", "hint:"] {
        assert!(said.contains(words), "no `{words}` in\n{said}");
    }
    let other = file(folder.path(), "a30.csv", "arrival_s,profile\n0,1g.5gb\n");
    let said = fails(3, &["trace", &other, "--board", "a30"]);
    assert!(said.contains("line 2: no board of the fleet has profile 1g.5gb; near are 1g.6gb"));
    let said = fails(2, &["trace", "/nowhere/jobs.csv"]);
    assert!(said.contains("E-FILE") && said.contains("/nowhere/jobs.csv"), "{said}");
    let said = fails(3, &["mixes", "--board", "a100"]);
    assert!(said.contains("the nearest are") && said.contains("E-USAGE"), "{said}");
    assert!(fails(3, &["mixes", "--policy", "luck"]).contains("there are scar, flp, first-fit"));
    assert!(fails(3, &["mixes", "--mix", "odd"]).contains("skew-small"));
    assert!(fails(3, &["mixes", "--load", "0"]).contains("such as 0.85"));
    assert!(fails(3, &["fill", "--gpus", "0"]).contains("1..=1000000"));
    let blocked = file(folder.path(), "plain", "");
    let out = format!("{blocked}/report");
    let said =
        fails(2, &["fill", "--gpus", "1", "--seeds", "1", "--policy", "scar", "--out", &out]);
    assert!(said.contains("E-FILE") && said.contains("--out"), "{said}");
}

#[test]
fn help_shows_examples() {
    let text = ok(&["--help"]);
    assert!(text.contains("migctl lab mixes --gpus 100") && text.contains("docs/lab.md"), "{text}");
    for verb in ["mixes", "fill", "trace"] {
        let text = ok(&[verb, "--help"]);
        assert!(text.contains("Examples:") && text.contains("--policy <NAMES>"), "{verb}: {text}");
    }
}
