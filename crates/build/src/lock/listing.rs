//! What a build must know of its base: taken from its layers when it is locked, and given to the layers built upon it.

use std::collections::BTreeMap;

use cairn_layer::{Attributes, Listing, TreePath};
use cairn_packages::Installed;

/// The part of a base's listing that can change what a build makes. The module `lock` says what and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BaseListing {
    /// Directories whose attributes are not 0755 and owner 0:0.
    pub directories: BTreeMap<TreePath, Attributes>,
    /// Symbolic links that lead to a directory, with their targets.
    pub links: BTreeMap<TreePath, Vec<u8>>,
    /// The lines of `/etc/passwd`.
    pub users: Vec<String>,
    /// The lines of `/etc/group`.
    pub groups: Vec<String>,
    /// The installed packages, sorted.
    pub packages: Vec<Installed>,
}

/// Why a base's listing cannot be pinned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListingError {
    /// `/etc/passwd` or `/etc/group` is not text.
    #[error("{path} of the base is not UTF-8 text, so that users cannot be added to it")]
    NotText {
        /// Which of them.
        path: &'static str,
    },
}

impl BaseListing {
    /// What of `listing` can matter, with the packages that the base records as installed.
    ///
    /// # Errors
    ///
    /// [`ListingError`].
    pub fn of(listing: &Listing, packages: Vec<Installed>) -> Result<Self, ListingError> {
        let usual = Attributes::directory();
        let directories = listing
            .directories
            .iter()
            .filter(|(_, attributes)| **attributes != usual);
        let links = listing
            .symlinks
            .iter()
            .filter(|(path, _)| leads_to_directory(listing, path));
        let owned = |(path, value): (&TreePath, &Vec<u8>)| (path.clone(), value.clone());
        Ok(Self {
            directories: directories
                .map(|(path, attributes)| (path.clone(), attributes.clone()))
                .collect(),
            links: links.map(owned).collect(),
            users: lines("/etc/passwd", listing.passwd.as_deref())?,
            groups: lines("/etc/group", listing.group.as_deref())?,
            packages,
        })
    }

    /// What the layers built upon the base must know of it.
    #[must_use]
    pub fn to_listing(&self) -> Listing {
        Listing {
            directories: self.directories.clone(),
            symlinks: self.links.clone(),
            passwd: content(&self.users),
            group: content(&self.groups),
        }
    }
}

fn leads_to_directory(listing: &Listing, link: &TreePath) -> bool {
    match listing.resolve(link) {
        Ok(real) => listing.directories.contains_key(&real),
        // A link to the root leads to a directory; one that leads nowhere must not be hidden either.
        Err(_) => true,
    }
}

fn lines(path: &'static str, content: Option<&[u8]>) -> Result<Vec<String>, ListingError> {
    let text =
        std::str::from_utf8(content.unwrap_or_default()).map_err(|_| ListingError::NotText { path })?;
    Ok(text.lines().map(str::to_owned).collect())
}

fn content(lines: &[String]) -> Option<Vec<u8>> {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    (!lines.is_empty()).then(|| text.into_bytes())
}
