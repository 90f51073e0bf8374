//! Whether an entry has the members of its kind, within the limits.

use std::collections::BTreeSet;

use super::{Entry, EntryError, Kind, MOVE_LIMIT, REASON_LIMIT, TEXT_LIMIT};

impl Entry {
    /// Whether it has what its kind must have and nothing else, within the limits.
    pub(super) fn check(&self) -> Result<(), EntryError> {
        self.check_shape()?;
        self.check_texts()?;
        let channels: BTreeSet<_> = self.moves.iter().map(|one| &one.channel).collect();
        if channels.len() != self.moves.len() || self.moves.len() > MOVE_LIMIT {
            return Err(EntryError::Moves);
        }
        match self.kind {
            // What somebody put on one tag says nothing of another.
            Kind::Record if self.moves.len() != 1 => Err(EntryError::Moves),
            // Without either it would do nothing.
            Kind::Adopt if self.version.is_none() && self.moves.is_empty() => Err(EntryError::Missing {
                kind: Kind::Adopt,
                member: "version",
            }),
            _ => Ok(()),
        }
    }

    fn check_shape(&self) -> Result<(), EntryError> {
        let (required, allowed) = self.kind.shape();
        let kind = || self.kind.clone();
        for (member, is_there) in self.members() {
            if is_there && !required.contains(&member) && !allowed.contains(&member) {
                let is_known = !matches!(self.kind, Kind::Unknown(_));
                if is_known {
                    return Err(EntryError::Surplus { kind: kind(), member });
                }
            }
            if !is_there && required.contains(&member) {
                return Err(EntryError::Missing { kind: kind(), member });
            }
        }
        Ok(())
    }

    /// The members that not every kind has, and whether they are there.
    const fn members(&self) -> [(&'static str, bool); 15] {
        [
            ("ledger", self.ledger.is_some()),
            ("chain", self.chain.is_some()),
            ("version", self.version.is_some()),
            ("digest", self.digest.is_some()),
            ("moves", !self.moves.is_empty()),
            ("from", self.from.is_some()),
            ("hold", self.hold.is_some()),
            ("resume", self.resume),
            ("record", self.record.is_some()),
            ("authority", self.authority.is_some()),
            ("rules", self.rules.is_some()),
            ("mode", self.mode.is_some()),
            ("home", self.home.is_some()),
            ("continues", self.continues.is_some()),
            ("ratifies", self.ratifies.is_some()),
        ]
    }

    fn check_texts(&self) -> Result<(), EntryError> {
        check_text("actor", Some(&self.actor.id), TEXT_LIMIT)?;
        check_text("reason", self.reason.as_ref(), REASON_LIMIT)?;
        check_text("home", self.home.as_ref(), 2 * TEXT_LIMIT)?;
        let source = self.source.as_ref();
        check_text(
            "source.repository",
            source.and_then(|s| s.repository.as_ref()),
            TEXT_LIMIT,
        )?;
        check_text("source.path", source.and_then(|s| s.path.as_ref()), TEXT_LIMIT)?;
        check_text(
            "source.commit",
            source.and_then(|s| s.commit.as_ref()),
            TEXT_LIMIT,
        )?;
        check_text(
            "source.ref",
            source.and_then(|s| s.reference.as_ref()),
            TEXT_LIMIT,
        )?;
        let run = self.run.as_ref();
        check_text("run.url", run.and_then(|run| run.url.as_ref()), TEXT_LIMIT)?;
        check_text("run.id", run.and_then(|run| run.id.as_ref()), TEXT_LIMIT)
    }
}

fn check_text(member: &'static str, text: Option<&String>, limit: usize) -> Result<(), EntryError> {
    let Some(text) = text else { return Ok(()) };
    if text.len() > limit {
        let length = text.len();
        return Err(EntryError::TextTooLong {
            member,
            length,
            limit,
        });
    }
    if text.chars().any(char::is_control) {
        return Err(EntryError::Control { member });
    }
    Ok(())
}
