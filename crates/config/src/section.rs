//! Reading one table: each key once, with where it stood, and what nobody asked for at the end.
//!
//! Must never pass over a key in silence.

use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::fault::{Fault, Place};
use crate::sources::{Entry, Override};
use crate::value::{Given, Value};
use model::nearest;

/// What is read, what was wrong with it, and where each value came from.
#[derive(Debug)]
pub(crate) struct Reading<'a> {
    pub(crate) path: PathBuf,
    pub(crate) text: &'a str,
    pub(crate) overrides: &'a [Override],
    pub(crate) faults: Vec<Fault>,
    pub(crate) entries: Vec<Entry>,
}

impl<'a> Reading<'a> {
    pub(crate) fn new(path: &Path, text: &'a str, overrides: &'a [Override]) -> Self {
        Self { path: path.to_owned(), text, overrides, faults: Vec::new(), entries: Vec::new() }
    }

    /// The line and column of a byte of the file.
    pub(crate) fn place(&self, byte: usize) -> Place {
        let before = self.text.get(..byte).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let last = before.rsplit('\n').next().unwrap_or_default();
        Place::File { path: self.path.clone(), line, column: last.chars().count() + 1 }
    }

    pub(crate) fn refuse(&mut self, place: Place, what: String, instead: String) {
        self.faults.push(Fault { place, what, instead });
    }
}

/// One table of the file; absent, it holds nothing.
#[derive(Debug)]
pub(crate) struct Section<'r, 'a> {
    pub(crate) reading: &'r mut Reading<'a>,
    /// The path of the table, such as `tenants.vision`; empty for the whole file.
    name: String,
    table: Option<&'a DeTable<'a>>,
    /// Where the table begins.
    begins: Place,
    asked: Vec<String>,
}

impl<'r, 'a> Section<'r, 'a> {
    pub(crate) const fn root(reading: &'r mut Reading<'a>, table: Option<&'a DeTable<'a>>) -> Self {
        let begins = Place::Default;
        Self { reading, name: String::new(), table, begins, asked: Vec::new() }
    }

    /// The path of a key in here.
    pub(crate) fn path(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    /// Whether the file has this key.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// The entry of a key in the file, and where its value stands.
    fn find(&self, key: &str) -> Option<(&'a Spanned<DeValue<'a>>, Place)> {
        let value = self.table?.get(key)?;
        Some((value, self.reading.place(value.span().start)))
    }

    /// A value, or its default.
    pub(crate) fn get<T: Value>(&mut self, key: &str, default: T) -> T {
        self.checked(key, default, |_| Ok(()))
    }

    /// A value that must meet a condition besides; the error is what to write instead.
    pub(crate) fn checked<T: Value>(
        &mut self,
        key: &str,
        default: T,
        check: impl Fn(&T) -> Result<(), &'static str>,
    ) -> T {
        let path = self.path(key);
        self.asked.push(key.to_owned());
        let given = self.reading.overrides.iter().find(|given| given.key == path);
        let (parsed, place) = if let Some(given) = given {
            (T::parse(&Given::Word(&given.value)), given.place.clone())
        } else {
            let Some((value, place)) = self.find(key) else {
                self.note(path, &default, Place::Default);
                return default;
            };
            (T::parse(&Given::Toml(value.get_ref())), place)
        };
        let value = match parsed {
            Ok(value) => value,
            Err(wrong) => {
                self.reading.refuse(place, format!("{path}: {}", wrong.what), wrong.instead);
                return default;
            }
        };
        if let Err(instead) = check(&value) {
            let what = format!("{path}: {} makes no sense", value.toml());
            self.reading.refuse(place, what, instead.to_owned());
            return default;
        }
        self.note(path, &value, place);
        value
    }

    /// A value that must be there; `None` where it is not, which is a fault.
    pub(crate) fn required<T: Value>(&mut self, key: &str) -> Option<T> {
        if !self.has(key) {
            self.asked.push(key.to_owned());
            let what = format!("{} is missing", self.path(key));
            let place = self.begins.clone();
            self.reading.refuse(place, what, format!("{key} must be there: write {}", T::WRITE));
            return None;
        }
        self.get::<Option<T>>(key, None)
    }

    fn note<T: Value>(&mut self, key: String, value: &T, place: Place) {
        self.reading.entries.push(Entry { key, value: value.toml(), place });
    }

    /// A table in here, which is read and finished by `read`.
    pub(crate) fn table<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(&mut Section<'_, 'a>) -> T,
    ) -> T {
        self.asked.push(key.to_owned());
        let name = self.path(key);
        let (table, begins) = match self.find(key) {
            None => (None, Place::Default),
            Some((value, place)) => {
                let table = value.get_ref().as_table();
                if table.is_none() {
                    let what = format!("{name} is no table");
                    let instead = format!("write [{name}] on a line of its own");
                    self.reading.refuse(place.clone(), what, instead);
                }
                (table, place)
            }
        };
        let mut section =
            Section { reading: &mut *self.reading, name, table, begins, asked: Vec::new() };
        let value = read(&mut section);
        section.finish();
        value
    }

    /// Each table of a list of tables (`[[key]]`).
    pub(crate) fn tables<T>(
        &mut self,
        key: &str,
        mut read: impl FnMut(&mut Section<'_, 'a>) -> T,
    ) -> Vec<T> {
        self.asked.push(key.to_owned());
        let Some((value, place)) = self.find(key) else { return Vec::new() };
        let items = value.get_ref().as_array();
        let tables: Option<Vec<_>> = items.and_then(|items| {
            items.iter().map(|item| Some((item.get_ref().as_table()?, item.span().start))).collect()
        });
        let Some(tables) = tables else {
            let instead = format!("write [[{key}]] on a line of its own for each");
            self.reading.refuse(place, format!("{key} is no list of tables"), instead);
            return Vec::new();
        };
        let mut values = Vec::new();
        for (number, (table, start)) in tables.into_iter().enumerate() {
            let name = format!("{}[{number}]", self.path(key));
            let begins = self.reading.place(start);
            let mut section = Section {
                reading: &mut *self.reading,
                name,
                table: Some(table),
                begins,
                asked: Vec::new(),
            };
            values.push(read(&mut section));
            section.finish();
        }
        values
    }

    /// The names of the tables in here, for tables that are named by whoever writes the file.
    pub(crate) fn names(&self) -> Vec<String> {
        let names = self.table.map(|table| table.keys().map(|key| key.get_ref().to_string()));
        names.map(Iterator::collect).unwrap_or_default()
    }

    /// Where a key of this table stands.
    pub(crate) fn place_of(&self, key: &str) -> Place {
        self.find(key).map_or_else(|| self.begins.clone(), |(_, place)| place)
    }

    /// Complains of the keys that nobody asked for.
    pub(crate) fn finish(&mut self) {
        let Some(table) = self.table else { return };
        for key in table.keys() {
            let name: &str = key.get_ref();
            if self.asked.iter().any(|asked| asked == name) {
                continue;
            }
            let place = self.reading.place(key.span().start);
            let known: Vec<&str> = self.asked.iter().map(String::as_str).collect();
            let instead = match nearest(name, known.iter().copied()) {
                Some(near) => format!("write {near}"),
                None => elsewhere(name, &self.name)
                    .unwrap_or_else(|| format!("known here: {}", known.join(", "))),
            };
            let what = match self.name.as_str() {
                "" => format!("unknown key or table {name}"),
                section => format!("unknown key {name} in [{section}]"),
            };
            self.reading.refuse(place, what, instead);
        }
    }
}

/// A key that belongs to another table.
fn elsewhere(name: &str, section: &str) -> Option<String> {
    let key = crate::keys::KEYS
        .iter()
        .find(|key| key.name == name && key.section != section && !key.section.contains("NAME"))?;
    Some(format!("it belongs under [{}]", key.section))
}
