//! What the fuzzers feed: each function takes bytes and returns if migd bore them.
//!
//! They panic where it did not; the targets in `fuzz/` and the tests here run them. Must never hold
//! a rule of what is right beyond "does not break, and says the same thing twice".
#![allow(clippy::panic, clippy::unwrap_used, reason = "a panic is how a finding is told")]
#![allow(clippy::missing_panics_doc, reason = "every one of them panics at a finding")]

mod abi;
mod chance;
mod layouts;
mod texts;

pub use abi::abi;
pub use chance::Chance;
pub use layouts::layouts;
pub use texts::{body, configuration, journal, journal_file, names};

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes around something valid: mostly itself, with some places changed.
    fn mutated(chance: &mut Chance, valid: &[u8]) -> Vec<u8> {
        let mut bytes = valid.to_vec();
        for _ in 0..chance.below(6) {
            let at = chance.below(bytes.len() as u64 + 1) as usize;
            match chance.below(4) {
                0 if at < bytes.len() => bytes[at] = chance.below(256) as u8,
                1 if at < bytes.len() => drop(bytes.remove(at)),
                2 => bytes.insert(at, b"0\"{}[],:-g.9"[chance.below(12) as usize]),
                _ => bytes.truncate(at.max(1)),
            }
        }
        bytes
    }

    fn feed(rounds: u64, valid: &[&str], target: fn(&[u8])) {
        let mut chance = Chance::new(7);
        for text in valid {
            target(text.as_bytes());
        }
        for _ in 0..rounds {
            let text = valid[chance.below(valid.len() as u64) as usize];
            target(&mutated(&mut chance, text.as_bytes()));
        }
    }

    #[test]
    fn names_of_every_kind_are_borne() {
        let valid = [
            "1c.3g.20gb+me",
            "MIG 1g.5gb",
            "2g.24gb+gfx,me.all",
            "20480MiB",
            "0000:07:00.0",
            "GPU-4a",
            "L17",
            "90s",
            "1g.5gb.me",
        ];
        feed(20_000, &valid, names);
    }

    #[test]
    fn bodies_are_borne() {
        let valid = [
            r#"{"profile":"1g.5gb","count":2,"holder":"process","max_wait_ms":0,"name":"a"}"#,
            r#"{"gpu_mem":"20g","compute":"3g","gpu":"a100","holder":"token","time_ms":5}"#,
        ];
        feed(5_000, &valid, body);
    }

    #[test]
    fn configurations_are_borne() {
        let default = config::default_file();
        feed(500, &[&default, "[daemon]\nauto_mig = true\n"], configuration);
    }

    #[test]
    fn files_of_layouts_are_borne() {
        let valid = [
            include_str!("../../../fuzz/seeds/layouts.mig-parted.yaml"),
            include_str!("../../../fuzz/seeds/layouts.own.yaml"),
            include_str!("../../../fuzz/seeds/layouts.checkpoint.json"),
            include_str!("../../../fuzz/seeds/layouts.hooks.yaml"),
        ];
        feed(3_000, &valid, layouts);
    }

    #[test]
    fn journals_are_borne() {
        let valid = include_str!("../../../fuzz/seeds/journal");
        feed(300, &[valid], journal);
    }

    #[test]
    fn files_that_are_no_journals_are_borne() {
        feed(20, &["SQLite format 3\0", "nonsense"], journal_file);
    }

    #[test]
    fn calls_with_any_arguments_are_borne() {
        let mut chance = Chance::new(11);
        for _ in 0..300 {
            let bytes: Vec<u8> = (0..2_000).map(|_| chance.below(256) as u8).collect();
            abi(&bytes);
        }
    }
}
