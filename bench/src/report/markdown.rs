//! Tables.

use std::fmt::Write as _;
use std::fs;

use crate::compare::{Loaded, Results, Run, median};
use crate::growth;
use crate::options::{Compare, Conditions, Growth, Profile};
use crate::profile::Profiled;
use crate::scenario::Kind;
use crate::system::Who;
use crate::usage::Part;

const PARTS: [(Part, &str); 5] = [
    (Part::Api, "api"),
    (Part::Broker, "broker"),
    (Part::Consumer, "consumer"),
    (Part::Database, "database"),
    (Part::Clients, "clients"),
];

pub(super) fn compared(options: &Compare, results: &Results, plots: &[String]) -> String {
    let mut text = "# Onhand beside transactions per order\n\n".to_owned();
    text.push_str(&conditions(options.conditions));
    text.push_str("\n## Against what was promised\n\n");
    text.push_str(&promises(results));
    for plot in plots {
        // A line of its own for each.
        text.push_str(&format!("\n![{plot}]({plot})\n"));
    }
    text.push_str("\n## Full load, each outcome awaited\n\n");
    text.push_str(&full(results));
    text.push_str("\n## Full load, outcomes not awaited\n\n| scenario | system | accepted/s | decided/s |\n| --- | --- | ---: | ---: |\n");
    for (kind, who) in pairs(results, Loaded::NotAwaited) {
        let of = |figure: fn(&Run) -> f64| results.median(kind, who, Loaded::NotAwaited, figure).unwrap_or(f64::NAN);
        text.push_str(&format!(
            "| {} | {} | {:.0} | {:.0} |\n",
            kind.name(),
            who.name(),
            of(|run| run.answered),
            of(|run| run.decided)
        ));
    }
    text.push_str("\n## At a fixed rate (open loop)\n\n| scenario | system | rate | p50 ms | p99 ms | p99.9 ms |\n| --- | --- | ---: | ---: | ---: | ---: |\n");
    for loaded in [Loaded::HalfOfBaseline, Loaded::Half, Loaded::Idle] {
        for (kind, who) in pairs(results, loaded) {
            let of = |figure: fn(&Run) -> f64| results.median(kind, who, loaded, figure).unwrap_or(f64::NAN);
            let what = match loaded {
                Loaded::HalfOfBaseline => "half of the best baseline",
                Loaded::Half => "half of its own",
                Loaded::Idle | Loaded::Full | Loaded::NotAwaited => "idle",
            };
            text.push_str(&format!(
                "| {} | {} | {:.0}/s, {what} | {:.2} | {:.2} | {:.2} |\n",
                kind.name(),
                who.name(),
                of(|run| run.answered),
                of(|run| run.latency.p50),
                of(|run| run.latency.p99),
                of(|run| run.latency.p999)
            ));
        }
    }
    text.push_str("\n## What an order costs, at full load\n\n");
    text.push_str(&costs(results));
    text
}

/// What it ran on.
fn conditions(conditions: Conditions) -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib =
        memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    format!(
        "{cores} cores ({model}), {} GiB, shared by clients, api, broker, consumer and database. fsync on, synchronous_commit on, quorum \
         queues, publisher confirms. {} partitions. {} s measured after {} s of warm-up, {} alternating rounds, medians.\n",
        kib.unwrap_or(0) >> 20,
        conditions.partitions,
        conditions.seconds,
        conditions.warm_up,
        conditions.rounds
    )
}

/// The best baseline of a scenario: which, and how much it decides.
fn best(results: &Results, kind: Kind) -> Option<(Who, f64)> {
    pairs(results, Loaded::Full)
        .into_iter()
        .filter(|(of, who)| *of == kind && who.is_baseline())
        .filter_map(|(_, who)| Some((who, results.median(kind, who, Loaded::Full, |run| run.decided)?)))
        .max_by(|a, b| a.1.total_cmp(&b.1))
}

fn promises(results: &Results) -> String {
    let mut text = "| | at least | measured |\n| --- | --- | --- |\n".to_owned();
    for (kind, least) in [(Kind::Hot, 20.0), (Kind::Spread, 5.0), (Kind::Carts, 6.0)] {
        let decided = results.median(kind, Who::Onhand, Loaded::Full, |run| run.decided);
        if let (Some(ours), Some((who, theirs))) = (decided, best(results, kind)) {
            let ratio = ours / theirs;
            let verdict = if ratio >= least { "" } else { " — **not reached**" };
            let row = format!(
                "| decided/s `{}`, against {} | {least} times | {ratio:.1} times ({ours:.0} against {theirs:.0}){verdict} |\n",
                kind.name(),
                who.name()
            );
            text.push_str(&row);
        }
    }
    let p99 = |who| results.median(Kind::Hot, who, Loaded::HalfOfBaseline, |run| run.latency.p99);
    if let Some((who, _)) = best(results, Kind::Hot)
        && let (Some(ours), Some(theirs)) = (p99(Who::Onhand), p99(who))
    {
        let verdict = if ours <= theirs { "" } else { " — **not reached**" };
        text.push_str(&format!(
            "| p99 `hot` at half of {}'s full load | not above its own | {ours:.1} ms against {theirs:.1} ms{verdict} |\n",
            who.name()
        ));
    }
    if let Some(idle) = results.median(Kind::Spread, Who::Onhand, Loaded::Idle, |run| run.latency.p99) {
        let verdict = if idle < 15.0 { "" } else { " — **not reached**" };
        text.push_str(&format!("| p99 of an awaited order, idle | under 15 ms | {idle:.1} ms{verdict} |\n"));
    }
    let hot = results.median(Kind::Hot, Who::Onhand, Loaded::Full, |run| run.decided);
    if let (Some(drained), Some(hot)) = (median(results.drained.clone()), hot) {
        let verdict = if drained >= 2.0 * hot { "" } else { " — **not reached**" };
        let ratio = drained / hot;
        text.push_str(&format!(
            "| drain of a backlog | 2 times `hot` | {ratio:.1} times ({drained:.0}/s){verdict} |\n"
        ));
    }
    text
}

fn pairs(results: &Results, load: Loaded) -> Vec<(Kind, Who)> {
    let mut pairs: Vec<_> =
        results.runs.iter().filter(|run| run.load == load).map(|run| (run.scenario, run.system)).collect();
    pairs.sort_unstable();
    pairs.dedup();
    pairs
}

fn full(results: &Results) -> String {
    let mut text = "| scenario | system | clients | pool | decided/s | Onhand against it | refused/s | given up/s | p50 ms | p99 ms | p99.9 ms |\n\
                    | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        .to_owned();
    for (kind, who) in pairs(results, Loaded::Full) {
        let of = |figure: fn(&Run) -> f64| results.median(kind, who, Loaded::Full, figure).unwrap_or(f64::NAN);
        let run = results.runs.iter().find(|run| (run.scenario, run.system, run.load) == (kind, who, Loaded::Full));
        let (clients, pool) = run.map_or((0, None), |run| (run.clients, run.pool));
        let decided = of(|run| run.decided);
        let ours = results.median(kind, Who::Onhand, Loaded::Full, |run| run.decided).unwrap_or(f64::NAN);
        let pool = pool.map_or_else(String::new, |pool| pool.to_string());
        let row = format!(
            "| {} | {} | {clients} | {pool} | {decided:.0} | {:.1} | {:.0} | {:.0} | {:.1} | {:.1} | {:.1} |\n",
            kind.name(),
            who.name(),
            ours / decided,
            of(|run| run.refused),
            of(|run| run.failed),
            of(|run| run.latency.p50),
            of(|run| run.latency.p99),
            of(|run| run.latency.p999)
        );
        text.push_str(&row);
    }
    text
}

fn costs(results: &Results) -> String {
    let mut text = "CPU in seconds per 1,000 decisions; memory in MiB; batch: decisions per transaction of the whole database.\n\n| scenario | system |".to_owned();
    for (_, name) in PARTS {
        write!(text, " {name} |").ok();
    }
    text.push_str(" WAL bytes | rows | batch | memory: api | broker | consumer | database |\n| --- | --- |");
    text.push_str(&" ---: |".repeat(PARTS.len() + 7));
    text.push('\n');
    for loaded in [Loaded::Full, Loaded::NotAwaited] {
        for (kind, who) in pairs(results, loaded) {
            let is = |run: &&Run| (run.scenario, run.system, run.load) == (kind, who, loaded);
            let of = |figure: &dyn Fn(&Run) -> f64| {
                median(results.runs.iter().filter(is).map(figure).collect()).unwrap_or(f64::NAN)
            };
            let orders = |run: &Run| run.decided * run.usage.seconds;
            let note = if loaded == Loaded::Full { "" } else { ", not awaited" };
            write!(text, "| {} | {}{note} |", kind.name(), who.name()).ok();
            for (part, _) in PARTS {
                let cpu = of(&|run| run.usage.cpu.get(&part).copied().unwrap_or(0.0) / orders(run) * 1_000.0);
                write!(text, " {cpu:.3} |").ok();
            }
            let per_order = |figure: fn(&Run) -> i64| of(&|run| figure(run) as f64 / orders(run));
            let batch = of(&|run| orders(run) / run.usage.transactions as f64);
            let (wal, rows) = (per_order(|run| run.usage.wal), per_order(|run| run.usage.rows));
            write!(text, " {wal:.0} | {rows:.2} | {batch:.1} |").ok();
            for part in [Part::Api, Part::Broker, Part::Consumer, Part::Database] {
                let memory =
                    of(&|run| run.usage.memory.get(&part).map_or(0.0, |bytes| *bytes as f64 / f64::from(1 << 20)));
                write!(text, " {memory:.0} |").ok();
            }
            text.push('\n');
        }
    }
    text
}

pub(super) fn grown(options: &Growth, results: &growth::Results) -> String {
    let mut text = "# Onhand as it grows\n\n".to_owned();
    text.push_str(&conditions(options.conditions));
    text.push_str(
        "\n`spread`, each outcome awaited, 256 clients.\n\n| | decided/s | p99 ms |\n| --- | ---: | ---: |\n",
    );
    let mut seen = Vec::new();
    for grown in &results.grown {
        if seen.contains(&&grown.what) {
            continue;
        }
        seen.push(&grown.what);
        let p99 =
            median(results.grown.iter().filter(|other| other.what == grown.what).map(|grown| grown.p99).collect());
        let decided = results.median(&grown.what).unwrap_or(f64::NAN);
        text.push_str(&format!("| {} | {decided:.0} | {:.1} |\n", grown.what, p99.unwrap_or(f64::NAN)));
    }
    if let (Some(full), Some(empty)) = (results.median("much stored"), results.median("an empty store")) {
        text.push_str(&format!(
            "\nWith {} orders stored: {:.2} of an empty store's throughput (at least 0.9 is promised).\n",
            results.stored,
            full / empty
        ));
    }
    if let Some(backlog) = &results.backlog {
        let mib = |part| backlog.usage.memory.get(&part).copied().unwrap_or(0) >> 20;
        text.push_str(&format!(
            "\n{} orders waiting: accepted at {:.0}/s, drained at {:.0}/s; memory at the end: consumer {} MiB, broker {} MiB.\n",
            backlog.orders,
            backlog.accepted,
            backlog.drained,
            mib(Part::Consumer),
            mib(Part::Broker)
        ));
    }
    text
}

/// Longest part of a statement that is shown.
const STATEMENT_CHARACTERS_MAX: usize = 100;

pub(super) fn profiled(options: &Profile, profiled: &[Profiled]) -> String {
    let mut text = format!("# Where the time of an order goes: `{}`\n\n", options.scenario.name());
    text.push_str(&conditions(options.conditions));
    for Profiled { run, statements } in profiled {
        let orders = run.decided * run.usage.seconds;
        let awaited = if run.load == Loaded::Full { "awaited" } else { "not awaited" };
        let (decided, batch) = (run.decided, orders / run.usage.transactions as f64);
        text.push_str(&format!("\n## Outcomes {awaited}: {decided:.0} decided/s, {batch:.0} a transaction\n\n"));
        text.push_str("| process | CPU, µs per order |\n| --- | ---: |\n");
        for (part, name) in PARTS {
            let cpu = run.usage.cpu.get(&part).copied().unwrap_or(0.0) / orders * 1e6;
            text.push_str(&format!("| {name} | {cpu:.0} |\n"));
        }
        text.push_str("\n| statement | calls/s | planning, ms a call | execution, ms a call | µs per order |\n| --- | ---: | ---: | ---: | ---: |\n");
        for statement in statements {
            let calls = statement.calls as f64;
            let shown: String = statement
                .text
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
                .chars()
                .take(STATEMENT_CHARACTERS_MAX)
                .collect();
            text.push_str(&format!(
                "| `{}` | {:.0} | {:.2} | {:.2} | {:.1} |\n",
                shown.replace('|', "\\|"),
                calls / run.usage.seconds,
                statement.planning_ms / calls,
                statement.execution_ms / calls,
                (statement.planning_ms + statement.execution_ms) * 1_000.0 / orders
            ));
        }
    }
    text
}
