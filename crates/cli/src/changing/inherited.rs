//! What nvidia-mig-parted's users keep in the environment (`MIG_PARTED_*`).
//!
//! Must never outrank an option.

use crate::Failure;

/// A variable that is set and not empty.
pub(crate) fn text(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A variable that says yes or no; unset is no.
///
/// # Errors
/// [`Failure`] with exit code 3 for any other word.
pub(crate) fn flag(name: &str) -> Result<bool, Failure> {
    let Some(value) = text(name) else { return Ok(false) };
    parsed(&value).ok_or_else(|| {
        Failure::usage(format!("{name} is `{value}`")).hint("write true or false, or unset it")
    })
}

/// As Go's flags read it.
fn parsed(value: &str) -> Option<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_as_go_reads_them() {
        assert_eq!(
            ["1", "true", "F", "yes"].map(parsed),
            [Some(true), Some(true), Some(false), None]
        );
    }
}
