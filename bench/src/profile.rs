//! Where the time of an order goes: CPU by process, and the statements of the database.

use serde::Serialize;
use sqlx::{Connection as _, FromRow, PgConnection};

use crate::bench::Bench;
use crate::compare::{Loaded, Run, load_of, measure};
use crate::load::Load;
use crate::options::Profile;
use crate::report;
use crate::system::{Shape, System, Who};

/// Statements that are told of.
const STATEMENTS: i64 = 14;

/// A run, and what the database did in it.
#[derive(Debug, Serialize)]
pub(crate) struct Profiled {
    pub(crate) run: Run,
    pub(crate) statements: Vec<Statement>,
}

/// A statement, over all its calls.
#[derive(Debug, Serialize, FromRow)]
pub(crate) struct Statement {
    pub(crate) text: String,
    pub(crate) calls: i64,
    pub(crate) planning_ms: f64,
    pub(crate) execution_ms: f64,
}

pub(crate) async fn run(options: &Profile) -> anyhow::Result<()> {
    let statements = [("shared_preload_libraries", "pg_stat_statements"), ("pg_stat_statements.track_planning", "on")];
    let mut bench = Bench::start(&statements).await?;
    bench.execute("CREATE EXTENSION pg_stat_statements").await?;
    bench.fill("seed", options.conditions.partitions).await?;
    let mut admin = PgConnection::connect(bench.admin_url()).await?;
    let mut profiled = Vec::new();
    for loaded in [Loaded::Full, Loaded::NotAwaited] {
        let store = bench.copy("seed").await?;
        let system = System::start(&store, Who::Onhand, Shape::default()).await?;
        let load = Load {
            awaited: loaded == Loaded::Full,
            warm_up: options.conditions.warm_up(),
            measured: options.conditions.measured(),
            ..load_of(&store, &system, options.scenario, options.clients)
        };
        // Warm, then counted from nothing.
        measure(&store, &system, &load, (Who::Onhand, loaded, None)).await?;
        sqlx::raw_sql("SELECT pg_stat_statements_reset()").execute(&mut admin).await?;
        let load = Load { warm_up: std::time::Duration::ZERO, ..load };
        let run = measure(&store, &system, &load, (Who::Onhand, loaded, None)).await?;
        let statements = sqlx::query_as(
            "SELECT query AS text, calls, total_plan_time AS planning_ms, total_exec_time AS execution_ms FROM pg_stat_statements
             WHERE dbid = (SELECT oid FROM pg_database WHERE datname = $1)
             ORDER BY total_plan_time + total_exec_time DESC LIMIT $2",
        );
        let statements = statements.bind(&store.name).bind(STATEMENTS).fetch_all(&mut admin).await?;
        profiled.push(Profiled { run, statements });
        system.stop().await?;
        bench.drop(store).await?;
    }
    report::write_profile(options, &profiled)?;
    bench.stop().await
}
