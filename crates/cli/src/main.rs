//! migctl, the one executable.
//!
//! Must never hold logic: everything is in the library, where it can be tested.

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
