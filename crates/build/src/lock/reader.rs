//! From text to lock, strictly: what [`Lock`] would not write is refused.

use std::collections::BTreeMap;
use std::ops::Range;

use cairn_layer::{Attributes, TreePath};
use cairn_oci::{Descriptor, Digest, MediaType, Platform, media_type};
use cairn_packages::Installed;
use jiff::Timestamp;

use super::debian;
use super::text::{path, unescape};
use super::{
    BaseListing, LIMIT, Lock, LockedBase, LockedFetch, LockedLayer, LockedOrigin, LockedPlatform,
    LockedSource, OUTPUT_VERSION,
};
use crate::document::{self, Findings, Keys, Problem, Section, chain};
use crate::finding::{Finding, Located};
use crate::spec::values;

const ROOT: Keys = Keys::all(&[
    "output",
    "created",
    "created-from",
    "base",
    "packages",
    "fetch",
    "split",
]);
const WORKSPACE: Keys = Keys::all(&["output", "image"]);
const IMAGE: Keys = Keys::all(&["created", "created-from", "base", "packages", "fetch", "split"]);
const FETCH: Keys = Keys::all(&["url", "digest", "size"]);
const SPLIT: Keys = Keys::all(&["layer", "borders"]);
const BASE: Keys = Keys::all(&["image", "oci", "archive", "rootfs", "digest", "platform"]);
const PLATFORM: Keys = Keys::all(&[
    "platform",
    "manifest",
    "config",
    "file",
    "layers",
    "directories",
    "links",
    "users",
    "groups",
    "packages",
]);
const DESCRIPTOR: Keys = Keys::all(&["digest", "size", "media-type"]);
const LAYER: Keys = Keys::all(&["digest", "size", "media-type", "diff-id"]);
const DIRECTORY: Keys = Keys::all(&["path", "mode", "owner", "xattrs"]);
const LINK: Keys = Keys::all(&["path", "to"]);

const HINT: &str = "take the lock from version control, or delete it and run `cairn lock`";

pub(super) fn read(text: &str) -> Result<Lock, Vec<Finding>> {
    read_as(text, &ROOT, read_pins)
}

/// The lock of a workspace: the locks of its images by their names.
pub(super) fn read_workspace(text: &str) -> Result<BTreeMap<String, Lock>, Vec<Finding>> {
    read_as(text, &WORKSPACE, |root| {
        let mut images = BTreeMap::new();
        for (name, section) in root.named_tables("image", &IMAGE) {
            if let Err(problem) = values::image_name(&name.value) {
                root.report(problem.at(name.span));
            }
            if let Some(lock) = read_pins(&section) {
                images.insert(name.value, lock);
            }
        }
        Some(images)
    })
}

fn read_as<T>(
    text: &str,
    keys: &Keys,
    read: impl FnOnce(&Section<'_>) -> Option<T>,
) -> Result<T, Vec<Finding>> {
    let findings = Findings::default();
    let lock = document::parse(text, LIMIT, &findings).and_then(|table| {
        let root = Section::root(&table, keys, &findings);
        is_for_us(&root).then(|| read(&root)).flatten()
    });
    match lock {
        Some(lock) if findings.is_empty() => Ok(lock),
        // Nobody edited it: it is right for another Cairn.
        _ if output_version(text).is_some_and(|version| version != i64::from(OUTPUT_VERSION)) => {
            Err(findings.into_sorted())
        }
        _ => Err(with_hints(findings.into_sorted())),
    }
}

/// Whether a lock is for an output version before ours.
pub(super) fn is_outdated(text: &str) -> bool {
    output_version(text).is_some_and(|version| version < i64::from(OUTPUT_VERSION))
}

/// The rules that a lock is for, whatever else is wrong with it.
fn output_version(text: &str) -> Option<i64> {
    let findings = Findings::default();
    let table = document::parse(text, LIMIT, &findings)?;
    let output = Section::root(&table, &ROOT, &findings).required_integer("output")?;
    Some(output.value).filter(|version| *version >= 0)
}

fn with_hints(findings: Vec<Finding>) -> Vec<Finding> {
    findings
        .into_iter()
        .map(|finding| finding.with_hint(HINT))
        .collect()
}

/// Whether the lock is for our rules. What else another one says is said by other rules.
fn is_for_us(root: &Section<'_>) -> bool {
    let output = root.required_integer("output");
    let other = output.filter(|output| output.value != i64::from(OUTPUT_VERSION));
    if let Some(other) = &other {
        root.report(other_version(other));
    }
    other.is_none()
}

fn read_pins(root: &Section<'_>) -> Option<Lock> {
    let created = root.required("created", created);
    let dated_by_spec = root.parsed("created-from", created_from).is_some();
    let base = root
        .table("base", "[base]", &BASE)
        .map(|section| read_base(&section));
    let packages = debian::read(root);
    let fetched = read_fetched(root);
    let splits = read_splits(root);
    Some(Lock {
        output: OUTPUT_VERSION,
        created: created?,
        dated_by_spec,
        base: match base {
            Some(base) => Some(base?),
            None => None,
        },
        packages,
        fetched,
        splits,
    })
}

fn read_fetched(root: &Section<'_>) -> BTreeMap<String, Located<LockedFetch>> {
    let mut fetched = BTreeMap::new();
    for section in root.tables("fetch", "[[fetch]]", &FETCH) {
        let url = section.required("url", text);
        let digest = section.required("digest", digest);
        let size = section.required_integer("size").and_then(|size| {
            let bytes = u64::try_from(size.value).ok();
            if bytes.is_none() {
                section.report(Finding::new("a size is not negative", size.span));
            }
            bytes
        });
        let (Some(url), Some(digest), Some(size)) = (url, digest, size) else {
            continue;
        };
        let locked = LockedFetch {
            digest: digest.value,
            size,
        };
        let span = url.span.clone();
        if fetched
            .insert(url.value, Located::new(locked, url.span))
            .is_some()
        {
            section.report(Finding::new("the URL is pinned twice", span));
        }
    }
    fetched
}

fn other_version(output: &Located<i64>) -> Finding {
    let message = format!(
        "the lock is for output version {}; this Cairn makes {OUTPUT_VERSION}",
        output.value
    );
    let finding = Finding::new(message, output.span.clone());
    match output.value {
        version if version > i64::from(OUTPUT_VERSION) => {
            finding.with_hint("a newer Cairn wrote it: use that one, or take the lock from version control")
        }
        0.. => finding.with_hint("run `cairn lock --update`; the image will have another digest"),
        _ => finding,
    }
}

fn read_splits(root: &Section<'_>) -> BTreeMap<String, Located<Vec<TreePath>>> {
    let mut splits = BTreeMap::new();
    for section in root.tables("split", "[[split]]", &SPLIT) {
        let layer = section.required("layer", values::layer_name);
        if !section.has("borders") {
            section.report(Finding::new("[[split]] needs `borders`", section.span()));
        }
        let borders = section.texts("borders", path).unwrap_or_default();
        for pair in borders.windows(2) {
            if let [before, after] = pair
                && before.value >= after.value
            {
                let message = "borders stand in the order of their paths, and none twice";
                section.report(Finding::new(message, after.span.clone()));
            }
        }
        let borders: Vec<_> = borders.into_iter().map(|border| border.value).collect();
        let Some(layer) = layer else { continue };
        let span = layer.span.clone();
        if splits
            .insert(layer.value, Located::new(borders, layer.span))
            .is_some()
        {
            section.report(Finding::new("the layer is pinned twice", span));
        }
    }
    splits
}

fn created(text: &str) -> Result<Timestamp, Problem> {
    let time = text.parse::<Timestamp>().ok();
    let time =
        time.filter(|time| time.to_string() == text && time.subsec_nanosecond() == 0 && time.as_second() > 0);
    time.ok_or_else(|| Problem::new(format!("`{text}` is not a date as the lock writes it")))
}

fn created_from(text: &str) -> Result<(), Problem> {
    if text == "spec" {
        return Ok(());
    }
    let text = text.escape_debug();
    Err(Problem::new(format!("`{text}` is not `spec`")))
}

pub(super) fn digest(text: &str) -> Result<Digest, Problem> {
    text.parse().map_err(|error| Problem::new(chain(&error)))
}

pub(super) fn text(text: &str) -> Result<String, Problem> {
    Ok(text.to_owned())
}

fn read_base(section: &Section<'_>) -> Option<LockedBase> {
    let source = read_source(section);
    let mut platforms = BTreeMap::new();
    for platform in section.tables("platform", "[[base.platform]]", &PLATFORM) {
        if let Some((key, locked)) = read_platform(&platform) {
            let span = key.span.clone();
            if platforms
                .insert(key.value, Located::new(locked, key.span))
                .is_some()
            {
                section.report(Finding::new("the platform is pinned twice", span));
            }
        }
    }
    Some(LockedBase {
        source: source?,
        platforms,
    })
}

fn read_source(section: &Section<'_>) -> Option<Located<LockedSource>> {
    let image = section.parsed("image", text);
    let layout = section.parsed("oci", text);
    let rootfs = section.parsed("rootfs", text);
    let archive = section.parsed("archive", text);
    match (&image, &layout, &archive, &rootfs) {
        (None, None, None, Some(path)) => {
            return Some(path.clone().map(|path| LockedSource::RootFs { path }));
        }
        (None, None, Some(archive), None) => {
            return Some(archive.clone().map(|archive| LockedSource::Archive { archive }));
        }
        _ => {}
    }
    let digest = section.required("digest", digest);
    match (image, layout, archive.or(rootfs)) {
        (Some(reference), None, None) => {
            let digest = digest?.value;
            Some(reference.map(|reference| LockedSource::Image { reference, digest }))
        }
        (None, Some(layout), None) => {
            let digest = digest?.value;
            Some(layout.map(|layout| LockedSource::Layout { layout, digest }))
        }
        _ => {
            let message = "[base] needs exactly one of `image`, `oci`, `archive` and `rootfs`";
            section.report(Finding::new(message, section.span()));
            None
        }
    }
}

fn read_platform(section: &Section<'_>) -> Option<(Located<Platform>, LockedPlatform)> {
    let platform = section.required("platform", |text| {
        text.parse::<Platform>()
            .map_err(|error| Problem::new(chain(&error)))
    });
    let origin = read_origin(section);
    let layers = section.tables("layers", "`layers`", &LAYER);
    let layers: Vec<_> = layers.iter().map(read_layer).collect();
    let listing = read_listing(section);
    let locked = LockedPlatform {
        origin: origin?,
        layers: layers.into_iter().collect::<Option<_>>()?,
        listing,
    };
    Some((platform?, locked))
}

fn read_origin(section: &Section<'_>) -> Option<LockedOrigin> {
    if section.has("file") {
        let digest = section.parsed("file", digest)?.value;
        return Some(LockedOrigin::File { digest });
    }
    let manifest = section.required("manifest", digest);
    let config = section.table("config", "`config`", &DESCRIPTOR);
    if !section.has("config") {
        section.report(Finding::new("[[base.platform]] needs `config`", section.span()));
    }
    let config = config.and_then(|config| read_descriptor(&config, &[media_type::CONFIG]));
    Some(LockedOrigin::Image {
        manifest: manifest?.value,
        config: Box::new(config?),
    })
}

fn read_layer(section: &Section<'_>) -> Option<LockedLayer> {
    let kinds = [media_type::LAYER, media_type::LAYER_GZIP, media_type::LAYER_ZSTD];
    let descriptor = read_descriptor(section, &kinds);
    let diff_id = section.required("diff-id", digest);
    Some(LockedLayer {
        descriptor: descriptor?,
        diff_id: diff_id?.value,
    })
}

fn read_descriptor(section: &Section<'_>, kinds: &[&str]) -> Option<Descriptor> {
    let digest = section.required("digest", digest);
    let size = section.required_integer("size");
    let kind = section.required("media-type", |text| {
        let known = kinds.contains(&text).then(|| MediaType::from(text));
        known.ok_or_else(|| Problem::new(format!("`{text}` is not one of {}", kinds.join(", "))))
    });
    let size = size.and_then(|size| match u64::try_from(size.value) {
        Ok(bytes) => Some(bytes),
        Err(_) => {
            section.report(Finding::new("a size is not negative", size.span));
            None
        }
    });
    Some(Descriptor::new(kind?.value, digest?.value, size?))
}

fn read_listing(section: &Section<'_>) -> BaseListing {
    let mut listing = BaseListing::default();
    for directory in section.tables("directories", "`directories`", &DIRECTORY) {
        if let Some((path, attributes)) = read_directory(&directory) {
            insert(&mut listing.directories, path, attributes, section);
        }
    }
    for link in section.tables("links", "`links`", &LINK) {
        let (path, target) = (link.required("path", path), link.required("to", unescape));
        if let (Some(path), Some(target)) = (path, target) {
            insert(&mut listing.links, path, target.value, section);
        }
    }
    let lines = |key| {
        section
            .texts(key, line)
            .unwrap_or_default()
            .into_iter()
            .map(|line| line.value)
            .collect()
    };
    listing.users = lines("users");
    listing.groups = lines("groups");
    let packages = section.texts("packages", |text| {
        text.parse::<Installed>()
            .map_err(|error| Problem::new(chain(&error)))
    });
    listing.packages = packages
        .unwrap_or_default()
        .into_iter()
        .map(|package| package.value)
        .collect();
    listing
}

fn insert<V>(map: &mut BTreeMap<TreePath, V>, path: Located<TreePath>, value: V, section: &Section<'_>) {
    let span: Range<usize> = path.span;
    if map.insert(path.value, value).is_some() {
        section.report(Finding::new("the path is pinned twice", span));
    }
}

fn line(text: &str) -> Result<String, Problem> {
    if text.contains(['\n', '\r', '\0']) {
        return Err(Problem::new("this must be one line"));
    }
    Ok(text.to_owned())
}

fn read_directory(section: &Section<'_>) -> Option<(Located<TreePath>, Attributes)> {
    let path = section.required("path", path);
    let mode = section.required("mode", values::mode);
    let owner = section.required("owner", ids);
    let mut xattrs = BTreeMap::new();
    for (name, (span, value)) in section.text_map("xattrs").unwrap_or_default() {
        match unescape(&name).and_then(|name| Ok((name, bytes_of_hex(&value.value)?))) {
            Ok((name, value)) => {
                xattrs.insert(name, value);
            }
            Err(problem) => section.report(problem.at(span)),
        }
    }
    let (uid, gid) = owner?.value;
    let mode = mode?.value;
    Some((
        path?,
        Attributes {
            mode,
            uid,
            gid,
            xattrs,
        },
    ))
}

fn ids(text: &str) -> Result<(u32, u32), Problem> {
    let ids = text
        .split_once(':')
        .and_then(|(uid, gid)| Some((uid.parse().ok()?, gid.parse().ok()?)));
    let ids = ids.filter(|(uid, gid): &(u32, u32)| format!("{uid}:{gid}") == text);
    ids.ok_or_else(|| Problem::new(format!("`{text}` is not UID:GID")))
}

fn bytes_of_hex(text: &str) -> Result<Vec<u8>, Problem> {
    let is_hex = text.len().is_multiple_of(2)
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'));
    let byte = |pair: &[u8]| {
        std::str::from_utf8(pair)
            .ok()
            .and_then(|pair| u8::from_str_radix(pair, 16).ok())
    };
    let bytes = text.as_bytes().chunks(2).map(byte).collect::<Option<Vec<u8>>>();
    bytes
        .filter(|_| is_hex)
        .ok_or_else(|| Problem::new(format!("`{text}` is not hexadecimal")))
}
