//! What is wrong in a file, or odd, and where.
//!
//! Must never stop at the first thing: whoever mends a file wants the whole list.

use std::fmt;

/// A place in a text: line and column, both counted from 1, the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

impl Mark {
    /// The beginning of a text.
    pub const START: Self = Self { line: 1, column: 1 };
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// Something that is done and that its author may not have meant; tools that read the same file
/// say nothing about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Where it stands.
    pub at: Mark,
    /// What is odd.
    pub what: String,
    /// What to write instead, or what to do.
    pub instead: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.at, self.what, self.instead)
    }
}

/// One thing that keeps the file from being used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {what}; {instead}")]
pub struct Fault {
    /// Where it stands.
    pub at: Mark,
    /// What is wrong, with the key and the value.
    pub what: String,
    /// What to write instead.
    pub instead: String,
}

/// All that is wrong; nothing of the file is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    /// The stable code of the error (docs/errors.md).
    pub const fn code(&self) -> &'static str {
        "E-LAYOUT-FILE"
    }

    /// The list as people read it, one a line, each behind the name of the file.
    pub fn in_file(&self, name: &str) -> String {
        let lines: Vec<String> = self.0.iter().map(|fault| format!("{name}:{fault}")).collect();
        lines.join("\n")
    }
}

impl std::error::Error for Faults {}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, fault) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

/// Faults and warnings while they are gathered.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) faults: Vec<Fault>,
    pub(crate) warnings: Vec<Warning>,
}

impl Findings {
    /// Adds a fault, once.
    pub(crate) fn refuse(&mut self, at: Mark, what: impl Into<String>, instead: impl Into<String>) {
        let fault = Fault { at, what: what.into(), instead: instead.into() };
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    /// Adds a warning, once.
    pub(crate) fn warn(&mut self, at: Mark, what: impl Into<String>, instead: impl Into<String>) {
        let warning = Warning { at, what: what.into(), instead: instead.into() };
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    /// The value with its warnings, in the order of the file, if nothing is wrong.
    pub(crate) fn finish<T>(mut self, value: T) -> Result<(T, Vec<Warning>), Faults> {
        self.faults.sort_by_key(|fault| fault.at);
        self.warnings.sort_by_key(|warning| warning.at);
        if self.faults.is_empty() { Ok((value, self.warnings)) } else { Err(Faults(self.faults)) }
    }
}
