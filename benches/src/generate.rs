//! Ledgers of any length, made with the ledger's own library; and entries appended to them.
//!
//! They run as processes of their own (`cairn-benches ledger …`), so that they are measured as everything else is. Whether a
//! ledger that was made is one, `cairn audit` says: see `ledger.rs`.

use std::path::Path;
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use cairn_ledger::entry::{Actor, Entry, EntryName, How, Kind, Mode, Move, Nonce};
use cairn_ledger::envelope::Envelope;
use cairn_ledger::referrer::Referrer;
use cairn_ledger::{
    Authority, Channel, Commit, Context, Ledger, LocalKey, Opened, Signer, TrustPolicy, Version,
};
use cairn_oci::{Descriptor, Digest, Hasher, Manifest, RepositoryName, json, media_type};
use cairn_store::{ByteStream, Condition, Directory, Memory, RawManifest, Repository, Target, from_bytes};
use futures_util::stream;

use crate::Result;

/// The repository of every ledger that is made.
pub const REPOSITORY: &str = "bench/ledger";
/// One entry of so many is a release; the others move prod between the two newest versions.
const CYCLE: usize = 50;
/// How many bytes of an image are made at a time.
const PIECE: usize = 1 << 20;

/// The key that signs everything here.
pub fn key() -> Result<LocalKey> {
    LocalKey::from_seed(&[7; 32]).map_err(text)
}

fn text(error: impl std::error::Error) -> String {
    let mut all = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        all.push_str(&format!(": {cause}"));
        next = cause.source();
    }
    all
}

/// `ledger make STORE MODE ENTRIES BYTES`, `ledger append STORE COUNT BATCH FIRST`, `ledger verify COUNT`
pub fn run(arguments: &[String]) -> Result<()> {
    let number = |text: &String| text.parse::<usize>().map_err(|_| format!("{text} is no number"));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(text)?;
    match arguments {
        [what, store, mode, entries, bytes] if what == "make" => {
            let mode = if mode == "causal" {
                Mode::Causal
            } else {
                Mode::Linear
            };
            let (entries, bytes) = (number(entries)?, number(bytes)?);
            runtime.block_on(make(Path::new(store), mode, entries, bytes))
        }
        [what, store, count, batch, first] if what == "append" => {
            let (count, batch, first) = (number(count)?, number(batch)?, number(first)?);
            runtime.block_on(append(Path::new(store), count, batch, first))
        }
        [what, count] if what == "verify" => verify(number(count)?),
        _ => Err("ledger make|append|verify".to_owned()),
    }
}

fn open(store: &Path) -> Result<Arc<dyn Repository>> {
    let name: RepositoryName = REPOSITORY.parse().map_err(text)?;
    let store = Directory::open(store).map_err(text)?;
    Ok(Arc::new(store.open_repository(&name)))
}

fn context(signer: &dyn Signer) -> Result<Context<'_>> {
    Ok(Context {
        signer,
        at: "2026-01-01T00:00:00Z".parse().map_err(text)?,
        nonce: [0; 16],
        actor: Actor {
            id: "release-bot".to_owned(),
            how: How::Claimed,
        },
        reason: Some("made by the benchmark".to_owned()),
        source: None,
        run: None,
        break_glass: false,
    })
}

/// Entries one after the other, each standing on those before it.
struct Maker<'a> {
    genesis: Entry,
    name: EntryName,
    signer: &'a LocalKey,
    made: u64,
    /// The last entry that moved prod.
    after: Option<EntryName>,
    envelopes: Vec<Envelope>,
}

impl<'a> Maker<'a> {
    async fn new(mode: Mode, signer: &'a LocalKey) -> Result<Self> {
        // The genesis is that of a real ledger, but for its mode.
        let name: RepositoryName = REPOSITORY.parse().map_err(text)?;
        let scratch = Ledger::beside(Arc::new(Memory::new().open(&name)));
        let authority = Authority::single(signer.key().clone());
        let started = scratch.initialise(&context(signer)?, authority).await;
        let started = started.map_err(text)?.opened;
        let genesis = Entry {
            mode: Some(mode),
            ..started.view().records()[0].entry.clone()
        };
        let envelope = genesis.sign(signer).map_err(text)?;
        Ok(Self {
            genesis,
            name: envelope.name(),
            signer,
            made: 0,
            after: None,
            envelopes: vec![envelope],
        })
    }

    /// An entry that says this of `version`, which is bound to `digest`.
    fn entry(&mut self, kind: Kind, version: Version, digest: Digest, moves: Vec<Move>) -> Result<Envelope> {
        self.made += 1;
        let mut nonce = [0; 16];
        nonce[8..].copy_from_slice(&self.made.to_be_bytes());
        let entry = Entry {
            kind,
            ledger: Some(self.name),
            chain: Some(self.name),
            version: Some(version),
            digest: Some(digest),
            moves,
            authority: None,
            mode: None,
            home: None,
            nonce: Nonce(nonce),
            ..self.genesis.clone()
        };
        entry.sign(self.signer).map_err(text)
    }

    /// The same, which moves prod.
    fn moving(&mut self, kind: Kind, version: Version, digest: Digest) -> Result<()> {
        let channel: Channel = "prod".parse().map_err(text)?;
        let after = self.after;
        let envelope = self.entry(kind, version, digest, vec![Move { channel, after }])?;
        self.after = Some(envelope.name());
        self.envelopes.push(envelope);
        Ok(())
    }
}

fn version(number: usize) -> Result<Version> {
    format!("1.{number}.0").parse().map_err(text)
}

/// Makes a ledger of `count` entries, at least four, over two images that share a layer of `bytes` bytes, with all tags and
/// referrers; prints the version that prod shows, and the one before it.
async fn make(store: &Path, mode: Mode, count: usize, bytes: usize) -> Result<()> {
    let repository = open(store)?;
    let signer = key()?;
    let images = images(&*repository, bytes).await?;
    let mut maker = Maker::new(mode, &signer).await?;
    let mut newest = 0;
    let mut shown = 0;
    for number in 1..count {
        if number <= 2 || number % CYCLE == 0 {
            newest += 1;
            shown = newest;
            let digest = images[shown % 2].digest();
            maker.moving(Kind::Release, version(shown)?, digest)?;
        } else {
            // The two newest versions are of different images.
            shown = if shown == newest { newest - 1 } else { newest };
            let digest = images[shown % 2].digest();
            maker.moving(Kind::Promote, version(shown)?, digest)?;
        }
    }
    let ledger = Ledger::beside(Arc::clone(&repository));
    let empty = ledger.open(&TrustPolicy::default()).await.map_err(text)?;
    let opened = committed(&ledger, &empty, &maker.envelopes, &signer).await?;
    project(&*repository, &opened, &images, shown).await?;
    let before = if shown == newest { newest - 1 } else { newest };
    println!("{} {}", version(shown)?, version(before)?);
    Ok(())
}

async fn committed(
    ledger: &Ledger,
    opened: &Opened,
    envelopes: &[Envelope],
    signer: &LocalKey,
) -> Result<Opened> {
    let at = context(signer)?.at;
    let done = ledger.append_all(opened, envelopes, signer, at).await;
    match done.map_err(text)? {
        Commit::Appended(opened) => Ok(*opened),
        Commit::Overtaken(_, entry, _) => Err(format!("{entry} would have no effect")),
    }
}

/// What a release does after its entry: tags and referrers.
async fn project(
    repository: &dyn Repository,
    opened: &Opened,
    images: &[RawManifest; 2],
    shown: usize,
) -> Result<()> {
    let tag = |name: &str| name.parse().map(Target::Tag).map_err(text);
    for record in opened.view().records() {
        let (Kind::Release, Some(version), Some(digest)) =
            (&record.entry.kind, &record.entry.version, record.entry.digest)
        else {
            continue;
        };
        let image = images.iter().find(|image| image.digest() == digest);
        let image = image.ok_or("a release of no image")?;
        let target = tag(version.as_str())?;
        let sealed = repository.write_manifest(&target, image, &Condition::Seal).await;
        sealed.map_err(text)?;
        let referrer = Referrer::of(record, image.descriptor()).ok_or("a release without a signature")?;
        let written = referrer.write(repository, &image.descriptor()).await;
        written.map_err(text)?;
    }
    let prod = tag("prod")?;
    let shown = &images[shown % 2];
    let written = repository.write_manifest(&prod, shown, &Condition::Always).await;
    written.map_err(text)
}

/// Two images with one layer of `bytes` bytes that do not compress.
async fn images(repository: &dyn Repository, bytes: usize) -> Result<[RawManifest; 2]> {
    let piece = noise();
    let pieces = |bytes: usize| {
        let piece = piece.clone();
        (0..bytes.div_ceil(PIECE)).map(move |at| piece.slice(..PIECE.min(bytes - at * PIECE)))
    };
    let mut hasher = Hasher::new();
    pieces(bytes).for_each(|piece| hasher.update(&piece));
    let (digest, size) = (hasher.finish(), bytes as u64);
    let content: ByteStream = Box::pin(stream::iter(pieces(bytes).map(Ok)));
    let written = repository.write_blob(&digest, size, content).await;
    written.map_err(text)?;
    let layer = Descriptor::new(media_type::LAYER, digest, size);
    let mut images = Vec::new();
    for name in ["one", "two"] {
        let config = format!(
            "{{\"architecture\":\"amd64\",\"author\":\"{name}\",\"os\":\"linux\",\"rootfs\":{{\"diff_ids\":[\"{digest}\"],\"type\":\"layers\"}}}}"
        );
        let descriptor = Descriptor::of(media_type::CONFIG, config.as_bytes());
        let written = repository
            .write_blob(&descriptor.digest, descriptor.size, from_bytes(config))
            .await;
        written.map_err(text)?;
        let manifest = Manifest::image(descriptor, vec![layer.clone()]);
        let manifest = RawManifest::new(media_type::MANIFEST, json::canonical(&manifest));
        let target = Target::Digest(manifest.digest());
        let written = repository
            .write_manifest(&target, &manifest, &Condition::Always)
            .await;
        written.map_err(text)?;
        images.push(manifest);
    }
    images.try_into().map_err(|_| "two images".to_owned())
}

fn noise() -> Bytes {
    let mut state = 20_261_u64;
    let mut bytes = Vec::with_capacity(PIECE);
    while bytes.len() < PIECE {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        bytes.extend_from_slice(&(state >> 16).to_le_bytes()[..4]);
    }
    bytes.into()
}

/// Appends `count` releases in batches of `batch`, the first one called `2.FIRST.0`, to the ledger that `make` made.
async fn append(store: &Path, count: usize, batch: usize, first: usize) -> Result<()> {
    let repository = open(store)?;
    let signer = key()?;
    let ledger = Ledger::beside(repository);
    let mut opened = ledger.open(&TrustPolicy::default()).await.map_err(text)?;
    let records = opened.view().records();
    let digest = records.iter().find_map(|record| record.entry.digest);
    let digest = digest.ok_or("a ledger without a release")?;
    let mut maker = Maker {
        name: records[0].name,
        genesis: records[0].entry.clone(),
        signer: &signer,
        // Names must differ from those of everybody else.
        made: (first as u64 + 1) << 32,
        after: None,
        envelopes: Vec::new(),
    };
    let mut made = 0;
    while made < count {
        let mut envelopes = Vec::new();
        for number in made..count.min(made + batch) {
            let version = format!("2.{}.0", first + number).parse().map_err(text)?;
            envelopes.push(maker.entry(Kind::Release, version, digest, Vec::new())?);
        }
        made += envelopes.len();
        opened = committed(&ledger, &opened, &envelopes, &signer).await?;
    }
    Ok(())
}

/// Checks `count` signatures over as many bytes as an entry has, on all cores, and does nothing else.
fn verify(count: usize) -> Result<()> {
    let signer = key()?;
    let message = vec![b'm'; 900];
    let signature = Signer::sign(&signer, &message).map_err(text)?;
    let public = signer.key();
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let all = thread::scope(|scope| {
        let workers: Vec<_> = (0..cores)
            .map(|core| {
                let (message, signature) = (&message, &signature);
                let share = count / cores + usize::from(core < count % cores);
                scope.spawn(move || (0..share).all(|_| public.verifies(message, signature)))
            })
            .collect();
        workers.into_iter().all(|worker| worker.join().unwrap_or(false))
    });
    if all {
        Ok(())
    } else {
        Err("a signature is wrong".to_owned())
    }
}
