//! Which keys the spec has: one table, which the reader goes by and the JSON Schema is made of.

use crate::document::Keys;

/// A table of the spec.
#[derive(Debug)]
pub(crate) struct Table {
    /// What the table is for, for the schema.
    pub(super) about: &'static str,
    pub(super) keys: &'static [Key],
    /// The names of `keys`, and those that are reserved.
    pub(crate) names: Keys,
}

/// A key of a table.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) need: Need,
    pub(super) shape: Shape,
    /// What it is for, for the schema.
    pub(super) about: &'static str,
}

/// Whether a key must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Required,
    Optional,
}

/// What a key's value looks like. The reader says more, and says it better; this is what an editor can check.
#[derive(Debug)]
pub(super) enum Shape {
    Text,
    /// A text of this form: a regular expression of ECMA 262, as JSON Schema has them.
    Form(&'static str),
    OneOf(&'static [&'static str]),
    Boolean,
    Number {
        least: i64,
        most: i64,
    },
    List(&'static Shape),
    /// A table with any keys.
    Map(&'static Shape),
    Table(&'static Table),
    Tables(&'static Table),
    Either(&'static [Shape]),
}

macro_rules! tables {
    ($($table:ident $about:literal later [$($later:literal)*] { $($key:literal $need:ident $shape:expr, $words:literal;)* })*) => {
        $(pub(crate) const $table: Table = Table {
            about: $about,
            keys: &[$(Key { name: $key, need: Need::$need, shape: $shape, about: $words }),*],
            names: Keys { known: &[$($key),*], later: &[$($later),*] },
        };)*
    };
}

/// Below 2^31.
const ID: Shape = Shape::Number {
    least: 0,
    most: 2_147_483_647,
};
/// With or without the algorithm.
const SHA256: Shape = Shape::Form("^(sha256:)?[0-9a-f]{64}$");
const MODE: Shape = Shape::Form("^[0-7]{4}$");
const ACCOUNT: Shape = Shape::Form("^[A-Za-z_][A-Za-z0-9_.-]{0,31}$");
const OWNER: Shape =
    Shape::Form("^([A-Za-z_][A-Za-z0-9_.-]{0,31}|[0-9]+)(:([A-Za-z_][A-Za-z0-9_.-]{0,31}|[0-9]+))?$");
/// A path in the image.
const PATH: Shape = Shape::Form("^/");
/// A path of this machine below the spec's directory.
const LOCAL: Shape = Shape::Form("^[^/]");
const COMPRESSION: Shape = Shape::OneOf(&["gzip", "zstd", "none"]);
const DURATION: Shape = Shape::Form("^([0-9]+(ms|s|m|h))+$");
const CHANNEL_NAME: Shape = Shape::Form("^[a-z][a-z0-9-]{0,62}$");
const TEXTS: Shape = Shape::List(&Shape::Text);
const GLOBS: Shape = Shape::List(&Shape::Form("^[^/]"));
const TEXT_MAP: Shape = Shape::Map(&Shape::Text);
const CAPABILITIES: Shape = Shape::List(&Shape::OneOf(&super::capability::NAMES));
const XATTRS: Shape = TEXT_MAP;
const INHERIT: Shape = Shape::OneOf(&super::Inherit::NAMES);
const PORT: Shape = Shape::Either(&[
    Shape::Number {
        least: 1,
        most: 65_535,
    },
    Shape::Form("^[1-9][0-9]{0,4}(/(tcp|udp|sctp))?$"),
]);

tables! {
    ROOT "What an image is to be." later [] {
        "image" Optional Shape::Table(&IMAGE), "What the image is called, and for which machines it is.";
        "base" Optional Shape::Table(&BASE), "What it is built upon; without it: nothing.";
        "packages" Optional Shape::Table(&PACKAGES), "Packages of the operating system.";
        "user" Optional Shape::Tables(&USER), "Users that /etc/passwd gets.";
        "group" Optional Shape::Tables(&GROUP), "Groups that /etc/group gets.";
        "layer" Optional Shape::Tables(&LAYER), "Layers, lowest first.";
        "config" Optional Shape::Table(&CONFIG), "How containers of the image are run.";
        "ledger" Optional Shape::Table(&LEDGER), "Where the ledger is, and what it must have.";
        "workspace" Optional Shape::Table(&WORKSPACE), "Several images in one place.";
    }
    IMAGE "What the image is called, and for which machines it is." later [] {
        "name" Required Shape::Form("^[a-z0-9]+((\\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\\.|_|__|-+)[a-z0-9]+)*)*$"), "Its repository in the local store.";
        "repository" Optional Shape::Text, "Where push, release and rollback act, without tag and digest. Default: the local store.";
        "platforms" Required Shape::List(&Shape::Form("^[a-z0-9]+/[a-z0-9_]+(/[a-z0-9.]+)?$")), "For which machines: os/architecture or os/architecture/variant.";
        "created" Optional Shape::Text, "\"inputs\", or a date in RFC 3339, whole seconds.";
        "compression" Optional COMPRESSION, "Of every layer that does not say otherwise. Default: gzip.";
    }
    WORKSPACE_IMAGE "What the members' images have in common." later [] {
        "repository" Optional Shape::Text, "Where push, release and rollback act; {name} is the image's name.";
        "platforms" Optional Shape::List(&Shape::Text), "For which machines.";
        "created" Optional Shape::Text, "\"inputs\", or a date in RFC 3339, whole seconds.";
        "compression" Optional COMPRESSION, "Of every layer that does not say otherwise.";
    }
    WORKSPACE "Several images in one place." later [] {
        "members" Required Shape::List(&LOCAL), "Directories of the images, with globs.";
        "exclude" Optional Shape::List(&LOCAL), "Directories that are none, with globs.";
        "image" Optional Shape::Table(&WORKSPACE_IMAGE), "What members inherit into [image].";
        "base" Optional Shape::Table(&BASE), "What members inherit into [base].";
        "config" Optional Shape::Table(&CONFIG), "What members inherit into [config].";
        "ledger" Optional Shape::Table(&LEDGER), "What members inherit into [ledger].";
    }
    BASE "What the image is built upon: one of `image`, `oci`, `archive` and `rootfs`." later [] {
        "image" Optional Shape::Text, "An image in a registry or in the local store, with a tag or a digest.";
        "oci" Optional Shape::Text, "An OCI image layout, with :TAG if it has several images.";
        "archive" Optional Shape::Text, "An image in an archive of OCI or Docker, with its name if it has several.";
        "rootfs" Optional Shape::Text, "A tar archive of a root file system.";
        "inherit" Optional Shape::List(&INHERIT), "Which parts of the base's configuration are taken over. Default: env and workdir.";
    }
    PACKAGES "Packages of the operating system." later [] {
        "debian" Required Shape::Table(&DEBIAN), "Packages of Debian.";
    }
    DEBIAN "Packages of Debian, pinned by version and SHA-256; no script is run." later [] {
        "suite" Optional Shape::Text, "Which release, such as bookworm. Required, unless there is a source.";
        "mirror" Optional Shape::Form("^(https?://|file:/)[^#?@ ]+$"), "The archive's root; {snapshot} is the date of the snapshot. Default: CAIRN_DEBIAN_MIRROR, else the host's own sources.";
        "components" Optional TEXTS, "Components of the mirror. Default: main.";
        "install" Required TEXTS, "What is asked for: NAME, NAME=VERSION or NAME:ARCHITECTURE.";
        "recommends" Optional Shape::Boolean, "Whether what packages recommend comes too. Default: false.";
        "essential" Optional Shape::Boolean, "Whether an image without a base gets base-files and base-passwd too. Default: true.";
        "keyring" Optional LOCAL, "A file with the keys that may sign the mirror. Default: the host's.";
        "snapshot" Optional Shape::Text, "The time of which the archive is to be, in RFC 3339; or the address of a dated archive, which is asked for packages that the mirror no longer has.";
        "source" Optional Shape::Tables(&SOURCE), "Further suites and archives.";
    }
    SOURCE "A suite that packages are taken from too." later [] {
        "suite" Required Shape::Text, "Which suite, such as bookworm-security. One that ends in a slash is a directory with the index itself.";
        "mirror" Optional Shape::Form("^(https?://|file:/)[^#?@ ]+$"), "The archive's root. Default: that of [packages.debian].";
        "components" Optional TEXTS, "Components of the suite. Default: main.";
        "architectures" Optional TEXTS, "For which architectures of packages it is asked. Default: all that the image needs.";
        "keyring" Optional LOCAL, "A file with the keys that may sign it. Default: that of [packages.debian].";
        "snapshot" Optional Shape::Text, "As in [packages.debian].";
    }
    USER "A user." later [] {
        "name" Required ACCOUNT, "Its name.";
        "uid" Required ID, "Its number.";
        "gid" Optional ID, "Its group. Default: the number of `uid`.";
        "groups" Optional Shape::List(&ACCOUNT), "Further groups that it is in.";
        "home" Optional PATH, "Its home directory, which is not made. Default: /.";
        "shell" Optional PATH, "Its shell. Default: /sbin/nologin.";
    }
    GROUP "A group." later [] {
        "name" Required ACCOUNT, "Its name.";
        "gid" Required ID, "Its number.";
        "members" Optional Shape::List(&ACCOUNT), "Users that are in it.";
    }
    LAYER "A layer." later [] {
        "name" Required Shape::Form("^[a-z0-9][a-z0-9._-]{0,63}$"), "Its name, unique in the spec.";
        "copy" Optional Shape::Tables(&COPY), "Files of the spec's directory.";
        "fetch" Optional Shape::Tables(&FETCH), "Files and archives from URLs.";
        "write" Optional Shape::Tables(&WRITE), "Files with a text that stands here.";
        "link" Optional Shape::Tables(&LINK), "Symbolic links.";
        "dir" Optional Shape::Tables(&DIR), "Directories.";
        "remove" Optional Shape::List(&PATH), "What lower layers have, and this image does not.";
        "split" Optional Shape::OneOf(&["auto"]), "Whether it becomes several layers.";
        "compression" Optional COMPRESSION, "How it is compressed. Default: what [image] says.";
        "hardlinks" Optional Shape::Boolean, "Whether local files that are hard links of each other stay so. Default: false.";
    }
    COPY "Copies a file, a directory, or what a glob matches." later [] {
        "from" Required LOCAL, "What, relative to the spec's directory.";
        "to" Required PATH, "Where to.";
        "mode" Optional MODE, "The mode of all files.";
        "dir-mode" Optional MODE, "The mode of all directories.";
        "owner" Optional OWNER, "The owner of all that is copied.";
        "exclude" Optional GLOBS, "What is left out, relative to `from`.";
        "allow-secrets" Optional GLOBS, "What is copied although it looks like a secret, relative to `from`.";
        "capabilities" Optional CAPABILITIES, "File capabilities, effective and permitted.";
        "xattrs" Optional XATTRS, "Extended attributes of all files; names begin with user.";
    }
    FETCH "Takes a file from a URL, or what is in an archive." later [] {
        "url" Required Shape::Form("^https?://[^#@ ]+$"), "From where: HTTPS, or HTTP from this machine.";
        "sha256" Required Shape::Either(&[SHA256, Shape::Map(&SHA256)]), "What the URL must give; by platform where the URL differs.";
        "to" Required PATH, "Where to.";
        "extract" Optional Shape::Boolean, "Whether it is an archive of which the content is wanted. Default: false.";
        "strip" Optional Shape::Number { least: 0, most: 64 }, "How many leading components each name of the archive loses.";
        "exclude" Optional GLOBS, "What of the archive is left out, relative to where `strip` leads.";
        "only" Optional GLOBS, "What of the archive alone is taken.";
        "mode" Optional MODE, "The mode of all files.";
        "owner" Optional OWNER, "The owner of all that comes.";
    }
    WRITE "Writes a file." later [] {
        "to" Required PATH, "Where to.";
        "text" Required Shape::Text, "Its content.";
        "mode" Optional MODE, "Its mode. Default: 0644.";
        "owner" Optional OWNER, "Its owner. Default: 0:0.";
        "capabilities" Optional CAPABILITIES, "File capabilities, effective and permitted.";
        "xattrs" Optional XATTRS, "Extended attributes; names begin with user.";
    }
    LINK "Makes a symbolic link." later [] {
        "from" Required PATH, "Where the link is.";
        "to" Required Shape::Text, "What it points at.";
    }
    DIR "Makes a directory." later [] {
        "to" Required PATH, "Where.";
        "mode" Optional MODE, "Its mode. Default: 0755.";
        "owner" Optional OWNER, "Its owner. Default: 0:0.";
    }
    CONFIG "How containers of the image are run." later [] {
        "entrypoint" Optional TEXTS, "What is run.";
        "cmd" Optional TEXTS, "Its arguments.";
        "workdir" Optional PATH, "Where it is run.";
        "user" Optional OWNER, "As whom it is run.";
        "env" Optional TEXT_MAP, "Environment variables.";
        "expose" Optional Shape::List(&PORT), "Ports.";
        "volumes" Optional Shape::List(&PATH), "Volumes.";
        "stop-signal" Optional Shape::Form("^(SIG[A-Z0-9+-]{1,16}|[0-9]{1,2})$"), "The signal that asks it to stop.";
        "healthcheck" Optional Shape::Table(&HEALTHCHECK), "How to see whether it works.";
        "labels" Optional TEXT_MAP, "Labels of the configuration.";
        "annotations" Optional TEXT_MAP, "Annotations of the manifest, and of the index if there is one.";
    }
    HEALTHCHECK "How to see whether a container works." later [] {
        "test" Required Shape::Either(&[Shape::OneOf(&["NONE"]), TEXTS]), "What is run, without a shell; \"NONE\" switches an inherited check off.";
        "interval" Optional DURATION, "Time between two checks.";
        "timeout" Optional DURATION, "How long a check may take.";
        "start-period" Optional DURATION, "How long failures do not count at the beginning.";
        "start-interval" Optional DURATION, "Time between two checks in that time.";
        "retries" Optional Shape::Number { least: 1, most: 1000 }, "How many failures in a row make it unhealthy.";
    }
    LEDGER "Where the ledger is, and what it must have." later [] {
        "trust" Optional Shape::Form("^sha256:[0-9a-f]{64}(\\+sha256:[0-9a-f]{64})*$"), "Entries that must be in the ledger: its first one, and any others.";
        "repository" Optional Shape::Text, "Where the ledger is. Default: the image's own repository.";
        "channels" Optional Shape::Map(&Shape::Table(&CHANNEL)), "The rules of channels, by name: what `cairn ledger rules --apply` writes into the ledger.";
    }
    CHANNEL "The rules of a channel." later [] {
        "from" Optional CHANNEL_NAME, "What is moved here must have been shown by this channel.";
        "soak" Optional Shape::Form("^([0-9]+(s|m|h|d|w))+$"), "For how long that channel must have shown it, without a break.";
        "freeze" Optional Shape::Tables(&FREEZE), "When nothing moves forward.";
        "floor" Optional Shape::Form("^v?[0-9][A-Za-z0-9._-]*$"), "Nothing that was released before this version may be shown.";
        "requires" Optional Shape::Map(&Shape::Number { least: 1, most: 16 }), "How many keys of which group must sign what moves forward.";
        "glass" Optional Shape::List(&Shape::OneOf(&super::rules::GLASS)), "What a key outside the ledger may do here, with --break-glass.";
    }
    FREEZE "A time in which nothing moves forward; both ends belong to it." later [] {
        "from" Required Shape::Text, "Its beginning, in RFC 3339.";
        "until" Required Shape::Text, "Its end, in RFC 3339.";
    }
}
