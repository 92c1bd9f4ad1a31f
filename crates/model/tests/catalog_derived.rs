//! What the catalog does not know is filled in by the stated rules, and said to be.

use model::catalog::{self, Board, Field, Rule};
use model::{GpuInstanceProfile, MemoryMib};

fn board(id: &str) -> &'static Board {
    catalog::board(id).expect(id)
}

fn profile(id: &str, name: &str) -> GpuInstanceProfile {
    let geometry = board(id).geometry();
    geometry.profiles.into_iter().find(|p| p.name.to_string() == name).expect(name)
}

/// The value and rule with which `field` of the profile was filled.
fn derived(id: &str, name: Option<&str>, field: Field) -> (String, Rule) {
    let all = board(id).derived();
    let named = |fact: &&catalog::DerivedFact| {
        fact.profile.map(|profile| profile.to_string()).as_deref() == name && fact.field == field
    };
    let fact = all.iter().find(named).expect(id);
    (fact.value.clone(), fact.rule)
}

#[test]
fn memory_is_the_share_less_a_reserve() {
    // B200: a quarter of 180 GiB is 46,080 MiB, of which 45,312 are usable: 768 are lost.
    let field = Field::Memory;
    assert_eq!(derived("b200", Some("3g.90gb"), field), ("91392".into(), Rule::OwnReserve));
    assert_eq!(derived("b200", Some("7g.180gb"), field), ("183552".into(), Rule::OwnReserve));
    // A100 80 GB loses 512 of an eighth and 1,024 of the whole.
    assert_eq!(derived("pg506-232", Some("1g.12gb"), field), ("11776".into(), Rule::SisterReserve));
    assert_eq!(derived("pg506-232", Some("7g.96gb"), field), ("97280".into(), Rule::SisterReserve));
    for name in ["1g.12gb+me", "1g.24gb"] {
        assert_eq!(derived("pg506-232", Some(name), field).1, Rule::SisterReserve);
    }
    // RTX PRO 6000 loses 431 of a half; a half of RTX PRO 5000 is 24,576.
    assert_eq!(profile("rtx-pro-5000-48gb", "1g.24gb").memory, MemoryMib::new(24_128));
}

#[test]
fn the_total_is_the_nominal_one_where_nvml_was_not_seen() {
    assert_eq!(derived("b200", None, Field::TotalMemory), ("184320".into(), Rule::NominalTotal));
    assert_eq!(derived("thor-igpu", None, Field::TotalMemory), ("0".into(), Rule::MemoryOfHost));
    assert_eq!(board("h100-sxm5-80gb").total_memory(), MemoryMib::new(81_559));
    assert!(board("h100-sxm5-80gb").derived().iter().all(|fact| fact.profile.is_some()));
}

#[test]
fn multiprocessors_come_from_the_best_source_left() {
    let field = Field::Multiprocessors;
    for (id, name, value, rule) in [
        ("b200", "3g.90gb", "70", Rule::Hint),
        ("gb200", "3g.93gb", "56", Rule::PerSlice),
        ("gb200", "4g.93gb", "76", Rule::PerSlice),
        ("h20-96gb", "1g.12gb", "10", Rule::EvenShare),
        ("h20-96gb", "4g.48gb", "40", Rule::EvenShare),
        ("h20-96gb", "7g.96gb", "78", Rule::WholeGpu),
        ("b300", "1g.67gb", "30", Rule::SisterSm),
        ("gb300", "4g.139gb", "76", Rule::SisterSm),
        ("rtx-pro-4500-32gb", "2g.32gb", "94", Rule::SisterSm),
    ] {
        assert_eq!(derived(id, Some(name), field), (value.into(), rule), "{id} {name}");
        assert_eq!(profile(id, name).multiprocessors.to_string(), value, "{id} {name}");
    }
}

#[test]
fn ids_are_those_of_the_sister_or_the_next() {
    for (name, id) in [
        ("1g.24gb", 14),
        ("1g.24gb+me", 21),
        ("1g.24gb+gfx", 47),
        ("1g.24gb+me.all", 65),
        ("1g.24gb-me", 67),
        ("2g.48gb", 5),
        ("2g.48gb+gfx", 35),
    ] {
        let found = derived("rtx-pro-5000-48gb", Some(name), Field::ProfileId);
        assert_eq!(found, (id.to_string(), Rule::SisterId), "{name}");
        assert_eq!(profile("rtx-pro-5000-48gb", name).id.get(), id, "{name}");
    }
    assert_eq!(derived("thor-igpu", Some("3g.0gb"), Field::ProfileId), ("84".into(), Rule::NextId));
    assert_eq!(profile("thor-igpu", "3g.0gb+gfx").id.get(), 85);
}

#[test]
fn well_known_boards_need_next_to_nothing() {
    for id in ["a100-sxm4-40gb", "a100-sxm4-80gb"] {
        let derived = board(id).derived();
        let fields: Vec<Field> = derived.iter().map(|fact| fact.field).collect();
        assert_eq!(fields, [Field::ComputeStarts(2), Field::ComputeStarts(3)], "{id}");
    }
    assert!(board("a30").derived().is_empty());
    assert!(board("rtx-pro-6000-bse").derived().is_empty());
}

#[test]
fn a_derived_fact_reads_as_a_sentence() {
    let all = board("b200").derived();
    let text: Vec<String> = all.iter().map(ToString::to_string).collect();
    assert_eq!(text[0], "total memory in MiB: 184320 (the GiB of the profile names)");
    assert!(
        text.contains(&"3g.90gb SMs: 70 (an unconfirmed recollection)".to_string()),
        "{text:?}"
    );
}

#[test]
fn the_first_branch_is_read_from_the_first_driver() {
    assert_eq!(board("a100-sxm4-40gb").min_branch(), Some(450));
    assert_eq!(board("thor-igpu").min_branch(), Some(595));
    assert_eq!(board("rtx-pro-5000-72gb").min_branch(), None);
    let unstated = catalog::boards().filter(|board| board.min_branch().is_none());
    assert_eq!(unstated.count(), 1);
}
