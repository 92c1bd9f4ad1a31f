//! From tables to types, and what several keys must agree on.
//!
//! Must never accept names that cannot be told apart.

use broker::{Amount, TenantRules};
use model::Millis;

use crate::calendar::{Clock, Days, Hours};
use crate::fault::Place;
use crate::general::{Access, Admins, Cdi, Config, DaemonKeys, Journal, Limits, Mode, Tcp};
use crate::rules::{
    FairShare, Placement, Preemption, Queue, Reclaim, Repartition, Requests, Tenant, Window,
};
use crate::section::Section;
use crate::value::{Given, Value, quoted};

/// Reads the whole file.
pub(crate) fn config(root: &mut Section<'_, '_>) -> Config {
    let built_in = Config::default();
    let daemon = root.table("daemon", |section| daemon(section, built_in.daemon));
    let access = root.table("access", |section| Access {
        enforce: section.get("enforce", built_in.access.enforce),
    });
    let admins = root.table("admins", |section| Admins {
        users: section.get("users", built_in.admins.users),
        groups: section.get("groups", built_in.admins.groups),
    });
    let mode = root.table("mode", |section| Mode {
        stop_clients: section.get("stop_clients", built_in.mode.stop_clients),
    });
    let tcp = root.table("tcp", |section| tcp(section, built_in.tcp));
    let journal = root.table("journal", |section| Journal {
        durability: section.get("durability", built_in.journal.durability),
        retention: section.checked("retention", built_in.journal.retention, |retention| {
            match retention {
                Some(time) if *time < Millis::from_secs(3600) => {
                    Err("write an hour or more, or \"none\" for ever")
                }
                _ => Ok(()),
            }
        }),
        audit_retention: section.checked(
            "audit_retention",
            built_in.journal.audit_retention,
            lasting,
        ),
    });
    let cdi = root.table("cdi", |section| Cdi { path: section.get("path", built_in.cdi.path) });
    let limits = root.table("limits", |section| Limits {
        waiting: section.checked("waiting", built_in.limits.waiting, some),
        bookings: section.get("bookings", built_in.limits.bookings),
        book_ahead: section.get("book_ahead", built_in.limits.book_ahead),
        calls_per_second: section.checked(
            "calls_per_second",
            built_in.limits.calls_per_second,
            some,
        ),
        burst: section.checked("burst", built_in.limits.burst, some),
        connections: section.checked("connections", built_in.limits.connections, some),
    });
    let requests = root.table("requests", |section| requests(section, built_in.requests));
    let fair_share = root.table("fair_share", |section| FairShare {
        half_life: section.checked("half_life", built_in.fair_share.half_life, lasting),
    });
    let queue = root.table("queue", |section| Queue {
        drain_after: section.get("drain_after", built_in.queue.drain_after),
        drain_lengths: section.get("drain_lengths", built_in.queue.drain_lengths),
        no_show: section.checked("no_show", built_in.queue.no_show, lasting),
    });
    let reclaim = root.table("reclaim", |section| Reclaim {
        idle_after: section.checked("idle_after", built_in.reclaim.idle_after, lasting_or_none),
        warn_for: section.get("warn_for", built_in.reclaim.warn_for),
        protected: section.get("protected", built_in.reclaim.protected),
    });
    let preemption = root.table("preemption", |section| Preemption {
        notice: section.get("notice", built_in.preemption.notice),
    });
    let placement = root.table("placement", |section| Placement {
        policy: section.get("policy", built_in.placement.policy),
    });
    let repartition = root.table("repartition", |section| Repartition {
        per_hour: section.get("per_hour", built_in.repartition.per_hour),
        hysteresis: section.get("hysteresis", built_in.repartition.hysteresis),
        warm_ahead: section.get("warm_ahead", built_in.repartition.warm_ahead),
    });
    let mut tenant_defaults =
        root.table("tenant_defaults", |section| tenant_rules(section, built_in.tenant_defaults));
    tenant_defaults.idle_limit = reclaim.idle_after;
    let tenants = root.table("tenants", |section| tenants(section, &tenant_defaults));
    let windows = windows(root, &tenants);
    Config {
        daemon,
        access,
        admins,
        mode,
        tcp,
        journal,
        cdi,
        limits,
        requests,
        fair_share,
        queue,
        reclaim,
        preemption,
        placement,
        repartition,
        tenant_defaults,
        tenants,
        windows,
    }
}

fn daemon(section: &mut Section<'_, '_>, built_in: DaemonKeys) -> DaemonKeys {
    DaemonKeys {
        auto_mig: section.get("auto_mig", built_in.auto_mig),
        grace: section.get("grace", built_in.grace),
        warm_for: section.get("warm_for", built_in.warm_for),
        failing_for: section.checked("failing_for", built_in.failing_for, lasting),
        step_limit: section.checked("step_limit", built_in.step_limit, lasting),
        shared: section.get("shared", built_in.shared),
        socket: section.get("socket", built_in.socket),
        admin_socket: section.get("admin_socket", built_in.admin_socket),
        log: section.get("log", built_in.log),
    }
}

fn tcp(section: &mut Section<'_, '_>, built_in: Tcp) -> Tcp {
    let tcp = Tcp {
        listen: section.get("listen", built_in.listen),
        certificate: section.get("certificate", built_in.certificate),
        key: section.get("key", built_in.key),
        names: section.get("names", built_in.names),
    };
    if tcp.certificate.is_some() != tcp.key.is_some() {
        let (there, missing) =
            if tcp.key.is_some() { ("key", "certificate") } else { ("certificate", "key") };
        let place = section.place_of(there);
        let what = format!("tcp.{there} stands without tcp.{missing}");
        section.reading.refuse(place, what, format!("write {missing} as well, or neither"));
    }
    let outside = tcp.listen.filter(|address| !address.ip().is_loopback());
    if let (Some(address), None) = (outside, &tcp.certificate) {
        let place = section.place_of("listen");
        let what = format!("tcp.listen: {address} is reachable from outside, without TLS");
        let instead = "write certificate and key, or listen on 127.0.0.1".to_owned();
        section.reading.refuse(place, what, instead);
    }
    tcp
}

fn requests(section: &mut Section<'_, '_>, built_in: Requests) -> Requests {
    Requests {
        max_count: section.checked("max_count", built_in.max_count, some),
        max_failures: section.checked("max_failures", built_in.max_failures, some),
        token_life: section.checked("token_life", built_in.token_life, lasting),
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "checks take what they check by reference")]
fn some(number: &u32) -> Result<(), &'static str> {
    if *number == 0 { Err("write 1 or more") } else { Ok(()) }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "checks take what they check by reference")]
fn lasting(time: &Millis) -> Result<(), &'static str> {
    if time.get() == 0 { Err("write a time of some length") } else { Ok(()) }
}

#[allow(clippy::ref_option, reason = "checks take what they check by reference")]
fn lasting_or_none(time: &Option<Millis>) -> Result<(), &'static str> {
    match time {
        Some(time) if time.get() == 0 => Err("write a time of some length, or \"none\""),
        _ => Ok(()),
    }
}

fn tenant_rules(section: &mut Section<'_, '_>, default: TenantRules) -> TenantRules {
    let rules = TenantRules {
        weight: section.checked("weight", default.weight, some),
        guaranteed: amount(section, "guaranteed", default.guaranteed),
        cap: amount(section, "cap", default.cap),
        default_time: section.checked("default_time", default.default_time, lasting_or_none),
        max_time: section.checked("max_time", default.max_time, lasting_or_none),
        default_expect: section.checked("default_expect", default.default_expect, lasting_or_none),
        max_priority: section.get("max_priority", default.max_priority),
        idle_limit: default.idle_limit,
        may_stay_idle: section.get("may_hold_idle", default.may_stay_idle),
        may_book: section.get("may_book", default.may_book),
    };
    let times = rules.default_time.zip(rules.max_time);
    if let Some((_, most)) = times.filter(|(usual, most)| usual > most) {
        let place = section.place_of("default_time");
        let what = format!("{} is longer than max_time", section.path("default_time"));
        section.reading.refuse(place, what, format!("write {} or less", most.toml()));
    }
    let over = |guaranteed: Option<u64>, cap: Option<u64>| {
        guaranteed.zip(cap).is_some_and(|(guaranteed, cap)| guaranteed > cap)
    };
    let slices = (rules.guaranteed.slices.map(u64::from), rules.cap.slices.map(u64::from));
    let memory = |amount: Amount| amount.memory.map(model::MemoryMib::get);
    if over(slices.0, slices.1) || over(memory(rules.guaranteed), memory(rules.cap)) {
        let place = section.place_of("guaranteed");
        let what = format!("{} is more than cap", section.path("guaranteed"));
        section.reading.refuse(place, what, "write a cap that holds what is guaranteed".to_owned());
    }
    rules
}

fn amount(section: &mut Section<'_, '_>, key: &str, default: Amount) -> Amount {
    // An amount replaces the default's as a whole: half of each would be neither's.
    let default = if section.has(key) { Amount::default() } else { default };
    section.table(key, |section| Amount {
        slices: section.get("slices", default.slices),
        memory: section.get("memory", default.memory),
    })
}

fn tenants(section: &mut Section<'_, '_>, defaults: &TenantRules) -> Vec<Tenant> {
    let mut tenants: Vec<Tenant> = Vec::new();
    for name in section.names() {
        let place = section.place_of(&name);
        if !is_name(&name) {
            let what = format!("tenants: {} is no name of a tenant", quoted(&name));
            let instead = "write letters, digits, `-`, `_` and `.`, 64 at most".to_owned();
            section.reading.refuse(place.clone(), what, instead);
        }
        let tenant = section.table(&name, |section| {
            let users = section.get("users", Vec::new());
            let groups = section.get("groups", Vec::new());
            let idle_limit = section.checked("idle_limit", defaults.idle_limit, lasting_or_none);
            let rules = tenant_rules(section, defaults.clone());
            Tenant { name: name.clone(), users, groups, rules: TenantRules { idle_limit, ..rules } }
        });
        for user in &tenant.users {
            if let Some(other) = tenants.iter().find(|other| other.users.contains(user)) {
                let what = format!("{user} belongs to {} and to {name}", other.name);
                let instead = "name each user in one tenant".to_owned();
                section.reading.refuse(place.clone(), what, instead);
            }
        }
        tenants.push(tenant);
    }
    tenants
}

/// Names appear in tables, paths and metrics.
fn is_name(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && name.len() <= 64 && name.chars().all(letter)
}

fn windows(root: &mut Section<'_, '_>, tenants: &[Tenant]) -> Vec<Window> {
    let mut names: Vec<String> = Vec::new();
    let windows = root.tables("window", |section| {
        let name = section.required::<String>("name");
        let tenant = section.required::<String>("tenant");
        let profile = section.required("profile");
        let count = section.checked("count", 1, some);
        let gpu = section.get("gpu", broker::GpuSelector::Any);
        let hours = hours(section);
        if let Some(name) = &name {
            if names.contains(name) {
                let place = section.place_of("name");
                let what = format!("two windows are called {name}");
                section.reading.refuse(place, what, "give each a name of its own".to_owned());
            }
            names.push(name.clone());
        }
        let stranger = tenant.as_ref().filter(|name| !tenants.iter().any(|t| t.name == **name));
        if let Some(tenant) = stranger {
            let known = tenants.iter().map(|known| known.name.as_str());
            let instead = match model::nearest(tenant, known) {
                Some(near) => format!("write {}", quoted(near)),
                None => format!("add [tenants.{tenant}], or name a tenant of this file"),
            };
            let place = section.place_of("tenant");
            let what = format!("{}: there is no tenant {tenant}", section.path("tenant"));
            section.reading.refuse(place, what, instead);
        }
        Some(Window { name: name?, tenant: tenant?, profile: profile?, count, gpu, hours: hours? })
    });
    windows.into_iter().flatten().collect()
}

impl Value for Clock {
    const WRITE: &'static str = "a time of day in quotes, such as \"09:00\"";
    fn read(given: &Given<'_>) -> Result<Self, String> {
        let text: String = Value::read(given)?;
        text.parse().map_err(|_| "is no time of day".to_owned())
    }
    fn toml(&self) -> String {
        quoted(&self.to_string())
    }
}

impl Value for Days {
    const WRITE: &'static str = "days in quotes, such as \"mon-fri\", \"sat,sun\" or \"daily\"";
    fn read(given: &Given<'_>) -> Result<Self, String> {
        let list: Vec<String> = Value::read(given)?;
        list.join(",").parse().map_err(|_| "names no days".to_owned())
    }
    fn toml(&self) -> String {
        format!("[{}]", quoted(&self.to_string()))
    }
}

fn hours(section: &mut Section<'_, '_>) -> Option<Hours> {
    let days = section.get("days", Days::ALL);
    let from = section.required("from");
    let to = section.required("to");
    let zone = section.get("zone", "UTC".to_owned());
    let (from, to) = (from?, to?);
    Hours::new(days, from, to, &zone)
        .map_err(|error| {
            let place: Place = section.place_of(if from == to { "to" } else { "zone" });
            let text = error.to_string();
            let (what, instead) = text.split_once("; ").unwrap_or((&text, "write other hours"));
            section.reading.refuse(place, what.to_owned(), instead.to_owned());
        })
        .ok()
}
