//! The two slots of the state file: how a version is written down and recognised.
//!
//! Must never decode a payload whose checksum does not match.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use serde::Serialize;

use crate::shared::{Shareable, SharedError, Version};

/// The header in front of the slots: one page.
pub(crate) const HEADER: u64 = 4096;
/// Room of one slot. The file is sparse: a slot takes the disk space of its payload.
const SLOT_ROOM: u64 = 8 << 20;
/// Length, checksum, generation and log length in front of a payload.
pub(crate) const SLOT_HEADER: usize = 32;

fn checksum(bytes: &[u8], seed: u64) -> u64 {
    const MIX: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut sum = seed ^ MIX;
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        sum = (sum ^ u64::from_le_bytes(word)).wrapping_mul(MIX).rotate_left(29);
    }
    for byte in chunks.remainder() {
        sum = (sum ^ u64::from(*byte)).wrapping_mul(MIX).rotate_left(29);
    }
    (sum ^ bytes.len() as u64).wrapping_mul(MIX)
}

/// Where the slot of a generation lies.
pub(crate) const fn slot_offset(generation: u64) -> u64 {
    HEADER + (generation & 1) * SLOT_ROOM
}

/// The slot that holds `value`.
pub(crate) fn encode<T: Serialize>(
    value: &T,
    generation: u64,
    log_len: u64,
) -> Result<Vec<u8>, SharedError> {
    let bytes = postcard::to_extend(value, vec![0; SLOT_HEADER])
        .map_err(|error| SharedError::Encode(error.to_string()))?;
    if bytes.len() as u64 > SLOT_ROOM {
        return Err(SharedError::Encode(format!("{} bytes do not fit a slot", bytes.len())));
    }
    let mut slot = bytes;
    let sum = checksum(&slot[SLOT_HEADER..], generation ^ log_len.rotate_left(32));
    let length = (slot.len() - SLOT_HEADER) as u64;
    for (at, word) in [length, sum, generation, log_len].into_iter().enumerate() {
        slot[at * 8..at * 8 + 8].copy_from_slice(&word.to_le_bytes());
    }
    Ok(slot)
}

/// The slot of `generation`, or `None` when it holds something else.
pub(crate) fn read_slot<T: Shareable>(
    file: &File,
    generation: u64,
) -> io::Result<Option<Version<T>>> {
    let offset = slot_offset(generation);
    let mut head = [0; SLOT_HEADER];
    file.read_exact_at(&mut head, offset)?;
    let word = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&head[at * 8..at * 8 + 8]);
        u64::from_le_bytes(bytes)
    };
    let (length, sum, of, log_len) = (word(0), word(1), word(2), word(3));
    if of != generation || length > SLOT_ROOM - SLOT_HEADER as u64 {
        return Ok(None);
    }
    let mut payload = vec![0; length as usize];
    match file.read_exact_at(&mut payload, offset + SLOT_HEADER as u64) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    if checksum(&payload, generation ^ log_len.rotate_left(32)) != sum {
        return Ok(None);
    }
    let value = postcard::from_bytes(&payload)
        .ok()
        .and_then(|mut value: T| if value.revive() { Some(value) } else { None });
    Ok(value.map(|value| Version { generation, log_len, value }))
}
