//! The places where an input of the lock may be, besides the cache: kept beside the image; for packages, at the mirror, or in a
//! dated archive.

use std::sync::Arc;
use std::time::Duration;

use cairn_build::LockedPackage;
use cairn_build::spec::Debian;
use cairn_oci::Digest;
use cairn_store::{Directory, Repository};
use tokio::sync::OnceCell;
use tokio::time::timeout;

use crate::failure::{Exit, Failure};
use crate::program::Cairn;
use crate::project::Project;

/// How long a repository may take to say whether it has a package. One that is slower is left alone: the mirror may be
/// nearer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A repository in which inputs may be kept.
#[derive(Debug)]
pub struct KeptPlace {
    /// What messages call it.
    label: String,
    repository: Arc<dyn Repository>,
    /// Why it is not asked, once that is known.
    trouble: OnceCell<Option<String>>,
}

impl KeptPlace {
    /// The repository `repository`, which messages call `label`.
    #[must_use]
    pub fn new(label: String, repository: Arc<dyn Repository>) -> Self {
        Self {
            label,
            repository,
            trouble: OnceCell::new(),
        }
    }

    /// `kept in registry.example.org/team/hello`
    #[must_use]
    pub fn label(&self) -> String {
        format!("kept in {}", self.label)
    }

    /// Brings content into the cache of `store`, if it is here.
    ///
    /// # Errors
    ///
    /// Why it is not, in words.
    pub async fn bring(&self, digest: &Digest, size: u64, store: &Directory) -> Result<(), String> {
        // Of several that ask at once only the first finds out that nobody answers.
        let trouble = self.trouble.get_or_init(|| self.probe(digest)).await;
        if let Some(trouble) = trouble {
            return Err(trouble.clone());
        }
        let blob = self.repository.read_blob(digest, None).await;
        let blob = blob.map_err(|error| said(&error))?;
        let blob = blob.ok_or_else(|| "not there".to_owned())?;
        let written = store.cache_write(digest, size, blob.content).await;
        written.map(drop).map_err(|error| said(&error))
    }

    async fn probe(&self, digest: &Digest) -> Option<String> {
        match timeout(PATIENCE, self.repository.stat_blob(digest)).await {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(said(&error)),
            Err(_) => Some(format!("no answer within {} s", PATIENCE.as_secs())),
        }
    }
}

/// Where a package may be.
#[derive(Debug, Default)]
pub struct Places {
    /// Repositories, asked before the mirror.
    pub kept: Vec<KeptPlace>,
    /// Roots of archives, and for each a snapshot that has what they had.
    pub snapshots: Vec<(Option<String>, String)>,
}

impl Places {
    /// The places for the packages of `project`: its repository in the local store, and unless `offline` its repository in a
    /// registry, and the snapshots that the spec names.
    ///
    /// # Errors
    ///
    /// When the local store cannot be opened, or no client can be made.
    pub async fn of(cairn: &Cairn, project: &Project, offline: bool) -> Result<Self, Failure> {
        let fetches = project.spec.layers.iter().any(|layer| !layer.fetches.is_empty());
        if project.spec.packages.is_none() && !fetches {
            return Ok(Self::default());
        }
        let (local, home) = (project.local(), project.repository());
        let mut kept = vec![KeptPlace::new(
            "the local store".to_owned(),
            cairn.open(&local).await?,
        )];
        if home != local && !(offline && home.host.is_some()) {
            kept.push(KeptPlace::new(home.to_string(), cairn.open(&home).await?));
        }
        Ok(Self {
            kept,
            snapshots: (project.spec.packages.as_ref())
                .map(Debian::last_resorts)
                .unwrap_or_default(),
        })
    }

    /// The addresses of a package: that of the lock, and those below the snapshots.
    #[must_use]
    pub fn addresses(&self, package: &LockedPackage) -> Vec<String> {
        let mut addresses = vec![package.url.clone()];
        for (root, snapshot) in &self.snapshots {
            let Some(path) = path_below(root.as_deref(), &package.url) else {
                continue;
            };
            let address = format!("{}/{path}", snapshot.trim_end_matches('/'));
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses
    }
}

/// The path of a package below its archive's root. Where the root is not known, packages are in `pool/`.
fn path_below<'u>(root: Option<&str>, url: &'u str) -> Option<&'u str> {
    match root {
        Some(root) => url.strip_prefix(root)?.strip_prefix('/'),
        None => url.find("/pool/").map(|at| &url[at + 1..]),
    }
}

/// What an error and its causes say, in one line.
pub fn said(error: &dyn std::error::Error) -> String {
    Failure::of(Exit::Environment, error).to_line()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_a_package_is_that_below_its_archive() {
        let url = "https://mirror.example.org/debian/pool/main/h/hello/hello_1_amd64.deb";
        let path = Some("pool/main/h/hello/hello_1_amd64.deb");
        assert_eq!(path_below(Some("https://mirror.example.org/debian"), url), path);
        assert_eq!(path_below(None, url), path);
        assert_eq!(path_below(Some("https://mirror.example.org/deb"), url), None);
        assert_eq!(path_below(None, "file:/srv/flat/hello_1_amd64.deb"), None);
    }
}
