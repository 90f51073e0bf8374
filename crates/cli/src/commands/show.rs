//! `cairn show`

use cairn_ledger::Version;
use cairn_ledger::query::{self, Deed, ReleaseBinding, Stay};
use clap::Args;
use serde::Serialize;

use crate::commands::moves;
use crate::failure::{Exit, Failure};
use crate::ledgers::{LedgerOptions, Names};
use crate::program::Cairn;
use crate::signing;
use crate::terminal::minute;

/// How many stays are shown without `--json`.
const STAYS: usize = 10;

/// What `cairn show` takes.
#[derive(Debug, Args)]
pub struct Show {
    /// The version
    #[arg(value_parser = moves::version)]
    pub version: Version,
    /// Which ledger.
    #[command(flatten)]
    pub ledger: LedgerOptions,
}

/// `--json`
#[derive(Serialize)]
struct Document {
    repository: String,
    #[serde(flatten)]
    release: query::Release,
}

impl Show {
    /// Prints what is known of the release.
    pub async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        let open = self.ledger.open_here(cairn).await?;
        let Some(release) = query::show(&open.opened, &self.version) else {
            return Err(Failure::new(
                Exit::Input,
                format!("{} has no release {}", open.images, self.version),
            )
            .with_hint("cairn history shows what there is".to_owned()));
        };
        if cairn.terminal.json {
            let repository = open.images.to_string();
            return cairn.terminal.document(&Document { repository, release });
        }
        let names = Names::of(signing::own(cairn, &open), &open.opened);
        line(cairn, "version", release.version.as_str())?;
        line(cairn, "standing", standing(release.standing))?;
        for bound in &release.bound {
            print_binding(cairn, bound, &names)?;
        }
        print_stays(cairn, &release.stays)
    }
}

fn line(cairn: &Cairn, name: &str, value: &str) -> Result<(), Failure> {
    cairn.terminal.print(format!("{name:<10}  {value}"))
}

/// Prints by whom, when, why and from which source a version was released.
///
/// # Errors
///
/// When stdout cannot be written.
pub fn print_binding(cairn: &Cairn, bound: &ReleaseBinding, names: &Names) -> Result<(), Failure> {
    let source = bound.source.as_ref();
    let dirty = source.and_then(|source| source.dirty).unwrap_or(false);
    let commit = source.and_then(|source| source.commit.clone());
    let rows = [
        ("digest", Some(bound.digest.to_string())),
        ("at", Some(format!("{} UTC", minute(bound.at)))),
        ("by", Some(names.by(bound.key, bound.actor.as_ref()))),
        ("key", bound.key.map(|key| key.to_string())),
        ("reason", bound.reason.clone()),
        ("source", source.and_then(|source| source.repository.clone())),
        ("path", source.and_then(|source| source.path.clone())),
        (
            "commit",
            commit.map(|commit| {
                if dirty {
                    format!("{commit} (with changes)")
                } else {
                    commit
                }
            }),
        ),
        ("ref", source.and_then(|source| source.reference.clone())),
        (
            "run",
            bound
                .run
                .as_ref()
                .and_then(|run| run.url.clone().or_else(|| run.id.clone())),
        ),
        ("record", bound.record.map(|record| record.to_string())),
        ("entry", Some(format!("#{} {}", bound.seq, bound.name))),
        ("yanked", bound.yanked.as_ref().map(|yanked| deed(yanked, names))),
        ("pruned", bound.pruned.as_ref().map(|pruned| deed(pruned, names))),
        ("glass", bound.glass.map(|glass| format!("broken, {glass}"))),
    ];
    for (name, value) in rows {
        if let Some(value) = value {
            line(cairn, name, &value)?;
        }
    }
    Ok(())
}

/// `2026-11-21 14:56 UTC by you: "loses orders" (#12)`
pub(super) fn deed(deed: &Deed, names: &Names) -> String {
    let by = names.by(deed.key, Some(&deed.actor));
    let reason = deed.reason.as_ref();
    let reason = reason.map(|reason| format!(": \"{reason}\"")).unwrap_or_default();
    format!("{} UTC by {by}{reason} (#{})", minute(deed.at), deed.seq)
}

/// What a version is worth, and what follows from it.
pub(super) fn standing(standing: &'static str) -> &'static str {
    match standing {
        "pruned" => {
            "pruned: its image is no longer kept, and nothing moves to it until the same image is released again"
        }
        "yanked" => "yanked: nothing moves to it any more, and no way back leads to it",
        "contested" => {
            "contested: it was released as several images at once, and names none until the wrong ones are yanked"
        }
        other => other,
    }
}

/// Prints where an image is shown, and was; the newest first.
///
/// # Errors
///
/// When stdout cannot be written.
pub fn print_stays(cairn: &Cairn, stays: &[Stay]) -> Result<(), Failure> {
    let now: Vec<&str> = stays
        .iter()
        .filter(|stay| stay.until.is_none())
        .map(|stay| stay.channel.as_str())
        .collect();
    let shown_by = match &now[..] {
        [] => "no channel now".to_owned(),
        channels => channels.join(", "),
    };
    line(cairn, "shown by", &shown_by)?;
    for stay in stays.iter().take(STAYS) {
        let until = match stay.until {
            Some(until) => format!("until {} UTC", minute(until)),
            None => "until now".to_owned(),
        };
        let text = format!(
            "{} from {} UTC {until} (#{})",
            stay.channel,
            minute(stay.since),
            stay.seq
        );
        line(cairn, "stay", &text)?;
    }
    if stays.len() > STAYS {
        let more = stays.len() - STAYS;
        line(cairn, "stay", &format!("and {more} earlier ones: --json has all"))?;
    }
    Ok(())
}
