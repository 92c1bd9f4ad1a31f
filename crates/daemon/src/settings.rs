//! The configuration in force, and how SIGHUP replaces it.
//!
//! Must never leave the daemon without rules: a file that makes no sense changes nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use broker::Policy;
use config::{Config, Effective, Sources};
use host::{Groups, Users};
use model::{Tenant, Timestamp};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::actor::Message;
use crate::log::Log;
use crate::members::Members;
use crate::notify;

/// The configuration in force, and what became of the newest attempt to change it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    /// What is in force.
    pub(crate) config: Config,
    /// The file, if there is one.
    pub(crate) file: Option<PathBuf>,
    /// Whom it names.
    pub(crate) members: Members,
    /// How often it was read.
    pub(crate) loads: u64,
    /// What was wrong with the newest reading; the one before is in force.
    pub(crate) problems: Vec<String>,
    /// Keys whose change waits for a restart.
    pub(crate) restart: Vec<String>,
}

impl Settings {
    /// Those that a daemon starts with.
    pub(crate) fn first(effective: &Effective) -> Self {
        Self {
            config: effective.config.clone(),
            file: effective.file.clone(),
            members: members(&effective.config),
            loads: 1,
            ..Self::default()
        }
    }

    /// Whether a moment is one in which idle leases are left alone.
    pub(crate) fn protects(&self, at: Timestamp) -> bool {
        self.config.reclaim.protected.iter().any(|hours| hours.contains(at))
    }

    /// What an administrator should know.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(first) = self.problems.first() {
            let more = match self.problems.len() {
                1 => String::new(),
                count => format!(" (and {} more)", count - 1),
            };
            warnings.push(format!(
                "the new configuration makes no sense and the one before stays in force: {first}{more}"
            ));
        }
        if !self.members.unknown.is_empty() {
            let unknown = self.members.unknown.join("; ");
            warnings.push(format!(
                "the configuration names whom this machine does not know: {unknown}"
            ));
        }
        if !self.restart.is_empty() {
            let keys = self.restart.join(", ");
            warnings.push(format!("changed in the configuration, and needs a restart: {keys}"));
        }
        warnings
    }
}

fn members(config: &Config) -> Members {
    let members = Members::of(config, &Users::load(), &Groups::load());
    for unknown in &members.unknown {
        tracing::warn!("configuration: {unknown}");
    }
    members
}

/// The broker's rules.
pub fn policy(config: &Config, passive: bool) -> Policy {
    let tenant = |tenant: &config::Tenant| (Tenant::new(tenant.name.clone()), tenant.rules.clone());
    Policy {
        passive,
        auto_mig: config.daemon.auto_mig,
        grace: config.daemon.grace,
        warm_for: config.daemon.warm_for,
        token_life: config.requests.token_life,
        max_failures: config.requests.max_failures,
        max_count: config.requests.max_count,
        max_waiting_per_user: config.limits.waiting,
        max_bookings_per_user: config.limits.bookings,
        book_ahead: config.limits.book_ahead,
        no_show: config.queue.no_show,
        half_life: config.fair_share.half_life,
        drain_after: config.queue.drain_after,
        drain_lengths: config.queue.drain_lengths,
        notice: config.preemption.notice,
        idle_warning: config.reclaim.warn_for,
        moves_per_hour: config.repartition.per_hour,
        hysteresis: config.repartition.hysteresis,
        warm_ahead: config.repartition.warm_ahead,
        placement: config.placement.policy,
        failing_for: config.daemon.failing_for,
        tenants: config.tenants.iter().map(tenant).collect(),
        default_tenant: config.tenant_defaults.clone(),
    }
}

/// Reads the configuration anew when told to.
#[derive(Debug)]
pub(crate) struct Reloader {
    sources: Sources,
    /// What the daemon started with: what cannot change live is of this one.
    started: Effective,
    /// What is in force.
    current: Effective,
    settings: Settings,
    log: Log,
    inbox: Sender<Message>,
    passive: bool,
    hangups: Signal,
}

impl Reloader {
    /// One that hears SIGHUP from now on.
    pub(crate) fn new(
        sources: Sources,
        effective: Effective,
        log: Log,
        inbox: Sender<Message>,
        passive: bool,
    ) -> std::io::Result<Self> {
        let hangups = signal(SignalKind::hangup())?;
        let settings = Settings::first(&effective);
        let started = effective.clone();
        Ok(Self { sources, started, current: effective, settings, log, inbox, passive, hangups })
    }

    /// Serves until dropped.
    pub(crate) async fn serve(mut self) {
        while self.hangups.recv().await.is_some() {
            notify::reloading();
            self.reload();
            notify::ready("configuration read anew");
        }
    }

    fn reload(&mut self) {
        self.settings.loads += 1;
        match self.sources.load() {
            Ok(newer) => self.take_over(newer),
            Err(faults) => {
                for fault in &faults.0 {
                    tracing::error!("configuration: {fault}");
                }
                tracing::error!("the configuration was not taken over; the one before stays");
                self.settings.problems = faults.0.iter().map(ToString::to_string).collect();
            }
        }
        let settings = Arc::new(self.settings.clone());
        let policy = Arc::new(policy(&settings.config, self.passive));
        let _ = self.inbox.send(Message::Configured { settings, policy });
    }

    fn take_over(&mut self, newer: Effective) {
        for change in self.current.changes(&newer).iter().filter(|change| change.live) {
            tracing::info!(
                "configuration: {} is {}, was {}",
                change.key,
                change.after,
                change.before
            );
        }
        let fixed = self.started.changes(&newer).into_iter().filter(|change| !change.live);
        self.settings.restart = fixed.map(|change| change.key).collect();
        for key in &self.settings.restart {
            tracing::warn!("configuration: the change of {key} needs a restart");
        }
        self.log.set(newer.config.daemon.log);
        self.settings.problems = Vec::new();
        self.settings.file.clone_from(&newer.file);
        self.settings.config = with_fixed(newer.config.clone(), &self.started.config);
        self.settings.members = members(&self.settings.config);
        self.current = newer;
        tracing::info!("the configuration was read anew");
    }
}

/// The new configuration, with what cannot change while a daemon runs.
fn with_fixed(mut newer: Config, started: &Config) -> Config {
    newer.daemon.shared = started.daemon.shared;
    newer.daemon.socket.clone_from(&started.daemon.socket);
    newer.daemon.admin_socket.clone_from(&started.daemon.admin_socket);
    newer.tcp.clone_from(&started.tcp);
    newer.journal.durability = started.journal.durability;
    newer.journal.audit_retention = started.journal.audit_retention;
    newer.limits.calls_per_second = started.limits.calls_per_second;
    newer.limits.burst = started.limits.burst;
    newer.limits.connections = started.limits.connections;
    newer.cdi.clone_from(&started.cdi);
    newer
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn read(text: &str) -> Effective {
        Effective::parse(Path::new("migd.toml"), text).unwrap()
    }

    #[test]
    fn without_a_file_the_rules_are_the_brokers_own() {
        assert_eq!(policy(&Config::default(), false), Policy::default());
    }

    /// Every key that is not live is held back, and no other.
    #[test]
    fn what_cannot_change_live_stays() {
        let started = read("");
        let newer = read(
            "[daemon]\nshared = true\nsocket = \"/x\"\nadmin_socket = \"/y\"\ngrace = \"1s\"\n\
             [tcp]\nlisten = \"127.0.0.1:1\"\ncertificate = \"/c\"\nkey = \"/k\"\n\
             [journal]\ndurability = \"power\"\nretention = \"1d\"\n[cdi]\npath = \"/z\"\n\
             [limits]\nconnections = 1\ncalls_per_second = 1\nburst = 1\n",
        );
        let changed = started.changes(&newer);
        assert_eq!(changed.iter().filter(|change| !change.live).count(), 11, "{changed:?}");
        let merged = with_fixed(newer.config.clone(), &started.config);
        let mut wanted = started.config;
        wanted.daemon.grace = newer.config.daemon.grace;
        wanted.journal.retention = newer.config.journal.retention;
        assert_eq!(merged, wanted);
    }

    #[test]
    fn an_administrator_learns_what_was_wrong_and_what_waits() {
        let settings = Settings {
            problems: vec!["a:1:1: x".into(), "a:2:1: y".into()],
            restart: vec!["daemon.socket".into()],
            ..Settings::default()
        };
        let warnings = settings.warnings();
        assert!(warnings[0].contains("a:1:1: x (and 1 more)"), "{warnings:?}");
        assert!(warnings[1].ends_with("needs a restart: daemon.socket"), "{warnings:?}");
        assert!(Settings::default().warnings().is_empty());
    }
}
