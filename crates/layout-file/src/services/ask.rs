//! The services file: rates, latencies, and what may be used.
//!
//! Must never take a word that it does not know, nor fill in a rate or a latency.

use model::{Micros, ProfileSelector, Rate};

use super::table::{Measured, points};
use super::words;
use crate::fault::{Faults, Findings, Mark, Warning};
use crate::keys::unknown_key;
use crate::tree::{Node, Pair};
use crate::yaml;

/// What marks a services file.
const MARKER: &str = "migd-services/v1";
const TOP: [&str; 8] =
    ["schema", "board", "gpus", "profiles", "headroom", "latency_share", "processes", "services"];
const SERVICE: [&str; 8] =
    ["name", "model", "points", "rate", "slo", "headroom", "processes", "slices"];

/// The share of its latency objective that one batch may take, in thousandths, where a file says
/// nothing: nine tenths of a half. A request may have to wait for the batch before its own, which
/// halves it; the tenth is for everything else. ParvaGPU (SC'24) uses the same rule.
const LATENCY_SHARE: u32 = 450;

/// A word and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Where.
    pub at: Mark,
    /// The word.
    pub text: String,
}

/// A services file.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    /// The catalog id of the board, if the file names one.
    pub board: Option<Named>,
    /// The most GPUs there are.
    pub gpus: Option<u32>,
    /// Where the profile table is, as written: a path from the file's own folder.
    pub table: Option<Named>,
    /// The share of a service's objective that one batch must stay under, in thousandths.
    pub latency_share: u32,
    /// The services, in the order of the file; names differ.
    pub services: Vec<Asked>,
    /// What is odd about it.
    pub warnings: Vec<Warning>,
}

/// Where a service's points come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Model {
    /// From the rows of the table with this model.
    Table(Named),
    /// From the file itself.
    Inline(Vec<Measured>),
}

/// What is asked of one service.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// Where it stands.
    pub at: Mark,
    /// Its name.
    pub name: String,
    /// What it was measured to do.
    pub model: Model,
    /// Requests per second that it must carry.
    pub rate: Rate,
    /// How long a request may take from its arrival.
    pub slo: Micros,
    /// How much more it shall be able to carry, in percent.
    pub headroom: u32,
    /// The most processes on one slice.
    pub processes: Option<u32>,
    /// The slices that it may run on, if not all.
    pub slices: Option<Vec<(Mark, ProfileSelector)>>,
}

/// What holds for services that say nothing else.
struct Defaults {
    headroom: u32,
    processes: Option<u32>,
    has_table: bool,
}

/// Reads a services file, YAML or JSON.
///
/// # Errors
/// Everything that is wrong with it, with line and column; nothing of it is used then.
pub fn read_services(text: &str) -> Result<Ask, Faults> {
    let mut findings = Findings::default();
    let root = yaml::parse(text, &mut findings)?;
    for odd in std::mem::take(&mut findings.warnings) {
        findings.refuse(odd.at, odd.what, odd.instead);
    }
    let Some(pairs) = root.map().filter(|pairs| !pairs.is_empty()) else {
        let what = format!("the file holds {}", root.words());
        findings.refuse(root.at, what, "begin it with `schema: migd-services/v1`");
        return Err(Faults(findings.faults));
    };
    let ask = ask(&root, pairs, &mut findings);
    let (ask, warnings) = findings.finish(ask)?;
    Ok(Ask { warnings, ..ask })
}

fn ask(root: &Node, pairs: &[Pair], findings: &mut Findings) -> Ask {
    for pair in pairs.iter().filter(|pair| !TOP.contains(&pair.key.as_str())) {
        unknown_key(findings, pair.at, &pair.key, &TOP);
    }
    match root.get("schema") {
        Some(node) if node.text() == Some(MARKER) => {}
        Some(node) => {
            let what = format!("the schema is {}", node.words());
            findings.refuse(
                node.at,
                what,
                format!("write `schema: {MARKER}`, the only one there is"),
            );
        }
        None => {
            let instead = format!("begin it with `schema: {MARKER}`");
            findings.refuse(root.at, "the file has no schema", instead);
        }
    }
    let named = |key: &str, findings: &mut Findings| {
        let node = root.get(key)?;
        words::name(node, key, findings).map(|text| Named { at: node.at, text })
    };
    let board = named("board", findings);
    let table = named("profiles", findings);
    let count = |key: &str, findings: &mut Findings| words::count(root.get(key)?, key, findings);
    let gpus = count("gpus", findings);
    let percent =
        |key: &str, findings: &mut Findings| words::percent(root.get(key)?, key, findings);
    let share = root.get("latency_share").map(|node| node.at);
    let latency_share =
        percent("latency_share", findings).map_or(LATENCY_SHARE, |share| share * 10);
    if !(10..=1000).contains(&latency_share) {
        let instead = "write 1% to 100%; 45% is what is taken without it";
        findings.refuse(share.unwrap_or(root.at), "`latency_share` is out of range", instead);
    }
    let defaults = Defaults {
        headroom: percent("headroom", findings).unwrap_or(0),
        processes: count("processes", findings),
        has_table: root.get("profiles").is_some(),
    };
    let services = services(root, &defaults, findings);
    Ask { board, gpus, table, latency_share, services, warnings: Vec::new() }
}

fn services(root: &Node, defaults: &Defaults, findings: &mut Findings) -> Vec<Asked> {
    let node = root.get("services");
    let Some(items) = node.and_then(Node::list).filter(|items| !items.is_empty()) else {
        let at = node.map_or(root.at, |node| node.at);
        let instead = "add `services:` with a list, each with `name`, `rate` and `slo`";
        findings.refuse(at, "the file has no services", instead);
        return Vec::new();
    };
    let mut services: Vec<Asked> = Vec::new();
    for item in items {
        let Some(service) = service(item, defaults, findings) else { continue };
        if let Some(other) = services.iter().find(|other| other.name == service.name) {
            let what = format!("`{}` stands here and at line {}", service.name, other.at.line);
            findings.refuse(service.at, what, "give each service a name of its own");
        }
        services.push(service);
    }
    services
}

fn service(node: &Node, defaults: &Defaults, findings: &mut Findings) -> Option<Asked> {
    let Some(pairs) = node.map() else {
        let instead = "a service has the keys `name`, `rate` and `slo`";
        findings.refuse(node.at, format!("a service is {}", node.words()), instead);
        return None;
    };
    for pair in pairs.iter().filter(|pair| !SERVICE.contains(&pair.key.as_str())) {
        unknown_key(findings, pair.at, &pair.key, &SERVICE);
    }
    for (key, instead) in [
        ("name", "add `name:`"),
        ("rate", "add `rate:`, the requests per second"),
        ("slo", "add `slo:`, the time that a request may take, such as 200ms"),
    ] {
        if node.get(key).is_none() {
            findings.refuse(node.at, format!("the service has no `{key}`"), instead);
        }
    }
    let name = node.get("name").and_then(|node| words::name(node, "name", findings));
    let rate = node.get("rate").and_then(|node| words::rate(node, "rate", findings));
    let slo = node.get("slo").and_then(|node| words::time(node, "slo", findings));
    let headroom = node.get("headroom").map(|node| words::percent(node, "headroom", findings));
    let processes = node.get("processes").map(|node| words::count(node, "processes", findings));
    let slices = node.get("slices").map(|node| slices(node, findings));
    let model = model(node, name.as_deref(), defaults, findings);
    Some(Asked {
        at: node.at,
        name: name?,
        model: model?,
        rate: rate?,
        slo: slo?,
        headroom: headroom.flatten().unwrap_or(defaults.headroom),
        processes: processes.flatten().or(defaults.processes),
        slices,
    })
}

fn slices(node: &Node, findings: &mut Findings) -> Vec<(Mark, ProfileSelector)> {
    let items = node.list().unwrap_or(std::slice::from_ref(node));
    if items.is_empty() {
        findings.refuse(node.at, "`slices` is empty", "name slices, or remove the line");
    }
    let slice = |item: &Node, findings: &mut Findings| {
        words::profile(item, findings).map(|profile| (item.at, profile))
    };
    items.iter().filter_map(|item| slice(item, findings)).collect()
}

fn model(
    node: &Node,
    name: Option<&str>,
    defaults: &Defaults,
    findings: &mut Findings,
) -> Option<Model> {
    match (node.get("model"), node.get("points")) {
        (Some(model), Some(_)) => {
            let instead = "keep one of the two";
            findings.refuse(model.at, "both `model` and `points` are given", instead);
            None
        }
        (None, Some(list)) => Some(Model::Inline(points(list, name.unwrap_or(""), findings))),
        (model, None) => {
            let at = model.map_or(node.at, |model| model.at);
            if !defaults.has_table {
                let instead = "name the table in `profiles:`, or give `points:` here";
                findings.refuse(at, "there is no profile table to look a model up in", instead);
            }
            let text = match model {
                Some(model) => words::name(model, "model", findings)?,
                None => name?.to_owned(),
            };
            Some(Model::Table(Named { at, text }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        read_services(text).unwrap_err().0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_file_with_everything_is_read() {
        let text = "\
schema: migd-services/v1
board: a100-sxm4-80gb
gpus: 8
profiles: p.csv
headroom: 10%
latency_share: 50%
processes: 3
services:
  - {name: chat, model: bert, rate: 19.5, slo: 1.5s, slices: [1g, 2g.20gb]}
  - name: rank
    rate: 4
    slo: 80ms
    headroom: 0%
    processes: 1
    points:
      - {profile: 1g, batch: 4, processes: 1, throughput: 74.4, latency: 13.5ms}
";
        let ask = read_services(text).unwrap();
        assert_eq!(ask.board.unwrap().text, "a100-sxm4-80gb");
        assert_eq!((ask.gpus, ask.latency_share), (Some(8), 500));
        let [chat, rank] = ask.services.as_slice() else { panic!("two services") };
        assert_eq!(chat.rate, "19.5".parse().unwrap());
        assert_eq!((chat.slo, chat.headroom), (Micros::new(1_500_000), 10));
        assert_eq!(chat.slices.as_ref().unwrap()[0].1, ProfileSelector::Slices(1));
        assert!(matches!(&chat.model, Model::Table(model) if model.text == "bert"));
        assert_eq!((rank.headroom, rank.processes), (0, Some(1)));
        let Model::Inline(points) = &rank.model else { panic!("inline") };
        assert_eq!(points[0].latency, Micros::new(13_500));
    }

    #[test]
    fn everything_that_is_wrong_is_told_with_its_place() {
        let text = "\
schema: migd-services/v1
bord: a30
headroom: 10
services:
  - {name: a, rate: -1, slo: 200}
  - {name: b, rate: 1, slo: 1s, slices: [19, 1c.2g.10gb], model: m}
  - {name: b, rate: 1, slo: 1s, points: []}
";
        let told = faults(text);
        let wanted = [
            "2:1: there is no key `bord` here; did you mean `board`?",
            "3:11: `headroom` is the number 10; write it with its sign, such as 20%",
            "5:5: there is no profile table to look a model up in; name the table in `profiles:`, \
             or give `points:` here",
            "5:21: `rate` is the number -1; write requests per second, such as 12 or 0.5",
            "5:30: `slo` is the number 200; write a time with its unit, such as 200ms or 1.5s",
            "6:42: the number 19 is no slice; write a profile: 2g, 2g.20gb or 1g.10gb+me",
            "6:46: the text \"1c.2g.10gb\" is no slice; write a profile: 2g, 2g.20gb or 1g.10gb+me",
            "6:66: there is no profile table to look a model up in; name the table in \
             `profiles:`, or give `points:` here",
            "7:5: `b` stands here and at line 6; give each service a name of its own",
            "7:41: `points` is empty; give at least one measured point",
        ];
        assert_eq!(told, wanted);
        for (text, word) in [
            ("", "the file is empty"),
            ("a", "the file holds the text"),
            ("schema: migd/v1\nservices: 1", "the schema is the text"),
            ("services: [1]", "the file has no schema"),
            ("schema: migd-services/v1\nlatency_share: 0%\nservices: []", "out of range"),
            ("schema: migd-services/v1\nservices: []", "the file has no services"),
            ("schema: migd-services/v1\nschema: migd-services/v1", "stands here and at line 1"),
        ] {
            assert!(faults(text).join("\n").contains(word), "{text}: {:?}", faults(text));
        }
    }
}
