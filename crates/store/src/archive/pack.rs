//! From an image to an archive.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use cairn_oci::{Descriptor, Digest, Document, Manifest, annotations, json, media_type};
use futures_util::TryFutureExt;

use super::docker::{self, Listed};
use super::index::{BLOBS, CONTAINERD_NAME, INDEX};
use super::{Format, ImageName, PackError, tar_stream};
use crate::blocking::{Piece, Pieces, pump};
use crate::error::RepositoryError;
use crate::files::{FileError, Fs, PUBLIC, RealFs, Writer};
use crate::layout::{MARKER, index};
use crate::repository::{RawManifest, Repository};
use crate::stream::{ByteStream, from_bytes, verified};
use crate::transfer::{Count, Transfer, TransferError};

/// The types that `docker load` knows for layers, by OCI's names.
const DOCKER_LAYERS: [&str; 2] = [media_type::LAYER, media_type::LAYER_GZIP];

/// An archive that can be written, once or more often: always the same bytes.
#[derive(Debug, Clone)]
pub struct Package {
    from: Arc<dyn Repository>,
    /// Small files, in their order.
    documents: Vec<(String, Bytes)>,
    /// What is read from the repository, in its order, with the manifest that names it.
    blobs: Vec<(Descriptor, Digest)>,
}

/// Plans the archive of the image `manifest` of `from`, which goes by `name` in it.
///
/// The documents come first, then the layers in the order of their digests, so that a reader knows after a few blocks
/// what is in the archive.
///
/// # Errors
///
/// [`PackError`] if the image does not fit the format, or a manifest of it is missing.
pub async fn pack(
    from: Arc<dyn Repository>,
    manifest: &RawManifest,
    format: Format,
    name: &ImageName,
) -> Result<Package, PackError> {
    let transfer = Transfer::between(&*from, &*from);
    let manifests = transfer.closure(manifest).await?;
    let mut blobs = BTreeMap::new();
    for (raw, document) in &manifests {
        for blob in document.blobs() {
            blobs.insert(blob.digest, (blob.clone(), raw.digest()));
        }
    }
    let mut documents = vec![
        (
            MARKER.to_owned(),
            json::canonical(&BTreeMap::from([("imageLayoutVersion", "1.0.0")])).into(),
        ),
        (INDEX.to_owned(), top(manifest, name)),
    ];
    if format == Format::Docker {
        documents.push((docker::MANIFEST.to_owned(), docker_list(&manifests, name)?));
    }
    let sorted: BTreeMap<Digest, &RawManifest> =
        manifests.iter().map(|(raw, _)| (raw.digest(), raw)).collect();
    let manifests = sorted.into_iter();
    documents.extend(manifests.map(|(digest, raw)| (path(&digest), raw.bytes().clone())));
    Ok(Package {
        from: Arc::clone(&from),
        documents,
        blobs: blobs.into_values().collect(),
    })
}

fn path(digest: &Digest) -> String {
    format!("{BLOBS}{}", digest.hex())
}

/// `index.json`. The names stand at its only entry: podman takes one from each archive.
fn top(manifest: &RawManifest, name: &ImageName) -> Bytes {
    let mut entry = manifest.descriptor();
    entry
        .annotations
        .insert(annotations::REF_NAME.to_owned(), name.tag.to_string());
    entry
        .annotations
        .insert(CONTAINERD_NAME.to_owned(), name.to_string());
    json::canonical(&index(vec![entry])).into()
}

fn docker_list(manifests: &[(RawManifest, Document)], name: &ImageName) -> Result<Bytes, PackError> {
    let format = Format::Docker;
    let mut images = manifests.iter().filter_map(|(raw, document)| match document {
        Document::Manifest(manifest) => Some((raw, manifest)),
        Document::Index(_) => None,
    });
    let (Some((raw, image)), None) = (images.next(), images.next()) else {
        return Err(PackError::Platforms {
            format,
            platforms: platforms(manifests),
        });
    };
    check_image(raw, image)?;
    let listed = Listed {
        config: path(&image.config.digest),
        repo_tags: Some(vec![name.to_string()]),
        layers: image.layers.iter().map(|layer| path(&layer.digest)).collect(),
    };
    Ok(json::canonical(&[listed]).into())
}

fn check_image(raw: &RawManifest, image: &Manifest) -> Result<(), PackError> {
    if image.config.media_type.to_oci() != media_type::CONFIG {
        return Err(PackError::NotAnImage {
            digest: raw.digest(),
            media_type: image.config.media_type.clone(),
        });
    }
    let fits = |layer: &&Descriptor| DOCKER_LAYERS.contains(&layer.media_type.to_oci().as_str());
    match image.layers.iter().find(|layer| !fits(layer)) {
        Some(layer) => Err(PackError::LayerType {
            format: Format::Docker,
            layer: layer.digest,
            media_type: layer.media_type.clone(),
        }),
        None => Ok(()),
    }
}

/// What the indexes among `manifests` say that they are for.
fn platforms(manifests: &[(RawManifest, Document)]) -> Vec<String> {
    let entries = manifests.iter().flat_map(|(_, document)| document.manifests());
    let platforms = entries.filter_map(|entry| entry.platform.as_ref());
    let named = platforms.filter(|platform| platform.os != "unknown");
    named.map(ToString::to_string).collect()
}

impl Package {
    /// Length of the archive in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        let documents = self.documents.iter().map(|(_, bytes)| bytes.len() as u64);
        let sizes = documents.chain(self.blobs.iter().map(|(blob, _)| blob.size));
        let members: u64 = sizes.map(tar_stream::room).sum();
        // Two directories and the end.
        members + 4 * 512
    }

    /// The manifests and blobs in it, and their bytes.
    #[must_use]
    pub fn count(&self) -> Count {
        let manifests = self.documents.iter().filter(|(name, _)| name.starts_with(BLOBS));
        let manifests = manifests.map(|(_, bytes)| bytes.len() as u64);
        let mut count = Count::default();
        for size in manifests.chain(self.blobs.iter().map(|(blob, _)| blob.size)) {
            count.add(size);
        }
        count
    }

    /// The archive's bytes. Each blob is opened when its turn comes, and verified on its way; what is wrong with one
    /// ends the stream with an error.
    #[must_use]
    pub fn content(&self) -> ByteStream {
        let mut parts = vec![tar_stream::directory("blobs/"), tar_stream::directory(BLOBS)];
        for (name, bytes) in &self.documents {
            parts.push(tar_stream::file(
                name,
                bytes.len() as u64,
                from_bytes(bytes.clone()),
            ));
        }
        for (blob, parent) in &self.blobs {
            let content = open(Arc::clone(&self.from), blob.clone(), *parent);
            let content = Box::pin(content.try_flatten_stream());
            parts.push(tar_stream::file(&path(&blob.digest), blob.size, content));
        }
        parts.push(tar_stream::end());
        tar_stream::concatenated(parts)
    }

    /// Makes it the file `to`, whole or not at all. What was there is replaced.
    ///
    /// # Errors
    ///
    /// [`PackError`]; then `to` is as it was.
    pub async fn write(&self, to: &Path) -> Result<(), PackError> {
        self.write_on(Arc::new(RealFs), to).await
    }

    /// [`Self::write`] on another [`Fs`]: for tests that inject faults.
    ///
    /// # Errors
    ///
    /// As [`Self::write`].
    pub async fn write_on(&self, fs: Arc<dyn Fs>, to: &Path) -> Result<(), PackError> {
        let (target, writer) = (to.to_owned(), Writer::new(fs, None));
        let (written, fed) = pump(self.content(), move |pieces| receive(&writer, &target, pieces)).await;
        fed.map_err(PackError::from_stream)?;
        written.map_err(PackError::Write)
    }
}

impl PackError {
    /// What ended the stream [`Package::content`] early.
    #[must_use]
    pub fn from_stream(error: std::io::Error) -> Self {
        let error = match error.downcast::<TransferError>() {
            Ok(error) => return error.into(),
            Err(error) => error,
        };
        match error.downcast::<RepositoryError>() {
            Ok(error) => Self::Content(error),
            Err(error) => Self::Broken(error),
        }
    }
}

async fn open(from: Arc<dyn Repository>, blob: Descriptor, parent: Digest) -> std::io::Result<ByteStream> {
    let found = from.read_blob(&blob.digest, None).await;
    let error = match found {
        Ok(Some(found)) => return Ok(verified(found.content, blob.digest, blob.size)),
        Ok(None) => TransferError::Missing {
            repository: from.label(),
            digest: blob.digest,
            parent,
        },
        Err(source) => TransferError::Read {
            repository: from.label(),
            digest: blob.digest,
            source,
        },
    };
    Err(std::io::Error::other(error))
}

fn receive(writer: &Writer, to: &Path, mut pieces: Pieces) -> Result<(), RepositoryError> {
    if to.is_dir() {
        let error = std::io::Error::from(std::io::ErrorKind::IsADirectory);
        return Err(FileError::on("write", to)(error).into());
    }
    let directory = match to.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    writer.create_directories(directory)?;
    let mut file = writer.temporary(directory)?;
    loop {
        match pieces.next() {
            Some(Piece::Bytes(piece)) => file.append(&piece)?,
            Some(Piece::End) => return Ok(file.publish(to, PUBLIC)?),
            // It says itself why it broke off.
            None => return Ok(()),
        }
    }
}
