//! All that decides a layer's bytes, with the identity of local files in the place of their content.
//!
//! The body is: the rules (version of the program, output version, compression, modification time), then for each
//! entry in the layer's order how many bytes its path shares with the one before, the rest of its path, and what it is.

use std::collections::BTreeMap;

use cairn_layer::{Attributes, Identity, LayerOptions, Node, Source, Tree};
use cairn_oci::Digest;

use super::Time;
use super::codec::{Decoder, Encoder};
use crate::lock::OUTPUT_VERSION;

/// How long before the build a file's last change must be for the file to be known again, in seconds: file systems
/// with the coarsest times tell two seconds apart.
const SETTLED: i64 = 2;

/// What a layer was planned to be.
pub(crate) struct Snapshot {
    body: Vec<u8>,
    fingerprint: Digest,
    settled: bool,
}

/// What became of a path between two snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It was not there.
    Added,
    /// It is not there any more.
    Removed,
    /// It is not what it was.
    Changed(Vec<Aspect>),
}

/// What of an entry changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Aspect {
    /// It is something else: a file was a directory, or came from elsewhere.
    Kind,
    /// Permissions, from and to.
    Mode(u32, u32),
    /// Owner and group, from and to.
    Owner((u32, u32), (u32, u32)),
    /// Extended attributes.
    Xattrs,
    /// Length in bytes, from and to.
    Size(u64, u64),
    /// Bytes that the spec or an archive gives, the target of a link.
    Content,
    /// A local file of the same size was written to, or only its time was set.
    Written,
    /// A local file of the same size and modification time is another, or its mode, owner or names were changed.
    Touched,
}

/// About how many bytes a path takes, so that the body need not be moved to grow.
const ENTRY: usize = 80;

const DIRECTORY: u8 = 0;
const CONTENT: u8 = 1;
const LOCAL: u8 = 2;
const SYMLINK: u8 = 3;
const HARDLINK: u8 = 4;
const WHITEOUT: u8 = 5;

impl Snapshot {
    /// The snapshot of a tree that is written with `options`, by a build that began at `began`.
    pub(crate) fn of(tree: &Tree, options: &LayerOptions, began: Option<Time>) -> Self {
        let mut encoder = rules(options);
        encoder.reserve(tree.len() * ENTRY);
        let mut settled = began.is_some();
        let mut previous: &[u8] = &[];
        for (path, node) in tree.iter() {
            let path = path.as_bytes();
            let shared = previous
                .iter()
                .zip(path)
                .take_while(|(left, right)| left == right)
                .count();
            encoder.number(shared as u64);
            encoder.string(&path[shared..]);
            entry(&mut encoder, node);
            if let Node::File {
                source: Source::Local(file),
                ..
            } = node
            {
                settled = settled && began.is_some_and(|began| is_settled(file.identity(), began));
            }
            previous = path;
        }
        let body = encoder.body();
        Self {
            fingerprint: Digest::of(&body),
            body,
            settled,
        }
    }

    /// One that was kept; none if these bytes are none.
    pub(super) fn from_body(body: &[u8]) -> Option<Self> {
        parse(body)?;
        Some(Self {
            fingerprint: Digest::of(body),
            body: body.to_vec(),
            settled: false,
        })
    }

    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    /// Names all of it.
    pub(crate) const fn fingerprint(&self) -> Digest {
        self.fingerprint
    }

    /// Whether a change of any file after the build began would show in its identity.
    pub(crate) const fn is_settled(&self) -> bool {
        self.settled
    }

    /// Whether the same rules make bytes of it: Cairn's version, the compression, the modification time.
    pub(crate) fn has_rules_of(&self, other: &Self) -> bool {
        let rules = |of: &Self| Decoder::new(&of.body).string().map(<[u8]>::to_vec);
        rules(self) == rules(other)
    }

    /// What changed since `before`, by path.
    pub(crate) fn changes_since(&self, before: &Self) -> BTreeMap<Vec<u8>, Change> {
        let (before, after) = (parse(&before.body), parse(&self.body));
        let (mut before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
        let mut changes = BTreeMap::new();
        for (path, now) in after {
            match before.remove(&path) {
                Some(old) if old == now => {}
                Some(old) => {
                    changes.insert(path, Change::Changed(old.aspects(&now)));
                }
                None => {
                    changes.insert(path, Change::Added);
                }
            }
        }
        changes.extend(before.into_keys().map(|path| (path, Change::Removed)));
        changes
    }
}

/// What decides the bytes of any layer besides what is in it.
pub(super) fn rules(options: &LayerOptions) -> Encoder {
    let mut rules = Encoder::new(b"");
    rules.string(env!("CARGO_PKG_VERSION").as_bytes());
    rules.number(OUTPUT_VERSION.into());
    rules.string(options.compression.rules().unwrap_or_default().as_bytes());
    rules.number(options.mtime);
    let mut encoder = Encoder::new(b"");
    encoder.string(&rules.body());
    encoder
}

/// What stands at a path, so that two of them differ if the layer could.
fn entry(encoder: &mut Encoder, node: &Node) {
    match node {
        Node::Directory(of) => {
            encoder.byte(DIRECTORY);
            attributes(encoder, of);
        }
        Node::File {
            attributes: of,
            source: Source::Bytes(bytes),
        } => {
            encoder.byte(CONTENT);
            attributes(encoder, of);
            encoder.number(bytes.len() as u64);
            encoder.digest(&Digest::of(bytes));
        }
        Node::File {
            attributes: of,
            source: Source::Spooled(content),
        } => {
            encoder.byte(CONTENT);
            attributes(encoder, of);
            encoder.number(content.size());
            encoder.digest(&content.digest());
        }
        Node::File {
            attributes: of,
            source: Source::Local(file),
        } => {
            encoder.byte(LOCAL);
            attributes(encoder, of);
            identity(encoder, file.identity());
        }
        Node::Symlink { target, uid, gid } => {
            encoder.byte(SYMLINK);
            encoder.number((*uid).into());
            encoder.number((*gid).into());
            encoder.string(target);
        }
        Node::Hardlink { to } => {
            encoder.byte(HARDLINK);
            encoder.string(to.as_bytes());
        }
        Node::Whiteout => encoder.byte(WHITEOUT),
    }
}

pub(super) fn attributes(encoder: &mut Encoder, of: &Attributes) {
    encoder.number(of.mode.into());
    encoder.number(of.uid.into());
    encoder.number(of.gid.into());
    encoder.number(of.xattrs.len() as u64);
    for (name, value) in &of.xattrs {
        encoder.string(name);
        encoder.string(value);
    }
}

fn identity(encoder: &mut Encoder, of: &Identity) {
    encoder.number(of.size);
    for (seconds, nanoseconds) in [of.modified, of.changed] {
        encoder.signed(seconds);
        encoder.number(nanoseconds.into());
    }
    encoder.number(of.device);
    encoder.number(of.inode);
}

/// The kernel alone sets when a file was changed, so that this must be clearly before the build. The modification time
/// may be any, but not that of a change that is about to happen: not every file system keeps both.
fn is_settled(of: &Identity, began: Time) -> bool {
    let before = (began.0 - SETTLED, began.1);
    let after = (began.0 + SETTLED, began.1);
    of.changed < before && !(before..=after).contains(&of.modified)
}

/// An entry as it was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry<'a> {
    kind: u8,
    mode: u32,
    owner: (u32, u32),
    xattrs: Vec<(&'a [u8], &'a [u8])>,
    size: u64,
    modified: Time,
    /// Target of a link, digest of bytes, the rest of an identity.
    content: Vec<u8>,
}

impl Entry<'_> {
    fn aspects(&self, now: &Self) -> Vec<Aspect> {
        if self.kind != now.kind {
            return vec![Aspect::Kind];
        }
        let mut aspects = Vec::new();
        if self.size != now.size {
            aspects.push(Aspect::Size(self.size, now.size));
        } else if self.modified != now.modified {
            aspects.push(Aspect::Written);
        } else if self.content != now.content {
            aspects.push(if self.kind == LOCAL {
                Aspect::Touched
            } else {
                Aspect::Content
            });
        }
        if self.mode != now.mode {
            aspects.push(Aspect::Mode(self.mode, now.mode));
        }
        if self.owner != now.owner {
            aspects.push(Aspect::Owner(self.owner, now.owner));
        }
        if self.xattrs != now.xattrs {
            aspects.push(Aspect::Xattrs);
        }
        aspects
    }
}

/// The entries of a body by path; none if it is none.
fn parse(body: &[u8]) -> Option<BTreeMap<Vec<u8>, Entry<'_>>> {
    let mut decoder = Decoder::new(body);
    decoder.string()?;
    let mut entries = BTreeMap::new();
    let mut path: Vec<u8> = Vec::new();
    while !decoder.is_at_end() {
        let shared = decoder.length()?;
        if shared > path.len() {
            return None;
        }
        path.truncate(shared);
        path.extend_from_slice(decoder.string()?);
        entries.insert(path.clone(), parse_entry(&mut decoder)?);
    }
    Some(entries)
}

fn parse_entry<'a>(decoder: &mut Decoder<'a>) -> Option<Entry<'a>> {
    let mut entry = Entry {
        kind: decoder.byte()?,
        mode: 0,
        owner: (0, 0),
        xattrs: Vec::new(),
        size: 0,
        modified: (0, 0),
        content: Vec::new(),
    };
    match entry.kind {
        DIRECTORY => parse_attributes(decoder, &mut entry)?,
        CONTENT => {
            parse_attributes(decoder, &mut entry)?;
            entry.size = decoder.number()?;
            entry.content = decoder.digest()?.as_bytes().to_vec();
        }
        LOCAL => {
            parse_attributes(decoder, &mut entry)?;
            entry.size = decoder.number()?;
            entry.modified = parse_time(decoder)?;
            let changed = parse_time(decoder)?;
            let place = (decoder.number()?, decoder.number()?);
            entry.content = format!("{changed:?} {place:?}").into_bytes();
        }
        SYMLINK => {
            entry.owner = (small(decoder)?, small(decoder)?);
            entry.content = decoder.string()?.to_vec();
        }
        HARDLINK => entry.content = decoder.string()?.to_vec(),
        WHITEOUT => {}
        _ => return None,
    }
    Some(entry)
}

fn parse_attributes<'a>(decoder: &mut Decoder<'a>, entry: &mut Entry<'a>) -> Option<()> {
    entry.mode = small(decoder)?;
    entry.owner = (small(decoder)?, small(decoder)?);
    for _ in 0..decoder.number()? {
        entry.xattrs.push((decoder.string()?, decoder.string()?));
    }
    Some(())
}

fn parse_time(decoder: &mut Decoder<'_>) -> Option<Time> {
    Some((decoder.signed()?, small(decoder)?))
}

fn small(decoder: &mut Decoder<'_>) -> Option<u32> {
    u32::try_from(decoder.number()?).ok()
}
