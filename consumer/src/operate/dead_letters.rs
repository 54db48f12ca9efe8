//! `consumer dead-letters`.

use common::db::dead_letters::{Settled, StoredLetter, find, list, settle};
use common::db::{self, PgConnection};
use common::message::{self, Opened, Queued, Stray};
use common::partition::partition_of;
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
    /// Give them up: their orders stay failed
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

/// Most that are dealt with at once.
const AT_ONCE: i64 = 1_000;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View {
    id: Uuid,
    order_id: Option<Uuid>,
    account_id: Option<Uuid>,
    partition: i16,
    /// `waiting`, `requeued` or `discarded`; `decided` where it was queued again and is decided.
    state: String,
    reason: String,
    #[serde(with = "time::serde::rfc3339")]
    failed_at: common::domain::Timestamp,
    /// What was published, as text; what is none is replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
}

impl View {
    fn of(letter: &StoredLetter, whole: bool) -> Self {
        let state = if letter.decided { "decided".to_owned() } else { letter.state.clone() };
        Self {
            id: letter.id,
            order_id: letter.command_id,
            account_id: letter.account_id,
            partition: letter.partition,
            state,
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
            let letters = list(&mut database, all, limit).await?;
            let views: Vec<View> = letters.iter().map(|letter| View::of(letter, false)).collect();
            operator.print(&views, || human(&views))
        }
        Command::Show { id } => {
            let letters = letters_of(&mut database, id).await?;
            let views: Vec<View> = letters.iter().map(|letter| View::of(letter, true)).collect();
            operator.print(&views, || views.iter().map(whole).collect::<Vec<_>>().join("\n\n"))
        }
        Command::Requeue(which) => {
            let partitions = db::setup::settings(&mut database, None).await?.partitions;
            let broker = operator.broker(partitions).await?;
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
    let mut letters = Vec::new();
    if which.all {
        letters = list(database, false, AT_ONCE).await?;
    }
    for id in &which.ids {
        letters.extend(letters_of(database, *id).await?);
    }
    let mut done = Vec::new();
    for letter in letters {
        let left = settle_one(database, &letter, settled, requeue).await?;
        done.push(Done { id: letter.id, order_id: letter.command_id, left });
    }
    let what = match settled {
        Settled::Requeued => "queued again",
        Settled::Discarded => "discarded",
    };
    operator.print(&done, || {
        let line = |done: &Done| match &done.left {
            None => format!("{}  {what}", done.id),
            Some(why) => format!("{}  left as it is: {why}", done.id),
        };
        if done.is_empty() { "nothing waits".to_owned() } else { done.iter().map(line).collect::<Vec<_>>().join("\n") }
    })?;
    let left = done.iter().filter(|done| done.left.is_some()).count();
    if left > 0 { Err(format!("{left} of {} dead letters are left as they are", done.len()).into()) } else { Ok(()) }
}

/// Deals with one; answers why it was left as it is, if it was.
async fn settle_one(
    database: &mut PgConnection,
    letter: &StoredLetter,
    settled: Settled,
    requeue: Option<&Requeue>,
) -> Result<Option<String>, Failure> {
    if letter.state != "waiting" && !(letter.state == "discarded" && settled == Settled::Requeued) {
        return Ok(Some(format!("it is {}", letter.state)));
    }
    // Published first: should this end in between, it waits although it is decided, which its state will tell.
    if let Some(requeue) = requeue
        && let Err(why) = requeue.publish(letter).await
    {
        return Ok(Some(why));
    }
    match settle(database, letter, settled).await? {
        true => Ok(None),
        false => Ok(Some("it has failed again".to_owned())),
    }
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
            let partition = partition_of(queued.command.leading_product(), self.partitions);
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

fn human(letters: &[View]) -> String {
    if letters.is_empty() {
        return "no dead letters wait".to_owned();
    }
    let rows = letters.iter().map(|letter| {
        vec![
            letter.id.to_string(),
            letter.order_id.map_or(NONE.to_owned(), |id| id.to_string()),
            letter.partition.to_string(),
            letter.state.clone(),
            time(letter.failed_at),
            letter.reason.clone(),
        ]
    });
    table(&["id", "order", "partition#", "state", "failed at", "reason"], rows)
}

fn whole(letter: &View) -> String {
    let order = letter.order_id.map_or(NONE.to_owned(), |id| id.to_string());
    let account = letter.account_id.map_or(NONE.to_owned(), |id| id.to_string());
    format!(
        "id         {}\norder      {order}\naccount    {account}\npartition  {}\nstate      {}\nfailed at  {}\nreason     {}\npayload    {}",
        letter.id,
        letter.partition,
        letter.state,
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
