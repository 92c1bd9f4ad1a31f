//! Members of groups, from `/etc/group` and `/etc/passwd`.
//!
//! Must never ask a directory service, for the reasons of [`crate::Users`].

use std::path::Path;

use model::Uid;

/// The groups of a machine, with their members.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Groups(Vec<(String, Vec<Uid>)>);

impl Groups {
    /// Reads `/etc/group` and `/etc/passwd`; an unreadable file has no members.
    pub fn load() -> Self {
        let read = |path: &str| {
            let bytes = std::fs::read(Path::new(path)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        Self::parse(&read("/etc/group"), &read("/etc/passwd"))
    }

    /// Parses the texts of such files; lines of another form are passed over.
    pub fn parse(group: &str, passwd: &str) -> Self {
        let users: Vec<(&str, Uid, &str)> = passwd
            .lines()
            .filter_map(|line| {
                let fields: Vec<&str> = line.split(':').collect();
                Some((*fields.first()?, Uid::new(fields.get(2)?.parse().ok()?), *fields.get(3)?))
            })
            .collect();
        let groups = group.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let (name, gid, listed) = (*fields.first()?, *fields.get(2)?, *fields.get(3)?);
            let listed: Vec<&str> = listed.split(',').map(str::trim).collect();
            let belongs =
                |(user, _, primary): &&(&str, Uid, &str)| *primary == gid || listed.contains(user);
            let members = users.iter().filter(belongs).map(|(_, uid, _)| *uid).collect();
            Some((name.to_owned(), members))
        });
        Self(groups.collect())
    }

    /// The members of a group, those included whose own group it is; `None` if there is no such
    /// group.
    pub fn members_of(&self, name: &str) -> Option<&[Uid]> {
        self.0.iter().find(|(group, _)| group == name).map(|(_, members)| members.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_those_listed_and_those_whose_own_group_it_is() {
        let groups = Groups::parse(
            "vision:x:2000:kim,lee\nbroken\nown:x:1002:\nempty:x:1:\n",
            "root:x:0:0::/:/bin/sh\nkim:x:1000:1000::/:/bin/sh\nlee:x:1001:1001::/:/bin/sh\n\
             may:x:1002:1002::/:/bin/sh\nann:x:1003:2000::/:/bin/sh\nbroken:x\n",
        );
        let of = |name: &str| groups.members_of(name).map(<[Uid]>::to_vec);
        assert_eq!(of("vision"), Some(vec![Uid::new(1000), Uid::new(1001), Uid::new(1003)]));
        assert_eq!(of("own"), Some(vec![Uid::new(1002)]));
        assert_eq!(of("empty"), Some(vec![]));
        assert_eq!(of("none"), None);
    }
}
