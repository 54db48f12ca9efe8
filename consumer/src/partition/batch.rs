//! What is decided together: the commands of some messages, in order, of one or more partitions.

use std::collections::{BTreeMap, VecDeque};

use common::message::{self, Queued};
use common::queue::{Message, Receipt};

/// A command with the partition it came from and the epoch under which it may be decided.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub(crate) queued: Queued,
    pub(crate) partition: u16,
    pub(crate) epoch: i64,
}

/// What can't be decided, on its way to the dead letters.
#[derive(Debug)]
pub(crate) struct Dead {
    pub(crate) partition: u16,
    pub(crate) bytes: Vec<u8>,
    pub(crate) reason: String,
}

#[derive(Default)]
pub(crate) struct Batch {
    undecided: VecDeque<Pending>,
    dead: Vec<Dead>,
    /// The last message of each partition: acknowledging it acknowledges those before it.
    receipts: BTreeMap<u16, Receipt>,
    one_by_one: bool,
}

impl Batch {
    pub(crate) fn add(&mut self, message: Message, epoch: i64) {
        let Message { partition, body, receipt, .. } = message;
        match message::open(&body) {
            Ok(opened) => {
                let pending = |queued| Pending { queued, partition, epoch };
                self.undecided.extend(opened.commands.into_iter().map(pending));
                for (bytes, error) in opened.unreadable {
                    self.bury(partition, bytes, common::program::chain(&error));
                }
            }
            Err(error) => self.bury(partition, body, common::program::chain(&error)),
        }
        self.receipts.insert(partition, receipt);
    }

    fn bury(&mut self, partition: u16, bytes: Vec<u8>, reason: String) {
        tracing::error!(partition, reason, "a command goes to the dead letters");
        self.dead.push(Dead { partition, bytes, reason });
    }

    /// Commands that are not decided yet.
    pub(crate) fn undecided(&self) -> usize {
        self.undecided.len()
    }

    /// Whether there is nothing left to decide, to bury or to acknowledge.
    pub(crate) fn is_done(&self) -> bool {
        self.undecided.is_empty() && self.dead.is_empty() && self.receipts.is_empty()
    }

    /// What the next transaction decides: everything, or one command where the batch as a whole has failed.
    pub(crate) fn group(&mut self) -> &[Pending] {
        let length = if self.one_by_one { self.undecided.len().min(1) } else { self.undecided.len() };
        &self.undecided.make_contiguous()[..length]
    }

    /// The first `count` commands are committed.
    pub(crate) fn decided(&mut self, count: usize) {
        self.undecided.drain(..count);
    }

    pub(crate) fn next_dead(&self) -> Option<&Dead> {
        self.dead.last()
    }

    /// The one that [`Self::next_dead`] told is in the dead-letter queue.
    pub(crate) fn buried(&mut self) {
        self.dead.pop();
    }

    /// From now on each command has a transaction of its own.
    pub(crate) fn isolate(&mut self) {
        self.one_by_one = true;
    }

    /// The first undecided command can't be decided.
    pub(crate) fn condemn(&mut self, reason: &str) {
        if let Some(Pending { queued, partition, .. }) = self.undecided.pop_front() {
            let bytes = message::encode(&queued).unwrap_or_else(|_| format!("{queued:?}").into_bytes());
            self.bury(partition, bytes, reason.to_owned());
        }
    }

    /// Drops what came from these partitions: unacknowledged, it goes to their new owner.
    pub(crate) fn forget(&mut self, partitions: &[u16]) {
        self.undecided.retain(|pending| !partitions.contains(&pending.partition));
        self.dead.retain(|dead| !partitions.contains(&dead.partition));
        self.receipts.retain(|partition, _| !partitions.contains(partition));
    }

    /// Takes the receipts: everything is decided.
    pub(crate) fn take_receipts(&mut self) -> BTreeMap<u16, Receipt> {
        std::mem::take(&mut self.receipts)
    }
}
