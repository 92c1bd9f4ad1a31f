//! The exit codes of `doctor`.
//!
//! Must never change: scripts rely on them.

use std::process::ExitCode;

use api::Severity;

/// 0 where nothing is above `info`, 1 with warnings, 2 with errors.
pub(crate) fn exit_of(worst: Severity) -> ExitCode {
    ExitCode::from(code_of(worst))
}

const fn code_of(worst: Severity) -> u8 {
    match worst {
        Severity::Ok | Severity::Info => 0,
        Severity::Warn => 1,
        Severity::Error => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_warnings_and_errors_count() {
        let all = [Severity::Ok, Severity::Info, Severity::Warn, Severity::Error];
        assert_eq!(all.map(code_of), [0, 0, 1, 2]);
    }
}
