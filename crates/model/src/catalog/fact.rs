//! A value with how far it is trusted.
//!
//! Must never turn "not known" into a number.

use core::fmt;

/// How well a value is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Confidence {
    /// Nobody tells; if there is a value at all it is a placeholder.
    Unknown,
    /// The product exists in id tables; nothing says what its MIG looks like.
    Unverified,
    /// Inferred from driver source, the naming rule or a sister product.
    Derived,
    /// NVIDIA's documentation, the driver's name table or an NVIDIA configuration only.
    Doc,
    /// Output of one real board.
    Single,
    /// At least two independent sources, one of them output of a real board.
    Verified,
}

impl fmt::Display for Confidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unknown => "unknown",
            Self::Unverified => "unverified",
            Self::Derived => "derived",
            Self::Doc => "documented",
            Self::Single => "seen on one board",
            Self::Verified => "verified",
        })
    }
}

/// A value that may be unknown, and how well it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fact<T> {
    /// The value; `None` if no source has it.
    pub value: Option<T>,
    /// How well it is known.
    pub confidence: Confidence,
}

impl<T> Fact<T> {
    pub(crate) const fn new(value: Option<T>, confidence: Confidence) -> Self {
        Self { value, confidence }
    }
}

/// How far each column of a profile's row is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trust {
    pub(crate) id: Confidence,
    pub(crate) memory: Confidence,
    pub(crate) multiprocessors: Confidence,
    pub(crate) engines: Confidence,
    pub(crate) placements: Confidence,
    pub(crate) max_instances: Confidence,
}

/// A trust of its parts, in the order: id, memory, SM, engines, placements, maximum.
pub(crate) const fn trust(parts: [Confidence; 6]) -> Trust {
    let [id, memory, multiprocessors, engines, placements, max_instances] = parts;
    Trust { id, memory, multiprocessors, engines, placements, max_instances }
}

/// The same trust in every column.
pub(crate) const fn all(confidence: Confidence) -> Trust {
    trust([confidence; 6])
}
