//! The proof that nobody uses what a lease had: two passes over every process that find nobody, and
//! the word of the driver.
//!
//! Must never do anything itself, and must never let "could not look" pass for "nobody".

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use broker::{Emptiness, GrantedSlice};
use model::{GpuUuid, Health, LeaseId, ProcessId};

use crate::readers::Look;

/// Passes that must find nobody: one alone can miss a descriptor that is handed on while it runs.
const PASSES: u32 = 2;

/// How a process holds a slice, the weightiest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hold {
    /// The driver says that it runs there.
    Runs,
    /// It has a device node of the slice open.
    Open,
    /// It is of the command the lease was taken for.
    Belongs,
    /// It inherited the lease.
    Inherited,
}

impl Hold {
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Runs => "runs on its slice",
            Self::Open => "has its device open",
            Self::Belongs => "belongs to its command",
            Self::Inherited => "inherited the lease",
        }
    }
}

/// What one pass saw, of every lease that was searched for together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sight {
    /// Processes by what they have open.
    pub(crate) open: BTreeMap<PathBuf, BTreeSet<u32>>,
    /// Why somebody may not have been seen.
    pub(crate) gap: Option<String>,
    /// Processes that belong to leases in another way.
    pub(crate) own: BTreeMap<LeaseId, BTreeMap<ProcessId, Hold>>,
}

/// The proof for one lease, in the making. Every pass and every look that it is given must have
/// begun after it was begun.
#[derive(Debug, Clone)]
pub(crate) struct Proof {
    nodes: BTreeSet<PathBuf>,
    slices: Vec<GrantedSlice>,
    whole: Vec<GpuUuid>,
    unasked: BTreeSet<GpuUuid>,
    passes: u32,
    found: BTreeMap<u32, Hold>,
    gaps: BTreeSet<String>,
}

/// What a proof came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// This is certain.
    Told(Emptiness),
    /// Whoever was found has ended meanwhile, and may have handed on what it held: it must be looked
    /// again.
    Unsettled,
}

impl Proof {
    /// Begins the proof for the slices of a lease, which are opened by `nodes`, and its whole GPUs.
    pub(crate) fn begin(
        slices: Vec<GrantedSlice>,
        whole: Vec<GpuUuid>,
        nodes: BTreeSet<PathBuf>,
    ) -> Self {
        let of_slices = slices.iter().map(|slice| &slice.key.gpu);
        let unasked = of_slices.chain(&whole).cloned().collect();
        let (found, gaps) = (BTreeMap::new(), BTreeSet::new());
        Self { nodes, slices, whole, unasked, passes: 0, found, gaps }
    }

    /// Does without the driver's word on a GPU: one that is lost has nobody on it that could still
    /// use it, and whoever has it open or belongs to the lease is found in `/proc`.
    pub(crate) fn without_driver(&mut self, gpu: &GpuUuid) {
        self.unasked.remove(gpu);
    }

    /// The device nodes to search for.
    pub(crate) const fn nodes(&self) -> &BTreeSet<PathBuf> {
        &self.nodes
    }

    /// The GPUs whose driver has not answered yet.
    pub(crate) const fn unasked(&self) -> &BTreeSet<GpuUuid> {
        &self.unasked
    }

    /// Notes a reason why nobody can be ruled out.
    pub(crate) fn doubt(&mut self, words: impl Into<String>) {
        self.gaps.insert(words.into());
    }

    fn note(&mut self, pid: u32, how: Hold) {
        self.found.entry(pid).and_modify(|known| *known = how.min(*known)).or_insert(how);
    }

    /// Takes in a pass; `lease` is whose proof this is.
    pub(crate) fn saw(&mut self, lease: LeaseId, pass: &Result<Sight, String>) {
        self.passes += 1;
        let sight = match pass {
            Ok(sight) => sight,
            Err(words) => return self.doubt(words.clone()),
        };
        let open: Vec<u32> =
            self.nodes.iter().filter_map(|node| sight.open.get(node)).flatten().copied().collect();
        for pid in open {
            self.note(pid, Hold::Open);
        }
        for (process, how) in sight.own.get(&lease).into_iter().flatten() {
            self.note(process.pid, *how);
        }
        if let Some(gap) = &sight.gap {
            self.doubt(gap.clone());
        }
    }

    /// Takes in the driver's word on one GPU.
    pub(crate) fn heard(&mut self, gpu: &GpuUuid, look: &Look) {
        if !self.unasked.remove(gpu) {
            return;
        }
        let snapshot = match look {
            Ok(snapshot) if snapshot.health == Health::Ok => snapshot,
            Ok(_) => {
                return self.doubt("the GPU is not well, so its driver cannot say who is on it");
            }
            Err(words) => {
                return self.doubt(format!("the driver cannot say who is on it: {words}"));
            }
        };
        let mut pids = Vec::new();
        for slice in self.slices.iter().filter(|slice| slice.key.gpu == *gpu) {
            let instance = snapshot.instance(slice.gpu_instance);
            let computes = instance.iter().flat_map(|instance| &instance.compute_instances);
            let here = computes.filter(|compute| compute.id == slice.compute_instance);
            pids.extend(here.flat_map(|compute| &compute.processes).map(|process| process.pid));
        }
        if self.whole.contains(gpu) {
            pids.extend(snapshot.processes.iter().map(|process| process.pid));
        }
        for pid in pids {
            self.note(pid, Hold::Runs);
        }
    }

    /// Whether more passes can change nothing: two found nobody, or one was enough to say no.
    pub(crate) fn is_searched(&self) -> bool {
        self.passes >= PASSES
            || (self.passes > 0 && !(self.found.is_empty() && self.gaps.is_empty()))
    }

    /// Whether everything is known.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_searched() && self.unasked.is_empty()
    }

    /// The end of it; `name` tells a process in words, if it still runs.
    pub(crate) fn verdict(self, mut name: impl FnMut(u32, Hold) -> Option<String>) -> Verdict {
        let named: Vec<String> =
            self.found.iter().filter_map(|(pid, how)| name(*pid, *how)).collect();
        let held_by: Vec<String> = named.into_iter().chain(self.gaps).collect();
        if held_by.is_empty() && !self.found.is_empty() {
            return Verdict::Unsettled;
        }
        Verdict::Told(Emptiness { held_by })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: LeaseId = LeaseId::new(1);
    const NODE: &str = "/dev/nvidia-caps/nvidia-cap22";

    fn begun() -> Proof {
        Proof::begin(Vec::new(), Vec::new(), BTreeSet::from([PathBuf::from(NODE)]))
    }

    fn clean() -> Sight {
        Sight::default()
    }

    fn opened_by(pid: u32) -> Sight {
        let open = BTreeMap::from([(PathBuf::from(NODE), BTreeSet::from([pid]))]);
        Sight { open, ..Sight::default() }
    }

    fn told(proof: Proof) -> Vec<String> {
        match proof.verdict(|pid, how| Some(format!("{pid} {}", how.words()))) {
            Verdict::Told(found) => found.held_by,
            Verdict::Unsettled => panic!("unsettled"),
        }
    }

    #[test]
    fn one_clean_pass_proves_nothing_and_two_prove_that_nobody_is_there() {
        let mut proof = begun();
        assert!(!proof.is_searched());
        proof.saw(LEASE, &Ok(clean()));
        assert!(!proof.is_searched() && !proof.is_complete());
        proof.saw(LEASE, &Ok(clean()));
        assert!(proof.is_complete());
        assert_eq!(told(proof), [""; 0]);
    }

    #[test]
    fn who_opens_a_node_between_the_passes_or_shows_in_one_alone_is_found() {
        for passes in [[clean(), opened_by(7)], [opened_by(7), clean()]] {
            let mut proof = begun();
            for pass in passes {
                if !proof.is_searched() {
                    proof.saw(LEASE, &Ok(pass));
                }
            }
            assert_eq!(told(proof), ["7 has its device open"]);
        }
    }

    #[test]
    fn a_pass_that_fails_blocks_every_lease_that_it_was_made_for() {
        let failed = Err("/proc cannot be read: Permission denied".to_owned());
        let gap = Some("pid 1 may not be looked into".to_owned());
        for (pass, words) in [
            (failed, "/proc cannot be read: Permission denied"),
            (Ok(Sight { gap, ..Sight::default() }), "pid 1 may not be looked into"),
        ] {
            for number in 1..=56 {
                let mut proof = begun();
                proof.saw(LeaseId::new(number), &Ok(clean()));
                proof.saw(LeaseId::new(number), &pass);
                assert_eq!(told(proof), [words]);
            }
        }
    }

    #[test]
    fn only_the_lease_whose_node_is_open_is_held() {
        let other = PathBuf::from("/dev/nvidia-caps/nvidia-cap31");
        let mut proof = Proof::begin(Vec::new(), Vec::new(), BTreeSet::from([other]));
        proof.saw(LEASE, &Ok(opened_by(7)));
        proof.saw(LEASE, &Ok(opened_by(7)));
        assert_eq!(told(proof), [""; 0]);
        let process = ProcessId { pid: 9, start_ticks: 1 };
        let own = BTreeMap::from([(LeaseId::new(2), BTreeMap::from([(process, Hold::Belongs)]))]);
        for (lease, held) in [(1, vec![]), (2, vec!["9 belongs to its command".to_owned()])] {
            let mut proof = begun();
            for _ in 0..2 {
                let sight = Sight { own: own.clone(), ..Sight::default() };
                proof.saw(LeaseId::new(lease), &Ok(sight));
            }
            assert_eq!(told(proof), held);
        }
    }

    #[test]
    fn without_the_driver_s_word_nothing_is_complete_and_its_failure_is_a_reason() {
        let gpu = GpuUuid::new("GPU-1");
        let mut proof = Proof::begin(Vec::new(), vec![gpu.clone()], BTreeSet::new());
        proof.saw(LEASE, &Ok(clean()));
        proof.saw(LEASE, &Ok(clean()));
        assert!(proof.is_searched() && !proof.is_complete());
        proof.heard(&gpu, &Err("NVML says: GPU is lost".to_owned()));
        assert!(proof.is_complete());
        assert_eq!(told(proof), ["the driver cannot say who is on it: NVML says: GPU is lost"]);
    }

    #[test]
    fn a_lost_gpu_needs_no_word_of_its_driver() {
        let gpu = GpuUuid::new("GPU-1");
        for (pass, held) in [(clean(), vec![]), (opened_by(7), vec!["7 has its device open"])] {
            let nodes = BTreeSet::from([PathBuf::from(NODE)]);
            let mut proof = Proof::begin(Vec::new(), vec![gpu.clone()], nodes);
            proof.without_driver(&gpu);
            let pass = Ok(pass);
            proof.saw(LEASE, &pass);
            proof.saw(LEASE, &pass);
            assert!(proof.is_complete());
            // An answer that comes all the same is not waited for and changes nothing.
            proof.heard(&gpu, &Err("NVML says: GPU is lost".to_owned()));
            assert_eq!(told(proof), held);
        }
    }

    #[test]
    fn who_was_found_and_has_ended_may_have_handed_on_what_it_held() {
        let mut proof = begun();
        proof.saw(LEASE, &Ok(opened_by(7)));
        assert!(proof.is_complete());
        assert_eq!(proof.verdict(|_, _| None), Verdict::Unsettled);
    }
}
