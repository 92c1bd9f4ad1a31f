//! Says when processes and containers have ended: one thread that polls their descriptors, and
//! looks at the containers' control groups.
//!
//! Must never take a pid for a process: the start time is checked after the descriptor is open.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use broker::Command;
use host::PidFd;
use model::{LeaseId, ProcessId};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::hands::lock;

/// How long the thread sleeps at most; those that could not be given a descriptor are looked at
/// that often.
const LIMIT: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// The way to have processes watched.
#[derive(Debug, Clone)]
pub(crate) struct Watcher {
    orders: Sender<Order>,
    bell: Arc<Mutex<UnixStream>>,
}

impl Watcher {
    /// Starts the thread; `tell` hears of every end.
    pub(crate) fn start(tell: impl Fn(Command) + Send + 'static) -> std::io::Result<Self> {
        let (bell, ring) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        ring.set_nonblocking(true)?;
        let (orders, arrivals) = channel();
        std::thread::Builder::new()
            .name("watcher".to_owned())
            .spawn(move || watch(&arrivals, ring, &tell))?;
        Ok(Self { orders, bell: Arc::new(Mutex::new(bell)) })
    }

    /// Watches a process for a lease.
    pub(crate) fn add(&self, lease: LeaseId, process: ProcessId) {
        self.order(Order::Watch(lease, process));
    }

    /// Watches the container of a lease.
    pub(crate) fn add_container(&self, lease: LeaseId, cgroup: String) {
        self.order(Order::WatchContainer(lease, cgroup));
    }

    /// Watches nobody for a lease any more.
    pub(crate) fn forget(&self, lease: LeaseId) {
        self.order(Order::Forget(lease));
    }

    fn order(&self, order: Order) {
        let _ = self.orders.send(order);
        // A full pipe means that the thread is about to wake up anyway.
        let _ = lock(&self.bell).write(&[1]);
    }
}

#[derive(Debug)]
enum Order {
    Watch(LeaseId, ProcessId),
    WatchContainer(LeaseId, String),
    Forget(LeaseId),
}

struct Watched {
    lease: LeaseId,
    process: ProcessId,
    /// `None` where the system had no descriptor left; then the process table is asked.
    descriptor: Option<PidFd>,
}

fn watch(arrivals: &Receiver<Order>, mut ring: UnixStream, tell: &impl Fn(Command)) {
    let mut watched: Vec<Watched> = Vec::new();
    let mut containers: BTreeMap<LeaseId, String> = BTreeMap::new();
    loop {
        let _ = ring.read(&mut [0; 64]);
        loop {
            match arrivals.try_recv() {
                Ok(Order::Forget(lease)) => {
                    watched.retain(|one| one.lease != lease);
                    containers.remove(&lease);
                }
                Ok(Order::WatchContainer(lease, cgroup)) => {
                    containers.insert(lease, cgroup);
                }
                Ok(Order::Watch(lease, process)) => {
                    let descriptor = PidFd::watch(process).ok();
                    watched.push(Watched { lease, process, descriptor });
                }
                Err(std::sync::mpsc::TryRecvError::Empty) => break,
                Err(std::sync::mpsc::TryRecvError::Disconnected) => return,
            }
        }
        watched.retain(|one| {
            let alive = match &one.descriptor {
                Some(held) => !held.has_ended().unwrap_or(false),
                None => host::processes::is_alive(one.process),
            };
            if !alive {
                tell(Command::HolderExited { lease: one.lease, process: one.process });
            }
            alive
        });
        containers.retain(|lease, cgroup| {
            // Where the group cannot be read, its processes cannot be ruled out.
            let over = host::cgroups::processes_in(cgroup).is_ok_and(|pids| pids.is_empty());
            if over {
                tell(Command::HolderGone { lease: *lease });
            }
            !over
        });
        let mut descriptors: Vec<PollFd<'_>> = watched
            .iter()
            .filter_map(|one| one.descriptor.as_ref())
            .map(|held| PollFd::from_borrowed_fd(held.as_fd(), PollFlags::IN))
            .collect();
        descriptors.push(PollFd::new(&ring, PollFlags::IN));
        let _ = poll(&mut descriptors, Some(&LIMIT));
    }
}
