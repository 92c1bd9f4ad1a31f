//! mig-parted's hooks file: commands around an `apply`.
//!
//! Must never run one: they are shown, and run by whoever was told to.

use crate::fault::{Faults, Findings, Mark, Warning};
use crate::tree::Node;
use crate::yaml;
use model::nearest;

const NAMES: [&str; 4] = ["apply-start", "pre-apply-mode", "pre-apply-config", "apply-exit"];

/// The hooks of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hooks {
    /// Before anything is looked at.
    pub apply_start: Vec<Hook>,
    /// Before MIG mode changes on any GPU.
    pub pre_apply_mode: Vec<Hook>,
    /// Before instances change on any GPU.
    pub pre_apply_config: Vec<Hook>,
    /// At the end, whatever came of it.
    pub apply_exit: Vec<Hook>,
    /// What is odd about the file.
    pub warnings: Vec<Warning>,
}

/// A command.
///
/// mig-parted gives it `envs` and the `MIG_PARTED_*` variables of its own options, and nothing that
/// it inherited: no PATH either.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// Where it stands.
    pub at: Mark,
    /// The program.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Variables, in the order of the file.
    pub envs: Vec<(String, String)>,
    /// Where it runs; `None` for where `apply` runs.
    pub workdir: Option<String>,
}

/// Reads a hooks file (`api/hooks/v1`). As in mig-parted the version is not checked, and the case of
/// keys does not matter.
///
/// # Errors
/// What mig-parted refuses, and commands that are missing, with line and column.
pub fn read_hooks(text: &str) -> Result<Hooks, Faults> {
    let mut findings = Findings::default();
    let root = yaml::parse(text, &mut findings)?;
    let mut hooks = Hooks::default();
    if root.map().is_none() {
        let what = format!("the hooks file holds {}", root.words());
        findings.refuse(root.at, what, "begin it with `version: v1` and `hooks:`");
    }
    for pair in root.map().unwrap_or_default() {
        let key = pair.key.to_ascii_lowercase();
        if key == "version" && pair.node.text() != Some("v1") {
            let what = format!("the version is {}", pair.node.words());
            findings.warn(pair.at, what, "nobody checks it; write v1");
        } else if key != "version" && key != "hooks" {
            let what = format!("there is no key `{}` here, and it means nothing", pair.key);
            findings.warn(pair.at, what, "the keys are `version` and `hooks`");
        }
    }
    match root.get_any_case("hooks") {
        None => findings.warn(root.at, "the file has no `hooks`", "nothing will be run"),
        Some(node) if node.is_null() => {}
        Some(node) => named(node, &mut hooks, &mut findings),
    }
    let (hooks, warnings) = findings.finish(hooks)?;
    Ok(Hooks { warnings, ..hooks })
}

fn named(node: &Node, hooks: &mut Hooks, findings: &mut Findings) {
    let Some(pairs) = node.map() else {
        let instead = format!("write names and lists; the names are {}", NAMES.join(", "));
        findings.refuse(node.at, format!("`hooks` is {}", node.words()), instead);
        return;
    };
    for pair in pairs {
        let list = commands(&pair.node, &pair.key, findings);
        match pair.key.as_str() {
            "apply-start" => hooks.apply_start = list,
            "pre-apply-mode" => hooks.pre_apply_mode = list,
            "pre-apply-config" => hooks.pre_apply_config = list,
            "apply-exit" => hooks.apply_exit = list,
            other => {
                let instead = match nearest(other, NAMES) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => format!("the hooks are {}", NAMES.join(", ")),
                };
                findings.warn(
                    pair.at,
                    format!("no hook is called `{other}`: it never runs"),
                    instead,
                );
            }
        }
    }
}

fn commands(node: &Node, name: &str, findings: &mut Findings) -> Vec<Hook> {
    if node.is_null() {
        return Vec::new();
    }
    let Some(items) = node.list() else {
        let what = format!("`{name}` is {}", node.words());
        findings.refuse(node.at, what, "write a list of commands");
        return Vec::new();
    };
    items.iter().filter_map(|item| hook(item, findings)).collect()
}

fn hook(node: &Node, findings: &mut Findings) -> Option<Hook> {
    const KEYS: [&str; 4] = ["command", "args", "envs", "workdir"];
    let Some(pairs) = node.map() else {
        let what = format!("a hook is {}", node.words());
        findings.refuse(node.at, what, "a hook has a `command`, and may have `args`");
        return None;
    };
    for pair in pairs {
        if !KEYS.contains(&pair.key.to_ascii_lowercase().as_str()) {
            let what = format!("there is no key `{}` here, and it means nothing", pair.key);
            findings.warn(pair.at, what, format!("the keys are {}", KEYS.join(", ")));
        }
    }
    let field = |key: &str| node.get_any_case(key).filter(|node| !node.is_null());
    let command = field("command").and_then(|node| text(node, "command", findings));
    if command.as_ref().is_none_or(String::is_empty) {
        findings.refuse(
            node.at,
            "the hook has no `command`",
            "name the program, with its whole path",
        );
    }
    let args = field("args").map_or(Some(Vec::new()), |node| arguments(node, findings));
    let envs = field("envs").map_or(Some(Vec::new()), |node| variables(node, findings));
    let workdir = match field("workdir") {
        Some(node) => Some(text(node, "workdir", findings)?).filter(|folder| !folder.is_empty()),
        None => None,
    };
    let command = command?;
    if !command.contains('/') && !command.is_empty() {
        let what = format!("`{command}` has no path");
        findings.warn(node.at, what, "hooks get no PATH of their own: write the whole path");
    }
    Some(Hook { at: node.at, command, args: args?, envs: envs?, workdir })
}

/// A scalar as the text it was written as: Go reads numbers into texts here.
fn text(node: &Node, key: &str, findings: &mut Findings) -> Option<String> {
    let text = node.scalar().map(str::to_owned);
    if text.is_none() {
        findings.refuse(node.at, format!("`{key}` is {}", node.words()), "write a text");
    }
    text
}

fn arguments(node: &Node, findings: &mut Findings) -> Option<Vec<String>> {
    let Some(items) = node.list() else {
        let what = format!("`args` is {}", node.words());
        findings.refuse(node.at, what, "write a list of texts, such as [\"-c\", \"true\"]");
        return None;
    };
    items
        .iter()
        .map(|item| if item.is_null() { Some(String::new()) } else { text(item, "args", findings) })
        .collect()
}

fn variables(node: &Node, findings: &mut Findings) -> Option<Vec<(String, String)>> {
    let Some(pairs) = node.map() else {
        let what = format!("`envs` is {}", node.words());
        findings.refuse(node.at, what, "write names and texts");
        return None;
    };
    pairs
        .iter()
        .map(|pair| {
            let value = if pair.node.is_null() {
                Some(String::new())
            } else {
                text(&pair.node, "envs", findings)
            };
            value.map(|value| (pair.key.clone(), value))
        })
        .collect()
}
