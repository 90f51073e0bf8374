//! What must not get into an image by mistake: keys, tokens, passwords, histories.
//!
//! Of 50,000 files only names are looked at; a few are opened, because their names say that they may be keys and their
//! content decides. Certificates are not secrets, and neither is what a package registry gave to everybody: below
//! `node_modules` and its like, keys are somebody's test data.

use cairn_layer::{GlobFilter, LocalEntries, LocalError, LocalFile, LocalKind, TreePath};

use super::ignore::read_up_to;

/// How much of a file is looked at (256 KiB): a key stands at the beginning, or after a few certificates.
const LOOKED_AT: u64 = 256 << 10;
/// Larger files are no keys (1 MiB).
const LARGEST: u64 = 1 << 20;

/// Directories into which package managers put what others published.
const PUBLISHED: [&[u8]; 4] = [
    b"node_modules",
    b"site-packages",
    b"dist-packages",
    b"bower_components",
];

/// Files that are secrets by their name alone, as the end of a path.
const NAMES: [(&str, &str); 24] = [
    (".netrc", "passwords"),
    ("_netrc", "passwords"),
    (".pgpass", "passwords"),
    (".my.cnf", "passwords"),
    (".git-credentials", "passwords"),
    (".dockercfg", "registry credentials"),
    (".pypirc", "registry credentials"),
    (".vault-token", "a token"),
    (".envrc", "environment variables"),
    (".aws/credentials", "cloud credentials"),
    (".azure/accessTokens.json", "cloud credentials"),
    (".azure/msal_token_cache.json", "cloud credentials"),
    ("gcloud/application_default_credentials.json", "cloud credentials"),
    ("gcloud/credentials.db", "cloud credentials"),
    (".cargo/credentials", "registry credentials"),
    (".cargo/credentials.toml", "registry credentials"),
    (".gem/credentials", "registry credentials"),
    (".terraform.d/credentials.tfrc.json", "cloud credentials"),
    ("terraform.tfstate", "a Terraform state"),
    ("terraform.tfstate.backup", "a Terraform state"),
    ("id_rsa", "a private key"),
    ("id_dsa", "a private key"),
    ("id_ecdsa", "a private key"),
    ("id_ed25519", "a private key"),
];

/// Kinds of `.env` that are made to be shown.
const ENV_EXAMPLES: [&[u8]; 6] = [
    b"example",
    b"sample",
    b"template",
    b"dist",
    b"defaults",
    b"schema",
];

/// Endings of names that keys have, and certificates too.
const KEY_ENDINGS: [&[u8]; 9] = [
    b".pem", b".key", b".p8", b".pk8", b".ppk", b"_key", b"-key", b".priv", b"_sk",
];

/// Something that looks like a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Secret {
    /// Where, relative to the spec's directory.
    pub(super) path: TreePath,
    /// What it looks like, such as `a private key`.
    pub(super) what: &'static str,
}

/// What content makes a file a secret.
#[derive(Clone, Copy)]
enum Probe {
    PrivateKey,
    RegistryAuth,
    NpmToken,
    KubernetesUser,
}

enum Suspicion {
    None,
    Certain(&'static str),
    If(Probe, &'static str),
}

/// Everything among `entries` that looks like a secret and that `allowed` does not name.
///
/// `start` is where the walk began, relative to the spec's directory; none for that directory itself. `allowed` is
/// relative to the start, and for a single file to the directory that it is in.
pub(super) fn find(
    start: Option<&TreePath>,
    entries: &LocalEntries,
    allowed: &GlobFilter,
) -> Result<Vec<Secret>, LocalError> {
    let mut found: Vec<Secret> = Vec::new();
    let mut path = Vec::new();
    for entry in entries {
        context_path(start, entry.path.as_ref(), &mut path);
        let what = match &entry.kind {
            LocalKind::Symlink { .. } => None,
            LocalKind::Directory => history(file_name(&path)),
            LocalKind::File { file, .. } => secret_file(&path, file)?,
        };
        let Some(what) = what else { continue };
        let Ok(path) = TreePath::new(&path) else { continue };
        let is_directory = matches!(entry.kind, LocalKind::Directory);
        let name = TreePath::new(path.file_name()).ok();
        let below = entry.path.as_ref().or(name.as_ref());
        if below.is_some_and(|below| is_allowed(allowed, below, is_directory)) {
            continue;
        }
        found.push(Secret { path, what });
    }
    Ok(found)
}

/// Puts the path relative to the spec's directory into `path`: one piece of memory serves for all.
fn context_path(start: Option<&TreePath>, below: Option<&TreePath>, path: &mut Vec<u8>) {
    path.clear();
    path.extend_from_slice(start.map_or(b"", TreePath::as_bytes));
    if start.is_some() && below.is_some() {
        path.push(b'/');
    }
    path.extend_from_slice(below.map_or(b"", TreePath::as_bytes));
}

fn file_name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

fn is_allowed(allowed: &GlobFilter, below: &TreePath, is_directory: bool) -> bool {
    allowed.excludes(below, is_directory) || below.ancestors().any(|above| allowed.excludes(&above, true))
}

fn history(name: &[u8]) -> Option<&'static str> {
    match name {
        b".git" => Some("a Git repository with its history"),
        b".hg" => Some("a Mercurial repository with its history"),
        b".svn" => Some("a Subversion working copy"),
        b"private-keys-v1.d" => Some("private keys of GnuPG"),
        _ => None,
    }
}

fn secret_file(path: &[u8], file: &LocalFile) -> Result<Option<&'static str>, LocalError> {
    match suspicion(path) {
        Suspicion::None => Ok(None),
        Suspicion::Certain(what) => Ok(Some(what)),
        Suspicion::If(..) if file.size() > LARGEST => Ok(None),
        Suspicion::If(probe, what) => {
            let content = read_up_to(file, LOOKED_AT)?;
            Ok(probe.finds(&content).then_some(what))
        }
    }
}

fn suspicion(path: &[u8]) -> Suspicion {
    let name = file_name(path);
    let ends_with = |end: &str| {
        // Most names are told apart by their last byte.
        let rest = (path.last() == end.as_bytes().last()).then(|| path.strip_suffix(end.as_bytes()));
        rest.flatten()
            .is_some_and(|rest| rest.is_empty() || rest.ends_with(b"/"))
    };
    match name {
        b".npmrc" | b".yarnrc.yml" => return Suspicion::If(Probe::NpmToken, "a registry token"),
        b"config.json" if ends_with(".docker/config.json") => {
            return Suspicion::If(Probe::RegistryAuth, "registry credentials");
        }
        b"auth.json" if ends_with("containers/auth.json") => {
            return Suspicion::If(Probe::RegistryAuth, "registry credentials");
        }
        b"config" if ends_with(".kube/config") => {
            return Suspicion::If(Probe::KubernetesUser, "Kubernetes credentials");
        }
        _ => {}
    }
    let suspicion = if is_environment(name) {
        Suspicion::Certain("environment variables")
    } else if let Some((_, what)) = NAMES.iter().find(|(end, _)| ends_with(end)) {
        Suspicion::Certain(what)
    } else if is_called_a_key(name) {
        Suspicion::If(Probe::PrivateKey, "a private key")
    } else {
        return Suspicion::None;
    };
    let mut directories = path.split(|byte| *byte == b'/');
    if directories.any(|component| PUBLISHED.contains(&component)) {
        return Suspicion::None;
    }
    suspicion
}

fn is_called_a_key(name: &[u8]) -> bool {
    let ends_with = |end: &[u8]| {
        let at = name.len().checked_sub(end.len());
        at.is_some_and(|at| name[at..].eq_ignore_ascii_case(end))
    };
    let is_key = name.eq_ignore_ascii_case(b"key") || name.eq_ignore_ascii_case(b"server-key");
    is_key || KEY_ENDINGS.iter().any(|end| ends_with(end)) || (ends_with(b".json") && is_account(name))
}

fn is_account(name: &[u8]) -> bool {
    let words = [&b"service-account"[..], b"service_account", b"credentials"];
    words.iter().any(|word| {
        let mut windows = name.windows(word.len());
        windows.any(|window| window.eq_ignore_ascii_case(word))
    })
}

fn is_environment(name: &[u8]) -> bool {
    match name.strip_prefix(b".env") {
        Some(b"") => true,
        Some(rest) => rest.strip_prefix(b".").is_some_and(|kind| {
            let last = kind.rsplit(|byte| *byte == b'.').next().unwrap_or(kind);
            !ENV_EXAMPLES.contains(&last)
        }),
        None => false,
    }
}

impl Probe {
    fn finds(self, content: &[u8]) -> bool {
        match self {
            Self::PrivateKey => has_private_key(content),
            Self::RegistryAuth => contains(content, b"\"auth\"") || contains(content, b"\"identitytoken\""),
            Self::NpmToken => content.split(|byte| *byte == b'\n').any(has_npm_token),
            Self::KubernetesUser => [&b"client-key-data"[..], b"token:", b"password:"]
                .iter()
                .any(|word| contains(content, word)),
        }
    }
}

fn contains(content: &[u8], word: &[u8]) -> bool {
    content.windows(word.len()).any(|window| window == word)
}

/// `-----BEGIN … PRIVATE KEY-----` (RFC 7468), OpenSSH's and PGP's forms of it, and PuTTY's own.
fn has_private_key(content: &[u8]) -> bool {
    if content.starts_with(b"PuTTY-User-Key-File-") {
        return true;
    }
    let begin: &[u8] = b"-----BEGIN ";
    let starts = content
        .windows(begin.len())
        .enumerate()
        .filter(|(_, window)| *window == begin);
    let mut labels = starts.map(|(at, _)| {
        let label = &content[at + begin.len()..];
        let label = &label[..label.len().min(64)];
        let end = label.windows(5).position(|window| window == b"-----");
        &label[..end.unwrap_or(0)]
    });
    labels.any(|label| label.ends_with(b"PRIVATE KEY") || label == b"PGP PRIVATE KEY BLOCK")
}

/// A token that stands there itself, and is not taken from the environment: `_authToken=${NPM_TOKEN}` is no secret.
fn has_npm_token(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    if line.starts_with(b"#") || line.starts_with(b";") {
        return false;
    }
    let separator = line
        .iter()
        .position(|byte| matches!(byte, b'=' | b':') && !line.starts_with(b"//"));
    let separator = separator.or_else(|| line.iter().position(|byte| *byte == b'='));
    let Some(separator) = separator else {
        return false;
    };
    let (key, value) = (
        line[..separator].trim_ascii_end(),
        line[separator + 1..].trim_ascii(),
    );
    let keys: [&[u8]; 5] = [
        b"_authToken",
        b"_auth",
        b"_password",
        b"npmAuthToken",
        b"npmAuthIdent",
    ];
    let value = value.trim_ascii().strip_prefix(b"\"").unwrap_or(value);
    keys.iter().any(|end| key.ends_with(end)) && !value.is_empty() && !value.starts_with(b"${")
}
