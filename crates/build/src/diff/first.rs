//! Where two images that should be the same begin to differ.
//!
//! For each platform: the first layer that differs, down to an entry's attribute or a byte of its content; and the
//! fields of configuration and manifest that do not follow from the layers.

use std::io::{BufRead as _, BufReader, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use cairn_layer::{Entry, EntryKind, Limits, TreePath, VisitError, decoder, read_layer, sniff};
use cairn_oci::{Descriptor, Digest};
use cairn_store::Repository;

use super::stack::hashed;
use super::{DiffError, Image, Side, document, fields, images, open};
use crate::blocking::{feed, pipe, run};

/// Length of the pieces that are compared, in bytes.
const PIECE: usize = 64 << 10;
/// How many pieces wait for the slower side.
const QUEUE: usize = 4;
/// The most fields of one document that are named.
const FIELDS: usize = 20;

/// One thing that is not the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// In what: a layer, a configuration, a manifest, the index.
    pub subject: String,
    /// What the first image has and the second has not; may contain untrusted text.
    pub message: String,
}

impl Difference {
    fn new(subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            subject: subject.into(),
            message: message.into(),
        }
    }
}

/// In what `rebuilt` differs from `image`, the cause before what follows from it. Empty: they are the same.
///
/// # Errors
///
/// [`DiffError`].
pub async fn first_differences(
    image: Side<'_>,
    rebuilt: Side<'_>,
    limits: &Limits,
) -> Result<Vec<Difference>, DiffError> {
    if image.manifest.digest() == rebuilt.manifest.digest() {
        return Ok(Vec::new());
    }
    let (old, mut new) = (images(image).await?, images(rebuilt).await?);
    let mut found = Vec::new();
    for (platform, old) in old {
        let Some(new) = new.remove(&platform) else {
            found.push(Difference::new(
                "index",
                format!("the rebuilt image is not for {platform}"),
            ));
            continue;
        };
        if old.digest != new.digest {
            let at = found.len();
            layers(
                (image.repository, &old),
                (rebuilt.repository, &new),
                limits,
                &mut found,
            )
            .await?;
            documents(&old, &new, &mut found);
            for difference in &mut found[at..] {
                difference.subject = format!("{platform}, {}", difference.subject);
            }
        }
    }
    for platform in new.into_keys() {
        found.push(Difference::new(
            "index",
            format!("only the rebuilt image is for {platform}"),
        ));
    }
    if found.is_empty() {
        let message = "the manifests say the same in other bytes";
        found.push(Difference::new("manifest", message));
    }
    Ok(found)
}

/// Configuration and manifest, without what says nothing but that layers differ.
fn documents(old: &Image, new: &Image, found: &mut Vec<Difference>) {
    let mut changes = document::image_fields(old, new);
    let manifests = fields(&old.manifest, &new.manifest);
    changes.extend(manifests.into_iter().filter(|change| {
        let follows = ["layers", "config", "annotations"];
        !follows.iter().any(|start| change.field.starts_with(start))
    }));
    let more = changes.len().saturating_sub(FIELDS);
    for change in changes.into_iter().take(FIELDS) {
        let side = |value: Option<String>| value.unwrap_or_else(|| "nothing".to_owned());
        let message = format!("{} → {}", side(change.before), side(change.after));
        found.push(Difference::new(change.field, message));
    }
    if more > 0 {
        found.push(Difference::new("configuration", format!("{more} more fields")));
    }
}

async fn layers(
    (left, old): (&dyn Repository, &Image),
    (right, new): (&dyn Repository, &Image),
    limits: &Limits,
    found: &mut Vec<Difference>,
) -> Result<(), DiffError> {
    let (before, after) = (&old.manifest.layers, &new.manifest.layers);
    let pairs = before.iter().zip(after).enumerate();
    for (position, (before, after)) in pairs {
        if before.digest == after.digest {
            continue;
        }
        let subject = format!(
            "layer {} of {}{}",
            position + 1,
            old.manifest.layers.len(),
            name(old, position)
        );
        let comparison = LayerComparison {
            sides: [(left, before), (right, after)],
            diff_ids: [old, new].map(|image| image.config.rootfs.diff_ids.get(position).copied()),
            limits,
        };
        found.push(Difference::new(subject, comparison.message().await?));
        return Ok(());
    }
    if before.len() != after.len() {
        let message = format!("{} → {}", before.len(), after.len());
        found.push(Difference::new("number of layers", message));
    }
    Ok(())
}

/// What the history says of the layer, if it has one entry for each.
fn name(image: &Image, position: usize) -> String {
    let steps = image.config.history.iter();
    let mut steps = steps.filter(|entry| entry.empty_layer != Some(true));
    let step = steps.nth(position).and_then(|entry| entry.created_by.as_deref());
    step.map_or_else(String::new, |step| format!(" ({step})"))
}

struct LayerComparison<'a> {
    sides: [(&'a dyn Repository, &'a Descriptor); 2],
    diff_ids: [Option<Digest>; 2],
    limits: &'a Limits,
}

impl LayerComparison<'_> {
    async fn message(&self) -> Result<String, DiffError> {
        let kinds = self.sides.map(|(_, layer)| layer.media_type.to_oci().to_string());
        if kinds[0] != kinds[1] {
            return Ok(format!("its type: {} → {}", kinds[0], kinds[1]));
        }
        if self.diff_ids[0].is_some() && self.diff_ids[0] == self.diff_ids[1] {
            let offset = self.streams(Part::Compressed).await?;
            return Ok(format!(
                "the archive is the same and only its compression differs, from byte {offset} of the compressed layer on"
            ));
        }
        let [old, new] = [self.entries(0).await?, self.entries(1).await?];
        for (before, after) in old.iter().zip(&new) {
            if before.entry.path != after.entry.path {
                return Ok(other_path(&before.entry.path, &after.entry.path));
            }
            if let Some(message) = entry_difference(&before.entry, &after.entry) {
                return Ok(format!("{}: {message}", before.entry.path));
            }
            if before.content != after.content {
                let path = &before.entry.path;
                let offset = self.streams(Part::File(path.clone())).await?;
                return Ok(format!("{path}: its content differs from byte {offset} on"));
            }
        }
        let extra = |list: &[Seen], at: usize| list.get(at).map(|seen| seen.entry.path.clone());
        match (extra(&old, new.len()), extra(&new, old.len())) {
            (Some(path), _) => Ok(format!("{path} is not in the rebuilt layer")),
            (_, Some(path)) => Ok(format!("{path} is only in the rebuilt layer")),
            (None, None) => {
                let offset = self.streams(Part::Archive).await?;
                Ok(format!(
                    "the entries are the same, and the archive differs from byte {offset} on"
                ))
            }
        }
    }

    async fn entries(&self, side: usize) -> Result<Vec<Seen>, DiffError> {
        let (repository, layer) = self.sides[side];
        let digest = layer.digest;
        let content = open(repository, layer).await?;
        let (sender, reader) = pipe();
        let limits = *self.limits;
        let work = run(move || {
            let mut entries = Vec::new();
            let read = read_layer(reader, &limits, &mut |entry, content| {
                let content = match entry.kind {
                    EntryKind::File => Some(hashed(content)?),
                    _ => None,
                };
                let entry = entry.clone();
                entries.push(Seen { entry, content });
                Ok(())
            });
            read.map(|_| entries)
        });
        let (fed, read) = tokio::join!(feed(content, vec![sender]), work);
        fed.map_err(|source| DiffError::LayerContent { digest, source })?;
        read.map_err(|source| DiffError::Layer { digest, source })
    }

    /// The first byte in which a part of the two layers differs; its length if one ends there.
    async fn streams(&self, part: Part) -> Result<u64, DiffError> {
        let (left, ours) = sync_channel(QUEUE);
        let (right, theirs) = sync_channel(QUEUE);
        let compare = run(move || first_differing_byte(&ours, &theirs));
        let (a, b, offset) = tokio::join!(
            self.send(0, part.clone(), left),
            self.send(1, part, right),
            compare
        );
        a.and(b).map(|()| offset)
    }

    async fn send(&self, side: usize, part: Part, sender: SyncSender<Vec<u8>>) -> Result<(), DiffError> {
        let (repository, layer) = self.sides[side];
        let digest = layer.digest;
        let content = open(repository, layer).await?;
        let (feeder, reader) = pipe();
        let limits = *self.limits;
        let work = run(move || match part {
            Part::Compressed => pass_on(reader, &sender),
            Part::Archive => {
                let mut reader = BufReader::with_capacity(PIECE, reader);
                let encoding = sniff(reader.fill_buf()?);
                pass_on(decoder(reader, encoding, &limits)?, &sender)
            }
            Part::File(path) => {
                // Whoever reads this has read the whole layer before; an error now is one that was none then.
                read_layer(reader, &limits, &mut |entry, content| {
                    if entry.path == path {
                        pass_on(content, &sender)?;
                    }
                    Ok::<_, VisitError>(())
                })
                .map_or(Ok(()), |_| Ok(()))
            }
        });
        let (fed, sent) = tokio::join!(feed(content, vec![feeder]), work);
        fed.and(sent)
            .map_err(|source| DiffError::LayerContent { digest, source })
    }
}

/// An entry, and the digest of a file's content.
struct Seen {
    entry: Entry,
    content: Option<Digest>,
}

#[derive(Clone)]
enum Part {
    Compressed,
    Archive,
    File(TreePath),
}

/// Archives are in one order, so the smaller of two paths is the one that the other side lacks.
fn other_path(old: &TreePath, new: &TreePath) -> String {
    if old < new {
        format!("{old} is not in the rebuilt layer, or not at the same place")
    } else {
        format!("{new} is only in the rebuilt layer, or not at the same place")
    }
}

fn entry_difference(old: &Entry, new: &Entry) -> Option<String> {
    let (before, after) = (&old.attributes, &new.attributes);
    let xattrs = |entry: &Entry| {
        format!("{:?}", entry.attributes.xattrs)
            .escape_debug()
            .to_string()
    };
    let fields = [
        ("type", kind(&old.kind), kind(&new.kind)),
        (
            "mode",
            format!("{:04o}", before.mode),
            format!("{:04o}", after.mode),
        ),
        ("uid", before.uid.to_string(), after.uid.to_string()),
        ("gid", before.gid.to_string(), after.gid.to_string()),
        ("mtime", old.mtime.to_string(), new.mtime.to_string()),
        ("size", old.size.to_string(), new.size.to_string()),
        ("extended attributes", xattrs(old), xattrs(new)),
    ];
    let different = fields.into_iter().find(|(_, before, after)| before != after);
    different.map(|(name, before, after)| format!("{name} {before} → {after}"))
}

/// What an entry is, and where it points if it is a link.
fn kind(kind: &EntryKind) -> String {
    match kind {
        EntryKind::Directory => "directory".to_owned(),
        EntryKind::File => "file".to_owned(),
        EntryKind::Symlink { target } => format!("symbolic link to {}", target.escape_ascii()),
        EntryKind::Hardlink { to } => format!("hard link to {to}"),
        EntryKind::CharacterDevice { major, minor } => format!("character device {major},{minor}"),
        EntryKind::BlockDevice { major, minor } => format!("block device {major},{minor}"),
        EntryKind::Fifo => "named pipe".to_owned(),
        EntryKind::Whiteout => "removal".to_owned(),
        EntryKind::Opaque => "removal of all that is below".to_owned(),
    }
}

fn pass_on(mut content: impl Read, sender: &SyncSender<Vec<u8>>) -> std::io::Result<()> {
    loop {
        let mut piece = vec![0; PIECE];
        let length = content.read(&mut piece)?;
        if length == 0 {
            return Ok(());
        }
        piece.truncate(length);
        if sender.send(piece).is_err() {
            // The difference is found: the rest is read only so that whoever feeds it can end.
            std::io::copy(&mut content, &mut std::io::sink())?;
            return Ok(());
        }
    }
}

fn first_differing_byte(left: &Receiver<Vec<u8>>, right: &Receiver<Vec<u8>>) -> u64 {
    let (mut a, mut b) = (Vec::new(), Vec::new());
    let mut offset = 0;
    loop {
        if a.is_empty() {
            a = left.recv().unwrap_or_default();
        }
        if b.is_empty() {
            b = right.recv().unwrap_or_default();
        }
        let length = a.len().min(b.len());
        let same = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
        offset += same as u64;
        if same < length || length == 0 {
            return offset;
        }
        a.drain(..length);
        b.drain(..length);
    }
}
