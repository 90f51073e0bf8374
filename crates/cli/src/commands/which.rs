//! `cairn which`

use cairn_ledger::query::{Found, Part, Searched, Sought, Which as Answer};
use cairn_oci::{Digest, Reference, Tag};
use clap::Args;
use serde::Serialize;

use crate::commands::show::{print_binding, print_stays, standing};
use crate::failure::{Exit, Failure};
use crate::ledgers::{LedgerOptions, Names, OpenLedger};
use crate::program::Cairn;
use crate::signing;
use crate::terminal::counted;

/// The fewest digits of a digest that are looked for: what engines show of an image ID.
const FEWEST: usize = 12;

/// What `cairn which` takes.
#[derive(Debug, Args)]
pub struct Which {
    /// What was seen: a digest of an index, a manifest or a config (an image ID), its first 12 digits or more; a channel, version or
    /// other tag; or a reference, as engines and clusters show it
    #[arg(value_name = "DIGEST|REF")]
    pub seen: String,
    /// Which ledger.
    #[command(flatten)]
    pub ledger: LedgerOptions,
}

/// What was seen, and where.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    sought: Sought,
    repository: Option<Reference>,
}

/// `--json`
#[derive(Serialize)]
struct Document<'a> {
    repository: String,
    seen: &'a str,
    #[serde(flatten)]
    answer: &'a Answer,
}

impl Which {
    /// Prints which release it is.
    pub async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        let seen = read(&self.seen).ok_or_else(|| {
            let text = format!(
                "`{}` is no digest, no tag and no reference with one of them",
                self.seen
            );
            Failure::new(Exit::Usage, text).with_hint(
                "sha256:…, its first 12 digits, prod, 1.4.2, or registry.example.org/team/shop@sha256:…"
                    .to_owned(),
            )
        })?;
        let open = self.options(seen.repository).require_here(cairn).await?;
        let answer = open.ledger.which(&open.opened, &seen.sought).await?;
        if answer.found.is_empty() {
            return Err(self.unknown(&open, &seen.sought, &answer));
        }
        if cairn.terminal.json {
            let repository = open.images.to_string();
            return cairn.terminal.document(&Document {
                repository,
                seen: &self.seen,
                answer: &answer,
            });
        }
        self.tell_tag(cairn, &open, &seen.sought, &answer);
        let names = Names::of(signing::own(cairn, &open), &open.opened);
        for (index, found) in answer.found.iter().enumerate() {
            if index > 0 {
                cairn.terminal.print("")?;
            }
            print(cairn, found, &names)?;
        }
        Ok(())
    }

    /// The repository that the command line names, or what was seen does.
    pub fn repository(&self) -> Option<Reference> {
        let seen = || read(&self.seen)?.repository;
        self.ledger.repository.clone().or_else(seen)
    }

    /// The repository of what was seen, unless another one is named: copies have the same digests.
    fn options(&self, repository: Option<Reference>) -> LedgerOptions {
        let mut options = self.ledger.clone();
        options.repository = options.repository.or(repository);
        options
    }

    /// A channel's tag may show something else than the ledger says.
    fn tell_tag(&self, cairn: &Cairn, open: &OpenLedger, sought: &Sought, answer: &Answer) {
        let Sought::Tag(tag) = sought else { return };
        let says = cairn_ledger::query::digest_of(&open.opened, tag.as_str());
        match (answer.tag, says) {
            (None, _) => cairn.terminal.warn(format!(
                "there is no tag {tag}; this is what the ledger says of it"
            )),
            (Some(shows), Some(says)) if shows != says => cairn.terminal.warn(format!(
                "the tag {tag} shows {shows}, and the ledger says {says}; this is about what the tag shows"
            )),
            _ => {}
        }
    }

    fn unknown(&self, open: &OpenLedger, sought: &Sought, answer: &Answer) -> Failure {
        let images = &open.images;
        let text = match (sought, answer.tag) {
            (Sought::Tag(tag), None) => {
                let text = format!("{images} has no tag {tag}, and no release or channel of this name");
                return Failure::new(Exit::Input, text)
                    .with_hint(format!("cairn tags {images} lists the tags"));
            }
            (Sought::Tag(tag), Some(digest)) => {
                format!("the tag {tag} shows {digest}, which no entry of the ledger of {images} names")
            }
            _ => format!("the ledger of {images} knows nothing of {}", self.seen),
        };
        Failure::new(
            Exit::Input,
            format!("{text}; searched: {}", searched(&answer.searched)),
        )
        .with_hint(match sought {
            Sought::Tag(tag) if is_channel(open, tag) => {
                format!("somebody moved the tag by hand: cairn status says what the ledger says of {tag}, and what to do about it")
            }
            _ => "an image of another repository: cairn which DIGEST --repository REF".to_owned(),
        })
    }
}

fn searched(searched: &Searched) -> String {
    let images = counted(searched.images, "image", "images");
    let absent = match searched.absent {
        0 => String::new(),
        absent => format!("; {absent} of them are not there any more, and could not be looked into"),
    };
    format!(
        "the {images} that entries name, with the manifests and configs of {}{absent}",
        match searched.opened {
            opened if opened == searched.images => "each".to_owned(),
            opened => opened.to_string(),
        }
    )
}

/// What engines, clusters and our own tables show.
fn read(text: &str) -> Option<Seen> {
    let text = text.trim();
    let text = ["docker-pullable://", "docker://", "containerd://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme))
        .unwrap_or(text);
    let here = |sought| {
        Some(Seen {
            sought,
            repository: None,
        })
    };
    if let Some(sought) = digest(text) {
        return here(sought);
    }
    if text.starts_with("sha256:") {
        return None;
    }
    if !text.contains(['/', ':', '@']) {
        return here(Sought::Tag(text.parse().ok()?));
    }
    let reference: Reference = text.parse().ok()?;
    let sought = match (reference.digest, &reference.tag) {
        (Some(digest), _) => Sought::Digest(digest),
        (None, Some(tag)) => Sought::Tag(tag.clone()),
        (None, None) => return None,
    };
    let repository = Some(reference.without_target());
    Some(Seen { sought, repository })
}

/// A digest, or the beginning of one, with or without its algorithm.
fn digest(text: &str) -> Option<Sought> {
    let hex = text.strip_prefix("sha256:").unwrap_or(text).trim_end_matches('…');
    let hex = hex.to_ascii_lowercase();
    let is_hex = hex.bytes().all(|b| b.is_ascii_hexdigit());
    if !is_hex || !(FEWEST..=64).contains(&hex.len()) {
        return None;
    }
    // A version may look like a short digest; then the digest has to say what it is.
    if text.len() < 64 && !text.starts_with("sha256:") && text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    match Digest::from_hex(&hex) {
        Ok(digest) => Some(Sought::Digest(digest)),
        Err(_) => Some(Sought::Prefix(hex)),
    }
}

fn print(cairn: &Cairn, found: &Found, names: &Names) -> Result<(), Failure> {
    let line = |name: &str, value: &str| cairn.terminal.print(format!("{name:<10}  {value}"));
    let platform = |platform: &Option<String>| {
        let platform = platform.as_ref().map(|platform| format!(" for {platform}"));
        platform.unwrap_or_default()
    };
    match &found.part {
        Part::Image => line("is", &format!("the image {}", found.digest))?,
        Part::Manifest {
            platform: of,
            manifest,
        } => line(
            "is",
            &format!("the manifest {manifest}{} of {}", platform(of), found.digest),
        )?,
        Part::Config { platform: of, config } => line(
            "is",
            &format!("the config {config}{} of {}", platform(of), found.digest),
        )?,
    }
    if found.versions.is_empty() {
        line("version", "none: no release named it")?;
    }
    for named in &found.versions {
        line("version", named.version.as_str())?;
        line("standing", standing(named.standing))?;
        print_binding(cairn, &named.binding, names)?;
    }
    print_stays(cairn, &found.stays)
}

/// Whether the ledger says what the tag shows, because it is a channel's or a version's.
fn is_channel(open: &OpenLedger, tag: &Tag) -> bool {
    cairn_ledger::query::digest_of(&open.opened, tag.as_str()).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "9a41f0c6d3a1e0b59a41f0c6d3a1e0b59a41f0c6d3a1e0b59a41f0c6d3a1e0b5";

    fn whole() -> Sought {
        Sought::Digest(Digest::from_hex(HEX).unwrap())
    }

    #[test]
    fn what_engines_and_clusters_show_is_read() {
        let repository: Reference = "registry.example.org/team/shop".parse().unwrap();
        for text in [HEX.to_owned(), format!("sha256:{HEX}"), HEX.to_uppercase()] {
            assert_eq!(read(&text).unwrap().sought, whole(), "{text}");
        }
        for text in [
            format!("docker-pullable://registry.example.org/team/shop@sha256:{HEX}"),
            format!("registry.example.org/team/shop:1.4.2@sha256:{HEX}"),
        ] {
            let seen = read(&text).unwrap();
            assert_eq!(
                (seen.sought, seen.repository),
                (whole(), Some(repository.clone())),
                "{text}"
            );
        }
        let short = Sought::Prefix(HEX[..12].to_owned());
        for text in [&HEX[..12], &format!("sha256:{}…", &HEX[..12])] {
            assert_eq!(read(text).unwrap().sought, short, "{text}");
        }
        let tag = |text: &str| Sought::Tag(text.parse().unwrap());
        for text in ["prod", "1.4.2", "build-812", "202611211002"] {
            assert_eq!(read(text).unwrap().sought, tag(text), "{text}");
        }
        let seen = read("registry.example.org/team/shop:prod").unwrap();
        assert_eq!((seen.sought, seen.repository), (tag("prod"), Some(repository)));
    }

    #[test]
    fn what_names_no_image_is_refused() {
        for text in [
            "",
            "registry.example.org/team/shop",
            "sha256:",
            "sha256:xyz",
            "a b",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
