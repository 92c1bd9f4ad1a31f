//! The profile grammar: `[Nc.]Mg.KGgb[(+|-)attr[,attr]]` and every other form people type.
//!
//! Must never decide what a profile is on a board: that is [`crate::geometry`]'s part, because the
//! GB number drifts between drivers and the ids between boards.

use alloc::string::{String, ToString};
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ids::GpuInstanceProfileId;
use crate::units::NominalGb;

/// What a profile promises about the media engines (decoders, encoders, JPEG, OFA).
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Media {
    /// The share that belongs to the size; no suffix.
    #[default]
    Share,
    /// `+me`: with the GPU's media extensions (one instance per GPU).
    Extensions,
    /// `+me.all`: with every media engine of the GPU.
    All,
    /// `-me`: without media engines.
    None,
}

/// The part of a profile name after the size.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Attributes {
    /// Media engines.
    pub media: Media,
    /// `+gfx`: graphics APIs work inside.
    pub graphics: bool,
}

impl Attributes {
    /// Whether the profile is neither `+me`, `+me.all`, `-me` nor `+gfx`.
    pub const fn is_plain(self) -> bool {
        matches!(self.media, Media::Share) && !self.graphics
    }
}

impl fmt::Display for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let media = match self.media {
            Media::Share => "",
            Media::Extensions => "+me",
            Media::All => "+me.all",
            Media::None => "-me",
        };
        f.write_str(media)?;
        match (self.graphics, self.media) {
            (false, _) => Ok(()),
            (true, Media::Extensions | Media::All) => f.write_str(",gfx"),
            (true, Media::Share | Media::None) => f.write_str("+gfx"),
        }
    }
}

/// A profile by name: `2g.20gb`, `1g.10gb+me`, `1c.3g.40gb`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProfileName {
    /// `Some(n)` for a compute instance that is part of its GPU instance (`nc.…`).
    pub compute: Option<u8>,
    /// The g number: compute slices of the GPU instance.
    pub slices: u8,
    /// The gb number.
    pub memory: NominalGb,
    /// What follows the size.
    pub attributes: Attributes,
}

impl ProfileName {
    /// A plain GPU instance profile.
    pub const fn plain(slices: u8, gb: u32) -> Self {
        Self {
            compute: None,
            slices,
            memory: NominalGb::new(gb),
            attributes: Attributes { media: Media::Share, graphics: false },
        }
    }

    /// The same profile without the compute instance part.
    #[must_use]
    pub const fn gpu_instance(self) -> Self {
        Self { compute: None, ..self }
    }
}

impl fmt::Display for ProfileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = self.compute.map(|compute| alloc::format!("{compute}c.")).unwrap_or_default();
        f.pad(&alloc::format!("{part}{}g.{}gb{}", self.slices, self.memory, self.attributes))
    }
}

/// Why a profile did not parse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{input}` is not a MIG profile: {reason}")]
pub struct ProfileParseError {
    /// What was typed.
    pub input: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

const FORM: &str = "profiles look like 1g.10gb, 3g.40gb, 1g.10gb+me or 1c.3g.40gb";

fn number_before<'a>(text: &'a str, unit: &str) -> Option<(u32, &'a str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at(digits);
    Some((number.parse().ok()?, rest.strip_prefix(unit)?))
}

fn parse_attributes(suffix: &str) -> Option<Attributes> {
    let mut attributes = Attributes::default();
    let mut rest = suffix;
    while !rest.is_empty() {
        // The label form writes `.me` and `.me.all` where the name has `+me` and `+me.all`.
        let (sign, body) = rest.split_at(1);
        let name_end = body.find(['+', '-', ',']).unwrap_or(body.len());
        let (name, after) = body.split_at(name_end);
        match (sign, name) {
            ("+" | "." | ",", "me") => attributes.media = Media::Extensions,
            ("+" | "." | ",", "me.all") => attributes.media = Media::All,
            ("-", "me") | ("." | ",", "nome") => attributes.media = Media::None,
            ("+" | "." | ",", "gfx") => attributes.graphics = true,
            ("+" | "." | ",", "me.gfx") => {
                attributes.media = Media::Extensions;
                attributes.graphics = true;
            }
            _ => return None,
        }
        rest = after;
    }
    Some(attributes)
}

impl FromStr for ProfileName {
    type Err = ProfileParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |reason| ProfileParseError { input: text.into(), reason };
        let lower = text.trim().to_ascii_lowercase();
        let body = lower.strip_prefix("mig ").unwrap_or(&lower).trim();
        let (compute, body) = match number_before(body, "c.") {
            Some((count, rest)) => (Some(count), rest),
            None => (None, body),
        };
        let (slices, body) = number_before(body, "g.").ok_or_else(|| error(FORM))?;
        let (gb, suffix) = number_before(body, "gb").ok_or_else(|| error(FORM))?;
        let attributes = parse_attributes(suffix)
            .ok_or_else(|| error("the part after gb must be +me, +me.all, -me or +gfx"))?;
        let small = |count: u32| u8::try_from(count).ok().filter(|count| (1..=32).contains(count));
        let slices = small(slices).ok_or_else(|| error("the g number must be 1 to 32"))?;
        let compute = match compute {
            Some(count) => Some(
                small(count)
                    .filter(|count| *count <= slices)
                    .ok_or_else(|| error("the c number must be 1 up to the g number"))?,
            ),
            None => None,
        };
        Ok(Self { compute, slices, memory: NominalGb::new(gb), attributes })
    }
}

impl Serialize for ProfileName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ProfileName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Any form in which people name a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProfileSelector {
    /// By name: `1g.5gb`, `MIG 1g.5gb`, `1g.5gb.me`.
    Name(ProfileName),
    /// By the driver's numeric id: `19`.
    Id(GpuInstanceProfileId),
    /// By size alone: `7g` means the plain profile with seven compute slices, whatever its memory
    /// is called on the board at hand.
    Slices(u8),
}

impl FromStr for ProfileSelector {
    type Err = ProfileParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let trimmed = text.trim();
        if let Ok(id) = trimmed.parse::<u32>() {
            return Ok(Self::Id(GpuInstanceProfileId::new(id)));
        }
        let lower = trimmed.to_ascii_lowercase();
        match number_before(&lower, "g") {
            Some((slices, "")) => match u8::try_from(slices) {
                Ok(slices @ 1..=32) => Ok(Self::Slices(slices)),
                _ => Err(ProfileParseError {
                    input: text.into(),
                    reason: "the g number must be 1 to 32",
                }),
            },
            _ => trimmed.parse().map(Self::Name),
        }
    }
}

impl fmt::Display for ProfileSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Name(name) => name.to_string(),
            Self::Id(id) => id.to_string(),
            Self::Slices(slices) => alloc::format!("{slices}g"),
        };
        f.pad(&text)
    }
}

impl Serialize for ProfileSelector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ProfileSelector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_form_of_the_grammar_parses() {
        for (text, canonical) in [
            ("1g.5gb", "1g.5gb"),
            ("MIG 1g.5gb", "1g.5gb"),
            ("mig 3G.40GB", "3g.40gb"),
            ("1g.5gb.me", "1g.5gb+me"),
            ("1g.5gb+me", "1g.5gb+me"),
            ("1g.24gb+me.all", "1g.24gb+me.all"),
            ("1g.24gb.me.all", "1g.24gb+me.all"),
            ("1g.24gb-me", "1g.24gb-me"),
            ("4g.96gb+gfx", "4g.96gb+gfx"),
            ("1g.24gb+me,gfx", "1g.24gb+me,gfx"),
            ("1c.3g.40gb", "1c.3g.40gb"),
            ("2c.4g.20gb", "2c.4g.20gb"),
            ("1g.0gb+me", "1g.0gb+me"),
        ] {
            assert_eq!(text.parse::<ProfileName>().unwrap().to_string(), canonical, "{text}");
        }
        for bad in [
            "",
            "1g",
            "g.5gb",
            "0g.5gb",
            "1g.5",
            "1g.5gb+",
            "1g.5gb+fast",
            "4c.3g.40gb",
            "0c.3g.4gb",
        ] {
            assert!(bad.parse::<ProfileName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn selectors_take_ids_sizes_and_names() {
        let id = GpuInstanceProfileId::new(19);
        assert_eq!("19".parse(), Ok(ProfileSelector::Id(id)));
        assert_eq!("7g".parse(), Ok(ProfileSelector::Slices(7)));
        assert_eq!("1g.5gb".parse(), Ok(ProfileSelector::Name(ProfileName::plain(1, 5))));
        assert!("0g".parse::<ProfileSelector>().is_err());
        assert!("-1".parse::<ProfileSelector>().is_err());
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "\\PC{0,24}") {
            let _ = text.parse::<ProfileSelector>();
        }

        #[test]
        fn printing_and_parsing_agree(
            compute in proptest::option::of(1u8..=3),
            slices in 3u8..=8,
            gb in 0u32..400,
            media in prop_oneof![
                Just(Media::Share), Just(Media::Extensions), Just(Media::All), Just(Media::None)
            ],
            graphics: bool,
        ) {
            let name = ProfileName {
                compute,
                slices,
                memory: NominalGb::new(gb),
                attributes: Attributes { media, graphics },
            };
            prop_assert_eq!(name.to_string().parse::<ProfileName>().unwrap(), name);
        }
    }
}
