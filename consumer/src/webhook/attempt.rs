//! One attempt of a delivery, and what follows from it.

use std::time::Duration;

use common::clock;
use common::db::webhooks::{Claimed, Done, Outcome};
use common::domain::Timestamp;
use common::program::chain;
use common::webhook::sign;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use time::format_description::well_known::Rfc2822;
use tokio::time::Instant;

use super::outbound::Outbound;
use crate::config::Schedule;

/// Of an answer so much is kept, in bytes.
const ANSWER_BYTES_MAX: usize = 1_024;
/// How long an answer's body is waited for: its status has told already what came of it.
const ANSWER_WAIT: Duration = Duration::from_secs(2);
/// A receiver that asks for patience gets no more than this.
const PATIENCE_SECONDS_MAX: f64 = 86_400.0;
/// Each wait is made longer or shorter by up to this part of it, so that what failed together is not tried together.
const JITTER: f64 = 0.2;

impl Schedule {
    /// What follows the attempt `n`, from 0; `luck` is 0 to 1.
    fn after(&self, n: usize, patience: Option<f64>, luck: f64) -> Outcome {
        let Some(wait) = self.0.get(n) else { return Outcome::GivenUp };
        let wait = f64::from(*wait) * (1.0 + JITTER * (2.0 * luck - 1.0));
        let seconds = patience.map_or(wait, |patience| wait.max(patience.clamp(0.0, PATIENCE_SECONDS_MAX)));
        Outcome::Again { seconds }
    }
}

/// Sends a delivery once.
pub(super) async fn attempt(outbound: &Outbound, schedule: &Schedule, claimed: Claimed) -> Done {
    let (started_at, began) = (clock::now(), Instant::now());
    let answered = send(outbound, &claimed, started_at).await;
    let n = usize::try_from(claimed.scheduled).unwrap_or(usize::MAX);
    let luck = rand::random::<f64>();
    let (status, error, answer, patience, outcome) = match answered {
        Err(error) => (None, Some(kept(error.as_bytes())), None, None, schedule.after(n, None, luck)),
        Ok(response) => {
            let status = response.status();
            let patience = patience(&response, started_at);
            let outcome = match status {
                StatusCode::GONE => Outcome::Gone,
                status if status.is_success() => Outcome::Delivered,
                _ => schedule.after(n, patience, luck),
            };
            let patience = patience.filter(|_| !status.is_success()).map(|seconds| seconds.min(PATIENCE_SECONDS_MAX));
            (i16::try_from(status.as_u16()).ok(), None, Some(beginning(response).await), patience, outcome)
        }
    };
    let duration_ms = i32::try_from(began.elapsed().as_millis()).unwrap_or(i32::MAX);
    let Claimed { id, endpoint_id, url, generation, attempts, .. } = claimed;
    let number = attempts + 1;
    Done { id, endpoint_id, url, generation, number, started_at, duration_ms, status, error, answer, patience, outcome }
}

async fn send(outbound: &Outbound, claimed: &Claimed, now: Timestamp) -> Result<Response, String> {
    let request = outbound.post(&claimed.url).map_err(str::to_owned)?;
    let (id, timestamp) = (format!("msg_{}", claimed.event_id.simple()), now.unix_timestamp());
    let keys = [Some(&claimed.secret), claimed.former_secret.as_ref()];
    let signature = sign(keys.into_iter().flatten().map(Vec::as_slice), &id, timestamp, &claimed.body);
    let request = request
        .header(CONTENT_TYPE, "application/json")
        .header("webhook-id", id)
        .header("webhook-timestamp", timestamp)
        .header("webhook-signature", signature)
        .body(claimed.body.clone());
    // Without the URL, which may hold a secret.
    request.send().await.map_err(|error| chain(&error.without_url()))
}

/// How long the receiver asks to be left alone, in seconds.
fn patience(response: &Response, now: Timestamp) -> Option<f64> {
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(f64::from(seconds));
    }
    let text = text.strip_suffix("GMT").map(|text| format!("{text}+0000"))?;
    let until = Timestamp::parse(&text, &Rfc2822).ok()?;
    Some((until - now).as_seconds_f64().max(0.0))
}

/// The first bytes of an answer, as far as they come soon.
async fn beginning(mut response: Response) -> String {
    let mut bytes = Vec::new();
    let reading = async {
        while bytes.len() < ANSWER_BYTES_MAX
            && let Ok(Some(chunk)) = response.chunk().await
        {
            bytes.extend_from_slice(&chunk);
        }
    };
    tokio::time::timeout(ANSWER_WAIT, reading).await.ok();
    kept(&bytes)
}

/// As much of a text as is kept. PostgreSQL holds no null characters.
fn kept(bytes: &[u8]) -> String {
    let bytes = bytes.get(..ANSWER_BYTES_MAX).unwrap_or(bytes);
    String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(outcome: Outcome) -> Option<i64> {
        match outcome {
            #[expect(clippy::cast_possible_truncation, reason = "small")]
            Outcome::Again { seconds } => Some(seconds.round() as i64),
            Outcome::GivenUp => None,
            outcome => panic!("{outcome:?}"),
        }
    }

    #[test]
    fn the_schedule_is_about_a_day_and_each_wait_has_jitter() {
        let schedule = Schedule::default();
        let all: i64 = (0..).map_while(|n| seconds(schedule.after(n, None, 0.5))).sum();
        assert!((86_400..2 * 86_400).contains(&all), "{all}");
        for (n, patience, luck, expected) in [
            (0, None, 0.5, Some(5)),
            (0, None, 0.0, Some(4)),
            (0, None, 1.0, Some(6)),
            (1, None, 0.0, Some(240)),
            (1, None, 1.0, Some(360)),
            (0, Some(120.0), 0.5, Some(120)),
            (1, Some(120.0), 0.5, Some(300)),
            (0, Some(1e9), 0.5, Some(86_400)),
            (7, None, 0.5, None),
            (7, Some(120.0), 0.5, None),
        ] {
            assert_eq!(seconds(schedule.after(n, patience, luck)), expected, "attempt {n}, {patience:?}, {luck}");
        }
    }
}
