//! `migctl whatif` through the real program: a few leases, made again with and without changes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

mod simulated;

use serde_json::Value;
use simulated::Lab;

fn column<'a>(answer: &'a Value, name: &str) -> &'a Value {
    let columns = answer["columns"].as_array().unwrap();
    let found = columns.iter().find(|column| column["name"] == name);
    &found.unwrap_or_else(|| panic!("no column {name} in {answer}"))["summary"]
}

#[test]
fn leases_are_made_again_with_and_without_changes() {
    let lab = Lab::new("a30:1");
    lab.ok(&["run", "--profile", "4g.24gb", "--", "true"]);
    let empty = lab.state_dir().join("empty.json");
    std::fs::write(&empty, "[]").unwrap();
    let said = lab.fails(1, &["whatif", "--from", empty.to_str().unwrap()]);
    assert!(said.contains("no request of this time is known"), "{said}");
    lab.ok(&["run", "--profile", "1g.6gb", "--count", "2", "--", "true"]);
    lab.ok(&["run", "--gpu-mem", "6g", "--time", "1h", "--", "true"]);
    lab.ok(&["lease", "--profile", "1g.6gb", "--name", "kept"]);
    // The replay's driver calls take as long as real ones; it must be held for longer than those.
    std::thread::sleep(std::time::Duration::from_secs(4));

    let rules = lab.state_dir().join("rules.toml");
    std::fs::write(&rules, "[queue]\ndrain_after = \"1h\"\n").unwrap();
    let rules = rules.to_str().unwrap();
    let answer =
        lab.json(&["whatif", "--add", "a30=2", "--policy", rules, "--quota", "root.weight=2"]);
    let names: Vec<&str> =
        answer["columns"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "really",
            "replayed as it was",
            "+2 a30",
            "rules of rules.toml",
            "root.weight=2",
            "all of these"
        ]
    );
    for name in names {
        let summary = column(&answer, name);
        assert_eq!((&summary["requests"], &summary["started"]), (&4.into(), &4.into()), "{name}");
        assert_eq!(summary["waits"]["count"], 4, "{name}");
        assert_eq!(summary["by_size"].as_object().unwrap().len(), 4, "{name}: {summary}");
    }
    let (was, more) = (column(&answer, "replayed as it was"), column(&answer, "+2 a30"));
    assert!(was["room_held"].as_f64() > more["room_held"].as_f64(), "the same on three GPUs");
    assert!(was["instances_made"].as_u64() >= Some(1));

    let history = lab.state_dir().join("past.json");
    std::fs::write(&history, lab.ok(&["history", "--since", "1d", "--json"])).unwrap();
    let history = history.to_str().unwrap();
    let layout = lab.state_dir().join("layout.yaml");
    std::fs::write(&layout, "version: v1\nmig-configs:\n  halves:\n    - devices: all\n      mig-enabled: true\n      mig-devices: { 2g.12gb: 2 }\n").unwrap();
    let layout = layout.to_str().unwrap();
    let fixed = lab.json(&["whatif", "--from", history, "--layout", layout]);
    let summary = column(&fixed, "fixed: layout.yaml");
    assert_eq!((&summary["requests"], &summary["started"]), (&3.into(), &2.into()), "{fixed}");
    assert_eq!(summary["refused"], 1, "nothing holds a 4g");
    let text = lab.ok(&["whatif", "--from", history]);
    assert!(text.contains("replayed as it was") && text.contains("Assumed:"), "{text}");

    lab.fails(3, &["whatif", "--add", "q9=1"]);
    lab.fails(3, &["whatif", "--add", "a30=31", "--add", "a30=2"]);
    lab.fails(3, &["whatif", "--quota", "root.colour=red"]);
    lab.fails(3, &["whatif", "--policy", "/nowhere/rules.toml"]);
    lab.fails(3, &["whatif", "--layout", rules]);
    lab.fails(2, &["whatif", "--from", "/nowhere/past.json"]);
}
