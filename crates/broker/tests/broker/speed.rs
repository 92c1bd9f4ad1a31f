//! How long a pass through a long queue takes; printed, not judged: machines differ.
//!
//! `cargo test --release -p broker --test broker -- speed --nocapture` prints the figures.

use std::time::Instant;

use broker::Patience;
use model::Millis;

use crate::machine::Rig;

#[test]
fn a_thousand_requests_on_eight_gpus() {
    let mut rig = Rig::new(&["a100-sxm4-40gb"; 8]);
    rig.policy.max_waiting_per_user = 10_000;
    let sizes = ["1g.5gb", "2g.10gb", "3g.20gb", "7g.40gb", "4g.20gb", "1g.10gb"];
    let asked = Instant::now();
    // The rest of a thousand is for builds that are made for speed.
    let requests: u32 = if cfg!(debug_assertions) { 200 } else { 1_000 };
    for number in 0..requests {
        let mut spec = rig.spec(number % 60, sizes[number as usize % sizes.len()]);
        spec.time = (number % 3 != 0).then(|| Millis::from_secs(60 + u64::from(number)));
        spec.terms.preemptible = number % 7 == 0;
        spec.patience = Patience::Forever;
        // Without the rig's own checks, which look at everything after each event.
        let mut state = std::mem::take(&mut rig.state);
        broker::decide(&mut state, &rig.world(), broker::Command::Request(spec)).expect("accepted");
        rig.state = state;
    }
    let asked = asked.elapsed() / requests;
    rig.now = rig.now.plus(rig.policy.drain_after);
    let mut slowest = std::time::Duration::ZERO;
    for _ in 0..5 {
        rig.now = rig.now.plus(Millis::from_secs(1));
        let mut state = rig.state.clone();
        let began = Instant::now();
        let decision = broker::decide(&mut state, &rig.world(), broker::Command::Tick);
        slowest = slowest.max(began.elapsed());
        rig.state = state;
        assert!(decision.is_ok());
    }
    let began = Instant::now();
    let order = broker::queue(&rig.state, &rig.world());
    let ordered = began.elapsed();
    assert_eq!(order.len(), rig.state.queue().count());
    assert!(order.len() as u32 > requests * 4 / 5);
    println!(
        "{} wait: a request {asked:?}, a pass {slowest:?}, the order {ordered:?}",
        order.len()
    );
}
