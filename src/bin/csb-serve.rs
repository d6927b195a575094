//! `csb-serve`: opens a pool's stores for the pool's partner, over standard input and output.

#![allow(clippy::print_stderr, reason = "a program that says why it ends")]

use std::process::ExitCode;

fn main() -> ExitCode {
    match cs_backup::module::served::run(std::env::args_os().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("csb-serve: {error} {}", error.advice);
            ExitCode::FAILURE
        }
    }
}
