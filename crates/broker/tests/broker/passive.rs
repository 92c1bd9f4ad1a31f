//! A daemon that runs for the length of one command of an administrator.

use broker::{EndReason, Policy};
use model::Millis;

use crate::machine::Rig;

#[test]
fn nothing_is_granted_or_retired_by_itself_and_what_is_over_ends() {
    let mut rig = Rig::new(&["a30"]);
    let (first, second) = (rig.ask(1, "2g.12gb"), rig.ask(2, "1g.6gb"));
    rig.release(first);
    rig.settle();
    assert_eq!(rig.machine.node.gpus[0].instances.len(), 2, "one of them stays warm");
    rig.policy = Policy { passive: true, ..Policy::default() };
    let waits = rig.ask(3, "1g.6gb");
    rig.tick(Millis::from_secs(3600));
    rig.settle();
    assert!(rig.is_queued(waits) && rig.is_active(second));
    assert_eq!(rig.machine.node.gpus[0].instances.len(), 2, "nothing is retired");
    rig.exit(rig.client(second));
    rig.settle();
    assert_eq!(rig.ended(second), Some(&EndReason::HolderDied));
    rig.policy = Policy::default();
    rig.tick(Millis::from_secs(1));
    rig.settle();
    assert!(rig.is_active(waits), "the next daemon serves who waited");
}
