//! A document in the words of the other format.
//!
//! Must never write less than was meant: an entry that the other format cannot say whole is left
//! out whole, so that its GPUs stay as they are, and a note says so.

mod ours;
mod theirs;

use model::NodeSnapshot;

use crate::document::{Config, Document, Entry, Schema};
use crate::export::Made;

/// What is known while an entry is converted.
struct Context<'a> {
    /// The machine, where one is at hand: it turns names of GPUs into indices and sizes into names.
    node: Option<&'a NodeSnapshot>,
    notes: Vec<String>,
}

impl Context<'_> {
    fn note(&mut self, entry: &Entry, what: impl AsRef<str>) {
        let note = format!("line {}: {}", entry.at.line, what.as_ref());
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    fn left_out(&mut self, entry: &Entry, why: impl AsRef<str>) {
        self.note(entry, format!("the entry is left out: {}", why.as_ref()));
    }
}

/// `document` in the format `schema`; with a machine more can be said, since mig-parted knows GPUs
/// by index alone and profiles by name alone.
pub fn convert(document: &Document, schema: Schema, node: Option<&NodeSnapshot>) -> Made {
    let mut context = Context { node, notes: Vec::new() };
    if document.schema == schema {
        return Made { document: document.clone(), notes: context.notes };
    }
    let mut configs = Vec::new();
    for config in &document.configs {
        let entries: Vec<Entry> = config
            .entries
            .iter()
            .filter_map(|entry| match schema {
                Schema::Own => ours::entry(entry, &mut context),
                Schema::MigParted => theirs::entry(entry, &mut context),
            })
            .collect();
        if entries.is_empty() {
            context.notes.push(format!("`{}` is left out: nothing of it remains", config.name));
        } else {
            configs.push(Config { name: config.name.clone(), at: config.at, entries });
        }
    }
    let document = Document { schema, configs, warnings: Vec::new() };
    Made { document, notes: context.notes }
}

/// Compute sizes of one GPU instance profile with `slices`, put into GPU instances as mig-parted
/// does it: the largest first, each into the last one while it fits.
fn packed(slices: u8, mut sizes: Vec<u8>) -> Vec<Vec<u8>> {
    sizes.sort_by_key(|size| std::cmp::Reverse(*size));
    let mut bins: Vec<Vec<u8>> = Vec::new();
    for size in sizes {
        let sum = |bin: &Vec<u8>| bin.iter().map(|size| u32::from(*size)).sum::<u32>();
        match bins.last_mut().filter(|bin| sum(bin) + u32::from(size) <= u32::from(slices)) {
            Some(bin) => bin.push(size),
            None => bins.push(vec![size]),
        }
    }
    bins
}
