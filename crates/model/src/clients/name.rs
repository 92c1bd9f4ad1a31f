//! Names of systemd units.
//!
//! Must never hold what systemd would not take for a name.

use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest name systemd takes.
const LONGEST: usize = 255;
/// The kinds of unit that can be started and stopped and that somebody might name.
const KINDS: [&str; 6] = [".service", ".socket", ".target", ".timer", ".path", ".scope"];

/// The name of a unit with its kind: `nvidia-dcgm.service`. Without a kind, a service is meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UnitName(String);

/// What is no name of a unit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no name of a systemd unit, such as nvidia-dcgm.service")]
pub struct UnitNameError(String);

impl UnitName {
    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as people say it: without `.service`.
    pub fn short(&self) -> &str {
        self.0.strip_suffix(".service").unwrap_or(&self.0)
    }
}

impl FromStr for UnitName {
    type Err = UnitNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_' | '.' | '\\' | '@');
        let name = if KINDS.iter().any(|kind| text.ends_with(kind)) {
            text.to_owned()
        } else {
            format!("{text}.service")
        };
        let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        if begins && name.len() <= LONGEST && name.chars().all(fits) {
            Ok(Self(name))
        } else {
            Err(UnitNameError(text.to_owned()))
        }
    }
}

impl TryFrom<String> for UnitName {
    type Error = UnitNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<UnitName> for String {
    fn from(name: UnitName) -> Self {
        name.0
    }
}

impl fmt::Display for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_get_their_kind_and_nothing_else_passes() {
        for (text, name) in [
            ("nvidia-dcgm", "nvidia-dcgm.service"),
            ("nvidia-dcgm.service", "nvidia-dcgm.service"),
            ("graphical.target", "graphical.target"),
            ("getty@tty1", "getty@tty1.service"),
            ("a.b", "a.b.service"),
        ] {
            assert_eq!(text.parse::<UnitName>().unwrap().as_str(), name);
        }
        for text in ["", "-x", "a b", "a/b", "a;b", "ä", "--now"] {
            assert!(text.parse::<UnitName>().is_err(), "{text}");
        }
        let long = "a".repeat(LONGEST);
        assert!(long.parse::<UnitName>().is_err());
    }

    #[test]
    fn people_say_services_without_their_kind() {
        assert_eq!("kubelet".parse::<UnitName>().unwrap().short(), "kubelet");
        assert_eq!("a.target".parse::<UnitName>().unwrap().short(), "a.target");
    }
}
