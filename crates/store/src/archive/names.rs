//! What images are called in archives.

use std::fmt;
use std::str::FromStr;

use cairn_oci::{RepositoryName, Tag};

/// Under which name an image is put into an archive, and so what `podman load` and `docker load` call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageName {
    /// The repository, with its host.
    pub repository: String,
    /// The tag.
    pub tag: Tag,
}

/// Why a text is not the name of an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a name with a tag, such as localhost/hello:1.0")]
pub struct ImageNameError {
    text: String,
}

impl ImageName {
    /// The image `repository` of this machine: `localhost/NAME:TAG`, as podman calls what no registry has.
    #[must_use]
    pub fn local(repository: &RepositoryName, tag: Tag) -> Self {
        Self {
            repository: format!("localhost/{repository}"),
            tag,
        }
    }
}

impl FromStr for ImageName {
    type Err = ImageNameError;

    fn from_str(text: &str) -> Result<Self, ImageNameError> {
        let error = || ImageNameError {
            text: text.to_owned(),
        };
        let reference: cairn_oci::Reference = text.parse().map_err(|_| error())?;
        if reference.digest.is_some() {
            return Err(error());
        }
        let tag = reference.tag.clone().ok_or_else(error)?;
        let repository = match &reference.host {
            Some(host) => format!("{host}/{}", reference.name),
            None => format!("localhost/{}", reference.name),
        };
        Ok(Self { repository, tag })
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.repository, self.tag)
    }
}

/// `FILE`, `FILE:TAG` or `FILE:NAME:TAG`: what follows the first colon after which a tag, or a name with a tag, can
/// stand.
#[must_use]
pub fn split_name(text: &str) -> (&str, Option<&str>) {
    let is_name = |name: &str| name.parse::<Tag>().is_ok() || name.parse::<ImageName>().is_ok();
    let colons = text.match_indices(':').map(|(position, _)| position);
    let mut splits = colons.map(|position| (&text[..position], &text[position + 1..]));
    match splits.find(|(file, name)| !file.is_empty() && is_name(name)) {
        Some((file, name)) => (file, Some(name)),
        None => (text, None),
    }
}

/// Whether `name` ends in `end`, at the border of a component.
pub(super) fn ends_with(name: &str, end: &str) -> bool {
    match name.strip_suffix(end) {
        Some("") => true,
        Some(before) => before.ends_with(['/', ':']),
        None => false,
    }
}

/// The tag of a name, or the name if it is one.
pub(super) fn tag_of(name: &str) -> Option<Tag> {
    let last = name.rsplit('/').next().unwrap_or(name);
    last.rsplit(':').next().unwrap_or(last).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_told_from_a_file() {
        for (text, file, name) in [
            ("a.tar", "a.tar", None),
            ("out/a.tar:1.0", "out/a.tar", Some("1.0")),
            ("a.tar:hello:1", "a.tar", Some("hello:1")),
            (
                "a.tar:localhost:5000/team/hello:1",
                "a.tar",
                Some("localhost:5000/team/hello:1"),
            ),
            ("a:b/c.tar", "a:b/c.tar", None),
            ("a:b/c.tar:1", "a", Some("b/c.tar:1")),
        ] {
            assert_eq!(split_name(text), (file, name), "{text}");
        }
    }

    #[test]
    fn a_name_without_a_host_is_of_this_machine() {
        let name = |text: &str| text.parse::<ImageName>().map(|name| name.to_string());
        assert_eq!(name("hello:1").unwrap(), "localhost/hello:1");
        assert_eq!(name("r.example.org/a:1").unwrap(), "r.example.org/a:1");
        assert!(name("hello").is_err());
    }

    #[test]
    fn the_end_of_a_name_is_enough() {
        assert!(ends_with("localhost/hello:1", "hello:1"));
        assert!(ends_with("localhost/hello:1", "1"));
        assert!(!ends_with("localhost/hello:11", "1"));
        assert!(!ends_with("localhost/othello:1", "hello:1"));
        assert_eq!(tag_of("r.example.org:5000/a:1").unwrap().as_str(), "1");
        assert_eq!(tag_of("1.0").unwrap().as_str(), "1.0");
    }
}
