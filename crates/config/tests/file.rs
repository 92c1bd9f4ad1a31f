//! Files as people write them, with the mistakes people make.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use config::{Config, Effective, Enforce, Faults, Place, Sources};
use model::{MemoryMib, Millis};

const GOOD: &str = r#"
[daemon]
grace = "30s"

[access]
enforce = "on"

[admins]
users = ["kim"]

[reclaim]
idle_after = "2h"
protected = ["mon-fri 09:00-18:00 Europe/Berlin"]

[tenant_defaults]
max_time = "1d"
cap = { slices = 7 }

[tenants.vision]
users = ["ann", "bob"]
groups = ["vision"]
weight = 3
guaranteed = { slices = 14, memory = "280g" }
cap = { slices = 28 }
idle_limit = "none"

[tenants.speech]
max_time = "none"

[[window]]
name = "mornings"
tenant = "vision"
profile = "3g.20gb"
count = 4
days = ["mon-fri"]
from = "08:00"
to = "12:00"
zone = "Asia/Seoul"
"#;

fn read(text: &str) -> Result<Effective, Faults> {
    Effective::parse(Path::new("/etc/migd/migd.toml"), text)
}

fn faults(text: &str) -> Vec<String> {
    read(text).unwrap_err().0.iter().map(ToString::to_string).collect()
}

#[test]
fn a_file_is_read_into_types() {
    let Effective { config, .. } = read(GOOD).unwrap();
    assert_eq!(config.daemon.grace, Millis::from_secs(30));
    assert_eq!(config.daemon.warm_for, Config::default().daemon.warm_for);
    assert_eq!(config.access.enforce, Enforce::On);
    assert_eq!(config.reclaim.protected[0].to_string(), "mon-fri 09:00-18:00 Europe/Berlin");
    let [vision, speech] = &config.tenants[..] else { panic!("{:?}", config.tenants) };
    // The order of the file's text is not kept; tenants come by name.
    let (vision, speech) =
        if vision.name == "vision" { (vision, speech) } else { (speech, vision) };
    assert_eq!(vision.rules.guaranteed.memory, Some(MemoryMib::new(280 * 1024)));
    assert_eq!(vision.rules.idle_limit, None, "none overrides reclaim.idle_after");
    assert_eq!(vision.rules.max_time, Some(Millis::from_secs(86_400)), "from the defaults");
    assert_eq!(speech.rules.max_time, None);
    assert_eq!(speech.rules.idle_limit, Some(Millis::from_secs(7200)));
    assert_eq!(speech.rules.cap.slices, Some(7));
    assert_eq!(config.windows[0].hours.to_string(), "mon-fri 08:00-12:00 Asia/Seoul");
}

#[test]
fn no_file_and_an_empty_file_are_the_defaults() {
    assert_eq!(read("").unwrap().config, Config::default());
    let sources = Sources { file: Some("/nonexistent/migd.toml".into()), ..Sources::default() };
    let effective = sources.load().unwrap();
    assert_eq!((effective.config, effective.file), (Config::default(), None));
}

#[test]
fn a_file_that_was_named_must_exist() {
    let file = Some(PathBuf::from("/nonexistent/migd.toml"));
    let sources = Sources { file, required: true, ..Sources::default() };
    let told = sources.load().unwrap_err().to_string();
    assert!(told.starts_with("/nonexistent/migd.toml:1:1: cannot be read"), "{told}");
}

/// Each mistake, its line and column, and what to write instead.
#[test]
fn every_mistake_points_at_its_place_and_says_what_to_write() {
    for (text, place, words) in [
        ("[daemon]\ngraec = \"5s\"", "2:1", "unknown key graec in [daemon]; write grace"),
        ("[deamon]\n", "1:2", "unknown key or table deamon; write daemon"),
        ("auto_mig = true", "1:1", "unknown key or table auto_mig; it belongs under [daemon]"),
        ("[daemon]\ngrace = 5", "2:9", "daemon.grace: 5 is no length of time; write one in quotes"),
        ("[daemon]\n  grace = \"5 parsecs\"", "2:11", "`5 parsecs` is no length of time"),
        ("[daemon]\nauto_mig = \"yes\"", "2:12", "`yes` is neither true nor false; write true"),
        ("[access]\nenforce = \"maybe\"", "2:11", "write \"observe\", \"on\" or \"off\""),
        ("[limits]\nwaiting = -1", "2:11", "-1 is no whole number"),
        ("[limits]\nwaiting = 0", "2:11", "write 1 or more"),
        ("[limits]\nwaiting = 99999999999", "2:11", "is too large"),
        ("[daemon]\nsocket = \"run/x\"", "2:10", "is no absolute path"),
        ("daemon = 3", "1:10", "daemon is no table; write [daemon]"),
        ("[reclaim]\nprotected = [\"mon 9-5\"]", "2:13", "`9` is no time of day"),
        ("[journal]\nretention = \"1s\"", "2:13", "write an hour or more"),
        (
            "[tenants.v]\nguaranteed = { slices = 9 }\ncap = { slices = 8 }",
            "2:14",
            "is more than cap",
        ),
        (
            "[tenants.v]\ncap = { slizes = 8 }",
            "2:9",
            "unknown key slizes in [tenants.v.cap]; write slices",
        ),
        ("[tenants.v]\nmax_time = \"1h\"\ndefault_time = \"2h\"", "3:16", "write \"1h\" or less"),
        ("[tenants.\"a b\"]", "1:1", "is no name of a tenant"),
        ("[placement]\npolicy = \"round-robin\"", "2:10", "no policy of placement; write one of"),
        ("[tcp]\nlisten = \"0.0.0.0:8443\"", "2:10", "without TLS; write certificate and key"),
        ("[tcp]\nkey = \"/k.pem\"", "2:7", "tcp.key stands without tcp.certificate"),
        ("[[window]]\nname = \"x\"", "1:1", "window[0].tenant is missing"),
        ("[daemon\n", "1:8", "this is not TOML"),
        ("[daemon]\ngrace = \"5s\"\ngrace = \"6s\"", "3:1", "this is not TOML: duplicate key"),
    ] {
        let told = faults(text);
        let wanted = format!("/etc/migd/migd.toml:{place}: ");
        assert!(
            told.iter().any(|line| line.starts_with(&wanted) && line.contains(words)),
            "{text}\nwanted {wanted}… {words}\ngot {told:#?}"
        );
    }
}

#[test]
fn several_mistakes_are_told_at_once_and_in_order() {
    let told = faults(
        "[daemon]\ngrace = 5\nshraed = true\n[[window]]\nname = \"a\"\ntenant = \"none here\"\n\
         profile = \"1g.5gb\"\nfrom = \"08:00\"\nto = \"08:00\"\n[queu]\n",
    );
    let lines: Vec<&str> = told.iter().map(|line| line.split(':').nth(1).unwrap()).collect();
    assert_eq!(lines, ["2", "3", "6", "9", "10"], "{told:#?}");
}

#[test]
fn columns_count_letters() {
    let told = faults("[admins]\nusers = [\"Jürgen\"] \n[limits]\n  waiting = \"é\"\n");
    assert!(told[0].starts_with("/etc/migd/migd.toml:4:13: "), "{told:?}");
}

#[test]
fn a_user_in_two_tenants_is_a_mistake() {
    let told = faults("[tenants.a]\nusers = [\"kim\"]\n[tenants.b]\nusers = [\"kim\"]\n");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("kim belongs to a and to b"), "{told:?}");
}

fn sources(file: &Path) -> Sources {
    Sources { file: Some(file.to_owned()), ..Sources::default() }
}

#[test]
fn a_flag_beats_a_variable_beats_the_file_beats_the_default() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("migd.toml");
    fs::write(&file, "[daemon]\ngrace = \"1s\"\nwarm_for = \"1s\"\nfailing_for = \"1s\"\n")
        .unwrap();
    let variables = |name: &str| match name {
        "MIGD_DAEMON_GRACE" | "MIGD_DAEMON_WARM_FOR" => Some("2s".to_owned()),
        "MIGD_ADMINS_USERS" => Some("kim,lee".to_owned()),
        "MIGD_LOG" => Some("debug".to_owned()),
        _ => None,
    };
    let mut all = sources(&file);
    all.flag("--grace", "daemon.grace", "3s".to_owned());
    let mut roots = all.clone();
    all.environment(1000, variables);
    let read = all.load().unwrap();
    let seconds = |millis: Millis| millis.as_secs();
    let daemon = &read.config.daemon;
    assert_eq!(
        (seconds(daemon.grace), seconds(daemon.warm_for), seconds(daemon.failing_for)),
        (3, 2, 1)
    );
    assert_eq!(daemon.log, config::LogLevel::Debug);
    assert_eq!(read.config.admins.users, ["kim", "lee"]);
    assert_eq!(read.place_of("daemon.grace"), Some(&Place::Flag("--grace".to_owned())));
    let variable = Place::Variable("MIGD_DAEMON_WARM_FOR".to_owned());
    assert_eq!(read.place_of("daemon.warm_for"), Some(&variable));
    let line = Place::File { path: file, line: 4, column: 15 };
    assert_eq!(read.place_of("daemon.failing_for"), Some(&line));
    assert_eq!(read.place_of("daemon.auto_mig"), Some(&Place::Default));

    // Whoever sets root's environment must not rule the machine.
    roots.environment(0, variables);
    let read = roots.load().unwrap();
    let daemon = &read.config.daemon;
    assert_eq!((seconds(daemon.grace), seconds(daemon.warm_for)), (3, 1));
    assert_eq!(daemon.log, config::LogLevel::Info);
    assert!(read.config.admins.users.is_empty());
}

#[test]
fn a_bad_variable_or_flag_is_named() {
    let mut sources = Sources::default();
    sources.environment(1000, |name| (name == "MIGD_DAEMON_GRACE").then(|| "soon".to_owned()));
    sources.flag("--warm-for", "daemon.warm_for", "later".to_owned());
    let told = sources.load().unwrap_err().to_string();
    assert!(told.contains("environment MIGD_DAEMON_GRACE: daemon.grace: `soon`"), "{told}");
    assert!(told.contains("--warm-for: daemon.warm_for: `later`"), "{told}");
}

#[test]
fn a_file_that_others_may_write_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("migd.toml");
    fs::write(&file, "").unwrap();
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(&file).unwrap());
    let sources = Sources { reader: Some(owner), ..sources(&file) };
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(sources.load().is_ok());
    for mode in [0o664, 0o646] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let told = sources.load().unwrap_err().to_string();
        assert!(told.contains("chmod go-w"), "{told}");
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    if owner != 0 {
        let strange = Sources { reader: Some(owner + 1), ..sources };
        assert!(strange.load().unwrap_err().to_string().contains("belongs to uid"));
    }
}

#[test]
fn endless_and_binary_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("migd.toml");
    fs::write(&file, vec![b'#'; 2 << 20]).unwrap();
    assert!(sources(&file).load().unwrap_err().to_string().contains("larger than 1 MiB"));
    fs::write(&file, [0xff, 0xfe]).unwrap();
    assert!(sources(&file).load().unwrap_err().to_string().contains("UTF-8"));
    assert!(sources(folder.path()).load().unwrap_err().to_string().contains("is no file"));
}

#[test]
fn changes_are_named_with_whether_they_need_a_restart() {
    let before = read("").unwrap();
    let after =
        read("[daemon]\ngrace = \"1s\"\nsocket = \"/x\"\n[tenants.v]\nweight = 2\n").unwrap();
    let changes = before.changes(&after);
    let find = |key: &str| changes.iter().find(|change| change.key == key).unwrap();
    assert!(find("daemon.grace").live);
    assert_eq!(find("daemon.grace").before, "\"10s\"");
    assert!(!find("daemon.socket").live);
    assert_eq!(find("tenants.v.weight").before, "nothing");
    assert!(find("tenants.v.weight").live);
    assert!(before.changes(&before).is_empty());
}

proptest::proptest! {
    /// Whatever stands in a file, reading it ends, and complaints point into it.
    #[test]
    fn no_text_breaks_the_reader(text in "(\\[{1,2}(daemon|tenants\\.a|window|queue)\\]{1,2}\n|(grace|name|cap|from|users) = (1|\"5s\"|\"x\"|\\{ ?\\}|\\[\"a\"\\]|true|1.5|\\{slices=1\\})\n|[ -~é]{0,9}\n){0,12}") {
        if let Err(faults) = read(&text) {
            proptest::prop_assert!(!faults.0.is_empty());
            for fault in faults.0 {
                if let Place::File { line, .. } = fault.place {
                    proptest::prop_assert!(line <= text.matches('\n').count() + 1);
                }
            }
        }
    }
}

#[test]
fn units_to_stop_are_named_and_some_cannot_be() {
    use model::StopClients;
    let read = |value: &str| {
        let text = format!("[mode]\nstop_clients = {value}\n");
        Effective::parse(Path::new("migd.toml"), &text).map(|read| read.config.mode.stop_clients)
    };
    assert_eq!(read("[]").unwrap(), StopClients::Nothing);
    assert_eq!(read("\"known\"").unwrap(), StopClients::Known);
    let named = read("[\"nvidia-dcgm\", \"kubelet.service\"]").unwrap();
    assert_eq!(named.to_string(), "nvidia-dcgm.service,kubelet.service");
    for (value, words) in [
        ("[\"nvidia-fabricmanager\"]", "is never stopped: GPUs on NVSwitches"),
        ("[\"a b\"]", "no name of a unit"),
        ("7", "no name of a unit"),
    ] {
        let faults = read(value).unwrap_err().to_string();
        assert!(faults.contains(words) && faults.contains(":2:16"), "{faults}");
    }
}
