//! Requests from files: what others recorded, and our own history.
//!
//! Must never open a file: the rim reads it and hands the text over. Must never guess: a row that
//! does not say what it should is an error with its place, and what is left out on purpose is
//! counted in the notes.

mod azure;
mod csv;
mod history;
mod migbench;
mod openb;
mod simple;

use std::fmt;
use std::str::FromStr;

use model::{Millis, Timestamp};

pub use azure::Replica;

use super::site::Site;
use super::work::{Names, Request, Span, Wish, WishError, Workload};

/// Why a text is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Something is wrong at a place.
    #[error("line {line}, column {column}: {problem}; expected {expected}")]
    At {
        /// The line, from one.
        line: usize,
        /// The column, from one.
        column: usize,
        /// What is there.
        problem: String,
        /// What should be.
        expected: String,
    },
    /// Something is wrong with an entry of a list.
    #[error("entry {entry}: {problem}; expected {expected}")]
    Entry {
        /// Which, from one.
        entry: usize,
        /// What is there.
        problem: String,
        /// What should be.
        expected: String,
    },
    /// There is nothing in it.
    #[error("there is no row in it; expected {expected}")]
    Empty {
        /// What should be.
        expected: String,
    },
    /// Nothing in it asks for a slice.
    #[error("no row asks for a slice of a GPU ({left_out})")]
    NoRequests {
        /// What the rows are.
        left_out: String,
    },
    /// A row asks for what the fleet has not.
    #[error("{unit} {line}: {error}; choose other boards, or leave the row out")]
    Wish {
        /// What is counted: lines or entries.
        unit: &'static str,
        /// The line, from one.
        line: usize,
        /// What it asks for.
        error: WishError,
    },
    /// The format needs to be told something.
    #[error("{0}")]
    Needs(&'static str),
}

/// The forms of files that can be read; `docs/lab.md` describes each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Our own table: `arrival_s,duration_s,profile,tenant,count`.
    Csv,
    /// Alibaba's cluster-trace-gpu-v2023 (openb), the list of pods.
    Openb,
    /// MIGBench's jobs: id, arrival, work, memory.
    Migbench,
    /// An hour of Azure's LLM inference, as replicas of a service.
    Azure,
    /// What `migctl history --json` prints.
    History,
}

impl Format {
    /// All of them with their names.
    pub const ALL: [(&'static str, Self); 5] = [
        ("csv", Self::Csv),
        ("openb", Self::Openb),
        ("migbench", Self::Migbench),
        ("azure", Self::Azure),
        ("history", Self::History),
    ];
}

/// No format is called that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no format; there are csv, openb, migbench, azure, history")]
pub struct FormatError(pub String);

impl FromStr for Format {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|(name, _)| *name == text.trim());
        found.map(|(_, format)| format).ok_or_else(|| FormatError(text.into()))
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = Self::ALL.into_iter().find(|(_, format)| format == self);
        f.write_str(found.map_or("", |(name, _)| name))
    }
}

/// How long a row holds what it gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// So long, on whatever slice.
    Lasts(Millis),
    /// For ever.
    Forever,
    /// So much work: hundredths of a GPU's compute times milliseconds, divided by the hundredths
    /// that the slice has. MIGBench counts 14 for each compute slice, and 100 for seven.
    Work(u64),
}

impl Length {
    /// The time on a slice with so many of the GPU's 840ths of compute.
    fn on(self, compute: u64) -> Option<Millis> {
        match self {
            Self::Lasts(length) => Some(length),
            Self::Forever => None,
            Self::Work(work) => {
                let slices = compute * 7 / super::site::WHOLE;
                let percent = if slices >= 7 { 100 } else { 14 * slices };
                Some(Millis::new(work.div_ceil(percent.max(1))))
            }
        }
    }
}

/// A row that asks for slices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// Where it stands, from one; the number of the entry in a file without lines.
    pub(crate) line: usize,
    pub(crate) arrival: Timestamp,
    pub(crate) length: Length,
    pub(crate) wish: Wish,
    pub(crate) count: u32,
    pub(crate) tenant: String,
}

/// What a file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// What [`Row::line`] counts.
    unit: &'static str,
    pub(crate) rows: Vec<Row>,
    /// What was left out, and what stands for what.
    pub notes: Vec<String>,
}

/// What some formats need to be told.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Reading {
    /// What one replica of a service is, for [`Format::Azure`].
    pub replica: Option<Replica>,
}

/// Reads a text.
///
/// # Errors
/// [`ReadError`] with line and column and what was expected there.
pub fn read(format: Format, text: &str, reading: Reading) -> Result<Trace, ReadError> {
    let trace = match format {
        Format::Csv => simple::read(text),
        Format::Openb => openb::read(text),
        Format::Migbench => migbench::read(text),
        Format::Azure => azure::read(text, reading.replica),
        Format::History => history::read(text),
    }?;
    if trace.rows.is_empty() {
        return Err(ReadError::NoRequests { left_out: trace.notes.join("; ") });
    }
    Ok(trace)
}

impl Trace {
    /// The same without ends: whoever got something keeps it.
    #[must_use]
    pub fn without_ends(mut self) -> Self {
        for row in &mut self.rows {
            row.length = Length::Forever;
        }
        self
    }

    /// The requests as a fleet answers them, in order of arrival; the first comes at zero.
    ///
    /// # Errors
    /// [`ReadError::Wish`] for a row that no board can answer.
    pub fn on(&self, site: &Site, name: &str) -> Result<Workload, ReadError> {
        let mut names = Names::new(site);
        let first = self.rows.iter().map(|row| row.arrival).min().unwrap_or_default();
        let mut requests = Vec::with_capacity(self.rows.len());
        for row in &self.rows {
            let wish = |error| ReadError::Wish { unit: self.unit, line: row.line, error };
            let kind = names.kind(row.wish).map_err(wish)?;
            requests.push(Request {
                arrival: Timestamp::from_millis(row.arrival.since(first).get()),
                holds: row.length.on(names.kinds[kind].compute),
                kind,
                count: row.count,
                tenant: names.tenant(&row.tenant),
            });
        }
        requests.sort_by_key(|request| request.arrival);
        let last = requests.last().map_or(Timestamp::default(), |request| request.arrival);
        let measured = Span { from: Timestamp::default(), to: last.plus(Millis::new(1)) };
        let Names { kinds, tenants, .. } = names;
        // Where nobody leaves, what matters is how full it is in the end.
        let ends = self.rows.iter().any(|row| row.length != Length::Forever);
        let room = Span { from: if ends { measured.from } else { last }, ..measured };
        let (name, notes) = (name.to_owned(), self.notes.clone());
        Ok(Workload { name, requests, kinds, tenants, measured, room, notes })
    }
}

#[cfg(test)]
mod tests;
