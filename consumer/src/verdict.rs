//! What an error means for the batch it met. Every error of the path is matched here and nowhere else.

use common::{db, queue};

/// What can go wrong between a batch's first statement and its last acknowledgement.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("the batch could not be decided")]
    Database(#[from] db::Error),
    /// Somebody else writes these partitions now: they have another epoch.
    #[error("the leases of partitions {0:?} are lost")]
    Fenced(Vec<u16>),
    #[error("what can't be read could not be put aside")]
    DeadLetter(#[source] queue::Error),
    #[error("the batch took too long")]
    TooLong,
}

/// What is to be done with the batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Hold it and try again after a while. Nothing is acknowledged.
    Retry,
    /// Forget the messages of these partitions: their new owner gets them.
    Forget(Vec<u16>),
    /// Some command of it is at fault: decide them one by one.
    Isolate,
}

impl Failure {
    pub(crate) fn verdict(&self) -> Verdict {
        match self {
            Failure::Fenced(partitions) => Verdict::Forget(partitions.clone()),
            Failure::Database(error) if !error.is_passing() => Verdict::Isolate,
            Failure::Database(_) | Failure::DeadLetter(_) | Failure::TooLong => Verdict::Retry,
        }
    }
}
