//! The inputs of `peers` §3.5 one by one: what mig-parted's parser makes of each was measured, and
//! this one must take and refuse the same, with a word where mig-parted has none.

use layout_file::{Document, Faults, read, resolve};

use crate::machine::a100s;

/// What is expected of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// Taken, and nothing to say.
    Taken,
    /// Taken, with a warning at line and column that has these words.
    Warned(u32, u32, &'static str),
    /// Refused at line and column with these words.
    Refused(u32, u32, &'static str),
}
use Expect::{Refused, Taken, Warned};

/// One entry of a configuration that is otherwise sound.
fn entry(body: &str) -> String {
    let lines: Vec<String> = body.lines().map(|line| format!("      {line}")).collect();
    format!("version: v1\nmig-configs:\n  a:\n    - devices: all\n{}\n", lines.join("\n"))
}

fn with_devices(devices: &str) -> String {
    format!("version: v1\nmig-configs:\n  a:\n    - mig-enabled: false\n      devices: {devices}\n")
}

fn with_filter(filter: &str) -> String {
    entry(&format!("mig-enabled: false\ndevice-filter: {filter}"))
}

fn with_mig_devices(map: &str) -> String {
    entry(&format!("mig-enabled: true\nmig-devices: {map}"))
}

/// Reads a file and says what it means on a machine with two A100s.
fn judge(text: &str) -> Result<(Document, Vec<layout_file::Warning>), Faults> {
    let document = read(text)?;
    if document.configs.is_empty() {
        return Ok((document, Vec::new()));
    }
    let first = document.configs[0].name.clone();
    match resolve(&document, Some(&first), &a100s(2)) {
        Ok(resolved) => Ok((document, resolved.warnings)),
        Err(layout_file::ResolveError::Machine(faults)) => Err(faults),
        Err(other) => panic!("{other}"),
    }
}

fn check(text: &str, expect: Expect) {
    let outcome = judge(text);
    match (expect, outcome) {
        (Taken, Ok((_, warnings))) => assert_eq!(warnings, [], "{text}"),
        (Warned(line, column, words), Ok((_, warnings))) => {
            let fits = |w: &layout_file::Warning| {
                (w.at.line, w.at.column) == (line, column) && w.to_string().contains(words)
            };
            assert!(warnings.iter().any(fits), "{text}\n{warnings:#?}");
        }
        (Refused(line, column, words), Err(faults)) => {
            let fits = |f: &layout_file::Fault| {
                (f.at.line, f.at.column) == (line, column) && f.to_string().contains(words)
            };
            assert!(faults.0.iter().any(fits), "{text}\n{faults:#?}");
        }
        (_, other) => panic!("{text}\nexpected {expect:?}, got {other:#?}"),
    }
}

#[test]
fn the_head_of_a_file() {
    let body = "mig-configs:\n  a:\n  - {devices: all, mig-enabled: false}\n";
    let whole = |head: &str| format!("{head}\n{body}");
    for (text, expect) in [
        (whole("version: v1"), Taken),
        (whole("version: \"v1\""), Taken),
        ("version: v1\n".into(), Taken),
        ("{\"version\": \"v1\"}".into(), Taken),
        ("{\n\t\t\"version\": \"v1\",\n\t\t\"mig-configs\": {\"a\": [{\n\t\"devices\": \"all\",\n\t\"mig-enabled\": false,\n}]}}".into(), Taken),
        (whole("version: 1"), Refused(1, 10, "number 1")),
        (whole("version: v2"), Refused(1, 10, "version: v1")),
        (whole("version: [v1]"), Refused(1, 10, "a list")),
        (body.into(), Refused(1, 1, "begin it with `version: v1`")),
        (whole("version: v1\nbogus: field"), Refused(2, 1, "no key `bogus`")),
        (whole("version: v1\nmig-config: 1"), Refused(2, 1, "did you mean `mig-configs`")),
        ("version: v1\nmig-configs: {}\n".into(), Refused(2, 14, "holds nothing")),
        ("version: v1\nmig-configs: null\n".into(), Refused(2, 14, "holds nothing")),
        ("version: v1\nmig-configs: []\n".into(), Refused(2, 14, "holds nothing")),
        ("version: v1\nmig-configs:\n  a: []\n".into(), Refused(3, 6, "`a` holds nothing")),
        ("version: v1\nmig-configs:\n  a: null\n".into(), Refused(3, 6, "`a` holds nothing")),
        ("version: v1\nmig-configs:\n  a: {}\n".into(), Refused(3, 6, "list of entries")),
        (String::new(), Refused(1, 1, "empty")),
        ("just words".into(), Refused(1, 1, "version: v1")),
        ("version: v1\nversion: [\n".into(), Refused(3, 1, "neither YAML nor JSON")),
        (whole("version: v1") + "---\nversion: v1\n", Warned(5, 1, "second YAML document")),
        (whole("version: v0\nversion: v1"), Warned(2, 1, "only this last one counts")),
        (
            whole("version: v1") + "  a:\n  - {devices: all, mig-enabled: true, mig-devices: {}}\n",
            Warned(5, 3, "`a` stands here and at line 3"),
        ),
    ] {
        check(&text, expect);
    }
}

#[test]
fn filters_and_devices() {
    for (text, expect) in [
        (with_filter("\"0x20B010DE\""), Taken),
        (with_filter("\"0x20b010de\""), Taken),
        (with_filter("[\"0x20B210DE\", \"0x20B010DE:0x134F10DE\"]"), Taken),
        (with_filter("\"\""), Taken),
        (with_filter("[]"), Taken),
        (with_filter("null"), Taken),
        (with_filter("\"0x20B210DE\""), Warned(4, 16, "fits no GPU")),
        (with_filter("\"0x20B010DE:0x000010DE\""), Warned(4, 16, "fits no GPU")),
        (with_filter("A100-SXM4-40GB"), Warned(6, 22, "is no PCI id")),
        (with_filter("0x20B010DE"), Refused(6, 22, "between quotes: \"0x20B010DE\"")),
        (with_filter("[0x20B010DE]"), Refused(6, 23, "between quotes")),
        (with_filter("{}"), Refused(6, 22, "a map")),
        (with_devices("all"), Taken),
        (with_devices("[0, 1]"), Taken),
        (with_devices("[0, 1.0]"), Taken),
        (with_devices("ALL"), Refused(5, 16, "the text \"ALL\"")),
        (with_devices("GPU-00000000"), Refused(5, 16, "write `all`")),
        (with_devices("[GPU-00000000]"), Refused(5, 17, "list of indices")),
        (with_devices("0"), Refused(5, 16, "the number 0")),
        (with_devices("null"), Refused(5, 16, "nothing")),
        (with_devices("{}"), Refused(5, 16, "a map")),
        (with_devices("[\"0\"]"), Refused(5, 17, "the text \"0\"")),
        (with_devices("[]"), Warned(5, 16, "empty")),
        (with_devices("[0, 0]"), Warned(5, 20, "named twice")),
        (with_devices("[-1]"), Warned(5, 17, "no GPU -1")),
        (with_devices("[0, 8]"), Warned(5, 20, "there is GPU 0-1 (NVIDIA A100-SXM4-40GB)")),
        (with_devices("[8]"), Warned(5, 16, "fits no GPU")),
    ] {
        check(&text, expect);
    }
}

#[test]
fn the_mode_and_the_devices() {
    for (text, expect) in [
        (entry("mig-enabled: false"), Taken),
        (entry("mig-enabled: no"), Taken),
        (entry("mig-enabled: false\nmig-devices: {}"), Taken),
        (entry("mig-enabled: false\nmig-devices: null"), Taken),
        (entry("mig-enabled: \"true\"\nmig-devices: {}"), Refused(5, 20, "without quotes")),
        (entry("mig-enabled: 1\nmig-devices: {}"), Refused(5, 20, "the number 1")),
        (entry("mig-enabled: null"), Warned(5, 20, "counts as false")),
        (entry("mig-devices: {}"), Refused(4, 7, "no `mig-enabled`")),
        (entry("mig-enabled: true"), Refused(4, 7, "`mig-devices` is missing")),
        (entry("mig-enabled: true\nmig-devices: null"), Refused(4, 7, "is missing")),
        (entry("mig-enabled: false\nmig-devices: {1g.5gb: 1}"), Refused(6, 20, "MIG is disabled")),
        (entry("mig-enabled: false\nmig_devices: {}"), Refused(6, 7, "did you mean `mig-devices`")),
        (with_mig_devices("{}"), Taken),
        (with_mig_devices("{1g.5gb: 7}"), Taken),
        (with_mig_devices("{\"1g.5gb\": 7.0}"), Taken),
        (with_mig_devices("{1g.5gb+me: 1, 1c.3g.20gb: 3}"), Taken),
        (with_mig_devices("[1g.5gb]"), Refused(6, 20, "a list")),
        (with_mig_devices("{1g.5gb: \"7\"}"), Refused(6, 29, "the text \"7\"")),
        (with_mig_devices("{1g.5gb: -1}"), Refused(6, 29, "the number -1")),
        (with_mig_devices("{1g.5gb: 1.5}"), Refused(6, 29, "whole number")),
        (with_mig_devices("{1g.5gb: 0}"), Refused(6, 20, "every count")),
        (with_mig_devices("{1g.5gb: 1, 2g.10gb: 0}"), Warned(6, 32, "0 times")),
        (with_mig_devices("{1g.5gb: 1, 2g.10gb: }"), Warned(6, 32, "0 times")),
        (with_mig_devices("{1c.1g.5gb: 1}"), Warned(6, 21, "is all of `1g.5gb`")),
        (with_mig_devices("{1g.5gb: 99}"), Warned(4, 7, "can never hold")),
        (with_mig_devices("{1g.5gb: 1, 1g.5gb: 2}"), Warned(6, 32, "only this last one counts")),
        (with_mig_devices("{1g.5gb.me: 1}"), Refused(6, 21, "\"1g.5gb+me\"")),
        (with_mig_devices("{1G.5GB: 1}"), Refused(6, 21, "names look like")),
        (with_mig_devices("{MIG 1g.5gb: 1}"), Refused(6, 21, "names look like")),
        (with_mig_devices("{19: 1}"), Refused(6, 21, "`19` is not the name")),
        (with_mig_devices("{1g.5gb+me-gfx: 1}"), Refused(6, 21, "attributes are")),
        (with_mig_devices("{99g.5gb: 1}"), Refused(6, 21, "no profile 99g.5gb")),
        (with_mig_devices("{9c.2g.10gb: 1}"), Refused(6, 21, "the nearest there are 2g.10gb")),
        (with_mig_devices("{2c.3g.20gb: 1}"), Taken),
        (with_mig_devices("{3c.4g.20gb: 1}"), Refused(6, 21, "it can be cut into 1c, 2c, 4c")),
        (with_mig_devices("{1g.6gb: 1}"), Refused(6, 21, "the nearest there are 1g.5gb")),
        (with_mig_devices("{3g.21gb: 1}"), Warned(6, 21, "is called 3g.20gb by this driver")),
    ] {
        check(&text, expect);
    }
}

#[test]
fn aliases_and_merged_keys_work() {
    let text = "version: v1\nmig-configs:\n  a: &a\n  - &e {devices: all, mig-enabled: true, \
                mig-devices: {1g.5gb: 1}}\n  b: *a\n  c:\n  - <<: *e\n    mig-devices: {}\n";
    let document = read(text).unwrap();
    let names: Vec<&str> = document.configs.iter().map(|config| config.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(document.configs[0].entries[0].wish, document.configs[1].entries[0].wish);
    assert_eq!(document.configs[2].entries[0].wish, layout_file::Wish::Counts(Vec::new()));
}

#[test]
fn aliases_do_not_grow_without_bound() {
    let mut text = String::from("version: v1\na0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for level in 1..12 {
        let one = format!("*a{}", level - 1);
        let all = vec![one; 10].join(",");
        text.extend([format!("a{level}: &a{level} [{all}]\n")]);
    }
    check(&text, Refused(3, 10, "holds too much").at_any(&text));
}

impl Expect {
    /// The same, wherever it stands in `text`.
    fn at_any(self, text: &str) -> Self {
        let Refused(_, _, words) = self else { return self };
        let Err(faults) = judge(text) else { panic!("taken") };
        Refused(faults.0[0].at.line, faults.0[0].at.column, words)
    }
}

/// The habits of the files that mig-parted ships: comments between entries, blank lines of spaces,
/// spaces within brackets, lists that are not indented.
#[test]
fn files_as_people_write_them() {
    let text = "version: v1\nmig-configs:\n  # A100-40GB, A800-40GB\n  all-1g.5gb:\n    - devices: all\n      \
                mig-enabled: true\n      mig-devices:\n        \"1g.5gb\": 7\n      \n  all-1g.10gb:\n    # H100\n    \
                - device-filter: [ \"0x233010DE\", \"0x233110DE\" ]\n      devices: all\n      mig-enabled: true\n      \
                mig-devices:\n        \"1g.10gb\": 7\n\n    # A100-40GB\n    - device-filter: \"0x20B010DE\"\n      \
                devices: all\n      mig-enabled: true\n      mig-devices:\n        \"1g.10gb\": 4\n  tail:\n  - devices: \
                [0,1]\n    mig-enabled: false\n";
    let document = read(text).unwrap();
    assert_eq!(document.warnings, []);
    let warnings = |name| resolve(&document, Some(name), &a100s(2)).unwrap().warnings;
    assert_eq!(warnings("all-1g.5gb"), []);
    assert_eq!(warnings("tail"), []);
    // An entry for another model, beside one that fits, is how such files are written.
    assert_eq!(warnings("all-1g.10gb"), []);
    check(&text.replace('\n', "\r\n"), Taken);
}
