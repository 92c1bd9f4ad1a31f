//! The calls under way: who asked for what, written before it is done, so that a daemon that is killed
//! before it could answer leaves a line in the audit all the same.
//!
//! A file of slots beside the ledger: one write of some hundred bytes for a call, which survives `kill -9`
//! like the journal does, and no commit. Must never be needed to know the state of leases.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use crate::ledger::AuditRecord;

/// Room for one call: its length, and then the call. More than any call takes: verb and object are of at
/// most 200 characters, a key too.
const SLOT: u64 = 4096;
/// Bytes of the length of a call; 0 in a slot that is free.
const LENGTH: usize = 4;

/// The calls that are being carried out.
#[derive(Debug)]
pub struct UnderWay {
    file: File,
    free: Vec<u32>,
    /// Slots that the file has had so far.
    slots: u32,
}

/// Where a call is written.
#[derive(Debug, PartialEq, Eq)]
pub struct Slot(u32);

impl UnderWay {
    /// Opens the file, and finds the calls that a daemon before did not come to answer.
    ///
    /// # Errors
    /// If it cannot be opened or read.
    pub fn open(path: &Path) -> io::Result<(Self, Vec<AuditRecord>)> {
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true).mode(0o600);
        let mut file = options.open(path)?;
        // Whoever made the file: it holds who asked for what.
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let found = bytes.chunks(SLOT as usize).filter_map(call_in).collect();
        let slots = u32::try_from((bytes.len() as u64).div_ceil(SLOT)).unwrap_or(u32::MAX);
        Ok((Self { file, free: Vec::new(), slots }, found))
    }

    /// Forgets the calls of the daemon before, once they are in the audit.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn forget(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.free.clear();
        self.slots = 0;
        Ok(())
    }

    /// Notes a call that is about to be carried out.
    ///
    /// # Errors
    /// If the file cannot be written, or no slot holds the call.
    pub fn begin(&mut self, call: &AuditRecord) -> io::Result<Slot> {
        let mut bytes = vec![0; LENGTH];
        serde_json::to_writer(&mut bytes, call)?;
        if bytes.len() as u64 > SLOT {
            return Err(io::Error::other("the call is longer than its slot"));
        }
        let length = u32::try_from(bytes.len() - LENGTH).unwrap_or_default();
        bytes[..LENGTH].copy_from_slice(&length.to_le_bytes());
        let slot = self.free.pop().unwrap_or(self.slots);
        self.file.write_all_at(&bytes, u64::from(slot) * SLOT)?;
        self.slots = self.slots.max(slot + 1);
        Ok(Slot(slot))
    }

    /// The call is answered, and the audit has it.
    ///
    /// # Errors
    /// If the file cannot be written; then the slot is not used again.
    pub fn end(&mut self, slot: Slot) -> io::Result<()> {
        self.file.write_all_at(&[0; LENGTH], u64::from(slot.0) * SLOT)?;
        self.free.push(slot.0);
        Ok(())
    }
}

/// The call in a slot, if it is whole.
fn call_in(slot: &[u8]) -> Option<AuditRecord> {
    let (length, rest) = slot.split_first_chunk::<LENGTH>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok().filter(|length| *length > 0)?;
    serde_json::from_slice(rest.get(..length)?).ok()
}
