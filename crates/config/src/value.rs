//! Values of keys: how each kind is read from TOML or from a word, and how it is written again.
//!
//! Must never accept a value that the daemon would refuse later.

use std::path::PathBuf;

use broker::{GpuSelector, Priority};
use model::{MemoryMib, MemoryRequest, Millis, ProfileName, StopClients, UnitName};
use planner::Policy;
use toml::de::DeValue;

use crate::calendar::Hours;
use crate::general::{Durability, Enforce, LogLevel};

/// A value as somebody gave it.
#[derive(Debug)]
pub(crate) enum Given<'a> {
    /// In a file.
    Toml(&'a DeValue<'a>),
    /// As a variable or an option.
    Word(&'a str),
}

impl Given<'_> {
    fn text(&self) -> Option<&str> {
        match self {
            Self::Toml(value) => value.as_str(),
            Self::Word(word) => Some(word),
        }
    }

    fn number(&self) -> Option<u64> {
        match self {
            Self::Toml(value) => {
                let integer = value.as_integer()?;
                u64::from_str_radix(integer.as_str(), integer.radix()).ok()
            }
            Self::Word(word) => word.trim().parse().ok(),
        }
    }

    /// As it stands, for complaints.
    fn shown(&self) -> String {
        match self {
            Self::Word(word) => format!("`{word}`"),
            Self::Toml(DeValue::String(text)) => format!("`{text}`"),
            Self::Toml(DeValue::Integer(number)) => number.to_string(),
            Self::Toml(DeValue::Float(number)) => number.to_string(),
            Self::Toml(DeValue::Boolean(value)) => value.to_string(),
            Self::Toml(DeValue::Datetime(moment)) => moment.to_string(),
            Self::Toml(DeValue::Array(_)) => "a list".to_owned(),
            Self::Toml(DeValue::Table(_)) => "a table".to_owned(),
        }
    }
}

/// Why a value was refused: what is wrong, and what to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) what: String,
    pub(crate) instead: String,
}

/// A kind of value.
pub(crate) trait Value: Sized {
    /// What to write, after "write".
    const WRITE: &'static str;
    /// Reads one; the error is what it is not, such as "is no path".
    fn read(given: &Given<'_>) -> Result<Self, String>;
    /// As TOML.
    fn toml(&self) -> String;

    /// Reads one and explains what is wrong.
    fn parse(given: &Given<'_>) -> Result<Self, Wrong> {
        Self::read(given).map_err(|why| Wrong {
            what: format!("{} {why}", given.shown()),
            instead: format!("write {}", Self::WRITE),
        })
    }
}

/// A text as TOML.
pub(crate) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

impl Value for bool {
    const WRITE: &'static str = "true or false";
    fn read(given: &Given<'_>) -> Result<Self, String> {
        let wrong = || "is neither true nor false".to_owned();
        match given {
            Given::Toml(value) => value.as_bool().ok_or_else(wrong),
            Given::Word(word) => word.trim().parse().map_err(|_| wrong()),
        }
    }
    fn toml(&self) -> String {
        self.to_string()
    }
}

impl Value for u32 {
    const WRITE: &'static str = "a whole number without quotes, such as 4";
    fn read(given: &Given<'_>) -> Result<Self, String> {
        let number = given.number().ok_or("is no whole number of 0 or more")?;
        Self::try_from(number).map_err(|_| "is too large".to_owned())
    }
    fn toml(&self) -> String {
        self.to_string()
    }
}

impl Value for Millis {
    const WRITE: &'static str = "one in quotes such as \"90s\", \"15m\", \"8h\" or \"7d\"";
    fn read(given: &Given<'_>) -> Result<Self, String> {
        let text = given.text().ok_or("is no length of time")?;
        if matches!(text.trim(), "0" | "0s") {
            return Ok(Self::default());
        }
        text.parse().map_err(|_| "is no length of time".to_owned())
    }
    fn toml(&self) -> String {
        quoted(&span(*self))
    }
}

/// A span of time in the largest units that say it exactly: `90s`, `1h30m`, `7d`.
fn span(millis: Millis) -> String {
    let mut left = millis.get();
    // 90s is read more easily than 1m30s.
    if left < 120_000 && !left.is_multiple_of(60_000) && left.is_multiple_of(1000) {
        return format!("{}s", left / 1000);
    }
    let mut text = String::new();
    for (unit, length) in
        [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)]
    {
        if left >= length {
            text.push_str(&(left / length).to_string());
            text.push_str(unit);
            left %= length;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

impl Value for MemoryMib {
    const WRITE: &'static str = "an amount in quotes such as \"80GiB\", \"80g\" or \"81920MiB\"";
    fn read(given: &Given<'_>) -> Result<Self, String> {
        let text = given.text().ok_or("is no amount of memory")?;
        match text.parse() {
            // A quota is a sum over slices: here the GB of profile names count as GiB.
            Ok(MemoryRequest::Nominal(gb)) => Ok(Self::new(u64::from(gb.get()) * 1024)),
            Ok(MemoryRequest::Strict(mib)) => Ok(mib),
            Err(_) => Err("is no amount of memory".to_owned()),
        }
    }
    fn toml(&self) -> String {
        quoted(&MemoryRequest::Strict(*self).to_string())
    }
}

impl Value for String {
    const WRITE: &'static str = "a text in quotes that is not empty";
    fn read(given: &Given<'_>) -> Result<Self, String> {
        let text = given.text().ok_or("is no text")?.trim();
        if text.is_empty() { Err("is empty".to_owned()) } else { Ok(text.to_owned()) }
    }
    fn toml(&self) -> String {
        quoted(self)
    }
}

impl Value for PathBuf {
    const WRITE: &'static str = "an absolute path in quotes, such as \"/run/migd/migd.sock\"";
    fn read(given: &Given<'_>) -> Result<Self, String> {
        let path = Self::from(given.text().ok_or("is no path")?);
        if path.is_absolute() { Ok(path) } else { Err("is no absolute path".to_owned()) }
    }
    fn toml(&self) -> String {
        quoted(&self.to_string_lossy())
    }
}

impl Value for Hours {
    const WRITE: &'static str = "one in quotes such as \"mon-fri 09:00-18:00 Europe/Berlin\"";
    fn read(given: &Given<'_>) -> Result<Self, String> {
        let text = given.text().ok_or("is no span of hours")?;
        text.parse().map_err(|error: crate::HoursError| {
            let text = error.to_string();
            let why = text.split_once("; ").map_or(text.as_str(), |(why, _)| why);
            format!("cannot be read: {why}")
        })
    }
    fn toml(&self) -> String {
        quoted(&self.to_string())
    }
}

impl Value for std::net::SocketAddr {
    const WRITE: &'static str = "an address and a port in quotes, such as \"127.0.0.1:8443\"";
    fn read(given: &Given<'_>) -> Result<Self, String> {
        let text = given.text().ok_or("is no address")?;
        text.trim().parse().map_err(|_| "is no address with a port".to_owned())
    }
    fn toml(&self) -> String {
        quoted(&self.to_string())
    }
}

impl Value for ProfileName {
    const WRITE: &'static str = "a profile in quotes, such as \"1g.5gb\" (`migctl profiles`)";
    fn read(given: &Given<'_>) -> Result<Self, String> {
        let text = given.text().ok_or("is no profile")?;
        text.parse().map_err(|_| "is no profile".to_owned())
    }
    fn toml(&self) -> String {
        quoted(&self.to_string())
    }
}

impl Value for Policy {
    const WRITE: &'static str = "one of \"scar\", \"flp\", \"first-fit\", \"best-fit\", \"best-index\", \
                                 \"worst-fit\", \"mfi\" and \"hami\"";
    fn read(given: &Given<'_>) -> Result<Self, String> {
        let text = given.text().ok_or("is no policy of placement")?;
        // Round robin remembers whose turn it is, and nothing of the daemon would.
        let found = Self::named(text.trim()).filter(|policy| policy.after(0) == *policy);
        found.ok_or_else(|| "is no policy of placement".to_owned())
    }
    fn toml(&self) -> String {
        quoted(self.name())
    }
}

impl Value for GpuSelector {
    const WRITE: &'static str = "an index, a UUID, a PCI address or a model in quotes, or \"any\"";
    fn read(given: &Given<'_>) -> Result<Self, String> {
        let text = given.text().ok_or("selects no GPU")?;
        text.parse().map_err(|_| "selects no GPU".to_owned())
    }
    fn toml(&self) -> String {
        quoted(&self.to_string())
    }
}

impl Value for UnitName {
    const WRITE: &'static str = "names of systemd units in quotes, such as \"nvidia-dcgm\"";
    fn read(given: &Given<'_>) -> Result<Self, String> {
        let text = given.text().ok_or("is no name of a unit")?;
        text.trim().parse().map_err(|_| "is no name of a unit".to_owned())
    }
    fn toml(&self) -> String {
        quoted(self.as_str())
    }
}

impl Value for StopClients {
    const WRITE: &'static str =
        "names of units such as [\"nvidia-dcgm\"], \"known\", or [] for none";
    fn read(given: &Given<'_>) -> Result<Self, String> {
        match given.text().map(str::trim) {
            Some("known") => return Ok(Self::Known),
            Some("none") => return Ok(Self::Nothing),
            Some(_) | None => {}
        }
        Self::named(Vec::<UnitName>::read(given)?).map_err(|error| format!("cannot be: {error}"))
    }
    fn toml(&self) -> String {
        match self {
            Self::Nothing => "[]".to_owned(),
            Self::Known => quoted("known"),
            Self::Named(units) => units.toml(),
        }
    }
}

/// `none` says that there is no such limit or file.
impl<T: Value> Value for Option<T> {
    const WRITE: &'static str = T::WRITE;
    fn read(given: &Given<'_>) -> Result<Self, String> {
        if given.text().is_some_and(|text| text.trim() == "none") {
            return Ok(None);
        }
        T::read(given).map(Some)
    }
    fn toml(&self) -> String {
        self.as_ref().map_or_else(|| quoted("none"), T::toml)
    }
}

impl<T: Value> Value for Vec<T> {
    const WRITE: &'static str = T::WRITE;
    fn read(given: &Given<'_>) -> Result<Self, String> {
        match given {
            Given::Toml(DeValue::Array(list)) => list
                .iter()
                .map(|item| {
                    let item = Given::Toml(item.get_ref());
                    T::read(&item).map_err(|why| format!("has {}, which {why}", item.shown()))
                })
                .collect(),
            // One without brackets; in a variable, separated by commas.
            Given::Toml(_) => Ok(vec![T::read(given)?]),
            Given::Word(words) => words
                .split(',')
                .filter(|word| !word.trim().is_empty())
                .map(|word| T::read(&Given::Word(word.trim())))
                .collect(),
        }
    }
    fn toml(&self) -> String {
        let items: Vec<String> = self.iter().map(T::toml).collect();
        format!("[{}]", items.join(", "))
    }
}

/// A kind of value that is one of a few words.
macro_rules! words {
    ($($type:ty, $write:literal: $($word:literal => $variant:path),+;)+) => {$(
        impl Value for $type {
            const WRITE: &'static str = $write;
            fn read(given: &Given<'_>) -> Result<Self, String> {
                match given.text().map(|text| text.trim().to_ascii_lowercase()).as_deref() {
                    $(Some($word) => Ok($variant),)+
                    _ => Err("is not one of the words that may stand here".to_owned()),
                }
            }
            fn toml(&self) -> String {
                quoted(match self { $($variant => $word,)+ })
            }
        }
    )+};
}

words! {
    Enforce, "\"observe\", \"on\" or \"off\"":
        "observe" => Self::Observe, "on" => Self::On, "off" => Self::Off;
    Durability, "\"process\" or \"power\"":
        "process" => Self::Process, "power" => Self::Power;
    LogLevel, "\"error\", \"warn\", \"info\", \"debug\" or \"trace\"":
        "error" => Self::Error, "warn" => Self::Warn, "info" => Self::Info,
        "debug" => Self::Debug, "trace" => Self::Trace;
    Priority, "\"low\", \"normal\" or \"high\"":
        "low" => Self::Low, "normal" => Self::Normal, "high" => Self::High;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_written_as_people_do() {
        for (seconds, text) in [
            (0, "0s"),
            (10, "10s"),
            (60, "1m"),
            (90, "90s"),
            (300, "5m"),
            (5400, "1h30m"),
            (86_400, "1d"),
            (90 * 86_400, "90d"),
            (90_061, "1d1h1m1s"),
            (3661, "1h1m1s"),
        ] {
            let written = span(Millis::from_secs(seconds));
            assert_eq!(written, text);
            assert_eq!(Millis::read(&Given::Word(&written)), Ok(Millis::from_secs(seconds)));
        }
    }

    #[test]
    fn every_span_reads_back() {
        for millis in (0..200_000).step_by(7).chain((0..9_000_000_000).step_by(88_888_887)) {
            let text = span(Millis::new(millis));
            assert_eq!(Millis::read(&Given::Word(&text)), Ok(Millis::new(millis)), "{text}");
        }
    }

    #[test]
    fn memory_counts_the_gb_of_names_as_gib() {
        let read = |text: &str| MemoryMib::read(&Given::Word(text));
        assert_eq!(read("80g"), Ok(MemoryMib::new(81_920)));
        assert_eq!(read("80GiB"), read("80g"));
        assert_eq!(MemoryMib::new(81_920).toml(), "\"80GiB\"");
        assert!(read("80").is_err());
    }

    #[test]
    fn none_is_no_value_and_lists_take_one_or_several() {
        let none: Result<Option<Millis>, _> = Value::read(&Given::Word("none"));
        assert_eq!(none, Ok(None));
        let users: Result<Vec<String>, _> = Value::read(&Given::Word("kim, lee,"));
        assert_eq!(users, Ok(vec!["kim".to_owned(), "lee".to_owned()]));
        let one = DeValue::parse("\"kim\"").unwrap();
        let users: Result<Vec<String>, _> = Value::read(&Given::Toml(one.get_ref()));
        assert_eq!(users, Ok(vec!["kim".to_owned()]));
        let mixed = DeValue::parse("[\"kim\", 7]").unwrap();
        let wrong = Vec::<String>::read(&Given::Toml(mixed.get_ref())).unwrap_err();
        assert_eq!(wrong, "has 7, which is no text");
    }
}
