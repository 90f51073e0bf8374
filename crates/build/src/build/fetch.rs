//! What the spec fetches: kept in scratch files without names, and archives unpacked, before layers are put together.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use cairn_layer::{GlobFilter, Limits, Spool, Spooled, Tree, UnpackError, UnpackOptions, unpack};
use cairn_oci::{Digest, Platform};
use cairn_packages::deb::DebError;
use cairn_store::{files, verified};

use super::packages::Packages;
use crate::blocking::{feed, pipe, run};
use crate::document::chain;
use crate::finding::Finding;
use crate::inputs::{FetchError, Fetcher, Missing};
use crate::lock::Lock;
use crate::records::Packed;
use crate::spec::{Destination, Extract, Fetch, Spec};

/// How many bytes wait in memory before they go to a scratch file.
const BUFFER: usize = 256 << 10;

/// What a `fetch` gives for one digest.
#[derive(Debug)]
pub(crate) enum Content {
    /// The file itself.
    File(Spooled),
    /// What is in the archive, where it comes to stand.
    Tree(Tree),
}

/// All that a build takes from elsewhere.
#[derive(Debug, Default)]
pub(crate) struct Fetched {
    /// What the spec fetches, by the number of the layer, the number in it, and what the URL gives.
    contents: BTreeMap<(usize, usize, Digest), Content>,
    /// The packages.
    pub(super) packages: Packages,
}

/// Why something could not be had or unpacked.
pub(crate) enum Failed {
    /// The spec's fault; the places are in its text.
    Spec(Vec<Finding>),
    /// Somebody else's.
    Fetch(FetchError),
    /// A package is not what it should be.
    Package(Box<DebError>),
}

/// Where and how content is kept.
#[derive(Clone, Copy)]
pub(crate) struct Keeping<'a> {
    pub(crate) scratch: &'a Path,
    pub(crate) limits: &'a Limits,
    pub(crate) fetcher: &'a dyn Fetcher,
    /// How many packages are read at once.
    pub(crate) threads: NonZeroUsize,
}

impl Fetched {
    /// What `fetch` gives for `platform`.
    pub(super) fn get(&self, (layer, number): (usize, usize), digest: Digest) -> Option<&Content> {
        self.contents.get(&(layer, number, digest))
    }

    /// Asks for everything that the platforms need, each digest once, but for packages of which it is `known` what they become.
    pub(crate) async fn all(
        spec: &Spec,
        lock: &Lock,
        platforms: &[Platform],
        known: BTreeMap<Platform, Packed>,
        keeping: Keeping<'_>,
    ) -> Result<Self, Failed> {
        let mut files: BTreeMap<Digest, Kept> = BTreeMap::new();
        let mut contents = BTreeMap::new();
        let mut findings = Vec::new();
        let mut missing = Missing::default();
        for ((layer, number), fetch) in spec.fetches() {
            for platform in platforms {
                let (url, Some(digest)) = (fetch.url_for(platform), fetch.digest_for(platform)) else {
                    continue;
                };
                let key = (layer, number, digest);
                if contents.contains_key(&key) {
                    continue;
                }
                let kept = match files.get(&digest) {
                    Some(kept) => kept.clone(),
                    None => {
                        let size = lock.fetched.get(&url).map(|locked| locked.value.size);
                        let kept = missing.note(keep(&url, digest, size, keeping).await);
                        let Some(kept) = kept.map_err(Failed::Fetch)? else {
                            continue;
                        };
                        files.insert(digest, kept.clone());
                        kept
                    }
                };
                let layer = &spec.layers[layer].name.value;
                match content(layer, fetch, &url, digest, kept, keeping).await {
                    Ok(content) => drop(contents.insert(key, content)),
                    Err(Failed::Spec(more)) => findings.extend(more),
                    Err(failed) => return Err(failed),
                }
            }
        }
        let packages = Packages::all(lock, platforms, known, keeping, &mut missing).await?;
        missing.into_error().map_err(Failed::Fetch)?;
        if findings.is_empty() {
            Ok(Self { contents, packages })
        } else {
            Err(Failed::Spec(findings))
        }
    }
}

/// A whole file that has no name any more.
#[derive(Clone)]
struct Kept {
    file: Arc<File>,
    size: u64,
}

pub(super) type AnyError = Box<dyn std::error::Error + Send + Sync>;

async fn keep(
    url: &str,
    digest: Digest,
    expected: Option<u64>,
    keeping: Keeping<'_>,
) -> Result<Kept, FetchError> {
    let blob = keeping.fetcher.fetch(url, &digest, expected).await?;
    let size = blob.size;
    if let Some(expected) = expected.filter(|expected| *expected != size) {
        return Err(FetchError::Size {
            url: url.to_owned(),
            expected,
            found: size,
        });
    }
    let (sender, mut reader) = pipe();
    let scratch = keeping.scratch.to_owned();
    let written = run(move || -> Result<File, AnyError> {
        let (mut out, file) = scratch_file(&scratch)?;
        io::copy(&mut reader, &mut out)?;
        out.flush()?;
        Ok(file)
    });
    let (fed, written) = tokio::join!(feed(verified(blob.content, digest, size), vec![sender]), written);
    fed.map_err(|source| FetchError::Failed {
        url: url.to_owned(),
        source: source.into(),
    })?;
    let file = written.map_err(|source| FetchError::Keep {
        url: url.to_owned(),
        source,
    })?;
    Ok(Kept {
        file: Arc::new(file),
        size,
    })
}

/// A file to write to, which is gone when it is dropped, and the same file for reading, which stays.
pub(super) fn scratch_file(scratch: &Path) -> Result<(BufWriter<files::TemporaryFile>, File), AnyError> {
    let out = files::temporary(scratch)?;
    let file = File::open(out.path())?;
    Ok((BufWriter::with_capacity(BUFFER, out), file))
}

async fn content(
    layer: &str,
    fetch: &Fetch,
    url: &str,
    digest: Digest,
    kept: Kept,
    keeping: Keeping<'_>,
) -> Result<Content, Failed> {
    let Some(extract) = &fetch.extract else {
        return Ok(Content::File(Spooled::new(kept.file, 0, kept.size, digest)));
    };
    let finding = |error: &dyn std::error::Error| {
        let message = format!("layer `{layer}` cannot unpack {url}: {}", chain(error));
        Finding::new(message, fetch.url.span.clone())
    };
    let options = options(fetch, extract).map_err(|error| Failed::Spec(vec![finding(&error)]))?;
    let (scratch, limits) = (keeping.scratch.to_owned(), *keeping.limits);
    let unpacked = run(move || -> Result<Result<Tree, UnpackError>, AnyError> {
        let (mut out, spool) = scratch_file(&scratch)?;
        let spool = Spool::new(&mut out, Arc::new(spool));
        Ok(unpack(&kept.file, &options, &limits, spool))
    });
    let failed = |source| {
        Failed::Fetch(FetchError::Keep {
            url: url.to_owned(),
            source,
        })
    };
    match unpacked.await.map_err(failed)? {
        Ok(tree) => Ok(Content::Tree(tree)),
        Err(UnpackError::Spool { source }) => Err(failed(source.into())),
        Err(error) => {
            let found = finding(&error);
            Err(Failed::Spec(vec![match error.hint() {
                Some(hint) => found.with_hint(hint),
                None => found,
            }]))
        }
    }
}

fn options(fetch: &Fetch, extract: &Extract) -> Result<UnpackOptions, cairn_layer::GlobError> {
    let only = match &extract.only[..] {
        [] => None,
        globs => Some(GlobFilter::new(globs)?),
    };
    Ok(UnpackOptions {
        to: match &fetch.to.value {
            Destination::Exactly(path) => Some(path.clone()),
            Destination::Into(directory) => directory.clone(),
        },
        strip: extract.strip,
        exclude: GlobFilter::new(&extract.exclude)?,
        only,
    })
}
