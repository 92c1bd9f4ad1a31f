//! The table of keys against what is read.
//!
//! Must never list a key by hand.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use super::*;
use crate::{Config, Effective, default_file};

/// Every key with its example, all tables once.
fn everything() -> String {
    let mut text = String::new();
    for section in SECTIONS {
        let header = match section.name {
            "tenants.NAME" => "[tenants.vision]".to_owned(),
            "window" => "[[window]]".to_owned(),
            name => format!("[{name}]"),
        };
        text.push_str(&header);
        text.push('\n');
        for key in KEYS.iter().filter(|key| key.section == section.name) {
            let value = key.example.or(key.default).unwrap();
            let _ = writeln!(text, "{} = {value}", key.name);
        }
    }
    text
}

#[test]
fn the_default_file_says_exactly_what_is_built_in() {
    let read = Effective::parse(Path::new("default.toml"), &default_file()).unwrap();
    assert_eq!(read.config, Config::default());
    assert!(default_file().lines().all(|line| line.chars().count() <= 100));
}

#[test]
fn every_key_stands_in_the_table_and_every_example_is_valid() {
    let text = everything();
    let read = Effective::parse(Path::new("x.toml"), &text).unwrap();
    assert_ne!(read.config, Config::default());
    let of_tenants = |key: &str| {
        // What a tenant shares with the defaults is described there.
        let rest = key.strip_prefix("tenants.vision.")?;
        let own = KEYS.iter().any(|k| k.section == "tenants.NAME" && k.name == rest);
        Some(format!("{}.{rest}", if own { "tenants.NAME" } else { "tenant_defaults" }))
    };
    let mut keys: BTreeSet<String> = BTreeSet::new();
    for entry in &read.entries {
        let key = of_tenants(&entry.key).unwrap_or_else(|| entry.key.clone());
        let key = key.replace("window[0]", "window");
        keys.insert(match key.rsplit_once('.') {
            Some((amount, "slices" | "memory")) => amount.to_owned(),
            _ => key,
        });
    }
    let table: BTreeSet<String> =
        KEYS.iter().map(|key| format!("{}.{}", key.section, key.name)).collect();
    assert_eq!(keys, table);
    for key in KEYS {
        assert!(SECTIONS.iter().any(|section| section.name == key.section), "{key:?}");
    }
}

#[test]
fn what_is_read_can_be_written_and_read_again() {
    let read = Effective::parse(Path::new("x.toml"), &everything()).unwrap();
    let mut text = String::new();
    for entry in read.entries.iter().filter(|entry| !entry.key.starts_with("window")) {
        let _ = writeln!(text, "{} = {}", entry.key, entry.value);
    }
    let again = Effective::parse(Path::new("y.toml"), &text).unwrap();
    assert_eq!(again.config.tenants, read.config.tenants);
    assert_eq!(again.config.reclaim, read.config.reclaim);
    assert_eq!(again.config.daemon, read.config.daemon);
}
