//! Drawing for terminals: text of known width, tables, and the layout of a GPU.
//!
//! Must never ask the world: the width, the glyphs and the data are arguments.

pub(crate) mod layout;
pub(crate) mod node;
pub(crate) mod plan;
pub(crate) mod table;
pub(crate) mod text;
pub(crate) mod time;

use clap::builder::styling::{AnsiColor, Style};

/// The page drawings are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Page {
    /// Columns.
    pub(crate) width: usize,
    /// What lines are drawn with.
    pub(crate) glyphs: Glyphs,
}

/// What lines are drawn with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Glyphs {
    /// Box-drawing characters.
    Unicode,
    /// What every terminal and every font has.
    Ascii,
}

impl Glyphs {
    /// The glyphs for a locale's name (`C.UTF-8`).
    pub(crate) fn for_locale(locale: &str) -> Self {
        let lower = locale.to_ascii_lowercase();
        if lower.contains("utf-8") || lower.contains("utf8") { Self::Unicode } else { Self::Ascii }
    }

    /// What stands for the rest of a text that did not fit.
    pub(crate) const fn ellipsis(self) -> char {
        match self {
            Self::Unicode => '…',
            Self::Ascii => '~',
        }
    }

    /// The times sign.
    pub(crate) const fn times(self) -> &'static str {
        match self {
            Self::Unicode => "×",
            Self::Ascii => "x",
        }
    }

    /// Parts items of a line.
    pub(crate) const fn separator(self) -> &'static str {
        match self {
            Self::Unicode => " · ",
            Self::Ascii => ", ",
        }
    }
}

impl Page {
    /// The page of this process: the terminal's width, or 80 columns; the locale's glyphs.
    pub(crate) fn current() -> Self {
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .iter()
            .filter_map(|name| std::env::var(name).ok())
            .find(|value| !value.is_empty());
        let glyphs = locale.map_or(Glyphs::Ascii, |locale| Glyphs::for_locale(&locale));
        Self { width: terminal_width().unwrap_or(80).clamp(40, 120), glyphs }
    }
}

fn terminal_width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}

/// The style of headings.
pub(crate) const HEADING: Style = Style::new().bold();
/// The style of what matters less.
pub(crate) const FAINT: Style = Style::new().dimmed();
/// The style of a slice that a lease has.
pub(crate) const LEASED: Style = AnsiColor::Green.on_default();
/// The style of a slice that must end or changes.
pub(crate) const MOVING: Style = AnsiColor::Yellow.on_default();
/// The style of what migd did not make.
pub(crate) const FOREIGN: Style = AnsiColor::Magenta.on_default();
/// The style of what is wrong.
pub(crate) const ALARM: Style = AnsiColor::Red.on_default().bold();
