//! What a proof says about the end, and every way in which the end can differ.

use crate::machine::*;
use checker::{Proof, Protected, check};
use model::{GpuInstanceId, MigMode, NodeSnapshot};

/// The proof of replacing the 1g at 0 by a 2g at 2 while a busy 3g stays at 4.
fn proof() -> (Proof, NodeSnapshot) {
    let old = instance(7, ONE, 0, 1, &[]);
    let before = node(ON, vec![instance(2, THREE, 4, 4, &[9]), old.clone()]);
    let (compute, place) = whole(TWO);
    let steps = vec![
        destroy_compute(&old),
        destroy(&old),
        create(TWO, 2, 2),
        create_compute((2, 2), compute.get(), 0, place.size.get()),
    ];
    let proof = check(&plan(steps), &before, &Protected::nothing()).unwrap();
    let after = node(ON, vec![instance(2, THREE, 4, 4, &[9]), instance(4, TWO, 2, 2, &[])]);
    (proof, after)
}

fn difference(proof: &Proof, found: &NodeSnapshot) -> Vec<String> {
    proof.matches(found).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn the_expected_end_matches() {
    let (proof, after) = proof();
    assert_eq!(proof.matches(&after), Ok(()));
    let end = &proof.gpus()[&uuid()];
    let places: Vec<String> = end.instances.iter().map(|i| i.placement.to_string()).collect();
    assert_eq!(places, ["2:2", "4:4"]);
    assert_eq!(end.instances[0].id, None);
    assert_eq!(end.instances[1].id, Some(GpuInstanceId::new(2)));
}

#[test]
fn gpus_the_plan_does_not_touch_are_not_compared() {
    let (proof, mut after) = proof();
    after.gpus[1].instances = vec![instance(7, ONE, 0, 1, &[])];
    assert_eq!(proof.matches(&after), Ok(()));
}

#[test]
fn every_difference_is_told() {
    let (proof, after) = proof();
    let with = |instances| node(ON, instances);
    let (three, two) = (instance(2, THREE, 4, 4, &[9]), instance(4, TWO, 2, 2, &[]));
    assert_eq!(
        difference(&proof, &with(vec![three.clone()])),
        ["GPU-a: no GPU instance of profile 14 lies at 2:2"]
    );
    let left = instance(7, ONE, 0, 1, &[]);
    assert_eq!(
        difference(&proof, &with(vec![three.clone(), two.clone(), left])),
        ["GPU-a: GPU instance 7 of profile 19 lies at 0:1 and should not"]
    );
    assert_eq!(
        difference(&proof, &with(vec![instance(1, THREE, 4, 4, &[]), two.clone()])),
        ["GPU-a: the GPU instance at 4:4 should be 2 and is 1"]
    );
    assert_eq!(
        difference(&proof, &with(vec![three.clone(), bare(4, TWO, 2, 2)])),
        ["GPU-a: GPU instance 4 has other compute instances: expected profile 1 at 0:2, found 0"]
    );
    let mut other = three.clone();
    other.compute_instances[0].id = model::ComputeInstanceId::new(1);
    assert_eq!(
        difference(&proof, &with(vec![other, two.clone()])),
        ["GPU-a: GPU instance 2 has other compute instances: expected profile 2 at 0:3, found 1"]
    );
    let double = instance(4, 15, 2, 2, &[]);
    assert_eq!(difference(&proof, &with(vec![three, double])).len(), 2);
    let mut gone = after.clone();
    gone.gpus.remove(0);
    assert_eq!(difference(&proof, &gone), ["GPU-a: the GPU is gone"]);
    let mut off = after;
    off.gpus[0].mig = OFF;
    assert!(difference(&proof, &off)[0].starts_with("GPU-a: MIG mode is "));
}

#[test]
fn mode_is_part_of_the_end() {
    let steps = vec![set_mode(MigMode::Enabled)];
    let off = node(OFF, Vec::new());
    let proof = check(&plan(steps), &off, &Protected::nothing()).unwrap();
    assert_eq!(proof.matches(&node(ON, Vec::new())), Ok(()));
    assert_eq!(difference(&proof, &off).len(), 1);
    assert_eq!(difference(&proof, &node(PENDING, Vec::new())).len(), 1);
}

#[test]
fn an_empty_plan_proves_nothing_about_anything() {
    let proof = check(&plan(Vec::new()), &node(OFF, Vec::new()), &Protected::nothing()).unwrap();
    assert!(proof.gpus().is_empty());
}
