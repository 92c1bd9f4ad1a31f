//! The names of `mig-devices`: `[Nc.]Mg.KGgb[(+|-)attr[,attr]]`, in lower case.
//!
//! Must never ask whether a board has a profile: mig-parted checks the form alone, and so does this.

use model::{Attributes, Media, NominalGb, ProfileName};

use crate::document::CountedName;

/// What is wrong with the form of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadForm(pub(crate) &'static str);

/// A name, if its form is right.
pub(crate) fn parse(text: &str) -> Result<CountedName, BadForm> {
    let (size, attributes) = match text.find(['+', '-']) {
        Some(at) => (&text[..at], Some((&text[at..=at], &text[at + 1..]))),
        None => (text, None),
    };
    let parts: Vec<&str> = size.splitn(3, '.').collect();
    let (compute, slices, gb) = match parts.as_slice() {
        [slices, gb] => (None, field(slices, "g")?, field(gb, "gb")?),
        [compute, slices, gb] if compute.ends_with('c') => {
            (Some(field(compute, "c")?), field(slices, "g")?, field(gb, "gb")?)
        }
        [_, _, _] => return Err(BadForm("attributes follow a `+`, as in \"1g.5gb+me\"")),
        _ => return Err(BadForm(FORM)),
    };
    let words = match attributes {
        Some((sign, list)) => attribute_words(list)?.into_iter().map(|word| (sign, word)).collect(),
        None => Vec::new(),
    };
    Ok(named(compute, slices, gb, &words))
}

const FORM: &str = "names look like \"1g.5gb\", \"1g.5gb+me\" or \"1c.3g.20gb\"";

fn field(text: &str, unit: &str) -> Result<u32, BadForm> {
    let number = text.strip_suffix(unit).ok_or(BadForm(FORM))?;
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    number.parse().ok().filter(|_| digits).ok_or(BadForm(FORM))
}

fn attribute_words(list: &str) -> Result<Vec<&str>, BadForm> {
    let words: Vec<&str> = list.split(',').collect();
    let sound = |word: &str| {
        word.bytes().next().is_some_and(|first| first.is_ascii_alphabetic())
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.')
    };
    let double = words.iter().enumerate().any(|(at, word)| words[..at].contains(word));
    if double {
        Err(BadForm("an attribute stands there twice"))
    } else if words.iter().all(|word| sound(word)) {
        Ok(words)
    } else {
        Err(BadForm("attributes are `me`, `me.all` and `gfx` after `+`, or `me` after `-`"))
    }
}

fn named(compute: Option<u32>, slices: u32, gb: u32, words: &[(&str, &str)]) -> CountedName {
    let impossible = |why| CountedName::Impossible { slices, why };
    let mut attributes = Attributes::default();
    for word in words {
        match word {
            ("+", "me") => attributes.media = Media::Extensions,
            ("+", "me.all") => attributes.media = Media::All,
            ("+", "gfx") => attributes.graphics = true,
            ("-", "me") => attributes.media = Media::None,
            _ => return impossible("no board has that attribute"),
        }
    }
    let small = |count: u32| u8::try_from(count).ok().filter(|count| (1..=32).contains(count));
    let Some(g) = small(slices) else { return impossible("no board has a slice of that size") };
    let compute = match compute {
        None => None,
        Some(count) => match small(count).filter(|count| *count <= g) {
            Some(count) => Some(count),
            None => return impossible("the part is larger than the whole, or nothing"),
        },
    };
    CountedName::Possible(ProfileName {
        compute,
        slices: g,
        memory: NominalGb::new(gb),
        attributes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_checked_and_nothing_else() {
        for text in ["1g.5gb", "1g.5gb+me", "1c.3g.20gb", "4g.96gb+me.all,gfx", "1g.24gb-me"] {
            let Ok(CountedName::Possible(name)) = parse(text) else { panic!("{text}") };
            assert_eq!(name, text.parse().unwrap(), "{text}");
        }
        for text in ["0g.0gb", "99g.5gb", "9c.2g.10gb", "1g.5gb+fast", "1g.5gb-gfx"] {
            assert!(matches!(parse(text), Ok(CountedName::Impossible { .. })), "{text}");
        }
        let bad = [
            "",
            "bogus",
            "1g",
            "1g.5gb.me",
            "1G.5GB",
            "MIG 1g.5gb",
            "19",
            "1g.5gb+",
            "1g.5gb+me,me",
            "1g.5gb+me-gfx",
            "1c.3g.20gb.me",
            "1g.5gb ",
            "g.5gb",
            "1g.5gb+9me",
        ];
        for text in bad {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
