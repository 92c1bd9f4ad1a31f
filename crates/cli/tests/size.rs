//! `migctl size` and `migctl bench` through the real program.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where a step fails")]

mod simulated;

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;
use simulated::{Lab, migctl, told};
use tempfile::TempDir;

const SERVICES: &str = "\
schema: migd-services/v1
board: a100-sxm4-80gb
profiles: table.csv
headroom: 10%
services:
  - {name: chat, model: bert, rate: 300, slo: 100ms}
  - {name: rank, rate: 90, slo: 1s, slices: [1g, 2g]}
";

const TABLE: &str = "\
model,profile,batch,processes,throughput,latency_ms
bert,1g,4,1,60,20
bert,2g,8,1,150,40
bert,3g,8,2,240,44
bert,3g,16,2,300,80
rank,1g.10gb,16,3,55.5,120
rank,2g,16,3,100,90.25
rank,1g.5gb,1,1,9,1
";

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.put("services.yaml", SERVICES);
        folder.put("table.csv", TABLE);
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// `migctl size -f FOLDER/services.yaml ARGS` with exit code `code`.
    fn size(&self, code: i32, args: &[&str]) -> Output {
        let mut command = migctl();
        command.args(["size", "-f"]).arg(self.path("services.yaml")).args(args);
        let output = command.env("LC_ALL", "C").output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", told(&output));
        output
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_deployment_is_told_with_what_is_proven_and_what_limits_it() {
    let folder = Folder::new();
    let output = folder.size(0, &[]);
    assert_eq!(text(&output.stdout), include_str!("size/deployment.txt"));
    let warned = text(&output.stderr);
    assert!(warned.contains(": 1 row") && warned.contains("table.csv"), "{warned}");
    let view: Value = serde_json::from_slice(&folder.size(0, &["--json"]).stdout).unwrap();
    assert_eq!(view["proven"]["fewest_compute_slices"], true);
    for service in view["services"].as_array().unwrap() {
        let figure = |key: &str| service[key].as_f64().unwrap();
        assert!(figure("carried_per_s") >= figure("wanted_per_s"), "{service}");
        assert!((figure("wanted_per_s") - 1.1 * figure("rate_per_s")).abs() < 1e-6);
    }
}

#[test]
fn a_service_that_cannot_be_met_is_told_with_what_would_do() {
    let folder = Folder::new();
    folder.put("services.yaml", &SERVICES.replace("100ms", "40ms"));
    let output = folder.size(1, &[]);
    assert_eq!(text(&output.stdout), include_str!("size/unmet.txt"));
    let view: Value = serde_json::from_slice(&folder.size(1, &["--json"]).stdout).unwrap();
    assert_eq!(view["unmet"][0]["service"], "chat");
    assert_eq!(view["unmet"][0]["fastest"][0]["latency_ms"], 20.0);
    // The objective that it names does.
    let enough = view["unmet"][0]["fastest"][0]["slo_that_would_do_ms"].as_f64().unwrap();
    folder.put("services.yaml", &SERVICES.replace("100ms", &format!("{enough}ms")));
    folder.size(0, &[]);
}

#[test]
fn too_few_gpus_are_told_with_what_they_carry() {
    let folder = Folder::new();
    folder.put("services.yaml", &SERVICES.replace("rate: 300", "rate: 3000"));
    let output = folder.size(1, &["--gpus", "3"]);
    let warned = text(&output.stderr);
    let words = warned.lines().find(|line| line.contains("are there")).unwrap();
    let carried = words.split_whitespace().rev().nth(4).unwrap();
    let percent: u32 = carried.parse().unwrap_or_else(|_| panic!("{words}"));
    // So much of every rate fits, and one more percent does not.
    for (percent, code) in [(percent, 0), (percent + 1, 1)] {
        let rates = SERVICES.replace("rate: 300", &format!("rate: {}", 30 * percent)).replace(
            "rate: 90",
            &format!("rate: {}.{:02}", 90 * percent / 100, 90 * percent % 100),
        );
        folder.put("services.yaml", &rates);
        folder.size(code, &["--gpus", "3"]);
    }
}

#[test]
fn what_is_wrong_in_the_files_has_its_place_and_a_code() {
    let folder = Folder::new();
    let fails = |services: &str, table: &str, words: &[&str]| {
        folder.put("services.yaml", services);
        folder.put("table.csv", table);
        let told = text(&folder.size(3, &[]).stderr);
        for word in words {
            assert!(told.contains(word), "{told} lacks {word}");
        }
    };
    let bad = SERVICES.replace("bert", "brt").replace("[1g, 2g]", "[1g, 5g]");
    fails(
        &bad,
        TABLE,
        &[
            "services.yaml:6:25: ",
            "did you mean `bert`?",
            "services.yaml:7:50: ",
            "has no slice 5g",
            "E-SERVICES-FILE",
        ],
    );
    fails(
        &SERVICES.replace("slo: 1s", "slo: 1"),
        TABLE,
        &["services.yaml:7:33: `slo` is the number 1"],
    );
    fails(&SERVICES.replace("a100-sxm4-80gb", "a100"), TABLE, &["services.yaml:2:8: ", "a100-"]);
    fails(
        SERVICES,
        &TABLE.replace("150", "-1"),
        &["table.csv:3:13: `throughput` is `-1`", "E-PROFILE-TABLE"],
    );
    folder.put("services.yaml", &SERVICES.replace("table.csv", "nowhere.csv"));
    assert!(text(&folder.size(2, &[]).stderr).contains("nowhere.csv"));
}

#[test]
fn layouts_are_what_apply_takes() {
    let folder = Folder::new();
    let lab = Lab::new("a100-sxm4-80gb:2");
    lab.enable_mig(0);
    lab.enable_mig(1);
    let (services, layout) = (folder.path("services.yaml"), folder.path("layout.yaml"));
    let args = |path: &Path| path.to_str().unwrap().to_owned();
    folder.put("services.yaml", &SERVICES.replace("board: a100-sxm4-80gb\n", ""));
    lab.ok(&["size", "-f", &args(&services), "-o", &args(&layout)]);
    let written = std::fs::read_to_string(&layout).unwrap();
    assert!(written.contains("rank") && written.contains("lend: true"), "{written}");
    lab.ok(&["apply", "-f", &args(&layout)]);
    lab.ok(&["assert", "-f", &args(&layout)]);
}

/// Prints figures that follow from the batch; fails from batch 16 on, and where it does not find its
/// slice.
const SCRIPT: &str = "test {uuid} = \"$CUDA_VISIBLE_DEVICES\" || exit 4
test $MIGD_BENCH_BATCH -lt 16 || exit 3
echo start; echo throughput=$((MIGD_BENCH_BATCH * 100)) latency_ms={batch}";

#[test]
fn a_table_is_measured_on_leased_slices_and_marked_as_simulated() {
    let folder = Folder::new();
    let lab = Lab::new("a30:1");
    lab.enable_mig(0);
    let table = folder.path("measured.csv");
    let table = table.to_str().unwrap();
    let first_row = TABLE.split_inclusive('\n').take(2).collect::<String>();
    folder.put("measured.csv", &first_row);
    let mut args = vec!["bench", "--model", "demo", "--profile", "1g,2g", "--batch", "1,4,16"];
    args.extend(["--processes", "1,2", "--repeat", "2", "-o", table, "--", "sh", "-c", SCRIPT]);
    let output = lab.run(&args);
    assert!(output.status.success(), "{}", told(&output));
    assert!(
        told(&output).contains("batch 16, 2 processes: the command ended with"),
        "{}",
        told(&output)
    );
    let written = std::fs::read_to_string(table).unwrap();
    let rows: Vec<&str> = written.lines().filter(|line| !line.starts_with('#')).skip(1).collect();
    assert_eq!(
        rows,
        [
            "bert,1g,4,1,60,20,,,,given",
            "demo,1g.6gb,1,1,100,1,0,0,2,simulated",
            "demo,1g.6gb,4,1,400,4,0,0,2,simulated",
            "demo,1g.6gb,1,2,200,1,0,0,2,simulated",
            "demo,1g.6gb,4,2,800,4,0,0,2,simulated",
            "demo,2g.12gb,1,1,100,1,0,0,2,simulated",
            "demo,2g.12gb,4,1,400,4,0,0,2,simulated",
            "demo,2g.12gb,1,2,200,1,0,0,2,simulated",
            "demo,2g.12gb,4,2,800,4,0,0,2,simulated",
        ]
    );
    // What was measured is what size reads, and it says where it comes from.
    let services = "schema: migd-services/v1\nboard: a30\nprofiles: measured.csv\nservices:\n  \
                    - {name: demo, rate: 900, slo: 10ms}\n";
    folder.put("services.yaml", services);
    let output = folder.size(0, &["--json"]);
    assert!(text(&output.stderr).contains("simulated GPU"), "{}", text(&output.stderr));
    let view: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&view["gpus"], &view["compute_slices"]), (&1.into(), &2.into()));
    assert_eq!(lab.json(&["status"])["leases"], Value::Array(Vec::new()), "all is given back");
}

#[test]
fn runs_are_counted_where_the_command_says_nothing() {
    let lab = Lab::new("a30:1");
    lab.enable_mig(0);
    let counted = ["bench", "--model", "demo", "--profile", "1g", "--batch", "8", "--repeat", "1"];
    let command = ["--count-runs", "50ms", "--", "migctl", "sim", "workload", "--time", "10ms"];
    let table = lab.ok(&[&counted[..], &command[..]].concat());
    let row = table.lines().last().unwrap();
    let cells: Vec<&str> = row.split(',').collect();
    assert_eq!(cells[..4], ["demo", "1g.6gb", "8", "1"], "{table}");
    let figure = |at: usize| cells[at].parse::<f64>().unwrap();
    // A batch of eight in so many milliseconds is so many a second; and it took its ten.
    assert!(figure(5) >= 10.0, "{row}");
    assert!((figure(4) * figure(5) / 8000.0 - 1.0).abs() < 0.01, "{row}");
    let told = lab.fails(2, &["bench", "--model", "demo", "--profile", "1g", "--", "true"]);
    assert!(told.contains("E-BENCH") && told.contains("throughput="), "{told}");
    let told = lab.fails(2, &["bench", "--model", "demo", "--profile", "1g", "--", "false"]);
    assert!(told.contains("E-BENCH") && told.contains("at every setting"), "{told}");
}

/// A run that takes too long is ended with all that it started, and what else is measured stays.
#[test]
fn a_run_that_hangs_is_ended_and_gets_no_row() {
    let lab = Lab::new("a30:1");
    let script = "if [ $MIGD_BENCH_BATCH = 1 ]; then echo throughput=9 latency_ms=1; \
                  else sleep 98765 & sleep 98765; fi";
    let limited =
        ["bench", "--model", "demo", "--profile", "1g", "--batch", "2,1", "--repeat", "1"];
    let args = [&limited[..], &["--run-limit", "300ms", "--", "sh", "-c", script]].concat();
    let done = lab.run(&args);
    let told = told(&done);
    assert!(done.status.success(), "{told}");
    assert!(
        told.contains("batch 2, 1 process: the command was ended after 300ms; no row"),
        "{told}"
    );
    let table = String::from_utf8_lossy(&done.stdout).into_owned();
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("demo,")).collect();
    assert_eq!(rows.len(), 1, "{table}");
    let left = std::fs::read_dir("/proc").unwrap().flatten().filter(|entry| {
        let words = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        words == b"sleep\098765\0"
    });
    assert_eq!(left.count(), 0, "nothing of it is left");
}
