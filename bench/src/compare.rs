//! Every scenario against every system, side by side.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::ValueEnum as _;
use serde::Serialize;

use crate::bench::{Bench, Store};
use crate::load::{self, Latency, Load};
use crate::options::Compare;
use crate::report;
use crate::scenario::Kind;
use crate::system::{Shape, System, Who};
use crate::usage::{Meter, Usage};

const SEED: &str = "seed";
/// How long each is tried.
const TRIED: Duration = Duration::from_millis(1_500);
/// Orders that wait, whose drain is measured.
const BACKLOG_SECONDS: u64 = 12;
/// An idle system gets so many orders a second, one after the other.
const IDLE_RATE: f64 = 20.0;
const IDLE_TIME: Duration = Duration::from_secs(15);
/// Connections of an open loop: more than are ever busy.
const OPEN_CLIENTS: usize = 256;

/// One system under one load, once.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Run {
    pub(crate) scenario: Kind,
    pub(crate) system: Who,
    pub(crate) load: Loaded,
    pub(crate) clients: usize,
    pub(crate) pool: Option<u32>,
    /// Answers a second: decisions where they are awaited, else acceptances.
    pub(crate) answered: f64,
    pub(crate) decided: f64,
    pub(crate) refused: f64,
    pub(crate) failed: f64,
    pub(crate) latency: Latency,
    pub(crate) usage: Usage,
}

/// How it is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Loaded {
    /// As fast as it answers, each outcome awaited.
    Full,
    /// As fast as it accepts.
    NotAwaited,
    /// At half of what the best baseline can do in this scenario.
    HalfOfBaseline,
    /// At half of what it can do itself.
    Half,
    /// One order at a time, rarely.
    Idle,
}

/// Everything that was measured.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Results {
    pub(crate) runs: Vec<Run>,
    /// Decisions a second of a backlog, each time.
    pub(crate) drained: Vec<f64>,
}

pub(crate) async fn run(options: &Compare) -> anyhow::Result<()> {
    let scenarios = or_all(&options.scenarios, Kind::value_variants());
    let systems = or_all(&options.systems, Who::value_variants());
    let mut bench = Bench::start(&[]).await?;
    bench.fill(SEED, options.conditions.partitions).await?;
    let mut results = Results::default();
    let compared = compare(&mut bench, options, (&scenarios, &systems), &mut results).await;
    // Whatever went wrong, what was measured is told.
    report::write(options, &results)?;
    bench.stop().await?;
    compared
}

fn or_all<T: Copy>(some: &[T], all: &[T]) -> Vec<T> {
    if some.is_empty() { all.to_vec() } else { some.to_vec() }
}

async fn compare(
    bench: &mut Bench,
    options: &Compare,
    (scenarios, systems): (&[Kind], &[Who]),
    results: &mut Results,
) -> anyhow::Result<()> {
    let mut pools = BTreeMap::new();
    for (scenario, system) in pairs(scenarios, systems).filter(|(_, system)| system.is_baseline()) {
        let pool = best_pool(bench, options, scenario, system).await?;
        pools.insert((scenario, system), pool);
    }
    for round in 0..options.conditions.rounds {
        for &scenario in scenarios {
            let mut order = systems.to_vec();
            // Each system has its turn at every place.
            order.rotate_left(round % systems.len());
            for system in order {
                let pool = pools.get(&(scenario, system)).copied();
                full(bench, options, (scenario, system, pool), results).await?;
            }
        }
    }
    for round in 0..options.conditions.rounds {
        for &scenario in scenarios {
            half(bench, options, scenario, &pools, round, results).await?;
        }
        if systems.contains(&Who::Onhand) {
            idle(bench, results).await?;
            drain(bench, options, results).await?;
        }
    }
    Ok(())
}

fn pairs(scenarios: &[Kind], systems: &[Who]) -> impl Iterator<Item = (Kind, Who)> {
    scenarios.iter().flat_map(|scenario| systems.iter().map(|system| (*scenario, *system)))
}

/// The size of the pool with which a baseline decides most.
async fn best_pool(bench: &mut Bench, options: &Compare, scenario: Kind, who: Who) -> anyhow::Result<u32> {
    let store = bench.copy(SEED).await?;
    let mut best = (0.0, 1);
    for &pool in &options.pools {
        let system = System::start(&store, who, Shape { pool, ..Shape::default() }).await?;
        let clients = (2 * usize::try_from(pool)?).min(options.clients);
        let load = Load {
            warm_up: Duration::from_millis(500),
            measured: TRIED,
            ..load_of(&store, &system, scenario, clients)
        };
        let (seen, ()) = load::run(&load, async || Ok(())).await?;
        system.stop().await?;
        if seen.rate() > best.0 {
            best = (seen.rate(), pool);
        }
    }
    eprintln!("  {} {}: best with {} connections, about {:.0}/s", scenario.name(), who.name(), best.1, best.0);
    bench.drop(store).await?;
    Ok(best.1)
}

pub(crate) fn load_of(store: &Store, system: &System, kind: Kind, clients: usize) -> Load {
    Load {
        address: system.address,
        key: store.key.clone(),
        kind,
        products: store.products.clone(),
        clients,
        awaited: true,
        rate: None,
        warm_up: Duration::from_secs(1),
        measured: Duration::from_secs(1),
    }
}

/// At full load.
async fn full(
    bench: &mut Bench,
    options: &Compare,
    (scenario, who, pool): (Kind, Who, Option<u32>),
    results: &mut Results,
) -> anyhow::Result<()> {
    let store = bench.copy(SEED).await?;
    let shape = pool.map_or_else(Shape::default, |pool| Shape { pool, ..Shape::default() });
    let system = System::start(&store, who, shape).await?;
    let clients = pool.map_or(options.clients, |pool| 2 * pool as usize).min(options.clients);
    let base = Load {
        warm_up: options.conditions.warm_up(),
        measured: options.conditions.measured(),
        ..load_of(&store, &system, scenario, clients)
    };
    let loads: &[Loaded] = if who.is_baseline() { &[Loaded::Full] } else { &[Loaded::Full, Loaded::NotAwaited] };
    for &loaded in loads {
        let load = Load { awaited: loaded == Loaded::Full, ..base.clone() };
        let run = measure(&store, &system, &load, (who, loaded, pool)).await?;
        results.runs.push(run);
    }
    system.stop().await?;
    bench.drop(store).await
}

pub(crate) async fn measure(
    store: &Store,
    system: &System,
    load: &Load,
    (who, loaded, pool): (Who, Loaded, Option<u32>),
) -> anyhow::Result<Run> {
    let mut meter = Meter::new(store, system).await?;
    let (seen, usage) = load::run(load, async || {
        let before = meter.read(false).await?;
        tokio::time::sleep(load.measured).await;
        Ok(before.until(&meter.read(true).await?))
    })
    .await?;
    // What is awaited is counted alike for all, by who has asked.
    let awaited = load.awaited || who.is_baseline();
    let decided = if awaited { seen.rate() } else { usage.decided as f64 / usage.seconds };
    let run = Run {
        scenario: load.kind,
        system: who,
        load: loaded,
        clients: load.clients,
        pool,
        answered: seen.rate(),
        decided,
        refused: seen.refused as f64 / seen.seconds,
        failed: seen.failed as f64 / seen.seconds,
        latency: seen.latency(),
        usage,
    };
    eprintln!(
        "  {:8} {:12} {:16} {:>7.0} answered/s {:>7.0} decided/s {:>6.0} failed/s  p50 {:>6.1} p99 {:>7.1} ms",
        run.scenario.name(),
        who.name(),
        format!("{loaded:?}"),
        run.answered,
        run.decided,
        run.failed,
        run.latency.p50,
        run.latency.p99
    );
    Ok(run)
}

/// At half of what the best baseline can do, it and Onhand; then Onhand at half of its own.
async fn half(
    bench: &mut Bench,
    options: &Compare,
    scenario: Kind,
    pools: &BTreeMap<(Kind, Who), u32>,
    round: usize,
    results: &mut Results,
) -> anyhow::Result<()> {
    let best = pools.keys().filter(|(of, _)| *of == scenario).map(|(_, who)| *who);
    let rate = |who: Who| results.median(scenario, who, Loaded::Full, |run| run.decided);
    let best = best.filter_map(|who| Some((who, rate(who)?))).max_by(|a, b| a.1.total_cmp(&b.1));
    let mut wanted = Vec::new();
    if let Some((baseline, most)) = best {
        wanted =
            vec![(baseline, Loaded::HalfOfBaseline, most / 2.0), (Who::Onhand, Loaded::HalfOfBaseline, most / 2.0)];
    }
    if let Some(most) = rate(Who::Onhand) {
        wanted.push((Who::Onhand, Loaded::Half, most / 2.0));
    } else {
        wanted.retain(|(who, _, _)| *who != Who::Onhand);
    }
    let turns = wanted.len().max(1);
    wanted.rotate_left(round % turns);
    for (who, loaded, rate) in wanted {
        let store = bench.copy(SEED).await?;
        let pool = pools.get(&(scenario, who)).copied();
        let shape = pool.map_or_else(Shape::default, |pool| Shape { pool, ..Shape::default() });
        let system = System::start(&store, who, shape).await?;
        // Of the deferred ones each order is two decisions.
        let rate = if scenario.is_paid_later() { rate / 2.0 } else { rate };
        let load = Load {
            rate: Some(rate),
            warm_up: options.conditions.warm_up(),
            measured: options.conditions.measured(),
            ..load_of(&store, &system, scenario, OPEN_CLIENTS)
        };
        results.runs.push(measure(&store, &system, &load, (who, loaded, pool)).await?);
        system.stop().await?;
        bench.drop(store).await?;
    }
    Ok(())
}

/// Awaited orders on a system that has nothing else to do.
async fn idle(bench: &mut Bench, results: &mut Results) -> anyhow::Result<()> {
    let store = bench.copy(SEED).await?;
    let system = System::start(&store, Who::Onhand, Shape::default()).await?;
    let base = load_of(&store, &system, Kind::Spread, 1);
    let load = Load { rate: Some(IDLE_RATE), measured: IDLE_TIME, ..base };
    results.runs.push(measure(&store, &system, &load, (Who::Onhand, Loaded::Idle, None)).await?);
    system.stop().await?;
    bench.drop(store).await
}

/// Orders are accepted while nobody decides; then somebody does.
async fn drain(bench: &mut Bench, options: &Compare, results: &mut Results) -> anyhow::Result<()> {
    let store = bench.copy(SEED).await?;
    let mut system = System::start_api(&store, Who::Onhand, Shape::default()).await?;
    let base = load_of(&store, &system, Kind::Hot, options.clients);
    let load = Load { awaited: false, warm_up: Duration::ZERO, measured: Duration::from_secs(BACKLOG_SECONDS), ..base };
    let (seen, ()) = load::run(&load, async || Ok(())).await?;
    let (rate, _) = drained(&store, &mut system, seen.done).await?;
    eprintln!("  drain of {} waiting orders: {rate:.0}/s", seen.done);
    results.drained.push(rate);
    system.stop().await?;
    bench.drop(store).await
}

/// Starts a consumer and waits until it has decided what waits; answers with its rate, from the first decision it is seen to have made
/// on, and with what that has cost.
pub(crate) async fn drained(store: &Store, system: &mut System, waiting: u64) -> anyhow::Result<(f64, Usage)> {
    system.start_consumer()?;
    let mut meter = Meter::new(store, system).await?;
    let before = meter.decided().await?;
    let end = before + i64::try_from(waiting)?;
    let (mut began, mut first) = (tokio::time::Instant::now(), before);
    let mut reading = meter.read(false).await?;
    loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let decided = meter.decided().await?;
        if first == before && decided > before {
            (began, first) = (tokio::time::Instant::now(), decided);
            reading = meter.read(false).await?;
        }
        if decided >= end {
            let rate = (decided - first) as f64 / began.elapsed().as_secs_f64();
            return Ok((rate, reading.until(&meter.read(true).await?)));
        }
        anyhow::ensure!(began.elapsed() < Duration::from_secs(1_800), "the backlog was not decided");
    }
}

impl Results {
    /// The median over the rounds.
    pub(crate) fn median(&self, scenario: Kind, who: Who, load: Loaded, of: impl Fn(&Run) -> f64) -> Option<f64> {
        let is = |run: &&Run| run.scenario == scenario && run.system == who && run.load == load;
        median(self.runs.iter().filter(is).map(of).collect())
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (lower, upper) = (values.get(values.len().saturating_sub(1) / 2)?, values.get(values.len() / 2)?);
    Some(f64::midpoint(*lower, *upper))
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn a_median_lies_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(Vec::new()), None);
    }
}
