//! Text of known width.
//!
//! Must never count bytes or characters where columns are meant.

use std::fmt::Write as _;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::draw::Glyphs;

/// Columns that `text` takes.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// `text` with control characters replaced: names are chosen by whoever starts a program.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// `text` cut to `columns`, its end marked where something is missing.
pub(crate) fn clip(text: &str, columns: usize, glyphs: Glyphs) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut clipped = String::new();
    let mut taken = 0;
    for c in text.chars() {
        let wide = c.width().unwrap_or(0);
        if taken + wide + 1 > columns {
            break;
        }
        clipped.push(c);
        taken += wide;
    }
    if columns > 0 {
        clipped.push(glyphs.ellipsis());
    }
    clipped
}

/// `text` with spaces behind it up to `columns`; never cut.
pub(crate) fn pad(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

/// `text` with spaces before it up to `columns`; never cut.
pub(crate) fn pad_left(text: &str, columns: usize) -> String {
    format!("{}{text}", " ".repeat(columns.saturating_sub(width(text))))
}

/// `40960` as `40,960`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// An amount of memory: `40,960 MiB`.
pub(crate) fn mib(amount: u64) -> String {
    format!("{} MiB", thousands(amount))
}

/// `items` joined by `separator` and broken between items so that no line is wider than `columns`;
/// an item too long for a line is broken between its words. The first line begins with `first`, the
/// others with `rest`.
pub(crate) fn wrap(
    items: &[String],
    separator: &str,
    columns: usize,
    first: &str,
    rest: &str,
) -> Vec<String> {
    let room = columns.saturating_sub(width(rest));
    let mut lines = vec![first.to_owned()];
    let mut empty = true;
    for (text, end) in pieces(items, separator.trim_end(), room) {
        let line = lines.last().map_or(0, |line| width(line));
        if !empty && line + 1 + width(text) + width(end) > columns {
            lines.push(rest.to_owned());
            empty = true;
        }
        if let Some(line) = lines.last_mut() {
            let gap = if empty { "" } else { " " };
            let _ = write!(line, "{gap}{text}{end}");
        }
        empty = false;
    }
    lines
}

/// What must stay together, each with what follows it on the same line.
fn pieces<'t>(items: &'t [String], separator: &'t str, room: usize) -> Vec<(&'t str, &'t str)> {
    let mut pieces = Vec::new();
    for (at, item) in items.iter().enumerate() {
        let end = if at + 1 < items.len() { separator } else { "" };
        if width(item) + width(end) <= room {
            pieces.push((item.as_str(), end));
            continue;
        }
        let words: Vec<&str> = item.split_whitespace().collect();
        let last = words.len().saturating_sub(1);
        pieces.extend(
            words.into_iter().enumerate().map(|(n, w)| (w, if n == last { end } else { "" })),
        );
    }
    pieces
}

/// A sentence broken between words.
pub(crate) fn paragraph(text: &str, columns: usize, first: &str, rest: &str) -> Vec<String> {
    let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    wrap(&words, " ", columns, first, rest)
}

/// Numbers as ranges: `0-3,5`.
pub(crate) fn ranges(numbers: &[u32]) -> String {
    let mut text = String::new();
    let mut at = 0;
    while at < numbers.len() {
        let mut end = at;
        while end + 1 < numbers.len() && numbers[end + 1] == numbers[end] + 1 {
            end += 1;
        }
        let comma = if text.is_empty() { "" } else { "," };
        let _ = if at == end {
            write!(text, "{comma}{}", numbers[at])
        } else {
            write!(text, "{comma}{}-{}", numbers[at], numbers[end])
        };
        at = end + 1;
    }
    text
}

/// `GPU 3`, or `GPUs 0-3,7`.
pub(crate) fn gpus(indices: &[u32]) -> String {
    let noun = if indices.len() == 1 { "GPU" } else { "GPUs" };
    format!("{noun} {}", ranges(indices))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_characters_take_two_columns() {
        assert_eq!(width("학습"), 4);
        assert_eq!(clip("학습 작업", 5, Glyphs::Unicode), "학습…");
        assert_eq!(clip("학습 작업", 4, Glyphs::Unicode), "학…");
        assert_eq!(pad("학습", 6), "학습  ");
        assert_eq!(clip("abc", 3, Glyphs::Ascii), "abc");
        assert_eq!(clip("abcd", 3, Glyphs::Ascii), "ab~");
        assert_eq!(clip("abcd", 0, Glyphs::Ascii), "");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(clean("a\u{1b}[31mb\n"), "a?[31mb?");
    }

    #[test]
    fn numbers_are_grouped_and_ranged() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(81_920), "81,920");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(ranges(&[0, 1, 2, 3, 5, 7, 8]), "0-3,5,7-8");
        assert_eq!(ranges(&[]), "");
    }

    #[test]
    fn items_are_never_broken() {
        let items: Vec<String> = ["one", "two", "three", "four"].map(str::to_owned).into();
        assert_eq!(
            wrap(&items, " or ", 14, "room: ", "      "),
            ["room: one or", "      two or", "      three or", "      four"]
        );
        assert_eq!(wrap(&items, ", ", 80, "", ""), ["one, two, three, four"]);
        let long: Vec<String> = ["a", "some words that are long", "b"].map(str::to_owned).into();
        assert_eq!(
            wrap(&long, " - ", 16, "", "  "),
            ["a - some words", "  that are", "  long - b"]
        );
        assert_eq!(paragraph("a few words", 7, "", "  "), ["a few", "  words"]);
    }
}
