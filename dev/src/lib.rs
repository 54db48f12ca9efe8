//! The whole system on one machine: private PostgreSQL and RabbitMQ, the api, consumers, and a demo shop.
//!
//! | module | what it does |
//! | --- | --- |
//! | `options` | the command line |
//! | `up` | starts everything in order, and stops it in the reverse order |
//! | `children` | the api and the consumers as processes of their own, started again when they die |
//! | `keys` | a client's and an operator's key, the same at each start |
//! | `catalogue` | the demo shop |
//! | `http` | a few questions to the api |
//! | `banner` | what to try |
//! | `addresses` | where the private servers are, for operators' commands |
//!
//! One executable plays every part: started again with the name of a part as its first argument it is that part. So one
//! build is all there is to run, and each part can be killed by itself.

mod addresses;
mod banner;
mod catalogue;
mod children;
mod http;
mod keys;
mod options;
mod up;

use std::ffi::OsStr;
use std::process::ExitCode;

use common::steps::Steps;

/// Plays the part that the command line names; by default, everything.
#[must_use]
pub fn main(steps: Steps) -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let first = std::env::args_os().nth(1);
    match first.as_deref().and_then(OsStr::to_str) {
        Some(servers::GUARD_ARGUMENT) => servers::guard::main(arguments.skip(1)),
        Some(children::API) => {
            arguments.next();
            api::program::main(arguments, &addresses::lookup, steps, children::stop_with_parent())
        }
        Some(children::CONSUMER) => {
            arguments.next();
            consumer::program::main(arguments, &addresses::lookup, steps, children::stop_with_parent())
        }
        _ => up::main(),
    }
}
