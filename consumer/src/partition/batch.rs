//! What is decided together: the commands of some messages, in order, of one or more partitions.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use common::db::dead_letters::DeadLetter;
use common::message::{self, Decided, Queued};
use common::queue::{Message, Receipt};

/// A command with the partition it came from and the epoch under which it may be decided.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub(crate) queued: Queued,
    pub(crate) partition: u16,
    pub(crate) epoch: i64,
}

/// What can't be decided, on its way to the dead letters.
#[derive(Debug, Clone)]
pub(crate) struct Dead {
    pub(crate) letter: DeadLetter,
    pub(crate) epoch: i64,
    /// Whom to tell that it has failed.
    pub(crate) told: Option<(String, Decided)>,
}

pub(crate) struct Batch {
    undecided: VecDeque<Pending>,
    dead: Vec<Dead>,
    /// The last message of each partition: acknowledging it acknowledges those before it.
    receipts: BTreeMap<u16, Receipt>,
    /// Most commands of a transaction.
    fit: usize,
    /// Most commands of the next transaction: less, while some fail together.
    together_max: usize,
}

impl Batch {
    /// An empty batch, of whose commands `fit` are decided together.
    pub(crate) fn new(fit: usize) -> Self {
        Self { undecided: VecDeque::new(), dead: Vec::new(), receipts: BTreeMap::new(), fit, together_max: fit }
    }

    /// The partitions that it holds something of.
    pub(crate) fn partitions(&self) -> BTreeSet<u16> {
        self.receipts.keys().copied().collect()
    }

    pub(crate) fn add(&mut self, message: Message, epoch: i64) {
        let Message { partition, body, receipt, .. } = message;
        match message::open(&body) {
            Ok(opened) => {
                let pending = |queued| Pending { queued, partition, epoch };
                self.undecided.extend(opened.commands.into_iter().map(pending));
                for stray in opened.unreadable {
                    self.bury(Dead { letter: DeadLetter::of_stray(partition, stray), epoch, told: None });
                }
            }
            Err(error) => {
                self.bury(Dead { letter: DeadLetter::of_message(partition, body, &error), epoch, told: None });
            }
        }
        self.receipts.insert(partition, receipt);
    }

    fn bury(&mut self, dead: Dead) {
        let DeadLetter { partition, command, reason, .. } = &dead.letter;
        let id = command.map(|(id, _)| id);
        tracing::error!(order.id = ?id, partition, reason, "a command goes to the dead letters");
        self.dead.push(dead);
    }

    /// Commands that are not decided yet.
    pub(crate) fn undecided(&self) -> usize {
        self.undecided.len()
    }

    /// Whether there is nothing left to decide or to put aside.
    pub(crate) fn is_decided(&self) -> bool {
        self.undecided.is_empty() && self.dead.is_empty()
    }

    /// Whether there is nothing left to do, not even to acknowledge.
    pub(crate) fn is_done(&self) -> bool {
        self.is_decided() && self.receipts.is_empty()
    }

    /// What the next transaction decides, and what it puts aside.
    pub(crate) fn next(&mut self) -> (&[Pending], &[Dead]) {
        let length = self.undecided.len().min(self.together_max);
        (&self.undecided.make_contiguous()[..length], &self.dead)
    }

    /// The first `count` commands are decided, and everything that can't be is put aside. After a failure the next
    /// transactions grow again.
    pub(crate) fn committed(&mut self, count: usize) -> Vec<(String, Decided)> {
        self.undecided.drain(..count);
        self.together_max = self.together_max.saturating_mul(2).min(self.fit);
        self.dead.drain(..).filter_map(|dead| dead.told).collect()
    }

    /// The commands of the last transaction fail together: the next one has half of them. Answers whether that is possible.
    pub(crate) fn halve(&mut self) -> bool {
        let length = self.undecided.len().min(self.together_max);
        self.together_max = (length / 2).max(1);
        length > 1
    }

    /// The first command fails by itself.
    pub(crate) fn condemn(&mut self, reason: String) {
        let Some(Pending { queued, partition, epoch }) = self.undecided.pop_front() else { return };
        let letter = DeadLetter::of_command(partition, &queued, reason);
        let id = queued.command.id;
        let told = queued.reply_to.map(|queue| (queue, Decided::FailedV1 { id }));
        self.bury(Dead { letter, epoch, told });
    }

    /// Drops what came from these partitions: unacknowledged, it goes to their new owner.
    pub(crate) fn forget(&mut self, partitions: &[u16]) {
        self.undecided.retain(|pending| !partitions.contains(&pending.partition));
        self.dead.retain(|dead| !partitions.contains(&dead.letter.partition));
        self.receipts.retain(|partition, _| !partitions.contains(partition));
    }

    /// Takes the receipts: everything is decided.
    pub(crate) fn take_receipts(&mut self) -> BTreeMap<u16, Receipt> {
        std::mem::take(&mut self.receipts)
    }
}
