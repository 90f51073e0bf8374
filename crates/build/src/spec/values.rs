//! The values that a spec is made of, each read from one text.

use std::fmt;

use cairn_layer::{Compression, PathError, Selection, TreePath, is_allowed_xattr};
use cairn_oci::{Platform, RepositoryName};

use super::Split;
use crate::document::{Problem, chain};

/// User and group ids end here: larger ones turn negative in programs that keep them in 32 signed bits
/// (CVE-2024-40635).
pub const ID_LIMIT: u32 = 1 << 31;

const PLACEHOLDERS: [&str; 3] = ["{os}", "{arch}", "{variant}"];

/// A path on this machine, relative to the spec's directory, in which `{os}`, `{arch}` and `{variant}` stand for the
/// platform.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Template(String);

impl Template {
    /// The text as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path for `platform`. A platform without variant has an empty `{variant}`.
    #[must_use]
    pub fn expand(&self, platform: &Platform) -> String {
        self.0
            .replace("{os}", &platform.os)
            .replace("{arch}", &platform.architecture)
            .replace("{variant}", platform.variant.as_deref().unwrap_or(""))
    }

    /// Whether the path differs between platforms.
    #[must_use]
    pub fn has_placeholder(&self) -> bool {
        self.0.contains('{')
    }

    /// Reads a path with placeholders; it may be absolute and have `..`.
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        if text.is_empty() || text.contains('\0') || text.len() > TreePath::MAX {
            return Err(Problem::new("a path has 1 to 4096 bytes, none of them NUL"));
        }
        let mut rest = text.to_owned();
        for placeholder in PLACEHOLDERS {
            rest = rest.replace(placeholder, "");
        }
        let Some(brace) = rest.find(['{', '}']) else {
            return Ok(Self(text.to_owned()));
        };
        let end = rest[brace..].find('}').map_or(rest.len(), |end| brace + end + 1);
        Err(
            Problem::new(format!("unknown placeholder `{}`", &rest[brace..end]))
                .with_hint("the placeholders are {os}, {arch} and {variant}"),
        )
    }

    /// Reads a `from`: as [`Template::parse`], but within the spec's directory.
    pub(crate) fn parse_from(text: &str) -> Result<Self, Problem> {
        let template = Self::parse(text)?;
        if text.starts_with('/') || text.split('/').any(|component| component == "..") {
            let problem = Problem::new(format!("`{text}` leads out of the spec's directory"));
            return Err(problem.with_hint("`from` is relative to the directory of the spec and stays in it"));
        }
        if let Some((_, glob)) = split_glob(text) {
            if let Some(bare) = glob.strip_suffix('/') {
                let problem = Problem::new(format!("the glob `{text}` ends in a slash"));
                return Err(problem.with_hint(format!(
                    "leave it away: directories that match `{bare}` are copied under their names"
                )));
            }
            // A placeholder's braces are no alternatives, and what it becomes has no meaning for a glob.
            let plain = PLACEHOLDERS
                .iter()
                .fold(glob.to_owned(), |glob, word| glob.replace(word, "x"));
            Selection::new(&plain).map_err(|error| Problem::new(chain(&error)))?;
        }
        Ok(template)
    }
}

/// Cuts a `from` before the first component with `*`, `?` or `[`: into a directory, empty for the spec's own, and a glob
/// relative to it. None if it is no glob.
#[must_use]
pub(crate) fn split_glob(from: &str) -> Option<(&str, &str)> {
    let mut at = 0;
    for component in from.split('/') {
        if component.contains(['*', '?', '[']) {
            return Some((from[..at].trim_end_matches('/'), &from[at..]));
        }
        at += component.len() + 1;
    }
    None
}

/// Where something goes in the image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Destination {
    /// Written without a slash at the end: exactly there.
    Exactly(TreePath),
    /// Written with a slash at the end: into this directory; none for the root.
    Into(Option<TreePath>),
}

impl Destination {
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        if text == "/" {
            return Ok(Self::Into(None));
        }
        let path = image_path(text)?;
        Ok(if text.ends_with('/') {
            Self::Into(Some(path))
        } else {
            Self::Exactly(path)
        })
    }
}

/// Reads an absolute path in the image; a slash at its end does not matter.
pub(crate) fn image_path(text: &str) -> Result<TreePath, Problem> {
    let path = TreePath::from_absolute(text).map_err(|error| path_problem(text, &error))?;
    if let Some(placeholder) = ["{os}", "{arch}", "{variant}"]
        .iter()
        .find(|word| text.contains(**word))
    {
        let problem = Problem::new(format!("`{placeholder}` has no meaning in a path of the image"));
        return Err(
            problem.with_hint("the platform's values stand in `from`, `url`, `archive` and `rootfs` only")
        );
    }
    if path.components().any(|component| component.starts_with(b".wh.")) {
        let problem = Problem::new(format!(
            "`{text}` cannot be in a layer: names that start with `.wh.` mean removals"
        ));
        return Err(problem.with_hint("to remove something, name it in `remove`"));
    }
    Ok(path)
}

/// What is wrong with a path, in the words of the spec: [`TreePath`] itself has no slash in front.
fn path_problem(text: &str, error: &PathError) -> Problem {
    let text = text.escape_debug();
    match error {
        PathError::Component { .. } => {
            Problem::new(format!("`{text}` has a component that is empty, `.` or `..`"))
        }
        PathError::Nul { .. } => Problem::new(format!("`{text}` contains a NUL byte")),
        other => Problem::new(chain(other)),
    }
}

/// As [`image_path`], for what is not a directory: a slash at the end is a mistake.
pub(crate) fn image_file(text: &str) -> Result<TreePath, Problem> {
    if text.ends_with('/') {
        let problem = Problem::new(format!("`{text}` names a directory"));
        return Err(problem.with_hint("name the file itself, without a slash at the end"));
    }
    image_path(text)
}

/// Reads four octal digits.
pub(crate) fn mode(text: &str) -> Result<u32, Problem> {
    let is_octal = text.len() == 4 && text.bytes().all(|b| matches!(b, b'0'..=b'7'));
    let bits = u32::from_str_radix(text, 8).ok().filter(|_| is_octal);
    bits.ok_or_else(|| {
        Problem::new(format!("`{text}` is not a mode"))
            .with_hint("a mode is four octal digits, such as \"0755\"")
    })
}

/// A user or group, by name or by number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Principal {
    /// By its name in `[[user]]` or in the base's `/etc/passwd` or `/etc/group`.
    Name(String),
    /// By number, below [`ID_LIMIT`], taken as it is.
    Id(u32),
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Id(id) => id.fmt(f),
        }
    }
}

impl Principal {
    fn parse(text: &str) -> Result<Self, Problem> {
        if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
            return match text.parse::<u32>() {
                Ok(id) if id < ID_LIMIT => Ok(Self::Id(id)),
                _ => Err(Problem::new(format!("the id {text} is not below 2^31"))),
            };
        }
        account_name(text).map(Self::Name)
    }
}

/// Who owns something: `user` or `user:group`.
///
/// Without a group it is the user's own group; a user given by number has the group of the same number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// The user.
    pub user: Principal,
    /// The group, if it is not the user's own.
    pub group: Option<Principal>,
}

impl Owner {
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(Principal::parse(group)?)),
            None => (text, None),
        };
        Ok(Self {
            user: Principal::parse(user)?,
            group,
        })
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.user.fmt(f)?;
        match &self.group {
            Some(group) => write!(f, ":{group}"),
            None => Ok(()),
        }
    }
}

/// Reads the name of a user or group: what `useradd` takes everywhere, and so never a number.
pub(crate) fn account_name(text: &str) -> Result<String, Problem> {
    let first = |b: u8| b.is_ascii_lowercase() || b.is_ascii_uppercase() || b == b'_';
    let rest = |b: u8| first(b) || b.is_ascii_digit() || b == b'-' || b == b'.';
    let is_name = text.len() <= 32 && text.bytes().next().is_some_and(first) && text.bytes().all(rest);
    if is_name {
        return Ok(text.to_owned());
    }
    Err(
        Problem::new(format!("`{text}` is not the name of a user or group"))
            .with_hint("names have 1 to 32 letters, digits, `_`, `-` and `.`, and do not start with a digit"),
    )
}

/// Reads a field of `/etc/passwd` that is an absolute path.
pub(crate) fn account_path(text: &str) -> Result<String, Problem> {
    if text.starts_with('/') && !text.chars().any(|c| c == ':' || c.is_control()) {
        return Ok(text.to_owned());
    }
    Err(Problem::new(format!(
        "`{text}` is not an absolute path without colons"
    )))
}

/// Reads the name of an image: its repository in the local store.
pub(crate) fn image_name(text: &str) -> Result<RepositoryName, Problem> {
    text.parse().map_err(|error| Problem::new(chain(&error)))
}

/// Reads the name of a layer.
pub(crate) fn layer_name(text: &str) -> Result<String, Problem> {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let is_name = text.len() <= 64
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || matches!(b, b'.' | b'_' | b'-'));
    if is_name {
        return Ok(text.to_owned());
    }
    Err(Problem::new(format!("`{text}` is not a layer's name")).with_hint(
        "names have 1 to 64 lower-case letters, digits, `.`, `_` and `-`, and start with a letter or digit",
    ))
}

/// Reads how a layer is compressed.
pub(crate) fn compression(text: &str) -> Result<Compression, Problem> {
    match text {
        "gzip" => Ok(Compression::Gzip),
        "zstd" => Ok(Compression::Zstd),
        "none" => Ok(Compression::None),
        _ => Err(Problem::new(format!("`{text}` is not a compression"))
            .with_hint("there are \"gzip\", \"zstd\" and \"none\"")),
    }
}

/// The longest name of an extended attribute in bytes (`XATTR_NAME_MAX`).
const XATTR_NAME_MAX: usize = 255;

/// Checks the name of an extended attribute that the spec gives.
pub(crate) fn xattr_name(name: &str) -> Result<(), Problem> {
    if name == "security.capability" {
        return Err(Problem::new(format!("`{name}` cannot be given as it is"))
            .with_hint("name the capabilities: capabilities = [\"net_bind_service\"]"));
    }
    if is_allowed_xattr(name.as_bytes()) && name.len() <= XATTR_NAME_MAX {
        return Ok(());
    }
    Err(Problem::new(format!(
        "`{}` is not the name of an extended attribute that an image may have",
        name.escape_debug()
    ))
    .with_hint("names begin with `user.` and have at most 255 bytes, no `=` among them"))
}

/// Reads how a layer is split.
pub(crate) fn split(text: &str) -> Result<Split, Problem> {
    if text == "auto" {
        return Ok(Split::Auto);
    }
    Err(Problem::new(format!("a layer cannot be split by `{text}`"))
        .with_hint("`split = \"auto\"` cuts it by paths; without the key it stays one"))
}

/// Reads text that may stand in a configuration: anything without NUL.
pub(crate) fn plain_text(text: &str) -> Result<String, Problem> {
    if text.contains('\0') {
        return Err(Problem::new("a NUL character cannot be in a configuration"));
    }
    Ok(text.to_owned())
}

/// Reads the target of a symbolic link.
pub(crate) fn link_target(text: &str) -> Result<String, Problem> {
    if text.is_empty() || text.contains('\0') || text.len() > TreePath::MAX {
        return Err(Problem::new(
            "the target of a symbolic link has 1 to 4096 bytes, none of them NUL",
        ));
    }
    Ok(text.to_owned())
}

/// Reads a directory or volume of the configuration.
pub(crate) fn absolute_directory(text: &str) -> Result<String, Problem> {
    if text == "/" {
        return Ok(text.to_owned());
    }
    image_path(text).map(|_| text.trim_end_matches('/').to_owned())
}

/// Reads a signal: `SIGTERM`, `SIGRTMIN+3`, or a number.
pub(crate) fn signal(text: &str) -> Result<String, Problem> {
    let is_number = text.parse::<u8>().is_ok_and(|number| (1..=64).contains(&number));
    let is_name = text.strip_prefix("SIG").is_some_and(|name| {
        let word = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || matches!(b, b'+' | b'-');
        !name.is_empty() && name.len() <= 16 && name.bytes().all(word)
    });
    if is_number || is_name {
        return Ok(text.to_owned());
    }
    Err(Problem::new(format!("`{text}` is not a signal"))
        .with_hint("write it as \"SIGTERM\" or as its number"))
}

/// Reads `8080`, `8080/tcp` or `53/udp`, and gives it with its protocol.
pub(crate) fn port(text: &str) -> Result<String, Problem> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let is_number = number.bytes().all(|b| b.is_ascii_digit()) && !number.starts_with('0');
    let is_port = is_number && number.parse::<u16>().is_ok_and(|number| number > 0);
    if is_port && matches!(protocol, "tcp" | "udp" | "sctp") {
        return Ok(format!("{number}/{protocol}"));
    }
    Err(Problem::new(format!("`{text}` is not a port"))
        .with_hint("a port is a number from 1 to 65535, or a text such as \"53/udp\""))
}
