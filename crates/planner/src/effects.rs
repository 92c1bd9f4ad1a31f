//! What adding a part to a class does to some figure, each different effect kept once.
//!
//! A decision looks at hundreds of (class, part) pairs and meets a few dozen effects. Must never be
//! asked about a part that the class does not admit: there the answer means nothing.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::tables::{ClassId, GeometryTables, PartId};

/// Effects of every part on every class.
#[derive(Debug, Clone)]
pub(crate) struct Effects<T> {
    each: Vec<T>,
    /// By class, then part.
    of: Vec<u16>,
    parts: usize,
}

impl<T> Default for Effects<T> {
    fn default() -> Self {
        Self { each: Vec::new(), of: Vec::new(), parts: 0 }
    }
}

impl<T: Ord> Effects<T> {
    /// Finds the effect of going from one class to another, for every such step.
    pub(crate) fn new(tables: &GeometryTables, effect: impl Fn(ClassId, ClassId) -> T) -> Self {
        let mut known = BTreeMap::new();
        let mut of = Vec::with_capacity(tables.class_count() * tables.parts().len());
        for class in tables.classes() {
            for part in tables.part_ids() {
                let fresh = known.len() as u16;
                let found = tables.after(class, part).map(|to| effect(class, to));
                of.push(found.map_or(0, |effect| *known.entry(effect).or_insert(fresh)));
            }
        }
        let mut each: Vec<(T, u16)> = known.into_iter().collect();
        each.sort_unstable_by_key(|(_, index)| *index);
        let each = each.into_iter().map(|(effect, _)| effect).collect();
        Self { each, of, parts: tables.parts().len() }
    }

    /// The index of what adding a part does.
    pub(crate) fn of(&self, class: ClassId, part: PartId) -> usize {
        usize::from(self.of[usize::from(class.0) * self.parts + usize::from(part.0)])
    }

    /// Every effect, by index.
    pub(crate) fn each(&self) -> &[T] {
        &self.each
    }

    /// Bytes on the heap, about; `one` is what an effect has there.
    pub(crate) fn bytes(&self, one: usize) -> usize {
        2 * self.of.len() + self.each.len() * (size_of::<T>() + one)
    }
}
