//! Signals as a stream.
//!
//! Must never lose the end of a child: streams are opened before it is started.

use std::io;

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// Those that end a program that waits.
pub(crate) const ENDING: [Signal; 4] = [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT];
/// Those that a command in its own group gets through us, and the one that tells about it.
pub(crate) const SESSION: [Signal; 9] = [
    Signal::INT,
    Signal::TERM,
    Signal::HUP,
    Signal::QUIT,
    Signal::USR1,
    Signal::USR2,
    Signal::TSTP,
    Signal::CONT,
    Signal::CHILD,
];

/// Opens a stream of `signals`. From then on they no longer end this process.
///
/// # Errors
/// What the system said.
pub(crate) fn stream(signals: &[Signal]) -> io::Result<UnboundedReceiver<Signal>> {
    let (sender, receiver) = unbounded_channel();
    for number in signals.iter().copied() {
        let mut arrivals = signal(SignalKind::from_raw(number.as_raw()))?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while arrivals.recv().await.is_some() {
                if sender.send(number).is_err() {
                    break;
                }
            }
        });
    }
    Ok(receiver)
}
