//! The program under test: what ships, with a step to stop at, named by `ONHAND_TEST_STOP_AT`.

use std::process::ExitCode;

fn main() -> ExitCode {
    dev::main(tests::steps::from_environment())
}
