//! How often the driver's own placement fails although the wish is feasible: the counts of the
//! catalog (`default_placement_order_dependence`), found there by another program.

mod common;

use std::collections::BTreeSet;

use common::{NOW, mig, root};
use model::layout::enumerate;
use model::{GpuInstanceProfile, GpuInstanceProfileId};
use sim_gpu::{Node, Return};

/// The multisets of at least two profiles that some legal layout has.
fn feasible_multisets(
    node: &Node,
    allowed: impl Fn(&GpuInstanceProfile) -> bool,
) -> BTreeSet<Vec<GpuInstanceProfileId>> {
    let geometry = &node.board(0).expect("GPU 0").geometry;
    enumerate(geometry, allowed)
        .into_iter()
        .map(|layout| {
            let mut ids: Vec<_> = layout.placed().iter().map(|part| part.profile).collect();
            ids.sort_unstable();
            ids
        })
        .filter(|multiset| multiset.len() > 1)
        .collect()
}

/// Walks every order of `left` on the node; returns how many orders there are and how many fail.
fn orders(node: &Node, left: &[GpuInstanceProfileId]) -> (u32, u32) {
    if left.is_empty() {
        return (1, 0);
    }
    let mut sum = (0, 0);
    for next in left.iter().collect::<BTreeSet<_>>() {
        let mut rest = left.to_vec();
        let at = rest.iter().position(|id| id == next).expect("it is in the list");
        rest.remove(at);
        let mut after = node.clone();
        let (all, failing) = match after.create_gpu_instance(0, root(), *next, None, NOW) {
            Ok(_) => orders(&after, &rest),
            Err(error) => {
                assert_eq!(error, Return::InsufficientResources);
                let all = count(&rest);
                (all, all)
            }
        };
        sum = (sum.0 + all, sum.1 + failing);
    }
    sum
}

/// Number of different orders of a multiset.
fn count(left: &[GpuInstanceProfileId]) -> u32 {
    let factorial = |n: usize| (1..=n as u32).product::<u32>();
    let kinds: BTreeSet<_> = left.iter().collect();
    kinds.iter().fold(factorial(left.len()), |orders, kind| {
        orders / factorial(left.iter().filter(|id| *id == *kind).count())
    })
}

fn totals(node: &Node, multisets: &BTreeSet<Vec<GpuInstanceProfileId>>) -> (u32, u32, u32) {
    multisets.iter().fold((0, 0, 0), |sum, multiset| {
        let (all, failing) = orders(node, multiset);
        (sum.0 + all, sum.1 + failing, sum.2 + u32::from(failing > 0))
    })
}

#[test]
fn fifteen_of_108_orders_fail_with_plain_profiles() {
    let node = mig("a100-sxm4-40gb");
    let plain: BTreeSet<GpuInstanceProfileId> =
        node.board(0).unwrap().geometry.plain_profiles().map(|profile| profile.id).collect();
    let multisets = feasible_multisets(&node, |profile| plain.contains(&profile.id));
    assert_eq!(totals(&node, &multisets), (108, 15, 3));
}

#[test]
fn orders_fail_more_often_with_double_memory_profiles() {
    let node = mig("h100-sxm5-80gb");
    let multisets = feasible_multisets(&node, |profile| profile.name.attributes.is_plain());
    assert_eq!(totals(&node, &multisets), (418, 108, 11));
}

#[test]
fn no_order_fails_on_a_tree_without_odd_sizes() {
    for board in ["a30", "rtx-pro-6000-bse"] {
        let node = mig(board);
        let multisets = feasible_multisets(&node, |profile| profile.name.attributes.is_plain());
        assert_eq!(totals(&node, &multisets), (9, 0, 0), "{board}");
    }
}
