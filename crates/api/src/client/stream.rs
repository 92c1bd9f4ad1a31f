//! Events as they happen, read from a stream of server-sent events.
//!
//! Must never hold more than the event that is being read: a daemon that talks nonsense gets no
//! memory.

use std::sync::Arc;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use crate::client::ClientError;
use crate::client::pool::Pool;
use crate::v1::{EventView, Problem};

/// The longest event that is read.
const EVENT_MAX: usize = 1024 * 1024;

/// A stream of events.
#[derive(Debug)]
pub struct EventStream {
    body: Incoming,
    unread: Vec<u8>,
    last: u64,
    pool: Arc<Pool>,
}

impl EventStream {
    pub(super) const fn new(body: Incoming, after: u64, pool: Arc<Pool>) -> Self {
        Self { body, unread: Vec::new(), last: after, pool }
    }

    /// The number of the newest event that was read.
    pub const fn last(&self) -> u64 {
        self.last
    }

    /// The next event; `None` when the daemon ended the stream.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when this reader was too slow and is let go, or the daemon ends;
    /// [`ClientError::Broken`] when the conversation broke.
    pub async fn next(&mut self) -> Result<Option<EventView>, ClientError> {
        loop {
            while let Some(block) = take_block(&mut self.unread) {
                match parse(&block) {
                    Ok(Some(Told::Event(event))) => {
                        self.last = event.seq;
                        return Ok(Some(*event));
                    }
                    Ok(Some(Told::Dropped(problem))) => return Err(ClientError::Refused(*problem)),
                    Ok(None) => {}
                    Err(error) => return Err(self.pool.broken(error)),
                }
            }
            if self.unread.len() > EVENT_MAX {
                return Err(self.pool.broken("an event without end"));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.unread.extend_from_slice(data);
                    }
                }
                Some(Err(error)) => return Err(self.pool.broken(error)),
            }
        }
    }
}

/// What a block tells.
#[derive(Debug, PartialEq)]
enum Told {
    Event(Box<EventView>),
    Dropped(Box<Problem>),
}

/// The first whole block, which an empty line ends.
fn take_block(unread: &mut Vec<u8>) -> Option<Vec<u8>> {
    let end = unread.windows(2).position(|pair| pair == b"\n\n")?;
    let block = unread.drain(..end + 2).collect();
    Some(block)
}

/// Comments tell nothing.
fn parse(block: &[u8]) -> Result<Option<Told>, String> {
    let text = String::from_utf8_lossy(block);
    let field = |name: &str| {
        let mut lines = text.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim_start)
    };
    let Some(data) = field("data") else { return Ok(None) };
    let wrong = |error: serde_json::Error| format!("an event that is none: {error}");
    Ok(Some(if field("event") == Some("dropped") {
        Told::Dropped(serde_json::from_str(data).map_err(wrong)?)
    } else {
        Told::Event(serde_json::from_str(data).map_err(wrong)?)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_one_by_one_however_they_arrive() {
        let wire = b": migd\nretry: 1000\n\nid: 7\nevent: ended\ndata: {\"seq\":7,\"at_ms\":1,\
            \"kind\":\"ended\",\"lease\":null,\"message\":\"m\"}\n\n:\n\nid: 8";
        let (mut unread, mut told) = (Vec::new(), Vec::new());
        for byte in wire {
            unread.push(*byte);
            while let Some(block) = take_block(&mut unread) {
                told.extend(parse(&block).unwrap());
            }
        }
        assert_eq!(unread, b"id: 8");
        let [Told::Event(event)] = told.as_slice() else { unreachable!("{told:?}") };
        assert_eq!((event.seq, event.kind.as_str()), (7, "ended"));
    }

    #[test]
    fn who_is_let_go_learns_why_and_nonsense_is_an_error() {
        let block = b"event: dropped\ndata: {\"status\":503,\"code\":\"E-SLOW-READER\",\
            \"title\":\"t\",\"detail\":\"d\"}\n\n";
        let Some(Told::Dropped(problem)) = parse(block).unwrap() else { unreachable!() };
        assert_eq!(problem.code, "E-SLOW-READER");
        assert!(parse(b"data: {}\n\n").is_err());
    }
}
