//! Holds a fair share of the partitions. What it says is advice to the writer; what makes it safe is the fence in each
//! transaction.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::db::partitions::{self, Lease};
use common::db::{self, PgConnection, consumers};
use common::partition::plan;
use common::queue::Link;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::Config;
use crate::partition::{Control, Idle};

const CONNECT_SECONDS_MAX: u64 = 2;
/// Longest wait for the writer's last batch when the consumer is stopped.
const STOP_SECONDS_MAX: u64 = 20;

const FAREWELL_SECONDS_MAX: u64 = 5;
/// A lease is renewed at least this many times before it runs out; a round that takes longer than its part is given up.
pub(crate) const ROUNDS_IN_LEASE: u32 = 3;

/// While something is on its way from one consumer to another, rounds are so many times as frequent.
const HASTE: u32 = 5;

/// Takes, renews and lets go leases, one round every [`Config::renew_every`].
pub(crate) struct Keeper {
    id: Uuid,
    config: Config,
    /// As many as the store had when this consumer started.
    partitions: u16,
    /// Unbounded, so that no round is cut off between a change and its telling; each lease is told of twice at the most.
    writer: mpsc::UnboundedSender<Control>,
    idle: Arc<Idle>,
    /// The writer's way to the broker, and since when it is not there.
    link: Link,
    cut_off: Option<Instant>,
    database: Option<PgConnection>,
    held: BTreeMap<u16, Lease>,
    /// Let go by us, not yet by the writer.
    releasing: Vec<(Lease, oneshot::Receiver<()>)>,
    /// How many of its share it could not take yet: another consumer has not let them go.
    missing: usize,
    /// When the last round began that has renewed what is held.
    renewed: Instant,
}

impl Keeper {
    pub(crate) fn new(
        id: Uuid,
        config: Config,
        partitions: u16,
        writer: mpsc::UnboundedSender<Control>,
        idle: Arc<Idle>,
        link: Link,
    ) -> Self {
        Self {
            id,
            config,
            partitions,
            writer,
            idle,
            link,
            cut_off: None,
            database: None,
            held: BTreeMap::new(),
            releasing: Vec::new(),
            missing: 0,
            renewed: Instant::now(),
        }
    }

    /// Keeps leases until `stop`, then waits for the writer to end and lets them all go. Ends by itself where the store's
    /// number of partitions was changed, with the new one.
    pub(crate) async fn keep(mut self, stop: &CancellationToken) -> Option<u16> {
        let mut resized = None;
        let mut next = Instant::now();
        loop {
            tokio::select! { () = tokio::time::sleep_until(next) => {}, () = stop.cancelled() => break }
            let began = Instant::now();
            let round = tokio::time::timeout(self.config.lease / ROUNDS_IN_LEASE, self.round());
            match round.await.unwrap_or(Err(db::Error::TimedOut)) {
                Ok(partitions) => {
                    self.renewed = began;
                    resized = Some(partitions).filter(|partitions| *partitions != self.partitions);
                    if resized.is_some() {
                        break;
                    }
                }
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "leases could not be renewed");
                    self.database = None;
                    self.give_up_if_expired();
                }
            }
            let haste = if self.missing > 0 || !self.releasing.is_empty() { HASTE } else { 1 };
            next = began + self.config.renew_every / haste;
        }
        self.stop().await;
        resized
    }

    /// Renews, lets go and takes. Answers with the number of partitions that the store has now.
    async fn round(&mut self) -> db::Result<u16> {
        self.finish_releases().await?;
        let (id, lease, name) = (self.id, self.config.lease, self.config.name.clone());
        let (useless, idle) = (self.is_useless(), self.idle.get());
        let database = self.database().await?;
        if !useless {
            consumers::heartbeat(database, id, &name).await?;
        }
        let renewed = partitions::renew(database, id, lease, &idle).await?;
        let mut snapshot = partitions::snapshot(database, lease).await?;
        if useless {
            snapshot.live.remove(&id);
        }
        self.forget_lost(&renewed);
        let strays = self.strays(&renewed);
        if !strays.is_empty() {
            self.hold(strays);
        }
        let plan = plan(&snapshot.partitions, &snapshot.live, id);
        for partition in plan.release {
            self.release(partition);
        }
        self.missing = plan.acquire;
        if plan.acquire > 0 {
            let acquired = partitions::acquire(self.database().await?, id, lease, plan.acquire).await?;
            self.missing -= acquired.len();
            self.hold(acquired);
        }
        Ok(u16::try_from(snapshot.partitions.len()).unwrap_or(u16::MAX))
    }

    /// Whether the broker has been away for longer than a lease: others may still reach it, and would take the partitions over.
    /// Until it is back this consumer counts as not there.
    fn is_useless(&mut self) -> bool {
        if self.link.connection().is_some() {
            self.cut_off = None;
            return false;
        }
        let since = *self.cut_off.get_or_insert_with(Instant::now);
        since.elapsed() > self.config.lease
    }

    /// Lets the writer go of everything once the leases have run out: somebody else may have them, and to the broker it would
    /// still be the active consumer. What is still ours when the database is back is taken up again.
    fn give_up_if_expired(&mut self) {
        if self.renewed.elapsed() < self.config.lease {
            return;
        }
        for (_, lease) in std::mem::take(&mut self.held) {
            tracing::warn!(partition = lease.partition, epoch = lease.epoch, "lease not renewed in time: given up");
            let (done, _) = oneshot::channel();
            self.tell(Control::LetGo { lease, done });
        }
    }

    /// The connection of the keeper alone.
    async fn database(&mut self) -> db::Result<&mut PgConnection> {
        if self.database.is_none() {
            let limits = db::Limits { statement: Duration::from_secs(CONNECT_SECONDS_MAX), ..db::Limits::default() };
            let wait = Duration::from_secs(CONNECT_SECONDS_MAX);
            let url = &self.config.servers.database_url;
            self.database = Some(db::connect(url, "onhand-consumer-leases", limits, wait).await?);
        }
        self.database.as_mut().ok_or(db::Error::TimedOut)
    }

    fn hold(&mut self, acquired: Vec<Lease>) {
        for lease in &acquired {
            tracing::info!(partition = lease.partition, epoch = lease.epoch, "partition taken");
            self.held.insert(lease.partition, *lease);
        }
        self.tell(Control::Hold(acquired));
    }

    /// A lease that ran out while we were not looking (paused, cut off) and is somebody else's now.
    fn forget_lost(&mut self, renewed: &[Lease]) {
        let lost: Vec<Lease> = self.held.values().filter(|lease| !renewed.contains(lease)).copied().collect();
        for lease in lost {
            tracing::warn!(partition = lease.partition, epoch = lease.epoch, "lease lost: another consumer has it");
            self.held.remove(&lease.partition);
            let (done, _) = oneshot::channel();
            self.tell(Control::LetGo { lease, done });
        }
    }

    fn release(&mut self, partition: u16) {
        if let Some(lease) = self.held.remove(&partition) {
            let (done, released) = oneshot::channel();
            self.tell(Control::LetGo { lease, done });
            self.releasing.push((lease, released));
        }
    }

    /// Gives up in the database what the writer has let go of. What fails stays to be tried again.
    async fn finish_releases(&mut self) -> db::Result<()> {
        let mut index = 0;
        while let Some((lease, released)) = self.releasing.get_mut(index) {
            if let Err(oneshot::error::TryRecvError::Empty) = released.try_recv() {
                index += 1;
                continue;
            }
            let (id, lease) = (self.id, *lease);
            partitions::release(self.database().await?, id, lease).await?;
            tracing::info!(partition = lease.partition, epoch = lease.epoch, "partition let go");
            self.releasing.swap_remove(index);
        }
        Ok(())
    }

    /// Leases that are ours in the database without our knowing: the answer to taking them was lost with a connection.
    fn strays(&self, renewed: &[Lease]) -> Vec<Lease> {
        let known = |lease: &Lease| {
            self.held.get(&lease.partition) == Some(lease) || self.releasing.iter().any(|(known, _)| known == lease)
        };
        renewed.iter().filter(|lease| !known(lease)).copied().collect()
    }

    async fn stop(&mut self) {
        let (done, stopped) = oneshot::channel();
        self.tell(Control::Stop { done });
        if tokio::time::timeout(Duration::from_secs(STOP_SECONDS_MAX), stopped).await.is_err() {
            tracing::warn!("the last batch did not end in time: it is left to the next owner");
        }
        let leases: Vec<Lease> = self.held.values().copied().chain(self.releasing.drain(..).map(|(l, _)| l)).collect();
        let id = self.id;
        let farewell = async {
            let database = self.database().await?;
            for lease in leases {
                partitions::release(database, id, lease).await?;
            }
            consumers::goodbye(database, id).await
        };
        let farewell = tokio::time::timeout(Duration::from_secs(FAREWELL_SECONDS_MAX), farewell);
        if let Err(error) = farewell.await.unwrap_or(Err(db::Error::TimedOut)) {
            tracing::warn!(error = &error as &dyn std::error::Error, "the leases run out by themselves");
        }
    }

    fn tell(&self, control: Control) {
        if self.writer.send(control).is_err() {
            tracing::error!("the writer is gone");
        }
    }
}
