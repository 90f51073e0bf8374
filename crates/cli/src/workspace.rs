//! The workspace that a directory belongs to, and the images in it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Component, Path, PathBuf};

use cairn_build::{Spec, Workspace};
use cairn_layer::{GlobFilter, TreePath};

use crate::diagnostic;
use crate::failure::{Exit, Failure};
use crate::program::Cairn;
use crate::project::SPEC;
use crate::text_file;

/// Most directories that the globs of a workspace may name.
const MEMBER_LIMIT: usize = 1000;

/// The root of a workspace.
#[derive(Debug)]
pub struct Root {
    /// Its directory, without symbolic links.
    pub directory: PathBuf,
    /// The text of its `cairn.toml`.
    pub text: String,
    workspace: Workspace,
}

/// An image of a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The image's name.
    pub name: String,
    /// The directory with its spec.
    pub directory: PathBuf,
}

/// What a directory with a spec is.
#[derive(Debug)]
pub enum Place {
    /// It stands alone.
    Alone,
    /// An image of a workspace.
    Member(Root),
    /// A workspace's root that is no image itself.
    Root(Root),
}

impl Place {
    /// What `directory` is, whose `cairn.toml` is `text`.
    ///
    /// # Errors
    ///
    /// When `[workspace]` there, or in a directory above, is wrong; when the workspace above does not know `directory`.
    pub fn of(cairn: &Cairn, directory: &Path, text: &str) -> Result<Self, Failure> {
        let directory = canonical(directory)?;
        if let Some(root) = Root::of_text(cairn, &directory, text.to_owned())? {
            return Ok(match root.workspace.has_image {
                true => Self::Member(root),
                false => Self::Root(root),
            });
        }
        let Some(root) = directory
            .parent()
            .map_or(Ok(None), |above| Root::above(cairn, above))?
        else {
            return Ok(Self::Alone);
        };
        let path = root.path_to(&directory);
        if root.workspace.excludes(&path) {
            return Ok(Self::Alone);
        }
        if !root.workspace.has_member(&path) {
            let root = shown(cairn, &root.directory.join(SPEC));
            let text = format!("`{path}` is in the workspace of {root}, which does not list it");
            return Err(Failure::new(Exit::Input, text)
                .with_hint("add it there to `members`, or to `exclude`".to_owned()));
        }
        Ok(Self::Member(root))
    }
}

impl Root {
    /// The workspace that the command's directory is in.
    ///
    /// # Errors
    ///
    /// When there is none, or it is wrong.
    pub fn find(cairn: &Cairn) -> Result<Self, Failure> {
        let directory = cairn.directory();
        Self::above(cairn, &canonical(&directory)?)?.ok_or_else(|| {
            let text = format!("{} is in no workspace", directory.display());
            let hint =
                "a workspace is a cairn.toml with [workspace]; --package and --workspace choose its images";
            Failure::new(Exit::Usage, text).with_hint(hint.to_owned())
        })
    }

    /// The nearest one of `directory` and those above it.
    fn above(cairn: &Cairn, directory: &Path) -> Result<Option<Self>, Failure> {
        for directory in directory.ancestors() {
            let Some(text) = text_file::read(&directory.join(SPEC), cairn_build::spec::LIMIT)? else {
                continue;
            };
            if let Some(root) = Self::of_text(cairn, directory, text)? {
                return Ok(Some(root));
            }
        }
        Ok(None)
    }

    fn of_text(cairn: &Cairn, directory: &Path, text: String) -> Result<Option<Self>, Failure> {
        let workspace = Workspace::parse(&text).map_err(|findings| {
            let file = shown(cairn, &directory.join(SPEC));
            diagnostic::failure(&cairn.terminal, &file, &text, &findings, "nothing was done")
        })?;
        Ok(workspace.map(|workspace| Self {
            directory: directory.to_owned(),
            text,
            workspace,
        }))
    }

    /// The way from the root to a directory below it, with `/` between names; empty for the root itself.
    fn path_to(&self, directory: &Path) -> String {
        let below = directory.strip_prefix(&self.directory).unwrap_or(directory);
        let names = below.components().map(|name| name.as_os_str().to_string_lossy());
        names.collect::<Vec<_>>().join("/")
    }

    /// The way from a directory below the root to the root, such as `../../`; empty for the root itself.
    #[must_use]
    pub fn way_up_from(&self, directory: &Path) -> String {
        let below = directory.strip_prefix(&self.directory);
        "../".repeat(below.map_or(0, |below| below.components().count()))
    }

    /// All images, by name.
    ///
    /// # Errors
    ///
    /// When a member has no spec or one that is wrong, or when two have one name.
    pub fn members(&self, cairn: &Cairn) -> Result<Vec<Member>, Failure> {
        let mut members: BTreeMap<String, PathBuf> = BTreeMap::new();
        let own = self.workspace.has_image.then(|| self.directory.clone());
        for directory in own.into_iter().chain(self.directories()?) {
            let path = directory.join(SPEC);
            let Some(text) = text_file::read(&path, cairn_build::spec::LIMIT)? else {
                let text = format!(
                    "the workspace has a member `{}`, which has no {SPEC}",
                    self.path_to(&directory)
                );
                return Err(Failure::new(Exit::Input, text));
            };
            let spec = self.parse(cairn, &directory, &text)?;
            let name = spec.image.name.value.to_string();
            if let Some(other) = members.insert(name.clone(), directory) {
                let files = [other.join(SPEC), path].map(|path| shown(cairn, &path));
                let text = format!(
                    "two images of the workspace are called `{name}`: {}",
                    files.join(", ")
                );
                return Err(Failure::new(Exit::Input, text));
            }
        }
        let members = members.into_iter();
        Ok(members
            .map(|(name, directory)| Member { name, directory })
            .collect())
    }

    /// Reads the spec of the member in `directory`.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn parse(&self, cairn: &Cairn, directory: &Path, text: &str) -> Result<Spec, Failure> {
        let spec = Spec::parse_member(text, &self.text, &self.way_up_from(directory));
        spec.map_err(|findings| {
            let file = shown(cairn, &directory.join(SPEC));
            diagnostic::failure(&cairn.terminal, &file, text, &findings, "nothing was done")
        })
    }

    /// The directories that `members` names, without those that `exclude` does; of a glob only those with a spec.
    fn directories(&self) -> Result<Vec<PathBuf>, Failure> {
        let mut directories = std::collections::BTreeSet::new();
        for member in &self.workspace.members {
            let is_glob = Workspace::is_glob(&member.value);
            for directory in self.expand(&member.value)? {
                let is_excluded = self.workspace.excludes(&self.path_to(&directory));
                if !is_excluded && (!is_glob || directory.join(SPEC).is_file()) {
                    directories.insert(directory);
                }
            }
            if directories.len() > MEMBER_LIMIT {
                let text = format!("the workspace has more than {MEMBER_LIMIT} members");
                return Err(Failure::new(Exit::Input, text));
            }
        }
        Ok(directories.into_iter().collect())
    }

    /// Goes down from the root, name by name of the glob.
    fn expand(&self, glob: &str) -> Result<Vec<PathBuf>, Failure> {
        let mut found = vec![self.directory.clone()];
        for name in glob.split('/') {
            found = if Workspace::is_glob(name) {
                let mut below = Vec::new();
                for directory in &found {
                    below.extend(matching(directory, name)?);
                }
                below
            } else {
                found.iter().map(|directory| directory.join(name)).collect()
            };
        }
        Ok(found)
    }
}

/// The directories in `directory` whose names match, sorted.
fn matching(directory: &Path, glob: &str) -> Result<Vec<PathBuf>, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(
            Exit::Input,
            format!("cannot list {}: {error}", directory.display()),
        )
    };
    // A glob that cannot be one was a finding when the workspace was read.
    let Ok(filter) = GlobFilter::new([glob]) else {
        return Ok(Vec::new());
    };
    let matches = |name: &OsStr| {
        let name = name.to_str().filter(|name| !name.starts_with('.'));
        let path = name.and_then(|name| TreePath::new(name).ok());
        path.is_some_and(|path| filter.excludes(&path, true))
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "the names are sorted before anything is done with them"
    )]
    let entries = fs::read_dir(directory).map_err(failed)?;
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if matches(&entry.file_name()) && entry.path().is_dir() {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

fn canonical(directory: &Path) -> Result<PathBuf, Failure> {
    directory.canonicalize().map_err(|error| {
        Failure::new(
            Exit::Input,
            format!("cannot open {}: {error}", directory.display()),
        )
    })
}

/// A file as it is called from where the command acts.
pub fn shown(cairn: &Cairn, file: &Path) -> String {
    let here = cairn.directory();
    let here = here.canonicalize().unwrap_or(here);
    let (mut here, mut there) = (here.components().peekable(), file.components().peekable());
    while here.peek().is_some() && here.peek() == there.peek() {
        here.next();
        there.next();
    }
    let way: PathBuf = here.map(|_| Component::ParentDir).chain(there).collect();
    way.display().to_string()
}
