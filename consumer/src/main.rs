//! The consumer as a program of its own.

use std::process::ExitCode;

use common::config::environment;
use common::steps::Steps;
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    consumer::program::main(std::env::args_os().skip(1), &environment, Steps::none(), CancellationToken::new())
}
