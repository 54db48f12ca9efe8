//! Importing a catalogue: many lines at a time, each new product, variant and count sent down the queue like any other, what holds
//! no stock written at once.
//!
//! An import's commands have ids that are made of the import's own and the line's number, so whatever dies in between, each line is
//! done once; what was done before an import is taken up again is not looked at again. What another line, or somebody else, has done
//! meanwhile is found by the SKU.

mod chunk;
pub(crate) mod line;

use std::sync::Arc;
use std::time::Duration;

use common::db;
use common::db::imports::{Progress, Refusal};
use uuid::Uuid;

use self::chunk::Chunk;
use self::line::Numbered;
use crate::error::Error;
use crate::state::State;

/// Lines that are done together.
const CHUNK_LINES: usize = 2_000;
/// Of whom nothing was heard for so long works on an import no more.
pub(crate) const SILENT_SECONDS: f64 = 30.0;
/// Longest time for the lines of a chunk to be decided.
const DECIDED_SECONDS_MAX: u64 = 120;
/// Longest time for them to be published.
const PUBLISHED_SECONDS_MAX: u64 = 10;
/// Most of them that are published at once: orders share the publisher.
const PUBLISHED_AT_ONCE: usize = 256;
/// How often somebody who works on an import says so.
const TOUCH_EVERY: Duration = Duration::from_secs(5);
/// How often whether they are is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// An attempt to import something.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Job {
    pub(crate) id: Uuid,
    pub(crate) account: Uuid,
    pub(crate) attempt: i32,
    /// Lines that were done by earlier ones.
    pub(crate) done: i64,
}

/// Why an import did not come to its end.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the database does not answer")]
    Database,
    #[error("the broker did not take the lines within {PUBLISHED_SECONDS_MAX} s")]
    Broker,
    #[error("the consumers did not decide the lines within {DECIDED_SECONDS_MAX} s")]
    Undecided,
    #[error("somebody else has taken it over")]
    TakenOver,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        tracing::warn!(?error, "an import has failed");
        Self::Database
    }
}

/// Runs an import that was claimed, to its end or until it fails.
pub(crate) async fn run(state: Arc<State>, job: Job, lines: Vec<Numbered>) {
    let imported = import(&state, job, &lines).await;
    let problem = imported.err().map(|failure| format!("{failure}: send it again, and it goes on"));
    tracing::info!(import.id = %job.id, lines = lines.len(), ?problem, "import ended");
    let finished = state
        .read(move |c| Box::pin(async move { db::imports::finish(c, job.id, job.attempt, problem.as_deref()).await }));
    if let Err(error) = finished.await {
        tracing::warn!(?error, import.id = %job.id, "that an import has ended could not be noted");
    }
}

async fn import(state: &State, job: Job, lines: &[Numbered]) -> Result<(), Failure> {
    let done = usize::try_from(job.done).unwrap_or(usize::MAX).min(lines.len());
    for lines in lines[done..].chunks(CHUNK_LINES) {
        let mut chunk = Chunk::begin(state, job, lines).await?;
        chunk.create_products().await?;
        chunk.create_variants().await?;
        chunk.update().await?;
        chunk.count().await?;
        let (progress, refusals) = chunk.end();
        advance(state, job, progress, refusals).await?;
    }
    Ok(())
}

async fn advance(state: &State, job: Job, progress: Progress, refusals: Vec<Refusal>) -> Result<(), Failure> {
    let noted = state.read(move |c| {
        Box::pin(async move {
            let mut transaction = db::begin(c).await?;
            let is_ours = db::imports::advance(&mut transaction, (job.id, job.attempt), progress, &refusals).await?;
            db::commit(transaction).await?;
            Ok(is_ours)
        })
    });
    if noted.await? { Ok(()) } else { Err(Failure::TakenOver) }
}
