//! A text of comma-separated values as cells that know where they stand.
//!
//! Must never change a cell but for spaces around it and quotes.

use crate::fault::{Findings, Mark};

/// A cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) at: Mark,
    pub(super) text: String,
}

/// The lines that are neither empty nor comments (`#`), each as cells.
pub(super) fn rows(text: &str, findings: &mut Findings) -> Vec<Vec<Cell>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = (1_u32..).zip(text.lines());
    let written = lines.filter(|(_, line)| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with('#')
    });
    written.map(|(number, line)| cells(number, line, findings)).collect()
}

fn cells(line: u32, text: &str, findings: &mut Findings) -> Vec<Cell> {
    let mut cells = Vec::new();
    let mut letters = (1_u32..).zip(text.chars()).peekable();
    loop {
        while letters.next_if(|(_, letter)| letter.is_whitespace()).is_some() {}
        let end = u32::try_from(text.chars().count()).unwrap_or(u32::MAX).saturating_add(1);
        let at = Mark { line, column: letters.peek().map_or(end, |(column, _)| *column) };
        let mut cell = String::new();
        if letters.next_if(|(_, letter)| *letter == '"').is_some() {
            loop {
                match letters.next() {
                    Some((_, '"')) if letters.next_if(|(_, next)| *next == '"').is_some() => {
                        cell.push('"');
                    }
                    Some((_, '"')) => break,
                    Some((_, letter)) => cell.push(letter),
                    None => {
                        findings.refuse(at, "the quote does not end on its line", "close it");
                        break;
                    }
                }
            }
        }
        while let Some((_, letter)) = letters.next_if(|(_, letter)| *letter != ',') {
            cell.push(letter);
        }
        cells.push(Cell { at, text: cell.trim_end().to_owned() });
        if letters.next().is_none() {
            return cells;
        }
    }
}

/// A cell as it is written: in quotes where it would not be read back as one.
pub(super) fn written(text: &str) -> String {
    let plain = !text.contains([',', '"', '#']) && text.trim() == text;
    if plain { text.to_owned() } else { format!("\"{}\"", text.replace('"', "\"\"")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_know_where_they_stand() {
        let mut findings = Findings::default();
        let rows = rows("# a\n\na, \"b,\"\"c\" ,\n 1,2\n\"x", &mut findings);
        let texts: Vec<Vec<(u32, u32, &str)>> = rows
            .iter()
            .map(|row| row.iter().map(|c| (c.at.line, c.at.column, c.text.as_str())).collect())
            .collect();
        assert_eq!(
            texts,
            [
                vec![(3, 1, "a"), (3, 4, "b,\"c"), (3, 13, "")],
                vec![(4, 2, "1"), (4, 4, "2")],
                vec![(5, 1, "x")],
            ]
        );
        assert_eq!(findings.faults.len(), 1);
        for text in ["plain", "a,b", "a\"b", " a", "#a", ""] {
            let back = super::rows(&format!("x,{}", written(text)), &mut Findings::default());
            assert_eq!(back[0][1].text.trim(), text.trim(), "{text}");
        }
    }
}
