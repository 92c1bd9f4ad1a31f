//! The GPUs that words on the command line mean: `0`, `0,2`, `0-3`, `all`, a UUID, a PCI address, a model.
//!
//! Must never pass over a word that means nothing: whoever wrote it meant something.

use std::fmt;
use std::str::FromStr;

use api::GpuView;
use broker::GpuSelector;
use model::{GpuSnapshot, PciAddress};

use crate::{Exit, Failure};

/// Words for GPUs, parted by commas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GpuList {
    words: Vec<Word>,
    typed: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Word {
    /// By one of its names, or any of a model.
    Named(GpuSelector),
    /// By NVML index, both ends included.
    Between(u32, u32),
    All,
}

/// What a word is compared with.
pub(crate) trait Candidate {
    /// The NVML index.
    fn index(&self) -> u32;
    /// The UUID.
    fn uuid(&self) -> &str;
    /// Where it sits.
    fn pci(&self) -> Option<PciAddress>;
    /// The product's name.
    fn model(&self) -> &str;
}

impl Candidate for GpuSnapshot {
    fn index(&self) -> u32 {
        self.index.get()
    }

    fn uuid(&self) -> &str {
        self.uuid.as_str()
    }

    fn pci(&self) -> Option<PciAddress> {
        Some(self.pci)
    }

    fn model(&self) -> &str {
        &self.name
    }
}

impl Candidate for GpuView {
    fn index(&self) -> u32 {
        self.index
    }

    fn uuid(&self) -> &str {
        self.uuid.as_str()
    }

    fn pci(&self) -> Option<PciAddress> {
        self.pci.parse().ok()
    }

    fn model(&self) -> &str {
        &self.name
    }
}

impl FromStr for GpuList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Result<Vec<Word>, String> = text.split(',').map(word).collect();
        Ok(Self { words: words?, typed: text.trim().to_owned() })
    }
}

fn word(text: &str) -> Result<Word, String> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("all") {
        return Ok(Word::All);
    }
    if let Some((from, to)) = text.split_once('-')
        && let (Ok(from), Ok(to)) = (from.parse(), to.parse())
    {
        return if from <= to {
            Ok(Word::Between(from, to))
        } else {
            Err(format!("`{text}` ends before it begins; write {to}-{from}"))
        };
    }
    let bad = |error: broker::request::GpuSelectorError| {
        format!("{error}; several as 0,2 or 0-3, every one as all")
    };
    match text.parse().map_err(bad)? {
        GpuSelector::Any => Ok(Word::All),
        selector @ (GpuSelector::Index(_)
        | GpuSelector::Uuid(_)
        | GpuSelector::Pci(_)
        | GpuSelector::Model(_)) => Ok(Word::Named(selector)),
    }
}

impl fmt::Display for GpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.typed)
    }
}

impl Word {
    fn means(&self, gpu: &impl Candidate) -> bool {
        match self {
            Self::All | Self::Named(GpuSelector::Any) => true,
            Self::Between(from, to) => (*from..=*to).contains(&gpu.index()),
            Self::Named(GpuSelector::Index(index)) => gpu.index() == *index,
            Self::Named(GpuSelector::Uuid(prefix)) => {
                gpu.uuid().to_ascii_lowercase().starts_with(prefix)
            }
            Self::Named(GpuSelector::Pci(address)) => gpu.pci() == Some(*address),
            Self::Named(GpuSelector::Model(part)) => {
                gpu.model().to_ascii_lowercase().contains(part)
            }
        }
    }

    /// What of it is not on the machine, in words.
    fn missing<G: Candidate>(&self, gpus: &[G]) -> Option<String> {
        let absent = |index: &u32| gpus.iter().all(|gpu| gpu.index() != *index);
        match self {
            Self::All => None,
            // Not the whole of a range that somebody mistyped.
            Self::Between(from, to) => {
                let first = (*from..=*to).take(gpus.len() + 1).find(absent);
                first.map(|index| format!("GPU {index}"))
            }
            Self::Named(selector) => {
                let found = gpus.iter().any(|gpu| self.means(gpu));
                (!found).then(|| selector.to_string())
            }
        }
    }
}

impl GpuList {
    /// Whether a word means every GPU there is.
    pub(crate) fn is_all(&self) -> bool {
        self.words.contains(&Word::All)
    }

    /// The GPUs that are meant, in the order of the machine.
    ///
    /// # Errors
    /// [`Failure`] with exit code 3 for a word that means none.
    pub(crate) fn among<'g, G: Candidate>(&self, gpus: &'g [G]) -> Result<Vec<&'g G>, Failure> {
        if let Some(missing) = self.words.iter().find_map(|word| word.missing(gpus)) {
            return Err(Failure::new(
                "E-GPU-UNKNOWN",
                format!("there is no {missing} here; {}", there(gpus)),
            )
            .exit(Exit::Usage)
            .hint("`migctl gpus` lists them"));
        }
        Ok(gpus.iter().filter(|gpu| self.words.iter().any(|word| word.means(*gpu))).collect())
    }

    /// The GPUs that a list means, or all of them without one.
    ///
    /// # Errors
    /// As [`GpuList::among`].
    pub(crate) fn chosen<'g, G: Candidate>(
        list: Option<&Self>,
        gpus: &'g [G],
    ) -> Result<Vec<&'g G>, Failure> {
        list.map_or_else(|| Ok(gpus.iter().collect()), |list| list.among(gpus))
    }
}

/// `this machine has GPUs 0-7`.
fn there<G: Candidate>(gpus: &[G]) -> String {
    let indices: Vec<u32> = gpus.iter().map(Candidate::index).collect();
    match indices.len() {
        0 => String::from("this machine has none"),
        1 => format!("this machine has GPU {}", indices[0]),
        _ => format!("this machine has GPUs {}", crate::draw::text::ranges(&indices)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fake(u32, &'static str, &'static str);

    impl Candidate for Fake {
        fn index(&self) -> u32 {
            self.0
        }

        fn uuid(&self) -> &str {
            self.1
        }

        fn pci(&self) -> Option<PciAddress> {
            format!("0000:0{}:00.0", self.0).parse().ok()
        }

        fn model(&self) -> &str {
            self.2
        }
    }

    const GPUS: [Fake; 4] = [
        Fake(0, "GPU-aa", "NVIDIA A30"),
        Fake(1, "GPU-ab", "NVIDIA A30"),
        Fake(2, "GPU-b0", "NVIDIA A100-SXM4-40GB"),
        Fake(3, "GPU-b1", "NVIDIA A100-SXM4-40GB"),
    ];

    fn meant(text: &str) -> Result<Vec<u32>, String> {
        let list: GpuList = text.parse()?;
        let found = list.among(&GPUS).map_err(|failure| failure.message)?;
        Ok(found.iter().map(|gpu| gpu.index()).collect())
    }

    #[test]
    fn words_mean_gpus() {
        for (text, gpus) in [
            ("0", vec![0]),
            ("2,0", vec![0, 2]),
            ("1-3", vec![1, 2, 3]),
            ("0-1, 3", vec![0, 1, 3]),
            ("all", vec![0, 1, 2, 3]),
            ("any", vec![0, 1, 2, 3]),
            ("gpu-a", vec![0, 1]),
            ("a100", vec![2, 3]),
            ("a100,0", vec![0, 2, 3]),
            ("0000:01:00.0", vec![1]),
        ] {
            assert_eq!(meant(text), Ok(gpus), "{text}");
        }
    }

    #[test]
    fn a_word_that_means_nothing_is_refused_whatever_the_others_mean() {
        for (text, words) in [
            ("4", "there is no GPU 4 here; this machine has GPUs 0-3"),
            ("0,7", "there is no GPU 7 here"),
            ("2-5", "there is no GPU 4 here"),
            ("0-4000000000", "there is no GPU 4 here"),
            ("h100", "there is no GPU of model h100 here"),
            ("3-1", "ends before it begins; write 1-3"),
            ("", "names no GPU"),
            ("0,,1", "names no GPU"),
        ] {
            let told = meant(text).unwrap_err();
            assert!(told.contains(words), "{text}: {told}");
        }
    }
}
