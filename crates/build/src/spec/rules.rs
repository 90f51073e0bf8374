//! `[ledger.channels.NAME]`: the rules that the ledger is to have.

use std::collections::BTreeMap;

use jiff::Timestamp;
use toml::de::DeValue;

use super::keys::{CHANNEL, FREEZE};
use crate::document::{Problem, Section, whole_number};
use crate::finding::Located;

/// Kinds of entries that a key outside the ledger may make, if a rule says so.
pub(super) const GLASS: [&str; 5] = ["release", "promote", "rollback", "switch", "resume"];
/// The longest time that `soak` may name: ten years, in seconds.
const LONGEST: u64 = 10 * 366 * 24 * 60 * 60;
/// The most signers that a group may be asked for.
const SIGNERS: i64 = 16;

/// The rules of one channel. What the texts mean, the ledger knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChannelRules {
    /// What is moved here must have been shown by this channel.
    pub from: Option<Located<String>>,
    /// And for so many seconds without a break.
    pub soak: Option<u64>,
    /// From when until when nothing moves forward.
    pub freeze: Vec<(Timestamp, Timestamp)>,
    /// Nothing that was released before this version may be shown.
    pub floor: Option<Located<String>>,
    /// How many keys of which group must sign.
    pub requires: BTreeMap<String, u32>,
    /// Kinds of entries that a key outside the ledger may make here.
    pub glass: Vec<String>,
}

/// Reads `channels` of `[ledger]`.
pub(super) fn read(ledger: &Section<'_>) -> BTreeMap<String, ChannelRules> {
    let mut rules = BTreeMap::new();
    for (name, section) in ledger.named_tables("channels", &CHANNEL.names) {
        match channel(&name.value) {
            Ok(channel) => {
                rules.insert(channel, read_channel(&section));
            }
            Err(problem) => section.report(problem.at(name.span)),
        }
    }
    rules
}

fn read_channel(section: &Section<'_>) -> ChannelRules {
    let from = section.parsed("from", channel);
    let soak = section.parsed("soak", soak);
    if let (Some(soak), None) = (&soak, &from) {
        let problem = Problem::new("`soak` needs `from`")
            .with_hint("it says how long the other channel must have shown what is moved here");
        section.report(problem.at(soak.span.clone()));
    }
    let freeze = section.tables("freeze", "`freeze`", &FREEZE.names);
    let glass = section.texts("glass", glass).unwrap_or_default();
    let mut glass: Vec<String> = glass.into_iter().map(|kind| kind.value).collect();
    glass.sort_by_key(|kind| GLASS.iter().position(|known| known == kind));
    glass.dedup();
    ChannelRules {
        from,
        soak: soak.map(|soak| soak.value),
        freeze: freeze.iter().filter_map(read_freeze).collect(),
        floor: section.parsed("floor", version),
        requires: read_requires(section),
        glass,
    }
}

fn read_freeze(section: &Section<'_>) -> Option<(Timestamp, Timestamp)> {
    let time = |key| {
        if !section.has(key) {
            // Says that the key is missing.
            section.required(key, |_| Ok(()))?;
        }
        let text = section.text_or_date(key)?;
        match text.value.parse::<Timestamp>() {
            Ok(time) if time.subsec_nanosecond() == 0 => Some(text.map(|_| time)),
            _ => {
                let problem = Problem::new(format!("`{}` is not a time in whole seconds", text.value))
                    .with_hint("write it in RFC 3339, with its zone: \"2026-12-24T12:00:00Z\"");
                section.report(problem.at(text.span));
                None
            }
        }
    };
    let (from, until) = (time("from"), time("until"));
    let (from, until) = (from?, until?);
    if from.value > until.value {
        section.report(Problem::new("the freeze ends before it begins").at(until.span));
        return None;
    }
    Some((from.value, until.value))
}

fn read_requires(section: &Section<'_>) -> BTreeMap<String, u32> {
    let mut requires = BTreeMap::new();
    for (name, value) in section.map("requires").unwrap_or_default() {
        let number = match value.get_ref() {
            value @ DeValue::Integer(_) => whole_number(value),
            _ => None,
        };
        let checked = group(&name.value).map_err(|problem| problem.at(name.span.clone()));
        let checked = checked.and_then(|()| match number {
            Some(number) if (1..=SIGNERS).contains(&number) => {
                u32::try_from(number).map_err(|_| Problem::new("too many").at(value.span()))
            }
            _ => Err(Problem::new(format!(
                "`{}` must say how many keys of the group sign: a number from 1 to {SIGNERS}",
                name.value
            ))
            .at(value.span())),
        });
        match checked {
            Ok(number) => {
                requires.insert(name.value, number);
            }
            Err(finding) => section.report(finding),
        }
    }
    requires
}

fn channel(text: &str) -> Result<String, Problem> {
    let rest = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let is_channel = text.len() <= 63
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(rest)
        && !matches!(text, "latest" | "built")
        && !text.starts_with("cairn-")
        && !text.starts_with("sha256-");
    if is_channel {
        return Ok(text.to_owned());
    }
    Err(
        Problem::new(format!("`{}` cannot be a channel", text.escape_debug())).with_hint(
            "a lower-case letter, then lower-case letters, digits and `-`; such as prod or staging",
        ),
    )
}

fn version(text: &str) -> Result<String, Problem> {
    let number = text.strip_prefix('v').unwrap_or(text);
    let rest = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if text.len() <= 128 && number.starts_with(|c: char| c.is_ascii_digit()) && number.bytes().all(rest) {
        return Ok(text.to_owned());
    }
    Err(
        Problem::new(format!("`{}` is not a version", text.escape_debug()))
            .with_hint("a version begins with a digit, or with v and a digit: 1.4.2"),
    )
}

fn group(text: &str) -> Result<(), Problem> {
    let rest = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if text.len() <= 32 && text.starts_with(|c: char| c.is_ascii_lowercase()) && text.bytes().all(rest) {
        return Ok(());
    }
    Err(
        Problem::new(format!("`{}` is not a group of keys", text.escape_debug()))
            .with_hint("a lower-case letter, then lower-case letters, digits and `-`; such as human"),
    )
}

fn glass(text: &str) -> Result<String, Problem> {
    if GLASS.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(Problem::new(format!(
        "`{}` is nothing that a key outside the ledger may do",
        text.escape_debug()
    ))
    .with_hint(format!("there are {}", GLASS.join(", "))))
}

/// Reads `24h`, `1d12h`, `30m`: numbers with units, in whole seconds.
fn soak(text: &str) -> Result<u64, Problem> {
    let problem = || {
        Problem::new(format!(
            "`{}` is not a time from 1s to 10 years",
            text.escape_debug()
        ))
        .with_hint("write it with its unit: \"24h\", \"90m\", \"7d\"")
    };
    let mut left = text;
    let mut whole: u64 = 0;
    while !left.is_empty() {
        let digits = left.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = left.split_at(digits);
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, rest) = rest.split_at(letters);
        let seconds: u64 = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            "w" => 604_800,
            _ => return Err(problem()),
        };
        let number: u64 = number.parse().map_err(|_| problem())?;
        let piece = number.checked_mul(seconds).ok_or_else(problem)?;
        whole = whole.checked_add(piece).ok_or_else(problem)?;
        left = rest;
    }
    match whole {
        1..=LONGEST => Ok(whole),
        _ => Err(problem()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, seconds) in [
            ("24h", 86_400),
            ("1d12h", 129_600),
            ("90m", 5400),
            ("1w", 604_800),
            ("1s", 1),
        ] {
            assert_eq!(soak(text).unwrap(), seconds, "{text}");
        }
        for bad in [
            "",
            "0s",
            "24",
            "h",
            "500ms",
            "1.5h",
            "-1h",
            "1 h",
            "9999w",
            "99999999999999999999s",
            "999999999999999999w",
        ] {
            assert!(soak(bad).is_err(), "{bad}");
        }
    }
}
