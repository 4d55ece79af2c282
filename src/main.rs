//! The one binary. What it is, its name and its first argument decide.

fn main() -> std::process::ExitCode {
    pvr_agent::cli::run(std::env::args_os())
}
