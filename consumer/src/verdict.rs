//! What an error means for the batch it met. Every error of the path is matched here and nowhere else.

use common::db;

/// What can go wrong between a batch's first statement and its last acknowledgement.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("the batch could not be decided")]
    Database(#[from] db::Error),
    /// Somebody else writes these partitions now: they have another epoch.
    #[error("the leases of partitions {0:?} are lost")]
    Fenced(Vec<u16>),
    #[error("the batch took too long")]
    TooLong,
}

/// What is to be done with the batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Hold it and try again after a while. Nothing is acknowledged.
    Retry,
    /// The same, with fewer commands at once.
    RetryLess,
    /// Forget the messages of these partitions: their new owner gets them.
    Forget(Vec<u16>),
    /// Some command of it is at fault: find it by halves.
    Isolate,
}

impl Failure {
    pub(crate) fn verdict(&self) -> Verdict {
        match self {
            Failure::Fenced(partitions) => Verdict::Forget(partitions.clone()),
            Failure::TooLong => Verdict::RetryLess,
            Failure::Database(error) if error.is_too_much() => Verdict::RetryLess,
            Failure::Database(error) if error.is_passing() => Verdict::Retry,
            Failure::Database(_) => Verdict::Isolate,
        }
    }
}
