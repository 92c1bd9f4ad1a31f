//! stdout for data, stderr for talk.
//!
//! Must never fail because the reader of stdout has gone: a broken pipe is success.

use std::io::{self, IsTerminal as _, Write as _};

use clap::ColorChoice;
use clap::builder::styling::{AnsiColor, Style};
use serde::Serialize;

use crate::failure::{Exit, Failure};

/// Where things are printed, and how.
#[derive(Debug, Clone)]
pub struct Output {
    color: anstream::ColorChoice,
    verbosity: i8,
    json: bool,
}

impl Output {
    /// An output; `verbosity` counts -v less -q.
    pub const fn new(color: ColorChoice, verbosity: i8, json: bool) -> Self {
        let color = match color {
            ColorChoice::Auto => anstream::ColorChoice::Auto,
            ColorChoice::Always => anstream::ColorChoice::Always,
            ColorChoice::Never => anstream::ColorChoice::Never,
        };
        Self { color, verbosity, json }
    }

    /// Whether data is wanted as JSON.
    pub const fn json(&self) -> bool {
        self.json
    }

    /// Prints text with its styles, as far as stdout takes them. No newline is added.
    ///
    /// # Errors
    /// A silent success when the reader has gone, else why writing failed.
    pub fn print(&self, text: &str) -> Result<(), Failure> {
        let mut stdout = anstream::AutoStream::new(io::stdout().lock(), self.color);
        written(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()))
    }

    /// Prints a line.
    ///
    /// # Errors
    /// As [`Output::print`].
    pub fn line(&self, text: &str) -> Result<(), Failure> {
        self.print(&format!("{text}\n"))
    }

    /// Prints a value as indented JSON.
    ///
    /// # Errors
    /// As [`Output::print`].
    pub fn data<T: Serialize + ?Sized>(&self, value: &T) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|error| Failure::caused("E-JSON", "cannot write JSON", &error))?;
        self.line(&text)
    }

    /// Prints a value as one line of JSON, for streams.
    ///
    /// # Errors
    /// As [`Output::print`].
    pub fn data_line<T: Serialize + ?Sized>(&self, value: &T) -> Result<(), Failure> {
        let text = serde_json::to_string(value)
            .map_err(|error| Failure::caused("E-JSON", "cannot write JSON", &error))?;
        self.line(&text)
    }

    /// Says something on stderr, unless -q.
    pub fn say(&self, text: &str) {
        if self.verbosity >= 0 {
            self.tell(text);
        }
    }

    /// Writes a line of stderr over, unless -q; an empty text takes it away. For terminals.
    pub fn say_over(&self, text: &str) {
        if self.verbosity >= 0 {
            let mut stderr = io::stderr().lock();
            let _ = stderr.write_all(format!("\r\x1b[2K{text}").as_bytes());
            let _ = stderr.flush();
        }
    }

    /// Says something on stderr with -v.
    pub fn detail(&self, text: &str) {
        if self.verbosity > 0 {
            self.tell(text);
        }
    }

    /// Says something on stderr whatever the verbosity: a warning.
    pub fn warn(&self, text: &str) {
        self.tell(text);
    }

    /// Whether somebody watches stderr.
    pub fn is_watched(&self) -> bool {
        io::stderr().is_terminal()
    }

    pub(crate) fn complain(&self, failure: &Failure) {
        if self.json {
            return self.tell(&failure.document());
        }
        let error = AnsiColor::Red.on_default().bold();
        let hint = AnsiColor::Cyan.on_default();
        let code = styled(Style::new().dimmed(), &format!("[{}]", failure.code));
        let mut text = format!("{} {} {code}", styled(error, "migctl:"), failure.message);
        if let Some(words) = &failure.hint {
            text.push('\n');
            text.push_str(&styled(hint, "hint:"));
            text.push(' ');
            text.push_str(words);
        }
        self.tell(&text);
    }

    /// Talk must never stop the work: a stderr that cannot be written to is ignored.
    fn tell(&self, text: &str) {
        let mut stderr = anstream::AutoStream::new(io::stderr().lock(), self.color);
        let _ = stderr.write_all(format!("{text}\n").as_bytes());
        let _ = stderr.flush();
    }
}

/// `text` in `style`; the stream takes the escapes out where they are not wanted.
pub(crate) fn styled(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            let mut gone = Failure::new("E-BROKEN-PIPE", "").exit(Exit::Success);
            gone.silent = true;
            Err(gone)
        }
        Err(error) => Err(Failure::caused("E-STDOUT", "cannot write to stdout", &error)),
    }
}
