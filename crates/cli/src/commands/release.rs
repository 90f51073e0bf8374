//! `cairn release`

use cairn_ledger::image::{self, Depth};
use cairn_ledger::operation::plan;
use cairn_ledger::{Channel, Kind, OperationError, ReleaseRequest, Version};
use cairn_oci::{Digest, Reference};
use cairn_store::Target;
use cairn_store::transfer::Transferred;
use clap::Args;

use crate::commands::build::{self, BuildOptions, Purpose};
use crate::commands::moves::{self, Moved};
use crate::commands::push;
use crate::failure::{Exit, Failure};
use crate::ledgers::{EntryOptions, GlassOption, LedgerOptions, OpenLedger};
use crate::pipeline::{self, Pipeline};
use crate::program::Cairn;
use crate::project::Project;
use crate::signing::{self, SigningKey};
use crate::{kept_inputs, released as layers, source};

/// What `cairn release` takes.
#[derive(Debug, Args)]
pub struct Release {
    /// The version: it is bound to one digest, for ever
    #[arg(value_parser = moves::version)]
    pub version: Version,
    /// Points this channel at it; may be repeated
    #[arg(long = "channel", value_name = "C", value_parser = moves::channel)]
    pub channels: Vec<Channel>,
    /// Takes an image that exists, instead of building one: [host/]name@DIGEST
    #[arg(long, value_name = "REF@DIGEST")]
    pub image: Option<Reference>,
    /// Keeps what the lock names beside the image too: packages, and what URLs gave
    #[arg(long, conflicts_with = "image")]
    pub with_inputs: bool,
    /// Lifts the hold of the channels that are named
    #[arg(long)]
    pub resume: bool,
    /// Which ledger.
    #[command(flatten)]
    pub ledger: LedgerOptions,
    /// What is written into it.
    #[command(flatten)]
    pub entry: EntryOptions,
    /// Whether the key need not be in the ledger.
    #[command(flatten)]
    pub glass: GlassOption,
    /// How to build.
    #[command(flatten)]
    pub build: BuildOptions,
}

/// An image that is in the repository of the ledger's images.
struct Released {
    digest: Digest,
    transferred: Transferred,
    source: Option<cairn_ledger::Source>,
    /// Digest of the build record, if it was built here.
    record: Option<Digest>,
}

impl Release {
    /// Builds or takes an image, appends, moves channels.
    pub async fn run(&self, cairn: &Cairn) -> Result<(), Failure> {
        let mut project = Project::find(cairn)?;
        let options = self.options(project.as_ref())?;
        let mut open = options.open(cairn, project.as_ref()).await?;
        // Known before anything is built.
        open.check_home()?;
        if self.entry.dry_run {
            return self.rehearse(cairn, project.as_mut(), &open).await;
        }
        // Without a key nothing can be released, and in a pipeline none is made: known before anything is built.
        let key = if open.opened.state().is_some() {
            signing::require_for(cairn, &open, self.glass)?
        } else {
            signing::find_or_make(cairn)?
        };
        let released = match &self.image {
            Some(image) => Released {
                // What else could say from which commit an image is that something else built?
                source: Pipeline::of(&cairn.environment).source,
                ..self.take(image, &open).await?
            },
            None => self.build(cairn, project.as_mut(), &open, &key).await?,
        };
        self.start_ledger(cairn, &mut open, &key, released.digest).await?;
        // Later than the ledger's first entry, and not before it.
        let context = self
            .glass
            .on(self.entry.context(cairn, &key, released.source.clone())?);
        let done = open
            .ledger
            .release(
                &open.opened,
                &context,
                &self.request(released.digest, released.record),
            )
            .await;
        moves::finish(
            cairn,
            &open,
            key.fingerprint(),
            done,
            Moved {
                verb: "released",
                transferred: Some(released.transferred),
            },
        )
        .await
    }

    fn request(&self, digest: Digest, record: Option<Digest>) -> ReleaseRequest {
        ReleaseRequest {
            version: self.version.clone(),
            digest,
            channels: self.channels.iter().cloned().collect(),
            resume: self.resume,
            record,
        }
    }

    /// Says what would be released: builds into the local store, makes no key, and writes nothing anywhere else.
    async fn rehearse(
        &self,
        cairn: &Cairn,
        project: Option<&mut Project>,
        open: &OpenLedger,
    ) -> Result<(), Failure> {
        let digest = match (&self.image, project) {
            (Some(image), _) => self.take(image, open).await?.digest,
            (None, Some(project)) => {
                let released = layers::Released::of(open);
                let purpose = Purpose::of(&open.images, &released);
                let image = build::build(cairn, project, &[], &self.build, purpose).await?;
                released.tell(cairn);
                image.manifest.digest()
            }
            (None, None) => return Err(no_image()),
        };
        let request = self.request(digest, None);
        // What was built here is not pushed yet.
        let absent = self.image.is_none();
        if open.opened.state().is_none() {
            let first = open.ledger.rehearse_first(&open.opened, &request, absent);
            first.await?;
            cairn.terminal.say(format!(
                "would start a ledger for {}, and release {}",
                open.images, self.version
            ));
            return cairn.terminal.print(open.images.at_digest(digest).to_string());
        }
        let key = signing::require_for(cairn, open, self.glass)?;
        let context = self.glass.on(self.entry.context(cairn, &key, None)?);
        let label = open.ledger.home().label();
        let plan = plan::release(&open.opened, &label, &context, &request)?;
        moves::rehearse(cairn, open, key.fingerprint(), "released", plan, absent).await
    }

    /// An image that was named says which repository is meant.
    fn options(&self, project: Option<&Project>) -> Result<LedgerOptions, Failure> {
        let mut options = self.ledger.clone();
        if let Some(image) = &self.image {
            let repository = image.without_target();
            if options
                .repository
                .as_ref()
                .is_some_and(|named| named.without_target() != repository)
            {
                return Err(Failure::new(
                    Exit::Input,
                    format!("{image} is not in the repository that --repository names"),
                )
                .with_hint("copy it there first: cairn copy".to_owned()));
            }
            options.repository = Some(repository);
        } else if project.is_none() {
            return Err(no_image());
        }
        Ok(options)
    }

    async fn take(&self, image: &Reference, open: &OpenLedger) -> Result<Released, Failure> {
        let images = open.ledger.images();
        if let Some(digest) = image.digest {
            let found = images.read_manifest(&Target::Digest(digest)).await?;
            return match found {
                Some(found) if !found.document()?.is_image() => Err(Failure::new(
                    Exit::Input,
                    format!("{image} is not an image, and cannot be released"),
                )),
                Some(_) => Ok(Released {
                    digest,
                    transferred: Transferred::default(),
                    source: None,
                    record: None,
                }),
                None => Err(
                    Failure::new(Exit::Input, format!("{} has no {digest}", open.images))
                        .with_hint("push the image first".to_owned()),
                ),
            };
        }
        // A tag may move between the look and the release: the digest is what is signed for, so it is what is named.
        let failure = Failure::new(Exit::Input, format!("--image {image} does not say which digest"));
        let Some(target) = crate::place::target(image) else {
            return Err(failure);
        };
        let hint = match images.stat_manifest(&target).await? {
            Some(found) => format!(
                "it is {} now: --image {}",
                found.digest,
                image.at_digest(found.digest)
            ),
            None => format!("cairn tags {} lists what there is", open.images),
        };
        Err(failure.with_hint(hint))
    }

    async fn build(
        &self,
        cairn: &Cairn,
        project: Option<&mut Project>,
        open: &OpenLedger,
        key: &SigningKey,
    ) -> Result<Released, Failure> {
        let project = project.ok_or_else(no_image)?;
        let released = layers::Released::of(open);
        let purpose = Purpose::of(&open.images, &released);
        let image = build::build(cairn, project, &[], &self.build, purpose).await?;
        released.tell(cairn);
        let digest = image.manifest.digest();
        let is_new = self.check(cairn, open, key, digest)?;
        let mut pushed = push::push(cairn, &image, &open.images).await?;
        if self.with_inputs {
            let kept = kept_inputs::keep(cairn, project, &pushed.repository, &image.manifest).await?;
            pushed.transferred.merge(&kept);
        }
        let record = match project.build_record(&image.built).filter(|_| is_new) {
            Some(record) => Some(open.ledger.attach_record(digest, record).await?),
            None => None,
        };
        Ok(Released {
            digest,
            transferred: pushed.transferred,
            source: pipeline::joined(
                source::commit(&project.directory),
                Pipeline::of(&cairn.environment).source,
            ),
            record,
        })
    }

    /// Fails before anything is uploaded if the version is bound to another digest, or the key may not release. Whether the
    /// version is released by this for the first time.
    fn check(
        &self,
        cairn: &Cairn,
        open: &OpenLedger,
        key: &SigningKey,
        digest: Digest,
    ) -> Result<bool, Failure> {
        if open.opened.state().is_none() {
            return Ok(true);
        }
        let context = self.glass.on(self.entry.context(cairn, key, None)?);
        let plan = plan::release(
            &open.opened,
            &open.ledger.home().label(),
            &context,
            &self.request(digest, None),
        )?;
        Ok(plan.entry.is_some_and(|entry| entry.kind == Kind::Release))
    }

    async fn start_ledger(
        &self,
        cairn: &Cairn,
        open: &mut OpenLedger,
        key: &SigningKey,
        digest: Digest,
    ) -> Result<(), Failure> {
        if open.opened.state().is_some() {
            return Ok(());
        }
        // A ledger is not started for a release that will be refused.
        let whole = image::check(&**open.ledger.images(), digest, Depth::Presence).await;
        whole.map_err(|source| OperationError::Image {
            target: self.version.to_string(),
            source,
        })?;
        let genesis = EntryOptions::default().context(cairn, key, None)?;
        open.initialise(cairn, &genesis).await
    }
}

fn no_image() -> Failure {
    Failure::new(
        Exit::Input,
        "there is no cairn.toml here, so there is nothing to build",
    )
    .with_hint("to release an image that exists: cairn release VERSION --image host/name@sha256:…".to_owned())
}
