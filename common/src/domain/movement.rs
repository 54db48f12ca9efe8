//! The ledger: every change of a stock row, with its cause. What an order sells or reserves when it is decided is told by its
//! items; everything else is a [`Movement`].

use uuid::Uuid;

/// A change of one stock row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Movement {
    pub variant: Uuid,
    pub warehouse: Uuid,
    /// The version that it made.
    pub version: i64,
    pub cause: Cause,
    /// By how much what is on hand has changed.
    pub on_hand: i64,
    /// By how much what is reserved has changed.
    pub reserved: i64,
    /// The order whose stock it is.
    pub order: Option<Uuid>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Opening stock.
    Received,
    Adjusted,
    Deducted,
    Restored,
    /// What was reserved was paid or confirmed.
    Sold,
    /// What was reserved was cancelled.
    Released,
    /// What was reserved was not paid or confirmed in time.
    Expired,
    /// What was sold was cancelled.
    Restocked,
    /// Moved to or from another warehouse.
    Transferred,
    /// What was sold has come back, and can be sold again.
    Returned,
    /// What may be sold before it is there was set.
    Capped,
    /// What was sold before it was there is there.
    Served,
}

impl Cause {
    /// As it is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::Received => "received",
            Cause::Adjusted => "adjusted",
            Cause::Deducted => "deducted",
            Cause::Restored => "restored",
            Cause::Sold => "sold",
            Cause::Released => "released",
            Cause::Expired => "expired",
            Cause::Restocked => "restocked",
            Cause::Transferred => "transferred",
            Cause::Returned => "returned",
            Cause::Capped => "capped",
            Cause::Served => "served",
        }
    }
}

impl TryFrom<&str> for Cause {
    type Error = ();

    fn try_from(text: &str) -> Result<Self, ()> {
        const ALL: [Cause; 12] = [
            Cause::Received,
            Cause::Adjusted,
            Cause::Deducted,
            Cause::Restored,
            Cause::Sold,
            Cause::Released,
            Cause::Expired,
            Cause::Restocked,
            Cause::Transferred,
            Cause::Returned,
            Cause::Capped,
            Cause::Served,
        ];
        ALL.into_iter().find(|cause| cause.as_str() == text).ok_or(())
    }
}
