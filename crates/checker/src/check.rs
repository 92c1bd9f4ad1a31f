//! The walk through a plan.
//!
//! Must never stop at the first violation: whoever reads them wants all.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use model::{GpuInstanceId, GpuUuid, NodeSnapshot, Plan, Purpose, Step};

use crate::board::{Board, NamedCompute};
use crate::proof::Proof;
use crate::protect::{InstanceProtection, Protected};
use crate::violation::{Breach, Violation};

/// Proves that every step of `plan` is legal on `snapshot` at its moment and takes nothing from
/// anybody, and tells what the plan leaves behind.
///
/// # Errors
/// Every violation, in the order of the steps. A step that is refused is left out of the symbolic
/// execution, so later violations may follow from earlier ones.
pub fn check(
    plan: &Plan,
    snapshot: &NodeSnapshot,
    protected: &Protected,
) -> Result<Proof, Vec<Violation>> {
    let mut boards: BTreeMap<GpuUuid, Board> = BTreeMap::new();
    for uuid in plan.gpus() {
        if let Some(gpu) = snapshot.gpu(uuid) {
            boards.insert(uuid.clone(), Board::new(gpu));
        }
    }
    let mut violations = Vec::new();
    for (index, step) in plan.steps.iter().enumerate() {
        let uuid = step.gpu();
        let done = match boards.get_mut(uuid) {
            None => Err(Breach::NoSuchGpu),
            Some(board) => {
                allowed(step, &plan.purpose, protected, board).and_then(|()| execute(step, board))
            }
        };
        if let Err(breach) = done {
            let what = alloc::format!("{step}");
            violations.push(Violation { step: index + 1, gpu: uuid.clone(), what, breach });
        }
    }
    if violations.is_empty() {
        let ends = boards.into_iter().map(|(uuid, board)| (uuid, board.expected()));
        Ok(Proof { gpus: ends.collect() })
    } else {
        Err(violations)
    }
}

/// Proves that all of a GPU can be handed over as it is: nothing lies or runs there, nobody has it,
/// and MIG is off.
///
/// # Errors
/// The first rule that is broken.
pub fn check_whole(
    gpu: &GpuUuid,
    snapshot: &NodeSnapshot,
    protected: &Protected,
) -> Result<(), Breach> {
    if let Some(why) = protected.gpus.get(gpu) {
        return Err(Breach::GpuProtected(*why));
    }
    if protected.any_on(gpu) {
        return Err(Breach::HasProtected);
    }
    Board::new(snapshot.gpu(gpu).ok_or(Breach::NoSuchGpu)?).whole()
}

/// The rules that do not depend on what lies where: whose it is, and whether the GPU is well.
fn allowed(
    step: &Step,
    purpose: &Purpose,
    protected: &Protected,
    board: &Board,
) -> Result<(), Breach> {
    let uuid = step.gpu();
    if let Some(why) = protected.gpus.get(uuid) {
        return Err(Breach::GpuProtected(*why));
    }
    if !matches!(step, Step::ResetGpu { .. }) {
        board.healthy()?;
    }
    let stays = |id: GpuInstanceId| {
        protected.instance(uuid, id).map_or(Ok(()), |why| Err(Breach::Protected(why)))
    };
    // What is foreign is nobody's that we know; an administrator may add to it.
    let has = |id: GpuInstanceId| {
        let why = protected.instance(uuid, id);
        why.filter(|why| !matches!(why, InstanceProtection::Foreign))
    };
    let takes_back = matches!(step, Step::SetMigMode { mode, .. } if board.takes_back(*mode));
    match step {
        Step::SetMigMode { .. } | Step::ResetGpu { .. } => {
            if matches!(purpose, Purpose::Grant(_)) {
                return Err(Breach::ModeByGrant);
            }
            let spared = takes_back || !protected.any_on(uuid);
            if spared { Ok(()) } else { Err(Breach::HasProtected) }
        }
        Step::DestroyComputeInstance { gpu_instance, .. }
        | Step::DestroyGpuInstance { gpu_instance, .. } => stays(*gpu_instance),
        Step::CreateComputeInstance { at, .. } => match board.instance_at(*at).map(has) {
            Some(Some(why)) => Err(Breach::ProtectedFromOthers(why)),
            Some(None) | None => Ok(()),
        },
        Step::CreateGpuInstance { .. } => Ok(()),
    }
}

fn execute(step: &Step, board: &mut Board) -> Result<(), Breach> {
    match step {
        Step::SetMigMode { mode, .. } => board.set_mode(*mode),
        Step::ResetGpu { .. } => board.reset(),
        Step::DestroyComputeInstance {
            gpu_instance,
            at,
            compute_instance,
            profile,
            placement,
            ..
        } => board.destroy_compute(NamedCompute {
            gpu_instance: *gpu_instance,
            at: *at,
            id: *compute_instance,
            profile: *profile,
            placement: *placement,
        }),
        Step::DestroyGpuInstance { gpu_instance, profile, placement, .. } => {
            board.destroy_instance(*gpu_instance, *profile, *placement)
        }
        Step::CreateGpuInstance { profile, placement, .. } => {
            board.create_instance(*profile, *placement)
        }
        Step::CreateComputeInstance { at, profile, placement, .. } => {
            board.create_compute(*at, *profile, *placement)
        }
    }
}
