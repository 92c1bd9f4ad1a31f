//! Parsers of text: names, API bodies, the configuration, the journal.
//!
//! Must never accept a difference between what was parsed and what is written back.

use std::fmt::Display;
use std::path::Path;
use std::str::FromStr;

use broker::State;
use broker::event::Stamped;
use model::{
    BookingId, LeaseId, MemoryRequest, Millis, PciAddress, ProfileName, ProfileSelector, Timestamp,
};

/// What parses and is written back parses to the same.
fn same_again<T: FromStr + Display + PartialEq>(text: &str) {
    let Ok(value) = text.parse::<T>() else { return };
    let written = value.to_string();
    let Ok(again) = written.parse::<T>() else { panic!("`{text}` became `{written}`") };
    assert!(again == value, "`{text}` became `{written}`, which is something else");
}

/// Feeds every parser of a name or an amount.
pub fn names(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    same_again::<ProfileName>(text);
    same_again::<ProfileSelector>(text);
    same_again::<PciAddress>(text);
    same_again::<LeaseId>(text);
    same_again::<BookingId>(text);
    let _ = text.parse::<MemoryRequest>();
    let _ = text.parse::<Millis>();
    let _ = text.parse::<broker::GpuSelector>();
}

/// Feeds the body of a request for slices, as far as it goes without a machine.
pub fn body(bytes: &[u8]) {
    let Ok(request) = serde_json::from_slice::<api::LeaseRequest>(bytes) else { return };
    let written = serde_json::to_vec(&request).unwrap();
    let again: api::LeaseRequest = serde_json::from_slice(&written).unwrap();
    assert_eq!(again, request);
    daemon::bears(request);
}

/// Feeds the configuration file.
pub fn configuration(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match config::Effective::parse(Path::new("migd.toml"), text) {
        Ok(_) => {}
        Err(faults) => assert!(!faults.to_string().is_empty()),
    }
}

/// Feeds events, one a line: whatever a journal holds, the fold bears it, and a state that is
/// stored and read back is the same.
pub fn journal(bytes: &[u8]) {
    let mut state = State::default();
    let mut at = Timestamp::default();
    for line in bytes.split(|byte| *byte == b'\n') {
        let Ok(stamped) = serde_json::from_slice::<Stamped>(line) else { continue };
        at = at.max(stamped.at);
        state.apply(at, &stamped.event);
        let written = serde_json::to_vec(&stamped).unwrap();
        assert_eq!(serde_json::from_slice::<Stamped>(&written).unwrap(), stamped);
    }
    let written = serde_json::to_string(&state).unwrap();
    assert_eq!(serde_json::from_str::<State>(&written).unwrap(), state);
}

/// Feeds a file in the place of the journal: it is used, set aside or refused.
pub fn journal_file(bytes: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    std::fs::write(&path, bytes).unwrap();
    if let Ok(opened) = store::open(&path, store::Durability::Process, Timestamp::default()) {
        assert!(opened.journal.reader().and_then(|reader| reader.after(0, 10)).is_ok());
    }
}
