//! What a build must know of its base: taken from its layers when it is locked, and given to the layers built upon it.

use std::collections::BTreeMap;

use cairn_layer::{Attributes, Listing, TreePath, is_allowed_xattr};
use cairn_packages::Installed;

/// The part of a base's listing that can change what a build makes. The module `lock` says what and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BaseListing {
    /// Directories whose attributes are not 0755 and owner 0:0. Of extended attributes there are those that a layer of
    /// ours may have.
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
        let kept = listing
            .directories
            .iter()
            .map(|(path, attributes)| (path.clone(), keepable(attributes)));
        let directories = kept.filter(|(_, attributes)| *attributes != usual).collect();
        let links = listing
            .symlinks
            .iter()
            .filter(|(path, _)| leads_to_directory(listing, path));
        let owned = |(path, value): (&TreePath, &Vec<u8>)| (path.clone(), value.clone());
        Ok(Self {
            directories,
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

/// Without the extended attributes that no layer of ours may have.
fn keepable(attributes: &Attributes) -> Attributes {
    let mut attributes = attributes.clone();
    attributes.xattrs.retain(|name, _| is_allowed_xattr(name));
    attributes
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

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(entries: &[(&str, u32)]) -> Listing {
        let mut listing = Listing::new();
        for (path, mode) in entries {
            let attributes = Attributes {
                mode: *mode,
                ..Attributes::default()
            };
            listing
                .directories
                .insert(TreePath::new(path).unwrap(), attributes);
        }
        listing
    }

    #[test]
    fn only_what_can_change_a_build_is_kept() {
        let mut all = listing(&[
            ("usr", 0o755),
            ("usr/bin", 0o755),
            ("tmp", 0o1777),
            ("var", 0o755),
        ]);
        for (name, value) in [("security.selinux", "label"), ("user.note", "kept")] {
            let xattrs = &mut all
                .directories
                .get_mut(&TreePath::new("var").unwrap())
                .unwrap()
                .xattrs;
            xattrs.insert(name.as_bytes().to_vec(), value.as_bytes().to_vec());
        }
        for (path, target) in [
            ("bin", "usr/bin"),
            ("sh", "usr/bin/sh"),
            ("up", "usr/.."),
            ("loop", "loop"),
        ] {
            all.symlinks
                .insert(TreePath::new(path).unwrap(), target.as_bytes().to_vec());
        }
        let kept = BaseListing::of(&all, Vec::new()).unwrap();
        let names = |paths: Vec<&TreePath>| paths.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names(kept.directories.keys().collect()), ["/tmp", "/var"]);
        assert_eq!(names(kept.links.keys().collect()), ["/bin", "/loop", "/up"]);
        let xattrs = &kept.directories[&TreePath::new("var").unwrap()].xattrs;
        assert_eq!(xattrs.keys().collect::<Vec<_>>(), [&b"user.note".to_vec()]);
    }

    #[test]
    fn account_files_that_are_not_text_are_refused() {
        let mut all = Listing::new();
        all.group = Some(vec![0xff]);
        let error = BaseListing::of(&all, Vec::new()).unwrap_err();
        assert_eq!(error, ListingError::NotText { path: "/etc/group" });
    }
}
