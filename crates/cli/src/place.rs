//! Where an image is: a repository of the local store or of a registry, an OCI image layout, or an archive.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use cairn_oci::{Descriptor, ImageConfig, Reference, RepositoryName, Tag, media_type};
use cairn_store::archive::{self, Archive, Format};
use cairn_store::{
    Condition, Layout, RawManifest, Repository, RepositoryError, Store, Target, collect, layout, verified,
};

use crate::commands::build::built_tag;
use crate::failure::{Exit, Failure};
use crate::program::Cairn;

/// An image somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a registry, or in the local store if it has no host.
    Reference(Reference),
    /// In an OCI image layout: `oci:DIR[:TAG]`.
    Layout {
        /// Its directory.
        directory: PathBuf,
        /// Which of its images.
        tag: Option<Tag>,
    },
    /// In an archive: `oci-archive:FILE[:TAG]`, `docker-archive:FILE[:NAME:TAG]`. Read, the form is found out by content.
    Archive {
        /// In which form it is written.
        format: Format,
        /// The file.
        file: PathBuf,
        /// Which of its images: a tag, or a name with a tag.
        name: Option<String>,
    },
}

/// Why a text is not a place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// Not a reference.
    #[error("{}", with_cause(.source))]
    Reference {
        /// What is wrong with it.
        source: cairn_oci::reference::ReferenceError,
    },
    /// A transport that Cairn will have and does not have yet.
    #[error(
        "`{transport}:` is not supported yet; oci:DIR[:TAG], oci-archive:FILE and docker-archive:FILE are"
    )]
    NotYet {
        /// Its name.
        transport: String,
    },
    /// A transport for archives without a file.
    #[error("`{transport}:` needs a file: {transport}:FILE")]
    NoFile {
        /// Its name.
        transport: &'static str,
    },
    /// `oci:` without a directory.
    #[error("`oci:` needs a directory: oci:DIR or oci:DIR:TAG")]
    NoDirectory,
}

/// clap shows the error alone, without its source: so the cause is part of the text.
fn with_cause(error: &cairn_oci::reference::ReferenceError) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    format!("{error}{}", cause.unwrap_or_default())
}

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        if let Some(rest) = text.strip_prefix("oci:") {
            return layout_place(rest);
        }
        for format in [Format::Oci, Format::Docker] {
            let rest = text.strip_prefix(format.transport());
            if let Some(rest) = rest.and_then(|rest| rest.strip_prefix(':')) {
                return archive_place(format, rest);
            }
        }
        if text.starts_with("rootfs:") {
            return Err(PlaceError::NotYet {
                transport: "rootfs".to_owned(),
            });
        }
        text.parse()
            .map(Self::Reference)
            .map_err(|source| PlaceError::Reference { source })
    }
}

/// `DIR` or `DIR:TAG`. What follows the last colon is a tag if it can be one; a directory whose name looks like that
/// is given with a slash behind it.
fn layout_place(text: &str) -> Result<Place, PlaceError> {
    let (directory, tag) = match text.rsplit_once(':') {
        Some((directory, tag)) if !directory.is_empty() => match tag.parse() {
            Ok(tag) => (directory, Some(tag)),
            Err(_) => (text, None),
        },
        _ => (text, None),
    };
    if directory.is_empty() {
        return Err(PlaceError::NoDirectory);
    }
    Ok(Place::Layout {
        directory: PathBuf::from(directory),
        tag,
    })
}

fn archive_place(format: Format, text: &str) -> Result<Place, PlaceError> {
    let (file, name) = archive::split_name(text);
    if file.is_empty() {
        let transport = format.transport();
        return Err(PlaceError::NoFile { transport });
    }
    Ok(Place::Archive {
        format,
        file: PathBuf::from(file),
        name: name.map(str::to_owned),
    })
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reference(reference) => reference.fmt(f),
            Self::Layout { directory, tag: None } => write!(f, "oci:{}", directory.display()),
            Self::Layout {
                directory,
                tag: Some(tag),
            } => write!(f, "oci:{}:{tag}", directory.display()),
            Self::Archive { format, file, name } => {
                write!(f, "{}:{}", format.transport(), file.display())?;
                name.iter().try_for_each(|name| write!(f, ":{name}"))
            }
        }
    }
}

/// What stands for the image in its repository: the digest wins over the tag.
#[must_use]
pub fn target(reference: &Reference) -> Option<Target> {
    reference
        .digest
        .map(Target::Digest)
        .or_else(|| reference.tag.clone().map(Target::Tag))
}

impl Cairn {
    /// Opens the repository of `reference`.
    ///
    /// # Errors
    ///
    /// When the local store or the registry cannot be used.
    pub async fn open(&self, reference: &Reference) -> Result<Arc<dyn Repository>, Failure> {
        match &reference.host {
            Some(host) => Ok(Arc::new(
                self.client().await?.repository(host, reference.name.clone())?,
            )),
            None => Ok(self.store().await?.repository(&reference.name).await?),
        }
    }

    /// Reads the manifest that `reference` names.
    ///
    /// # Errors
    ///
    /// When it names no tag and no digest, or what it names is not there.
    pub async fn find(&self, reference: &Reference) -> Result<(Arc<dyn Repository>, RawManifest), Failure> {
        let Some(target) = target(reference) else {
            return Err(Failure::new(
                Exit::Input,
                format!("`{reference}` names a repository, not an image"),
            )
            .with_hint(format!(
                "add a tag or a digest; cairn tags {reference} lists the tags"
            )));
        };
        let repository = self.open(reference).await?;
        match repository.read_manifest(&target).await? {
            Some(manifest) => Ok((repository, manifest)),
            None => Err(self.not_there(reference).await?),
        }
    }

    async fn not_there(&self, reference: &Reference) -> Result<Failure, Failure> {
        let has_repository = match reference.host {
            Some(_) => true,
            None => self.store().await?.contains(&reference.name).await?,
        };
        if has_repository {
            let repository = reference.without_target();
            if reference.host.is_none() && reference.tag == Some(built_tag()) {
                let text = format!("there is no {reference}: the image was not built here, or not kept here");
                return Ok(Failure::new(Exit::Input, text).with_hint(
                    "cairn build keeps it here; what was pushed is named by host/name@DIGEST".to_owned(),
                ));
            }
            return Ok(Failure::new(Exit::Input, format!("there is no {reference}"))
                .with_hint(format!("cairn tags {repository} lists what there is")));
        }
        let text = format!(
            "`{reference}` has no host, so it names the local store, which has no repository `{}`",
            reference.name
        );
        Ok(Failure::new(Exit::Input, text).with_hint(format!(
            "to fetch it from a registry, write its host: registry.example.org/{reference}"
        )))
    }

    /// Opens a layout and reads one of its images: the one with the tag, else the only one.
    ///
    /// # Errors
    ///
    /// When there is no such layout, or no such image in it.
    pub async fn find_in_layout(
        &self,
        directory: &std::path::Path,
        tag: Option<&Tag>,
    ) -> Result<(Arc<dyn Repository>, RawManifest), Failure> {
        let path = self.directory().join(directory);
        if !path.join("oci-layout").exists() {
            let text = format!("{} is not an OCI image layout", directory.display());
            return Err(Failure::new(Exit::Input, text));
        }
        let layout = layout::open(path)?;
        let target = match tag {
            Some(tag) => Some(Target::Tag(tag.clone())),
            None => layout
                .sole_manifest()
                .await?
                .map(|descriptor| Target::Digest(descriptor.digest)),
        };
        let Some(target) = target else {
            let text = format!("{} has none or several images", directory.display());
            return Err(Failure::new(Exit::Input, text).with_hint("name one: oci:DIR:TAG".to_owned()));
        };
        match layout.read_manifest(&target).await? {
            Some(manifest) => Ok((Arc::new(layout), manifest)),
            None => Err(Failure::new(
                Exit::Input,
                format!("{} has no image {target}", directory.display()),
            )),
        }
    }

    /// Opens an archive, of whichever form, and reads one of its images: the one with the name, else the only one.
    ///
    /// # Errors
    ///
    /// When there is no such archive, or no such image in it.
    pub async fn find_in_archive(
        &self,
        file: &std::path::Path,
        name: Option<&str>,
    ) -> Result<(Arc<dyn Repository>, RawManifest), Failure> {
        let archive = self.open_archive(file)?;
        let Some(found) = archive.select(name) else {
            let names: Vec<&str> = archive.names().collect();
            let text = match name {
                Some(name) => format!("{} has no image {name}, or several", file.display()),
                None => format!("{} has none or several images", file.display()),
            };
            let hint = (!names.is_empty()).then(|| format!("it has: {}", names.join(", ")));
            return Err(Failure::new(Exit::Input, text).with_hint(hint));
        };
        let digest = found.digest;
        match archive.read_manifest(&Target::Digest(digest)).await? {
            Some(manifest) => Ok((Arc::new(archive), manifest)),
            None => Err(Failure::new(
                Exit::Integrity,
                format!(
                    "{} names the image {digest}, and does not have it",
                    file.display()
                ),
            )),
        }
    }

    fn open_archive(&self, file: &std::path::Path) -> Result<Archive, Failure> {
        let path = self.directory().join(file);
        if !path.is_file() {
            let text = if path.exists() {
                format!("{} is not a regular file", file.display())
            } else {
                format!("there is no file {}", file.display())
            };
            return Err(Failure::new(Exit::Input, text));
        }
        archive::open(path, &self.store_path()?.join("cache/scratch")).map_err(|error| match error {
            RepositoryError::Damaged { .. } | RepositoryError::TooLarge { .. } => {
                Failure::of(Exit::Input, &error)
            }
            error => error.into(),
        })
    }

    /// Reads an image wherever it is.
    ///
    /// # Errors
    ///
    /// See [`Cairn::find`], [`Cairn::find_in_layout`] and [`Cairn::find_in_archive`].
    pub async fn find_place(&self, place: &Place) -> Result<(Arc<dyn Repository>, RawManifest), Failure> {
        match place {
            Place::Reference(reference) => self.find(reference).await,
            Place::Layout { directory, tag } => self.find_in_layout(directory, tag.as_ref()).await,
            Place::Archive { file, name, .. } => self.find_in_archive(file, name.as_deref()).await,
        }
    }

    /// Opens or makes a layout to write to.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn create_layout(&self, directory: &std::path::Path) -> Result<Layout, Failure> {
        Ok(layout::create(self.directory().join(directory))?)
    }
}

/// The configuration, if it is that of an image.
///
/// # Errors
///
/// When it is missing, or not what its digest says.
pub async fn config(
    repository: &dyn Repository,
    descriptor: &Descriptor,
) -> Result<Option<ImageConfig>, Failure> {
    if descriptor.media_type.to_oci() != media_type::CONFIG {
        return Ok(None);
    }
    let bytes = config_bytes(repository, descriptor).await?;
    ImageConfig::parse(&bytes)
        .map(Some)
        .map_err(|error| Failure::of(Exit::Integrity, &error))
}

/// The bytes of a configuration, or of whatever stands in its place, verified.
///
/// # Errors
///
/// When it is missing, too long, or not what its digest says.
pub async fn config_bytes(repository: &dyn Repository, descriptor: &Descriptor) -> Result<Bytes, Failure> {
    let Some(blob) = repository.read_blob(&descriptor.digest, None).await? else {
        let text = format!(
            "{} lacks the configuration {}",
            repository.label(),
            descriptor.digest
        );
        return Err(Failure::new(Exit::Integrity, text));
    };
    let content = verified(blob.content, descriptor.digest, descriptor.size);
    let bytes = collect(content, cairn_oci::config::LIMIT as u64).await;
    bytes.map_err(|error| Failure::of(Exit::Integrity, &error))
}

/// Points `tag` at `manifest`, whatever it showed before.
///
/// # Errors
///
/// When the repository refuses.
pub async fn tag(repository: &dyn Repository, tag: &Tag, manifest: &RawManifest) -> Result<(), Failure> {
    let target = Target::Tag(tag.clone());
    if repository
        .stat_manifest(&target)
        .await?
        .is_some_and(|found| found.digest == manifest.digest())
    {
        return Ok(());
    }
    Ok(repository
        .write_manifest(&target, manifest, &Condition::Always)
        .await?)
}

/// Those of `repositories` that are beside `to`, in the same registry or both in the local store: what they have is
/// mounted there.
#[must_use]
pub fn siblings(repositories: &[&Reference], to: &Reference) -> Vec<RepositoryName> {
    let beside = repositories
        .iter()
        .filter(|from| from.host == to.host && from.name != to.name);
    beside.map(|from| from.name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transports_are_told_from_references() {
        let place = |text: &str| text.parse::<Place>().unwrap();
        assert_eq!(
            place("oci:out:1.0"),
            Place::Layout {
                directory: "out".into(),
                tag: Some("1.0".parse().unwrap())
            }
        );
        assert_eq!(
            place("oci:../x/y"),
            Place::Layout {
                directory: "../x/y".into(),
                tag: None
            }
        );
        assert_eq!(
            place("oci:a:b/c"),
            Place::Layout {
                directory: "a:b/c".into(),
                tag: None
            }
        );
        assert!(matches!(place("team/web:1"), Place::Reference(_)));
        assert!("oci:".parse::<Place>().is_err());
        assert_eq!(
            place("docker-archive:out/x.tar:team/web:1"),
            Place::Archive {
                format: Format::Docker,
                file: "out/x.tar".into(),
                name: Some("team/web:1".to_owned())
            }
        );
        assert_eq!(place("oci-archive:x.tar:1").to_string(), "oci-archive:x.tar:1");
        assert!("oci-archive:".parse::<Place>().is_err());
        assert!(matches!(
            "rootfs:x".parse::<Place>(),
            Err(PlaceError::NotYet { .. })
        ));
    }
}
