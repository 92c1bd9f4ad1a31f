//! libnvidia-ml.so.1 of the simulated driver: exported names only.
//!
//! Must never hold behaviour: each name calls its function of `sim-nvml`. The host's folder is in
//! the variable `MIGD_SIM_HOST`.

#![expect(missing_docs, reason = "nvml.h documents them")]

use std::ffi::c_char;

#[expect(clippy::wildcard_imports, reason = "the table of functions names any of them")]
use sim_nvml::types::*;

/// Defines an exported C function that calls its namesake of `sim-nvml`.
macro_rules! export {
    ($($name:ident($($arg:ident: $type:ty),*) $(=> $module:ident::$function:ident)?;)*) => {
        $(
            #[expect(unsafe_code, reason = "an exported name can clash; NVML's are ours here")]
            // SAFETY: nothing else that is linked into this library has a name of NVML.
            #[unsafe(no_mangle)]
            pub extern "C" fn $name($($arg: $type),*) -> u32 {
                sim_nvml::entry::$name($($arg),*)
            }
        )*
    };
}

/// Defines exported names that answer NOT_SUPPORTED.
macro_rules! export_stubs {
    ($($name:ident;)*) => {
        $(
            #[expect(unsafe_code, reason = "an exported name can clash; NVML's are ours here")]
            // SAFETY: nothing else that is linked into this library has a name of NVML. C callers
            // pass arguments that are not looked at, which the calling convention allows.
            #[unsafe(no_mangle)]
            pub extern "C" fn $name() -> u32 {
                sim_nvml::entry::stub()
            }
        )*
    };
}

sim_nvml::nvml_functions!(export);
sim_nvml::nvml_stubs!(export_stubs);

export! {
    nvmlInit();
    nvmlInit_v2();
    nvmlInitWithFlags(flags: u32);
    nvmlShutdown();
    nvmlSystemGetNVMLVersion(version: Buffer, length: u32);
}

#[expect(unsafe_code, reason = "an exported name can clash; NVML's are ours here")]
// SAFETY: nothing else that is linked into this library has this name.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlErrorString(code: u32) -> *const c_char {
    sim_nvml::entry::nvmlErrorString(code)
}
