//! What a plain scalar of YAML is: null, true, a number or a text.
//!
//! The rules are those of the parser under mig-parted (go-yaml 2: YAML 1.1 with its `yes`, `on` and
//! octal numbers), so that a file means here what it means there. Must never guess beyond them.

use crate::tree::Value;

const TRUE: [&str; 11] = ["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"];
const FALSE: [&str; 11] =
    ["n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"];
const NULL: [&str; 5] = ["", "~", "null", "Null", "NULL"];

/// What the plain scalar `text` is.
pub(crate) fn plain(text: &str) -> Value {
    if NULL.contains(&text) {
        Value::Null
    } else if TRUE.contains(&text) {
        Value::Bool(true)
    } else if FALSE.contains(&text) {
        Value::Bool(false)
    } else if let Some(number) = integer(text) {
        Value::Int(number)
    } else if let Some(number) = float(text) {
        Value::Float(number)
    } else {
        Value::Text(text.to_owned())
    }
}

/// An integer as Go's `strconv.ParseInt(text, 0, 64)` takes it: decimal, `0x`, `0o`, `0b`, and
/// octal after a bare `0`; go-yaml drops underscores first.
pub(crate) fn integer(text: &str) -> Option<i64> {
    let digits: String = text.chars().filter(|letter| *letter != '_').collect();
    let (negative, rest) = match digits.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, digits.strip_prefix('+').unwrap_or(&digits)),
    };
    let lower = rest.to_ascii_lowercase();
    let (radix, body) = match lower.get(..2) {
        Some("0x") => (16, &lower[2..]),
        Some("0o") => (8, &lower[2..]),
        Some("0b") => (2, &lower[2..]),
        _ if lower.len() > 1 && lower.starts_with('0') => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    if body.is_empty() || !body.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    let number = i128::from_str_radix(body, radix).ok()?;
    i64::try_from(if negative { -number } else { number }).ok()
}

/// A number with a point or an exponent (go-yaml 2's own pattern).
fn float(text: &str) -> Option<f64> {
    let body = text.strip_prefix(['-', '+']).unwrap_or(text);
    let mantissa_end = body.find(['e', 'E']).unwrap_or(body.len());
    let (mantissa, exponent) = body.split_at(mantissa_end);
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let any = !whole.is_empty() || !fraction.is_empty();
    let power = exponent.get(1..).unwrap_or("");
    let power = power.strip_prefix(['-', '+']).unwrap_or(power);
    let exponent_is_sound = exponent.is_empty() || (!power.is_empty() && digits(power));
    if !any || !digits(whole) || !digits(fraction) || !exponent_is_sound {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_are_what_go_yaml_makes_of_them() {
        for (text, value) in [
            ("", Value::Null),
            ("~", Value::Null),
            ("on", Value::Bool(true)),
            ("No", Value::Bool(false)),
            ("7", Value::Int(7)),
            ("-1", Value::Int(-1)),
            ("0x20B210DE", Value::Int(0x20B2_10DE)),
            ("010", Value::Int(8)),
            ("1_000", Value::Int(1000)),
            ("0b11", Value::Int(3)),
            ("7.0", Value::Float(7.0)),
            ("1e1", Value::Float(10.0)),
            (".5", Value::Float(0.5)),
            ("08", Value::Float(8.0)),
            ("0x", Value::Text("0x".into())),
            ("1g.5gb", Value::Text("1g.5gb".into())),
            ("1e", Value::Text("1e".into())),
            ("+", Value::Text("+".into())),
            (".", Value::Text(".".into())),
            ("all", Value::Text("all".into())),
        ] {
            assert_eq!(plain(text), value, "{text}");
        }
    }
}
