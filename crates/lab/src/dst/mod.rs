//! Deterministic simulation: random users and faults by seed, the laws checked after every act.
//!
//! Must never depend on anything but the script: the same seed and the same acts break the same law
//! at the same event.

mod changes;
mod course;
mod coverage;
mod drain;
pub(crate) mod laws;
mod office;
mod rights;
mod shrink;
mod trouble;
mod users;
mod world;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub use coverage::{Coverage, NEEDED};
pub use shrink::shrink;

use crate::room::Seen;
use world::World;

/// What is done: the acts of one seed, without some of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// The seed.
    pub seed: u64,
    /// How many acts there are.
    pub acts: u64,
    /// Acts that are left out.
    pub without: BTreeSet<u64>,
}

impl Script {
    /// Every act of a seed.
    pub const fn whole(seed: u64, acts: u64) -> Self {
        Self { seed, acts, without: BTreeSet::new() }
    }
}

/// A law that was broken.
#[derive(Debug, Clone)]
pub struct Violation {
    /// The law, in a sentence.
    pub law: String,
    /// What was seen.
    pub text: String,
    /// During which act; the number of acts if it was at the end, when everybody leaves.
    pub act: u64,
    /// After how many events.
    pub event: u64,
    /// The newest events, oldest first, each with the act and the time it came of.
    pub tail: Vec<String>,
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Events written to the journal.
    pub events: u64,
    /// What happened how often.
    pub coverage: Coverage,
    /// The law that was broken, if one was.
    pub violation: Option<Box<Violation>>,
}

/// How many of the newest events a violation shows, if nobody says how many.
pub const TAIL: usize = 16;

/// Runs a script to its end or to the first broken law, of which the `tail` newest events are shown.
pub fn run(script: &Script, tail: usize) -> Outcome {
    let mut world = match World::new(script.seed, tail) {
        Ok(world) => world,
        Err(error) => return unbuilt(error.to_string()),
    };
    let mut at = 0;
    let ran = catch_unwind(AssertUnwindSafe(|| {
        for act in (0..script.acts).filter(|act| !script.without.contains(act)) {
            at = act;
            world.act(act)?;
        }
        at = script.acts;
        world.at = at;
        world.drain()
    }));
    let broken = match ran {
        Ok(Ok(())) => None,
        Ok(Err((law, text))) => Some((law.to_owned(), text)),
        Err(cause) => Some(("nothing panics".to_owned(), words(cause.as_ref()))),
    };
    let event = world.room.events;
    let violation = broken.map(|(law, text)| {
        world.take_note();
        let words = |(act, seen): &(u64, Seen)| {
            format!("act {act} at {} ms: {:?}", seen.at.as_millis(), seen.event)
        };
        let tail = world.newest.iter().map(words).collect();
        Box::new(Violation { law, text, act: at, event, tail })
    });
    Outcome { events: event, coverage: world.coverage, violation }
}

fn unbuilt(text: String) -> Outcome {
    let law = "the machine can be built".to_owned();
    let violation = Violation { law, text, act: 0, event: 0, tail: Vec::new() };
    Outcome { violation: Some(Box::new(violation)), ..Outcome::default() }
}

fn words(cause: &(dyn std::any::Any + Send)) -> String {
    let text = cause.downcast_ref::<String>().cloned();
    text.or_else(|| cause.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}
