//! `docs/boards.md`: what each board of the catalog can be cut into, and in how many ways.
//!
//! Must never state a fact of its own: values come from the catalog, counts from enumeration.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use model::catalog::{self, Board, Confidence, Fact, Family, Field, ProfileFacts};
use model::{Geometry, GpuInstanceProfile, ProfileName};

use super::layouts;

/// The page, below the project's folder.
pub(super) const PATH: &str = "docs/boards.md";

const HEAD: &str = "\
# Boards

<!-- Made by `cargo xtask docs` from the catalog in crates/model/src/catalog. Do not edit. -->

What migd knows about each board that can do MIG: which profiles it has, where on the board's grid
each may start, and how many layouts that gives. On a live machine the driver is asked instead
(`migctl profiles --placements` shows its answer); this is what the simulator and offline planning
work with.

How to read the tables:

- The columns are those of `nvidia-smi mig -lgip` and `-lgipp`. *Memory* is usable MiB; it varies a
  little with driver and ECC state. *Starts:size* are the legal first units on the board's grid and
  the units one instance spans. *Max* is the most instances of the profile at once.
- `n*`: no source tells the value; a stated rule filled it in (`model::catalog::Rule`).
- `n?`: nobody has shown it on this board; it is inferred from driver source, the rule of names or a
  sister board. Behind the name it holds for the whole row.
- Boards whose tables are the same in every value share one.

How to read the counts, all found by building every layout while this page was made:

- *placed*: which profile lies where; the empty GPU counts.
- *maximal*: nothing can be added.
- *multisets*: which profiles how often, wherever they lie; *maximal multisets*: those of the
  maximal ones.
- A layout is legal when placements do not overlap, no profile exceeds its maximum, the decoders,
  encoders, JPEG and OFA engines suffice, and the board's own rules hold. The compute slices never
  bind.
- *plain* are the sizes themselves, one profile per size: no media or graphics attribute and no
  double-memory `1g`; *no attributes* adds that one.
";

/// A table and the boards it is right for.
struct Shared<'a> {
    boards: Vec<&'a Board>,
    rows: Vec<String>,
}

/// Boards of one geometry: same grid, places, maxima, engines and rules.
struct Kind<'a> {
    family: &'a Family,
    geometry: Geometry,
    tables: Vec<Shared<'a>>,
}

/// The whole page.
pub(super) fn text() -> String {
    let kinds = kinds();
    let mut text = String::from(HEAD);
    text.push_str("\n## All boards\n\n");
    text.push_str("| id | board | chip | memory MiB | SM | first driver | known | grid |\n");
    text.push_str("|---|---|---|---:|---:|---|---|---|\n");
    for (number, kind) in kinds.iter().enumerate() {
        for board in kind.tables.iter().flat_map(|table| &table.boards) {
            let _ = writeln!(text, "{}", overview(board, number + 1));
        }
    }
    for (number, kind) in kinds.iter().enumerate() {
        kind.write(&mut text, number + 1);
    }
    text
}

/// Boards by geometry, in the catalog's order.
fn kinds() -> Vec<Kind<'static>> {
    let mut kinds: Vec<Kind<'static>> = Vec::new();
    for board in catalog::boards() {
        let geometry = board.geometry();
        let at = kinds.iter().position(|kind| same_shape(&kind.geometry, &geometry));
        let at = at.unwrap_or_else(|| {
            kinds.push(Kind { family: board.family, geometry, tables: Vec::new() });
            kinds.len() - 1
        });
        let rows = rows(board);
        let tables = &mut kinds[at].tables;
        match tables.iter_mut().find(|table| table.rows == rows) {
            Some(table) => table.boards.push(board),
            None => tables.push(Shared { boards: vec![board], rows }),
        }
    }
    kinds
}

/// Whether two geometries allow the same layouts: all but names, ids, memory, SMs and copy engines.
fn same_shape(left: &Geometry, right: &Geometry) -> bool {
    let profile = |profile: &GpuInstanceProfile| {
        let mut engines = profile.engines;
        engines.copy = 0;
        let name = profile.name;
        let size = (name.slices, name.attributes, profile.size);
        (profile.nvml_enum, size, profile.starts.clone(), profile.max_instances, engines)
    };
    let shape = |geometry: &Geometry| {
        let mut capacity = geometry.engine_capacity;
        capacity.copy = 0;
        let profiles: Vec<_> = geometry.profiles.iter().map(profile).collect();
        (geometry.grid, profiles, capacity, geometry.rules.clone())
    };
    shape(left) == shape(right)
}

fn overview(board: &Board, number: usize) -> String {
    let memory = match board.total_mib {
        Some(mib) => mib.to_string(),
        None => format!("{}*", board.total_memory().get()),
    };
    format!(
        "| `{}` | {} | {} | {memory} | {} | {} | {} | [{number}](#{}) |",
        board.id,
        board.title,
        board.chip,
        board.multiprocessors.map_or_else(|| "–".to_owned(), |count| count.to_string()),
        board.min_driver.unwrap_or("–"),
        board.confidence,
        anchor(number, board.family),
    )
}

fn heading(number: usize, family: &Family) -> String {
    format!("Grid {number}: {} units, {} instances at most", family.grid, family.max_instances)
}

/// What GitHub makes of the heading.
fn anchor(number: usize, family: &Family) -> String {
    let heading = heading(number, family).to_lowercase().replace([':', ','], "");
    heading.replace(' ', "-")
}

impl Kind<'_> {
    fn write(&self, text: &mut String, number: usize) {
        let _ = writeln!(text, "\n## {}\n", heading(number, self.family));
        let engines = self.geometry.engine_capacity;
        let _ = writeln!(
            text,
            "One unit is {}. Engines to share: {} DEC, {} ENC, {} JPEG, {} OFA.{}\n",
            self.family.grid_unit,
            engines.decoders,
            engines.encoders,
            engines.jpeg,
            engines.ofa,
            self.rules(),
        );
        text.push_str("| profiles | placed | maximal | multisets | maximal multisets |\n");
        text.push_str("|---|---:|---:|---:|---:|\n");
        let mut last = None;
        for (name, counts) in self.counts() {
            if last == Some(counts) {
                continue;
            }
            last = Some(counts);
            let layouts::Counts { placed, maximal, multisets, maximal_multisets } = counts;
            let _ = writeln!(
                text,
                "| {name} | {placed} | {maximal} | {multisets} | {maximal_multisets} |"
            );
        }
        for table in &self.tables {
            let titles: Vec<&str> = table.boards.iter().map(|board| board.title).collect();
            let _ = writeln!(text, "\n### {}\n", titles.join(" · "));
            text.push_str(
                "| name | id | memory | SM | DEC | ENC | CE | JPEG | OFA | starts:size | max |\n",
            );
            text.push_str("|---|---:|---:|---:|---:|---:|---:|---:|---:|---|---:|\n");
            for row in &table.rows {
                let _ = writeln!(text, "{row}");
            }
        }
    }

    fn rules(&self) -> String {
        let words = self.geometry.rules.iter().map(|rule| match rule {
            model::BoardRule::OneComputeOneGraphics => {
                " At most one instance with graphics and one without."
            }
        });
        words.collect()
    }

    fn counts(&self) -> [(&'static str, layouts::Counts); 3] {
        let geometry = &self.geometry;
        let is_plain = |profile: &GpuInstanceProfile| {
            geometry.plain_profiles().any(|plain| plain.id == profile.id)
        };
        let has_no_attributes = |profile: &GpuInstanceProfile| profile.name.attributes.is_plain();
        [
            ("plain", layouts::count(geometry, is_plain)),
            ("no attributes", layouts::count(geometry, has_no_attributes)),
            ("all", layouts::count(geometry, |_| true)),
        ]
    }
}

/// The table of one board, by size as the vendor's tables are.
fn rows(board: &Board) -> Vec<String> {
    let derived = board.derived();
    let filled: BTreeMap<(ProfileName, Field), &str> = derived
        .iter()
        .filter_map(|fact| Some(((fact.profile?, fact.field), fact.value.as_str())))
        .collect();
    let mut profiles = board.profiles();
    profiles.sort_by_key(|profile| {
        let name = profile.name;
        (name.slices, name.memory, !name.attributes.is_plain(), profile.nvml_enum)
    });
    profiles.iter().map(|profile| row(profile, &filled)).collect()
}

fn row(profile: &ProfileFacts, filled: &BTreeMap<(ProfileName, Field), &str>) -> String {
    let rule = |field: Field| filled.get(&(profile.name, field)).copied();
    // A mark behind the name stands for one behind every value.
    let whole = is_inferred(profile);
    let mark = |weak: bool| if weak && !whole { "?" } else { "" };
    let engines = profile.engines.value.unwrap_or_default();
    let inferred = mark(is_weak(&profile.engines));
    let cells = [
        format!("`{}`{}", profile.name, if whole { "?" } else { "" }),
        shown(&profile.id, mark, ToString::to_string, rule(Field::ProfileId)),
        shown(&profile.memory, mark, |memory| memory.get().to_string(), rule(Field::Memory)),
        shown(&profile.multiprocessors, mark, ToString::to_string, rule(Field::Multiprocessors)),
        format!("{}{inferred}", engines.decoders),
        format!("{}{inferred}", engines.encoders),
        format!("{}{inferred}", engines.copy),
        format!("{}{inferred}", engines.jpeg),
        format!("{}{inferred}", engines.ofa),
        shown(&profile.placements, mark, |places| starts(places), None),
        shown(&profile.max_instances, mark, ToString::to_string, None),
    ];
    format!("| {} |", cells.join(" | "))
}

fn is_weak<T>(fact: &Fact<T>) -> bool {
    fact.confidence < Confidence::Doc
}

/// Whether no value of the row but the maximum was shown for this board.
fn is_inferred(profile: &ProfileFacts) -> bool {
    is_weak(&profile.id)
        && (is_weak(&profile.memory) || profile.memory.value.is_none())
        && (is_weak(&profile.multiprocessors) || profile.multiprocessors.value.is_none())
        && is_weak(&profile.engines)
        && is_weak(&profile.placements)
}

/// A known value, one that only inference supports (`?`), or one a rule filled in (`*`).
fn shown<T>(
    fact: &Fact<T>,
    mark: impl Fn(bool) -> &'static str,
    text: impl Fn(&T) -> String,
    rule: Option<&str>,
) -> String {
    match (&fact.value, rule) {
        (Some(value), _) => format!("{}{}", text(value), mark(is_weak(fact))),
        (None, Some(filled)) => format!("{filled}*"),
        (None, None) => "–".to_owned(),
    }
}

/// `{0,2,4}:2`.
fn starts(places: &[model::Placement]) -> String {
    let size = places.first().map_or(0, |place| place.size.get());
    let starts: Vec<String> = places.iter().map(|place| place.start.to_string()).collect();
    format!("{{{}}}:{size}", starts.join(","))
}
