//! What a key may do, in words.

use cairn_ledger::Kind;
use cairn_ledger::authority::{Grant, Role};

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
    match &role.channels {
        None => kinds,
        Some(channels) => {
            let channels: Vec<String> = channels.iter().map(ToString::to_string).collect();
            format!("{kinds} on {}", channels.join(", "))
        }
    }
}
