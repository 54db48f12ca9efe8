//! `consumer dead-letters`.

use std::collections::HashSet;

use common::db::dead_letters::{Settled, State, StoredLetter, find, list, settle};
use common::db::{self, PgConnection};
use common::message::{self, Opened, Queued, Stray};
use common::partition::partition_for;
use common::program::{Failure, chain};
use common::queue::{Publisher, PublisherLimits};
use serde::Serialize;
use uuid::Uuid;

use super::table::{NONE, table};
use super::{Broker, Operator};

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Those that wait for an operator, the oldest first
    List {
        /// Those that were queued again or discarded as well
        #[arg(long)]
        all: bool,
        /// How many at the most
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(i64).range(1..=100_000))]
        limit: i64,
    },
    /// One with its reason and all that it holds
    Show {
        /// Its id, or that of its order
        id: Uuid,
    },
    /// Queue them again, once what they failed for is mended: they are decided as if they had just come
    Requeue(Which),
    /// Give them up: their orders stay failed, unless they are queued again after all
    Discard(Which),
}

#[derive(clap::Args)]
pub(crate) struct Which {
    /// Ids, of dead letters or of their orders
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<Uuid>,
    /// All that wait
    #[arg(long)]
    all: bool,
}

/// Letters that are read at once.
const AT_ONCE: i64 = 1_000;

/// What JSON begins with, whatever was asked.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Letters<T> {
    dead_letters: Vec<T>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View {
    id: Uuid,
    order_id: Option<Uuid>,
    account_id: Option<Uuid>,
    partition: u16,
    state: State,
    reason: String,
    #[serde(with = "time::serde::rfc3339")]
    failed_at: common::domain::Timestamp,
    /// What was published, as text; what is none is replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
}

impl View {
    fn of(letter: &StoredLetter, whole: bool) -> Self {
        Self {
            id: letter.id,
            order_id: letter.command_id,
            account_id: letter.account_id,
            partition: letter.partition,
            state: letter.state,
            reason: letter.reason.clone(),
            failed_at: letter.failed_at,
            payload: whole.then(|| String::from_utf8_lossy(&letter.payload).into_owned()),
        }
    }
}

pub(super) async fn run(operator: &Operator<'_>, command: Command) -> Result<(), Failure> {
    let mut database = operator.database().await?;
    match command {
        Command::List { all, limit } => {
            let letters = list(&mut database, all, None, limit).await?;
            let dead_letters: Vec<View> = letters.iter().map(|letter| View::of(letter, false)).collect();
            let letters = Letters { dead_letters };
            operator.print(&letters, || human(&letters.dead_letters, limit))
        }
        Command::Show { id } => {
            let letters = letters_of(&mut database, id).await?;
            let letters = Letters { dead_letters: letters.iter().map(|letter| View::of(letter, true)).collect() };
            operator.print(&letters, || letters.dead_letters.iter().map(whole).collect::<Vec<_>>().join("\n\n"))
        }
        Command::Requeue(which) => {
            let partitions = db::setup::settings(&mut database, None).await?.partitions;
            let broker = operator.broker(partitions).await?;
            broker.has_queues().await?;
            let requeue = Requeue::new(&broker);
            settle_each(operator, &mut database, &which, Settled::Requeued, Some(&requeue)).await
        }
        Command::Discard(which) => settle_each(operator, &mut database, &which, Settled::Discarded, None).await,
    }
}

async fn letters_of(database: &mut PgConnection, id: Uuid) -> Result<Vec<StoredLetter>, Failure> {
    let letters = find(database, id).await?;
    if letters.is_empty() {
        return Err(format!("there is no dead letter {id}, nor one of an order of this id").into());
    }
    Ok(letters)
}

/// What became of one dead letter.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Done {
    id: Uuid,
    order_id: Option<Uuid>,
    /// Why it was left as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    left: Option<String>,
}

async fn settle_each(
    operator: &Operator<'_>,
    database: &mut PgConnection,
    which: &Which,
    settled: Settled,
    requeue: Option<&Requeue>,
) -> Result<(), Failure> {
    let mut done = Vec::new();
    for id in &which.ids {
        for letter in letters_of(database, *id).await? {
            done.push(settle_one(database, &letter, settled, requeue).await?);
        }
    }
    if which.all {
        let mut dealt_with = HashSet::new();
        let mut page = list(database, false, None, AT_ONCE).await?;
        while let Some(last) = page.last().cloned() {
            // One that fails again meanwhile comes last once more: each is dealt with once.
            for listed in page.iter().filter(|listed| dealt_with.insert(listed.id)) {
                let whole = find(database, listed.id).await?.into_iter().find(|letter| letter.id == listed.id);
                if let Some(letter) = whole {
                    done.push(settle_one(database, &letter, settled, requeue).await?);
                }
            }
            page = list(database, false, Some(&last), AT_ONCE).await?;
        }
    }
    let done = Letters { dead_letters: done };
    let what = match settled {
        Settled::Requeued => "queued again",
        Settled::Discarded => "discarded",
    };
    operator.print(&done, || {
        let line = |done: &Done| match &done.left {
            None => format!("{}  {what}", done.id),
            Some(why) => format!("{}  left as it is: {why}", done.id),
        };
        match done.dead_letters.as_slice() {
            [] => "nothing waits".to_owned(),
            done => done.iter().map(line).collect::<Vec<_>>().join("\n"),
        }
    })?;
    let (all, left) = (done.dead_letters.len(), done.dead_letters.iter().filter(|done| done.left.is_some()).count());
    if left > 0 { Err(format!("{left} of {all} dead letters are left as they are").into()) } else { Ok(()) }
}

async fn settle_one(
    database: &mut PgConnection,
    letter: &StoredLetter,
    settled: Settled,
    requeue: Option<&Requeue>,
) -> Result<Done, Failure> {
    let left = try_settle(database, letter, settled, requeue).await?.err();
    Ok(Done { id: letter.id, order_id: letter.command_id, left })
}

/// Deals with one, or says why it is left as it is.
async fn try_settle(
    database: &mut PgConnection,
    letter: &StoredLetter,
    settled: Settled,
    requeue: Option<&Requeue>,
) -> Result<Result<(), String>, Failure> {
    match (letter.state, settled) {
        (State::Waiting, _) | (State::Requeued | State::Discarded, Settled::Requeued) => {}
        (State::Decided, _) => return Ok(Err("it is decided".to_owned())),
        (State::Requeued, Settled::Discarded) => return Ok(Err("it is queued again".to_owned())),
        (State::Discarded, Settled::Discarded) => return Ok(Err("it is discarded".to_owned())),
    }
    // What is given up is final: it is taken back before it can be decided.
    if letter.state == State::Discarded && !settle(database, letter, settled).await? {
        return Ok(Err("it has failed again".to_owned()));
    }
    // Published first: should this end in between, it waits although it is decided, which its state will tell.
    if let Some(requeue) = requeue
        && let Err(why) = requeue.publish(letter).await
    {
        return Ok(Err(why));
    }
    Ok(if settle(database, letter, settled).await? { Ok(()) } else { Err("it has failed again".to_owned()) })
}

/// The way back into the queues.
struct Requeue {
    publisher: Publisher,
    partitions: u16,
}

impl Requeue {
    fn new(broker: &Broker) -> Self {
        let publisher = Publisher::start(&broker.link, &broker.topology, PublisherLimits::default());
        Self { publisher, partitions: broker.topology.partitions() }
    }

    /// Publishes what a dead letter holds, or says why it can't be.
    async fn publish(&self, letter: &StoredLetter) -> Result<(), String> {
        for queued in commands(&letter.payload)? {
            let partition = partition_for(&queued.command, self.partitions);
            let bytes = message::encode(&queued).map_err(|error| chain(&error))?;
            self.publisher.publish(partition, bytes).await.map_err(|error| chain(&error))?;
        }
        Ok(())
    }
}

/// What a dead letter holds: one command, or a whole message. Whoever waited for it does so no more.
fn commands(payload: &[u8]) -> Result<Vec<Queued>, String> {
    let unreadable = |error: message::Unreadable| format!("it still can't be read: {}", chain(&error));
    let Opened { mut commands, unreadable: strays } = match message::open(payload) {
        Ok(opened) => opened,
        Err(_) => message::open(&message::envelope([payload])).map_err(unreadable)?,
    };
    if let Some(Stray { error, .. }) = strays.into_iter().next() {
        return Err(unreadable(error));
    }
    for queued in &mut commands {
        queued.reply_to = None;
    }
    Ok(commands)
}

fn human(letters: &[View], limit: i64) -> String {
    if letters.is_empty() {
        return "no dead letters wait".to_owned();
    }
    let rows = letters.iter().map(|letter| {
        vec![
            letter.id.to_string(),
            letter.order_id.map_or(NONE.to_owned(), |id| id.to_string()),
            letter.partition.to_string(),
            state(letter.state).to_owned(),
            time(letter.failed_at),
            letter.reason.clone(),
        ]
    });
    let table = table(&["id", "order", "partition#", "state", "failed at", "reason"], rows);
    if i64::try_from(letters.len()) == Ok(limit) {
        format!("{table}\nno more than {limit} are shown: see --limit")
    } else {
        table
    }
}

fn state(state: State) -> &'static str {
    match state {
        State::Waiting => "waiting",
        State::Requeued => "requeued",
        State::Discarded => "discarded",
        State::Decided => "decided",
    }
}

fn whole(letter: &View) -> String {
    let order = letter.order_id.map_or(NONE.to_owned(), |id| id.to_string());
    let account = letter.account_id.map_or(NONE.to_owned(), |id| id.to_string());
    format!(
        "id         {}\norder      {order}\naccount    {account}\npartition  {}\nstate      {}\nfailed at  {}\nreason     {}\npayload    {}",
        letter.id,
        letter.partition,
        state(letter.state),
        time(letter.failed_at),
        letter.reason,
        letter.payload.as_deref().unwrap_or(NONE)
    )
}

/// To the second, as RFC 3339 has it.
fn time(at: common::domain::Timestamp) -> String {
    let at = at.replace_nanosecond(0).unwrap_or(at);
    at.format(&time::format_description::well_known::Rfc3339).unwrap_or_else(|_| at.to_string())
}
