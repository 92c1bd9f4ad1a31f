//! Layouts by file and by hand through the real program: what the verbs print, leave behind and
//! answer with, with a daemon and without one.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod simulated;

use std::path::PathBuf;

use simulated::Lab;

fn file(lab: &Lab, name: &str, text: &str) -> String {
    let path: PathBuf = lab.state_dir().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn path(lab: &Lab, name: &str) -> String {
    lab.state_dir().join(name).to_str().unwrap().to_owned()
}

/// Profile and place of each GPU instance of a GPU, sorted, by the driver's word.
fn layout(lab: &Lab, gpu: usize) -> Vec<String> {
    let node = lab.machine().node().unwrap();
    let instances = node.value.gpus[gpu].instances.iter();
    let mut names: Vec<String> =
        instances.map(|i| format!("{}@{}/{}", i.profile, i.placement, i.compute.len())).collect();
    names.sort();
    names
}

#[test]
fn a_machine_goes_through_files_and_back_without_a_daemon() {
    let lab = Lab::new("a30:2");
    let generated = path(&lab, "config.yaml");
    lab.ok(&["generate-config", "--output-file", &generated]);
    lab.fails(1, &["assert", "-f", &generated, "-c", "all-1g.6gb"]);
    lab.ok(&["apply", "--alone", "-f", &generated, "-c", "all-1g.6gb", "--yes"]);
    assert_eq!(layout(&lab, 1).len(), 4);
    lab.ok(&["assert", "-f", &generated, "-c", "all-1g.6gb"]);
    let before = path(&lab, "before.json");
    lab.ok(&["checkpoint", "-f", &before]);
    let kept = (layout(&lab, 0), layout(&lab, 1));
    lab.ok(&["destroy", "--alone", "--gpu", "0", "--all", "--yes"]);
    lab.ok(&["create", "--alone", "--gpu", "0", "1c.4g.24gb", "2c.4g.24gb"]);
    assert_eq!(layout(&lab, 0).len(), 1, "both in one GPU instance");
    assert!(layout(&lab, 0)[0].ends_with("/2"));
    for schema in ["migd", "mig-parted"] {
        let now = path(&lab, schema);
        lab.ok(&["export", "--schema", schema, "--output-file", &now]);
        lab.ok(&["assert", "-f", &now]);
    }
    lab.ok(&["restore", "--alone", "-f", &before, "--yes"]);
    assert_eq!((layout(&lab, 0), layout(&lab, 1)), kept);
    let said = lab.ok(&["apply", "--alone", "--no-fix", "-f", &generated, "-c", "all-1g.6gb"]);
    assert!(said.contains("nothing to do"), "{said}");
    assert!(!lab.machine_dir().join("run/migd.sock").exists(), "no daemon is left");
}

#[test]
fn exactly_the_plan_that_was_written_is_carried_out() {
    let lab = Lab::new("a100-sxm4-40gb:1");
    lab.ok(&["mode", "enable", "--gpu", "0", "--yes"]);
    let wanted = file(
        &lab,
        "wanted.yaml",
        "schema: migd/v1\nlayouts:\n  lab:\n    - gpus: all\n      mig: true\n      instances:\n        \
         - 3g.20gb@4\n        - 1g.5gb@0\n",
    );
    let plan = path(&lab, "lab.plan");
    lab.ok(&["plan", "-f", &wanted, "-o", &plan]);
    assert!(layout(&lab, 0).is_empty(), "a plan changes nothing");
    lab.ok(&["create", "--gpu", "0", "1g.5gb@6"]);
    let said = lab.fails(5, &["apply", &plan, "--yes"]);
    assert!(said.contains("E-MACHINE-CHANGED"), "{said}");
    assert_eq!(layout(&lab, 0).len(), 1, "nothing was done");
    lab.ok(&["destroy", "--gpu", "0", "--all", "--yes"]);
    lab.ok(&["apply", &plan, "--yes"]);
    lab.ok(&["assert", "-f", &wanted]);
    let status = lab.json(&["status"]);
    assert_eq!(status["gpus"][0]["fixed"]["lend"], false);
    let slice = ["run", "--immediate", "--profile", "1g.5gb", "--", "true"];
    lab.fails(124, &slice);
    lab.ok(&["gpu", "auto", "0"]);
    lab.ok(&slice);
}

#[test]
fn what_is_wrong_in_a_file_or_word_changes_nothing() {
    let lab = Lab::new("a100-sxm4-40gb:1");
    lab.ok(&["mode", "enable", "--gpu", "0", "--yes"]);
    lab.ok(&["create", "--gpu", "0", "2g.10gb"]);
    let before = layout(&lab, 0);
    let typo = "version: v1\nmig-configs:\n  a:\n    - devices: all\n      mig-enabled: true\n      \
                mig-devices: {1g.6gb: 1}\n";
    let typo = file(&lab, "typo.yaml", typo);
    let said = lab.fails(3, &["apply", "-f", &typo, "--yes"]);
    assert!(said.contains("typo.yaml:6:") && said.contains("1g.5gb"), "{said}");
    for (code, args) in [
        (3, &["create", "--gpu", "0", "9g.99gb"][..]),
        (3, &["create", "--gpu", "7", "1g.5gb"]),
        (3, &["create", "--gpu", "0", "2x3g.20gb@4"]),
        (5, &["create", "--gpu", "0", "7g.40gb"]),
        (3, &["create", "--gpu", "0", "8x1g.5gb"]),
        (3, &["create", "--gpu", "0", "8x1g.5gb", "--wait-idle"]),
        (3, &["create", "--gpu", "0", "3g.20gb@5", "--dry-run"]),
        (3, &["destroy", "0:99", "--yes"]),
        (3, &["destroy", "--gpu", "0", "--all"]),
        (3, &["plan", "-f", "-"]),
        (3, &["apply", &typo, "--yes"]),
        (2, &["assert", "-f", "/nowhere/at.all"]),
    ] {
        lab.fails(code, args);
    }
    assert_eq!(layout(&lab, 0), before);
}

#[test]
fn hooks_run_when_told_to_and_stop_an_apply_that_they_refuse() {
    let lab = Lab::new("a30:1");
    let log = path(&lab, "hooks.log");
    let hook = |stage: &str, end: &str| {
        format!(
            "  {stage}:\n    - command: /bin/sh\n      args: [-c, \"echo {stage} $MIG_PARTED_SELECTED_CONFIG \
             >> {log}; exit {end}\"]\n"
        )
    };
    let all = |end: &str| {
        let hooks = hook("apply-start", "0") + &hook("pre-apply-mode", "0");
        format!(
            "version: v1\nhooks:\n{hooks}{}{}",
            hook("pre-apply-config", end),
            hook("apply-exit", "0")
        )
    };
    let wanted = file(
        &lab,
        "w.yaml",
        "version: v1\nmig-configs:\n  all:\n    - devices: all\n      mig-enabled: true\n      \
         mig-devices: {1g.6gb: 4}\n",
    );
    let refusing = file(&lab, "refusing.yaml", &all("1"));
    let apply = ["apply", "--alone", "-f", &wanted, "-c", "all", "--yes", "--hooks-file"];
    let with = |more: &[&'static str], hooks: &str| {
        let mut args: Vec<String> = apply.map(str::to_owned).to_vec();
        args.push(hooks.to_owned());
        args.extend(more.iter().map(|word| (*word).to_owned()));
        args
    };
    let args = with(&["--run-hooks"], &refusing);
    let said = lab.fails(2, &args.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(said.contains("E-HOOK"), "{said}");
    assert!(layout(&lab, 0).is_empty(), "nothing was begun");
    let ran = std::fs::read_to_string(&log).unwrap();
    let stages: Vec<&str> = ran.lines().collect();
    assert_eq!(
        stages,
        ["apply-start all", "pre-apply-mode all", "pre-apply-config all", "apply-exit all"]
    );
    let willing = file(&lab, "willing.yaml", &all("0"));
    let args = with(&[], &willing);
    lab.ok(&args.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(layout(&lab, 0).len(), 4);
    assert_eq!(std::fs::read_to_string(&log).unwrap(), ran, "shown, and not run");
}

/// With --json an error is one line for a program, and nothing else is on stderr but talk.
#[test]
fn errors_are_documents_for_whoever_asks_for_json() {
    let lab = Lab::new("a100-sxm4-40gb:1");
    lab.ok(&["mode", "enable", "--gpu", "0", "--yes"]);
    lab.ok(&["create", "--gpu", "0", "2g.10gb"]);
    for (exit, code, args) in [
        (3, "E-GPU-UNKNOWN", &["instances", "--gpu", "7"][..]),
        (3, "E-NEVER-FITS", &["create", "--gpu", "0", "8x1g.5gb"]),
        (5, "E-BLOCKED", &["create", "--gpu", "0", "7g.40gb"]),
        (3, "E-USAGE", &["instances", "--no-such-option"]),
        (3, "E-USAGE", &["frobnicate"]),
        (2, "E-FILE", &["plan", "-f", "/nowhere/at.all"]),
    ] {
        let args: Vec<&str> = ["--json"].iter().chain(args).copied().collect();
        let said = lab.fails(exit, &args);
        let line = said.lines().last().unwrap();
        let document: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|_| panic!("{said}"));
        assert_eq!(document["code"], code, "{said}");
        assert_eq!(document["exit"], exit, "{said}");
        assert!(document["detail"].as_str().is_some_and(|words| !words.is_empty()), "{said}");
    }
}

/// The same words select GPUs for every verb, those that look and those that change.
#[test]
fn gpus_are_named_alike_everywhere() {
    let lab = Lab::new("a30:4");
    let indices = |args: &[&str]| -> Vec<u64> {
        let told = lab.json(args);
        let list = told.get("gpus").unwrap_or(&told).as_array().unwrap().clone();
        list.iter().map(|gpu| gpu["index"].as_u64().unwrap()).collect()
    };
    for (words, meant) in [
        ("0,2", vec![0, 2]),
        ("1-3", vec![1, 2, 3]),
        ("all", vec![0, 1, 2, 3]),
        ("3,a30", vec![0, 1, 2, 3]),
    ] {
        for verb in ["instances", "gpus", "status"] {
            assert_eq!(indices(&[verb, "--gpu", words]), meant, "{verb} {words}");
        }
        assert_eq!(lab.json(&["why-busy", words]).as_array().unwrap().len(), meant.len());
        let plan = lab.json(&["mode", "enable", "--gpu", words, "--dry-run"]);
        let gpus = plan["gpus"].as_array().unwrap();
        assert_eq!(gpus.len(), meant.len(), "mode {words}");
    }
    let boards = lab.json(&["profiles", "--gpu", "1-2"]);
    assert_eq!(boards[0]["gpus"], serde_json::json!([1, 2]));
    for verb in
        [&["instances", "--gpu"][..], &["status", "--gpu"], &["profiles", "--gpu"], &["why-busy"]]
    {
        for words in ["0,9", "2-4", "h100"] {
            lab.fails(3, &[verb, &[words]].concat());
        }
    }
    lab.ok(&["mode", "enable", "--gpu", "0-1", "--yes"]);
    lab.ok(&["gpu", "cordon", "0-1", "--why", "fan"]);
    let out = lab.ok(&["gpu", "uncordon", "0-1"]);
    assert_eq!(out.lines().count(), 2, "{out}");
}

/// A change that was cut off with its daemon is told by whoever looks, and taken back by a verb.
#[test]
fn what_was_cut_off_is_told_without_a_daemon_and_taken_back_when_asked() {
    let lab = Lab::new("a30:2");
    lab.ok(&["mode", "enable", "--gpu", "all", "--alone", "--yes"]);
    lab.ok(&["create", "--gpu", "0", "2g.12gb", "--alone"]);
    let before = layout(&lab, 0);
    let told = |lab: &Lab| {
        let status = lab.json(&["status"]);
        let warnings = status["warnings"].as_array().unwrap().clone();
        let doctor = lab.run(&["--json", "doctor"]);
        let doctor: serde_json::Value = serde_json::from_slice(&doctor.stdout).unwrap();
        let found = doctor["findings"].as_array().unwrap();
        let cut_off = found.iter().find(|found| found["id"] == "cut-off").cloned();
        let instances = lab.run(&["instances"]);
        (warnings, cut_off, String::from_utf8(instances.stderr).unwrap())
    };
    let (warnings, cut_off, said) = told(&lab);
    assert!(warnings.is_empty() && cut_off.is_none() && !said.contains("cut off"), "{said}");
    let crash = ["sim", "fault", "inject", "nvmlGpuInstanceCreateComputeInstanceWithPlacement"];
    lab.ok(&[&crash[..], &["--gpu", "0", "--crash", "before"]].concat());
    assert!(!lab.run(&["create", "--gpu", "0", "1g.6gb", "--alone", "--yes"]).status.success());
    assert_ne!(layout(&lab, 0), before, "half of it is there");
    let (warnings, cut_off, said) = told(&lab);
    let words = warnings[0].as_str().unwrap();
    for words in [words, &said] {
        assert!(
            words.contains("was cut off with its daemon: it may be half done on GPU 0"),
            "{words}"
        );
        assert!(words.contains("migctl change --settle"), "{words}");
    }
    let cut_off = cut_off.unwrap();
    assert_eq!(cut_off["severity"], "error", "{cut_off}");
    lab.ok(&["change", "--settle"]);
    assert_eq!(layout(&lab, 0), before);
    let (warnings, cut_off, said) = told(&lab);
    assert!(warnings.is_empty() && cut_off.is_none() && !said.contains("cut off"), "{said}");
}
