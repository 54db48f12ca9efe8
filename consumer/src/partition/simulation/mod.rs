//! The core in a small world of its own: queues, leases, locks, crashes and redelivery in memory, one step at a time, each drawn
//! from a seed. So a few seconds try more interleavings than servers could in days, and what fails once fails again.
//!
//! | real | modelled |
//! | --- | --- |
//! | [`decide_batch`](super::decide::decide_batch) and the core below it; the commands that a writer makes by itself | the queue: hands out in order, puts back in order what was not acknowledged, to one subscriber at a time |
//! | the order in which a writer fences, locks, reads, decides, commits, acknowledges and tells | the database: locks until the end of a transaction, all of it or nothing, unique ids and keys |
//!
//! [`Checker`] knows nothing of batches, warehouses or versions: it follows the log, one decision after the other, with a count of
//! pieces for each product. That it would find something is shown by [`Flaw`]s, each of which it must.

mod check;
mod world;
mod writer;

use std::time::Instant;

use check::Checker;
use world::World;

/// A way in which a writer might be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    /// Acknowledges before it has committed.
    AcknowledgesEarly,
    /// Does not look for what was decided before, and nothing is unique.
    DecidesTwice,
    /// Does not look at the epochs of its leases.
    IsNotFenced,
    /// Does not lock stock.
    LocksNoStock,
    /// Locks stock in the order in which it is named.
    LocksInNoOrder,
    /// Now and then commits a batch but for its last order.
    LosesAnOutcome,
    /// Tells outcomes before they are committed.
    TellsEarly,
}

const FLAWS: [Flaw; 7] = [
    Flaw::AcknowledgesEarly,
    Flaw::DecidesTwice,
    Flaw::IsNotFenced,
    Flaw::LocksNoStock,
    Flaw::LocksInNoOrder,
    Flaw::LosesAnOutcome,
    Flaw::TellsEarly,
];

/// What was done in a world.
#[derive(Debug, Default)]
struct Tally {
    steps: u64,
    decided: u64,
    crashes: u64,
    takeovers: u64,
    redelivered: u64,
}

const STEPS: u64 = 4_000;

/// The life of a world: trouble first, then quiet until nothing is left to do; and what the invariants say of it.
fn run(seed: u64, flaw: Option<Flaw>, tally: &mut Tally) -> Result<(), String> {
    let mut world = World::new(seed, flaw);
    let outcome = (|| {
        for _ in 0..STEPS {
            world.step()?;
        }
        world.settle()
    })();
    tally.steps += world.tally.steps;
    tally.decided += world.checker.decided();
    tally.crashes += world.tally.crashes;
    tally.takeovers += world.tally.takeovers;
    tally.redelivered += world.tally.redelivered;
    outcome
}

/// How many seeds are tried: more where somebody asks for more.
fn seeds() -> u64 {
    std::env::var("SIMULATION_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(60)
}

#[test]
fn whatever_happens_to_writers_every_invariant_holds() {
    let (mut tally, began) = (Tally::default(), Instant::now());
    for seed in 0..seeds() {
        run(seed, None, &mut tally).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
    }
    let rate = tally.steps as f64 / began.elapsed().as_secs_f64();
    println!("{tally:?}, {rate:.0} steps a second");
    // It would prove little of a world in which nothing went wrong.
    assert!(tally.decided > 0 && tally.crashes > 0 && tally.takeovers > 0 && tally.redelivered > 0, "{tally:?}");
}

#[test]
fn every_flaw_is_found() {
    for flaw in FLAWS {
        let found = (0..seeds()).find_map(|seed| Some((seed, run(seed, Some(flaw), &mut Tally::default()).err()?)));
        let (seed, broken) = found.unwrap_or_else(|| panic!("{flaw:?} was not found in {} seeds", seeds()));
        println!("{flaw:?}: seed {seed}: {broken}");
    }
}

#[test]
fn a_seed_is_the_same_world_each_time() {
    let world = |seed| {
        let mut tally = Tally::default();
        run(seed, None, &mut tally).map(|()| format!("{tally:?}"))
    };
    assert_eq!(world(7), world(7));
    assert_ne!(world(7), world(8));
}
