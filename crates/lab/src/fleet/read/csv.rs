//! Comma-separated values with the place of each.
//!
//! Must never accept a row that has more or fewer fields than it should.

use super::ReadError;

/// One value and where it stands; lines and columns begin with one, columns are characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) text: String,
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Field {
    /// The complaint that this is not what it should be.
    pub(super) fn wrong(&self, name: &str, expected: &str) -> ReadError {
        let found =
            if self.text.is_empty() { "nothing".into() } else { format!("`{}`", self.text) };
        ReadError::At {
            line: self.line,
            column: self.column,
            problem: format!("{name} is {found}"),
            expected: expected.to_owned(),
        }
    }

    /// A whole number.
    pub(super) fn whole(&self, name: &str, unit: &str) -> Result<u64, ReadError> {
        let wrong = |_| self.wrong(name, &format!("a whole number of {unit}, 0 or more"));
        self.text.parse().map_err(wrong)
    }

    /// Seconds, with fractions, as milliseconds.
    pub(super) fn seconds(&self, name: &str) -> Result<u64, ReadError> {
        let seconds: Option<f64> = self.text.parse().ok();
        let most = 1e15;
        seconds
            .filter(|seconds| seconds.is_finite() && (0.0..=most).contains(seconds))
            .map(|seconds| (seconds * 1000.0).round() as u64)
            .ok_or_else(|| self.wrong(name, "seconds, 0 or more, such as 90 or 1.5"))
    }
}

/// The rows of a text, without empty ones and without those that begin with `#`.
pub(super) fn rows(text: &str) -> Result<Vec<Vec<Field>>, ReadError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    let told = lines.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    told.map(|(number, line)| row(line, number)).collect()
}

fn row(line: &str, number: usize) -> Result<Vec<Field>, ReadError> {
    let mut fields = Vec::new();
    let mut rest = line.chars().enumerate().peekable();
    loop {
        while rest.next_if(|(_, c)| *c == ' ').is_some() {}
        let column = rest.peek().map_or(line.chars().count(), |(at, _)| *at) + 1;
        let mut text = String::new();
        if rest.next_if(|(_, c)| *c == '"').is_some() {
            loop {
                match rest.next() {
                    Some((_, '"')) if rest.next_if(|(_, c)| *c == '"').is_some() => text.push('"'),
                    Some((_, '"')) => break,
                    Some((_, c)) => text.push(c),
                    None => return Err(unclosed(number, column)),
                }
            }
        }
        while let Some((_, c)) = rest.next_if(|(_, c)| *c != ',') {
            text.push(c);
        }
        text.truncate(text.trim_end().len());
        fields.push(Field { text, line: number, column });
        if rest.next().is_none() {
            return Ok(fields);
        }
    }
}

fn unclosed(line: usize, column: usize) -> ReadError {
    let problem = "a quoted value does not end on its line".into();
    ReadError::At { line, column, problem, expected: "a second quotation mark".into() }
}

/// A table: a heading that names the columns, and rows as long as it is.
#[derive(Debug)]
pub(super) struct Table {
    heading: Vec<String>,
    pub(super) rows: Vec<Vec<Field>>,
}

impl Table {
    /// Reads a text whose first row names the columns.
    pub(super) fn read(text: &str, expected: &str) -> Result<Self, ReadError> {
        let mut rows = rows(text)?.into_iter();
        let Some(first) = rows.next() else {
            return Err(ReadError::Empty { expected: expected.to_owned() });
        };
        let heading: Vec<String> = first.iter().map(|field| field.text.clone()).collect();
        let rows: Vec<Vec<Field>> = rows.collect();
        for row in &rows {
            same_length(row, heading.len())?;
        }
        Ok(Self { heading, rows })
    }

    /// The place of a column.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.heading.iter().position(|heading| heading.eq_ignore_ascii_case(name))
    }

    /// The place of a column that must be there.
    pub(super) fn need(&self, name: &str, all: &str) -> Result<usize, ReadError> {
        self.find(name).ok_or_else(|| ReadError::At {
            line: 1,
            column: 1,
            problem: format!("there is no column `{name}`"),
            expected: format!("a first row with {all}"),
        })
    }

    /// The names of columns that are none of these.
    pub(super) fn others(&self, known: &[&str]) -> Vec<&str> {
        let is_known = |name: &str| known.iter().any(|known| known.eq_ignore_ascii_case(name));
        self.heading.iter().map(String::as_str).filter(|name| !is_known(name)).collect()
    }
}

/// Complains about a row that is too short or too long.
pub(super) fn same_length(row: &[Field], length: usize) -> Result<(), ReadError> {
    let Some(last) = row.last().filter(|_| row.len() != length) else { return Ok(()) };
    let surplus = row.get(length).unwrap_or(last);
    Err(ReadError::At {
        line: surplus.line,
        column: surplus.column,
        problem: format!("the row has {} values", row.len()),
        expected: format!("{length}, separated by commas"),
    })
}
