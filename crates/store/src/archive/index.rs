//! Which images an archive has.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use bytes::Bytes;
use cairn_oci::{Descriptor, Digest, Document, Index, annotations, json, manifest};

use super::member::{Members, Span};
use super::{Content, Format, Image, Place, damaged, docker};
use crate::error::RepositoryError;
use crate::files::FileError;
use crate::layout::MARKER;
use crate::transfer::DEPTH_LIMIT;

/// The list of images of a layout.
pub(super) const INDEX: &str = "index.json";
/// Where blobs are.
pub(super) const BLOBS: &str = "blobs/sha256/";
/// The name that containerd gives an image beside its tag, and that `podman load` takes.
pub(super) const CONTAINERD_NAME: &str = "io.containerd.image.name";
/// Longest `index.json` that is read, in bytes.
const INDEX_LIMIT: u64 = 16 << 20;

pub(super) fn read(members: &Members, file: &File, path: &Path) -> Result<Content, RepositoryError> {
    match (members.file(MARKER), members.file(INDEX)) {
        (Some(marker), Some(index)) => layout(members, marker, index, file, path),
        _ => match members.file(docker::MANIFEST) {
            Some(list) => docker::read(members, list, file, path),
            None => Err(damaged(
                path,
                "it has neither the index.json of an image layout nor the manifest.json of docker save",
            )),
        },
    }
}

/// All of `span`, if it is no longer than `limit` bytes.
pub(super) fn read_span(span: Span, file: &File, path: &Path, limit: u64) -> Result<Bytes, RepositoryError> {
    if span.size > limit {
        return Err(RepositoryError::TooLarge {
            subject: format!("a document in {}", path.display()),
            limit,
        });
    }
    let bytes = span.read(file).map_err(FileError::on("read", path))?;
    Ok(bytes.into())
}

pub(super) fn read_place(
    place: &Place,
    file: &File,
    path: &Path,
    limit: u64,
) -> Result<Bytes, RepositoryError> {
    match place {
        Place::Member(span) => read_span(*span, file, path, limit),
        Place::Made(bytes) => Ok(bytes.clone()),
    }
}

fn layout(
    members: &Members,
    marker: Span,
    index: Span,
    file: &File,
    path: &Path,
) -> Result<Content, RepositoryError> {
    let marker = read_span(marker, file, path, 4096)?;
    let version: Option<serde_json::Value> = json::parse(&marker, 4096).ok();
    let version = version
        .as_ref()
        .and_then(|marker| marker.get("imageLayoutVersion"));
    if !version.is_some_and(|version| version.as_str().is_some_and(|version| version.starts_with("1."))) {
        return Err(damaged(path, "imageLayoutVersion is not 1.0.0"));
    }
    let bytes = read_span(index, file, path, INDEX_LIMIT)?;
    let index: Index = json::parse(&bytes, bytes.len())
        .map_err(|error| damaged(path, format!("{INDEX} is not an image index: {error}")))?;
    if index.manifests.len() > manifest::ENTRY_LIMIT {
        let most = manifest::ENTRY_LIMIT;
        return Err(damaged(path, format!("{INDEX} lists more than {most} images")));
    }
    let mut blobs = BTreeMap::new();
    for (hex, span) in members.below(BLOBS) {
        if let Ok(digest) = Digest::from_hex(hex) {
            blobs.insert(digest, Place::Member(span));
        }
    }
    let mut content = Content {
        format: Format::Oci,
        images: Vec::new(),
        manifests: BTreeMap::new(),
        blobs,
    };
    content.walk(&index.manifests, file, path);
    content.images = index.manifests.into_iter().map(image).collect();
    Ok(content)
}

fn image(descriptor: Descriptor) -> Image {
    let names = [CONTAINERD_NAME, annotations::REF_NAME].map(|key| descriptor.annotations.get(key).cloned());
    Image {
        names: names.into_iter().flatten().collect(),
        descriptor,
    }
}

impl Content {
    /// Notes every manifest below `entries` that is there, each once. What an index that is missing or damaged lists is
    /// not known; reading it says why.
    fn walk(&mut self, entries: &[Descriptor], file: &File, path: &Path) {
        let mut level = entries.to_vec();
        for _ in 0..=DEPTH_LIMIT {
            let mut below = Vec::new();
            for entry in level {
                if self.manifests.len() >= manifest::ENTRY_LIMIT || self.manifests.contains_key(&entry.digest)
                {
                    continue;
                }
                let Some(place) = self.blobs.get(&entry.digest) else {
                    continue;
                };
                if entry.media_type.is_index()
                    && let Ok(bytes) = read_place(place, file, path, manifest::LIMIT as u64)
                    && let Ok(document) = Document::parse(&entry.media_type, &bytes)
                {
                    below.extend_from_slice(document.manifests());
                }
                self.manifests.insert(entry.digest, entry.media_type);
            }
            level = below;
        }
    }
}
