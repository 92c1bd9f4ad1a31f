//! Compute instance profiles as real `nvidia-smi mig -lcip` tables show them.

use model::{GpuInstanceProfile, catalog};

/// `slices c, id, SMs, how many, starts` of every compute instance profile, in the driver's order.
fn table(board: &str, name: &str) -> Vec<(u8, u32, u32, u32, Vec<u8>)> {
    let geometry = catalog::board(board).expect(board).geometry();
    let named = |profile: &&GpuInstanceProfile| profile.name.to_string() == name;
    let profile = geometry.profiles.iter().find(named).expect(name);
    let mut rows: Vec<_> = profile
        .compute_profiles
        .iter()
        .map(|compute| {
            let starts = compute.starts.iter().map(|start| start.get()).collect();
            let id = compute.id.get();
            assert_eq!(id, compute.nvml_enum, "{board} {name}");
            (compute.slices, id, compute.multiprocessors, compute.max_count, starts)
        })
        .collect();
    rows.sort();
    rows
}

fn upto(end: u8) -> Vec<u8> {
    (0..end).collect()
}

#[test]
fn a100() {
    for board in ["a100-sxm4-40gb", "a100-pcie-40gb"] {
        assert_eq!(table(board, "1g.5gb"), [(1, 0, 14, 1, vec![0])]);
        assert_eq!(table(board, "1g.10gb"), [(1, 0, 14, 1, vec![0])]);
        assert_eq!(
            table(board, "3g.20gb"),
            [(1, 0, 14, 3, upto(3)), (2, 1, 28, 1, upto(2)), (3, 2, 42, 1, vec![0])]
        );
        assert_eq!(
            table(board, "4g.20gb"),
            [(1, 0, 14, 4, upto(4)), (2, 1, 28, 2, upto(3)), (4, 3, 56, 1, vec![0])]
        );
        assert_eq!(
            table(board, "7g.40gb"),
            [
                (1, 0, 14, 7, upto(7)),
                (2, 1, 28, 3, upto(6)),
                (3, 2, 42, 2, vec![0, 4]),
                (4, 3, 56, 1, vec![0]),
                (7, 4, 98, 1, vec![0]),
                (7, 8, 98, 1, vec![0]),
            ]
        );
    }
}

/// Of the two that take a whole A100 the ordinary one is taken, not `7_SLICE_NVL`.
#[test]
fn the_whole_of_a100_is_the_ordinary_profile() {
    let geometry = catalog::board("a100-sxm4-40gb").expect("a board").geometry();
    let full = geometry.full_profile().expect("a full profile");
    assert_eq!(full.whole_compute_profile().map(|compute| compute.nvml_enum), Some(4));
}

#[test]
fn a30() {
    assert_eq!(table("a30", "2g.12gb+me"), [(1, 0, 14, 2, upto(2)), (2, 1, 28, 1, vec![0])]);
    assert_eq!(
        table("a30", "4g.24gb"),
        [(1, 0, 14, 4, upto(4)), (2, 1, 28, 2, vec![0, 2]), (4, 3, 56, 1, vec![0])]
    );
}

/// go-nvml issue 146: a 2g of H100 SXM offers profiles 0 and 7, of 16 and 26 SMs.
#[test]
fn sxm_hopper_has_a_larger_single_slice() {
    assert_eq!(table("h100-sxm5-80gb", "1g.20gb"), [(1, 7, 26, 1, vec![0])]);
    assert_eq!(
        table("h100-sxm5-80gb", "2g.20gb"),
        [(1, 0, 16, 2, upto(2)), (1, 7, 26, 1, vec![0]), (2, 1, 32, 1, vec![0])]
    );
    assert_eq!(
        table("h100-sxm5-80gb", "4g.40gb"),
        [
            (1, 0, 16, 4, upto(4)),
            (1, 7, 26, 2, vec![0, 2]),
            (2, 1, 32, 2, vec![0, 2]),
            (4, 3, 64, 1, vec![0])
        ]
    );
    assert_eq!(table("b200", "1g.45gb"), [(1, 7, 30, 1, vec![0])]);
}

#[test]
fn pcie_hopper_has_not() {
    assert_eq!(table("h100-pcie-80gb", "1g.20gb"), [(1, 0, 14, 1, vec![0])]);
    assert_eq!(
        table("h100-pcie-80gb", "2g.20gb"),
        [(1, 0, 14, 2, upto(2)), (2, 1, 30, 1, vec![0])]
    );
}

#[test]
fn rtx_pro_6000() {
    assert_eq!(
        table("rtx-pro-6000-bse", "2g.48gb-me"),
        [(1, 0, 46, 2, upto(2)), (2, 1, 94, 1, vec![0])]
    );
    assert_eq!(
        table("rtx-pro-6000-bse", "4g.96gb+gfx"),
        [(1, 0, 46, 4, upto(4)), (2, 1, 94, 2, vec![0, 2]), (4, 3, 188, 1, vec![0])]
    );
}
