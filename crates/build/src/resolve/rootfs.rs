//! A base that is a file with a root file system.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use cairn_layer::{Compression, Encoding, Engine, Limits, ReadError, ReadSummary};
use cairn_oci::{Descriptor, Digest, Hasher, media_type};

use super::contents::Contents;
use super::{LockError, ResolvedBase, Wanted};
use crate::blocking::run;
use crate::finding::Finding;
use crate::lock::{BaseListing, LockedLayer, LockedOrigin, LockedPlatform, LockedSource};
use crate::spec::Template;

pub(super) async fn resolve(wanted: Wanted<'_>, template: &Template) -> Result<ResolvedBase, LockError> {
    let mut locked = BTreeMap::new();
    for platform in wanted.platforms {
        let from = template.expand(&platform);
        let path = wanted.request.directory.join(&from);
        // What the spec names and nobody has is a mistake of the spec, with a place in it.
        if std::fs::metadata(&path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            let finding = Finding::new(format!("there is no `{from}`"), wanted.base.source.span.clone());
            return Err(LockError::Spec {
                findings: vec![finding],
            });
        }
        let (limits, engine) = (wanted.request.limits, wanted.request.engine.clone());
        let pins = run(move || resolve_file(&path, &limits, &engine)).await?;
        let Some(pins) = pins else {
            let finding = Finding::new(
                format!("`{from}` is an archive of images, and no root file system"),
                wanted.base.source.span.clone(),
            );
            let hint = format!("write archive = \"{}\"", template.as_str());
            return Err(LockError::Spec {
                findings: vec![finding.with_hint(hint)],
            });
        };
        locked.insert(platform, pins);
    }
    Ok(ResolvedBase {
        source: LockedSource::RootFs {
            path: template.as_str().to_owned(),
        },
        platforms: locked,
        created: None,
    })
}

/// Opens a root file system that is a regular file: a pipe would never end.
fn open(path: &Path) -> Result<File, LockError> {
    let open_error = |source| LockError::OpenRootFs {
        path: path.to_owned(),
        source,
    };
    if !std::fs::metadata(path).map_err(open_error)?.is_file() {
        return Err(LockError::NotAFile {
            path: path.to_owned(),
        });
    }
    File::open(path).map_err(open_error)
}

/// The SHA-256 of the file as it is now.
pub(super) async fn digest(path: PathBuf) -> Result<Digest, LockError> {
    run(move || {
        let mut file = open(&path)?;
        let mut hasher = Hasher::new();
        let mut piece = vec![0; PIECE];
        loop {
            let read = file.read(&mut piece).map_err(|source| LockError::OpenRootFs {
                path: path.clone(),
                source,
            })?;
            match piece.get(..read) {
                Some(bytes) if !bytes.is_empty() => hasher.update(bytes),
                _ => return Ok(hasher.finish()),
            }
        }
    })
    .await
}

/// How much of a file is hashed at once, in bytes.
const PIECE: usize = 64 << 10;

/// None: the file is an archive of images. As a layer it would be of no use to anybody.
fn resolve_file(path: &Path, limits: &Limits, engine: &Engine) -> Result<Option<LockedPlatform>, LockError> {
    let mut contents = Contents::default();
    let failed = |source: ReadError| LockError::RootFs {
        path: path.to_owned(),
        source,
    };
    let (first, second) = contents
        .add_twice(open(path)?, open(path)?, limits)
        .map_err(failed)?;
    let changed = || LockError::Changed {
        path: path.to_owned(),
    };
    if first.digest != second.digest {
        return Err(changed());
    }
    if contents.is_archive_of_images() {
        return Ok(None);
    }
    let base = || path.display().to_string();
    let packages = contents
        .packages()
        .map_err(|source| LockError::Packages { base: base(), source })?;
    let listing = BaseListing::of(&contents.listing, packages);
    Ok(Some(LockedPlatform {
        origin: LockedOrigin::File { digest: first.digest },
        layers: vec![layer(path, &first, limits, engine)?],
        listing: listing.map_err(|source| LockError::Listing { base: base(), source })?,
    }))
}

/// The file as it is, where OCI has a media type for it; else compressed anew.
fn layer(
    path: &Path,
    summary: &ReadSummary,
    limits: &Limits,
    engine: &Engine,
) -> Result<LockedLayer, LockError> {
    let kind = match summary.encoding {
        Encoding::Tar => media_type::LAYER,
        Encoding::Gzip => media_type::LAYER_GZIP,
        Encoding::Zstd => media_type::LAYER_ZSTD,
        Encoding::Xz | Encoding::Bzip2 => {
            let failed = |source| LockError::RootFs {
                path: path.to_owned(),
                source,
            };
            let written = engine.recompress(open(path)?, limits, RECOMPRESSION, &mut io::sink());
            let written = written.map_err(failed)?;
            let descriptor = Descriptor::new(RECOMPRESSION.media_type(), written.digest, written.size);
            return Ok(LockedLayer {
                descriptor,
                diff_id: written.diff_id,
            });
        }
    };
    Ok(LockedLayer {
        descriptor: Descriptor::new(kind, summary.digest, summary.size),
        diff_id: summary.diff_id,
    })
}

/// How a root file system is compressed that no layer can be.
pub(crate) const RECOMPRESSION: Compression = Compression::Gzip;
