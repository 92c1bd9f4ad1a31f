//! Tables of the `sim` verbs: every column text, perhaps indented below a title.
//!
//! Must never cut a value: people copy UUIDs from tables.

use crate::draw::table::{Side, Table};

/// Rows under a line of titles. Ends with a newline.
pub(super) fn aligned(titles: &[&'static str], rows: &[Vec<String>], indent: usize) -> String {
    let columns: Vec<_> = titles.iter().map(|title| (*title, Side::Left)).collect();
    let mut table = Table::new(columns);
    for row in rows {
        table.row(row.clone());
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(&" ".repeat(indent));
        text.push_str(&line);
        text.push('\n');
    }
    text
}
