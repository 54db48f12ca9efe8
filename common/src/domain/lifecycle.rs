//! Where an order may stand, and the only ways from one state to another.
//!
//! | change | from | to | stock |
//! | --- | --- | --- | --- |
//! | pay | pending (an order) | paid | reserved becomes sold |
//! | confirm | pending (a reservation) | paid: now it is an order | reserved becomes sold |
//! | cancel | pending (an order) | cancelled | reserved becomes available |
//! | cancel | paid, processing | cancelled | sold becomes available, where it came from |
//! | release | pending (a reservation) | cancelled | reserved becomes available |
//! | expire | pending, its time over | cancelled | reserved becomes available |
//! | process | paid | processing | |
//! | ship | processing | shipped | |
//! | deliver | shipped | delivered | |
//! | return | shipped, delivered | the same | what is restocked becomes available, where it came from |
//!
//! A change that has happened already leaves all as it is and is no mistake, but for a return: every one is another. Anything
//! else is an [`Obstacle`]. From the
//! moment its time is over a pending order can only expire, whether somebody has noted that or not.

use serde::{Deserialize, Serialize};

use super::{ReturnLine, Timestamp};

/// Where a decided order stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "lowercase", rename_all_fields = "camelCase")]
pub enum State {
    /// Refused when it was decided.
    Rejected,
    /// What it holds is reserved, see [`Hold`].
    Pending,
    /// Sold.
    Paid,
    Processing,
    Shipped {
        tracking: Option<Tracking>,
    },
    Delivered {
        tracking: Option<Tracking>,
    },
    /// It holds nothing.
    Cancelled {
        reason: CancelReason,
    },
}

/// How the carrier finds what was shipped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tracking {
    pub number: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carrier: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CancelReason {
    /// By the client or an operator.
    Requested,
    /// It was not paid, or not confirmed, in time.
    PaymentTimeout,
}

/// What reserves stock instead of selling it at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    pub kind: HoldKind,
    /// From this moment on it is no more.
    #[serde(with = "time::serde::rfc3339")]
    pub due_at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HoldKind {
    /// An order that is to be paid.
    Payment,
    /// A reservation, which is an order once it is confirmed.
    Reservation,
}

/// Money that was captured elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Payment {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The payment provider's name for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

/// What is to become of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    Pay(Payment),
    Confirm,
    Cancel,
    Release,
    Process,
    Ship {
        tracking: Option<Tracking>,
    },
    Deliver,
    /// Some of it has come back.
    Return {
        lines: Vec<ReturnLine>,
    },
}

/// What a change does to the stock that the order holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    None,
    /// Reserved becomes sold.
    Sell,
    /// Reserved becomes available.
    Release,
    /// Sold becomes available.
    Restock,
}

/// Why a change can't be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Obstacle {
    /// The time to pay or to confirm is over.
    PaymentTimeout,
    /// It was cancelled on request.
    OrderCancelled,
    /// It was paid before, otherwise.
    AlreadyPaid,
    /// It has left.
    AlreadyShipped,
    /// Some of it is not there yet.
    Backordered,
    /// It has not left: nothing can come back.
    NotShipped,
    /// More would come back than was bought and is not back yet.
    ReturnTooLarge,
    /// Any other step that is not in the table.
    IllegalTransition,
}

/// What of an order the table looks at.
#[derive(Debug, Clone, Copy)]
pub struct Standing<'a> {
    pub state: &'a State,
    pub hold: Option<Hold>,
    /// Whether what it had reserved was sold.
    pub converted: bool,
    pub payment: Option<&'a Payment>,
}

/// What a change leads to; `None` where it has happened already.
pub type Led = Result<Option<(State, Effect)>, Obstacle>;

impl Standing<'_> {
    /// Whether it reserves something, and its time is over.
    #[must_use]
    pub fn is_due(&self, now: Timestamp) -> bool {
        *self.state == State::Pending && self.hold.is_some_and(|hold| hold.due_at <= now)
    }

    /// Where `change` leads from here, by the table.
    ///
    /// # Errors
    /// With why it leads nowhere.
    pub fn after(&self, change: &Change, now: Timestamp) -> Led {
        if self.is_due(now) {
            return Err(Obstacle::PaymentTimeout);
        }
        match change {
            Change::Pay(payment) => self.pay(payment),
            Change::Confirm => self.confirm(),
            Change::Cancel => self.cancel(),
            Change::Release => self.release(),
            Change::Process => self.step(State::Paid, State::Processing),
            Change::Ship { tracking } => self.step(State::Processing, State::Shipped { tracking: tracking.clone() }),
            Change::Deliver => match self.state {
                State::Shipped { tracking } => {
                    Ok(Some((State::Delivered { tracking: tracking.clone() }, Effect::None)))
                }
                State::Delivered { .. } => Ok(None),
                State::Rejected | State::Pending | State::Paid | State::Processing | State::Cancelled { .. } => {
                    Err(self.state.obstacle())
                }
            },
            Change::Return { .. } => match self.state {
                State::Shipped { .. } | State::Delivered { .. } => Ok(Some((self.state.clone(), Effect::None))),
                State::Pending | State::Paid | State::Processing => Err(Obstacle::NotShipped),
                State::Rejected | State::Cancelled { .. } => Err(self.state.obstacle()),
            },
        }
    }

    fn pay(&self, payment: &Payment) -> Led {
        match self.state {
            State::Pending => Ok(Some((State::Paid, Effect::Sell))),
            State::Paid | State::Processing | State::Shipped { .. } | State::Delivered { .. } => {
                // The same payment told again, or an order that was sold at once and is said to be paid.
                if self.payment == Some(payment) || *payment == Payment::default() {
                    Ok(None)
                } else {
                    Err(Obstacle::AlreadyPaid)
                }
            }
            State::Rejected | State::Cancelled { .. } => Err(self.state.obstacle()),
        }
    }

    fn confirm(&self) -> Led {
        if self.converted {
            // Whatever has become of the order since.
            Ok(None)
        } else if *self.state == State::Pending {
            Ok(Some((State::Paid, Effect::Sell)))
        } else {
            Err(self.state.obstacle())
        }
    }

    fn cancel(&self) -> Led {
        let cancelled = State::Cancelled { reason: CancelReason::Requested };
        match self.state {
            State::Pending => Ok(Some((cancelled, Effect::Release))),
            State::Paid | State::Processing => Ok(Some((cancelled, Effect::Restock))),
            State::Cancelled { reason: CancelReason::Requested } => Ok(None),
            State::Shipped { .. } | State::Delivered { .. } => Err(Obstacle::AlreadyShipped),
            State::Cancelled { .. } | State::Rejected => Err(self.state.obstacle()),
        }
    }

    fn release(&self) -> Led {
        let cancelled = State::Cancelled { reason: CancelReason::Requested };
        if self.converted {
            Err(Obstacle::AlreadyPaid)
        } else if *self.state == State::Pending {
            Ok(Some((cancelled, Effect::Release)))
        } else if *self.state == cancelled {
            Ok(None)
        } else {
            Err(self.state.obstacle())
        }
    }

    fn step(&self, from: State, to: State) -> Led {
        if *self.state == to {
            Ok(None)
        } else if *self.state == from {
            Ok(Some((to, Effect::None)))
        } else {
            Err(self.state.obstacle())
        }
    }
}

impl State {
    /// As it is stored and shown.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            State::Rejected => "rejected",
            State::Pending => "pending",
            State::Paid => "paid",
            State::Processing => "processing",
            State::Shipped { .. } => "shipped",
            State::Delivered { .. } => "delivered",
            State::Cancelled { .. } => "cancelled",
        }
    }

    #[must_use]
    pub fn tracking(&self) -> Option<&Tracking> {
        match self {
            State::Shipped { tracking } | State::Delivered { tracking } => tracking.as_ref(),
            State::Rejected | State::Pending | State::Paid | State::Processing | State::Cancelled { .. } => None,
        }
    }

    /// What stands in the way of a step that is not in the table.
    fn obstacle(&self) -> Obstacle {
        match self {
            State::Cancelled { reason: CancelReason::PaymentTimeout } => Obstacle::PaymentTimeout,
            State::Cancelled { reason: CancelReason::Requested } => Obstacle::OrderCancelled,
            State::Rejected
            | State::Pending
            | State::Paid
            | State::Processing
            | State::Shipped { .. }
            | State::Delivered { .. } => Obstacle::IllegalTransition,
        }
    }
}

impl CancelReason {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            CancelReason::Requested => "requested",
            CancelReason::PaymentTimeout => "payment-timeout",
        }
    }
}

impl HoldKind {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            HoldKind::Payment => "payment",
            HoldKind::Reservation => "reservation",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn states() -> [State; 8] {
        [
            State::Rejected,
            State::Pending,
            State::Paid,
            State::Processing,
            State::Shipped { tracking: None },
            State::Delivered { tracking: None },
            State::Cancelled { reason: CancelReason::Requested },
            State::Cancelled { reason: CancelReason::PaymentTimeout },
        ]
    }

    /// One letter per state in the order of [`states`]: what a change leads to.
    fn row(change: &Change, hold: Option<HoldKind>, converted: bool, seconds_left: i64) -> String {
        let due_at = NOW + time::Duration::seconds(seconds_left);
        let hold = hold.map(|kind| Hold { kind, due_at });
        let letter = |state: &State| match (Standing { state, hold, converted, payment: None }).after(change, NOW) {
            Ok(None) => '=',
            Ok(Some((to, Effect::None))) => to.name().chars().next().unwrap_or('?'),
            Ok(Some((State::Paid, Effect::Sell))) => 'S',
            Ok(Some((State::Cancelled { reason: CancelReason::Requested }, Effect::Release))) => 'R',
            Ok(Some((State::Cancelled { reason: CancelReason::Requested }, Effect::Restock))) => 'B',
            Ok(Some(other)) => panic!("{other:?}"),
            Err(Obstacle::PaymentTimeout) => 't',
            Err(Obstacle::OrderCancelled) => 'c',
            Err(Obstacle::AlreadyPaid) => 'a',
            Err(Obstacle::AlreadyShipped) => 'x',
            Err(Obstacle::NotShipped) => 'n',
            Err(Obstacle::ReturnTooLarge | Obstacle::Backordered) => unreachable!("the table knows no items"),
            Err(Obstacle::IllegalTransition) => '-',
        };
        states().iter().map(letter).collect()
    }

    #[test]
    fn the_table_in_the_documentation_holds_for_every_change_from_every_state() {
        let order = Some(HoldKind::Payment);
        let reference = Payment { method: None, reference: Some("other".to_owned()) };
        for (change, expected) in [
            //                                     rejected, pending, paid, processing, shipped, delivered, cancelled, timed out
            (Change::Pay(Payment::default()), "-S====ct"),
            (Change::Pay(reference), "-Saaaact"),
            (Change::Cancel, "-RBBxx=t"),
            (Change::Process, "--p=--ct"),
            (Change::Ship { tracking: None }, "---s=-ct"),
            (Change::Deliver, "----d=ct"),
            (Change::Return { lines: Vec::new() }, "-nnnsdct"),
        ] {
            assert_eq!(row(&change, order, false, 1), expected, "{change:?}");
        }
        let reservation = Some(HoldKind::Reservation);
        assert_eq!(row(&Change::Confirm, reservation, false, 1)[1..2], *"S");
        assert_eq!(row(&Change::Confirm, reservation, false, 1)[6..], *"ct");
        assert_eq!(row(&Change::Confirm, reservation, true, 1)[2..7], *"=====");
        assert_eq!(row(&Change::Release, reservation, false, 1)[1..2], *"R");
        assert_eq!(row(&Change::Release, reservation, false, 1)[6..], *"=t");
        assert_eq!(row(&Change::Release, reservation, true, 1)[2..7], *"aaaaa");
    }

    #[test]
    fn from_its_last_moment_on_a_pending_order_can_only_expire() {
        let reservation = Some(HoldKind::Reservation);
        for change in [Change::Pay(Payment::default()), Change::Confirm, Change::Cancel, Change::Release] {
            assert_eq!(row(&change, reservation, false, 0)[1..2], *"t", "{change:?}");
            assert_ne!(row(&change, reservation, false, 1)[1..2], *"t", "{change:?}");
        }
    }

    #[test]
    fn what_is_shipped_keeps_its_tracking_and_is_not_shipped_twice_otherwise() {
        let tracking = |number: &str| Some(Tracking { number: number.to_owned(), carrier: None });
        let shipped = State::Shipped { tracking: tracking("1") };
        let standing = Standing { state: &shipped, hold: None, converted: false, payment: None };
        assert_eq!(standing.after(&Change::Ship { tracking: tracking("1") }, NOW), Ok(None));
        assert_eq!(standing.after(&Change::Ship { tracking: tracking("2") }, NOW), Err(Obstacle::IllegalTransition));
        let delivered = State::Delivered { tracking: tracking("1") };
        assert_eq!(standing.after(&Change::Deliver, NOW), Ok(Some((delivered, Effect::None))));
    }
}
