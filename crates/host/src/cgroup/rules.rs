//! What to write so that of a kind of devices only some stay allowed.
//!
//! Must never remove what another device needs: a rule that cannot be narrowed is said to be so.

/// One line for the controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// Takes the right away.
    Deny(String),
    /// Gives it back.
    Allow(String),
}

impl Rule {
    /// The file it belongs into, and the line.
    pub(super) fn write(&self) -> (&'static str, &str) {
        match self {
            Self::Deny(line) => ("devices.deny", line),
            Self::Allow(line) => ("devices.allow", line),
        }
    }
}

/// The group above allows more devices in one rule than can be told apart.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the rule `{0}` allows more than the nodes of slices, and cannot be narrowed")]
pub struct Unfilterable(String);

/// The rules for a group that allows `list` (its `devices.list`), after which of `major`'s devices
/// `every` only `own` can be opened.
///
/// A group that allows everything keeps a list of exceptions, which a rule leaves only by its exact
/// like; so each device is denied by itself. A group that denies everything keeps a list of what is
/// allowed: rules about the major are replaced.
///
/// # Errors
/// [`Unfilterable`].
pub fn rules(
    list: &str,
    major: u32,
    own: &[u32],
    every: &[u32],
) -> Result<Vec<Rule>, Unfilterable> {
    let lines: Vec<&str> = list.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let others = every.iter().filter(|minor| !own.contains(minor));
    if lines.iter().any(|line| line.starts_with("a ")) {
        return Ok(others.map(|minor| Rule::Deny(format!("c {major}:{minor} rwm"))).collect());
    }
    let mut rules = Vec::new();
    let mut had = false;
    for line in lines {
        let mut words = line.split(' ');
        let (Some("c"), Some(device), Some(rights)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        // To make a node is not to open it.
        if !rights.contains(['r', 'w']) {
            continue;
        }
        let Some((of, minor)) = device.split_once(':') else { continue };
        if of == "*" {
            return Err(Unfilterable(line.to_owned()));
        }
        if of.parse() != Ok(major) {
            continue;
        }
        let exact = minor.parse::<u32>().ok();
        if exact.is_none_or(|minor| every.contains(&minor) && !own.contains(&minor)) {
            rules.push(Rule::Deny(line.to_owned()));
        }
        had |= exact.is_none();
    }
    if had {
        rules.extend(own.iter().map(|minor| Rule::Allow(format!("c {major}:{minor} rw"))));
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deny(line: &str) -> Rule {
        Rule::Deny(line.to_owned())
    }

    #[test]
    fn where_everything_is_allowed_each_other_slice_is_denied() {
        let found = rules("a *:* rwm\n", 240, &[4], &[3, 4, 5]).unwrap();
        assert_eq!(found, [deny("c 240:3 rwm"), deny("c 240:5 rwm")]);
    }

    #[test]
    fn where_a_list_is_allowed_its_rules_are_replaced() {
        let list = "c *:* m\nb *:* m\nc 1:3 rwm\nc 240:* rw\nc 195:* rwm\n";
        let found = rules(list, 240, &[4], &[3, 4, 5]).unwrap();
        assert_eq!(found, [deny("c 240:* rw"), Rule::Allow("c 240:4 rw".into())]);
        let exact = rules("c 240:3 rw\nc 240:4 rw\nc 240:2 r\n", 240, &[4], &[3, 4, 5]).unwrap();
        assert_eq!(exact, [deny("c 240:3 rw")]);
        assert_eq!(rules("c 1:3 rwm\n", 240, &[4], &[3]).unwrap(), []);
    }

    #[test]
    fn what_cannot_be_narrowed_is_said() {
        let error = rules("c *:* rwm\n", 240, &[4], &[3]).unwrap_err().to_string();
        assert!(error.contains("c *:* rwm"), "{error}");
    }
}
