//! `cairn adopt`

use std::collections::BTreeSet;

use cairn_ledger::operation::Appended;
use cairn_ledger::operation::adopt::{Skipped, WhySkipped, natural_order};
use cairn_ledger::operation::plan::{self, AdoptPlan};
use cairn_ledger::{AdoptRequest, Adopted, Channel, Opened, Version};
use cairn_oci::{Digest, Tag};
use cairn_store::{Repository, Target};
use clap::Args;
use globset::GlobBuilder;
use serde::Serialize;

use crate::commands::{moves, tags};
use crate::failure::{Exit, Failure};
use crate::ledgers::{EntryOptions, LedgerOptions, OpenLedger, mode_text, tell_nothing_changed};
use crate::program::Cairn;
use crate::signing;
use crate::tagging::is_internal;
use crate::terminal::{counted, short};

/// What `cairn adopt` takes.
#[derive(Debug, Args)]
pub struct Adopt {
    /// Makes each tag that fits a version, such as '1.*' or '*'; may be repeated
    #[arg(long = "tags", value_name = "PATTERN")]
    pub patterns: Vec<String>,
    /// What a channel shows: prod=1.4.2 or prod=stable; repeated for one channel, what it showed one after the other
    #[arg(long = "channel", value_name = "C=TAG", value_parser = shows)]
    pub channels: Vec<Shows>,
    /// Which ledger.
    #[command(flatten)]
    pub ledger: LedgerOptions,
    /// What is written into it.
    #[command(flatten)]
    pub entry: EntryOptions,
}

/// A channel and the tag that says what it shows.
#[derive(Debug, Clone)]
pub struct Shows {
    channel: Channel,
    tag: Tag,
}

fn shows(text: &str) -> Result<Shows, String> {
    let (channel, tag) = text
        .split_once('=')
        .ok_or_else(|| "it names a channel and a tag, such as prod=1.4.2".to_owned())?;
    Ok(Shows {
        channel: moves::channel(channel)?,
        tag: tag.parse().map_err(|_| format!("`{tag}` is not a tag"))?,
    })
}

/// Tags of a repository, sorted into what can be brought in and what cannot.
struct Found {
    request: AdoptRequest,
    skipped: Vec<(Tag, String)>,
    /// Whether there is a tag that fits a pattern, or none was asked for.
    fits: bool,
}

impl Found {
    /// The version that a channel would show `digest` as.
    fn version_of(&self, digest: &Digest) -> Option<&Version> {
        let mut versions = self.request.versions.iter().rev();
        versions
            .find(|(_, one)| one == digest)
            .map(|(version, _)| version)
    }
}

/// `--json`
#[derive(Serialize)]
struct Document {
    repository: String,
    adopted: Vec<AdoptedDocument>,
    known: Vec<KnownDocument>,
    skipped: Vec<SkippedDocument>,
    channels: Vec<ChannelDocument>,
    mode: Option<String>,
    changed: bool,
    dry_run: bool,
}

#[derive(Serialize)]
struct AdoptedDocument {
    version: String,
    digest: Digest,
    seq: Option<u64>,
    name: Option<Digest>,
}

impl AdoptedDocument {
    /// Of a version whose `entry` is there, or is not yet.
    fn of(version: &Version, digest: Digest, entry: Option<&Appended>) -> Self {
        Self {
            version: version.to_string(),
            digest,
            seq: entry.map(|entry| entry.seq),
            name: entry.map(|entry| entry.name),
        }
    }
}

#[derive(Serialize)]
struct KnownDocument {
    version: String,
    digest: Digest,
}

#[derive(Serialize)]
struct SkippedDocument {
    tag: String,
    why: String,
}

#[derive(Serialize)]
struct ChannelDocument {
    name: String,
    previous: Option<Digest>,
    digest: Option<Digest>,
}

impl Adopt {
    /// Brings in what exists.
    pub async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        if self.patterns.is_empty() && self.channels.is_empty() {
            return Err(Failure::new(Exit::Usage, "nothing says what to adopt").with_hint(
                "cairn adopt --tags '*' --channel prod=TAG makes versions of all tags that can be, and begins a channel".to_owned(),
            ));
        }
        let mut open = self.ledger.open_here(cairn).await?;
        open.check_home()?;
        let found = self.find(&**open.ledger.images()).await?;
        for (tag, why) in &found.skipped {
            cairn.terminal.step("skipped", format!("{tag}: {why}"));
        }
        if self.entry.dry_run {
            return self.rehearse(cairn, &open, found).await;
        }
        let key = if open.opened.state().is_some() {
            signing::require(cairn, &open)?
        } else {
            signing::find_or_make(cairn)?
        };
        if open.opened.state().is_none() {
            if found.request == AdoptRequest::default() {
                return Err(nothing(&open));
            }
            let genesis = EntryOptions::default().context(cairn, &key, None)?;
            open.initialise(cairn, &genesis).await?;
        }
        let context = self.entry.context(cairn, &key, None)?;
        let adopted = open.ledger.adopt(&open.opened, &context, &found.request).await;
        cairn.flush().await?;
        let adopted = adopted?;
        open.remember(cairn, &adopted.opened);
        tell(cairn, &adopted);
        if !adopted.changed {
            let why = match found.fits {
                true => "nothing to adopt: the ledger has all of it".to_owned(),
                false => self.nothing_fits(&open),
            };
            cairn.terminal.say(why);
        }
        if cairn.terminal.json {
            cairn.terminal.document(&document(&open, &found, &adopted))?;
        }
        conflicts(&adopted)
    }

    /// Says what would be brought in.
    async fn rehearse(&self, cairn: &Cairn, open: &OpenLedger, found: Found) -> Result<(), Failure> {
        let would = |version: &Version, digest: &Digest| {
            let text = format!("{version}  {} (not done: --dry-run)", short(digest));
            cairn.terminal.step("adopted", text);
        };
        if open.opened.state().is_none() {
            if found.request == AdoptRequest::default() {
                return Err(nothing(open));
            }
            cairn
                .terminal
                .say(format!("would start a ledger for {}", open.images));
            for (version, digest) in &found.request.versions {
                would(version, digest);
            }
            for (channel, digest) in &found.request.channels {
                let next = found
                    .version_of(digest)
                    .map_or_else(|| short(digest), Version::to_string);
                cairn
                    .terminal
                    .step(channel.as_str(), format!("– → {next} (not done: --dry-run)"));
            }
            if !cairn.terminal.json {
                return Ok(());
            }
            let versions = found.request.versions.iter();
            let channels = found.request.channels.iter();
            let mut document = planned_document(open, &found, &AdoptPlan::default());
            document.adopted = versions
                .map(|(version, digest)| AdoptedDocument::of(version, *digest, None))
                .collect();
            document.channels = channels
                .map(|(channel, digest)| ChannelDocument {
                    name: channel.to_string(),
                    previous: None,
                    digest: Some(*digest),
                })
                .collect();
            return cairn.terminal.document(&document);
        }
        let key = signing::require(cairn, open)?;
        let context = self.entry.context(cairn, &key, None)?;
        let label = open.ledger.home().label();
        let plan = plan::adopt(&open.opened, &label, &context, &found.request)?;
        for entry in plan.entries.iter().filter(|entry| entry.moves.is_empty()) {
            if let (Some(version), Some(digest)) = (&entry.version, &entry.digest) {
                would(version, digest);
            }
        }
        for skipped in &plan.skipped {
            tell_skipped(cairn, skipped);
        }
        for planned in &plan.channels {
            let next = match (&planned.version, &planned.next) {
                (Some(version), _) => version.to_string(),
                (None, next) => next.as_ref().map_or_else(|| "–".to_owned(), short),
            };
            cairn.terminal.step(
                planned.channel.as_str(),
                format!("→ {next} (not done: --dry-run)"),
            );
        }
        for blocked in &plan.blocked {
            cairn.terminal.warn(blocked.text());
        }
        if !found.fits {
            cairn.terminal.say(self.nothing_fits(open));
        } else if plan.entries.is_empty() {
            cairn.terminal.say("would append nothing");
        }
        if cairn.terminal.json {
            cairn.terminal.document(&planned_document(open, &found, &plan))?;
        }
        Ok(())
    }

    /// Resolves the tags: versions in their natural order, and those that cannot be versions with the reason.
    async fn find(&self, images: &dyn Repository) -> Result<Found, Failure> {
        let mut found = Found {
            request: AdoptRequest::default(),
            skipped: Vec::new(),
            fits: self.patterns.is_empty(),
        };
        let fits = self.globs()?;
        let all = if fits.is_empty() {
            Vec::new()
        } else {
            tags::all(images).await?
        };
        let of_channels: BTreeSet<&str> = self.channels.iter().map(|one| one.channel.as_str()).collect();
        let mut versions = Vec::new();
        for tag in all {
            let text = tag.as_str();
            // The tags of channels are no versions, and nobody expects them to be.
            if is_internal(&tag) || of_channels.contains(text) || !fits.iter().any(|glob| glob.is_match(text))
            {
                continue;
            }
            found.fits = true;
            match text.parse::<Version>() {
                Ok(version) => versions.push((version, tag)),
                Err(error) => found.skipped.push((tag, error.to_string())),
            }
        }
        versions.sort_by(|(left, _), (right, _)| natural_order(left, right));
        for (version, tag) in versions {
            match image(images, &tag).await? {
                Ok(digest) => found.request.versions.push((version, digest)),
                Err(why) => found.skipped.push((tag, why.to_owned())),
            }
        }
        for Shows { channel, tag } in &self.channels {
            match image(images, tag).await? {
                Ok(digest) => found.request.channels.push((channel.clone(), digest)),
                Err(why) => {
                    let text = format!(
                        "{channel} cannot begin with the tag {tag} of {}: {why}",
                        images.label()
                    );
                    return Err(Failure::new(Exit::Input, text)
                        .with_hint(format!("cairn tags {} lists what there is", images.label())));
                }
            }
        }
        Ok(found)
    }

    fn nothing_fits(&self, open: &OpenLedger) -> String {
        let patterns = self.patterns.join(", ");
        format!("nothing to adopt: no tag of {} fits {patterns}", open.images)
    }

    fn globs(&self) -> Result<Vec<globset::GlobMatcher>, Failure> {
        let glob = |pattern: &String| {
            let glob = GlobBuilder::new(pattern).build();
            glob.map(|glob| glob.compile_matcher())
                .map_err(|error| Failure::new(Exit::Usage, format!("--tags {pattern}: {error}")))
        };
        self.patterns.iter().map(glob).collect()
    }
}

/// What a tag shows, if containers can be made of it.
async fn image(images: &dyn Repository, tag: &Tag) -> Result<Result<Digest, &'static str>, Failure> {
    let Some(manifest) = images.read_manifest(&Target::Tag(tag.clone())).await? else {
        return Ok(Err("there is no such tag"));
    };
    Ok(if manifest.document()?.is_image() {
        Ok(manifest.digest())
    } else {
        Err("it is not an image")
    })
}

fn nothing(open: &OpenLedger) -> Failure {
    let text = format!(
        "no tag of {} can be adopted, and no ledger was started",
        open.images
    );
    Failure::new(Exit::Input, text).with_hint(format!("cairn tags {} lists what there is", open.images))
}

fn tell_skipped(cairn: &Cairn, skipped: &Skipped) {
    let text = format!(
        "{} ({}): {}",
        skipped.subject,
        short(&skipped.digest),
        skipped.why
    );
    cairn.terminal.step("skipped", text);
}

fn tell(cairn: &Cairn, adopted: &Adopted) {
    for (version, digest, _) in &adopted.versions {
        cairn.terminal.step("adopted", format!("{version}  {digest}"));
    }
    for skipped in &adopted.skipped {
        tell_skipped(cairn, skipped);
    }
    let mut now = Vec::new();
    for channel in &adopted.channels {
        let label = |shown: &Option<cairn_ledger::state::Shown>| {
            shown
                .as_ref()
                .map_or_else(|| "–".to_owned(), cairn_ledger::state::Shown::label)
        };
        if channel.moved() {
            let text = format!("{} → {}", label(&channel.previous), label(&channel.now));
            cairn.terminal.step(channel.channel.as_str(), text);
            now.push(format!("{} now names {}", channel.channel, label(&channel.now)));
        }
    }
    if adopted.changed && now.is_empty() {
        let count = adopted.versions.len() as u64;
        cairn.terminal.say(format!(
            "{} in the ledger now",
            counted(count, "version more is", "versions more are")
        ));
    }
    tell_nothing_changed(&cairn.terminal, &now, "");
    moves::tell_overwritten(cairn, &adopted.channels);
}

fn document(open: &OpenLedger, found: &Found, adopted: &Adopted) -> Document {
    let versions = adopted.versions.iter();
    let channels = adopted.channels.iter().map(|one| ChannelDocument {
        name: one.channel.to_string(),
        previous: one.previous.as_ref().map(|shown| shown.digest),
        digest: one.now.as_ref().map(|shown| shown.digest),
    });
    Document {
        adopted: versions
            .map(|(version, digest, entry)| AdoptedDocument::of(version, *digest, Some(entry)))
            .collect(),
        channels: channels.collect(),
        changed: adopted.changed,
        ..document_apart(open, &adopted.opened, found, &adopted.known, &adopted.skipped)
    }
}

/// The document of what would be brought in: no entry has a name yet.
fn planned_document(open: &OpenLedger, found: &Found, plan: &AdoptPlan) -> Document {
    let versions = plan.entries.iter().filter(|entry| entry.moves.is_empty());
    let versions = versions.filter_map(|entry| Some((entry.version.as_ref()?, entry.digest?)));
    let channels = plan.channels.iter().map(|planned| ChannelDocument {
        name: planned.channel.to_string(),
        previous: planned.previous.as_ref().map(|shown| shown.digest),
        digest: planned.next,
    });
    Document {
        adopted: versions
            .map(|(version, digest)| AdoptedDocument::of(version, digest, None))
            .collect(),
        channels: channels.collect(),
        dry_run: true,
        ..document_apart(open, &open.opened, found, &plan.known, &plan.skipped)
    }
}

/// The document of what is not brought in: what is `known`, tags that cannot be versions, and what was `skipped` beside them.
fn document_apart(
    open: &OpenLedger,
    opened: &Opened,
    found: &Found,
    known: &[(Version, Digest)],
    skipped: &[Skipped],
) -> Document {
    let tags = found.skipped.iter().map(|(tag, why)| SkippedDocument {
        tag: tag.to_string(),
        why: why.clone(),
    });
    let skipped = skipped.iter().map(|one| SkippedDocument {
        tag: one.subject.clone(),
        why: one.why.to_string(),
    });
    let known = known.iter().map(|(version, digest)| KnownDocument {
        version: version.to_string(),
        digest: *digest,
    });
    Document {
        repository: open.images.to_string(),
        adopted: Vec::new(),
        known: known.collect(),
        skipped: tags.chain(skipped).collect(),
        channels: Vec::new(),
        mode: opened.mode().map(|mode| mode_text(&mode)),
        changed: false,
        dry_run: false,
    }
}

/// What stands against what the ledger says is told after everything else is done.
fn conflicts(adopted: &Adopted) -> Result<(), Failure> {
    if let Some(blocked) = adopted.blocked.first() {
        return Err(Failure::new(Exit::Conflict, blocked.text())
            .with_hint(format!("cairn resume {} lifts the hold", blocked.channel)));
    }
    let is_conflict = |skipped: &&Skipped| !matches!(skipped.why, WhySkipped::Image(_));
    match adopted.skipped.iter().find(is_conflict) {
        None => Ok(()),
        Some(skipped) => Err(Failure::new(
            Exit::Conflict,
            format!("{} was not adopted: {}", skipped.subject, skipped.why),
        )
        .with_hint("all else was; cairn show VERSION says who released it".to_owned())),
    }
}
