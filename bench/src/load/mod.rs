//! Clients. A closed loop asks again as soon as it is answered; an open loop asks at a fixed rate, and measures from when a request was
//! due, so that a system which stands still is charged for everybody who would have come meanwhile (no coordinated omission).

mod connection;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::scenario::{Kind, Orders, Products};

pub(crate) use connection::Connection;

/// Longest latency that is told apart, in microseconds.
const LATENCY_MAX: u64 = 120_000_000;

/// Whom, what, and how much.
#[derive(Clone)]
pub(crate) struct Load {
    pub(crate) address: SocketAddr,
    pub(crate) key: String,
    pub(crate) kind: Kind,
    pub(crate) products: Arc<Products>,
    pub(crate) clients: usize,
    /// Whether each order's outcome is awaited.
    pub(crate) awaited: bool,
    /// Orders a second over all clients; as fast as they are answered where there is none.
    pub(crate) rate: Option<f64>,
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

/// What was answered in the time that was measured.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// Decisions that were confirmed or refused for want of stock, or acceptances where outcomes are not awaited.
    pub(crate) done: u64,
    /// Of them, those that were refused.
    pub(crate) refused: u64,
    /// Anything else: conflicts that were given up, overload, lost connections.
    pub(crate) failed: u64,
    pub(crate) seconds: f64,
    /// In microseconds.
    pub(crate) latency: Histogram<u64>,
}

/// Percentiles of latencies, in milliseconds.
#[derive(Debug, Clone, Copy, Serialize, Default)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
}

impl Seen {
    fn new(seconds: f64) -> anyhow::Result<Self> {
        Ok(Self { done: 0, refused: 0, failed: 0, seconds, latency: Histogram::new_with_max(LATENCY_MAX, 3)? })
    }

    pub(crate) fn rate(&self) -> f64 {
        self.done as f64 / self.seconds
    }

    pub(crate) fn latency(&self) -> Latency {
        let at = |quantile| self.latency.value_at_quantile(quantile) as f64 / 1_000.0;
        Latency { p50: at(0.5), p99: at(0.99), p999: at(0.999) }
    }

    fn hear(&mut self, status: u16, latency: Duration) {
        match status {
            200..=202 => self.done += 1,
            409 => (self.done, self.refused) = (self.done + 1, self.refused + 1),
            // How soon something was given up is no latency of a decision.
            _ => {
                self.failed += 1;
                return;
            }
        }
        let micros = u64::try_from(latency.as_micros()).unwrap_or(LATENCY_MAX);
        self.latency.saturating_record(micros.min(LATENCY_MAX));
    }
}

/// When the clients begin, and from when on they are measured.
#[derive(Clone, Copy)]
struct Window {
    begin: Instant,
    from: Instant,
    until: Instant,
}

/// Runs a load; `measure` is run over just the time that is measured.
pub(crate) async fn run<T>(load: &Load, measure: impl AsyncFnOnce() -> anyhow::Result<T>) -> anyhow::Result<(Seen, T)> {
    let mut connections = Vec::new();
    for _ in 0..load.clients {
        connections.push(Connection::open(load.address, &load.key).await?);
    }
    let begin = Instant::now();
    let window = Window { begin, from: begin + load.warm_up, until: begin + load.warm_up + load.measured };
    let turns = Rc::new(std::cell::Cell::new(0_u64));
    let clients = connections.into_iter().enumerate().map(|(n, connection)| {
        let orders = Orders::new(load.kind, Arc::clone(&load.products), n);
        client(load, connection, orders, window, Rc::clone(&turns))
    });
    let measuring = async {
        tokio::time::sleep_until(window.from.into()).await;
        measure().await
    };
    let (seen, measured) = tokio::join!(join_all(clients), measuring);
    let mut all = Seen::new(load.measured.as_secs_f64())?;
    for one in seen {
        let one = one?;
        (all.done, all.refused, all.failed) = (all.done + one.done, all.refused + one.refused, all.failed + one.failed);
        all.latency.add(&one.latency)?;
    }
    Ok((all, measured?))
}

async fn client(
    load: &Load,
    mut connection: Connection,
    mut orders: Orders,
    window: Window,
    turns: Rc<std::cell::Cell<u64>>,
) -> anyhow::Result<Seen> {
    let mut seen = Seen::new(load.measured.as_secs_f64())?;
    loop {
        let due = match load.rate {
            None => Instant::now(),
            Some(rate) => {
                let turn = turns.replace(turns.get() + 1);
                let due = window.begin + Duration::from_secs_f64(turn as f64 / rate);
                tokio::time::sleep_until(due.into()).await;
                due
            }
        };
        if due >= window.until {
            return Ok(seen);
        }
        let answered = connection.order(orders.next(), load.awaited).await;
        let (status, location) = match answered {
            Ok(answer) => (answer.status, answer.location),
            Err(_) => {
                connection = Connection::open(load.address, &load.key).await?;
                (0, None)
            }
        };
        let counts = |now: Instant| match load.rate {
            // What was due in time counts, however late its answer.
            Some(_) => due >= window.from,
            None => now >= window.from && now < window.until,
        };
        let now = Instant::now();
        if counts(now) {
            seen.hear(status, now - due);
        }
        if load.kind.is_paid_later()
            && let (201 | 202, Some(location)) = (status, location)
        {
            let asked = Instant::now();
            let paid = connection.pay(&location, load.awaited).await.map_or(0, |answer| answer.status);
            let now = Instant::now();
            if counts(now) {
                seen.hear(paid, now - asked);
            }
        }
    }
}
