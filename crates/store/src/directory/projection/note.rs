//! What was shown last, kept in `refs/shown`: which files `index.json` was made from, and where in it each entry is.
//!
//! It only saves work. A file counts as unchanged by its identity (device, inode, size, time of its last change), and only
//! if that time is before the one of the `index.json` that was made then: whoever replaces the file later gives it another
//! time, even where the next file gets the same inode. A note that is torn, or is not about the `index.json` that is there, is
//! no note.
//!
//! ```text
//! 2 sha256:<index.json>                          the form, and what it is about
//! t <identity> <length> <hex> <tag>              a tag: identity of its file, length of its entry in bytes, digest
//! s <identity> <hex>                             a subject: identity of its directory in refs/referrers
//! r <length> <hex>                               a manifest about it; length 0 where a tag shows it
//! end
//! ```
//!
//! Tags, subjects, and manifests about one subject stand in the order of `index.json`. Where an identity is `-`, the file is
//! read again.

use std::fmt::Write as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use cairn_oci::{Digest, Tag};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, Stat, openat, statat};

use super::{LIMIT, Projection, frame};
use crate::blobs::read_bounded;
use crate::directory::repository::DirectoryRepository;

/// The form of the note.
const FORM: &str = "2";
/// The identity of a file that is read again.
const UNSETTLED: &str = "-";

/// What tells one state of a file or directory from another.
pub(super) struct Identity {
    text: String,
    /// When it was changed last, in seconds and nanoseconds since 1970.
    changed: (i64, i64),
}

impl Identity {
    /// Of what is at `path`, if anything is.
    pub(super) fn of(path: &Path) -> Option<Self> {
        Self::from_stat(&statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).ok()?)
    }

    fn from_stat(of: &Stat) -> Option<Self> {
        let changed = (of.st_ctime, i64::try_from(of.st_ctime_nsec).ok()?);
        let (seconds, nanoseconds) = changed;
        let (device, inode, size) = (of.st_dev, of.st_ino, of.st_size);
        Some(Self {
            text: format!("{device}:{inode}:{size}:{seconds}.{nanoseconds:09}"),
            changed,
        })
    }
}

/// A directory whose files are looked at one after the other, without the way to it each time.
pub(super) struct Files(Option<OwnedFd>);

impl Files {
    pub(super) fn of(directory: &Path) -> Self {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Self(openat(CWD, directory, flags, Mode::empty()).ok())
    }

    /// Of the file `name`, if it is there.
    pub(super) fn identity(&self, name: &str) -> Option<Identity> {
        let found = statat(self.0.as_ref()?, name, AtFlags::SYMLINK_NOFOLLOW);
        Identity::from_stat(&found.ok()?)
    }
}

/// What an `index.json` is known to have been made from: `note` are the lines, `index` the file.
#[derive(Default)]
pub(super) struct Shown<'a> {
    /// Sorted by name.
    tags: Vec<KnownTag<'a>>,
    /// Sorted by digest.
    subjects: Vec<KnownSubject<'a>>,
}

struct KnownTag<'a> {
    name: &'a str,
    identity: &'a str,
    digest: Digest,
    entry: &'a [u8],
}

struct KnownSubject<'a> {
    subject: Digest,
    directory: &'a str,
    /// Sorted by digest.
    referrers: Vec<KnownReferrer<'a>>,
}

struct KnownReferrer<'a> {
    digest: Digest,
    length: usize,
    /// None where a tag shows it.
    entry: Option<&'a [u8]>,
}

impl<'a> Shown<'a> {
    /// The entry of a tag, if its file is the one that was read.
    pub(super) fn tag(&self, tag: &Tag, file: Option<&Identity>) -> Option<(Digest, &'a [u8])> {
        let at = self.tags.binary_search_by_key(&tag.as_str(), |known| known.name);
        let known = self.tags.get(at.ok()?)?;
        (known.identity == file?.text).then_some((known.digest, known.entry))
    }

    fn known(&self, subject: &Digest) -> Option<&KnownSubject<'a>> {
        let at = self.subjects.binary_search_by_key(subject, |known| known.subject);
        self.subjects.get(at.ok()?)
    }

    /// The entries of the manifests about `subject`, if nothing was added or removed there.
    pub(super) fn subject(
        &self,
        subject: &Digest,
        directory: Option<&Identity>,
    ) -> Option<impl Iterator<Item = (Digest, &'a [u8])>> {
        let known = self.known(subject)?;
        let all = known.referrers.iter();
        let is_same = known.directory == directory?.text && all.clone().all(|one| one.entry.is_some());
        is_same.then(|| all.filter_map(|one| Some((one.digest, one.entry?))))
    }

    /// The entry of one manifest about `subject`.
    pub(super) fn referrer(&self, subject: &Digest, digest: &Digest) -> Option<&'a [u8]> {
        let referrers = &self.known(subject)?.referrers;
        let at = referrers.binary_search_by_key(digest, |one| one.digest);
        referrers.get(at.ok()?)?.entry
    }
}

fn path(of: &DirectoryRepository) -> PathBuf {
    of.layout().join("refs/shown")
}

/// The note as it is, nothing if there is none. Whoever reads holds the repository's lock.
pub(super) fn load(repository: &DirectoryRepository) -> Vec<u8> {
    let bytes = read_bounded(repository.writer(), &path(repository), LIMIT);
    bytes.ok().flatten().unwrap_or_default().into()
}

/// What `note` says of `index`, the `index.json` that is there.
pub(super) fn read<'a>(note: &'a [u8], index: &'a [u8]) -> Shown<'a> {
    let note = std::str::from_utf8(note).ok();
    note.and_then(|note| lines(note, index)).unwrap_or_default()
}

/// Reads the lines, and finds the entries in the file; none if they do not fill it.
fn lines<'a>(note: &'a str, index: &'a [u8]) -> Option<Shown<'a>> {
    let lines = note.strip_suffix("end\n")?.strip_suffix('\n')?;
    let (first, lines) = lines.split_once('\n').unwrap_or((lines, ""));
    let (form, about) = first.split_once(' ')?;
    if form != FORM || about != Digest::of(index).to_string() {
        return None;
    }
    let mut entries = Entries::of(index)?;
    let mut shown = Shown::default();
    for line in lines.lines() {
        shown.take(line, &mut entries)?;
    }
    shown.find_referrers(&mut entries)?;
    entries.rest.is_empty().then_some(shown)
}

impl<'a> Shown<'a> {
    fn take(&mut self, line: &'a str, entries: &mut Entries<'a>) -> Option<()> {
        let mut words = line.split(' ');
        match words.next()? {
            "t" => {
                let (identity, length, digest) = (words.next()?, number(words.next()?)?, hex(words.next()?)?);
                self.tags.push(KnownTag {
                    name: words.next()?,
                    identity,
                    digest,
                    entry: entries.next(length)?,
                });
            }
            "s" => self.subjects.push(KnownSubject {
                directory: words.next()?,
                subject: hex(words.next()?)?,
                referrers: Vec::new(),
            }),
            "r" => self.subjects.last_mut()?.referrers.push(KnownReferrer {
                length: number(words.next()?)?,
                digest: hex(words.next()?)?,
                entry: None,
            }),
            _ => return None,
        }
        words.next().is_none().then_some(())
    }

    /// Finds the entries of the manifests that no tag shows: behind the tags, by digest, whatever they are about.
    fn find_referrers(&mut self, entries: &mut Entries<'a>) -> Option<()> {
        let all = self.subjects.iter_mut().flat_map(|known| &mut known.referrers);
        let mut untagged: Vec<&mut KnownReferrer<'a>> = all.filter(|one| one.length > 0).collect();
        untagged.sort_by_key(|one| one.digest);
        let mut untagged = untagged.into_iter();
        untagged.try_for_each(|one| {
            one.entry = Some(entries.next(one.length)?);
            Some(())
        })
    }
}

fn number<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

fn hex(text: &str) -> Option<Digest> {
    Digest::from_hex(text).ok()
}

/// The entries of an `index.json` from its beginning on.
struct Entries<'a> {
    rest: &'a [u8],
    is_first: bool,
}

impl<'a> Entries<'a> {
    fn of(index: &'a [u8]) -> Option<Self> {
        let (start, end) = frame();
        let rest = index.strip_prefix(&start[..])?.strip_suffix(&end[..])?;
        Some(Self { rest, is_first: true })
    }

    /// The next one, which has `length` bytes.
    fn next(&mut self, length: usize) -> Option<&'a [u8]> {
        if !std::mem::take(&mut self.is_first) {
            self.rest = self.rest.strip_prefix(b",")?;
        }
        let (entry, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(entry)
    }
}

/// Writes down what `index`, which is at `path` now, was made from. That this fails costs time and nothing else.
pub(super) fn keep(repository: &DirectoryRepository, projection: &Projection<'_>, index: &[u8], at: &Path) {
    let Some(made) = Identity::of(at) else { return };
    let note = write(projection, &Digest::of(index), &made);
    drop(
        repository
            .writer()
            .write_cached(&path(repository), note.as_bytes()),
    );
}

/// The identity of what did not change since `index.json` was made.
fn settled<'a>(identity: Option<&'a Identity>, made: &Identity) -> &'a str {
    let before = identity.filter(|identity| identity.changed < made.changed);
    before.map_or(UNSETTLED, |identity| &*identity.text)
}

fn write(projection: &Projection<'_>, index: &Digest, made: &Identity) -> String {
    let mut note = String::new();
    let mut line = |text: std::fmt::Arguments<'_>| {
        // A string takes all that is written to it.
        let _ = writeln!(note, "{text}");
    };
    line(format_args!("{FORM} {index}"));
    for tag in &projection.tags {
        let (identity, length) = (settled(tag.file.as_ref(), made), tag.entry.len());
        line(format_args!(
            "t {identity} {length} {} {}",
            tag.digest.hex(),
            tag.tag
        ));
    }
    for subject in &projection.subjects {
        let identity = settled(subject.directory.as_ref(), made);
        line(format_args!("s {identity} {}", subject.subject.hex()));
        for (digest, entry) in &subject.referrers {
            let length = if projection.is_tagged(digest) {
                0
            } else {
                entry.len()
            };
            line(format_args!("r {length} {}", digest.hex()));
        }
    }
    line(format_args!("end"));
    note
}
