//! Opening a journal: checking it, setting it aside if it is damaged, replaying it.
//!
//! Must never delete a damaged journal: its owner may want to look.

use std::fs;
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use broker::state::State;
use model::Timestamp;
use rusqlite::{Connection, ErrorCode, OptionalExtension};

use crate::journal::{EVENT_VERSION, Journal, StoreError, explain, recorded};
use crate::migrate::migrate;
use crate::retention::take_end;

/// A journal up to this size is checked whole before it is used after an end that was not well;
/// that takes a tenth of a second or so. A larger one is checked by whoever opened it, meanwhile.
const CHECKED_AT_ONCE: u64 = 64 << 20;

/// Where the highest version of an event in the journal is noted.
const NEWEST_EVENT: &str = "newest_event";

/// What an acknowledged event survives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Durability {
    /// The death of the process at any instruction.
    #[default]
    Process,
    /// The loss of power, too; each commit waits for the disk.
    Power,
}

/// A journal that could not be read and was renamed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// Its new name.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// An open journal and what it says.
#[derive(Debug)]
pub struct Opened {
    /// The journal.
    pub journal: Journal,
    /// The state it leads to.
    pub state: State,
    /// The time of its newest event.
    pub last_at: Timestamp,
    /// A damaged predecessor, if there was one.
    pub set_aside: Option<SetAside>,
    /// Whether its pages were not checked although they should be: see [`crate::check`].
    pub unchecked: bool,
}

/// Why a journal could not be read.
pub(crate) enum Trouble {
    /// It is damaged; a new one may take its place.
    Damaged(String),
    /// It cannot be used now; nothing may be changed.
    Fatal(StoreError),
}

/// Opens the journal at `path`, or begins one. `now` names a damaged one that is set aside.
///
/// # Errors
/// [`StoreError`] when the file or its folder cannot be used, or a newer migd wrote it. A damaged
/// journal is no error: see [`Opened::set_aside`].
pub fn open(path: &Path, durability: Durability, now: Timestamp) -> Result<Opened, StoreError> {
    let unusable = |reason: io::Error| StoreError::Unusable {
        path: path.to_owned(),
        what: "opened",
        reason: reason.to_string(),
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(unusable)?;
    }
    let reason = match try_open(path, durability) {
        Ok(opened) => return Ok(opened),
        Err(Trouble::Fatal(error)) => return Err(error),
        Err(Trouble::Damaged(reason)) => reason,
    };
    let aside = set_aside(path, now).map_err(unusable)?;
    match try_open(path, durability) {
        Ok(opened) => Ok(Opened { set_aside: Some(SetAside { path: aside, reason }), ..opened }),
        Err(Trouble::Fatal(error)) => Err(error),
        Err(Trouble::Damaged(reason)) => {
            Err(StoreError::Unusable { path: path.to_owned(), what: "begun anew", reason })
        }
    }
}

/// Renames the journal and its companions; a name that is taken gets a number.
pub(crate) fn set_aside(path: &Path, now: Timestamp) -> io::Result<PathBuf> {
    let named = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let stamp = format!(".damaged-{}", now.as_millis() / 1000);
    let mut aside = named(&stamp);
    let mut number = 1;
    while aside.exists() {
        number += 1;
        aside = named(&format!("{stamp}-{number}"));
    }
    fs::rename(path, &aside)?;
    for companion in ["-wal", "-shm"] {
        let mut target = aside.as_os_str().to_owned();
        target.push(companion);
        match fs::rename(named(companion), target) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(aside)
}

fn try_open(path: &Path, durability: Durability) -> Result<Opened, Trouble> {
    keep_private(path)?;
    let mut connection = Connection::open(path).map_err(|error| sort(path, "opened", &error))?;
    prepare(&connection, durability).map_err(|error| sort(path, "opened", &error))?;
    migrate(&mut connection, path)?;
    let unchecked = !check(&connection, path)?;
    let mut journal = Journal { connection, path: path.to_owned(), last_seq: 0, state_seq: 0 };
    let (state, last_at) = replay(&mut journal)?;
    Ok(Opened { journal, state, last_at, set_aside: None, unchecked })
}

/// Nobody but the daemon reads the journal: it holds everybody's commands. SQLite gives its
/// companions the mode of the journal.
pub(crate) fn keep_private(path: &Path) -> Result<(), Trouble> {
    let unusable = |reason: io::Error| {
        let reason = reason.to_string();
        Trouble::Fatal(StoreError::Unusable { path: path.to_owned(), what: "opened", reason })
    };
    let mut options = fs::OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600).open(path).map_err(unusable)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(unusable)
}

pub(crate) fn prepare(connection: &Connection, durability: Durability) -> rusqlite::Result<()> {
    connection.busy_timeout(std::time::Duration::from_secs(2))?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    let synchronous = match durability {
        Durability::Process => "normal",
        Durability::Power => "full",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    // Pages of the log between two checkpoints, 16 MiB: a checkpoint waits for the disk, and whoever
    // commits at that moment waits with it.
    connection.pragma_update(None, "wal_autocheckpoint", 4000)
}

/// Checks the pages, unless the last daemon ended well or there are too many; whether it need not
/// be done later.
fn check(connection: &Connection, path: &Path) -> Result<bool, Trouble> {
    let trouble = |error: rusqlite::Error| sort(path, "checked", &error);
    if take_end(connection).map_err(trouble)? {
        return Ok(true);
    }
    if fs::metadata(path).is_ok_and(|found| found.len() > CHECKED_AT_ONCE) {
        return Ok(false);
    }
    let verdict: String =
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(trouble)?;
    if verdict == "ok" { Ok(true) } else { Err(Trouble::Damaged(verdict)) }
}

/// The newest stored state, and after which event it was.
pub(crate) fn stored(connection: &Connection) -> rusqlite::Result<Option<(u64, String)>> {
    let query = "SELECT seq, body FROM states ORDER BY seq DESC LIMIT 1";
    connection.query_row(query, [], |row| Ok((row.get(0)?, row.get(1)?))).optional()
}

/// Folds the newest stored state and the events after it.
fn replay(journal: &mut Journal) -> Result<(State, Timestamp), Trouble> {
    let path = journal.path.clone();
    let trouble = |error: rusqlite::Error| sort(&path, "read", &error);
    let mut state = State::default();
    if let Some((seq, body)) = stored(&journal.connection).map_err(trouble)? {
        state = serde_json::from_str(&body).map_err(|error| {
            Trouble::Damaged(format!("the stored state is unreadable: {error}"))
        })?;
        journal.state_seq = seq;
        journal.last_seq = seq;
    }
    refuse_newer_events(journal, &path)?;
    let mut last_at = Timestamp::default();
    let mut statement = journal
        .connection
        .prepare("SELECT seq, at, body FROM events WHERE seq >= ?1 ORDER BY seq")
        .map_err(trouble)?;
    let rows = statement.query_map([journal.state_seq], recorded).map_err(trouble)?;
    let mut last_seq = journal.last_seq;
    for row in rows {
        let event = row.map_err(trouble)?;
        last_at = last_at.max(event.at);
        if event.seq <= journal.state_seq {
            continue;
        }
        if event.seq != last_seq + 1 {
            return Err(Trouble::Damaged(format!("event {} is missing", last_seq + 1)));
        }
        last_seq = event.seq;
        state.apply(event.at, &event.event);
    }
    drop(statement);
    journal.last_seq = last_seq;
    Ok((state, last_at))
}

/// Events that a newer version wrote are not damage: they are only not for us. From now on there
/// may be some of this version.
fn refuse_newer_events(journal: &mut Journal, path: &Path) -> Result<(), Trouble> {
    let noted = journal.recall(NEWEST_EVENT).map_err(Trouble::Fatal)?;
    let newest = noted.and_then(|text| text.parse::<u32>().ok()).unwrap_or(0);
    if newest > EVENT_VERSION {
        let path = path.to_owned();
        return Err(Trouble::Fatal(StoreError::TooNew {
            path,
            found: newest,
            known: EVENT_VERSION,
        }));
    }
    if newest < EVENT_VERSION {
        journal.remember(NEWEST_EVENT, &EVENT_VERSION.to_string()).map_err(Trouble::Fatal)?;
    }
    Ok(())
}

/// Tells damage, which a new journal mends, from trouble that it would not.
pub(crate) fn sort(path: &Path, what: &'static str, error: &rusqlite::Error) -> Trouble {
    let damaged = matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    ) || matches!(
        error,
        rusqlite::Error::FromSqlConversionFailure(..) | rusqlite::Error::InvalidColumnType(..)
    ) || matches!(error, rusqlite::Error::SqlInputError { .. });
    if damaged {
        Trouble::Damaged(error.to_string())
    } else {
        Trouble::Fatal(explain(path, what, error))
    }
}
