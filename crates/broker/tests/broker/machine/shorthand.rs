//! Shorthand for tests: requests, processes and questions in few words.
//!
//! Must never assert more than its name says.

use broker::{
    Command, Event, GpuSelector, Holder, Lease, Patience, Peer, Refusal, Reply, RequestSpec,
    SliceKey, Terms, Wanted,
};
use model::{LeaseId, ProcessId, Step, Tenant, Uid};

use super::{Advance, Process, Rig};

impl Rig {
    pub(crate) fn spec(&mut self, uid: u32, wanted: &str) -> RequestSpec {
        let client = self.new_process();
        RequestSpec {
            tenant: Tenant::new(format!("user{uid}")),
            uid: Uid::new(uid),
            wanted: Wanted::Profile(wanted.parse().expect("a profile")),
            count: 1,
            gpu: GpuSelector::Any,
            time: None,
            expect: None,
            patience: Patience::Forever,
            name: None,
            holder: Holder::Process { boot: self.boot_id(), client, command: None },
            command: None,
            terms: Terms::default(),
        }
    }

    pub(crate) fn request(&mut self, spec: RequestSpec) -> Result<LeaseId, Refusal> {
        match self.command(Command::Request(spec))?.reply {
            Reply::Lease(id) => Ok(id),
            Reply::Booking(_) | Reply::Change(_) | Reply::Done => {
                panic!("a request is answered with its lease")
            }
        }
    }

    /// A request that is carried through as far as it goes.
    pub(crate) fn ask(&mut self, uid: u32, wanted: &str) -> LeaseId {
        let spec = self.spec(uid, wanted);
        let id = self.request(spec).expect("accepted");
        self.settle();
        id
    }

    pub(crate) fn lease(&self, id: LeaseId) -> &Lease {
        self.state.lease(id).expect("a live lease")
    }

    pub(crate) fn client(&self, id: LeaseId) -> ProcessId {
        match self.lease(id).spec.holder {
            Holder::Process { client, .. } => client,
            _ => panic!("not held by a process"),
        }
    }

    /// Why a lease ended, if it did.
    pub(crate) fn ended(&self, id: LeaseId) -> Option<&broker::EndReason> {
        self.journal.iter().find_map(|stamped| match &stamped.event {
            Event::Ended { lease, reason, .. } if *lease == id => Some(reason),
            _ => None,
        })
    }

    /// The holder gives a lease back.
    pub(crate) fn release(&mut self, id: LeaseId) {
        let by = Peer { uid: self.lease(id).spec.uid, admin: false };
        self.command(Command::End { lease: id, by, holder: true }).expect("released");
        self.settle();
    }

    /// Starts a process of a lease on its slices.
    pub(crate) fn run_on(
        &mut self,
        id: LeaseId,
        listed: bool,
        dies_of: Option<broker::Stage>,
    ) -> ProcessId {
        let process = self.new_process();
        let on: Vec<SliceKey> = self.lease(id).slices.iter().map(|s| s.key.clone()).collect();
        let whole = self.lease(id).whole.clone();
        for gpu in on.iter().map(|key| &key.gpu).chain(&whole) {
            self.disturb(gpu);
        }
        let pid = process.pid;
        self.machine.start(Process { pid, lease: Some(id), on, whole, listed, dies_of });
        process
    }

    /// Proves the first running plan and does `count` of its steps.
    pub(crate) fn do_steps(&mut self, count: usize) {
        for _ in 0..=count {
            self.advance(0, Advance::Well);
        }
    }

    /// A process that belongs to nobody's lease, on an instance.
    pub(crate) fn stranger_on(&mut self, key: &SliceKey) -> u32 {
        let pid = self.new_process().pid;
        let (lease, on, whole, dies_of) = (None, vec![key.clone()], Vec::new(), None);
        self.machine.start(Process { pid, lease, on, whole, listed: true, dies_of });
        self.disturb(&key.gpu);
        pid
    }

    /// What a waiting request is told.
    pub(crate) fn why(&self, id: LeaseId) -> String {
        broker::explain(&self.state, &self.world(), self.lease(id))
    }

    pub(crate) fn is_active(&self, id: LeaseId) -> bool {
        self.state.lease(id).is_some_and(|l| matches!(l.phase, broker::Phase::Active { .. }))
    }

    pub(crate) fn is_queued(&self, id: LeaseId) -> bool {
        self.state.lease(id).is_some_and(|lease| lease.phase == broker::Phase::Queued)
    }

    /// Driver steps of every plan opened from event number `from` on.
    pub(crate) fn steps_since(&self, from: usize) -> Vec<Step> {
        let opened = self.journal[from..].iter().filter_map(|stamped| match &stamped.event {
            Event::PlanOpened { steps, .. } => Some(steps.steps.clone()),
            _ => None,
        });
        opened.flatten().collect()
    }
}
