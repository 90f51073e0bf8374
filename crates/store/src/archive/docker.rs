//! `manifest.json`: the form of `docker save`, which names an image's configuration and layers by their paths.
//!
//! Such an archive has no manifest of OCI's. One is made: the configuration and the layers as they are, in the
//! canonical form, so that the same archive is always the same image. Most tools write layers uncompressed there; then a
//! layer's digest is the one that the configuration gives for it.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use bytes::Bytes;
use cairn_oci::{
    Descriptor, Digest, Hasher, ImageConfig, Manifest, MediaType, config, json, manifest, media_type,
};
use serde::{Deserialize, Serialize};

use super::index::{BLOBS, read_span};
use super::member::{Members, Span};
use super::{Content, Format, Image, PIECE, Place, damaged};
use crate::error::RepositoryError;
use crate::files::FileError;

/// The list of images.
pub(super) const MANIFEST: &str = "manifest.json";
/// Longest `manifest.json` that is read, in bytes.
const LIMIT: u64 = 4 << 20;
/// Most images of one archive.
const IMAGE_LIMIT: usize = 1000;

/// One image of `manifest.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Listed {
    /// The path of the configuration.
    pub(super) config: String,
    /// Names with tags.
    #[serde(default)]
    pub(super) repo_tags: Option<Vec<String>>,
    /// The paths of the layers, lowest first.
    pub(super) layers: Vec<String>,
}

pub(super) fn read(
    members: &Members,
    list: Span,
    file: &File,
    path: &Path,
) -> Result<Content, RepositoryError> {
    let bytes = read_span(list, file, path, LIMIT)?;
    let listed: Vec<Listed> = json::parse(&bytes, bytes.len())
        .map_err(|error| damaged(path, format!("{MANIFEST} is not a list of images: {error}")))?;
    if listed.len() > IMAGE_LIMIT {
        return Err(damaged(path, format!("it has more than {IMAGE_LIMIT} images")));
    }
    let mut reader = Reader {
        members,
        file,
        path,
        known: BTreeMap::new(),
        content: Content {
            format: Format::Docker,
            images: Vec::new(),
            manifests: BTreeMap::new(),
            blobs: BTreeMap::new(),
        },
    };
    for image in listed {
        reader.image(image)?;
    }
    Ok(reader.content)
}

struct Reader<'a> {
    members: &'a Members,
    file: &'a File,
    path: &'a Path,
    /// Compressed layers that were hashed already: several images may share them.
    known: BTreeMap<u64, Digest>,
    content: Content,
}

impl Reader<'_> {
    fn image(&mut self, listed: Listed) -> Result<(), RepositoryError> {
        let bytes = read_span(
            self.member(&listed.config)?,
            self.file,
            self.path,
            config::LIMIT as u64,
        )?;
        let name = &listed.config;
        let config = ImageConfig::parse(&bytes)
            .map_err(|error| self.damaged(format!("{name} is not the configuration of an image: {error}")))?;
        let diff_ids = &config.rootfs.diff_ids;
        if diff_ids.len() != listed.layers.len() || diff_ids.len() > manifest::ENTRY_LIMIT {
            let (layers, diff_ids) = (listed.layers.len(), diff_ids.len());
            return Err(self.damaged(format!(
                "an image has {layers} layers, and its configuration names {diff_ids}"
            )));
        }
        let mut layers = Vec::new();
        for (name, diff_id) in listed.layers.iter().zip(diff_ids) {
            layers.push(self.layer(name, *diff_id)?);
        }
        let descriptor = Descriptor::of(media_type::CONFIG, &bytes);
        self.keep(descriptor.digest, Place::Made(bytes));
        let manifest = Bytes::from(json::canonical(&Manifest::image(descriptor, layers)));
        let descriptor = Descriptor::of(media_type::MANIFEST, &manifest);
        self.keep(descriptor.digest, Place::Made(manifest));
        self.content
            .manifests
            .insert(descriptor.digest, descriptor.media_type.clone());
        self.content.images.push(Image {
            names: listed.repo_tags.unwrap_or_default(),
            descriptor,
        });
        Ok(())
    }

    fn damaged(&self, detail: String) -> RepositoryError {
        damaged(self.path, detail)
    }

    fn member(&self, name: &str) -> Result<Span, RepositoryError> {
        let found = self.members.file(name.strip_prefix("./").unwrap_or(name));
        found.ok_or_else(|| self.damaged(format!("{MANIFEST} names {name}, which is not in it")))
    }

    fn keep(&mut self, digest: Digest, place: Place) {
        self.content.blobs.insert(digest, place);
    }

    fn layer(&mut self, name: &str, diff_id: Digest) -> Result<Descriptor, RepositoryError> {
        let span = self.member(name)?;
        let kind = self.layer_type(name, span)?;
        let digest = if kind == media_type::LAYER {
            diff_id
        } else if let Some(Ok(digest)) = name.strip_prefix(BLOBS).map(Digest::from_hex) {
            digest
        } else {
            self.hash(span)?
        };
        self.keep(digest, Place::Member(span));
        Ok(Descriptor::new(MediaType::from(kind), digest, span.size))
    }

    fn layer_type(&self, name: &str, span: Span) -> Result<&'static str, RepositoryError> {
        let start = Span {
            size: span.size.min(6),
            ..span
        };
        let start = start.read(self.file).map_err(FileError::on("read", self.path))?;
        Ok(match &start[..] {
            [0x1f, 0x8b, ..] => media_type::LAYER_GZIP,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => media_type::LAYER_ZSTD,
            [0xfd, b'7', b'z', b'X', b'Z', 0] => {
                return Err(self.damaged(format!("the layer {name} is compressed with xz")));
            }
            _ => media_type::LAYER,
        })
    }

    fn hash(&mut self, span: Span) -> Result<Digest, RepositoryError> {
        if let Some(known) = self.known.get(&span.offset) {
            return Ok(*known);
        }
        let mut hasher = Hasher::new();
        let mut rest = span;
        while rest.size > 0 {
            let piece = Span {
                size: rest.size.min(PIECE),
                ..rest
            };
            hasher.update(&piece.read(self.file).map_err(FileError::on("read", self.path))?);
            rest = Span {
                offset: rest.offset + piece.size,
                size: rest.size - piece.size,
            };
        }
        let digest = hasher.finish();
        self.known.insert(span.offset, digest);
        Ok(digest)
    }
}
