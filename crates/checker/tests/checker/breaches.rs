//! Every rule of the checker, broken once by a plan that is sound but for that.

use crate::machine::*;
use checker::{Breach, GpuProtection, InstanceProtection, Protected, Violation, check};
use model::{
    ComputeInstanceId, ComputeInstanceProfileId, GpuInstanceId, GpuInstanceProfileId, GpuProcess,
    Health, LayoutError, LeaseId, MigMode, MigState, NodeSnapshot, Placement, Plan, Purpose, Step,
};

/// The only violation of the only step of a plan, after the same plan was found sound with
/// `sound` as its snapshot: so the difference between the two snapshots is what is caught.
fn caught(sound: &NodeSnapshot, broken: &NodeSnapshot, steps: Vec<Step>) -> Breach {
    assert!(check(&plan(steps.clone()), sound, &Protected::nothing()).is_ok());
    only(check(&plan(steps), broken, &Protected::nothing()).unwrap_err())
}

fn only(violations: Vec<Violation>) -> Breach {
    assert_eq!(violations.len(), 1, "{violations:?}");
    let violation = violations.into_iter().next().unwrap();
    assert_eq!(violation.gpu, uuid());
    violation.breach
}

fn refused(snapshot: &NodeSnapshot, steps: Vec<Step>) -> Breach {
    only(check(&plan(steps), snapshot, &Protected::nothing()).unwrap_err())
}

fn empty() -> NodeSnapshot {
    node(ON, Vec::new())
}

fn busy_whole(mut snapshot: NodeSnapshot) -> NodeSnapshot {
    snapshot.gpus[0].processes = vec![GpuProcess { pid: 77, memory: None }];
    snapshot
}

#[test]
fn gpu_must_exist() {
    let mut other = empty();
    other.gpus.remove(0);
    assert_eq!(caught(&empty(), &other, vec![create(ONE, 0, 1)]), Breach::NoSuchGpu);
}

#[test]
fn gpu_must_be_healthy_except_for_a_reset() {
    let mut sick = empty();
    sick.gpus[0].health = Health::ResetRequired;
    assert_eq!(caught(&empty(), &sick, vec![create(ONE, 0, 1)]), Breach::Unhealthy);
    assert!(check(&plan(vec![reset()]), &sick, &Protected::nothing()).is_ok());
}

#[test]
fn protected_gpu_is_left_alone() {
    for why in [GpuProtection::Maintenance, GpuProtection::Leased(LeaseId::new(3))] {
        let protected = Protected::nothing().with_gpu(uuid(), why);
        for step in [create(ONE, 0, 1), set_mode(MigMode::Disabled), reset()] {
            let violations = check(&plan(vec![step]), &empty(), &protected).unwrap_err();
            assert_eq!(only(violations), Breach::GpuProtected(why));
        }
    }
}

#[test]
fn nothing_but_mode_and_reset_while_a_mode_is_pending() {
    let pending = node(PENDING, Vec::new());
    assert_eq!(caught(&empty(), &pending, vec![create(ONE, 0, 1)]), Breach::ModePending);
    let steps = vec![reset(), create(ONE, 0, 1)];
    assert!(check(&plan(steps), &pending, &Protected::nothing()).is_ok());
}

#[test]
fn a_mode_is_counted_on_after_a_reset_where_the_architecture_needs_one() {
    let set = || set_mode(MigMode::Enabled);
    let all = || vec![set(), reset(), create(ONE, 0, 1)];
    let short = || vec![set(), create(ONE, 0, 1)];
    let mut machine = node(OFF, Vec::new());
    for capability in [Some((8, 0)), None] {
        machine.gpus[0].compute_capability = capability;
        assert!(check(&plan(all()), &machine, &Protected::nothing()).is_ok());
        assert_eq!(refused(&machine, short()), Breach::ModePending);
    }
    for capability in [Some((9, 0)), Some((12, 0))] {
        machine.gpus[0].compute_capability = capability;
        assert!(check(&plan(short()), &machine, &Protected::nothing()).is_ok());
        assert_eq!(refused(&machine, all()), Breach::NeedlessReset);
    }
}

#[test]
fn a_reset_must_bring_something_into_force() {
    assert_eq!(caught(&node(PENDING, Vec::new()), &empty(), vec![reset()]), Breach::NeedlessReset);
    let steps = vec![set_mode(MigMode::Disabled), reset(), reset()];
    assert_eq!(refused(&empty(), steps), Breach::NeedlessReset);
}

#[test]
fn a_wish_is_taken_back_without_disturbing_anybody() {
    let mut machine = busy_whole(node(LEAVING, vec![instance(3, ONE, 0, 1, &[5])]));
    let leased = Protected::nothing().with_instance(
        uuid(),
        GpuInstanceId::new(3),
        InstanceProtection::Leased(LeaseId::new(1)),
    );
    let back = plan(vec![set_mode(MigMode::Enabled), create(TWO, 2, 2)]);
    let proof = check(&back, &machine, &leased).unwrap();
    assert_eq!(proof.gpus()[&uuid()].mig, ON);
    let grant = Plan { purpose: Purpose::Grant(LeaseId::new(1)), ..back.clone() };
    assert!(check(&grant, &machine, &leased).is_err());
    // Towards the other mode it is a change like any.
    let away = vec![set_mode(MigMode::Disabled)];
    assert_eq!(refused(&machine, away), Breach::HasInstances(1));
    machine.gpus[0].mig = PENDING;
    assert!(check(&back, &machine, &leased).is_err());
}

#[test]
fn nothing_is_added_to_what_somebody_has() {
    let half = bare(3, THREE, 0, 4);
    let machine = node(ON, vec![half]);
    let steps = || vec![create_compute((0, 4), 0, 0, 1)];
    assert!(check(&plan(steps()), &machine, &Protected::nothing()).is_ok());
    let with = |why| Protected::nothing().with_instance(uuid(), GpuInstanceId::new(3), why);
    for why in [InstanceProtection::Leased(LeaseId::new(1)), InstanceProtection::Pinned] {
        let violations = check(&plan(steps()), &machine, &with(why)).unwrap_err();
        assert_eq!(only(violations), Breach::ProtectedFromOthers(why));
    }
    assert!(check(&plan(steps()), &machine, &with(InstanceProtection::Foreign)).is_ok());
}

#[test]
fn disable_pending_stops_everything_too() {
    assert_eq!(refused(&node(LEAVING, Vec::new()), vec![create(ONE, 0, 1)]), Breach::ModePending);
}

#[test]
fn gpu_must_know_mig() {
    let without = node(MigState::Unsupported, Vec::new());
    assert_eq!(caught(&empty(), &without, vec![create(ONE, 0, 1)]), Breach::NoMig);
    assert_eq!(caught(&empty(), &without, vec![set_mode(MigMode::Enabled)]), Breach::NoMig);
}

#[test]
fn mode_must_be_on_at_that_moment() {
    let off = node(OFF, Vec::new());
    assert_eq!(caught(&empty(), &off, vec![create(ONE, 0, 1)]), Breach::ModeOff);
    let steps = vec![set_mode(MigMode::Enabled), reset(), create(ONE, 0, 1)];
    assert!(check(&plan(steps), &off, &Protected::nothing()).is_ok());
    let steps = vec![set_mode(MigMode::Disabled), create(ONE, 0, 1)];
    assert_eq!(refused(&empty(), steps), Breach::ModeOff);
}

#[test]
fn mode_and_reset_need_a_gpu_without_instances() {
    for (mig, step) in [(ON, set_mode(MigMode::Disabled)), (LEAVING, reset())] {
        let held = node(mig, vec![instance(3, ONE, 0, 1, &[])]);
        assert_eq!(caught(&node(mig, Vec::new()), &held, vec![step]), Breach::HasInstances(1));
    }
    let steps = vec![create(ONE, 0, 1), reset()];
    assert_eq!(refused(&empty(), steps), Breach::HasInstances(1));
}

#[test]
fn mode_reset_and_first_instance_need_a_gpu_without_processes() {
    for (mig, step) in
        [(ON, set_mode(MigMode::Disabled)), (LEAVING, reset()), (ON, create(ONE, 0, 1))]
    {
        let free = || node(mig, Vec::new());
        let breach = caught(&free(), &busy_whole(free()), vec![step]);
        assert_eq!(breach, Breach::HasProcesses { pid: 77 });
    }
}

#[test]
fn mode_change_spares_protected_instances_even_unseen_ones() {
    let protected = Protected::nothing().with_instance(
        uuid(),
        GpuInstanceId::new(9),
        InstanceProtection::Pinned,
    );
    let violations = check(&plan(vec![reset()]), &empty(), &protected).unwrap_err();
    assert_eq!(only(violations), Breach::HasProtected);
}

#[test]
fn grant_never_changes_the_gpu_itself() {
    for (mig, step) in [(OFF, set_mode(MigMode::Enabled)), (PENDING, reset())] {
        let steps = vec![step];
        let grant = Plan { purpose: Purpose::Grant(LeaseId::new(1)), steps: steps.clone() };
        let prepare = Plan { purpose: Purpose::Prepare, steps };
        let nothing = Protected::nothing();
        assert!(check(&prepare, &node(mig, Vec::new()), &nothing).is_ok());
        let violations = check(&grant, &node(mig, Vec::new()), &nothing).unwrap_err();
        assert_eq!(only(violations), Breach::ModeByGrant);
    }
}

#[test]
fn created_instance_must_be_legal_among_the_others() {
    let id = GpuInstanceProfileId::new;
    let overlap = LayoutError::Overlap(Placement::new(0, 4), Placement::new(3, 1));
    let taken = node(ON, vec![instance(10, ONE, 3, 1, &[])]);
    assert_eq!(caught(&empty(), &taken, vec![create(THREE, 0, 4)]), Breach::Illegal(overlap));
    let media = node(ON, vec![instance(13, ONE_MEDIA, 6, 1, &[])]);
    let many = Breach::Illegal(LayoutError::TooMany(id(ONE_MEDIA), 1));
    assert_eq!(caught(&empty(), &media, vec![create(ONE_MEDIA, 0, 1)]), many);
    let place = Breach::Illegal(LayoutError::IllegalPlacement(id(TWO), Placement::new(1, 2)));
    assert_eq!(refused(&empty(), vec![create(TWO, 1, 2)]), place);
    let unknown = Breach::Illegal(LayoutError::UnknownProfile(id(99)));
    assert_eq!(refused(&empty(), vec![create(99, 0, 1)]), unknown);
}

#[test]
fn engines_of_coexisting_instances_are_summed() {
    // On A30 the 2g with media takes the JPEG decoder and the flow accelerator; a 1g with media
    // beside it would need them again, though both fit in room and number.
    let mut snapshot = empty();
    let board = model::catalog::board("a30").unwrap();
    snapshot.gpus[0].geometry = Some(std::sync::Arc::new(board.geometry()));
    let steps = vec![create(6, 0, 2), create(21, 2, 1)];
    let taken = LayoutError::EnginesTaken(GpuInstanceProfileId::new(21));
    assert_eq!(refused(&snapshot, steps), Breach::Illegal(taken));
}

#[test]
fn compute_needs_its_gpu_instance() {
    let (compute, place) = whole(TWO);
    let step = create_compute((0, 2), compute.get(), 0, place.size.get());
    let with = node(ON, vec![bare(3, TWO, 0, 2)]);
    let missing = Breach::NoInstanceAt(Placement::new(0, 2));
    assert_eq!(caught(&with, &empty(), vec![step.clone()]), missing);
    assert!(check(&plan(vec![create(TWO, 0, 2), step]), &empty(), &Protected::nothing()).is_ok());
}

#[test]
fn compute_profile_must_belong_to_the_gpu_instance() {
    let (compute, _) = whole(THREE);
    let step = create_compute((0, 2), compute.get(), 0, 3);
    let bare = node(ON, vec![bare(3, TWO, 0, 2)]);
    let unknown = Breach::UnknownCompute { profile: GpuInstanceProfileId::new(TWO), compute };
    assert_eq!(refused(&bare, vec![step]), unknown);
}

#[test]
fn compute_must_lie_legally_and_alone() {
    let (one, _) = whole(ONE);
    let (two, _) = whole(TWO);
    let bare = node(ON, vec![bare(3, TWO, 0, 2)]);
    for (start, size) in [(2, 1), (0, 2)] {
        let step = create_compute((0, 2), one.get(), start, size);
        let illegal = Breach::IllegalCompute(one, Placement::new(start, size));
        assert_eq!(refused(&bare, vec![step]), illegal);
    }
    let both = |first, second| vec![create_compute((0, 2), one.get(), first, 1), second];
    let overlap = Breach::ComputeOverlap(Placement::new(0, 2), Placement::new(1, 1));
    assert_eq!(refused(&bare, both(1, create_compute((0, 2), two.get(), 0, 2))), overlap);
    let side = both(1, create_compute((0, 2), one.get(), 0, 1));
    assert!(check(&plan(side), &bare, &Protected::nothing()).is_ok());
}

/// A driver that lists a start beyond the end of the GPU instance is not believed.
#[test]
fn compute_stays_inside_its_gpu_instance() {
    let (one, _) = whole(ONE);
    let mut snapshot = node(ON, vec![bare(3, TWO, 0, 2)]);
    let mut geometry = (*a100()).clone();
    let two = geometry.profiles.iter_mut().find(|p| p.id.get() == TWO).unwrap();
    let compute = two.compute_profiles.iter_mut().find(|c| c.id == one).unwrap();
    compute.starts.push(model::SliceIndex::new(2));
    snapshot.gpus[0].geometry = Some(std::sync::Arc::new(geometry));
    let step = create_compute((0, 2), one.get(), 2, 1);
    let illegal = Breach::IllegalCompute(one, Placement::new(2, 1));
    assert_eq!(refused(&snapshot, vec![step]), illegal);
}

#[test]
fn compute_is_limited_in_number() {
    let (one, _) = whole(ONE);
    let mut snapshot = node(ON, vec![bare(3, TWO, 0, 2)]);
    let mut geometry = (*a100()).clone();
    let two = geometry.profiles.iter_mut().find(|p| p.id.get() == TWO).unwrap();
    two.compute_profiles.iter_mut().find(|c| c.id == one).unwrap().max_count = 1;
    snapshot.gpus[0].geometry = Some(std::sync::Arc::new(geometry));
    let steps = [0, 1].map(|start| create_compute((0, 2), one.get(), start, 1)).to_vec();
    assert_eq!(refused(&snapshot, steps), Breach::TooManyCompute(one, 1));
}

#[test]
fn destroyed_instance_must_be_the_one_meant() {
    let there = bare(3, TWO, 0, 2);
    let snapshot = node(ON, vec![there.clone()]);
    let step = destroy(&there);
    let missing = Breach::NoInstance(GpuInstanceId::new(3));
    assert_eq!(caught(&snapshot, &empty(), vec![step.clone()]), missing);
    for reused in [bare(3, TWO, 2, 2), bare(3, 15, 0, 2)] {
        let other = Breach::OtherInstance {
            instance: reused.id,
            profile: reused.profile,
            placement: reused.placement,
        };
        assert_eq!(caught(&snapshot, &node(ON, vec![reused]), vec![step.clone()]), other);
    }
    assert_eq!(refused(&snapshot, vec![step.clone(), step]), missing);
}

#[test]
fn destroyed_compute_must_be_the_one_meant() {
    let there = instance(3, TWO, 0, 2, &[]);
    let snapshot = node(ON, vec![there.clone()]);
    let steps = vec![destroy_compute(&there)];
    let none = Breach::NoCompute(GpuInstanceId::new(3), ComputeInstanceId::new(0));
    assert_eq!(caught(&snapshot, &node(ON, vec![bare(3, TWO, 0, 2)]), steps.clone()), none);
    let mut other = there.clone();
    other.compute_instances[0].profile = ComputeInstanceProfileId::new(0);
    other.compute_instances[0].placement = Placement::new(1, 1);
    let breach = Breach::OtherCompute {
        compute: ComputeInstanceId::new(0),
        profile: ComputeInstanceProfileId::new(0),
        placement: Placement::new(1, 1),
    };
    assert_eq!(caught(&snapshot, &node(ON, vec![other]), steps.clone()), breach);
    let moved = node(ON, vec![instance(3, TWO, 2, 2, &[])]);
    assert!(matches!(caught(&snapshot, &moved, steps), Breach::OtherInstance { .. }));
}

#[test]
fn busy_things_stay() {
    let idle = instance(3, TWO, 0, 2, &[]);
    let busy = node(ON, vec![instance(3, TWO, 0, 2, &[41])]);
    let sound = node(ON, vec![idle.clone()]);
    let steps = vec![destroy_compute(&idle)];
    assert_eq!(caught(&sound, &busy, steps), Breach::Busy { pid: 41 });
    assert_eq!(refused(&busy, vec![destroy(&idle)]), Breach::Busy { pid: 41 });
}

#[test]
fn protected_things_stay() {
    let idle = instance(3, TWO, 0, 2, &[]);
    let snapshot = node(ON, vec![idle.clone()]);
    let lease = InstanceProtection::Leased(LeaseId::new(5));
    for why in [lease, InstanceProtection::Pinned, InstanceProtection::Foreign] {
        let protected = Protected::nothing().with_instance(uuid(), idle.id, why);
        let steps = vec![destroy_compute(&idle), destroy(&idle)];
        let violations = check(&plan(steps), &snapshot, &protected).unwrap_err();
        let breaches: Vec<_> = violations.into_iter().map(|violation| violation.breach).collect();
        assert_eq!(breaches, [Breach::Protected(why), Breach::Protected(why)]);
    }
}

#[test]
fn protection_is_of_one_gpu() {
    let idle = instance(3, TWO, 0, 2, &[]);
    let snapshot = node(ON, vec![idle.clone()]);
    let other = model::GpuUuid::new("GPU-b");
    let protected = Protected::nothing()
        .with_instance(other.clone(), idle.id, InstanceProtection::Pinned)
        .with_gpu(other, GpuProtection::Maintenance);
    let steps = vec![destroy_compute(&idle), destroy(&idle)];
    assert!(check(&plan(steps), &snapshot, &protected).is_ok());
}

#[test]
fn destroy_does_not_cascade() {
    let idle = instance(3, TWO, 0, 2, &[]);
    let bare = node(ON, vec![bare(3, TWO, 0, 2)]);
    let with = node(ON, vec![idle.clone()]);
    assert_eq!(caught(&bare, &with, vec![destroy(&idle)]), Breach::HasCompute(1));
}

#[test]
fn every_violation_is_told_with_its_step() {
    let steps = vec![create(ONE, 0, 1), create(ONE, 0, 1), create(TWO, 2, 2), create(99, 0, 1)];
    let violations = check(&plan(steps), &empty(), &Protected::nothing()).unwrap_err();
    assert_eq!(violations.iter().map(|v| v.step).collect::<Vec<_>>(), [2, 4]);
    let words = violations[0].to_string();
    let expected = "step 2 (create a GPU instance of profile 19 at 0:1 on GPU-a): \
                    0:1 overlaps 0:1, which is taken";
    assert_eq!(words, expected);
}
