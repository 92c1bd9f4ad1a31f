//! migd: `migctl daemon` under a name of its own, for service files.
//!
//! Must never hold logic: everything is in the library, where it can be tested.

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::daemon_main()
}
