//! What somebody agrees to beside the slice, as options: idleness, restarts, lingering, notices.
//!
//! Must never promise what a tenant's rules may refuse: the daemon decides.

use clap::Args;
use model::Millis;

/// The terms of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Terms")]
pub(crate) struct TermsArgs {
    /// Take the slice back after so long without use, with a warning first
    #[arg(long, value_name = "T", conflicts_with = "stay_idle")]
    pub(crate) idle_limit: Option<Millis>,

    /// Keep the slice however long it is not used, where the rules allow that
    #[arg(long)]
    pub(crate) stay_idle: bool,

    /// The command may be stopped (TERM) and started anew on another slice when others need the
    /// room: it saves its work by itself
    #[arg(long)]
    pub(crate) restartable: bool,

    /// Keep the slice for so long after the command or container ended, for the next one of the
    /// same --name
    #[arg(long, value_name = "T", requires = "name")]
    pub(crate) linger: Option<Millis>,

    /// Send the command this signal with a notice (USR1, USR2, TERM or INT)
    #[arg(long, value_name = "SIG", value_parser = notice_signal)]
    pub(crate) notice_signal: Option<String>,
}

/// A signal by its name, with or without SIG.
fn notice_signal(text: &str) -> Result<String, String> {
    let name = text.trim().to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    if ["USR1", "USR2", "TERM", "INT"].contains(&name) {
        Ok(name.to_owned())
    } else {
        Err(format!("`{text}` is no signal for a notice; write USR1, USR2, TERM or INT"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_taken_with_and_without_sig() {
        assert_eq!(notice_signal("sigusr1").as_deref(), Ok("USR1"));
        assert_eq!(notice_signal("TERM").as_deref(), Ok("TERM"));
        for bad in ["KILL", "", "10"] {
            assert!(notice_signal(bad).is_err(), "{bad}");
        }
    }
}
