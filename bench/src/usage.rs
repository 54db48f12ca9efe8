//! What a run has cost: CPU and memory by process, WAL, rows and transactions.

use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

use anyhow::Context as _;
use serde::Serialize;
use sqlx::{Connection as _, PgConnection};

use crate::bench::Store;
use crate::system::System;

/// Whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Part {
    Api,
    Consumer,
    Broker,
    Database,
    /// The clients, which share the machine.
    Clients,
}

/// What was used so far.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    cpu: BTreeMap<Part, f64>,
    memory: BTreeMap<Part, u64>,
    wal: i64,
    rows: i64,
    transactions: i64,
    decided: i64,
    at: Instant,
}

/// What was used between two readings.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Usage {
    /// Seconds of CPU.
    pub(crate) cpu: BTreeMap<Part, f64>,
    /// Bytes at the end, shared memory counted once.
    pub(crate) memory: BTreeMap<Part, u64>,
    /// Bytes.
    pub(crate) wal: i64,
    /// Inserted, updated or deleted.
    pub(crate) rows: i64,
    pub(crate) transactions: i64,
    /// By the numbers of the partitions: of Onhand alone.
    pub(crate) decided: i64,
    /// Between the two.
    pub(crate) seconds: f64,
}

/// Reads what a store and its system have used.
pub(crate) struct Meter {
    connection: PgConnection,
    api: u32,
    consumers: Vec<u32>,
}

impl Meter {
    pub(crate) async fn new(store: &Store, system: &System) -> anyhow::Result<Self> {
        let connection = PgConnection::connect(&store.database_url).await?;
        let api = system.api.id().context("the api has ended")?;
        Ok(Self { connection, api, consumers: system.consumers.iter().filter_map(tokio::process::Child::id).collect() })
    }

    /// What was used so far; `memory` too where that is asked for, which takes a while.
    pub(crate) async fn read(&mut self, memory: bool) -> anyhow::Result<Reading> {
        // A session reports what it has done at the latest a second after.
        let (rows, transactions): (i64, i64) = sqlx::query_as(
            "SELECT tup_inserted + tup_updated + tup_deleted, xact_commit FROM pg_stat_database WHERE datname = current_database()",
        )
        .fetch_one(&mut self.connection)
        .await?;
        let (wal, decided): (i64, i64) = sqlx::query_as(
            "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint, (SELECT sum(sequence)::bigint FROM partitions)",
        )
        .fetch_one(&mut self.connection)
        .await?;
        let at = Instant::now();
        let (cpu, memory) = self.processes(memory)?;
        Ok(Reading { cpu, memory, wal, rows, transactions, decided, at })
    }

    /// Decisions so far, of Onhand.
    pub(crate) async fn decided(&mut self) -> anyhow::Result<i64> {
        let decided = sqlx::query_scalar("SELECT sum(sequence)::bigint FROM partitions");
        Ok(decided.fetch_one(&mut self.connection).await?)
    }

    fn processes(&self, with_memory: bool) -> anyhow::Result<(BTreeMap<Part, f64>, BTreeMap<Part, u64>)> {
        let all: Vec<Process> = fs::read_dir("/proc")?
            .flatten()
            .filter_map(|entry| Process::read(entry.file_name().to_str()?.parse().ok()?))
            .collect();
        let is_ours = |process: &Process| {
            let mut at = process.parent;
            while at != std::process::id() {
                match all.iter().find(|process| process.id == at) {
                    Some(parent) => at = parent.parent,
                    None => return false,
                }
            }
            true
        };
        let (mut cpu, mut memory) = (BTreeMap::new(), BTreeMap::new());
        for process in &all {
            let part = match process.name.as_str() {
                _ if process.id == std::process::id() => Part::Clients,
                _ if process.id == self.api => Part::Api,
                _ if self.consumers.contains(&process.id) => Part::Consumer,
                "postgres" if is_ours(process) => Part::Database,
                "beam.smp" if is_ours(process) => Part::Broker,
                _ => continue,
            };
            // Sessions that have ended are their parent's.
            let ended = if part == Part::Database { process.ended_ticks } else { 0 };
            let ticks_a_second = rustix::param::clock_ticks_per_second();
            *cpu.entry(part).or_default() += (process.ticks + ended) as f64 / ticks_a_second as f64;
            if with_memory {
                *memory.entry(part).or_default() += process.memory();
            }
        }
        Ok((cpu, memory))
    }
}

impl Reading {
    pub(crate) fn until(&self, later: &Self) -> Usage {
        let cpu = later.cpu.iter().map(|(part, used)| (*part, used - self.cpu.get(part).copied().unwrap_or(0.0)));
        Usage {
            cpu: cpu.collect(),
            memory: later.memory.clone(),
            wal: later.wal - self.wal,
            rows: later.rows - self.rows,
            transactions: later.transactions - self.transactions,
            decided: later.decided - self.decided,
            seconds: (later.at - self.at).as_secs_f64(),
        }
    }
}

struct Process {
    id: u32,
    parent: u32,
    name: String,
    ticks: u64,
    ended_ticks: u64,
}

impl Process {
    /// `None` where it has ended meanwhile.
    fn read(id: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // The name stands in brackets and may hold anything.
        let (head, tail) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = tail.split(' ').collect();
        let number = |n: usize| fields.get(n)?.parse::<u64>().ok();
        Some(Self {
            id,
            parent: u32::try_from(number(1)?).ok()?,
            name: head.split_once('(')?.1.to_owned(),
            ticks: number(11)? + number(12)?,
            ended_ticks: number(13)? + number(14)?,
        })
    }

    /// Its share of what is in memory, in bytes.
    fn memory(&self) -> u64 {
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.id)).unwrap_or_default();
        let kib =
            rollup.lines().find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.unwrap_or(0) * 1_024
    }
}
