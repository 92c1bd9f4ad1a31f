//! What speaks for and against each way to share, and what to type for it.
//!
//! Must never give a point without a reason that the user reads.

use model::MemoryRequest;

use super::{Hardware, Need, Trust, Weighed};

/// Clients of one MPS server on a GPU.
const MPS_CLIENTS: u32 = 48;

/// Every option with its reasons.
pub(super) fn weigh(need: &Need, hardware: Option<&Hardware>) -> Vec<Weighed> {
    vec![
        mig(need, hardware),
        mps(need, hardware),
        mps_in_mig(need, hardware),
        streams(need),
        whole_gpu(need, hardware),
        time_slicing(need),
    ]
}

fn memory_words(memory: Option<MemoryRequest>) -> String {
    memory.map_or_else(|| String::from("so much memory"), |memory| memory.to_string())
}

/// Why no slice can serve the need, if none can.
fn no_slice(need: &Need, hardware: Option<&Hardware>) -> Option<String> {
    if need.multi_gpu {
        return Some("a slice reaches no other GPU: no NVLink, no peer to peer".into());
    }
    let hardware = hardware?;
    if hardware.profiles.is_empty() {
        return Some(format!("{} cannot do MIG", hardware.name));
    }
    let too_much = || format!("no slice has {}", memory_words(need.memory));
    hardware.slice(need.memory).is_none().then(too_much)
}

/// How many slices with enough memory there can be at once.
fn slices(need: &Need, hardware: Option<&Hardware>) -> u32 {
    const USUAL: u32 = 7;
    hardware.map_or(USUAL, |hardware| {
        let each = hardware.slice(need.memory).map_or(0, |profile| profile.max_instances);
        each * hardware.gpus
    })
}

fn mig(need: &Need, hardware: Option<&Hardware>) -> Weighed {
    let mut option = Weighed::new("mig", "a MIG slice for each process");
    if let Some(why) = no_slice(need, hardware) {
        option.falls(why);
        return option;
    }
    match need.trust {
        Trust::Strangers => {
            option.gains(10, "memory, bandwidth and errors of one never reach another");
        }
        Trust::Trusted => option.gains(2, "nobody can slow another down"),
        Trust::SameUser => {}
    }
    if need.latency {
        option.gains(8, "own multiprocessors, L2 and bandwidth: latency does not depend on others");
    }
    if need.bursty {
        option.loses(5, "what one does not use, nobody else can: idle slices stay idle");
    }
    if need.one_program {
        option.loses(6, "one program would have to be parted into a process per slice");
    }
    if need.processes == 1 {
        option.gains(1, "the rest of the GPU stays free for others");
    }
    let room = slices(need, hardware);
    if need.processes > room {
        option.loses(
            6,
            format!("{room} slices at once, and {} processes: the others wait", need.processes),
        );
    } else if need.processes > 1 {
        option.gains(
            2,
            format!("all {} fit at once, each with memory that is its own", need.processes),
        );
    }
    option
}

fn mps(need: &Need, hardware: Option<&Hardware>) -> Weighed {
    let mut option = Weighed::new("mps", "MPS on a whole GPU");
    match need.trust {
        Trust::Strangers => option.falls(
            "one server for people who do not trust each other: a fatal error of one ends all, and \
             nothing keeps one from taking the others' memory",
        ),
        Trust::Trusted => option.loses(1, "a server is one user's unless it is told otherwise"),
        Trust::SameUser => option.gains(2, "processes of one user share a server as they are"),
    }
    if need.processes == 1 {
        option.loses(6, "a single process has nobody to share with");
    } else if need.processes > 7 {
        option.gains(3, "many small processes run at the same time");
    }
    if need.processes > MPS_CLIENTS {
        option.loses(
            3,
            format!("a server takes {MPS_CLIENTS} clients on a GPU: several GPUs, or turns"),
        );
    }
    if need.bursty {
        option.gains(7, "whoever is busy uses what the others leave idle");
    }
    if need.latency {
        option.loses(6, "bandwidth and L2 are shared: others are felt");
    }
    if need.one_program {
        option.loses(4, "inside one program streams do the same without a server");
    }
    if need.multi_gpu {
        option.gains(1, "peer to peer works");
    }
    if let (Some(hardware), Some(each)) = (hardware, each_mib(need)) {
        let wanted = each.saturating_mul(u64::from(need.processes));
        let there = hardware.memory_mib.saturating_mul(u64::from(hardware.gpus));
        if wanted > there {
            option.loses(4, format!("together they want {wanted} MiB, and there are {there}"));
        }
    }
    option
}

fn each_mib(need: &Need) -> Option<u64> {
    match need.memory? {
        MemoryRequest::Nominal(gb) => Some(u64::from(gb.get()) * 1024),
        MemoryRequest::Strict(mib) => Some(mib.get()),
    }
}

fn mps_in_mig(need: &Need, hardware: Option<&Hardware>) -> Weighed {
    let mut option = Weighed::new("mps_in_mig", "MPS inside MIG slices");
    if let Some(why) = no_slice(need, hardware) {
        option.falls(why);
        return option;
    }
    if need.processes == 1 {
        option.falls("a single process needs no server in its slice");
        return option;
    }
    option.loses(2, "a control daemon for each slice, to be ended before the slice goes");
    match need.trust {
        Trust::Strangers => {
            option.gains(6, "a slice for each tenant, shared by that tenant's processes alone");
        }
        Trust::Trusted => option.gains(2, "a slice for each group keeps groups apart"),
        Trust::SameUser => {}
    }
    if need.bursty {
        option.gains(3, "inside a slice, whoever is busy uses what the others leave idle");
    }
    if need.latency {
        option.gains(2, "processes of other slices are not felt; those of the same one are");
    }
    if need.processes > slices(need, hardware) {
        option.gains(6, "more processes than slices, and still apart by slice");
    }
    if need.one_program {
        option.loses(6, "one program would have to be parted into processes");
    }
    option
}

fn streams(need: &Need) -> Weighed {
    let mut option = Weighed::new("streams", "CUDA streams in one process");
    if !need.one_program {
        option.falls("streams share inside one process, not between programs");
        return option;
    }
    option.gains(9, "kernels and copies of one program overlap without any setting up");
    if need.latency {
        option.loses(2, "streams share everything: a long kernel is felt by the others");
    }
    option
}

fn whole_gpu(need: &Need, hardware: Option<&Hardware>) -> Weighed {
    let mut option = Weighed::new("whole_gpu", "a whole GPU for each, MIG off");
    if need.multi_gpu {
        option.gains(20, "NVLink and peer to peer work between whole GPUs");
    }
    if need.processes == 1 && !need.one_program {
        option.gains(2, "all of the GPU, and nobody beside it");
    }
    if need.processes == 1 && need.memory.is_none() {
        option.gains(1, "nothing is known that would let it share");
    }
    if need.trust == Trust::Strangers {
        option.gains(4, "nobody is beside it");
    }
    if need.latency {
        option.gains(3, "nobody else is felt");
    }
    if need.bursty {
        option.loses(4, "a whole GPU idles whenever it does");
    }
    if let Some(hardware) = hardware {
        if need.processes > hardware.gpus && !need.multi_gpu {
            let (processes, gpus) = (need.processes, hardware.gpus);
            option.loses(6, format!("{processes} processes and {gpus} GPUs: the others wait"));
        }
        if let Some(each) = each_mib(need).filter(|each| *each > hardware.memory_mib) {
            option.falls(format!(
                "one GPU has {} MiB, and {each} are needed: take several",
                hardware.memory_mib
            ));
        }
    } else if need.processes > 1 {
        option.loses(5, "a GPU each for processes that could share one");
    }
    option
}

fn time_slicing(need: &Need) -> Weighed {
    let mut option = Weighed::new("time_slicing", "taking turns on a GPU (time slicing)");
    if need.processes == 1 {
        option.falls("a single process has nobody to take turns with");
        return option;
    }
    option.loses(2, "one runs at a time: no gain in throughput, and memory is first come");
    match need.trust {
        Trust::Strangers => option.loses(8, "anybody can take all memory and make the others fail"),
        Trust::Trusted | Trust::SameUser => option.gains(1, "nothing to set up"),
    }
    if need.latency {
        option.loses(8, "each waits for its turn");
    }
    if need.bursty {
        option.gains(2, "turns are short where the others are idle");
    }
    option
}

/// What to type for an option.
pub(super) fn commands(choice: &str, need: &Need, hardware: Option<&Hardware>) -> Vec<String> {
    let wanted = match (need.memory, hardware.and_then(|hardware| hardware.slice(need.memory))) {
        (Some(memory), _) => format!("--gpu-mem {memory}"),
        (None, Some(profile)) => format!("--profile {}", profile.name),
        (None, None) => String::from("--profile 1g"),
    };
    let server = [
        "export CUDA_MPS_PIPE_DIRECTORY=$XDG_RUNTIME_DIR/mps CUDA_MPS_LOG_DIRECTORY=/tmp/mps-log",
        "nvidia-cuda-mps-control -d   # then start the programs; at the end: echo quit | nvidia-cuda-mps-control",
    ]
    .map(str::to_owned);
    match choice {
        "mig" => vec![format!("migctl run {wanted} -- ./program")],
        "mps" => [vec![String::from("migctl shell --whole-gpu")], server.to_vec()].concat(),
        "mps_in_mig" => [vec![format!("migctl shell {wanted}")], server.to_vec()].concat(),
        "streams" => {
            vec![String::from("migctl run --whole-gpu -- ./program   # cudaStreamCreate in it")]
        }
        "time_slicing" => {
            vec![String::from("migctl shell --whole-gpu   # and start the programs in it")]
        }
        _ if need.multi_gpu => {
            vec![
                String::from("migctl topo"),
                String::from("migctl run --whole-gpu --count 2 -- ./program"),
            ]
        }
        _ => vec![String::from("migctl run --whole-gpu -- ./program")],
    }
}
