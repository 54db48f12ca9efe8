//! Which deliveries are due, and what came of them. Somebody who has taken one and dies leaves it to the next when its claim is over.

use sqlx::{PgConnection, query, query_as};
use uuid::Uuid;

use crate::db::Result;
use crate::domain::Timestamp;

/// How many deliveries of an endpoint may be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Of each endpoint that is not named in `busy`.
    pub each: i64,
    /// Of each of which nothing has come through lately.
    pub failing: i64,
    /// Over all endpoints.
    pub all: i64,
}

/// A delivery that was taken to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    pub id: Uuid,
    pub endpoint_id: Uuid,
    pub event_id: Uuid,
    pub body: String,
    pub generation: i32,
    /// Attempts before this one.
    pub attempts: i32,
    /// Of them those of the schedule at hand.
    pub scheduled: i32,
    pub url: String,
    pub secret: Vec<u8>,
    /// What was the secret before, while it is good.
    pub former_secret: Option<Vec<u8>>,
}

/// Takes deliveries that are due, for `seconds`; of the endpoints in `busy` no more than is said there. What was written for an
/// endpoint just when it was disabled is given up.
///
/// # Errors
/// Where the database is away.
pub async fn claim(
    connection: &mut PgConnection,
    room: Room,
    busy: &[(Uuid, i64)],
    seconds: i32,
) -> Result<Vec<Claimed>> {
    let (endpoints, left): (Vec<Uuid>, Vec<i64>) = busy.iter().copied().unzip();
    let rows = query_as!(
        Claimed,
        r#"WITH RECURSIVE waiting AS (
             -- Each endpoint once that something is to be sent to, however much.
             (SELECT endpoint_id FROM webhook_deliveries WHERE state = 'pending' ORDER BY endpoint_id LIMIT 1)
             UNION ALL
             SELECT (SELECT d.endpoint_id FROM webhook_deliveries d WHERE d.state = 'pending' AND d.endpoint_id > w.endpoint_id
                     ORDER BY d.endpoint_id LIMIT 1)
             FROM waiting w WHERE w.endpoint_id IS NOT NULL),
           given_up AS (
             UPDATE webhook_deliveries SET state = 'failed', finished_at = now(), claimed_until = NULL
             WHERE id IN (SELECT d.id FROM waiting w JOIN webhook_endpoints e ON e.id = w.endpoint_id
                               JOIN webhook_deliveries d ON d.endpoint_id = e.id AND d.state = 'pending'
                          WHERE e.disabled_for IN ('gone', 'failing') LIMIT 1000 FOR UPDATE OF d SKIP LOCKED)),
           able AS MATERIALIZED (
             SELECT e.id, LEAST(COALESCE(b.room, $1), CASE WHEN e.failing_since IS NULL THEN $1 ELSE $6 END) AS room
             FROM waiting w JOIN webhook_endpoints e ON e.id = w.endpoint_id
                  LEFT JOIN UNNEST($3::uuid[], $4::bigint[]) AS b (id, room) ON b.id = e.id
             WHERE e.enabled AND (e.not_before IS NULL OR e.not_before <= now())
             -- Where there is not room for all, chance decides who is first.
             ORDER BY random()),
           due AS (
             SELECT d.id FROM able e CROSS JOIN LATERAL (
                 SELECT id FROM webhook_deliveries d
                 WHERE d.endpoint_id = e.id AND d.state = 'pending' AND d.next_attempt_at <= now()
                   AND (d.claimed_until IS NULL OR d.claimed_until < now())
                 ORDER BY d.next_attempt_at LIMIT GREATEST(e.room, 0) FOR UPDATE SKIP LOCKED) d
             LIMIT $2)
           UPDATE webhook_deliveries d SET claimed_until = now() + make_interval(secs => $5::integer)
           FROM due, webhook_endpoints e
           WHERE d.id = due.id AND e.id = d.endpoint_id
           RETURNING d.id, d.endpoint_id, d.event_id, d.body, d.generation, d.attempts, d.scheduled, e.url, e.secret,
                     CASE WHEN e.former_until > now() THEN e.former_secret END AS former_secret"#,
        room.each,
        room.all,
        &endpoints,
        &left,
        seconds,
        room.failing
    );
    Ok(rows.fetch_all(connection).await?)
}

/// What has come of an attempt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Outcome {
    Delivered,
    /// Another attempt, after so many seconds.
    Again {
        seconds: f64,
    },
    /// No other.
    GivenUp,
    /// The endpoint says that it is no more.
    Gone,
}

/// An attempt that was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Done {
    pub id: Uuid,
    pub endpoint_id: Uuid,
    /// Where it was sent.
    pub url: String,
    pub generation: i32,
    /// From 1.
    pub number: i32,
    pub started_at: Timestamp,
    pub duration_ms: i32,
    pub status: Option<i16>,
    pub error: Option<String>,
    pub answer: Option<String>,
    /// So many seconds the endpoint has asked to be left alone.
    pub patience: Option<f64>,
    pub outcome: Outcome,
}

/// Writes what came of attempts. An endpoint that says it is gone, or of which for `failing_seconds` nothing has come through though
/// something was tried to the end, is disabled, and what it was still to be told is given up; answers with those, and why. To be
/// called in a transaction.
///
/// # Errors
/// Where the database is away.
pub async fn finish(connection: &mut PgConnection, done: &[Done], failing_seconds: i64) -> Result<Vec<(Uuid, String)>> {
    let mut endpoints: Vec<Uuid> = done.iter().map(|done| done.endpoint_id).collect();
    endpoints.sort_unstable();
    endpoints.dedup();
    // Before their deliveries, and by their ids, so that two who write never deadlock.
    query!("SELECT id FROM webhook_endpoints WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE", &endpoints)
        .fetch_all(&mut *connection)
        .await?;
    write(&mut *connection, done).await?;
    let with = |of: fn(&Outcome) -> bool| -> (Vec<Uuid>, Vec<String>) {
        done.iter().filter(|done| of(&done.outcome)).map(|done| (done.endpoint_id, done.url.clone())).unzip()
    };
    let (delivered, _) = with(|outcome| *outcome == Outcome::Delivered);
    let (failed, failed_at) = with(|outcome| *outcome != Outcome::Delivered);
    let (given_up, given_up_at) = with(|outcome| *outcome == Outcome::GivenUp);
    let (gone, gone_at) = with(|outcome| *outcome == Outcome::Gone);
    let patient = done.iter().filter_map(|done| Some((done.endpoint_id, done.patience?)));
    let (patient, patience): (Vec<Uuid>, Vec<f64>) = patient.unzip();
    // What was sent to an address that it has no more says nothing of the endpoint.
    query!(
        "UPDATE webhook_endpoints e SET failing_since = CASE WHEN e.id = ANY($1) THEN NULL ELSE COALESCE(e.failing_since, now()) END
         WHERE (e.id = ANY($1) AND e.failing_since IS NOT NULL)
            OR (NOT e.id = ANY($1) AND e.failing_since IS NULL
                AND EXISTS (SELECT FROM UNNEST($2::uuid[], $3::text[]) AS f (id, url) WHERE f.id = e.id AND f.url = e.url))",
        &delivered,
        &failed,
        &failed_at
    )
    .execute(&mut *connection)
    .await?;
    query!(
        "UPDATE webhook_endpoints e SET not_before = now() + make_interval(secs => u.seconds)
         FROM (SELECT id, max(seconds) AS seconds FROM UNNEST($1::uuid[], $2::double precision[]) AS p (id, seconds) GROUP BY 1) u
         WHERE e.id = u.id",
        &patient,
        &patience
    )
    .execute(&mut *connection)
    .await?;
    let disabled = query!(
        r#"UPDATE webhook_endpoints e
           SET enabled = false, disabled_at = now(), disabled_for = CASE WHEN g.id IS NULL THEN 'failing' ELSE 'gone' END
           FROM webhook_endpoints o
                LEFT JOIN UNNEST($1::uuid[], $2::text[]) AS g (id, url) ON g.id = o.id AND g.url = o.url
                LEFT JOIN UNNEST($3::uuid[], $4::text[]) AS f (id, url) ON f.id = o.id AND f.url = o.url
           WHERE e.id = o.id AND o.id = ANY($6) AND e.enabled
             AND (g.id IS NOT NULL
                  OR (f.id IS NOT NULL AND o.failing_since < now() - make_interval(secs => $5::bigint::double precision)))
           RETURNING e.id, e.disabled_for AS "why!""#,
        &gone,
        &gone_at,
        &given_up,
        &given_up_at,
        failing_seconds,
        &endpoints
    );
    let disabled: Vec<(Uuid, String)> =
        disabled.fetch_all(&mut *connection).await?.into_iter().map(|row| (row.id, row.why)).collect();
    if !disabled.is_empty() {
        let ids: Vec<Uuid> = disabled.iter().map(|(id, _)| *id).collect();
        query!(
            "UPDATE webhook_deliveries SET state = 'failed', finished_at = now(), claimed_until = NULL
             WHERE endpoint_id = ANY($1) AND state = 'pending'",
            &ids
        )
        .execute(connection)
        .await?;
    }
    Ok(disabled)
}

async fn write(connection: &mut PgConnection, done: &[Done]) -> Result<()> {
    let ids: Vec<Uuid> = done.iter().map(|done| done.id).collect();
    let generations: Vec<i32> = done.iter().map(|done| done.generation).collect();
    let numbers: Vec<i32> = done.iter().map(|done| done.number).collect();
    let started: Vec<Timestamp> = done.iter().map(|done| done.started_at).collect();
    let durations: Vec<i32> = done.iter().map(|done| done.duration_ms).collect();
    let statuses: Vec<Option<i16>> = done.iter().map(|done| done.status).collect();
    let errors: Vec<Option<String>> = done.iter().map(|done| done.error.clone()).collect();
    let answers: Vec<Option<String>> = done.iter().map(|done| done.answer.clone()).collect();
    let state = |done: &Done| match done.outcome {
        Outcome::Delivered => "delivered",
        Outcome::Again { .. } => "pending",
        Outcome::GivenUp | Outcome::Gone => "failed",
    };
    let states: Vec<String> = done.iter().map(|done| state(done).to_owned()).collect();
    let after = |done: &Done| if let Outcome::Again { seconds } = done.outcome { seconds } else { 0.0 };
    let after: Vec<f64> = done.iter().map(after).collect();
    // Deleted meanwhile, or tried by another whose claim was later: then nothing is written. Where it was to be sent anew meanwhile,
    // or its endpoint was disabled, only the attempt is.
    query!(
        "WITH made AS (
           SELECT * FROM UNNEST($1::uuid[], $2::integer[], $3::integer[], $4::timestamptz[], $5::integer[], $6::smallint[], $7::text[],
                                $8::text[], $9::text[], $10::double precision[])
             AS u (id, generation, number, started_at, duration_ms, status, error, answer, state, after)),
         locked AS (SELECT d.id FROM webhook_deliveries d JOIN made m ON m.id = d.id ORDER BY d.id FOR UPDATE OF d),
         meant AS (
           SELECT m.*, d.generation = m.generation AND d.state = 'pending' AS is_meant,
                  CASE WHEN m.state = 'pending' AND NOT e.enabled THEN 'failed' ELSE m.state END AS becomes
           FROM made m JOIN locked l ON l.id = m.id JOIN webhook_deliveries d ON d.id = m.id JOIN webhook_endpoints e ON e.id = d.endpoint_id),
         changed AS (
           UPDATE webhook_deliveries d
           SET attempts = m.number,
               state = CASE WHEN m.is_meant THEN m.becomes ELSE d.state END,
               scheduled = CASE WHEN m.is_meant THEN d.scheduled + 1 ELSE d.scheduled END,
               claimed_until = CASE WHEN m.is_meant THEN NULL ELSE d.claimed_until END,
               next_attempt_at = CASE WHEN m.is_meant THEN now() + make_interval(secs => m.after) ELSE d.next_attempt_at END,
               finished_at = CASE WHEN NOT m.is_meant THEN d.finished_at WHEN m.becomes = 'pending' THEN NULL ELSE now() END
           FROM meant m WHERE d.id = m.id AND d.attempts < m.number RETURNING d.id)
         INSERT INTO webhook_attempts (delivery_id, number, started_at, duration_ms, status, error, answer)
         SELECT m.id, m.number, m.started_at, m.duration_ms, m.status, m.error, m.answer FROM made m JOIN changed c ON c.id = m.id
         ON CONFLICT DO NOTHING",
        &ids,
        &generations,
        &numbers,
        &started,
        &durations,
        &statuses as &[Option<i16>],
        &errors as &[Option<String>],
        &answers as &[Option<String>],
        &states,
        &after
    )
    .execute(connection)
    .await?;
    Ok(())
}
