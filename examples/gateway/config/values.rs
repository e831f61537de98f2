//! Readers of general values: strings, lists, choices, durations and sizes.

use std::num::NonZeroU32;
use std::time::Duration;

use super::document::{Item, Value};
use super::model::ClaimPlace;
use super::section::Fault;

/// Longer than any sensible setting, and safe for every clock.
const MAX_DURATION: Duration = Duration::from_secs(366 * 24 * 60 * 60);

const SIZES: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

const DURATIONS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

/// Turns a reader of strings into a reader of items.
pub(super) fn text<T, E: Into<Fault>>(
    read: impl Fn(&str) -> Result<T, E>,
) -> impl Fn(&Item) -> Result<T, Fault> {
    move |item| read(item.text()?).map_err(Into::into)
}

/// A non-empty string.
pub(super) fn name(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("must not be empty".to_owned());
    }
    Ok(text.to_owned())
}

pub(super) fn any_text(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

/// A list with at least one element.
pub(super) fn some<T>(
    read: impl Fn(&Item) -> Result<T, Fault>,
) -> impl Fn(&Item) -> Result<Vec<T>, Fault> {
    move |item| match item.all(&read)? {
        list if list.is_empty() => Err(Fault::from("expected at least one")),
        list => Ok(list),
    }
}

/// One of several keywords.
pub(super) fn choice<T: Clone>(choices: &[(&str, T)]) -> impl Fn(&Item) -> Result<T, Fault> {
    move |item| {
        let text = item.text()?;
        let chosen = choices.iter().find(|(word, _)| *word == text);
        chosen.map(|(_, value)| value.clone()).ok_or_else(|| {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            Fault::from(format!(
                "unknown value {text:?}, expected one of {}",
                words.join(", ")
            ))
        })
    }
}

/// A number with a unit; zero is allowed.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let problem = || {
        format!("{text:?} is not a duration: use an integer with ms, s, m, h or d, such as \"30s\"")
    };
    let (number, unit) = number_and_unit(text).ok_or_else(problem)?;
    let unit = DURATIONS.iter().find(|(name, _)| *name == unit);
    let millis = unit.and_then(|(_, millis)| number.checked_mul(*millis));
    let duration = Duration::from_millis(millis.ok_or_else(problem)?);
    if duration > MAX_DURATION {
        return Err(format!("{text:?} is longer than a year"));
    }
    Ok(duration)
}

/// A duration greater than zero.
pub(super) fn period(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("must not be zero".to_owned()),
        period => Ok(period),
    }
}

/// A number of bytes, or a number with a unit.
pub(super) fn size(item: &Item) -> Result<u64, Fault> {
    let problem = || Fault::from("expected a number of bytes, or a size such as \"2MiB\"");
    if let Value::Integer(number) = item.value {
        return u64::try_from(number).map_err(|_| problem());
    }
    let text = item.text().map_err(|_| problem())?;
    if let Ok(number) = digits(text)
        .ok_or(())
        .and_then(|text| text.parse().map_err(|_| ()))
    {
        return Ok(number);
    }
    let (number, unit) = number_and_unit(text).ok_or_else(problem)?;
    let unit = SIZES.iter().find(|(name, _)| *name == unit);
    let bytes = unit.and_then(|(_, bytes)| number.checked_mul(*bytes));
    bytes.ok_or_else(problem)
}

/// A size greater than zero that fits into `usize`.
pub(super) fn length(item: &Item) -> Result<usize, Fault> {
    match usize::try_from(size(item)?) {
        Ok(0) => Err(Fault::from("must not be zero")),
        Ok(length) => Ok(length),
        Err(_) => Err(Fault::from("the value is too large")),
    }
}

/// A number greater than zero.
pub(super) fn count(item: &Item) -> Result<NonZeroU32, Fault> {
    let number = u32::try_from(item.integer()?)
        .ok()
        .and_then(NonZeroU32::new);
    number.ok_or_else(|| Fault::from(format!("expected a number between 1 and {}", u32::MAX)))
}

/// A claim's name, or the path to it.
pub(super) fn claim(item: &Item) -> Result<ClaimPlace, Fault> {
    let is_list = match &item.value {
        Value::List(_) => true,
        Value::Variable(text) => text.trim_start().starts_with('['),
        _ => false,
    };
    if is_list {
        return some(text(name))(item).map(ClaimPlace);
    }
    let text = item.text().map_err(|_| {
        Fault::from("expected a claim's name, or the list of names that lead to it")
    })?;
    Ok(ClaimPlace(vec![name(text)?]))
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit))
}

/// `u64::from_str` would also accept a sign.
fn digits(text: &str) -> Option<&str> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then_some(text)
}
