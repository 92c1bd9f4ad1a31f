//! Every key: its default, its meaning, whether a reload takes it over.
//!
//! Must never differ from what is read: a test compares the two.

/// A key of a table.
#[derive(Debug)]
pub(crate) struct Key {
    /// The table; `tenants.NAME` and `window` may stand several times.
    pub(crate) section: &'static str,
    /// Its name.
    pub(crate) name: &'static str,
    /// The default as TOML; `None` where it depends on the machine or must be given.
    pub(crate) default: Option<&'static str>,
    /// Another value, as an example.
    pub(crate) example: Option<&'static str>,
    /// Whether SIGHUP takes it over.
    pub(crate) live: bool,
    /// What it means.
    pub(crate) meaning: &'static str,
}

/// A table.
#[derive(Debug)]
pub(crate) struct SectionDoc {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it is for.
    pub(crate) meaning: &'static str,
}

const fn live(
    section: &'static str,
    name: &'static str,
    default: &'static str,
    meaning: &'static str,
) -> Key {
    Key { section, name, default: Some(default), example: None, live: true, meaning }
}

const fn fixed(
    section: &'static str,
    name: &'static str,
    default: &'static str,
    meaning: &'static str,
) -> Key {
    Key { section, name, default: Some(default), example: None, live: false, meaning }
}

const fn open(
    section: &'static str,
    name: &'static str,
    example: &'static str,
    live: bool,
    meaning: &'static str,
) -> Key {
    Key { section, name, default: None, example: Some(example), live, meaning }
}

const fn example(key: Key, example: &'static str) -> Key {
    Key { example: Some(example), ..key }
}

/// The tables, in the order of the default file.
pub(crate) const SECTIONS: &[SectionDoc] = &[
    SectionDoc { name: "daemon", meaning: "The daemon itself." },
    SectionDoc { name: "access", meaning: "Who may open a slice." },
    SectionDoc {
        name: "admins",
        meaning: "Who may do what only an administrator may. Root always is one.",
    },
    SectionDoc {
        name: "tcp",
        meaning: "The interface over TCP, for other machines: off unless `listen` is set.",
    },
    SectionDoc { name: "mode", meaning: "Changes of MIG mode, and resets of GPUs." },
    SectionDoc { name: "journal", meaning: "The record of everything that happened." },
    SectionDoc { name: "cdi", meaning: "The file by which container engines know slices." },
    SectionDoc { name: "limits", meaning: "What one user may have." },
    SectionDoc { name: "requests", meaning: "What holds for every request." },
    SectionDoc { name: "fair_share", meaning: "Order between tenants." },
    SectionDoc { name: "queue", meaning: "Order of those who wait." },
    SectionDoc { name: "reclaim", meaning: "Taking back leases that are not used." },
    SectionDoc {
        name: "preemption",
        meaning: "Taking back what a tenant borrowed over its guaranteed amount.",
    },
    SectionDoc { name: "placement", meaning: "Where on the GPUs a slice is made." },
    SectionDoc { name: "repartition", meaning: "Rearranging room that nobody uses." },
    SectionDoc {
        name: "tenant_defaults",
        meaning: "Rules of users who belong to no tenant below (each is a tenant of their own), and \
                  of whatever a tenant below leaves out.",
    },
    SectionDoc {
        name: "tenants.NAME",
        meaning: "A tenant: whom leases are charged to. Any number, each with a name of its own. It \
                  takes every key of [tenant_defaults], too.",
    },
    SectionDoc {
        name: "window",
        meaning: "Room kept for a tenant by the week, as if somebody had booked it. Any number.",
    },
];

/// The keys, in the order of the default file.
pub(crate) const KEYS: &[Key] = &[
    live(
        "daemon",
        "auto_mig",
        "false",
        "Enable MIG mode on GPUs that nobody uses. Simulated machines do so anyway.",
    ),
    live("daemon", "grace", "\"10s\"", "From TERM to KILL when the processes of a lease must end."),
    live(
        "daemon",
        "warm_for",
        "\"5m\"",
        "How long an idle slice stays for reuse. It yields to any request.",
    ),
    live(
        "daemon",
        "failing_for",
        "\"5m\"",
        "How long a GPU may fail to answer before its leases are ended.",
    ),
    live(
        "daemon",
        "step_limit",
        "\"1m\"",
        "How long one step may take in the driver, a reset five times as long, before a change of layout \
         or mode is given up and taken back, and before a request for a slice is sent to another GPU.",
    ),
    open(
        "daemon",
        "shared",
        "true",
        false,
        "Let other users of this machine in. Without it: true for root's daemon of the real machine, else false.",
    ),
    open(
        "daemon",
        "socket",
        "\"/run/migd/migd.sock\"",
        false,
        "The socket for users. Without it: where the machine's sockets are.",
    ),
    open(
        "daemon",
        "admin_socket",
        "\"/run/migd/admin.sock\"",
        false,
        "The socket for administrators. Without it: beside the other.",
    ),
    live("daemon", "log", "\"info\"", "How much is logged: error, warn, info, debug or trace."),
    live(
        "access",
        "enforce",
        "\"observe\"",
        "observe: report who would be refused; on: close slices to all but their holder; off: do not look.",
    ),
    example(live("admins", "users", "[]", "Names of users."), "[\"kim\"]"),
    example(live("admins", "groups", "[]", "Names of groups."), "[\"gpu-admins\"]"),
    example(
        live(
            "mode",
            "stop_clients",
            "[]",
            "Units that hold GPUs and may be stopped while a GPU's MIG mode changes or a GPU is reset: their names, or \"known\" for DCGM, its exporter, NVSM and nvidia-persistenced. They are started again after it, whatever came of it. kubelet is stopped only if it is named; Fabric Manager and display servers never are.",
        ),
        "\"known\"",
    ),
    open(
        "tcp",
        "listen",
        "\"127.0.0.1:8443\"",
        false,
        "Address and port. Beyond this machine it needs a certificate.",
    ),
    open("tcp", "certificate", "\"/etc/migd/tls.crt\"", false, "The certificate, PEM."),
    open(
        "tcp",
        "key",
        "\"/etc/migd/tls.key\"",
        false,
        "Its key, PEM, readable by the daemon alone.",
    ),
    example(
        fixed(
            "tcp",
            "names",
            "[]",
            "Names by which callers may call this host. Its addresses are known.",
        ),
        "[\"gpu1.example.org\"]",
    ),
    fixed(
        "journal",
        "durability",
        "\"process\"",
        "process: what was acknowledged survives the death of the daemon; power: the loss of power, too, at the price of a disk write per grant.",
    ),
    live(
        "journal",
        "retention",
        "\"90d\"",
        "How long the history is kept, or \"none\" for ever. What live leases need is kept anyway.",
    ),
    fixed("journal", "audit_retention", "\"90d\"", "How long it is kept who changed what."),
    open(
        "cdi",
        "path",
        "\"/etc/cdi/migd.json\"",
        false,
        "Where it is written. Without it: where container engines look.",
    ),
    live("limits", "waiting", "1000", "Requests waiting."),
    live("limits", "bookings", "20", "Bookings."),
    live("limits", "book_ahead", "\"90d\"", "How far ahead a booking may begin."),
    fixed("limits", "calls_per_second", "100", "Calls to the daemon a second, in the long run."),
    fixed("limits", "burst", "500", "Calls at once."),
    fixed("limits", "connections", "256", "Connections at a time."),
    live("requests", "max_count", "512", "The most slices one request may name."),
    live(
        "requests",
        "max_failures",
        "3",
        "How often a grant may fail in the driver before the request is given up.",
    ),
    live(
        "requests",
        "token_life",
        "\"8h\"",
        "Life of a lease without a process whose owner named none.",
    ),
    live(
        "fair_share",
        "half_life",
        "\"1d\"",
        "After this time a use of the machine counts half against its tenant.",
    ),
    live(
        "queue",
        "drain_after",
        "\"1m\"",
        "How long the oldest request must have been blocked before room is kept free for it, at the least.",
    ),
    live(
        "queue",
        "drain_lengths",
        "1",
        "How many times as long as it says it will run (at most an hour; half an hour if it says nothing) a request for a whole GPU must have been blocked before room is kept free for it; four times that for half a GPU, sixteen times for a quarter, never more than four hours. 0: drain_after alone decides. Room that is free once the preemptible have been asked to leave is kept after drain_after already.",
    ),
    live("queue", "no_show", "\"15m\"", "How long a booked place waits for whoever booked it."),
    example(
        live(
            "reclaim",
            "idle_after",
            "\"none\"",
            "After which time without use a lease is warned, or \"none\" for never. Where use cannot be measured nothing is ever idle.",
        ),
        "\"2h\"",
    ),
    live("reclaim", "warn_for", "\"10m\"", "From the warning to the end of the lease."),
    example(
        live("reclaim", "protected", "[]", "Hours in which nothing is taken."),
        "[\"mon-fri 09:00-18:00 Europe/Berlin\"]",
    ),
    live("preemption", "notice", "\"1m\"", "From the notice to the end of the lease."),
    example(
        live(
            "placement",
            "policy",
            "\"scar\"",
            "How free places are ranked: scar, flp, first-fit, best-fit, best-index, worst-fit, mfi or hami (docs/placement.md).",
        ),
        "\"flp\"",
    ),
    live("repartition", "per_hour", "12", "The most rearrangements an hour; 0 for none."),
    live(
        "repartition",
        "hysteresis",
        "\"30s\"",
        "How long one must have looked worthwhile before it is begun.",
    ),
    live(
        "repartition",
        "warm_ahead",
        "0",
        "The most idle slices made ahead of requests on one GPU.",
    ),
    live("tenant_defaults", "weight", "1", "Share of the machine against other tenants'."),
    example(
        live(
            "tenant_defaults",
            "guaranteed",
            "{}",
            "What it gets back from borrowers when it wants it: slices, memory, or both.",
        ),
        "{ slices = 14, memory = \"280GiB\" }",
    ),
    example(
        live("tenant_defaults", "cap", "{}", "What it never exceeds: slices, memory, or both."),
        "{ slices = 28 }",
    ),
    example(
        live(
            "tenant_defaults",
            "default_time",
            "\"none\"",
            "Hard limit of leases whose owner named none.",
        ),
        "\"12h\"",
    ),
    example(
        live(
            "tenant_defaults",
            "max_time",
            "\"none\"",
            "The longest hard limit one may ask for; with it every lease has one.",
        ),
        "\"7d\"",
    ),
    example(
        live(
            "tenant_defaults",
            "default_expect",
            "\"none\"",
            "Estimate for leases whose owner named none.",
        ),
        "\"4h\"",
    ),
    live(
        "tenant_defaults",
        "max_priority",
        "\"normal\"",
        "The best rank one may ask for: low, normal or high.",
    ),
    live(
        "tenant_defaults",
        "may_hold_idle",
        "true",
        "Whether one may ask that an idle lease stays.",
    ),
    live("tenant_defaults", "may_book", "true", "Whether one may book."),
    example(
        live("tenants.NAME", "users", "[]", "Names of users who belong to it."),
        "[\"kim\", \"lee\"]",
    ),
    example(
        live(
            "tenants.NAME",
            "groups",
            "[]",
            "Names of groups whose members belong to it. A user named above or in an earlier tenant is not asked for groups.",
        ),
        "[\"vision\"]",
    ),
    open("tenants.NAME", "idle_limit", "\"4h\"", true, "As reclaim.idle_after, for this tenant."),
    open("window", "name", "\"monday-training\"", true, "A name that no other window has."),
    open("window", "tenant", "\"vision\"", true, "Whom it is kept for."),
    open("window", "profile", "\"3g.20gb\"", true, "Which slices."),
    example(live("window", "count", "1", "How many."), "4"),
    example(
        live(
            "window",
            "gpu",
            "\"any\"",
            "On which GPUs: an index, a UUID, a PCI address or a model.",
        ),
        "\"A100\"",
    ),
    example(live("window", "days", "[\"daily\"]", "On which days it begins."), "[\"mon-fri\"]"),
    open("window", "from", "\"08:00\"", true, "When it begins."),
    open("window", "to", "\"20:00\"", true, "When it ends; on the next day if that is not later."),
    example(live("window", "zone", "\"UTC\"", "The time zone of both."), "\"Europe/Berlin\""),
];

impl Key {
    /// Whether a variable of the environment may name it: it stands once, and is no table.
    pub(crate) fn has_variable(&self) -> bool {
        let once = !matches!(self.section, "tenants.NAME" | "window");
        once && !matches!(self.name, "guaranteed" | "cap")
    }
}

/// Whether SIGHUP takes over the key of this path.
pub(crate) fn is_live(path: &str) -> bool {
    let found = KEYS.iter().find(|key| {
        path.strip_prefix(key.section).and_then(|rest| rest.strip_prefix('.')) == Some(key.name)
    });
    // Tables that may stand several times are live as a whole.
    found.is_none_or(|key| key.live)
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
