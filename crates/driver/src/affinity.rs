//! Processors and memory nodes near a GPU, which NVML tells as masks.
//!
//! Must never read beyond the words that were handed over.

#![allow(unsafe_code, reason = "hands buffers to NVML")]

use core::ffi::{c_uint, c_ulong};

use crate::raw::newest;
use crate::symbols::{Call, Device, Symbols};

/// Words of a mask of processors or memory nodes: the kernel counts 8,192 processors at most.
const MASK_WORDS: usize = 8192 / c_ulong::BITS as usize;
/// `NVML_AFFINITY_SCOPE_NODE`.
const SCOPE_NODE: c_uint = 0;

impl Symbols {
    /// Numbers of the processors near a GPU, ascending.
    pub(crate) fn cpu_affinity(&self, device: Device) -> Call<Vec<u32>> {
        newest(&[
            &|| {
                // SAFETY: `bits` hands over as many words as it says.
                bits(|set, words| unsafe {
                    self.nvmlDeviceGetCpuAffinityWithinScope(device, words, set, SCOPE_NODE)
                })
            },
            &|| {
                // SAFETY: see above.
                bits(|set, words| unsafe { self.nvmlDeviceGetCpuAffinity(device, words, set) })
            },
        ])
    }

    /// Numbers of the NUMA nodes whose memory is near a GPU, ascending.
    pub(crate) fn memory_affinity(&self, device: Device) -> Call<Vec<u32>> {
        // SAFETY: `bits` hands over as many words as it says.
        bits(|set, words| unsafe {
            self.nvmlDeviceGetMemoryAffinity(device, words, set, SCOPE_NODE)
        })
    }
}

/// The numbers of the bits that a call sets in a mask.
fn bits(call: impl FnOnce(*mut c_ulong, c_uint) -> Call<()>) -> Call<Vec<u32>> {
    let mut words: [c_ulong; MASK_WORDS] = [0; MASK_WORDS];
    call(words.as_mut_ptr(), MASK_WORDS as c_uint)?;
    let of = |(at, word): (usize, &c_ulong)| {
        let word = *word;
        let set = (0..c_ulong::BITS).filter(move |bit| word >> bit & 1 == 1);
        set.map(move |bit| at as u32 * c_ulong::BITS + bit)
    };
    Ok(words.iter().enumerate().flat_map(of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_numbered_across_words() {
        let set = |words: *mut c_ulong, count: c_uint| {
            assert_eq!(count as usize, MASK_WORDS);
            // SAFETY: `bits` hands over so many words, and nobody else has them.
            let words = unsafe { core::slice::from_raw_parts_mut(words, count as usize) };
            words[..2].copy_from_slice(&[0b1001, 1]);
            Ok(())
        };
        assert_eq!(bits(set), Ok(vec![0, 3, c_ulong::BITS]));
    }
}
