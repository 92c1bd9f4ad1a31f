//! Names of simulated machines.
//!
//! Must never let through a text that means something to a file system or to a search path.

use std::str::FromStr;

/// Name of a simulated machine: it is a folder's name too, so letters, digits and `-._@` only, at
/// most 40 bytes, beginning with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MachineName(String);

/// Why a text is no name of a simulated machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a name for a simulated machine: use letters, digits, - . _ (at most 40)")]
pub struct MachineNameError(pub String);

impl MachineName {
    /// The name of the machine described by `spec`, a preset (`dgx-a100`) or a board and a count:
    /// `a30-24gb:4` becomes `a30-24gb@4`, since a colon would part search paths.
    ///
    /// # Errors
    /// [`MachineNameError`] where nothing but the colon is wrong with it.
    pub fn for_spec(spec: &str) -> Result<Self, MachineNameError> {
        spec.replace(':', "@").parse().map_err(|_| MachineNameError(spec.to_owned()))
    }

    /// A name for questions that are the same for every machine.
    pub(super) fn any() -> Self {
        Self(String::from("any"))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MachineName {
    type Err = MachineNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = !text.is_empty() && text.len() <= 40;
        let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-._@".contains(c);
        if fits && starts && text.chars().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(MachineNameError(text.to_owned()))
        }
    }
}

impl std::fmt::Display for MachineName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}
