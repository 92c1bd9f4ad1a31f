//! The word that was probably meant.
//!
//! Must never suggest something that shares nothing with what was written.

use alloc::vec::Vec;

/// The candidate with the fewest typing errors against `word`, if they are few.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let bar = (word.chars().count() / 3).max(2);
    candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= bar)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions and exchanges of single letters (Levenshtein). `-` and `_` are the same,
/// since options of the command line have one and keys the other.
fn distance(one: &str, other: &str) -> usize {
    let letter = |c: char| if c == '-' { '_' } else { c.to_ascii_lowercase() };
    let other: Vec<char> = other.chars().map(letter).collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().map(letter).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let exchanged = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = exchanged.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        let keys = ["auto_mig", "grace", "warm_for", "shared"];
        assert_eq!(nearest("auto-mig", keys), Some("auto_mig"));
        assert_eq!(nearest("graec", keys), Some("grace"));
        assert_eq!(nearest("warmfor", keys), Some("warm_for"));
        let others = ["devices", "mig-enabled", "lend", "instances"];
        assert_eq!(nearest("mig_enabled", others), Some("mig-enabled"));
        assert_eq!(nearest("device", others), Some("devices"));
        assert_eq!(nearest("instnaces", others), Some("instances"));
        assert_eq!(nearest("quota", others), None);
        assert_eq!(nearest("quota", keys), None);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }
}
