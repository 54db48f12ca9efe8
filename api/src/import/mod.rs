//! Importing a catalogue: many lines at a time, each new product, variant and count sent down the queue like any other, what holds
//! no stock written at once.
//!
//! An import's commands have ids that are made of the import's own and the line's number, so however often it is run, whatever
//! dies in between, each line is done once. What another line, or somebody else, has done meanwhile is found by the SKU.

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
/// How often whether they are is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Why an import did not come to its end.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the database does not answer")]
    Database,
    #[error("the broker does not take the lines")]
    Broker,
    #[error("the consumers did not decide the lines within {DECIDED_SECONDS_MAX} s")]
    Undecided,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        tracing::warn!(?error, "an import has failed");
        Self::Database
    }
}

/// Runs an import that was claimed, to its end or until it fails.
pub(crate) async fn run(state: Arc<State>, id: Uuid, account: Uuid, lines: Vec<Numbered>) {
    let imported = import(&state, id, account, &lines).await;
    let problem = imported.err().map(|failure| format!("{failure}: send it again, and it goes on"));
    tracing::info!(import.id = %id, lines = lines.len(), ?problem, "import ended");
    let finished =
        state.read(move |c| Box::pin(async move { db::imports::finish(c, id, problem.as_deref()).await })).await;
    if let Err(error) = finished {
        tracing::warn!(?error, import.id = %id, "that an import has ended could not be noted");
    }
}

async fn import(state: &State, id: Uuid, account: Uuid, lines: &[Numbered]) -> Result<(), Failure> {
    for lines in lines.chunks(CHUNK_LINES) {
        let mut chunk = Chunk::begin(state, id, account, lines).await?;
        chunk.create_products().await?;
        chunk.create_variants().await?;
        chunk.update().await?;
        chunk.count().await?;
        let (progress, refusals) = chunk.end();
        advance(state, id, progress, refusals).await?;
    }
    Ok(())
}

async fn advance(state: &State, id: Uuid, progress: Progress, refusals: Vec<Refusal>) -> Result<(), Failure> {
    let noted = state.read(move |c| {
        Box::pin(async move {
            let mut transaction = db::begin(c).await?;
            if !refusals.is_empty() {
                db::imports::refuse(&mut transaction, id, &refusals).await?;
            }
            db::imports::advance(&mut transaction, id, progress).await?;
            db::commit(transaction).await
        })
    });
    Ok(noted.await?)
}
