//! Benchmarks: Onhand and what a team would write instead, side by side, in one run on the same machine.
//!
//! | module | what it does |
//! | --- | --- |
//! | `options` | the command line |
//! | `bench` | private servers, with a seeded store that each system gets a copy of |
//! | `system` | a system under load: Onhand or a baseline, as processes |
//! | `baseline` | transactions per order, behind the same api |
//! | `scenario` | what is ordered |
//! | `load` | clients: closed loop, and open loop at a fixed rate |
//! | `usage` | what a run has cost: CPU by process, memory, WAL, rows |
//! | `compare` | every scenario against every system, in alternating rounds |
//! | `growth` | the same with much stored, much waiting, other numbers of partitions and consumers |
//! | `profile` | where the time of an order goes |
//! | `report` | tables, JSON, plots |
//!
//! One executable plays every part, as in `dev`: started again with the name of a part it is that part.

mod baseline;
mod bench;
mod compare;
mod growth;
mod load;
mod options;
mod profile;
mod report;
mod scenario;
mod system;
mod usage;

use std::ffi::OsStr;
use std::process::ExitCode;

use clap::Parser as _;
use common::steps::Steps;

fn main() -> ExitCode {
    let first = std::env::args_os().nth(1);
    match first.as_deref().and_then(OsStr::to_str) {
        Some(servers::GUARD_ARGUMENT | system::API | system::CONSUMER) => dev::main(Steps::none()),
        Some(baseline::ARGUMENT) => baseline::main(),
        _ => match run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error:#}");
                ExitCode::FAILURE
            }
        },
    }
}

fn run() -> anyhow::Result<()> {
    let options = options::Options::parse();
    // One thread: the clients leave the machine to what is measured.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match options.command {
            options::Command::Compare(what) => compare::run(&what).await,
            options::Command::Growth(what) => growth::run(&what).await,
            options::Command::Profile(what) => profile::run(&what).await,
        }
    })
}
