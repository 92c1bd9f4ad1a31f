//! `doctor`'s examination: each check turns what was seen into findings with a severity and a
//! command that mends.
//!
//! Must never change anything, and must never report what it could not look at as well.

mod driver;
mod exits;
mod gather;
mod house;
mod report;
mod slices;
mod software;

use api::{DoctorView, FindingView, Severity};

pub(crate) use exits::exit_of;
pub(crate) use gather::{Evidence, gather};
pub(crate) use report::report;

/// Everything a check may say.
pub(crate) type Findings = Vec<FindingView>;

/// A finding without a mend.
pub(crate) fn finding(id: &str, severity: Severity, evidence: impl Into<String>) -> FindingView {
    FindingView { id: id.to_owned(), severity, gpu: None, evidence: evidence.into(), mend: None }
}

/// What is added to a finding.
pub(crate) trait More {
    /// With the command that mends it.
    #[must_use]
    fn mend(self, mend: impl Into<String>) -> Self;
    /// About this GPU.
    #[must_use]
    fn on(self, gpu: u32) -> Self;
}

impl More for FindingView {
    fn mend(mut self, mend: impl Into<String>) -> Self {
        self.mend = Some(mend.into());
        self
    }

    fn on(mut self, gpu: u32) -> Self {
        self.gpu = Some(gpu);
        self
    }
}

/// Makes every check.
pub(crate) fn examine(evidence: &Evidence) -> DoctorView {
    let mut findings = Findings::new();
    findings.extend(driver::all(evidence));
    findings.extend(slices::all(evidence));
    findings.extend(software::all(evidence));
    findings.extend(house::all(evidence));
    // The weightiest first; among equals, as they were found.
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let worst = findings.first().map_or(Severity::Ok, |finding| finding.severity);
    DoctorView { worst, findings, unseen: evidence.unseen.clone() }
}

/// Findings for people: those that differ only in the GPU they are about become one.
pub(crate) fn merged(findings: &[FindingView]) -> Findings {
    let mut merged: Vec<(FindingView, Vec<u32>)> = Vec::new();
    for finding in findings {
        let common = |one: &FindingView| {
            let gpu = one.gpu.map(|gpu| format!("GPU {gpu}"));
            let without = |text: &str| match &gpu {
                Some(gpu) => text.replacen(gpu, "GPU", 1),
                None => text.to_owned(),
            };
            (one.id.clone(), one.severity, without(&one.evidence), one.mend.clone())
        };
        let alike = merged.iter_mut().find(|(first, _)| {
            first.gpu.is_some() && finding.gpu.is_some() && common(first) == common(finding)
        });
        match alike {
            Some((_, gpus)) => gpus.extend(finding.gpu),
            None => merged.push((finding.clone(), finding.gpu.into_iter().collect())),
        }
    }
    let name = |(mut finding, gpus): (FindingView, Vec<u32>)| {
        if let (Some(first), true) = (finding.gpu, gpus.len() > 1) {
            let all = format!("GPU {}", crate::draw::text::ranges(&gpus));
            finding.evidence = finding.evidence.replacen(&format!("GPU {first}"), &all, 1);
        }
        finding
    };
    merged.into_iter().map(name).collect()
}

/// A version as numbers: `580.126.09` is 580, 126, 9. What follows a number is left out, as is a
/// `v` or an epoch before it.
pub(crate) fn version(text: &str) -> Vec<u64> {
    let text = text.trim().trim_start_matches(['v', 'V']);
    let text = text.split_once(':').map_or(text, |(_, rest)| rest);
    let number = |part: &str| {
        let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    };
    let whole = text.split(['-', '+', '~']).next().unwrap_or_default();
    whole.split('.').map_while(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_for_several_gpus_is_said_once() {
        let of = |gpu: u32, mend: &str| {
            finding("persistence", Severity::Warn, format!("GPU {gpu}: off")).mend(mend).on(gpu)
        };
        let found = [of(0, "x"), of(1, "x"), of(2, "y"), of(3, "x")];
        let words: Vec<String> = merged(&found).into_iter().map(|one| one.evidence).collect();
        assert_eq!(words, ["GPU 0-1,3: off", "GPU 2: off"]);
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(version("580.126.09"), [580, 126, 9]);
        assert_eq!(version("v0.17.0-rc.1"), [0, 17, 0]);
        assert_eq!(version("1:1.14.3-1"), [1, 14, 3]);
        assert!(version("450.80.02") < version("450.119.03"));
        assert!(version("2.10.0") > version("2.5.0"));
        assert_eq!(version("unknown"), [0; 0]);
    }
}
