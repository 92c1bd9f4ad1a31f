//! Names of users, from `/etc/passwd`.
//!
//! Must never ask a directory service: that needs libc's resolver, which may block for seconds and
//! loads foreign code. A user who is not in the file is shown by number.

use std::path::Path;

use model::Uid;

/// The users of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Users(Vec<(String, Uid)>);

impl Users {
    /// Reads `/etc/passwd`; an unreadable file means no names, so every user shows by number.
    pub fn load() -> Self {
        Self::load_from(Path::new("/etc/passwd"))
    }

    /// Reads a file of the same form.
    pub fn load_from(path: &Path) -> Self {
        std::fs::read(path)
            .map_or_else(|_| Self::default(), |bytes| Self::parse(&String::from_utf8_lossy(&bytes)))
    }

    /// Parses the text of such a file; lines of another form are passed over.
    pub fn parse(text: &str) -> Self {
        let user = |line: &str| {
            let mut fields = line.split(':');
            let name = fields.next().filter(|name| !name.is_empty() && !name.starts_with('#'))?;
            let uid = fields.nth(1)?.parse().ok()?;
            Some((name.to_owned(), Uid::new(uid)))
        };
        Self(text.lines().filter_map(user).collect())
    }

    /// The name of `uid`; the first of several.
    pub fn name_of(&self, uid: Uid) -> Option<&str> {
        self.0.iter().find(|(_, candidate)| *candidate == uid).map(|(name, _)| name.as_str())
    }

    /// The name of `uid`, or its number where it has none.
    pub fn label(&self, uid: Uid) -> String {
        self.name_of(uid).map_or_else(|| uid.to_string(), str::to_owned)
    }

    /// The uid called `name`.
    pub fn uid_of(&self, name: &str) -> Option<Uid> {
        self.0.iter().find(|(candidate, _)| candidate == name).map(|(_, uid)| *uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n# a comment\nbroken\n\
                          toor:x:0:0::/root:/bin/sh\nkim:x:1000:1000:Kim,,,:/home/kim:/bin/sh\n\
                          +::::::\nbad:x:minus:0::/:/bin/sh\n";

    #[test]
    fn names_and_numbers_are_found_both_ways() {
        let users = Users::parse(PASSWD);
        assert_eq!(users.name_of(Uid::new(0)), Some("root"));
        assert_eq!(users.uid_of("toor"), Some(Uid::new(0)));
        assert_eq!(users.uid_of("kim"), Some(Uid::new(1000)));
        assert_eq!(users.label(Uid::new(1000)), "kim");
        assert_eq!(users.label(Uid::new(4242)), "4242");
        assert_eq!(users.uid_of("bad"), None);
        assert_eq!(users.uid_of("broken"), None);
    }

    #[test]
    fn a_missing_file_means_numbers() {
        let users = Users::load_from(Path::new("/nonexistent/passwd"));
        assert_eq!(users.label(Uid::new(0)), "0");
    }
}
