//! Files that are made: for any board, and from the other format.

use layout_file::{
    Document, Made, Schema, Scope, Syntax, compare, convert, export, generate_config, kinds, read,
    resolve, write,
};
use model::{DesiredGpu, NodeSnapshot, catalog};

use crate::machine::{a100s, alike, gpu, node, plain_gpu};
use crate::round::{Chance, random_gpu};

fn again(document: &Document) -> Document {
    read(&write(document, Syntax::Yaml)).unwrap()
}

#[test]
fn generated_configurations_hold_on_their_board() {
    for board in catalog::boards() {
        let node = alike(board.id, 2);
        let document = again(&generate_config(&kinds(&node)));
        assert_eq!(document.configs[0].name, "all-disabled");
        assert_eq!(document.configs[1].name, "all-enabled");
        let names = board.geometry().profiles.len();
        assert!(document.configs.len() >= 2 + names, "{}: {document:?}", board.id);
        for config in &document.configs {
            let resolved = resolve(&document, Some(&config.name), &node).unwrap();
            assert_eq!(resolved.warnings, [], "{} {}", board.id, config.name);
            assert_eq!(resolved.desired.len(), 2);
        }
    }
}

fn text_of(document: &Document, name: &str) -> String {
    let text = write(document, Syntax::Yaml);
    let from = text.find(&format!("  {name}:\n")).unwrap_or_else(|| panic!("{name} in {text}"));
    let rest = &text[from..];
    let lines = rest.lines().skip(1).take_while(|line| line.starts_with("    "));
    lines.map(str::trim).collect::<Vec<_>>().join(" | ")
}

#[test]
fn generated_names_and_counts_are_mig_parteds() {
    let a100 = generate_config(&kinds(&a100s(8)));
    let names: Vec<&str> = a100.configs.iter().map(|config| config.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "all-disabled",
            "all-enabled",
            "all-1g.10gb",
            "all-1g.5gb",
            "all-1g.5gb.me",
            "all-2g.10gb",
            "all-3g.20gb",
            "all-4g.20gb",
            "all-7g.40gb",
            "all-balanced",
        ]
    );
    let head = "- devices: all | mig-enabled: true | mig-devices: |";
    assert_eq!(text_of(&a100, "all-1g.5gb"), format!("{head} 1g.5gb: 7"));
    assert_eq!(text_of(&a100, "all-1g.10gb"), format!("{head} 1g.10gb: 4"));
    assert_eq!(text_of(&a100, "all-1g.5gb.me"), format!("{head} 1g.5gb+me: 1"));
    assert_eq!(
        text_of(&a100, "all-balanced"),
        format!("{head} 1g.5gb: 2 | 2g.10gb: 1 | 3g.20gb: 1")
    );
    assert_eq!(text_of(&a100, "all-disabled"), "- devices: all | mig-enabled: false");
    let a30 = generate_config(&kinds(&alike("a30", 1)));
    assert_eq!(text_of(&a30, "all-balanced"), format!("{head} 1g.6gb: 2 | 2g.12gb: 1"));
    let mixed = node(vec![gpu("a100-sxm4-40gb", 0), gpu("a30", 1), gpu("a30", 2), plain_gpu(3)]);
    let mixed = generate_config(&kinds(&mixed));
    let filtered = |id: &str| {
        format!("- device-filter: \"{id}\" | devices: all | mig-enabled: true | mig-devices: |")
    };
    assert_eq!(text_of(&mixed, "all-1g.6gb"), format!("{} 1g.6gb: 4", filtered("0x20B710DE")));
    assert_eq!(
        text_of(&mixed, "all-balanced"),
        format!(
            "{} 1g.5gb: 2 | 2g.10gb: 1 | 3g.20gb: 1 | {} 1g.6gb: 2 | 2g.12gb: 1",
            filtered("0x20B010DE"),
            filtered("0x20B710DE")
        )
    );
}

/// What both documents want of the machine.
fn same(one: &Document, other: &Document, config: &str, node: &NodeSnapshot) {
    let sorted = |document: &Document| {
        let mut desired = resolve(document, Some(config), node).unwrap().desired;
        for wanted in desired.values_mut() {
            if let DesiredGpu::Exactly(instances) = wanted {
                for instance in instances.iter_mut() {
                    instance.computes.sort();
                }
                instances.sort();
            }
        }
        desired
    };
    assert_eq!(sorted(one), sorted(other), "{config}");
}

#[test]
fn what_is_generated_means_the_same_in_our_words() {
    for gpus in [
        alike("a100-sxm4-40gb", 2).gpus,
        alike("rtx-pro-6000-bse", 1).gpus,
        vec![gpu("a100-sxm4-40gb", 0), gpu("a30", 1), plain_gpu(2)],
    ] {
        let node = node(gpus);
        let theirs = generate_config(&kinds(&node));
        let Made { document: ours, notes } = convert(&theirs, Schema::Own, None);
        assert_eq!(notes, [""; 0]);
        let ours = again(&ours);
        let Made { document: back, notes } = convert(&ours, Schema::MigParted, None);
        assert_eq!(notes, [""; 0]);
        for config in &theirs.configs {
            same(&theirs, &ours, &config.name, &node);
            same(&theirs, &again(&back), &config.name, &node);
        }
    }
}

#[test]
fn parts_are_packed_alike_in_both_formats() {
    let text = "version: v1\nmig-configs:\n  it:\n  - devices: [1]\n    mig-enabled: true\n    mig-devices: \
                {1c.3g.20gb: 4, 2c.3g.20gb: 1, 1g.5gb: 0}\n";
    let theirs = read(text).unwrap();
    let made = convert(&theirs, Schema::Own, None);
    assert_eq!(made.notes, [""; 0]);
    let written = write(&made.document, Syntax::Yaml);
    assert_eq!(
        written,
        "schema: migd/v1\nlayouts:\n  it:\n    - gpus: 1\n      instances:\n        - profile: 3g.20gb\n          \
         compute: [2c, 1c]\n        - profile: 3g.20gb\n          compute: [1c, 1c, 1c]\n"
    );
    same(&theirs, &read(&written).unwrap(), "it", &a100s(2));
}

#[test]
fn what_the_other_format_cannot_say_is_told() {
    let ours = |entry: &str| {
        read(&format!(
            "schema: migd/v1\nlayouts:\n  it:\n  - {entry}\n  - {{gpus: 5, mig: false}}\n"
        ))
        .unwrap()
    };
    let node = a100s(8);
    for (entry, bare, on_machine) in [
        ("{gpus: 0, mig: true}", "no word for MIG mode alone", "no word for MIG mode alone"),
        ("{gpus: 0, instances: [3g.20gb@4]}", "places are lost", "places are lost"),
        ("{gpus: 0, lend: true, instances: [3g.20gb]}", "`lend: true` has no word", "`lend: true`"),
        (
            "{gpus: 0, instances: [{profile: 7g.40gb, compute: []}]}",
            "without compute",
            "without compute",
        ),
        ("{gpus: 0, instances: [7g]}", "takes the machine", ""),
        ("{gpus: a100, instances: []}", "which those are takes the machine", "by their indices"),
        ("{gpus: h100, instances: []}", "takes the machine", "fits no GPU of this machine"),
        (
            "{gpus: 0, instances: [{profile: 3g.20gb, count: 2, compute: [1c]}]}",
            "lie together is lost",
            "lie together",
        ),
        ("{gpus: 0, instances: [{profile: 3g.20gb, compute: [\"id:0\"]}]}", "by its id", ""),
        ("{gpus: 0, instances: [1g.5gb]}", "", ""),
    ] {
        let check = |notes: Vec<String>, words: &str| match words {
            "" => assert_eq!(notes, [""; 0], "{entry}"),
            words => assert!(notes.iter().any(|note| note.contains(words)), "{entry}: {notes:?}"),
        };
        check(convert(&ours(entry), Schema::MigParted, None).notes, bare);
        check(convert(&ours(entry), Schema::MigParted, Some(&node)).notes, on_machine);
    }
    let theirs =
        |entry: &str| read(&format!("version: v1\nmig-configs:\n  it:\n  - {entry}\n")).unwrap();
    for (entry, words) in [
        ("{devices: [0], device-filter: \"0x20B010DE\", mig-enabled: false}", "takes the machine"),
        ("{devices: [], mig-enabled: false}", "it fits no GPU"),
        ("{devices: all, device-filter: A100, mig-enabled: false}", "it fits no GPU"),
        ("{devices: all, mig-enabled: true, mig-devices: {99g.5gb: 1}}", "no board has a 99g.5gb"),
    ] {
        let made = convert(&theirs(entry), Schema::Own, None);
        assert!(made.notes[0].contains(words), "{entry}: {made:?}");
        assert!(made.document.configs.is_empty());
    }
    let filtered = theirs("{devices: [0, 9], device-filter: \"0x20B010DE\", mig-enabled: false}");
    let made = convert(&filtered, Schema::Own, Some(&node));
    same(&filtered, &again(&made.document), "it", &node);
}

/// An export of ours, as far as mig-parted can say it, holds on the machine it came from.
#[test]
fn converted_exports_hold() {
    let mut chance = Chance(12);
    for board in catalog::boards() {
        for _ in 0..10 {
            let gpus = (0..2).map(|index| random_gpu(board.id, index, &mut chance, false));
            let node = node(gpus.collect());
            let ours = export(&node, "now", Schema::Own).document;
            let made = convert(&ours, Schema::MigParted, Some(&node));
            if made.document.configs.is_empty() || made.notes.iter().any(|n| n.contains("left out"))
            {
                continue;
            }
            let found = compare(&again(&made.document), None, &node, Scope::Layout).unwrap();
            assert!(found.is_equal(), "{}: {found:#?}", board.id);
        }
    }
}
