//! Orders by the thousand, and what was said of each: to be compared with what became of it.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::StatusCode;
use uuid::Uuid;

use crate::app::TestApp;
use crate::http::{Answer, Client};

/// What was said of the orders that were sent.
#[derive(Debug, Default)]
pub struct Said {
    /// Accepted: each is to be decided.
    pub promised: Vec<Uuid>,
    /// Certainly not accepted: none may ever be decided.
    pub refused: Vec<Uuid>,
    /// Nobody knows: each may be decided or not.
    pub unknown: Vec<Uuid>,
}

impl Said {
    /// Notes an answer to an order, which is a promise or says what it is instead.
    pub fn hear(&mut self, answer: &Answer) {
        let told = match (answer.status, answer.body["accepted"].as_str()) {
            (StatusCode::CREATED | StatusCode::ACCEPTED, _) => &mut self.promised,
            (StatusCode::SERVICE_UNAVAILABLE, Some("no")) => &mut self.refused,
            (StatusCode::SERVICE_UNAVAILABLE, Some("unknown")) => &mut self.unknown,
            _ => panic!("{answer:?}"),
        };
        told.push(answer.id());
    }

    /// Waits until every promise is kept and nothing is left in the queues, stops the consumers, and checks that nothing
    /// else was decided. To be called when every order of the test was heard of.
    pub async fn check(&self, app: &mut TestApp) {
        let mut connection = app.database().await;
        crate::until("every order that was promised is decided", async || {
            app.decided(&mut connection, &self.promised).await == self.promised.len()
        })
        .await;
        app.drain().await;
        assert_eq!(app.decided(&mut connection, &self.refused).await, 0, "decided, of those that were refused");
        let perhaps = app.decided(&mut connection, &self.unknown).await;
        let all = usize::try_from(app.orders(&mut connection).await).unwrap();
        assert_eq!(all, self.promised.len() + perhaps, "no other order is decided");
    }
}

impl FromIterator<Self> for Said {
    fn from_iter<I: IntoIterator<Item = Self>>(all: I) -> Self {
        all.into_iter().fold(Self::default(), |mut sum, said| {
            sum.promised.extend(said.promised);
            sum.refused.extend(said.refused);
            sum.unknown.extend(said.unknown);
            sum
        })
    }
}

/// Orders one piece after the other of each product in turn, by several clients at once, while there is to be `more`. Who
/// is told `503` goes on when the api is ready.
pub async fn place(
    client: &Client,
    products: &[Uuid],
    clients: usize,
    accepted: &Pace,
    more: impl Fn() -> bool,
) -> Said {
    let one = async |nth: usize| {
        let mut said = Said::default();
        for product in products.iter().cycle().skip(nth) {
            if !more() {
                break;
            }
            let answer = client.order(&[(*product, 1)], &[]).await;
            said.hear(&answer);
            if answer.status == StatusCode::SERVICE_UNAVAILABLE {
                crate::until("the api is ready", async || client.get("/readyz").await.status == StatusCode::OK).await;
            } else {
                accepted.one_more();
            }
        }
        said
    };
    join_all((0..clients).map(one)).await.into_iter().collect()
}

/// How something goes on that is counted. It is for people to read: no test asserts on a time.
#[derive(Debug)]
pub struct Pace(Mutex<Counted>);

#[derive(Debug)]
struct Counted {
    count: u64,
    grew_at: Instant,
    longest_pause: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self(Mutex::new(Counted { count: 0, grew_at: Instant::now(), longest_pause: Duration::ZERO }))
    }
}

impl Pace {
    pub fn one_more(&self) {
        self.0.lock().unwrap().grow(1);
    }

    /// What it was counted to be; no growth where it is the same.
    pub fn reached(&self, count: u64) {
        let mut counted = self.0.lock().unwrap();
        let more = count.saturating_sub(counted.count);
        counted.grow(more);
    }

    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.lock().unwrap().count
    }

    /// The longest time without growth since this was last asked.
    pub fn longest_pause(&self) -> Duration {
        let mut counted = self.0.lock().unwrap();
        std::mem::take(&mut counted.longest_pause).max(counted.grew_at.elapsed())
    }
}

impl Counted {
    fn grow(&mut self, more: u64) {
        if more > 0 {
            self.count += more;
            self.longest_pause = self.longest_pause.max(self.grew_at.elapsed());
            self.grew_at = Instant::now();
        }
    }
}
