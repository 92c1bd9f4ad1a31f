//! The log: to stderr, which is systemd's journal or the file of a daemon started by itself.
//!
//! Must never read the environment: how much is logged is a key of the configuration.

use std::fmt;
use std::io;
use std::sync::Arc;

use config::LogLevel;
use tracing_subscriber::EnvFilter;

/// The log of a running daemon.
#[derive(Clone)]
pub(crate) struct Log {
    set: Arc<dyn Fn(EnvFilter) + Send + Sync>,
}

impl Log {
    /// Begins to log. A process that logs already goes on as it did.
    pub(crate) fn start(level: LogLevel) -> Self {
        let builder = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(level.word()))
            .with_writer(io::stderr)
            .with_ansi(false)
            .with_target(false)
            .with_filter_reloading();
        let handle = builder.reload_handle();
        let _ = builder.try_init();
        let set = move |filter| {
            if let Err(error) = handle.reload(filter) {
                tracing::warn!(%error, "the level of the log cannot be changed");
            }
        };
        Self { set: Arc::new(set) }
    }

    /// Logs this much from now on.
    pub(crate) fn set(&self, level: LogLevel) {
        (self.set)(EnvFilter::new(level.word()));
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").finish_non_exhaustive()
    }
}
