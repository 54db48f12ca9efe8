//! What the api and the consumer share, and the decision core.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`domain`] | the decision core: commands, stock, decisions. No I/O, no clock, no randomness |
//! | [`partition`] | which partition a product belongs to, and who should hold which partitions. Pure |
//! | [`ids`] | order ids that any api instance can check without a database |
//! | [`event`] | what can be told of |
//! | [`message`] | what travels through the broker, versioned |
//! | [`db`] | all SQL |
//! | [`queue`] | all of RabbitMQ |
//! | [`config`] | settings from the environment, all mistakes reported at once |
//! | [`retry`], [`clock`], [`telemetry`], [`steps`] | waiting, reading the time, logging, and places where a test may stop a program |
//!
//! **Architecture invariant**: nothing is here unless both programs use it or it is part of the pure core.

pub mod address;
pub mod clock;
pub mod config;
pub mod db;
pub mod domain;
pub mod event;
pub mod ids;
pub mod message;
pub mod partition;
pub mod program;
pub mod queue;
pub mod retry;
pub mod steps;
pub mod telemetry;
pub mod webhook;
