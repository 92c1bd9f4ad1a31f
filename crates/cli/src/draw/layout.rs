//! One GPU's layout as a row of boxes on its placement grid.
//!
//! Must never assume a grid of eight: it is 4 on A30 and 12 on RTX PRO 6000.

use clap::builder::styling::Style;

use crate::draw::text::{clip, pad, width};
use crate::draw::{FAINT, Glyphs, Page};
use crate::output::styled;

/// What stands on some units of the grid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    /// First unit.
    pub(crate) start: usize,
    /// Units.
    pub(crate) size: usize,
    /// First line: the profile.
    pub(crate) title: String,
    /// Second line, the longest that fits: who holds it.
    pub(crate) captions: Vec<String>,
    /// How both are shown.
    pub(crate) style: Style,
}

/// Columns of a drawing without its outer lines. 72 is a multiple of every known grid.
const COLUMNS: usize = 72;

/// The lines of a row of boxes; free units hold a dot each.
pub(crate) fn row(grid: usize, blocks: &[Block], page: Page) -> Vec<String> {
    if grid == 0 {
        return Vec::new();
    }
    let unit = (COLUMNS.min(page.width.saturating_sub(3)) / grid).max(3);
    let cells = cells(grid, blocks);
    let edge = Edge::of(page.glyphs);
    let border = |left: char, joint: char, right: char| {
        let lines: Vec<String> = cells
            .iter()
            .map(|cell| edge.horizontal.to_string().repeat(cell.size() * unit - 1))
            .collect();
        let text = format!("  {left}{}{right}", lines.join(&joint.to_string()));
        styled(FAINT, &text)
    };
    let wall = styled(FAINT, &edge.vertical.to_string());
    let inside = |line: usize| {
        let texts: Vec<String> =
            cells.iter().map(|cell| cell.line(line, unit, page.glyphs)).collect();
        format!("  {wall}{}{wall}", texts.join(&wall))
    };
    let [top, bottom] = edge.corners;
    vec![border(top.0, top.1, top.2), inside(0), inside(1), border(bottom.0, bottom.1, bottom.2)]
}

struct Edge {
    horizontal: char,
    vertical: char,
    corners: [(char, char, char); 2],
}

impl Edge {
    const fn of(glyphs: Glyphs) -> Self {
        match glyphs {
            Glyphs::Unicode => {
                Self {
                    horizontal: '─', vertical: '│', corners: [('┌', '┬', '┐'), ('└', '┴', '┘')]
                }
            }
            Glyphs::Ascii => {
                Self { horizontal: '-', vertical: '|', corners: [('+', '+', '+'), ('+', '+', '+')] }
            }
        }
    }
}

enum Cell<'b> {
    Taken(&'b Block),
    Free(usize),
}

impl Cell<'_> {
    const fn size(&self) -> usize {
        match self {
            Self::Taken(block) => block.size,
            Self::Free(units) => *units,
        }
    }

    fn line(&self, line: usize, unit: usize, glyphs: Glyphs) -> String {
        let columns = self.size() * unit - 1;
        match self {
            Self::Taken(block) if line == 0 => {
                styled(block.style.bold(), &set(&block.title, columns, glyphs))
            }
            Self::Taken(block) => {
                let fits = |caption: &&String| width(caption) < columns;
                let caption = block.captions.iter().find(fits).or(block.captions.last());
                styled(block.style, &set(caption.map_or("", String::as_str), columns, glyphs))
            }
            Self::Free(units) if line == 0 => {
                let dot = match glyphs {
                    Glyphs::Unicode => '·',
                    Glyphs::Ascii => '.',
                };
                let one = format!("{}{dot}{}", " ".repeat((unit - 1) / 2), " ".repeat(unit / 2));
                let text: String = one.repeat(*units).chars().take(columns).collect();
                styled(FAINT, &pad(&text, columns))
            }
            Self::Free(_) => " ".repeat(columns),
        }
    }
}

/// `text` in a cell: a space before it if there is room for one.
fn set(text: &str, columns: usize, glyphs: Glyphs) -> String {
    let text = if width(text) < columns { format!(" {text}") } else { text.to_owned() };
    pad(&clip(&text, columns, glyphs), columns)
}

/// The grid from left to right. A block that lies outside, or on another, is left out.
fn cells(grid: usize, blocks: &[Block]) -> Vec<Cell<'_>> {
    let mut sorted: Vec<&Block> = blocks.iter().filter(|block| block.size > 0).collect();
    sorted.sort_by_key(|block| block.start);
    let mut cells = Vec::new();
    let mut at = 0;
    for block in sorted {
        if block.start < at || block.start + block.size > grid {
            continue;
        }
        if block.start > at {
            cells.push(Cell::Free(block.start - at));
        }
        cells.push(Cell::Taken(block));
        at = block.start + block.size;
    }
    if at < grid {
        cells.push(Cell::Free(grid - at));
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(start: usize, size: usize, title: &str, captions: &[&str]) -> Block {
        let captions = captions.iter().map(|text| (*text).to_owned()).collect();
        Block { start, size, title: title.to_owned(), captions, style: Style::new() }
    }

    fn drawn(grid: usize, blocks: &[Block], width: usize, glyphs: Glyphs) -> String {
        let lines = row(grid, blocks, Page { width, glyphs });
        let text = format!("\n{}\n", lines.join("\n"));
        anstream::adapter::strip_str(&text).to_string()
    }

    #[test]
    fn an_a100_with_slices_of_every_kind() {
        let blocks = [
            block(4, 2, "2g.10gb", &["foreign"]),
            block(0, 4, "3g.20gb", &["L7 train · kim", "L7 train", "L7"]),
            block(6, 1, "1g.5gb", &["L12 학습 · lee", "L12 학습", "L12"]),
        ];
        assert_eq!(
            drawn(8, &blocks, 80, Glyphs::Unicode),
            "
  ┌───────────────────────────────────┬─────────────────┬────────┬────────┐
  │ 3g.20gb                           │ 2g.10gb         │ 1g.5gb │    ·   │
  │ L7 train · kim                    │ foreign         │ L12    │        │
  └───────────────────────────────────┴─────────────────┴────────┴────────┘
"
        );
    }

    #[test]
    fn an_empty_a30_and_a_full_rtx_pro_in_ascii() {
        assert_eq!(
            drawn(4, &[], 80, Glyphs::Ascii),
            "
  +-----------------------------------------------------------------------+
  |        .                 .                 .                 .        |
  |                                                                       |
  +-----------------------------------------------------------------------+
"
        );
        let blocks = [block(0, 6, "2g.47gb", &["L1 kim"]), block(6, 3, "1g.24gb+me", &["warm"])];
        assert_eq!(
            drawn(12, &blocks, 80, Glyphs::Ascii),
            "
  +-----------------------------------+-----------------+-----------------+
  | 2g.47gb                           | 1g.24gb+me      |  .     .     .  |
  | L1 kim                            | warm            |                 |
  +-----------------------------------+-----------------+-----------------+
"
        );
    }

    #[test]
    fn narrow_pages_cut_names_and_keep_the_shape() {
        let blocks = [block(0, 1, "1g.10gb+me", &["L7"]), block(2, 2, "2g.20gb", &["warm"])];
        let text = drawn(8, &blocks, 44, Glyphs::Unicode);
        assert_eq!(
            text,
            "
  ┌────┬────┬─────────┬───────────────────┐
  │1g.…│  · │ 2g.20gb │  ·    ·    ·    · │
  │ L7 │    │ warm    │                   │
  └────┴────┴─────────┴───────────────────┘
"
        );
        for line in text.lines() {
            assert!(width(line) <= 44, "{line}");
        }
    }

    #[test]
    fn what_does_not_fit_the_grid_is_left_out() {
        let blocks = [block(0, 4, "a", &[]), block(2, 2, "b", &[]), block(7, 2, "c", &[])];
        let text = drawn(8, &blocks, 80, Glyphs::Ascii);
        assert!(text.contains('a') && !text.contains('b') && !text.contains('c'));
    }
}
