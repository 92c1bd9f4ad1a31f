//! A profile is found however it is named, and a need is met by the smallest slice.

use model::geometry::{Need, SelectError};
use model::{Geometry, MemoryMib, MemoryRequest, ProfileName, ProfileSelector, catalog};

fn geometry(id: &str) -> Geometry {
    catalog::board(id).expect(id).geometry()
}

fn selector(text: &str) -> ProfileSelector {
    text.parse().expect(text)
}

fn selected(board: &str, text: &str) -> String {
    let geometry = geometry(board);
    geometry.select(&selector(text)).map_or_else(|error| error.to_string(), |p| p.name.to_string())
}

fn need(memory: &str) -> Need {
    let memory: MemoryRequest = memory.parse().expect(memory);
    Need { memory: Some(memory), compute_slices: None }
}

fn smallest(board: &str, need: &Need) -> String {
    geometry(board).smallest_for(need).expect("a profile").name.to_string()
}

#[test]
fn every_profile_answers_to_each_of_its_names() {
    for board in catalog::boards() {
        let geometry = board.geometry();
        for profile in &geometry.profiles {
            let name = profile.name.to_string();
            let label = name.replacen("gb+", "gb.", 1);
            let id = profile.id.to_string();
            for text in [&name, &format!("MIG {name}"), &label, &name.to_uppercase(), &id] {
                let found = geometry.select(&selector(text)).map(|found| found.id);
                assert_eq!(found, Ok(profile.id), "{} {text}", board.id);
            }
            let whole = ProfileName { compute: Some(profile.name.slices), ..profile.name };
            let found = geometry.select(&ProfileSelector::Name(whole)).map(|found| found.id);
            assert_eq!(found, Ok(profile.id), "{} {whole}", board.id);
        }
    }
}

#[test]
fn a_size_alone_means_the_plain_profile() {
    for (board, text, name) in [
        ("a100-sxm4-40gb", "1g", "1g.5gb"),
        ("a100-sxm4-40gb", "7g", "7g.40gb"),
        ("h100-sxm5-80gb", "7G", "7g.80gb"),
        ("a30", "4g", "4g.24gb"),
        ("rtx-pro-6000-bse", "2g", "2g.48gb"),
        ("thor-igpu", "3g", "3g.0gb"),
    ] {
        assert_eq!(selected(board, text), name, "{board} {text}");
    }
}

#[test]
fn a_name_of_another_driver_is_understood() {
    assert_eq!(selected("a100-sxm4-80gb", "7g.79gb"), "7g.80gb");
    assert_eq!(selected("gb200", "1g.24gb"), "1g.23gb");
    assert_eq!(selected("h100-nvl-94gb", "3g.48gb"), "3g.47gb");
    // The 1g of a larger board is the double-memory 1g of this one, and no drift.
    assert_eq!(selected("a100-sxm4-40gb", "1g.10gb"), "1g.10gb");
}

#[test]
fn a_profile_of_another_board_gives_the_nearest_names() {
    let nearest = |board, text| {
        let geometry = geometry(board);
        let Err(SelectError::Unknown { asked, nearest }) = geometry.select(&selector(text)) else {
            panic!("{text} was found on {board}");
        };
        assert_eq!(asked, text);
        assert_eq!(nearest.len(), 3);
        nearest[0].to_string()
    };
    assert_eq!(nearest("a100-sxm4-40gb", "3g.40gb"), "3g.20gb");
    assert_eq!(nearest("a100-sxm4-80gb", "7g.40gb"), "4g.40gb");
    assert_eq!(nearest("a30", "7g"), "4g.24gb");
    assert_eq!(nearest("h100-sxm5-80gb", "1g.12gb"), "1g.10gb");
    assert_eq!(nearest("a100-sxm4-40gb", "21"), "1g.5gb");
    assert_eq!(nearest("rtx-pro-6000-bse", "1g.20gb"), "1g.24gb");
}

#[test]
fn a_part_of_an_instance_is_refused_with_the_whole() {
    let text = selected("a100-sxm4-80gb", "1c.3g.40gb");
    assert!(text.contains("1c.3g.40gb") && text.contains("(3g.40gb)"), "{text}");
}

#[test]
fn nominal_memory_follows_the_names() {
    assert_eq!(smallest("a100-sxm4-40gb", &need("20g")), "3g.20gb");
    assert_eq!(smallest("a100-sxm4-80gb", &need("20g")), "1g.20gb");
    assert_eq!(smallest("a100-sxm4-40gb", &need("5g")), "1g.5gb");
    assert_eq!(smallest("a100-sxm4-40gb", &need("6g")), "1g.10gb");
    assert_eq!(smallest("a30", &need("7g")), "2g.12gb");
    let compute = |slices| Need { memory: None, compute_slices: Some(slices) };
    assert_eq!(smallest("a100-sxm4-40gb", &compute(2)), "2g.10gb");
    assert_eq!(smallest("a100-sxm4-40gb", &compute(5)), "7g.40gb");
    let both = Need { compute_slices: Some(2), ..need("5g") };
    assert_eq!(smallest("a100-sxm4-40gb", &both), "2g.10gb");
}

#[test]
fn strict_memory_is_what_can_be_used() {
    let strict = need("20GiB");
    for (board, chosen, missed) in
        [("a100-sxm4-40gb", "7g.40gb", "3g.20gb"), ("a100-sxm4-80gb", "3g.40gb", "1g.20gb")]
    {
        let geometry = geometry(board);
        assert_eq!(smallest(board, &strict), chosen);
        let near = geometry.near_miss(&strict).expect("a near miss");
        assert_eq!((near.name.to_string().as_str(), near.memory), (missed, MemoryMib::new(19_968)));
        assert_eq!(geometry.near_miss(&need("20g")), None);
        assert_eq!(geometry.near_miss(&need("19968MiB")), None);
    }
    assert_eq!(smallest("a100-sxm4-40gb", &need("19968MiB")), "3g.20gb");
    assert_eq!(smallest("a100-sxm4-80gb", &need("19968MiB")), "1g.20gb");
}

#[test]
fn a_near_miss_has_the_compute_that_was_asked_for() {
    let geometry = geometry("a100-sxm4-40gb");
    let four = Need { compute_slices: Some(4), ..need("20GiB") };
    assert_eq!(geometry.near_miss(&four).map(|p| p.name.to_string()).as_deref(), Some("4g.20gb"));
    let seven = Need { compute_slices: Some(7), ..need("20GiB") };
    assert_eq!(geometry.near_miss(&seven), None);
}

#[test]
fn more_than_the_gpu_has_is_refused_with_the_largest() {
    for (text, largest) in [("41g", "7g.40gb"), ("40GiB", "7g.40gb"), ("1TiB", "7g.40gb")] {
        match geometry("a100-sxm4-40gb").smallest_for(&need(text)) {
            Err(SelectError::TooLarge { largest: name, memory, .. }) => {
                assert_eq!(name.to_string(), largest, "{text}");
                assert_eq!(memory, MemoryMib::new(40_192));
            }
            other => panic!("{text}: {other:?}"),
        }
    }
    let near = geometry("a100-sxm4-40gb").near_miss(&need("40GiB")).map(|p| p.name.to_string());
    assert_eq!(near.as_deref(), Some("7g.40gb"));
}
