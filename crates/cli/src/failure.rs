//! What went wrong, as the user sees it: a code, a sentence, a hint and an exit code.
//!
//! Must never be printed anywhere but at the edge, once.

use std::error::Error;
use std::fmt::Write as _;
use std::process::ExitCode;

use api::{ClientError, Problem};
use clap::ColorChoice;
use driver::{DriverError, NvmlReturn, RetryClass};

use crate::output::Output;

/// The exit codes of migctl.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Everything asked for was done.
    Success,
    /// The answer is no.
    Negative,
    /// Something failed.
    Failure,
    /// The command line makes no sense.
    Usage,
    /// The caller may not do that.
    Permission,
    /// Something is busy; the same command may work later.
    Busy,
    /// Under `run` and `shell`: the request waited as long as it may.
    WaitExpired,
    /// Under `run` and `shell`: migctl itself failed.
    Ours,
    /// Under `run` and `shell`: the command exists and cannot be executed.
    CannotExecute,
    /// Under `run` and `shell`: there is no such command.
    NotFound,
    /// A signal of this number ended it.
    Signal(u8),
}

impl Exit {
    /// The number the shell sees.
    pub const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Negative => 1,
            Self::Failure => 2,
            Self::Usage => 3,
            Self::Permission => 4,
            Self::Busy => 5,
            Self::WaitExpired => 124,
            Self::Ours => 125,
            Self::CannotExecute => 126,
            Self::NotFound => 127,
            Self::Signal(number) => 128_u8.saturating_add(number),
        }
    }

    /// What an HTTP status of the daemon means for the caller: 400, 404 and 422 are the command
    /// line's fault, 401 and 403 are permission, 409, 423, 429 and 503 pass with time.
    pub const fn of_status(status: u16) -> Self {
        match status {
            400 | 404 | 422 => Self::Usage,
            401 | 403 => Self::Permission,
            409 | 423 | 429 | 503 => Self::Busy,
            _ => Self::Failure,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// A failure on its way to the user.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// A stable code (`E-NO-DRIVER`).
    pub code: String,
    /// What failed, and why: `cannot read the GPUs: ...`.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
    /// How the process ends.
    pub exit: Exit,
    /// Whether to end without a word: the reader of stdout is gone.
    pub silent: bool,
}

impl Failure {
    /// A failure with exit code 2.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
            hint: None,
            exit: Exit::Failure,
            silent: false,
        }
    }

    /// `what: error: its cause: ...`, exit code 2.
    pub fn caused(code: &str, what: &str, error: &dyn Error) -> Self {
        Self::new(code, format!("{what}: {}", chain(error)))
    }

    /// The command line makes no sense (exit code 3).
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new("E-USAGE", message).exit(Exit::Usage)
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Sets how the process ends.
    #[must_use]
    pub const fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// A call to the daemon failed; `what` was being done.
    pub fn of_client(what: &str, error: &ClientError) -> Self {
        match error {
            ClientError::Refused(problem) => Self::of_problem(what, problem),
            ClientError::NotRunning { .. } => Self::caused("E-NO-DAEMON", what, error),
            ClientError::Untrusted { .. } => Self::caused("E-DAEMON-UNTRUSTED", what, error)
                .exit(Exit::Permission)
                .hint("talk to a daemon of root or of your own, or choose another --state-dir"),
            ClientError::Broken { .. } => Self::caused("E-DAEMON-LOST", what, error)
                .hint("look at the daemon's log and try again"),
        }
    }

    fn of_problem(what: &str, problem: &Problem) -> Self {
        let why = if problem.detail.is_empty() { &problem.title } else { &problem.detail };
        let failure = Self::new(&problem.code, format!("{what}: {why}"))
            .exit(Exit::of_status(problem.status));
        match &problem.hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }

    /// An operation on the driver failed; `what` was being done.
    pub fn of_driver(what: &str, error: &DriverError) -> Self {
        let failure = Self::caused(error.code(), what, error);
        let failure = match error.retry_class() {
            _ if error.nvml_return() == Some(NvmlReturn::NoPermission) => {
                failure.exit(Exit::Permission)
            }
            RetryClass::Retry => failure.exit(Exit::Busy),
            RetryClass::Stop | RetryClass::Quarantine => failure,
        };
        match error.hint() {
            "" => failure,
            hint => failure.hint(hint),
        }
    }

    /// Under `run` and `shell`, codes up to 124 are the program's: ours become 125.
    #[must_use]
    pub const fn under_run(mut self) -> Self {
        self.exit = match self.exit {
            Exit::WaitExpired | Exit::CannotExecute | Exit::NotFound | Exit::Signal(_) => self.exit,
            Exit::Success
            | Exit::Negative
            | Exit::Failure
            | Exit::Usage
            | Exit::Permission
            | Exit::Busy
            | Exit::Ours => Exit::Ours,
        };
        self
    }

    /// The lines for stderr.
    pub fn text(&self) -> String {
        let mut text = format!("migctl: {}", self.message);
        if let Some(hint) = &self.hint {
            let _ = write!(text, "\nhint: {hint}");
        }
        text
    }

    /// The same for a program, in one line: the fields of the API's problems that a command line has, and
    /// the exit code.
    pub fn document(&self) -> String {
        let mut document = serde_json::json!({
            "code": self.code,
            "detail": self.message,
            "exit": self.exit.code(),
        });
        if let Some(hint) = &self.hint {
            document["hint"] = hint.as_str().into();
        }
        document.to_string()
    }

    /// Prints it and gives the exit code.
    pub(crate) fn report(&self, output: &Output) -> ExitCode {
        if !self.silent {
            output.complain(self);
        }
        self.exit.into()
    }
}

/// An error and its causes, joined by colons; a cause the level above already tells is left out.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.ends_with(&words) {
            let _ = write!(text, ": {words}");
        }
        cause = error.source();
    }
    text
}

/// Prints what clap found and gives the exit code: help and version are success, the rest is 3, or
/// 125 where lower codes are those of the program to run.
pub(crate) fn refuse_usage(error: &clap::Error, under_run: bool, json: bool) -> ExitCode {
    if !error.use_stderr() {
        // Help for a reader that has gone is help no less.
        let _ = error.print();
        return Exit::Success.into();
    }
    let exit = if under_run { Exit::Ours } else { Exit::Usage };
    if json {
        let text = error.render().to_string();
        let failure = Failure::usage(text.trim_start_matches("error: ").trim_end()).exit(exit);
        return failure.report(&Output::new(error_color(), 0, true));
    }
    let text = error.render().ansi().to_string().replacen("error:", "migctl:", 1);
    Output::new(error_color(), 0, false).warn(text.trim_end());
    exit.into()
}

/// The command line was not understood, so its `--color` is not known either.
const fn error_color() -> ColorChoice {
    ColorChoice::Auto
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16) -> ClientError {
        let problem = Problem::new(status, "E-X", "title", "the detail");
        ClientError::Refused(Problem { hint: Some("do this".into()), ..problem })
    }

    #[test]
    fn statuses_of_the_daemon_become_exit_codes() {
        let codes = [
            (400, 3),
            (404, 3),
            (422, 3),
            (403, 4),
            (409, 5),
            (423, 5),
            (429, 5),
            (503, 5),
            (500, 2),
            (507, 2),
            (418, 2),
        ];
        for (status, code) in codes {
            let failure = Failure::of_client("cannot lease", &refused(status));
            assert_eq!(failure.exit.code(), code, "{status}");
        }
    }

    #[test]
    fn a_failure_says_what_why_and_what_next() {
        let failure = Failure::of_client("cannot lease", &refused(409));
        assert_eq!(failure.text(), "migctl: cannot lease: the detail\nhint: do this");
        assert_eq!(failure.code, "E-X");
    }

    #[test]
    fn a_program_reads_the_same_in_one_line() {
        let failure = Failure::of_client("cannot lease", &refused(409));
        let document = failure.document();
        assert!(!document.contains('\n'), "{document}");
        let document: serde_json::Value = serde_json::from_str(&document).unwrap();
        let expected = serde_json::json!({
            "code": "E-X", "detail": "cannot lease: the detail", "hint": "do this", "exit": 5,
        });
        assert_eq!(document, expected);
    }

    #[test]
    fn under_run_our_own_codes_leave_room_for_the_program() {
        for (exit, code) in [
            (Exit::Failure, 125),
            (Exit::Usage, 125),
            (Exit::Busy, 125),
            (Exit::Permission, 125),
            (Exit::WaitExpired, 124),
            (Exit::CannotExecute, 126),
            (Exit::NotFound, 127),
            (Exit::Signal(2), 130),
        ] {
            let failure = Failure::new("E-X", "x").exit(exit).under_run();
            assert_eq!(failure.exit.code(), code);
        }
    }

    #[test]
    fn causes_are_joined_once() {
        let error = ClientError::NotRunning {
            socket: "/run/x.sock".into(),
            source: std::io::Error::from_raw_os_error(2),
        };
        let failure = Failure::of_client("cannot list", &error);
        assert_eq!(
            failure.message,
            "cannot list: no daemon answers on /run/x.sock: No such file or directory (os error 2)"
        );
    }
}
