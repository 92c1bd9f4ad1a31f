//! The one thread that searches the machine for users of ending leases: pass after pass, each for
//! all leases that are due, as long as one is.
//!
//! A lease that begins to end during a pass waits for the next one, so that both passes of its proof
//! began after it began to end. Must never wait for a driver.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use broker::{Command, Phase};
use host::processes::{Arguments, describe};
use host::{Seeker, Users};
use model::{GpuUuid, Health, LeaseId};

use crate::executor::chain;
use crate::hands::Hands;
use crate::holders::{self, Claim};
use crate::proof::{Proof, Sight, Verdict};
use crate::published::Published;
use crate::readers::Look;

/// From how many leases on the thread rests after each pass, for as long as the pass took. A
/// pass costs the same for one lease and for all, so that a crowd is served better by fewer of them;
/// half a core at most is spent on searching then.
const CROWD: usize = 8;
const REST: u32 = 1;

/// What the thread is told.
#[derive(Debug)]
enum Order {
    /// A lease must be looked at; the picture is one in which it is already ending.
    Look(LeaseId, Box<Published>),
    /// A driver's answer for a proof.
    Heard(LeaseId, u64, GpuUuid, Box<Look>),
}

/// The way to have leases looked at.
#[derive(Debug, Clone)]
pub(crate) struct Searcher(Sender<Order>);

/// The orders to a thread that is not started yet.
#[derive(Debug)]
pub(crate) struct Orders(Receiver<Order>);

impl Searcher {
    /// The two ends of the way.
    pub(crate) fn new() -> (Self, Orders) {
        let (sender, orders) = channel();
        (Self(sender), Orders(orders))
    }

    /// Has a lease looked at as soon as its pace allows; at once if it was not looked at before.
    pub(crate) fn look(&self, lease: LeaseId, picture: &Published) {
        let _ = self.0.send(Order::Look(lease, Box::new(picture.clone())));
    }
}

/// Starts the thread.
///
/// # Errors
/// If the system has none left.
pub(crate) fn start(hands: Hands, orders: Orders) -> std::io::Result<()> {
    let search = Search {
        hands,
        picture: None,
        timing: BTreeMap::new(),
        begun: BTreeMap::new(),
        number: 0,
        seeker: Seeker::default(),
    };
    let work = move || search.serve(&orders.0);
    std::thread::Builder::new().name("searcher".to_owned()).spawn(work).map(drop)
}

/// How a lease is paced.
#[derive(Debug)]
struct Timing {
    /// When the last look began.
    last: Option<Instant>,
    /// Since when it has been ending, as far as this thread knows.
    ending_since: Instant,
    /// Whether a look is wanted.
    wanted: bool,
}

impl Timing {
    /// Between two looks: short while somebody may be waiting for the end, long where processes
    /// stay for hours. A look goes through every process of the machine.
    fn pause(&self) -> Duration {
        match self.ending_since.elapsed().as_secs() {
            0..=1 => Duration::from_millis(50),
            2..=4 => Duration::from_millis(150),
            5..=59 => Duration::from_secs(2),
            _ => Duration::from_secs(10),
        }
    }

    fn due(&self) -> Option<Instant> {
        let last = self.last.map(|last| last + self.pause());
        self.wanted.then(|| last.unwrap_or(self.ending_since))
    }
}

/// A lease that is being looked at.
#[derive(Debug)]
struct Begun {
    /// Tells answers for this look from those for an earlier one.
    number: u64,
    proof: Proof,
    /// Who belongs to the lease whether it uses a slice or not.
    claim: Option<Claim>,
}

#[derive(Debug)]
struct Search {
    hands: Hands,
    picture: Option<Box<Published>>,
    timing: BTreeMap<LeaseId, Timing>,
    begun: BTreeMap<LeaseId, Begun>,
    number: u64,
    seeker: Seeker,
}

impl Search {
    fn serve(mut self, orders: &Receiver<Order>) {
        while self.listen(orders) {
            self.begin_due();
            let begun = Instant::now();
            let searched_for = self.pass();
            let took = begun.elapsed();
            self.tell_complete();
            if searched_for >= CROWD {
                std::thread::sleep(took * REST);
            }
        }
    }

    /// Takes in what was ordered; waits if there is nothing to do. False when nobody orders any
    /// more.
    fn listen(&mut self, orders: &Receiver<Order>) -> bool {
        let searching = self.begun.values().any(|begun| !begun.proof.is_searched());
        if !searching {
            // Nothing is kept open for a search that may come in an hour.
            self.seeker = Seeker::default();
            let now = Instant::now();
            let idle = self.timing.iter().filter(|(id, _)| !self.begun.contains_key(id));
            let next = idle.filter_map(|(_, timing)| timing.due()).min();
            let order = match next {
                Some(due) => orders.recv_timeout(due.saturating_duration_since(now)),
                None => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match order {
                Ok(order) => self.take(order),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        for order in orders.try_iter() {
            self.take(order);
        }
        true
    }

    fn take(&mut self, order: Order) {
        match order {
            Order::Look(lease, picture) => {
                self.picture = Some(picture);
                let now = Instant::now();
                let fresh = || Timing { last: None, ending_since: now, wanted: false };
                self.timing.entry(lease).or_insert_with(fresh).wanted = true;
            }
            Order::Heard(lease, number, gpu, look) => {
                let begun = self.begun.get_mut(&lease).filter(|begun| begun.number == number);
                if let Some(begun) = begun {
                    begun.proof.heard(&gpu, &look);
                }
            }
        }
    }

    /// Begins the looks that are due.
    fn begin_due(&mut self) {
        let Some(picture) = self.picture.take() else { return };
        let now = Instant::now();
        let ending = |id: &LeaseId| {
            let lease = picture.state.lease(*id);
            lease.filter(|lease| matches!(lease.phase, Phase::Ending { .. }))
        };
        self.timing.retain(|id, _| ending(id).is_some());
        let mut due = Vec::new();
        for (id, timing) in &mut self.timing {
            if !self.begun.contains_key(id) && timing.due().is_some_and(|due| due <= now) {
                timing.wanted = false;
                timing.last = Some(now);
                due.push(*id);
            }
        }
        for id in due {
            let Some(lease) = ending(&id) else { continue };
            self.hands.access.before_look(&picture.state, &picture.observed, id);
            let mut nodes = BTreeSet::new();
            let mut unknown = false;
            for slice in &lease.slices {
                match picture.observed.gpu(&slice.key.gpu) {
                    Some(gpu) => nodes.extend(holders::nodes(&self.hands, gpu.minor, slice)),
                    None => unknown = true,
                }
            }
            let mut proof = Proof::begin(lease.slices.clone(), lease.whole.clone(), nodes);
            if unknown {
                proof.doubt("its GPU is not on this machine now, so nobody can be ruled out");
            }
            for gpu in proof.unasked().clone() {
                let well = picture.observed.gpu(&gpu).is_some_and(|gpu| gpu.health == Health::Ok);
                if !well && picture.state.quarantine.contains_key(&gpu) {
                    proof.without_driver(&gpu);
                }
            }
            self.number += 1;
            let number = self.number;
            for gpu in proof.unasked() {
                let (searcher, of) = (self.hands.searcher.clone(), gpu.clone());
                self.hands.readers.ask(gpu, move |look| {
                    let _ = searcher.0.send(Order::Heard(id, number, of, Box::new(look.clone())));
                });
            }
            let claim = Claim::of(&self.hands, lease);
            self.begun.insert(id, Begun { number, proof, claim });
        }
        self.picture = Some(picture);
    }

    /// One pass for all leases that need one; how many they are.
    fn pass(&mut self) -> usize {
        let searched = self.begun.iter().filter(|(_, begun)| !begun.proof.is_searched());
        let searched: Vec<(LeaseId, &Begun)> = searched.map(|(id, begun)| (*id, begun)).collect();
        let count = searched.len();
        if count == 0 {
            return count;
        }
        let nodes: BTreeSet<&PathBuf> =
            searched.iter().flat_map(|(_, begun)| begun.proof.nodes()).collect();
        let nodes: Vec<PathBuf> = nodes.into_iter().cloned().collect();
        let claims: BTreeMap<LeaseId, &Claim> =
            searched.iter().filter_map(|(id, begun)| Some((*id, begun.claim.as_ref()?))).collect();
        let (hands, seeker) = (&self.hands, &mut self.seeker);
        let sight = catch_unwind(AssertUnwindSafe(|| sight(hands, seeker, &nodes, &claims)));
        let sight = sight.unwrap_or_else(|_| Err("the search broke down".to_owned()));
        for (id, begun) in &mut self.begun {
            if !begun.proof.is_searched() {
                begun.proof.saw(*id, &sight);
            }
        }
        count
    }

    /// Tells the actor of the leases about which everything is known.
    fn tell_complete(&mut self) {
        let complete: Vec<LeaseId> = self
            .begun
            .iter()
            .filter(|(_, begun)| begun.proof.is_complete())
            .map(|(id, _)| *id)
            .collect();
        if complete.is_empty() {
            return;
        }
        let mut users = None;
        for lease in complete {
            let Some(begun) = self.begun.remove(&lease) else { continue };
            let verdict = begun.proof.verdict(|pid, how| {
                let users = users.get_or_insert_with(Users::load);
                let found = describe(pid, users, Arguments::Hidden)?;
                let how = how.words();
                Some(format!("pid {pid} ({}, user {}) {how}", found.command, found.user))
            });
            match verdict {
                Verdict::Told(found) => self.hands.tell(Command::Looked { lease, found }),
                Verdict::Unsettled => {
                    if let Some(timing) = self.timing.get_mut(&lease) {
                        timing.wanted = true;
                    }
                }
            }
        }
    }
}

/// One pass over every process of the machine.
fn sight(
    hands: &Hands,
    seeker: &mut Seeker,
    nodes: &[PathBuf],
    claims: &BTreeMap<LeaseId, &Claim>,
) -> Result<Sight, String> {
    let mut sight = Sight::default();
    if !claims.is_empty() {
        sight.own = holders::claimed(claims)?;
    }
    let found = seeker.search(nodes).map_err(|error| chain(&error))?;
    for holder in found.holders {
        sight.open.entry(holder.path).or_default().insert(holder.process.pid);
    }
    if hands.others && !found.incomplete.is_complete() {
        sight.gap = Some(holders::incomplete(&found.incomplete));
    }
    Ok(sight)
}
