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

/// Begins an import, or takes one over that failed or of whose worker nothing was heard for so long; `false` where somebody
/// works on it, or it is done. It begins with its first line again: what has been done is not done twice.
///
/// # Errors
/// Where the database is away.
pub async fn claim(
    connection: &mut PgConnection,
    (id, account, content): (Uuid, Uuid, Uuid),
    lines: i64,
    silent_seconds: f64,
) -> Result<bool> {
    let claimed = query!(
        "INSERT INTO imports AS i (id, account_id, content, lines) VALUES ($1, $2, $3, $4)
         ON CONFLICT (id) DO UPDATE SET status = 'running', problem = NULL, lines_done = 0, created = 0, updated = 0, counted = 0,
             unchanged = 0, refused = 0, seen_at = now(), finished_at = NULL
         WHERE i.content = $3 AND (i.status = 'failed'
               OR (i.status = 'running' AND i.seen_at < now() - $5::float8 * interval '1 second'))",
        id,
        account,
        content,
        lines,
        silent_seconds
    );
    Ok(claimed.execute(connection).await?.rows_affected() > 0)
}

/// Adds to what has been done, and says that somebody works on it.
///
/// # Errors
/// Where the database is away.
pub async fn advance(connection: &mut PgConnection, id: Uuid, progress: Progress) -> Result<()> {
    query!(
        "UPDATE imports SET lines_done = lines_done + $2, created = created + $3, updated = updated + $4,
             counted = counted + $5, unchanged = unchanged + $6, refused = refused + $7, seen_at = now() WHERE id = $1",
        id,
        progress.lines_done,
        progress.created,
        progress.updated,
        progress.counted,
        progress.unchanged,
        progress.refused
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes refused lines.
///
/// # Errors
/// Where the database is away.
pub async fn refuse(connection: &mut PgConnection, id: Uuid, refusals: &[Refusal]) -> Result<()> {
    let lines: Vec<i64> = refusals.iter().map(|refusal| refusal.line).collect();
    let skus: Vec<Option<String>> = refusals.iter().map(|refusal| refusal.sku.clone()).collect();
    let reasons: Vec<String> = refusals.iter().map(|refusal| refusal.reason.clone()).collect();
    query!(
        "INSERT INTO import_refusals (import_id, line, sku, reason)
         SELECT $1, u.* FROM UNNEST($2::bigint[], $3::text[], $4::text[]) AS u
         ON CONFLICT (import_id, line) DO UPDATE SET reason = EXCLUDED.reason",
        id,
        &lines,
        &skus as &[Option<String>],
        &reasons
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Ends it: done, or failed for a reason.
///
/// # Errors
/// Where the database is away.
pub async fn finish(connection: &mut PgConnection, id: Uuid, problem: Option<&str>) -> Result<()> {
    query!(
        "UPDATE imports SET status = CASE WHEN $2::text IS NULL THEN 'done' ELSE 'failed' END, problem = $2,
             finished_at = now(), seen_at = now() WHERE id = $1",
        id,
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

/// Whether anything was ever imported, or begun to be.
///
/// # Errors
/// Where the database is away.
pub async fn is_any(connection: &mut PgConnection) -> Result<bool> {
    let any = query_scalar!(r#"SELECT EXISTS (SELECT FROM imports) AS "any!""#);
    Ok(any.fetch_one(connection).await?)
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
