//! No text breaks a reader, and what is read can be written and read again.

use layout_file::{Syntax, read, read_checkpoint, read_hooks, resolve, write};
use proptest::prelude::*;

use crate::machine::a100s;

/// Words that files are made of, and punctuation that parsers stumble over.
fn piece() -> impl Strategy<Value = String> {
    let words = [
        "version",
        "v1",
        "schema",
        "migd/v1",
        "mig-configs",
        "layouts",
        "devices",
        "all",
        "gpus",
        "mig-enabled",
        "mig",
        "true",
        "mig-devices",
        "instances",
        "1g.5gb",
        "3g.20gb@4",
        "7",
        "0",
        "-1",
        "1e400",
        "0x20B010DE",
        "a",
        "profile",
        "compute",
        "1c@0",
        "hooks",
        "MigState",
        "<<",
        ": ",
        ":\n  ",
        "\n",
        "\n- ",
        "\n  - ",
        "- ",
        "{",
        "}",
        "[",
        "]",
        ", ",
        "\"",
        "'",
        "&a ",
        "*a",
        "---\n",
        "...\n",
        "|\n",
        "> ",
        "? ",
        "#",
        "!!str ",
        "!x ",
        "%TAG ! x\n",
        "\t",
        "\u{feff}",
        "\u{0}",
        "\u{85}",
        "@",
        "`",
        "é",
    ];
    prop_oneof![8 => proptest::sample::select(words.map(str::to_owned).to_vec()), 1 => "\\PC{0,6}"]
}

fn bears(text: &str) {
    let _ = read_hooks(text);
    let _ = read_checkpoint(text, &a100s(1));
    let Ok(document) = read(text) else { return };
    for config in &document.configs {
        let _ = resolve(&document, Some(&config.name), &a100s(1));
    }
    let _ = write(&document, Syntax::Yaml);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn pieces_are_borne(pieces in proptest::collection::vec(piece(), 0..40)) {
        bears(&pieces.concat());
    }

    #[test]
    fn letters_are_borne(text in "(?s).{0,80}") {
        bears(&text);
    }
}

/// What costs most: the most of every profile at once, in every form. A search without a bound
/// would not end.
#[test]
fn the_most_of_everything_is_answered_at_once() {
    for board in model::catalog::boards() {
        let node = crate::machine::alike(board.id, 1);
        let geometry = board.geometry();
        let counts = |number: fn(&model::GpuInstanceProfile) -> u32| {
            let lines = geometry.profiles.iter();
            let lines = lines.map(|profile| format!("\"{}\": {}", profile.name, number(profile)));
            lines.collect::<Vec<_>>().join(", ")
        };
        for counts in [counts(|profile| profile.max_instances), counts(|_| 1)] {
            let theirs = format!(
                "version: v1\nmig-configs: {{a: [{{devices: all, mig-enabled: true, mig-devices: {{{counts}}}}}]}}"
            );
            let ours = format!(
                "schema: migd/v1\nlayouts: {{a: [{{gpus: all, instances: {{{counts}}}}}]}}"
            );
            for text in [theirs, ours] {
                let document = read(&text).unwrap();
                assert!(resolve(&document, None, &node).is_ok(), "{text}");
            }
        }
    }
    let keys: Vec<String> = (0..9_000).map(|key| format!("k{key}: 1\n")).collect();
    assert!(read(&keys.concat()).unwrap_err().0.len() > 8_000);
}

#[test]
fn names_in_any_script_survive() {
    let text = "{\"schema\":\"migd/v1\",\"layouts\":{\"\\ub0ae \u{1f600}\":[{\"gpus\":\"all\",\"mig\":true}]}}";
    let document = read(text).unwrap();
    assert_eq!(document.configs[0].name, "낮 😀");
    for syntax in [Syntax::Yaml, Syntax::Json] {
        assert_eq!(read(&write(&document, syntax)).unwrap().configs[0].name, "낮 😀");
    }
}

#[test]
fn deep_and_long_texts_are_refused() {
    for text in
        ["[".repeat(100_000), "{a: ".repeat(50_000), "- ".repeat(100_000), "x".repeat(2 << 20)]
    {
        assert!(read(&text).is_err());
    }
}
