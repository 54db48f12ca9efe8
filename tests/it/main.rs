//! What the system promises, against real servers and real processes: one module per behaviour.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod accounts;
mod backorders;
mod backpressure;
mod bad_input;
mod bundles;
mod carts;
mod catalogue;
mod cluster;
mod dead_letters;
mod delivery;
mod events;
mod exactly_once;
mod expiry;
mod idempotency;
mod imports;
mod leases;
mod lifecycle;
mod limits;
mod live;
mod messages;
mod one_command;
mod operators;
mod orders;
mod outages;
mod payments;
mod resize;
mod returns;
mod setup;
mod stock;
mod warehouses;
mod webhooks;
