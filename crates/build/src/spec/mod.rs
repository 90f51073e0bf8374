//! The spec, `cairn.toml`: what an image is to be.
//!
//! [`Spec::parse`] is pure: it reads one text, opens nothing, and reports all that is wrong with it at once.
//!
//! # Where `copy` puts things
//!
//! The meaning never depends on what is there already:
//!
//! | `from` is | `to` | goes to |
//! |---|---|---|
//! | a file or symbolic link `a/f` | `/x/y` | `/x/y` |
//! | a file or symbolic link `a/f` | `/x/` | `/x/f` |
//! | a directory, written `a/d` | `/x/y` | `/x/y` is the directory |
//! | a directory, written `a/d` | `/x/` | `/x/d` is the directory |
//! | a directory, written `a/d/` | `/x` or `/x/` | what is in it goes into `/x`; the directory itself does not |
//! | a glob, `a/d/*.c` or `a/d/**/*.c` | `/x/` | what matches goes to its path below `a/d`: `/x/f.c`, `/x/e/f.c` |
//!
//! - A symbolic link is stored as a link and never followed, unless a slash comes after it.
//! - Files get 0755 if their owner may execute them, else 0644; `mode` says otherwise, for files only.
//! - A directory that is copied keeps the attributes that a lower layer gave it, else it gets 0755 and owner 0:0. `owner` changes
//!   the owner of everything copied, directories too. `dir` gives a directory all of its attributes, also one that a
//!   `copy` of the same layer brings.
//! - `exclude` leaves out what a glob matches, relative to `from`; `*` stays within one name, `**` crosses slashes.
//! - Parents that nobody names keep what a lower layer gave them, else they get 0755 and owner 0:0.
//!
//! `fetch` takes a file from a URL, and puts it where `copy` would; or an archive, and puts what is in it into `to`.
//!
//! `link` makes a symbolic link at `from` that points at `to`. `remove` takes away what lower layers have; a layer
//! cannot add and remove the same path.

mod capability;
mod checks;
mod debian;
mod fetch;
mod health;
pub(crate) mod keys;
mod reader;
mod rules;
mod schema;
pub(crate) mod values;

use std::collections::{BTreeMap, BTreeSet};

use cairn_layer::{Compression, TreePath};
use cairn_oci::{Digest, Platform, Reference, RepositoryName};
use jiff::Timestamp;

pub use self::capability::Capabilities;
pub use self::debian::{Debian, DebianArchive, SNAPSHOT};
pub use self::fetch::{Checksum, Extract, Fetch};
pub use self::health::Healthcheck;
pub use self::rules::ChannelRules;
pub use self::schema::schema;
pub(crate) use self::values::split_glob;
pub use self::values::{Destination, ID_LIMIT, Owner, Principal, Template};
use crate::document::Keys;
use crate::finding::{Finding, Located};

/// The longest spec that is read, in bytes (1 MiB).
pub const LIMIT: usize = 1 << 20;
/// The most layers that a spec may have.
pub const LAYER_LIMIT: usize = 100;

/// A spec without contradictions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// `[image]`
    pub image: Image,
    /// `[base]`; none: from scratch.
    pub base: Option<Base>,
    /// `[packages.debian]`; none: no packages.
    pub packages: Option<Debian>,
    /// `[[user]]`, in the order of the text.
    pub users: Vec<User>,
    /// `[[group]]`, in the order of the text.
    pub groups: Vec<Group>,
    /// `[[layer]]`, lowest first.
    pub layers: Vec<Layer>,
    /// `[config]`
    pub config: Config,
    /// `[ledger]`
    pub ledger: Ledger,
}

/// What the image is called, and for which machines it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its name in the local store.
    pub name: Located<RepositoryName>,
    /// Where push, release and rollback act, without tag and digest; none: the local store.
    pub repository: Option<Located<Reference>>,
    /// The platforms: at least one, none twice, in the order of the text.
    pub platforms: Vec<Located<Platform>>,
    /// When the image says that it was made.
    pub created: Located<Created>,
    /// How layers are compressed that do not say it themselves.
    pub compression: Compression,
}

/// When an image says that it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// What the inputs say; the lock holds it as resolved.
    Inputs,
    /// At this time: whole seconds, from 1970-01-01T00:00:01Z on.
    At(Timestamp),
}

/// What the image is built upon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// Where it is.
    pub source: Located<BaseSource>,
    /// Which parts of its configuration are taken over.
    pub inherit: BTreeSet<Inherit>,
}

/// Where a base is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaseSource {
    /// `image`: in a registry, or in the local store if it has no host. It has a tag or a digest.
    Image(Reference),
    /// `oci`: an OCI image layout, relative to the spec's directory, with an optional `:TAG`.
    Layout {
        /// The layout's directory.
        directory: String,
        /// Which of its images; none: the only one.
        tag: Option<cairn_oci::Tag>,
    },
    /// `archive`: an archive of images, as `docker save` and `oci-archive:` write them, relative to the spec's directory,
    /// with an optional `:TAG` or `:NAME:TAG`.
    Archive {
        /// The file.
        file: Template,
        /// Which of its images; none: the only one.
        name: Option<String>,
    },
    /// `rootfs`: a tar archive of a root file system, relative to the spec's directory.
    RootFs(Template),
}

/// A part of a base's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Inherit {
    /// The environment; the spec's variables win.
    Env,
    /// The user.
    User,
    /// The working directory.
    Workdir,
    /// The labels; the spec's win.
    Labels,
    /// What is run.
    Entrypoint,
    /// Its arguments.
    Cmd,
    /// The ports, together with the spec's.
    Expose,
    /// The volumes, together with the spec's.
    Volumes,
    /// The signal that asks it to stop.
    StopSignal,
    /// How to see whether it works.
    Healthcheck,
}

impl Inherit {
    /// All parts, with their names in the spec.
    pub const ALL: [(&'static str, Self); 10] = [
        ("env", Self::Env),
        ("user", Self::User),
        ("workdir", Self::Workdir),
        ("labels", Self::Labels),
        ("entrypoint", Self::Entrypoint),
        ("cmd", Self::Cmd),
        ("expose", Self::Expose),
        ("volumes", Self::Volumes),
        ("stop-signal", Self::StopSignal),
        ("healthcheck", Self::Healthcheck),
    ];

    /// The names of all parts.
    pub(crate) const NAMES: [&'static str; 10] = {
        let mut names = [""; 10];
        let mut at = 0;
        while at < names.len() {
            names[at] = Self::ALL[at].0;
            at += 1;
        }
        names
    };

    /// What is inherited when the spec does not say.
    #[must_use]
    pub fn defaults() -> BTreeSet<Self> {
        BTreeSet::from([Self::Env, Self::Workdir])
    }
}

/// A user that the image's `/etc/passwd` gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its name.
    pub name: Located<String>,
    /// Its number, below [`ID_LIMIT`].
    pub uid: Located<u32>,
    /// Its group's number, if it is given. Else it is the user's, and a group of the user's name is added.
    pub gid: Option<Located<u32>>,
    /// Further groups that it is in, by name.
    pub groups: Vec<Located<String>>,
    /// Its home directory, which is not made. Default `/`.
    pub home: String,
    /// Its shell. Default `/sbin/nologin`.
    pub shell: String,
}

/// A group that the image's `/etc/group` gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: Located<String>,
    /// Its number, below [`ID_LIMIT`].
    pub gid: Located<u32>,
    /// Users that are in it, by name.
    pub members: Vec<Located<String>>,
}

/// One layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Its name, unique in the spec.
    pub name: Located<String>,
    /// `copy`
    pub copies: Vec<Copy>,
    /// `fetch`
    pub fetches: Vec<Fetch>,
    /// `write`
    pub writes: Vec<Write>,
    /// `link`
    pub links: Vec<Link>,
    /// `dir`
    pub directories: Vec<Directory>,
    /// `remove`
    pub removals: Vec<Located<TreePath>>,
    /// Whether it becomes several layers; none: it stays one.
    pub split: Option<Located<Split>>,
    /// How it is compressed; none: as `[image]` says.
    pub compression: Option<Compression>,
    /// Whether local files that are hard links of each other stay so; else each is a file of its own.
    pub hardlinks: bool,
}

/// How a layer becomes several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// By ranges of paths, whose borders the lock pins.
    Auto,
}

/// Copies a file, or a directory and all that is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// What.
    pub from: Located<Template>,
    /// Where to.
    pub to: Located<Destination>,
    /// Mode of all files, if given.
    pub mode: Option<u32>,
    /// Mode of all directories, if given.
    pub directory_mode: Option<u32>,
    /// Owner of all that is copied, if given.
    pub owner: Option<Located<Owner>>,
    /// Globs of what is left out, relative to `from`; `GlobFilter::new` takes them.
    pub exclude: Vec<String>,
    /// Globs of what is copied although it looks like a secret, relative to `from`.
    pub allow_secrets: Vec<String>,
    /// What all files get besides.
    pub extended: Extended,
}

/// Extended attributes that the spec gives to files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extended {
    /// File capabilities, if given: effective and permitted.
    pub capabilities: Option<Located<Capabilities>>,
    /// Others by name; all begin with `user.`.
    pub xattrs: BTreeMap<String, String>,
}

impl Extended {
    /// Names and values as a layer has them.
    #[must_use]
    pub fn to_xattrs(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let user = self.xattrs.iter();
        let mut xattrs: BTreeMap<_, _> = user
            .map(|(name, value)| (name.clone().into_bytes(), value.clone().into_bytes()))
            .collect();
        if let Some(capabilities) = &self.capabilities {
            xattrs.insert(b"security.capability".to_vec(), capabilities.value.to_xattr());
        }
        xattrs
    }
}

/// Writes a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// Where to.
    pub to: Located<TreePath>,
    /// Its content.
    pub text: String,
    /// Its mode. Default 0644.
    pub mode: u32,
    /// Its owner, if given.
    pub owner: Option<Located<Owner>>,
    /// What it gets besides.
    pub extended: Extended,
}

/// Makes a symbolic link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Where the link is.
    pub from: Located<TreePath>,
    /// What it points at, as it is written into the link.
    pub to: String,
}

/// Makes a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    /// Where.
    pub to: Located<TreePath>,
    /// Its mode. Default 0755.
    pub mode: u32,
    /// Its owner, if given.
    pub owner: Option<Located<Owner>>,
}

/// The image's configuration. What is not given (`None`) may be inherited.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// What is run.
    pub entrypoint: Option<Vec<String>>,
    /// Its arguments.
    pub cmd: Option<Vec<String>>,
    /// Where it is run.
    pub workdir: Option<String>,
    /// As whom it is run.
    pub user: Option<Located<Owner>>,
    /// Environment variables.
    pub env: BTreeMap<String, String>,
    /// Ports, such as `8080/tcp`.
    pub expose: BTreeSet<String>,
    /// Volumes.
    pub volumes: BTreeSet<String>,
    /// The signal that asks it to stop.
    pub stop_signal: Option<String>,
    /// How to see whether it works.
    pub healthcheck: Option<Healthcheck>,
    /// Labels of the configuration.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the manifest, and of the index if there is one.
    pub annotations: BTreeMap<String, String>,
}

/// What the spec says of the ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    /// The entries that must be in the ledger: its first one, and any others.
    pub trust: Option<Located<Vec<Digest>>>,
    /// Where the ledger is, without tag and digest; none: in the image's own repository.
    pub repository: Option<Located<Reference>>,
    /// The rules that channels are to have, by name.
    pub channels: BTreeMap<String, ChannelRules>,
}

impl Spec {
    /// Reads a spec of at most [`LIMIT`] bytes.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, in the order of the text.
    pub fn parse(text: &str) -> Result<Self, Vec<Finding>> {
        reader::read(text, None)
    }

    /// Whether the spec adds users or groups, and so has a layer of its own for them.
    #[must_use]
    pub fn has_accounts(&self) -> bool {
        !(self.users.is_empty() && self.groups.is_empty())
    }

    /// The platforms without their places.
    pub fn platforms(&self) -> impl Iterator<Item = &Platform> {
        self.image.platforms.iter().map(|platform| &platform.value)
    }

    /// The names of the layers that are to be split, in the order of the text.
    pub(crate) fn split_layers(&self) -> impl Iterator<Item = &str> {
        let split = self.layers.iter().filter(|layer| layer.split.is_some());
        split.map(|layer| layer.name.value.as_str())
    }

    /// The modification time of everything in the image's own layers, in seconds since 1970: the date that the spec
    /// names, else 1.
    #[must_use]
    pub fn layer_mtime(&self) -> u64 {
        match self.image.created.value {
            Created::Inputs => 1,
            Created::At(time) => u64::try_from(time.as_second()).unwrap_or(1),
        }
    }
}

/// Reads the spec of a workspace's member.
pub(crate) fn read_member(text: &str, root: &str, up: &str) -> Result<Spec, Vec<Finding>> {
    reader::read(text, Some((root, up)))
}

/// The keys of a section that a workspace can give to its members.
pub(crate) const fn shared_keys(section: &str) -> &'static Keys {
    match section.as_bytes() {
        b"image" => &keys::WORKSPACE_IMAGE.names,
        b"base" => &keys::BASE.names,
        b"config" => &keys::CONFIG.names,
        _ => &keys::LEDGER.names,
    }
}
