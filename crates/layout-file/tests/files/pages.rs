//! The page about files of layouts, and the JSON Schema of our own format.

use layout_file::{
    Schema, Syntax, convert, export, generate_config, kinds, read, read_hooks, resolve, write,
};
use serde_json::Value;

use crate::machine::{a100s, node};
use crate::round::{Chance, random_gpu};

const PAGE: &str = include_str!("../../../../docs/layout-files.md");
const SCHEMA: &str = include_str!("../../../../docs/layout.schema.json");

/// The YAML examples of the page.
fn examples() -> Vec<String> {
    let blocks = PAGE.split("```yaml\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap().to_owned()).collect()
}

/// A YAML text as JSON, by way of the document that it is.
fn json(document: &layout_file::Document) -> Value {
    serde_json::from_str(&write(document, Syntax::Json)).unwrap()
}

/// Whether `value` is as `schema` says: the words of JSON Schema that ours uses, but for patterns.
fn is_valid(root: &Value, schema: &Value, value: &Value) -> bool {
    let Some(words) = schema.as_object() else { return schema == &Value::Bool(true) };
    let valid = |schema: &Value| is_valid(root, schema, value);
    let all = |list: &Value| list.as_array().unwrap().iter().all(valid);
    let holds = |(word, wanted): (&String, &Value)| match word.as_str() {
        "$ref" => {
            let path = wanted.as_str().unwrap().strip_prefix('#').unwrap();
            valid(root.pointer(path).unwrap())
        }
        "type" => match wanted.as_str().unwrap() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            other => panic!("{other}"),
        },
        "const" => value == wanted,
        "anyOf" => wanted.as_array().unwrap().iter().any(valid),
        "allOf" => all(wanted),
        "not" => !valid(wanted),
        "if" => !valid(wanted) || words.get("then").is_none_or(valid),
        "required" => value.as_object().is_none_or(|map| {
            wanted.as_array().unwrap().iter().all(|key| map.contains_key(key.as_str().unwrap()))
        }),
        "properties" => value.as_object().is_none_or(|map| {
            let known = wanted.as_object().unwrap();
            map.iter().all(|(key, value)| known.get(key).is_none_or(|s| is_valid(root, s, value)))
        }),
        "additionalProperties" => value.as_object().is_none_or(|map| {
            let known = words.get("properties").and_then(Value::as_object);
            let other = |key: &&String| known.is_none_or(|known| !known.contains_key(*key));
            map.keys().filter(other).all(|key| is_valid(root, wanted, &map[key]))
        }),
        "items" => value
            .as_array()
            .is_none_or(|items| items.iter().all(|item| is_valid(root, wanted, item))),
        "minItems" => {
            value.as_array().is_none_or(|items| items.len() as u64 >= wanted.as_u64().unwrap())
        }
        "minProperties" => {
            value.as_object().is_none_or(|map| map.len() as u64 >= wanted.as_u64().unwrap())
        }
        "minLength" => {
            value.as_str().is_none_or(|text| text.len() as u64 >= wanted.as_u64().unwrap())
        }
        "minimum" => value.as_i64().is_none_or(|number| number >= wanted.as_i64().unwrap()),
        "maximum" => value.as_i64().is_none_or(|number| number <= wanted.as_i64().unwrap()),
        "then" | "pattern" | "$schema" | "$id" | "title" | "description" | "default" | "$defs" => {
            true
        }
        other => panic!("the check does not know `{other}`"),
    };
    words.iter().all(holds)
}

fn fits_schema(value: &Value) -> bool {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    is_valid(&schema, &schema, value)
}

#[test]
fn every_example_of_the_page_reads_and_means_something() {
    let examples = examples();
    assert_eq!(examples.len(), 4);
    let node = a100s(16);
    for example in &examples {
        if example.contains("hooks:") {
            assert_eq!(read_hooks(example).unwrap().warnings, []);
            continue;
        }
        let document = read(example).unwrap_or_else(|faults| panic!("{example}\n{faults}"));
        for config in &document.configs {
            let resolved = resolve(&document, Some(&config.name), &node).unwrap();
            assert!(!resolved.desired.is_empty());
        }
        if document.schema == Schema::Own {
            assert!(fits_schema(&json(&document)), "{example}");
        }
    }
}

#[test]
fn what_we_write_is_valid_to_the_schema() {
    let mut chance = Chance(21);
    for board in model::catalog::boards() {
        let node =
            node((0..3).map(|index| random_gpu(board.id, index, &mut chance, true)).collect());
        assert!(fits_schema(&json(&export(&node, "now", Schema::Own).document)));
        let made = convert(&generate_config(&kinds(&node)), Schema::Own, None);
        assert!(fits_schema(&json(&made.document)), "{}", board.id);
    }
}

#[test]
fn reader_and_schema_refuse_the_same() {
    for (text, valid) in [
        (r#"{"schema": "migd/v1", "layouts": {"a": [{"gpus": "all", "mig": true}]}}"#, true),
        (
            r#"{"schema": "migd/v1", "layouts": {"a": [{"gpus": [0, "a100"], "instances": {"1g.5gb": 2}}]}}"#,
            true,
        ),
        (
            r#"{"schema": "migd/v1", "layouts": {"a": [{"gpus": 0, "lend": true, "instances": [19, "7g@0"]}]}}"#,
            true,
        ),
        (
            r#"{"schema": "migd/v1", "layouts": {"a": [{"gpus": 0, "instances": [{"profile": "3g", "start": 4, "compute": ["1c@0"]}]}]}}"#,
            true,
        ),
        (
            r#"{"schema": "migd/v1", "layouts": {"a": [{"gpus": 0, "instances": [{"profile": "3g", "compute": "whole"}]}]}}"#,
            true,
        ),
        (r#"{"schema": "migd/v2", "layouts": {"a": [{"gpus": "all", "mig": true}]}}"#, false),
        (r#"{"schema": "migd/v1"}"#, false),
        (r#"{"schema": "migd/v1", "layouts": {}}"#, false),
        (r#"{"schema": "migd/v1", "layouts": {"a": []}}"#, false),
        (r#"{"schema": "migd/v1", "layouts": {"a": [{"gpus": "all"}]}}"#, false),
        (r#"{"schema": "migd/v1", "layouts": {"a": [{"mig": true}]}}"#, false),
        (r#"{"schema": "migd/v1", "layouts": {"a": [{"gpus": [], "mig": true}]}}"#, false),
        (r#"{"schema": "migd/v1", "layouts": {"a": [{"gpus": -1, "mig": true}]}}"#, false),
        (
            r#"{"schema": "migd/v1", "layouts": {"a": [{"gpus": 0, "mig": false, "instances": []}]}}"#,
            false,
        ),
        (r#"{"schema": "migd/v1", "layouts": {"a": [{"gpus": 0, "mig": "on"}]}}"#, false),
        (
            r#"{"schema": "migd/v1", "layouts": {"a": [{"gpus": 0, "mig": true, "windows": []}]}}"#,
            false,
        ),
        (
            r#"{"schema": "migd/v1", "layouts": {"a": [{"gpus": 0, "instances": {"1g.5gb": 0}}]}}"#,
            false,
        ),
        (
            r#"{"schema": "migd/v1", "layouts": {"a": [{"gpus": 0, "instances": [{"count": 1}]}]}}"#,
            false,
        ),
        (
            r#"{"schema": "migd/v1", "layouts": {"a": [{"gpus": 0, "instances": [{"profile": "3g", "at": 4}]}]}}"#,
            false,
        ),
        (
            r#"{"schema": "migd/v1", "layouts": {"a": [{"gpus": 0, "instances": [{"profile": "3g", "start": 256}]}]}}"#,
            false,
        ),
        (
            r#"{"schema": "migd/v1", "layouts": {"a": [{"gpus": 0, "instances": [{"profile": "3g", "compute": "1c"}]}]}}"#,
            false,
        ),
        (r#"{"schema": "migd/v1", "layouts": {"a": [{"gpus": 0, "instances": 7}]}}"#, false),
    ] {
        assert_eq!(read(text).is_ok(), valid, "{text}: {:?}", read(text));
        assert_eq!(fits_schema(&serde_json::from_str(text).unwrap()), valid, "{text}");
    }
}
