//! Values on their way to a text, as YAML or as JSON.
//!
//! Must never write a text that reads as something else: what a reader could take for a number, a
//! truth value or syntax stands in quotes.

use std::fmt::Write as _;

use crate::scalar;
use crate::tree::Value;

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syntax {
    /// For people.
    Yaml,
    /// For programs; every reader of YAML reads it too.
    Json,
}

/// A value to be written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Out {
    Bool(bool),
    Int(u64),
    Text(String),
    List(Vec<Self>),
    Map(Vec<(String, Self)>),
}

impl Out {
    pub(crate) fn text(text: impl ToString) -> Self {
        Self::Text(text.to_string())
    }

    /// The text of it, with a line break at its end.
    pub(crate) fn write(&self, syntax: Syntax) -> String {
        let mut text = String::new();
        match syntax {
            Syntax::Yaml => block(&mut text, self, 0),
            Syntax::Json => json(&mut text, self, 0),
        }
        if !text.ends_with('\n') {
            text.push('\n');
        }
        text
    }

    fn is_simple(&self) -> bool {
        match self {
            Self::List(items) => items.is_empty(),
            Self::Map(pairs) => pairs.is_empty(),
            Self::Bool(_) | Self::Int(_) | Self::Text(_) => true,
        }
    }

    fn is_scalar(&self) -> bool {
        !matches!(self, Self::List(_) | Self::Map(_))
    }
}

fn indent(text: &mut String, depth: usize) {
    text.extend(std::iter::repeat_n("  ", depth));
}

/// Writes a value that begins on a line of its own.
fn block(text: &mut String, out: &Out, depth: usize) {
    match out {
        Out::Map(pairs) if !pairs.is_empty() => {
            for (number, (key, value)) in pairs.iter().enumerate() {
                if number > 0 {
                    indent(text, depth);
                }
                text.push_str(&plain_or_quoted(key));
                text.push(':');
                under_key(text, value, depth);
            }
        }
        Out::List(items) if !items.is_empty() => {
            for (number, item) in items.iter().enumerate() {
                if number > 0 {
                    indent(text, depth);
                }
                text.push_str("- ");
                block(text, item, depth + 1);
            }
        }
        Out::Bool(_) | Out::Int(_) | Out::Text(_) | Out::List(_) | Out::Map(_) => {
            inline(text, out);
            text.push('\n');
        }
    }
}

fn under_key(text: &mut String, value: &Out, depth: usize) {
    let short = match value {
        Out::List(items) => {
            items.iter().all(|item| matches!(item, Out::Int(_)))
                || (items.len() <= 8 && items.iter().all(Out::is_scalar) && width(items) <= 60)
        }
        Out::Map(_) | Out::Bool(_) | Out::Int(_) | Out::Text(_) => value.is_simple(),
    };
    if short {
        text.push(' ');
        inline(text, value);
        text.push('\n');
    } else {
        text.push('\n');
        indent(text, depth + 1);
        block(text, value, depth + 1);
    }
}

fn width(items: &[Out]) -> usize {
    let one = |item: &Out| {
        let mut text = String::new();
        inline(&mut text, item);
        text.chars().count() + 2
    };
    items.iter().map(one).sum()
}

/// Writes a value within a line.
fn inline(text: &mut String, out: &Out) {
    match out {
        Out::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
        Out::Int(number) => text.push_str(&number.to_string()),
        Out::Text(value) => text.push_str(&plain_or_quoted(value)),
        Out::List(items) => {
            text.push('[');
            for (number, item) in items.iter().enumerate() {
                if number > 0 {
                    text.push_str(", ");
                }
                inline(text, item);
            }
            text.push(']');
        }
        Out::Map(_) => text.push_str("{}"),
    }
}

/// A text as YAML: bare where it cannot be mistaken.
fn plain_or_quoted(value: &str) -> String {
    let letter = |c: char| {
        c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '+' | '-' | '@' | '/' | '(' | ')')
    };
    let bare = value.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/')
        && value.chars().all(|c| letter(c) || c == ' ')
        && !value.ends_with(' ')
        && matches!(scalar::plain(value), Value::Text(_));
    if bare { value.to_owned() } else { quoted(value) }
}

/// A text between double quotes, as JSON and YAML both read it.
fn quoted(value: &str) -> String {
    let mut text = String::from("\"");
    for letter in value.chars() {
        match letter {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                let _ = write!(text, "\\u{:04x}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

fn json(text: &mut String, out: &Out, depth: usize) {
    let line = |text: &mut String, depth: usize, number: usize| {
        text.push_str(if number > 0 { ",\n" } else { "\n" });
        indent(text, depth);
    };
    match out {
        Out::Text(value) => text.push_str(&quoted(value)),
        Out::List(items) if items.iter().all(|item| matches!(item, Out::Int(_))) => {
            inline(text, out);
        }
        Out::List(items) => {
            text.push('[');
            for (number, item) in items.iter().enumerate() {
                line(text, depth + 1, number);
                json(text, item, depth + 1);
            }
            line(text, depth, 0);
            text.push(']');
        }
        Out::Map(pairs) if !pairs.is_empty() => {
            text.push('{');
            for (number, (key, value)) in pairs.iter().enumerate() {
                line(text, depth + 1, number);
                text.push_str(&quoted(key));
                text.push_str(": ");
                json(text, value, depth + 1);
            }
            line(text, depth, 0);
            text.push('}');
        }
        Out::Bool(_) | Out::Int(_) | Out::Map(_) => inline(text, out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Findings;
    use crate::tree::Node;
    use crate::yaml;

    fn same(node: &Node, out: &Out) -> bool {
        match (out, &node.value) {
            (Out::Bool(a), Value::Bool(b)) => a == b,
            (Out::Int(a), Value::Int(b)) => u64::try_from(*b) == Ok(*a),
            (Out::Text(a), Value::Text(b)) => a == b,
            (Out::List(a), Value::List(b)) => {
                a.len() == b.len() && b.iter().zip(a).all(|(node, out)| same(node, out))
            }
            (Out::Map(a), Value::Map(b)) => {
                a.len() == b.len()
                    && b.iter().zip(a).all(|(p, (key, out))| p.key == *key && same(&p.node, out))
            }
            _ => false,
        }
    }

    #[test]
    fn what_is_written_reads_as_what_it_was() {
        let texts = [
            "",
            "all",
            "no",
            "7",
            "1g.5gb",
            "3g.20gb@4",
            "0000:07:00.0",
            "a: b",
            "# x",
            "- x",
            "\"q\"",
            "tab\tnewline\n",
            "ü",
            "\u{85}",
            "\u{2028}",
            "0x10",
            "*a",
            "&a",
            "[x]",
            "x ",
            " x",
            "~",
            "1e3",
        ];
        let list = Out::List(texts.iter().map(Out::text).collect());
        let nested = Out::Map(vec![
            ("empty".into(), Out::List(Vec::new())),
            ("none".into(), Out::Map(Vec::new())),
            ("yes".into(), Out::Bool(true)),
            ("7".into(), Out::List(vec![Out::Int(1), Out::Int(2)])),
            (
                "deep: key".into(),
                Out::List(vec![
                    Out::Map(vec![("a".into(), Out::text("x")), ("b".into(), list.clone())]),
                    Out::List(vec![Out::Map(vec![
                        ("c".into(), Out::Int(3)),
                        ("d".into(), Out::Int(4)),
                    ])]),
                    list,
                ]),
            ),
        ]);
        for syntax in [Syntax::Yaml, Syntax::Json] {
            let text = nested.write(syntax);
            let node = yaml::parse(&text, &mut Findings::default()).unwrap();
            assert!(same(&node, &nested), "{text}\n{node:#?}");
        }
        let json: serde_json::Value = serde_json::from_str(&nested.write(Syntax::Json)).unwrap();
        assert_eq!(json["deep: key"][0]["b"][3], "7");
    }
}
