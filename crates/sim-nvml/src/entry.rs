//! The C functions, and their look-up by name.
//!
//! Must never export a symbol: `sim-nvml-so` does that, so that a program which links this crate
//! has no NVML of its own for others to find.
#![expect(non_snake_case, reason = "these are the names of NVML")]

use std::ffi::{CString, c_char, c_void};
use std::sync::OnceLock;

use sim_gpu::Return;

use crate::abi::{
    clocks, compute_instance, discovery, ecc, events, fields, gpm, gpu_instance, library, memory,
    mig_device, mig_mode, modes, nvlink, pcie, processes, telemetry, topology, utilization,
};
use crate::call;
use crate::session;
#[allow(clippy::wildcard_imports, reason = "the table of functions names any of them")]
use crate::types::*;

macro_rules! entries {
    ($($name:ident($($arg:ident: $type:ty),*) => $module:ident::$function:ident;)*) => {
        $(
            #[doc = concat!("`", stringify!($name), "`.")]
            pub extern "C" fn $name($($arg: $type),*) -> u32 {
                call::serve(stringify!($name), |call| $module::$function(call, $($arg),*))
            }
        )*

        fn implemented(name: &str) -> Option<*const c_void> {
            Some(match name {
                $(stringify!($name) => $name as *const c_void,)*
                _ => return None,
            })
        }

        /// The names of the table, in its order.
        pub const IMPLEMENTED: &[&str] = &[$(stringify!($name)),*];
    };
}

crate::nvml_functions!(entries);

macro_rules! stub_names {
    ($($name:ident;)*) => {
        /// The names that only say NOT_SUPPORTED.
        pub const STUBS: &[&str] = &[$(stringify!($name)),*];
    };
}

crate::nvml_stubs!(stub_names);

/// The names that work without a session, beside the table.
pub const LIBRARY: &[&str] = &[
    "nvmlInit",
    "nvmlInit_v2",
    "nvmlInitWithFlags",
    "nvmlShutdown",
    "nvmlErrorString",
    "nvmlSystemGetNVMLVersion",
];

/// `nvmlInit`.
pub extern "C" fn nvmlInit() -> u32 {
    call::contain(session::init)
}

/// `nvmlInit_v2`.
pub extern "C" fn nvmlInit_v2() -> u32 {
    call::contain(session::init)
}

/// `nvmlInitWithFlags`: both flags (no GPUs, no attach) only allow what always works here.
pub extern "C" fn nvmlInitWithFlags(_flags: u32) -> u32 {
    call::contain(session::init)
}

/// `nvmlShutdown`.
pub extern "C" fn nvmlShutdown() -> u32 {
    call::contain(|| {
        session::shutdown();
        Ok(())
    })
}

/// `nvmlSystemGetNVMLVersion`: works before `nvmlInit`.
pub extern "C" fn nvmlSystemGetNVMLVersion(version: Buffer, length: u32) -> u32 {
    call::contain(|| library::nvml_version(version, length))
}

/// `nvmlErrorString`: works before `nvmlInit`; the text lives as long as the process.
pub extern "C" fn nvmlErrorString(code: u32) -> *const c_char {
    static TEXTS: OnceLock<Vec<(Return, CString)>> = OnceLock::new();
    let texts = TEXTS.get_or_init(|| {
        let text = |value: Return| CString::new(value.text()).unwrap_or_default();
        Return::ALL.into_iter().map(|value| (value, text(value))).collect()
    });
    let wanted = Return::from_code(code).unwrap_or(Return::Unknown);
    let found = texts.iter().find(|(value, _)| *value == wanted);
    found.map_or(c"Unknown Error".as_ptr(), |(_, text)| text.as_ptr())
}

/// What every function that is only a name answers.
pub extern "C" fn stub() -> u32 {
    if session::current().is_none() {
        Return::Uninitialized.code()
    } else {
        Return::NotSupported.code()
    }
}

/// The NVML function `name` of the simulated driver, as `dlsym` would find it in its library.
/// `None` for names NVML does not have, and for those newer than the simulated driver's branch.
///
/// The pointer is a C function with the signature that `nvml.h` gives the name.
pub fn symbol(name: &str) -> Option<*const c_void> {
    let found = match name {
        "nvmlInit" => nvmlInit as *const c_void,
        "nvmlInit_v2" => nvmlInit_v2 as *const c_void,
        "nvmlInitWithFlags" => nvmlInitWithFlags as *const c_void,
        "nvmlShutdown" => nvmlShutdown as *const c_void,
        "nvmlErrorString" => nvmlErrorString as *const c_void,
        "nvmlSystemGetNVMLVersion" => nvmlSystemGetNVMLVersion as *const c_void,
        _ => {
            implemented(name).or_else(|| STUBS.contains(&name).then_some(stub as *const c_void))?
        }
    };
    let hidden = branch().is_some_and(|branch| crate::abi::since(name) > branch);
    if hidden { None } else { Some(found) }
}

/// The driver branch of the host this process is bound to.
fn branch() -> Option<u32> {
    let node = match session::current() {
        Some(session) => session.host.node().ok()?,
        None => crate::SimHost::open(&session::bound_to()?).ok()?.node().ok()?,
    };
    Some(node.value.driver.branch())
}
