//! The rules of channels: those of the spec, in the ledger's words, and both as lines that can be compared.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use cairn_build::spec::{ChannelRules as SpecRules, Ledger as SpecLedger};
use cairn_ledger::authority::{Authority, ChannelRules, Freeze, Rules};
use cairn_ledger::{Channel, Kind};

use crate::failure::{Exit, Failure};
use crate::program::Cairn;

/// The rules that a spec proposes.
///
/// # Errors
///
/// When the ledger has no such words.
pub fn of_spec(ledger: &SpecLedger) -> Result<Rules, Failure> {
    let mut channels = BTreeMap::new();
    for (name, rules) in &ledger.channels {
        let channel = parse::<Channel>(name, name)?;
        channels.insert(channel, of_channel(name, rules)?);
    }
    Ok(Rules { channels })
}

fn of_channel(name: &str, rules: &SpecRules) -> Result<ChannelRules, Failure> {
    let from = rules.from.as_ref().map(|from| parse(name, &from.value));
    let floor = rules.floor.as_ref().map(|floor| parse(name, &floor.value));
    let number = |number: u64| {
        let number = u32::try_from(number).ok().and_then(NonZeroU32::new);
        number.ok_or_else(|| wrong(name, "a number is too large"))
    };
    let freeze = rules.freeze.iter().map(|(from, until)| Freeze {
        from: *from,
        until: *until,
    });
    let mut requires = BTreeMap::new();
    for (group, count) in &rules.requires {
        requires.insert(parse(name, group)?, number(u64::from(*count))?);
    }
    let kind = |word: &String| Kind::ALL.into_iter().find(|kind| kind.as_str() == word);
    Ok(ChannelRules {
        from: from.transpose()?,
        soak: rules.soak.map(number).transpose()?,
        freeze: freeze.collect(),
        floor: floor.transpose()?,
        requires,
        glass: rules.glass.iter().filter_map(kind).collect(),
    })
}

fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(name: &str, text: &str) -> Result<T, Failure> {
    text.parse()
        .map_err(|error: T::Err| wrong(name, &error.to_string()))
}

fn wrong(name: &str, text: &str) -> Failure {
    Failure::new(Exit::Input, format!("[ledger.channels.{name}]: {text}"))
}

/// Warns of rules that nobody can meet with these keys, and says what to type.
pub fn tell_unmet(cairn: &Cairn, rules: &Rules, authority: &Authority) {
    for unmet in rules.unmet(authority, cairn.environment.now()) {
        let text = format!("{}; {}", unmet.text(), unmet.hint());
        cairn.terminal.warn(cairn.terminal.to_type(text));
    }
}

/// The rules as lines, each of one channel and one rule: `prod: soak 1d`.
#[must_use]
pub fn lines(rules: &Rules) -> Vec<String> {
    let of = |(channel, rules): (&Channel, &ChannelRules)| -> Vec<String> {
        let texts = texts(rules);
        texts
            .into_iter()
            .map(|text| format!("{channel}: {text}"))
            .collect()
    };
    rules.channels.iter().flat_map(of).collect()
}

fn texts(rules: &ChannelRules) -> Vec<String> {
    let mut texts = Vec::new();
    texts.extend(rules.from.as_ref().map(|from| format!("from {from}")));
    texts.extend(rules.soak.map(|soak| format!("soak {}", time_text(soak.get()))));
    texts.extend(
        rules
            .freeze
            .iter()
            .map(|freeze| format!("freeze {} to {}", freeze.from, freeze.until)),
    );
    texts.extend(rules.floor.as_ref().map(|floor| format!("floor {floor}")));
    texts.extend(
        rules
            .requires
            .iter()
            .map(|(group, count)| format!("requires {group} = {count}")),
    );
    texts.extend(rules.glass.iter().map(|kind| format!("glass {kind}")));
    texts
}

/// Seconds in the units that a spec has: `1d12h`.
fn time_text(seconds: u32) -> String {
    let units = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];
    let mut left = seconds;
    let mut text = String::new();
    for (unit, length) in units {
        if left >= length {
            text.push_str(&format!("{}{unit}", left / length));
            left %= length;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_as_a_spec_writes_them() {
        for (seconds, text) in [(86_400, "1d"), (129_600, "1d12h"), (5400, "1h30m"), (61, "1m1s")] {
            assert_eq!(time_text(seconds), text);
        }
    }
}
