//! The default file and the page about it, made from the keys.
//!
//! Must never show a default that is not the built-in one: a test reads the file back.

use std::fmt::Write as _;

use crate::keys::{KEYS, Key, SECTIONS};

/// Columns of a comment.
const WIDTH: usize = 96;

/// The commented file that says what holds without a file.
pub fn default_file() -> String {
    let mut text = String::from(
        "# The configuration of migd: /etc/migd/migd.toml for root's daemon, else\n\
         # ~/.config/migd/migd.toml. What stands here is what holds without a file. Lines that begin\n\
         # with `#` and a key are examples. Times are written \"90s\", \"15m\", \"8h\", \"7d\"; memory\n\
         # \"80GiB\" or \"80g\". `migctl config check` finds mistakes, `migctl config reload` takes a\n\
         # change over; keys marked [restart] need `systemctl restart migd`.\n",
    );
    for section in SECTIONS {
        let several = matches!(section.name, "tenants.NAME" | "window");
        text.push('\n');
        comment(&mut text, section.meaning);
        let header = match section.name {
            "tenants.NAME" => "# [tenants.vision]".to_owned(),
            "window" => "# [[window]]".to_owned(),
            name => format!("[{name}]"),
        };
        text.push_str(&header);
        text.push('\n');
        for key in keys_of(section.name) {
            let meaning = if key.live { key.meaning.to_owned() } else { restart(key) };
            comment(&mut text, &meaning);
            match (key.default, key.example) {
                (Some(default), _) if !several => {
                    let _ = writeln!(text, "{} = {default}", key.name);
                    if let Some(example) = key.example {
                        let _ = writeln!(text, "# {} = {example}", key.name);
                    }
                }
                (_, Some(value)) | (Some(value), None) => {
                    let _ = writeln!(text, "# {} = {value}", key.name);
                }
                (None, None) => {}
            }
        }
    }
    text
}

fn restart(key: &Key) -> String {
    format!("{} [restart]", key.meaning)
}

fn keys_of(section: &str) -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(move |key| key.section == section)
}

/// Appends a text as lines of comment. Two hashes tell it from an example.
fn comment(text: &mut String, words: &str) {
    let mut line = String::from("##");
    for word in words.split_whitespace() {
        if line.len() + 1 + word.len() > WIDTH {
            text.push_str(&line);
            text.push('\n');
            line = String::from("##");
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(&line);
    text.push('\n');
}

/// The tables of `docs/config.md`.
pub fn reference() -> String {
    let mut text = String::new();
    for section in SECTIONS {
        let header = match section.name {
            "window" => "`[[window]]`".to_owned(),
            name => format!("`[{name}]`"),
        };
        let _ = write!(text, "### {header}\n\n{}\n\n", section.meaning);
        text.push_str("| key | default | reload | meaning |\n|---|---|---|---|\n");
        for key in keys_of(section.name) {
            let default = key.default.map_or_else(
                || format!("– (say `{}`)", key.example.unwrap_or_default()),
                |default| format!("`{default}`"),
            );
            let reload = if key.live { "yes" } else { "restart" };
            let meaning = match key.example.filter(|_| key.default.is_some()) {
                Some(example) => format!("{} Example: `{example}`", key.meaning),
                None => key.meaning.to_owned(),
            };
            let _ = writeln!(text, "| `{}` | {default} | {reload} | {meaning} |", key.name);
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}
