//! Tables: columns as wide as their widest cell.
//!
//! Must never cut a cell: what has to fit is cut by whoever fills it.

use crate::draw::HEADING;
use crate::draw::text::{pad, pad_left, width};
use crate::output::styled;

/// On which side of a column its text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A table: a heading and a side per column, and rows.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    columns: Vec<(String, Side)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub(crate) fn new(columns: impl Into<Vec<(&'static str, Side)>>) -> Self {
        let named = columns.into().into_iter().map(|(head, side)| (head.to_owned(), side));
        Self { columns: named.collect(), rows: Vec::new() }
    }

    /// Adds a column, whose heading is made at run time.
    pub(crate) fn column(&mut self, head: String, side: Side) {
        self.columns.push((head, side));
    }

    /// Adds a row; it has a cell for each column.
    pub(crate) fn row(&mut self, cells: impl Into<Vec<String>>) {
        self.rows.push(cells.into());
    }

    /// The heading, then the rows; two spaces between columns, none at the ends of lines.
    pub(crate) fn lines(&self) -> Vec<String> {
        let heads: Vec<String> = self.columns.iter().map(|(head, _)| head.clone()).collect();
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|at| {
                let cells = self.rows.iter().chain([&heads]).filter_map(|row| row.get(at));
                cells.map(|cell| width(cell)).max().unwrap_or(0)
            })
            .collect();
        let head = styled(HEADING, &self.line(&heads, &widths));
        [head].into_iter().chain(self.rows.iter().map(|row| self.line(row, &widths))).collect()
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for ((cell, columns), (_, side)) in cells.iter().zip(widths).zip(&self.columns) {
            if !line.is_empty() || *columns == 0 {
                line.push_str("  ");
            }
            line.push_str(&match side {
                Side::Left => pad(cell, *columns),
                Side::Right => pad_left(cell, *columns),
            });
        }
        line.trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table =
            Table::new([("GPU", Side::Left), ("FREE", Side::Right), ("WHO", Side::Left)]);
        table.row(["0".to_owned(), "12".to_owned(), "김".to_owned()]);
        table.row(["10".to_owned(), "3".to_owned(), String::new()]);
        let lines: Vec<String> = table
            .lines()
            .iter()
            .map(|line| anstream::adapter::strip_str(line).to_string())
            .collect();
        assert_eq!(lines, ["GPU  FREE  WHO", "0      12  김", "10      3"]);
    }
}
