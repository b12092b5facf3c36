//! edge-ger: parse, run, exit.

use std::{env, process::ExitCode};

fn main() -> ExitCode {
    edge_ger::cli::run(env::args_os()).into()
}
