//! Which side each error of the rooms below is on, and what to do about it.

use cairn_build::diff::DiffError;
use cairn_build::resolve::LockError;
use cairn_build::{BuildError, FetchError, VerifyError};
use cairn_layer::{LocalError, WriteError};
use cairn_ledger::audit::AuditError;
use cairn_ledger::image::ImageError;
use cairn_ledger::operation::DropError;
use cairn_ledger::query::QueryError;
use cairn_ledger::{Class, CopyError, OpenError, OperationError};
use cairn_oci::manifest::DocumentError;
use cairn_oci::reference::ReferenceError;
use cairn_packages::debian::{ArchiveError, ReleaseError};
use cairn_registry::client::{ClientError, LoginError};
use cairn_registry::server::ServerError;
use cairn_store::RepositoryError;
use cairn_store::archive::PackError;
use cairn_store::error::{CertificateProblem, Denial};
use cairn_store::files::FileError;
use cairn_store::transfer::TransferError;

use crate::credentials::{DocumentError as CredentialFileError, HelperError, KeepError};
use crate::environment::{BadSize, NoHome};
use crate::failure::{Classify, Exit};

impl From<Class> for Exit {
    fn from(class: Class) -> Self {
        match class {
            Class::Input => Self::Input,
            Class::Environment => Self::Environment,
            Class::Integrity => Self::Integrity,
            Class::Conflict => Self::Conflict,
        }
    }
}

impl Classify for RepositoryError {
    fn exit(&self) -> Exit {
        match self {
            Self::Digest { .. }
            | Self::Size { .. }
            | Self::Manifest { .. }
            | Self::BlobUnknown { .. }
            | Self::Damaged { .. } => Exit::Integrity,
            Self::Condition { .. } | Self::Sealed { .. } | Self::ConditionRequired { .. } => Exit::Conflict,
            _ => Exit::Environment,
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::NewerVersion { .. } => "use a newer Cairn, or another store: --store DIR",
            Self::Denied {
                repository, denial, ..
            } => return denied(repository, *denial),
            Self::Credentials { .. } => {
                "put it right, or take it out of the file with credentials; asked as nobody, a registry would only say \
                 that nothing is there"
            }
            Self::Certificate {
                problem, repository, ..
            } => return untrusted(repository, *problem),
            Self::OutcomeUnknown { .. } => "run the same command again: it completes what was begun",
            Self::Damaged { .. } | Self::Digest { .. } => {
                "the content is damaged where it is kept; push it again from a good copy"
            }
            _ => return None,
        };
        Some(text.to_owned())
    }
}

/// The hint of the repository's error behind `error`, whatever lies between.
fn hint_behind(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    behind(error)?.hint()
}

/// The same, if a registry refused access.
fn denied_behind(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let found = behind(error)?;
    let is_denied = matches!(found, RepositoryError::Denied { .. });
    found.hint().filter(|_| is_denied)
}

fn behind<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a RepositoryError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<RepositoryError>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// What to do about a certificate that is not believed. `repository` begins with its host.
fn untrusted(repository: &str, problem: CertificateProblem) -> Option<String> {
    let host = repository.split('/').next().unwrap_or(repository);
    match problem {
        CertificateProblem::Untrusted => Some(format!(
            "if it is the right one: --ca FILE with the certificate of its authority, or that file as \
             /etc/docker/certs.d/{host}/ca.crt"
        )),
        CertificateProblem::Expired => Some(format!(
            "whoever runs {host} has to renew it; if the clock here is right"
        )),
        CertificateProblem::NotYetValid => Some("the clock here may be wrong".to_owned()),
        _ => None,
    }
}

/// What to do when a registry refuses. `repository` begins with its host.
fn denied(repository: &str, denial: Denial) -> Option<String> {
    let host = repository.split('/').next().unwrap_or(repository);
    match denial {
        Denial::NoCredentials => Some(format!("cairn login {host}")),
        Denial::NotAccepted => Some(format!(
            "the password or token may have changed: cairn login {host}"
        )),
        Denial::Insufficient => Some(format!(
            "whoever runs {host} gives the right to do this; for another account: cairn login {host}"
        )),
        _ => None,
    }
}

impl Classify for TransferError {
    fn exit(&self) -> Exit {
        match self {
            Self::Missing { .. }
            | Self::Manifest { .. }
            | Self::TooDeep { .. }
            | Self::TooManyReferrers { .. } => Exit::Integrity,
            Self::Read { source, .. } | Self::Write { source, .. } => source.exit(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Read { source, .. } | Self::Write { source, .. } => source.hint(),
            _ => None,
        }
    }
}

impl Classify for PackError {
    fn exit(&self) -> Exit {
        match self {
            Self::Source(source) => source.exit(),
            Self::Platforms { .. } | Self::LayerType { .. } | Self::NotAnImage { .. } => Exit::Input,
            Self::Content(source) | Self::Write(source) => source.exit(),
            Self::Broken(_) => Exit::Environment,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Source(source) => source.hint(),
            Self::Platforms { .. } => {
                Some("choose one with --platform, or write an oci-archive: it has room for all".to_owned())
            }
            Self::LayerType { .. } => Some(
                "an oci-archive has: podman loads it, and Docker where containerd keeps its images"
                    .to_owned(),
            ),
            Self::Content(source) | Self::Write(source) => source.hint(),
            Self::NotAnImage { .. } | Self::Broken(_) => None,
        }
    }
}

impl Classify for FetchError {
    fn exit(&self) -> Exit {
        match self {
            Self::Digest { .. } | Self::Size { .. } => Exit::Integrity,
            Self::Missing { .. } | Self::Nowhere { .. } | Self::Failed { .. } | Self::Keep { .. } => {
                Exit::Environment
            }
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Nowhere { .. } => {
                "a lock can be kept from that: cairn push --with-inputs keeps its packages beside the image, and `snapshot` in \
                 [packages.debian] names an archive that forgets none; cairn lock --update packages takes what there is now"
            }
            Self::Missing { .. } => "the local store's cache does not have it; build once without --offline",
            Self::Digest { .. } => {
                "somebody changed what the URL gives, or it gives a page instead; if the new content is meant, its \
                 SHA-256 belongs into the spec"
            }
            Self::Size { .. } => "somebody changed what the URL gives; the lock has another size",
            Self::Failed { .. } | Self::Keep { .. } => return None,
        };
        Some(text.to_owned())
    }
}

impl Classify for LockError {
    fn exit(&self) -> Exit {
        match self {
            Self::Repository { source, .. } => source.exit(),
            Self::Fetch { source } => source.exit(),
            Self::DebianSources { .. } | Self::Debian { .. } => Exit::Input,
            Self::DebianArchive { source } => archive_exit(source),
            Self::OpenRootFs { .. } | Self::NotAFile { .. } | Self::RootFs { .. } => Exit::Input,
            Self::Conflict { .. } | Self::Spec { .. } | Self::NotAnImage { .. } => Exit::Input,
            _ => Exit::Integrity,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Repository { source, .. } => source.hint(),
            Self::Fetch { source } => source.hint(),
            Self::DebianSources { .. } => Some(
                "give `mirror` in [packages.debian], or CAIRN_DEBIAN_MIRROR; on Debian, the host's own sources are read"
                    .to_owned(),
            ),
            Self::DebianArchive { source } => archive_hint(source),
            _ => None,
        }
    }
}

fn archive_exit(error: &ArchiveError) -> Exit {
    match error {
        ArchiveError::Fetch { .. } => Exit::Environment,
        ArchiveError::NoSuite { .. } | ArchiveError::NoKeys { .. } => Exit::Input,
        ArchiveError::Release {
            source:
                ReleaseError::OtherSuite { .. }
                | ReleaseError::Component { .. }
                | ReleaseError::Architecture { .. },
            ..
        } => Exit::Input,
        _ => Exit::Integrity,
    }
}

fn archive_hint(error: &ArchiveError) -> Option<String> {
    let text = match error {
        ArchiveError::NoKeys { .. } => "`keyring` in [packages.debian] names a file of keys",
        ArchiveError::Signature { .. } => {
            "`keyring` in [packages.debian] names the keys that may sign; the mirror may also show something else than it should"
        }
        ArchiveError::Release {
            source: ReleaseError::Expired { .. },
            ..
        } => "the mirror is behind, or stands still; an old state that is meant needs `snapshot`",
        ArchiveError::Digest { .. } | ArchiveError::NoIndex { .. } => {
            "perhaps the mirror is just being brought up to date: try again in some minutes"
        }
        _ => return None,
    };
    Some(text.to_owned())
}

impl Classify for BuildError {
    fn exit(&self) -> Exit {
        match self {
            Self::InputMissing { .. } => Exit::Environment,
            Self::Package { .. } => Exit::Integrity,
            Self::Fetch { source } => source.exit(),
            Self::Input { source, .. } | Self::Write { source, .. } => source.exit(),
            Self::ConfigContent { .. } | Self::Config { .. } => Exit::Integrity,
            Self::Scratch { .. } => Exit::Environment,
            Self::Layer { source, .. } => source.exit(),
            _ => Exit::Input,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Unlocked { .. } => Some("run cairn lock, and commit cairn.lock".to_owned()),
            Self::Fetch { source } => source.hint(),
            Self::RootFsChanged { .. } => Some("if the new file is meant: cairn lock --update".to_owned()),
            Self::BaseReplaced { .. } => {
                Some("if the image that is there now is meant: cairn lock --update".to_owned())
            }
            Self::InputMissing { .. } => Some(
                "it is neither in the local store nor in its cache; build once without --offline".to_owned(),
            ),
            Self::Input { source, .. } | Self::Write { source, .. } => source.hint(),
            Self::Layer { source, .. } => source.hint(),
            _ => None,
        }
    }
}

impl Classify for WriteError {
    fn exit(&self) -> Exit {
        match self {
            Self::Output { .. } | Self::Spooled { .. } => Exit::Environment,
            Self::Content { source, .. } => source.exit(),
            Self::Mtime { .. } | Self::Tree { .. } => Exit::Input,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Output { .. } => {
                Some("layers are written into the local store; --store DIR chooses another place".to_owned())
            }
            _ => None,
        }
    }
}

impl Classify for LocalError {
    fn exit(&self) -> Exit {
        match self {
            Self::Open { .. } | Self::Read { .. } => Exit::Environment,
            _ => Exit::Input,
        }
    }
}

impl Classify for DiffError {
    fn exit(&self) -> Exit {
        match self {
            Self::Repository { source, .. } => source.exit(),
            Self::NotAnImage { .. } => Exit::Input,
            _ => Exit::Integrity,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Repository { source, .. } => source.hint(),
            _ => None,
        }
    }
}

impl Classify for VerifyError {
    fn exit(&self) -> Exit {
        match self {
            Self::Repository { source, .. } => source.exit(),
            Self::Broken { .. } => Exit::Environment,
        }
    }
}

impl Classify for OperationError {
    fn exit(&self) -> Exit {
        self.class().into()
    }

    fn hint(&self) -> Option<String> {
        match (denied_behind(self), self) {
            // Run again as it is it would be refused again.
            (Some(hint), Self::Unfinished { .. } | Self::Incomplete(_)) => Some(format!(
                "{hint}; then the same command completes what is unfinished"
            )),
            (Some(hint), _) => Some(hint),
            (None, _) => Self::hint(self).or_else(|| hint_behind(self)),
        }
    }
}

impl Classify for OpenError {
    fn exit(&self) -> Exit {
        self.class().into()
    }

    fn hint(&self) -> Option<String> {
        let again = || {
            let is_away = matches!(self, Self::Repository { .. }) && self.exit() == Exit::Environment;
            is_away.then(|| {
                "nothing was changed; when the registry answers, run the same command again".to_owned()
            })
        };
        Self::hint(self).or_else(|| hint_behind(self)).or_else(again)
    }
}

impl Classify for DropError {
    fn exit(&self) -> Exit {
        self.class().into()
    }

    fn hint(&self) -> Option<String> {
        hint_behind(self)
    }
}

impl Classify for ImageError {
    fn exit(&self) -> Exit {
        self.class().into()
    }

    fn hint(&self) -> Option<String> {
        hint_behind(self)
    }
}

impl Classify for CopyError {
    fn exit(&self) -> Exit {
        self.class().into()
    }

    fn hint(&self) -> Option<String> {
        denied_behind(self)
            .or_else(|| Self::hint(self))
            .or_else(|| hint_behind(self))
    }
}

impl Classify for QueryError {
    fn exit(&self) -> Exit {
        self.class().into()
    }

    fn hint(&self) -> Option<String> {
        hint_behind(self)
    }
}

impl Classify for AuditError {
    fn exit(&self) -> Exit {
        self.class().into()
    }

    fn hint(&self) -> Option<String> {
        hint_behind(self)
    }
}

impl Classify for FileError {
    fn exit(&self) -> Exit {
        Exit::Environment
    }
}

impl Classify for BadSize {
    fn exit(&self) -> Exit {
        Exit::Input
    }
}

impl Classify for NoHome {
    fn exit(&self) -> Exit {
        Exit::Environment
    }

    fn hint(&self) -> Option<String> {
        Some("set HOME, or say where: --store DIR, CAIRN_STATE, CAIRN_KEY_FILE".to_owned())
    }
}

impl Classify for ReferenceError {
    fn exit(&self) -> Exit {
        Exit::Input
    }
}

impl Classify for DocumentError {
    fn exit(&self) -> Exit {
        Exit::Integrity
    }
}

impl Classify for ClientError {
    fn exit(&self) -> Exit {
        match self {
            Self::Host { .. } => Exit::Input,
            Self::Setup(_) => Exit::Environment,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Host { .. } => Some("name the host alone: registry.example.org, localhost:5000".to_owned()),
            Self::Setup(_) => None,
        }
    }
}

impl Classify for LoginError {
    fn exit(&self) -> Exit {
        match self {
            Self::Client(error) => error.exit(),
            Self::Registry(_) | Self::NotARegistry { .. } => Exit::Environment,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Client(error) => error.hint(),
            Self::Registry(RepositoryError::Denied { .. }) => Some(
                "nothing was kept; registries whose users sign in with a second factor want an access token here"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

impl Classify for KeepError {
    fn exit(&self) -> Exit {
        Exit::Environment
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Document(CredentialFileError::Invalid { .. } | CredentialFileError::Entry { .. }) => {
                Some("put the file right or move it away; nothing in it was changed".to_owned())
            }
            Self::Helper(HelperError::Missing { .. }) => Some(
                "install it, or take its name out of credsStore and credHelpers of the file with credentials"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

impl Classify for ServerError {
    fn exit(&self) -> Exit {
        Exit::Environment
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Bind { .. } => {
                Some("choose another address: --listen 127.0.0.1:0 takes a free port".to_owned())
            }
            Self::Flush(_) => None,
        }
    }
}
