//! A text of YAML or JSON as a tree in which everything knows where it stands.
//!
//! Must never drop a position, nor trust the text: depth, size and aliases are bounded.

use crate::fault::{Findings, Mark};

/// A value and where it begins.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) at: Mark,
    pub(crate) value: Value,
    /// A scalar as it was written; empty for lists and maps.
    pub(crate) raw: String,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Pair>),
}

/// A key and its value; keys of one map differ.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pair {
    pub(crate) key: String,
    pub(crate) at: Mark,
    pub(crate) node: Node,
}

impl Node {
    /// The pairs of a map.
    pub(crate) fn map(&self) -> Option<&[Pair]> {
        if let Value::Map(pairs) = &self.value { Some(pairs) } else { None }
    }

    /// The items of a list.
    pub(crate) fn list(&self) -> Option<&[Self]> {
        if let Value::List(items) = &self.value { Some(items) } else { None }
    }

    /// A text.
    pub(crate) fn text(&self) -> Option<&str> {
        if let Value::Text(text) = &self.value { Some(text) } else { None }
    }

    /// True or false.
    pub(crate) fn bool(&self) -> Option<bool> {
        if let Value::Bool(value) = self.value { Some(value) } else { None }
    }

    /// A whole number: `7`, and `7.0`, which JSON does not tell from it.
    pub(crate) fn whole(&self) -> Option<i64> {
        match self.value {
            Value::Int(number) => Some(number),
            Value::Float(number) if number.fract() == 0.0 && number.abs() < 1e15 => {
                Some(number as i64)
            }
            Value::Float(_)
            | Value::Null
            | Value::Bool(_)
            | Value::Text(_)
            | Value::List(_)
            | Value::Map(_) => None,
        }
    }

    /// Whether it is null.
    pub(crate) fn is_null(&self) -> bool {
        self.value == Value::Null
    }

    /// A scalar as a text, whatever it is otherwise.
    pub(crate) fn scalar(&self) -> Option<&str> {
        match &self.value {
            Value::List(_) | Value::Map(_) | Value::Null => None,
            Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_) => Some(&self.raw),
        }
    }

    /// What it is, in words, for a complaint.
    pub(crate) fn words(&self) -> String {
        match &self.value {
            Value::Null => "nothing".into(),
            Value::Bool(_) => format!("`{}`, which is true or false", self.raw),
            Value::Int(_) | Value::Float(_) => format!("the number {}", self.raw),
            Value::Text(text) => format!("the text \"{text}\""),
            Value::List(_) => "a list".into(),
            Value::Map(_) => "a map of keys".into(),
        }
    }

    /// The value under `key`.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        Some(&self.map()?.iter().find(|pair| pair.key == key)?.node)
    }

    /// The value under `key` in any case, as Go's JSON reads the fields of a struct.
    pub(crate) fn get_any_case(&self, key: &str) -> Option<&Self> {
        let pairs = self.map()?;
        let any = || pairs.iter().find(|pair| pair.key.eq_ignore_ascii_case(key));
        Some(&pairs.iter().find(|pair| pair.key == key).or_else(any)?.node)
    }
}

/// Puts a pair into a map; of two with the same key the last counts, and is warned of.
pub(crate) fn insert(pairs: &mut Vec<Pair>, pair: Pair, findings: &mut Findings) {
    let Some(old) = pairs.iter().position(|other| other.key == pair.key) else {
        pairs.push(pair);
        return;
    };
    let first = pairs[old].at;
    findings.warn(
        pair.at,
        format!("`{}` stands here and at line {} of the same map", pair.key, first.line),
        "only this last one counts: remove the other",
    );
    pairs.remove(old);
    pairs.push(pair);
}
