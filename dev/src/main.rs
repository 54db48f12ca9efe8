//! `cargo run --release`: the whole system on one machine.

use std::process::ExitCode;

use common::steps::Steps;

fn main() -> ExitCode {
    dev::main(Steps::none())
}
