//! The daemon's own house: whether it answers, who may reach it, its folder, its disk, its journal.
//!
//! Must never open the journal: the daemon is its one writer.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use api::FindingView;
use api::Severity::{Error, Info, Ok as Fine, Warn};
use host::preflight;
use model::{GpuUuid, Millis};

use super::gather::{Daemon, Evidence, House};
use super::{Findings, More as _, finding};
use crate::cut_off;

/// Below this a journal may not grow for long; below that it may not grow at all.
const LOW: u64 = 1 << 30;
const OUT: u64 = 64 << 20;

pub(super) fn all(evidence: &Evidence) -> Findings {
    let mut findings = daemon(evidence);
    findings.extend(changes(evidence));
    findings.extend(sockets(&evidence.house));
    findings.extend(state_folder(&evidence.house, evidence.uid));
    findings.push(room(&evidence.house.state_dir, preflight::room_at(&evidence.house.state_dir)));
    findings.push(journal(&evidence.house.state_dir));
    findings
}

fn daemon(evidence: &Evidence) -> Findings {
    match &evidence.daemon {
        Daemon::Absent => {
            let mend = match &evidence.simulated {
                Some(name) => format!("`migctl --simulate {name} run` starts one"),
                None => String::from("`systemctl enable --now migd`"),
            };
            vec![finding("daemon", Info, "no daemon runs: nobody lends slices here").mend(mend)]
        }
        Daemon::Silent(why) => vec![
            finding("daemon", Error, format!("the daemon cannot be talked to: {why}"))
                .mend("`systemctl status migd`, or look into its log"),
        ],
        Daemon::Answers(view) => {
            let version = view.daemon_version.as_deref().unwrap_or("of an unknown version");
            let mut findings = vec![finding("daemon", Fine, format!("migd {version} answers"))];
            let warnings = view.warnings.iter();
            findings.extend(warnings.map(|words| {
                finding("daemon-warning", Warn, words.clone())
                    .mend("`migctl events -n 50` tells more")
            }));
            let problems = view.configuration.iter().flat_map(|found| &found.problems);
            findings.extend(problems.map(|words| {
                finding("configuration", Warn, words.clone()).mend("`migctl config check`")
            }));
            findings
        }
    }
}

/// Changes that are under way, that do not come back from the driver, or that nobody goes on with.
fn changes(evidence: &Evidence) -> Findings {
    let mut findings = Findings::new();
    for change in &evidence.changes {
        let what = format!("{} ({})", change.id, change.words);
        let mut late = change.gpus.iter().filter(|gpu| gpu.late).peekable();
        if late.peek().is_none() {
            findings.push(finding("change", Info, format!("{what} is under way")));
        }
        for gpu in late {
            let name =
                gpu.index.map_or_else(|| gpu.gpu.to_string(), |index| format!("GPU {index}"));
            let step = gpu.step.as_deref().unwrap_or("a look");
            let span = Millis::new(gpu.step_ms.unwrap_or_default());
            let words = format!(
                "{what}: \"{step}\" on {name} has not come back from the driver for {span}; the GPU is out of use"
            );
            let mend = "`dmesg | grep -i nvrm` for an Xid; if it never returns, restart the daemon, and if \
                        that does not help, reboot";
            let found = finding("change", Error, words).mend(mend);
            findings.push(match gpu.index {
                Some(index) => found.on(index),
                None => found,
            });
        }
    }
    let seen = evidence.driver.as_ref().map(|driver| driver.gpus.as_slice()).unwrap_or_default();
    let index =
        |uuid: &GpuUuid| Some(seen.iter().find(|gpu| gpu.seen.uuid == *uuid)?.seen.index.get());
    for one in &evidence.unfinished {
        let severity = if cut_off::is_half_done(one) { Error } else { Warn };
        let found = finding("cut-off", severity, cut_off::words(one, index));
        findings.push(found.mend(format!("`{}`, or start the daemon", cut_off::MEND)));
    }
    findings
}

/// The socket of administrators is root's, or its owner's, alone.
fn sockets(house: &House) -> Findings {
    const OTHERS: u32 = 0o077;
    let mode = |path: &Path| Some(fs::metadata(path).ok()?.permissions().mode() & 0o777);
    let mut findings = Findings::new();
    if let Some(mode) = mode(&house.admin_socket) {
        let path = house.admin_socket.display();
        findings.push(if mode & OTHERS == 0 {
            finding("admin-socket", Fine, format!("{path} is its owner's alone"))
        } else {
            finding("admin-socket", Error, format!("others may use {path} (mode {mode:04o})"))
                .mend(format!("`chmod 600 {path}`, and restart the daemon"))
        });
    }
    if let Some(mode) = mode(&house.socket) {
        let path = house.socket.display();
        let who = if mode & 0o006 == 0o006 { "everybody" } else { "its owner alone" };
        findings.push(finding("socket", Fine, format!("{path} lets {who} in (mode {mode:04o})")));
    }
    findings
}

fn state_folder(house: &House, uid: u32) -> Option<FindingView> {
    let found = fs::metadata(&house.state_dir).ok()?;
    let path = house.state_dir.display();
    let mode = found.permissions().mode() & 0o7777;
    Some(if mode & 0o022 != 0 {
        finding("state-folder", Error, format!("others may write into {path} (mode {mode:04o})"))
            .mend(format!("`chmod go-w {path}`"))
    } else if found.uid() != uid && found.uid() != 0 && uid == 0 {
        finding("state-folder", Warn, format!("{path} belongs to uid {}, not to root", found.uid()))
            .mend(format!("`chown root {path}`"))
    } else {
        finding("state-folder", Fine, format!("{path} is kept from others (mode {mode:04o})"))
    })
}

fn room(folder: &Path, free: Option<u64>) -> FindingView {
    let path = folder.display();
    match free {
        None => finding("disk", Info, format!("room at {path} cannot be told")),
        Some(free) if free < OUT => {
            finding("disk", Error, format!("{} MiB are left at {path}", free >> 20))
                .mend("free some room: without any, nothing can be promised any more")
        }
        Some(free) if free < LOW => {
            finding("disk", Warn, format!("{} MiB are left at {path}", free >> 20))
                .mend("free some room, or lower journal.retention")
        }
        Some(free) => finding("disk", Fine, format!("{} GiB are left at {path}", free >> 30)),
    }
}

/// Copies that a start set aside because they were damaged.
fn journal(folder: &Path) -> FindingView {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut damaged: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with("journal.db") && name.contains(".damaged-"))
        .filter(|name| !name.ends_with("-wal") && !name.ends_with("-shm"))
        .collect();
    damaged.sort();
    let Some(last) = damaged.last() else {
        return finding("journal", Fine, "no journal was ever set aside as damaged");
    };
    let words = format!("{} damaged journals were set aside, the last as {last}", damaged.len());
    finding("journal", Warn, words).mend(format!(
        "look for disk errors (`dmesg`), keep the copy for a report, then `rm {}`",
        folder.join(last).display()
    ))
}

#[cfg(test)]
mod tests {
    use api::Severity;

    use super::super::gather::tests::machine;
    use super::*;

    fn severity(findings: &[FindingView], id: &str) -> Severity {
        let found = findings.iter().find(|finding| finding.id == id);
        found.unwrap_or_else(|| panic!("no {id} in {findings:?}")).severity
    }

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_daemon_that_answers_is_well_and_its_warnings_count() {
        let (_folder, mut evidence) = machine(&[], vec![]);
        assert_eq!(severity(&all(&evidence), "daemon"), Info);
        evidence.daemon = Daemon::Silent("no".into());
        assert_eq!(severity(&all(&evidence), "daemon"), Error);
        let view = serde_json::json!({
            "host": "h", "simulated": null, "daemon_version": "1", "driver_version": "580",
            "cuda_version": null, "gpus": [], "leases": [], "warnings": [],
        });
        let mut view: api::NodeView = serde_json::from_value(view).unwrap();
        evidence.daemon = Daemon::Answers(Box::new(view.clone()));
        let findings = all(&evidence);
        assert_eq!(severity(&findings, "daemon"), Fine);
        assert!(findings.iter().all(|finding| finding.id != "daemon-warning"));
        view.warnings.push("a journal was set aside".into());
        evidence.daemon = Daemon::Answers(Box::new(view));
        assert_eq!(severity(&all(&evidence), "daemon-warning"), Warn);
    }

    #[test]
    fn a_change_that_was_cut_off_or_hangs_is_an_error() {
        let (_folder, mut evidence) = machine(&[], vec![]);
        let one = |gpus: &[&str]| daemon::Unfinished {
            change: Some("C2".parse().unwrap()),
            asked: "create 1g".to_owned(),
            gpus: gpus.iter().map(|gpu| GpuUuid::new(*gpu)).collect(),
            units: Vec::new(),
        };
        evidence.unfinished = vec![one(&[])];
        assert_eq!(severity(&all(&evidence), "cut-off"), Warn);
        evidence.unfinished = vec![one(&["GPU-a"])];
        assert_eq!(severity(&all(&evidence), "cut-off"), Error);
        let change = |late: bool| {
            let gpu = serde_json::json!({
                "gpu": "GPU-a", "index": 0, "state": "running", "steps_done": 0, "steps_total": 1,
                "step": "create 1g.5gb at 0:1", "step_ms": 61_000, "late": late,
                "waits_for": null, "stands": null,
            });
            serde_json::from_value::<api::ChangeView>(serde_json::json!({
                "id": "C2", "words": "create 1g", "by": "root", "state": "running",
                "wait_idle": false, "began_ms": 0, "ended_ms": null, "gpus": [gpu], "units": [],
                "units_stopped": false, "error": null, "report": [], "revision": 1,
            }))
            .unwrap()
        };
        evidence.changes = vec![change(false)];
        assert_eq!(severity(&all(&evidence), "change"), Info);
        evidence.changes = vec![change(true)];
        let findings = all(&evidence);
        assert_eq!(severity(&findings, "change"), Error);
        let found = findings.iter().find(|found| found.id == "change").unwrap();
        assert!(found.evidence.contains("on GPU 0 has not come back from the driver for 1m01s"));
    }

    #[test]
    fn the_socket_of_administrators_is_nobody_else_s() {
        let told = |mode| {
            let (_folder, evidence) =
                machine(&[("state/run/admin.sock", ""), ("state/run/migd.sock", "")], vec![]);
            set(&evidence.house.admin_socket, mode);
            let findings = all(&evidence);
            assert_eq!(severity(&findings, "socket"), Fine);
            severity(&findings, "admin-socket")
        };
        assert_eq!([told(0o600), told(0o660), told(0o666)], [Fine, Error, Error]);
    }

    #[test]
    fn nobody_else_writes_into_the_state() {
        let told = |mode| {
            let (_folder, mut evidence) = machine(&[("state/journal.db", "")], vec![]);
            evidence.uid = fs::metadata(&evidence.house.state_dir).unwrap().uid();
            set(&evidence.house.state_dir, mode);
            severity(&all(&evidence), "state-folder")
        };
        assert_eq!([told(0o700), told(0o711), told(0o777)], [Fine, Fine, Error]);
    }

    #[test]
    fn room_on_the_disk_is_judged() {
        let told = |free| room(Path::new("/state"), free).severity;
        assert_eq!(told(Some(1 << 40)), Fine);
        assert_eq!(told(Some(500 << 20)), Warn);
        assert_eq!(told(Some(1 << 20)), Error);
        assert_eq!(told(None), Info);
    }

    #[test]
    fn damaged_copies_of_the_journal_are_told() {
        let told = |files: &[(&str, &str)]| {
            let (_folder, evidence) = machine(files, vec![]);
            let findings = all(&evidence);
            let found = findings.into_iter().find(|finding| finding.id == "journal").unwrap();
            (found.severity, found.evidence)
        };
        assert_eq!(told(&[("state/journal.db", "")]).0, Fine);
        let (severity, words) = told(&[
            ("state/journal.db.damaged-17", ""),
            ("state/journal.db.damaged-17-wal", ""),
            ("state/journal.db.damaged-18", ""),
        ]);
        assert_eq!(severity, Warn);
        assert!(words.starts_with("2 damaged") && words.ends_with("damaged-18"), "{words}");
    }
}
