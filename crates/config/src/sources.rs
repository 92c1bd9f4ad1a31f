//! Where a configuration comes from, and which source has the last word.
//!
//! Must never follow the environment as root: whoever sets it would rule the machine.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use crate::fault::{Fault, Faults, Place};
use crate::general::Config;
use crate::keys::KEYS;
use crate::read;
use crate::section::{Reading, Section};

/// The largest file that is read; a configuration has a few kilobytes.
const MOST: u64 = 1 << 20;

/// The file of a user without one: `/etc/migd/migd.toml` for root, else below `~/.config`.
pub fn default_path(uid: u32, home: Option<&Path>, config_home: Option<&Path>) -> Option<PathBuf> {
    if uid == 0 {
        return Some(PathBuf::from("/etc/migd/migd.toml"));
    }
    let config_home = config_home.filter(|folder| folder.is_absolute()).map(Path::to_owned);
    let folder = config_home
        .or_else(|| home.filter(|folder| folder.is_absolute()).map(|home| home.join(".config")))?;
    Some(folder.join("migd/migd.toml"))
}

/// A value from outside of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// The key, such as `daemon.grace`.
    pub key: String,
    /// The value, as a word.
    pub value: String,
    /// Who gave it.
    pub place: Place,
}

/// A value in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key, such as `daemon.grace`.
    pub key: String,
    /// The value as TOML.
    pub value: String,
    /// Who gave it.
    pub place: Place,
}

/// Where a configuration comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// The file.
    pub file: Option<PathBuf>,
    /// Whether the file must exist: somebody named it.
    pub required: bool,
    /// The user who reads it: a file that others may write is refused. `None` checks nothing.
    pub reader: Option<u32>,
    /// Options first, then variables: the first that names a key has the last word.
    pub overrides: Vec<Override>,
}

/// Where a daemon listens, as far as its configuration says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sockets {
    /// For users.
    pub users: Option<PathBuf>,
    /// For administrators.
    pub admins: Option<PathBuf>,
}

impl Sockets {
    /// The socket for administrators: the one that is named, else beside the other.
    pub fn beside(&self) -> Option<PathBuf> {
        self.admins
            .clone()
            .or_else(|| self.users.as_ref().map(|users| users.with_file_name("admin.sock")))
    }
}

/// A configuration that makes sense.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effective {
    /// What is in force.
    pub config: Config,
    /// Each value and who gave it, in the order of the default file.
    pub entries: Vec<Entry>,
    /// The file, if there is one.
    pub file: Option<PathBuf>,
}

/// A key whose value changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which.
    pub key: String,
    /// What was in force.
    pub before: String,
    /// What is.
    pub after: String,
    /// Whether it takes effect without a restart.
    pub live: bool,
}

impl Sources {
    /// Adds an option of the command line.
    pub fn flag(&mut self, flag: &str, key: &str, value: String) {
        let place = Place::Flag(flag.to_owned());
        self.overrides.push(Override { key: key.to_owned(), value, place });
    }

    /// Adds the variables of the environment that name keys: `MIGD_DAEMON_GRACE` is
    /// `daemon.grace`, and `MIGD_LOG` is `daemon.log`. For root they do not count.
    pub fn environment(&mut self, uid: u32, variable: impl Fn(&str) -> Option<String>) {
        if uid == 0 {
            return;
        }
        for key in KEYS.iter().filter(|key| key.has_variable()) {
            let path = format!("{}.{}", key.section, key.name);
            let mut names = vec![format!("MIGD_{}", path.replace('.', "_").to_ascii_uppercase())];
            if path == "daemon.log" {
                names.push("MIGD_LOG".to_owned());
            }
            let found = names.into_iter().find_map(|name| {
                variable(&name).filter(|value| !value.is_empty()).map(|value| (name, value))
            });
            if let Some((name, value)) = found {
                self.overrides.push(Override { key: path, value, place: Place::Variable(name) });
            }
        }
    }

    /// Where a daemon that reads these sources listens, as far as they say. Mistakes elsewhere in the
    /// file are the daemon's to complain about: its clients want to find it nevertheless.
    pub fn sockets(&self) -> Sockets {
        let text = self.file.as_ref().and_then(|path| self.text(path).ok().flatten());
        let (document, _) = DeTable::parse_recoverable(text.as_deref().unwrap_or_default());
        let keys = document.get_ref().get("daemon").and_then(|keys| keys.get_ref().as_table());
        let of = |name: &str| {
            let key = format!("daemon.{name}");
            let over = self.overrides.iter().find(|over| over.key == key);
            let over = over.map(|over| over.value.as_str());
            let written = || keys?.get(name)?.get_ref().as_str();
            over.or_else(written).map(PathBuf::from).filter(|path| path.is_absolute())
        };
        Sockets { users: of("socket"), admins: of("admin_socket") }
    }

    /// Reads everything anew.
    ///
    /// # Errors
    /// [`Faults`]: all of them, each with its place and what to write instead.
    pub fn load(&self) -> Result<Effective, Faults> {
        let text = match &self.file {
            None => None,
            Some(path) => self.text(path).map_err(|(what, instead)| {
                let place = Place::File { path: path.clone(), line: 1, column: 1 };
                Faults(vec![Fault { place, what, instead }])
            })?,
        };
        let path = self.file.clone().unwrap_or_default();
        let mut effective = parse(&path, text.as_deref().unwrap_or_default(), &self.overrides)?;
        effective.file = text.is_some().then_some(path);
        Ok(effective)
    }

    /// The text of the file; `None` if it need not exist and does not.
    fn text(&self, path: &Path) -> Result<Option<String>, (String, String)> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !self.required => {
                return Ok(None);
            }
            Err(error) => {
                let instead = "name another with --config FILE, or `migctl config default` for one";
                return Err((format!("cannot be read: {error}"), instead.to_owned()));
            }
        };
        let unreadable =
            |error: std::io::Error| (format!("cannot be read: {error}"), "check the file".into());
        let found = file.metadata().map_err(unreadable)?;
        if !found.is_file() {
            return Err(("is no file".to_owned(), "name a file with --config FILE".to_owned()));
        }
        if let Some(reader) = self.reader {
            if found.uid() != 0 && found.uid() != reader {
                let what = format!("belongs to uid {}, who could change the rules", found.uid());
                return Err((what, format!("chown {reader} {}", path.display())));
            }
            if found.mode() & 0o022 != 0 {
                let what = "may be written by others, who could change the rules".to_owned();
                return Err((what, format!("chmod go-w {}", path.display())));
            }
        }
        let mut bytes = Vec::new();
        file.by_ref().take(MOST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > MOST {
            return Err(("is larger than 1 MiB".to_owned(), "split off what is no key".to_owned()));
        }
        String::from_utf8(bytes)
            .map(Some)
            .map_err(|_| ("is no UTF-8 text".to_owned(), "save it as UTF-8".to_owned()))
    }
}

/// Parses a file's text. `path` is for complaints.
fn parse(path: &Path, text: &str, overrides: &[Override]) -> Result<Effective, Faults> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut reading = Reading::new(path, text, overrides);
    for error in errors {
        let place = reading.place(error.span().map_or(0, |span| span.start));
        let what = format!("this is not TOML: {}", error.message());
        reading.refuse(place, what, "write `key = value` below a [table]".to_owned());
    }
    if !reading.faults.is_empty() {
        return Err(Faults(reading.faults));
    }
    let document: &DeTable<'_> = document.get_ref();
    let mut root = Section::root(&mut reading, Some(document));
    let config = read::config(&mut root);
    root.finish();
    let Reading { mut faults, entries, .. } = reading;
    if faults.is_empty() {
        return Ok(Effective { config, entries, file: None });
    }
    faults.sort_by_key(|fault| match &fault.place {
        Place::File { line, column, .. } => (*line, *column),
        Place::Default | Place::Variable(_) | Place::Flag(_) => (0, 0),
    });
    Err(Faults(faults))
}

impl Effective {
    /// Parses a text as if it stood in a file.
    ///
    /// # Errors
    /// [`Faults`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, Faults> {
        parse(path, text, &[])
    }

    /// Who gave the value of a key.
    pub fn place_of(&self, key: &str) -> Option<&Place> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.place)
    }

    /// What is different in `newer`.
    pub fn changes(&self, newer: &Self) -> Vec<Change> {
        let value = |from: &Self, key: &str| {
            let found = from.entries.iter().find(|entry| entry.key == key);
            found.map_or_else(|| "nothing".to_owned(), |entry| entry.value.clone())
        };
        let mut keys: Vec<&str> =
            self.entries.iter().chain(&newer.entries).map(|entry| entry.key.as_str()).collect();
        let mut seen = std::collections::BTreeSet::new();
        keys.retain(|key| seen.insert(*key));
        keys.into_iter()
            .map(|key| Change {
                key: key.to_owned(),
                before: value(self, key),
                after: value(newer, key),
                live: crate::keys::is_live(key),
            })
            .filter(|change| change.before != change.after)
            .collect()
    }
}
