//! Catalogues that are imported: how far they are, and the lines that were refused.

use sqlx::{PgConnection, query, query_as, query_scalar};
use uuid::Uuid;

use super::Result;
use crate::domain::Timestamp;

/// An import, as anybody may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    pub id: Uuid,
    pub account_id: Uuid,
    pub content: Uuid,
    /// `running`, `done` or `failed`.
    pub status: String,
    pub lines: i64,
    pub lines_done: i64,
    /// Products and variants that are new.
    pub created: i64,
    /// Those that were there, and have changed.
    pub updated: i64,
    /// Stock rows that were counted.
    pub counted: i64,
    /// Lines that were already as they say.
    pub unchanged: i64,
    pub refused: i64,
    pub problem: Option<String>,
    pub started_at: Timestamp,
    pub finished_at: Option<Timestamp>,
    /// Whether somebody has worked on it lately.
    pub live: bool,
}

/// What has become of a number of lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    pub lines_done: i64,
    pub created: i64,
    pub updated: i64,
    pub counted: i64,
    pub unchanged: i64,
    pub refused: i64,
}

/// A line that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// From 1, a header included.
    pub line: i64,
    pub sku: Option<String>,
    pub reason: String,
}

/// Begins an import, or takes one over that failed or of whose worker nothing was heard for so long: it goes on after the lines that
/// were done. Answers with the number of the attempt; `None` where somebody works on it, or it is done.
///
/// # Errors
/// Where the database is away.
pub async fn claim(
    connection: &mut PgConnection,
    (id, account, content): (Uuid, Uuid, Uuid),
    lines: i64,
    silent_seconds: f64,
) -> Result<Option<i32>> {
    let attempt = query_scalar!(
        "INSERT INTO imports AS i (id, account_id, content, lines) VALUES ($1, $2, $3, $4)
         ON CONFLICT (id) DO UPDATE
         SET status = 'running', problem = NULL, attempts = i.attempts + 1, seen_at = now(), finished_at = NULL
         WHERE i.content = $3 AND (i.status = 'failed'
               OR (i.status = 'running' AND i.seen_at < now() - $5::float8 * interval '1 second'))
         RETURNING attempts",
        id,
        account,
        content,
        lines,
        silent_seconds
    );
    Ok(attempt.fetch_optional(connection).await?)
}

/// Says that somebody works on it; whether it is still this attempt.
///
/// # Errors
/// Where the database is away.
pub async fn touch(connection: &mut PgConnection, id: Uuid, attempt: i32) -> Result<bool> {
    let touched = query!("UPDATE imports SET seen_at = now() WHERE id = $1 AND attempts = $2", id, attempt);
    Ok(touched.execute(connection).await?.rows_affected() > 0)
}

/// Adds to what has been done, with the lines that were refused; whether it is still this attempt: else nothing is added. To be
/// called in a transaction.
///
/// # Errors
/// Where the database is away.
pub async fn advance(
    connection: &mut PgConnection,
    (id, attempt): (Uuid, i32),
    progress: Progress,
    refusals: &[Refusal],
) -> Result<bool> {
    let advanced = query!(
        "UPDATE imports SET lines_done = lines_done + $3, created = created + $4, updated = updated + $5,
             counted = counted + $6, unchanged = unchanged + $7, refused = refused + $8, seen_at = now()
         WHERE id = $1 AND attempts = $2",
        id,
        attempt,
        progress.lines_done,
        progress.created,
        progress.updated,
        progress.counted,
        progress.unchanged,
        progress.refused
    );
    if advanced.execute(&mut *connection).await?.rows_affected() == 0 {
        return Ok(false);
    }
    let lines: Vec<i64> = refusals.iter().map(|refusal| refusal.line).collect();
    let skus: Vec<Option<String>> = refusals.iter().map(|refusal| refusal.sku.clone()).collect();
    let reasons: Vec<String> = refusals.iter().map(|refusal| refusal.reason.clone()).collect();
    query!(
        "INSERT INTO import_refusals (import_id, line, sku, reason)
         SELECT $1, u.* FROM UNNEST($2::bigint[], $3::text[], $4::text[]) AS u",
        id,
        &lines,
        &skus as &[Option<String>],
        &reasons
    )
    .execute(connection)
    .await?;
    Ok(true)
}

/// Ends it, if it is still this attempt: done, or failed for a reason.
///
/// # Errors
/// Where the database is away.
pub async fn finish(connection: &mut PgConnection, id: Uuid, attempt: i32, problem: Option<&str>) -> Result<()> {
    query!(
        "UPDATE imports SET status = CASE WHEN $3::text IS NULL THEN 'done' ELSE 'failed' END, problem = $3,
             finished_at = now(), seen_at = now() WHERE id = $1 AND attempts = $2",
        id,
        attempt,
        problem
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// One, or `None`; live where its worker was heard of within so many seconds.
///
/// # Errors
/// Where the database is away.
pub async fn find(connection: &mut PgConnection, id: Uuid, silent_seconds: f64) -> Result<Option<Import>> {
    let row = query_as!(
        Import,
        r#"SELECT id, account_id, content, status, lines, lines_done, created, updated, counted, unchanged, refused, problem,
                started_at, finished_at, seen_at >= now() - $2::float8 * interval '1 second' AS "live!"
           FROM imports WHERE id = $1"#,
        id,
        silent_seconds
    );
    Ok(row.fetch_optional(connection).await?)
}

/// Refused lines, from after `after` on.
///
/// # Errors
/// Where the database is away.
pub async fn refusals(connection: &mut PgConnection, id: Uuid, after: Option<i64>, limit: i64) -> Result<Vec<Refusal>> {
    let rows = query_as!(
        Refusal,
        "SELECT line, sku, reason FROM import_refusals WHERE import_id = $1 AND ($2::bigint IS NULL OR line > $2)
         ORDER BY line LIMIT $3",
        id,
        after,
        limit
    );
    Ok(rows.fetch_all(connection).await?)
}
