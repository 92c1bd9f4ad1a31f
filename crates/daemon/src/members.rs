//! Who administrates and who belongs to which tenant, by the names of the configuration.
//!
//! Must never be asked by name: names are looked up once, when the configuration is read.

use std::collections::{BTreeMap, BTreeSet};

use config::Config;
use host::{Groups, Users};
use model::{Tenant, Uid};

/// The users that the configuration names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Members {
    admins: BTreeSet<Uid>,
    tenants: BTreeMap<Uid, Tenant>,
    /// Names that nobody here has, with the key that has them.
    pub(crate) unknown: Vec<String>,
}

impl Members {
    /// Looks the names up. A user that a tenant names belongs there, whatever groups say; of
    /// several groups the first tenant's counts.
    pub(crate) fn of(config: &Config, users: &Users, groups: &Groups) -> Self {
        let mut members = Self::default();
        for uid in members.users(users, "admins.users", &config.admins.users) {
            members.admins.insert(uid);
        }
        for uid in members.groups(groups, "admins.groups", &config.admins.groups) {
            members.admins.insert(uid);
        }
        let key = |tenant: &config::Tenant, key: &str| format!("tenants.{}.{key}", tenant.name);
        for tenant in &config.tenants {
            for uid in members.users(users, &key(tenant, "users"), &tenant.users) {
                members.tenants.insert(uid, Tenant::new(tenant.name.clone()));
            }
        }
        for tenant in &config.tenants {
            for uid in members.groups(groups, &key(tenant, "groups"), &tenant.groups) {
                let charged = || Tenant::new(tenant.name.clone());
                members.tenants.entry(uid).or_insert_with(charged);
            }
        }
        members
    }

    fn users(&mut self, users: &Users, key: &str, names: &[String]) -> Vec<Uid> {
        let mut found = Vec::new();
        for name in names {
            match users.uid_of(name).or_else(|| name.parse().ok().map(Uid::new)) {
                Some(uid) => found.push(uid),
                None => self.unknown.push(format!("{key}: no user {name} here")),
            }
        }
        found
    }

    fn groups(&mut self, groups: &Groups, key: &str, names: &[String]) -> Vec<Uid> {
        let mut found = Vec::new();
        for name in names {
            match groups.members_of(name) {
                Some(members) => found.extend_from_slice(members),
                None => self.unknown.push(format!("{key}: no group {name} here")),
            }
        }
        found
    }

    /// Whether the configuration makes a user an administrator.
    pub(crate) fn administers(&self, uid: Uid) -> bool {
        self.admins.contains(&uid)
    }

    /// The tenant of a user, if the configuration names one.
    pub(crate) fn tenant_of(&self, uid: Uid) -> Option<Tenant> {
        self.tenants.get(&uid).cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn names_win_over_groups_and_strangers_are_told() {
        let passwd = "kim:x:1000:1000::/:/s\nlee:x:1001:1001::/:/s\nmay:x:1002:1002::/:/s\n";
        let groups = Groups::parse("lab:x:50:kim,lee\nops:x:51:may\n", passwd);
        let text = "[admins]\nusers = [\"may\", \"nobody-here\"]\n\
                    [tenants.a]\ngroups = [\"lab\", \"no-lab\"]\n\
                    [tenants.b]\nusers = [\"lee\", \"4242\"]\n";
        let config = config::Effective::parse(Path::new("x"), text).unwrap().config;
        let members = Members::of(&config, &Users::parse(passwd), &groups);
        let tenant = |uid| members.tenant_of(Uid::new(uid)).map(|tenant| tenant.to_string());
        assert_eq!(tenant(1000).as_deref(), Some("a"));
        assert_eq!(tenant(1001).as_deref(), Some("b"));
        assert_eq!(tenant(1002), None);
        assert_eq!(tenant(4242).as_deref(), Some("b"), "a number is a user, too");
        assert!(members.administers(Uid::new(1002)) && !members.administers(Uid::new(1000)));
        let unknown = members.unknown.join("; ");
        assert!(unknown.contains("no user nobody-here") && unknown.contains("no group no-lab"));
    }
}
