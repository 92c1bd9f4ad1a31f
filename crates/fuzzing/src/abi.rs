//! The C ABI of the simulated driver: any function with any arguments that the contract allows.
//!
//! The contract of NVML is kept in one thing: a pointer is NULL or points at room. Must never hand
//! out a pointer that the library may not follow.

use std::ffi::CStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sim_gpu::{HostSpec, Latencies};
use sim_nvml::types::{ComputeInstance, Device, EventSet, GpmSample, GpuInstance, In, Out, Text};
use sim_nvml::{HostOptions, SimHost, attach_thread, entry};

/// Room behind every pointer, for the longest array that a count below lets the library write.
const ROOM: usize = 1 << 20;
/// Texts for arguments that are texts.
const TEXTS: [&CStr; 6] = [
    c"",
    c"GPU-00000000-0000-0000-0000-000000000000",
    c"0000:07:00.0",
    c"00000000:FF:1F.7",
    c"MIG-\xff\xfe",
    c"1650000000000000000000000000000000000000000000000000000000000000000000000000000000",
];

/// Bytes turned into arguments.
struct Feed<'a> {
    bytes: std::slice::Iter<'a, u8>,
    room: Vec<u64>,
    /// Handles the library gave, and garbage.
    handles: Vec<u64>,
}

impl Feed<'_> {
    fn byte(&mut self) -> u8 {
        self.bytes.next().copied().unwrap_or(0)
    }

    fn word(&mut self) -> u64 {
        (0..8).fold(0, |word, _| word << 8 | u64::from(self.byte()))
    }

    fn handle(&mut self) -> u64 {
        match self.byte() {
            0..8 => 0,
            8..16 => self.word(),
            other => self.handles[usize::from(other) % self.handles.len()],
        }
    }

    fn pointer<T>(&mut self) -> *mut T {
        if self.byte() < 8 {
            return std::ptr::null_mut();
        }
        // A version word, a count, an index: what in-out arguments begin with.
        let first = match self.byte() {
            0..64 => u64::from(self.byte()),
            64..128 => 1 << 24 | u64::from(self.byte()) << 3,
            128..192 => 2 << 24 | u64::from(self.byte()) << 3,
            _ => self.word() & 0x00ff_00ff_00ff_00ff,
        };
        self.room[0] = first;
        self.room.as_mut_ptr().cast()
    }
}

/// An argument made from bytes.
trait Argument {
    fn made(feed: &mut Feed<'_>) -> Self;
}

impl Argument for u32 {
    fn made(feed: &mut Feed<'_>) -> Self {
        match feed.byte() {
            0..200 => Self::from(feed.byte() % 32),
            // No count: none of these is less than the room.
            200..228 => 96,
            _ => Self::from(feed.byte()),
        }
    }
}

impl Argument for u64 {
    fn made(feed: &mut Feed<'_>) -> Self {
        feed.word()
    }
}

impl Argument for i32 {
    fn made(feed: &mut Feed<'_>) -> Self {
        Self::from(feed.byte().cast_signed())
    }
}

impl Argument for Text {
    fn made(feed: &mut Feed<'_>) -> Self {
        match feed.byte() {
            0..16 => Self::NULL,
            other => Self::new(TEXTS[usize::from(other) % TEXTS.len()]),
        }
    }
}

impl<T> Argument for Out<T> {
    fn made(feed: &mut Feed<'_>) -> Self {
        Self::new(feed.pointer())
    }
}

impl<T> Argument for In<T> {
    fn made(feed: &mut Feed<'_>) -> Self {
        Self::new(feed.pointer())
    }
}

macro_rules! handles {
    ($($name:ident),*) => {
        $(
            impl Argument for $name {
                fn made(feed: &mut Feed<'_>) -> Self {
                    Self::from_bits(feed.handle())
                }
            }
        )*
    };
}

handles!(Device, GpuInstance, ComputeInstance, EventSet, GpmSample);

/// A call: takes its arguments from the feed.
type Call = fn(&mut Feed<'_>) -> u32;

/// Waiting for events takes the time that its caller allows, so its time is not left to chance.
fn waits(name: &str) -> bool {
    name.starts_with("nvmlEventSetWait")
}

macro_rules! calls {
    ($($name:ident($($arg:ident: $type:ty),*) => $module:ident::$function:ident;)*) => {
        const CALLS: &[(&str, Call)] = &[$(
            (stringify!($name), |feed| {
                $(let $arg: $type = Argument::made(feed);)*
                entry::$name($($arg),*)
            }),
        )*];
    };
}

#[allow(clippy::wildcard_imports, reason = "the table of functions names any of them")]
use sim_nvml::types::*;
sim_nvml::nvml_functions!(calls);

/// Calls functions of the simulated driver as the bytes say.
pub fn abi(bytes: &[u8]) {
    static TURN: AtomicU64 = AtomicU64::new(0);
    let boards = ["a100-sxm4-40gb:2", "h100-sxm5-80gb:1", "a30:1"];
    let turn = TURN.fetch_add(1, Ordering::Relaxed);
    let spec = HostSpec::named("fuzzed", boards[turn as usize % boards.len()]).unwrap();
    let options = HostOptions { latencies: Some(Latencies::ZERO), shared: false };
    let host = Arc::new(SimHost::in_memory(&spec, &options).unwrap());
    attach_thread(Some(Arc::clone(&host)));
    assert_eq!(entry::nvmlInit_v2(), 0);
    let mut feed =
        Feed { bytes: bytes.iter(), room: vec![0; ROOM / 8], handles: vec![0x5555_5555_5555_5555] };
    let mut device = Device::from_bits(0);
    for index in 0..2 {
        if entry::nvmlDeviceGetHandleByIndex_v2(index, Out::new(&raw mut device)) == 0 {
            feed.handles.push(device.pointer::<u8>() as u64);
            let mut activation = 0;
            entry::nvmlDeviceSetMigMode(device, 1, Out::new(&raw mut activation));
        }
    }
    while feed.bytes.len() > 0 {
        let at = usize::from(feed.byte()) << 8 | usize::from(feed.byte());
        let (name, call) = CALLS[at % CALLS.len()];
        if waits(name) {
            continue;
        }
        let answer = call(&mut feed);
        assert!(answer <= 1000, "{name} answered {answer}");
        // What it wrote may be a handle.
        if feed.handles.len() < 64 {
            let word = feed.room[0];
            feed.handles.push(word);
        }
        let rules = host.node().unwrap().value.check_invariants();
        assert_eq!(rules, Ok(()), "after {name}");
    }
    entry::nvmlShutdown();
    attach_thread(None);
}
