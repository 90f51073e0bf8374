//! What a key may do, in words.

use cairn_ledger::authority::{Grant, Group, Role};
use cairn_ledger::{Channel, Kind};

/// What follows a role that brings nothing new.
const SHOWN: &str = " to shown";

/// What a key may do: `rollback on prod; release, promote on staging`.
#[must_use]
pub fn text(grant: &Grant) -> String {
    let roles: Vec<String> = grant.roles.iter().map(role_text).collect();
    match roles.is_empty() {
        true => "nothing".to_owned(),
        false => roles.join("; "),
    }
}

fn role_text(role: &Role) -> String {
    let kinds = match &role.kinds {
        None => "everything".to_owned(),
        Some(kinds) => kinds.iter().map(Kind::as_str).collect::<Vec<_>>().join(", "),
    };
    let shown = if role.shown { SHOWN } else { "" };
    match &role.channels {
        None => format!("{kinds}{shown}"),
        Some(channels) => {
            let channels: Vec<String> = channels.iter().map(ToString::to_string).collect();
            format!("{kinds} on {}{shown}", channels.join(", "))
        }
    }
}

/// Reads what [`text`] writes: `everything`, `rollback on prod`, `release, promote on staging, prod`, `rollback on prod to shown`.
///
/// # Errors
///
/// What clap shows.
pub fn parse(text: &str) -> Result<Role, String> {
    let (rest, shown) = match text.trim().strip_suffix(SHOWN) {
        Some(rest) => (rest, true),
        None => (text.trim(), false),
    };
    let (kinds, channels) = match rest.split_once(" on ") {
        Some((kinds, channels)) => (kinds, Some(channels)),
        None => (rest, None),
    };
    let words = |text: &str| -> Vec<String> { text.split(',').map(|word| word.trim().to_owned()).collect() };
    let kinds = match kinds.trim() {
        "everything" => None,
        kinds => Some(
            words(kinds)
                .iter()
                .map(|word| kind(word))
                .collect::<Result<Vec<_>, _>>()?,
        ),
    };
    let channels = channels.map(|channels| {
        let channel = |word: &String| word.parse::<Channel>().map_err(|error| error.to_string());
        words(channels).iter().map(channel).collect::<Result<Vec<_>, _>>()
    });
    Ok(Role {
        kinds,
        channels: channels.transpose()?,
        shown,
    })
}

fn kind(word: &str) -> Result<Kind, String> {
    let known = Kind::ALL.into_iter().filter(|kind| *kind != Kind::Genesis);
    let known: Vec<Kind> = known.collect();
    known.iter().find(|kind| kind.as_str() == word).cloned().ok_or_else(|| {
        let known: Vec<&str> = known.iter().map(Kind::as_str).collect();
        format!("`{word}` is nothing that a key may do\nhint: there are everything, {}; such as \"rollback on prod\"", known.join(", "))
    })
}

/// A key with all that the ledger would know of it: `ada SHA256:… (rollback on prod, group human, until 2027-01-01T23:59:59Z)`.
#[must_use]
pub fn line(grant: &Grant) -> String {
    let name = grant
        .name
        .as_ref()
        .map(|name| format!("{name} "))
        .unwrap_or_default();
    let mut about = vec![text(grant)];
    let groups: Vec<&str> = grant.groups.iter().map(Group::as_str).collect();
    match groups[..] {
        [] => {}
        [one] => about.push(format!("group {one}")),
        _ => about.push(format!("groups {}", groups.join(", "))),
    }
    about.extend(grant.until.map(|until| format!("until {until}")));
    format!("{name}{} ({})", grant.key.fingerprint(), about.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_read_as_they_are_shown() {
        for words in [
            "everything",
            "everything on staging",
            "rollback on prod to shown",
            "release, promote on staging, prod",
            "keys, rules",
        ] {
            assert_eq!(role_text(&parse(words).unwrap()), words);
        }
        assert_eq!(
            parse("rollback,resume  on prod").unwrap(),
            parse("rollback, resume on prod").unwrap()
        );
        for wrong in [
            "",
            "roll back on prod",
            "rollback on Prod",
            "genesis",
            "rollback on ",
            "on prod",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
