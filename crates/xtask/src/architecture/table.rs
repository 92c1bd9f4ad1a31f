//! The agreed arrows: who may use whom.
//!
//! Must never gain an entry without a sentence in ARCHITECTURE.md that says why.

/// Crates that take clocks, files, randomness and GPUs as arguments: `#![no_std]` and no others.
pub(super) const PURE: &[&str] = &["model", "checker", "planner", "broker", "sim-gpu"];

/// Crates that may hold `unsafe` code, because they speak NVML's C ABI.
pub(super) const UNSAFE: &[&str] = &["driver", "sim-nvml", "sim-nvml-so"];

/// Each crate, and those of the workspace it may use. Tests may use more, but for the wall between
/// checker and planner. Nobody may use `cli` or `xtask`.
const ALLOWED: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("checker", &["model"]),
    ("planner", &["model"]),
    ("broker", &["model", "planner"]),
    ("sim-gpu", &["model"]),
    ("sim-nvml", &["model", "sim-gpu"]),
    ("sim-nvml-so", &["sim-nvml"]),
    ("driver", &["model"]),
    ("host", &["model"]),
    ("executor", &["model", "checker", "broker", "driver", "host"]),
    ("store", &["model", "broker"]),
    ("config", &["model", "planner", "broker"]),
    ("layout-file", &["model"]),
    ("api", &["model"]),
    (
        "daemon",
        &[
            "model", "planner", "broker", "executor", "sim-nvml", "driver", "host", "store",
            "config", "api",
        ],
    ),
    ("lab", &["model", "planner", "broker", "executor", "driver", "host", "sim-gpu", "sim-nvml"]),
    (
        "cli",
        &[
            "model",
            "planner",
            "broker",
            "sim-gpu",
            "sim-nvml",
            "driver",
            "host",
            "config",
            "layout-file",
            "api",
            "daemon",
            "lab",
        ],
    ),
    (
        "fuzzing",
        &[
            "model",
            "broker",
            "config",
            "layout-file",
            "daemon",
            "sim-gpu",
            "sim-nvml",
            "store",
            "api",
        ],
    ),
    ("xtask", &["model", "planner", "config", "lab"]),
];

/// A foreign crate that pure crates may use.
#[derive(Debug)]
pub(super) struct Foreign {
    /// Its name.
    pub(super) name: &'static str,
    /// Whether its default features bring in `std`.
    pub(super) std_by_default: bool,
}

/// Foreign crates that neither read nor change anything outside their arguments.
pub(super) const FOREIGN_IN_PURE: &[Foreign] = &[
    Foreign { name: "libm", std_by_default: false },
    Foreign { name: "serde", std_by_default: true },
    Foreign { name: "sha1", std_by_default: false },
    Foreign { name: "thiserror", std_by_default: true },
];

/// What `krate` may use; `None` if the table does not know it.
pub(super) fn allowed(krate: &str) -> Option<&'static [&'static str]> {
    ALLOWED.iter().find(|(name, _)| *name == krate).map(|(_, allowed)| *allowed)
}
