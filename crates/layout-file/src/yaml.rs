//! From text to tree: the events of the YAML parser, folded.
//!
//! Must never recurse with the text, and never grow beyond a bound by aliases.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};

use crate::fault::{Fault, Faults, Findings, Mark};
use crate::scalar;
use crate::tree::{Node, Pair, Value, insert};

/// The longest text that is read. Files of a machine with sixteen GPUs have a few thousand bytes.
const MAX_BYTES: usize = 1 << 20;
/// The deepest nesting; what is written here needs seven levels.
const MAX_DEPTH: usize = 64;
/// The most nodes, those from aliases included. The longest file that mig-parted ships has a
/// thousand.
const MAX_NODES: usize = 20_000;

/// Reads the first document of `text`; later ones and double keys are warned of.
///
/// # Errors
/// What keeps it from being YAML, or from being read at all.
pub(crate) fn parse(text: &str, findings: &mut Findings) -> Result<Node, Faults> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.len() > MAX_BYTES {
        let what = format!("the file has {} bytes", text.len());
        let instead = "the layouts of a machine fit into 1 MiB: is it the right file?";
        return Err(fault(Mark::START, what, instead));
    }
    // JSON may be indented with tabs; between tokens they mean no more than a space.
    let json = text.trim_start().starts_with(['{', '[']);
    let spaced = json.then(|| text.replace('\t', " "));
    let mut parser = Parser::new_from_str(spaced.as_deref().unwrap_or(text));
    let mut fold = Fold::new(findings);
    while let Some(next) = parser.next_event() {
        let (event, span) = next.map_err(|error| {
            let what = format!("this is neither YAML nor JSON: {}", error.info());
            fault(mark(*error.marker()), what, "mend the line, or check indentation and quotes")
        })?;
        if !fold.take(event, mark(span.start))? {
            break;
        }
    }
    fold.root.ok_or_else(|| fault(Mark::START, "the file is empty", "see `migctl export`"))
}

fn mark(at: Marker) -> Mark {
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Mark { line: number(at.line()).max(1), column: number(at.col()).saturating_add(1) }
}

fn fault(at: Mark, what: impl Into<String>, instead: impl Into<String>) -> Faults {
    Faults(vec![Fault { at, what: what.into(), instead: instead.into() }])
}

/// A list or map whose end has not been seen.
enum Open {
    List { at: Mark, anchor: usize, items: Vec<Node> },
    Map { at: Mark, anchor: usize, pairs: Vec<Pair>, key: Option<Key>, merged: Vec<Pair> },
}

/// A key that waits for its value.
struct Key {
    text: String,
    at: Mark,
    merge: bool,
}

struct Fold<'a> {
    findings: &'a mut Findings,
    open: Vec<Open>,
    anchors: BTreeMap<usize, (Node, usize)>,
    nodes: usize,
    root: Option<Node>,
}

impl<'a> Fold<'a> {
    fn new(findings: &'a mut Findings) -> Self {
        Self { findings, open: Vec::new(), anchors: BTreeMap::new(), nodes: 0, root: None }
    }

    /// Takes an event; `false` when enough was read.
    fn take(&mut self, event: Event<'_>, at: Mark) -> Result<bool, Faults> {
        match event {
            Event::DocumentStart(_) if self.root.is_some() => {
                let instead = "only what stands before it counts: put everything into one document";
                self.findings.warn(at, "a second YAML document begins here", instead);
                return Ok(false);
            }
            Event::Scalar(text, style, anchor, tag) => {
                let node = scalar_node(&text, style, tag.as_deref(), at);
                let merge = style == ScalarStyle::Plain && text == "<<";
                self.place(node, anchor, 1, merge)?;
            }
            Event::SequenceStart(anchor, _) => {
                self.push(Open::List { at, anchor, items: Vec::new() }, at)?;
            }
            Event::MappingStart(anchor, _) => {
                let (pairs, merged) = (Vec::new(), Vec::new());
                self.push(Open::Map { at, anchor, pairs, key: None, merged }, at)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close()?,
            Event::Alias(id) => {
                let Some((node, size)) = self.anchors.get(&id).cloned() else {
                    let what = "this alias stands inside what it names";
                    return Err(fault(at, what, "write the content out"));
                };
                self.place(node, 0, size, false)?;
            }
            Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::StreamStart
            | Event::StreamEnd
            | Event::Nothing => {}
        }
        Ok(true)
    }

    fn push(&mut self, open: Open, at: Mark) -> Result<(), Faults> {
        if self.open.len() >= MAX_DEPTH {
            return Err(fault(at, "the nesting is too deep", "no layout needs 64 levels"));
        }
        self.open.push(open);
        Ok(())
    }

    fn close(&mut self) -> Result<(), Faults> {
        match self.open.pop() {
            Some(Open::List { at, anchor, items }) => self.place(
                Node { at, value: Value::List(items), raw: String::new() },
                anchor,
                1,
                false,
            ),
            Some(Open::Map { at, anchor, mut pairs, merged, .. }) => {
                for pair in merged {
                    if !pairs.iter().any(|own| own.key == pair.key) {
                        pairs.push(pair);
                    }
                }
                self.place(
                    Node { at, value: Value::Map(pairs), raw: String::new() },
                    anchor,
                    1,
                    false,
                )
            }
            None => Ok(()),
        }
    }

    /// Puts a finished node, which counts as `size` nodes, where it belongs.
    fn place(&mut self, node: Node, anchor: usize, size: usize, merge: bool) -> Result<(), Faults> {
        self.nodes = self.nodes.saturating_add(size);
        if self.nodes > MAX_NODES {
            let instead = "aliases of aliases grow fast: write the content out";
            return Err(fault(node.at, "the file holds too much", instead));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), weight(&node)));
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { pairs, key, merged, .. }) => match key.take() {
                None => *key = Some(key_of(&node, merge)?),
                Some(found) if found.merge => merged.extend(merged_pairs(node)?),
                Some(Key { text, at, .. }) => {
                    insert(pairs, Pair { key: text, at, node }, self.findings);
                }
            },
        }
        Ok(())
    }
}

/// The nodes in a node, itself included. The depth is bounded.
fn weight(node: &Node) -> usize {
    let inside: usize = match &node.value {
        Value::List(items) => items.iter().map(weight).sum(),
        Value::Map(pairs) => pairs.iter().map(|pair| weight(&pair.node)).sum(),
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_) => 0,
    };
    inside.saturating_add(1)
}

fn scalar_node(text: &str, style: ScalarStyle, tag: Option<&Tag>, at: Mark) -> Node {
    let core = tag.filter(|tag| tag.is_yaml_core_schema()).map(|tag| tag.suffix.as_str());
    let value = match (core, style) {
        (Some("int" | "float" | "bool" | "null"), _) | (None, ScalarStyle::Plain) => {
            scalar::plain(text)
        }
        (_, _) => Value::Text(text.into()),
    };
    Node { at, value, raw: text.into() }
}

/// Keys are texts: a number or a truth value becomes what JSON would write for it.
fn key_of(node: &Node, merge: bool) -> Result<Key, Faults> {
    let text = match &node.value {
        Value::Text(text) => text.clone(),
        Value::Bool(value) => value.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Null | Value::List(_) | Value::Map(_) => {
            let what = format!("{} stands where a key belongs", node.words());
            return Err(fault(node.at, what, "write a word and a colon"));
        }
    };
    Ok(Key { text, at: node.at, merge })
}

/// What `<<` brings in: a map, or a list of maps of which the first has precedence.
fn merged_pairs(node: Node) -> Result<Vec<Pair>, Faults> {
    let at = node.at;
    let wrong = || fault(at, "`<<` takes a map or a list of maps", "name an anchor: `<<: *name`");
    match node.value {
        Value::Map(pairs) => Ok(pairs),
        Value::List(items) => {
            let mut all: Vec<Pair> = Vec::new();
            for item in items {
                let Value::Map(pairs) = item.value else { return Err(wrong()) };
                all.extend(pairs);
            }
            Ok(all)
        }
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_) => {
            Err(wrong())
        }
    }
}
