//! Files and archives from URLs.

use std::io::Write as _;
use std::sync::Mutex;

use async_trait::async_trait;
use cairn_build::finding::Finding;
use cairn_build::{
    BuildError, FetchError, Fetcher, Inputs, Lock, LockError, LockRequest, Sources, Spec, Update,
    resolve_lock,
};
use cairn_layer::Limits;
use cairn_oci::{Descriptor, Digest, Reference};
use cairn_store::{Blob, ByteStream, Repository, RepositoryError, from_bytes};

use crate::fixture::{Project, render};

const HEAD: &str = "[image]\nname = \"a\"\nplatforms = [\"linux/amd64\"]\n[[layer]]\nname = \"tools\"\n";

/// What the URLs of this test give, and which were asked for.
#[derive(Debug, Default)]
struct Web {
    pages: Vec<(&'static str, Vec<u8>)>,
    asked: Mutex<Vec<String>>,
}

impl Web {
    fn new(pages: impl IntoIterator<Item = (&'static str, Vec<u8>)>) -> Self {
        Self {
            pages: pages.into_iter().collect(),
            asked: Mutex::default(),
        }
    }
}

#[async_trait]
impl Fetcher for Web {
    async fn fetch(&self, url: &str, digest: &Digest, _: Option<u64>) -> Result<Blob, FetchError> {
        self.asked.lock().unwrap().push(url.to_owned());
        let Some((_, content)) = self.pages.iter().find(|(page, _)| *page == url) else {
            return Err(FetchError::missing(url, *digest));
        };
        Ok(Blob {
            size: content.len() as u64,
            content: from_bytes(content.clone()),
        })
    }
}

#[async_trait]
impl Sources for Web {
    async fn base_image(&self, _: &Reference) -> Result<std::sync::Arc<dyn Repository>, RepositoryError> {
        unreachable!("no spec of this test has a base")
    }
}

#[async_trait]
impl Inputs for Web {
    async fn open(&self, _: &Descriptor) -> Result<Option<ByteStream>, RepositoryError> {
        Ok(None)
    }
}

async fn lock(project: &Project, spec: &str, existing: Option<&Lock>, web: &Web) -> Result<Lock, LockError> {
    let request = LockRequest {
        spec: &Spec::parse(spec).unwrap(),
        directory: project.path(),
        existing,
        siblings: &[],
        update: Update::AddMissing,
        dates: project.dates,
        scratch: project.scratch.path(),
        limits: Limits::default(),
        engine: cairn_layer::Engine::default(),
    };
    Ok(resolve_lock(&request, web).await?.lock)
}

/// The listing of the first layer.
async fn listing(spec: &str, web: &Web) -> Result<String, BuildError> {
    let project = Project::new();
    let lock = lock(&project, spec, None, web).await.unwrap();
    let lock = Lock::parse(&lock.to_string()).unwrap();
    let built = project.build_locked(spec, &lock, web).await?;
    Ok(project.listing(&built, 0).await)
}

/// A tar archive of regular files: name, mode and content.
fn tar(files: &[(&str, u32, &str)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, mode, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_mode(*mode);
        header.set_uid(1000);
        header.set_gid(1000);
        header.set_size(content.len() as u64);
        archive
            .append_data(&mut header, name, content.as_bytes())
            .unwrap();
    }
    archive.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn errors(element: &str) -> String {
    let text = format!("{HEAD}fetch = [{element}]\n");
    match Spec::parse(&text) {
        Ok(spec) => panic!("it was taken: {:?}", spec.layers[0].fetches),
        Err(findings) => render(&text, &findings),
    }
}

#[test]
fn a9_fetches_without_a_sha256_and_other_mistakes_are_findings() {
    let sha = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    let with = |rest: &str| errors(&format!("{{ to = \"/x\", sha256 = \"{sha}\", {rest} }}"));
    let cases = [
        errors("{ url = \"https://example.org/x\", to = \"/x\" }"),
        errors("{ url = \"https://example.org/x\", to = \"/x\", sha256 = \"ABC\" }"),
        errors("{ url = \"https://example.org/x\", to = \"/x\", sha256 = { \"linux/arm64\" = \"00\" } }"),
        with("url = \"http://example.org/x\""),
        with("url = \"ftp://example.org/x\""),
        with("url = \"dist/x\""),
        with("url = \"https://user:secret@example.org/x\""),
        with("url = \"https://example.org/a b\""),
        with("url = \"https://example.org/x#part\""),
        with("url = \"https:///x\""),
        with("url = \"https://example.org/{cpu}\""),
        with("url = \"https://example.org/x\", strip = 1, exclude = [\"*\"]"),
        with("url = \"https://example.org/x\", extract = 1, strip = -1"),
        with("url = \"https://example.org/x\", mode = \"4755\""),
        errors(&format!(
            "{{ url = \"https://example.org/\", to = \"/x/\", sha256 = \"{sha}\" }}"
        )),
        with(&format!(
            "url = \"https://example.org/x\" }}, {{ url = \"https://example.org/x\", to = \"/x\", sha256 = \"{}\"",
            sha.replace('4', "5")
        )),
    ];
    insta::assert_snapshot!(cases.join("\n"));
}

#[test]
fn one_sha256_does_not_do_for_urls_that_differ() {
    let text = HEAD.replace("\"linux/amd64\"", "\"linux/amd64\", \"linux/arm64\"")
        + "fetch = [{ url = \"https://example.org/{arch}\", to = \"/x\", sha256 = \
           \"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a\" }]\n";
    let findings: Vec<Finding> = Spec::parse(&text).unwrap_err();
    assert_eq!(findings.len(), 1);
    assert_eq!(
        findings[0].hint.as_deref(),
        Some("write sha256 = { \"linux/amd64\" = \"…\", \"linux/arm64\" = \"…\" }")
    );
}

#[tokio::test]
async fn files_and_archives_come_to_stand_where_the_spec_says() {
    let archive = gzip(&tar(&[("t-1/bin/t", 0o755, "#!"), ("t-1/doc/x", 0o644, "doc")]));
    let spec = format!(
        "{HEAD}fetch = [\n\
         {{ url = \"https://example.org/a/tool?x=1\", to = \"/usr/bin/\", mode = \"0755\", sha256 = \"{}\" }},\n\
         {{ url = \"https://example.org/t.tgz\", to = \"/opt/t\", extract = true, strip = 1, exclude = [\"doc\"], \
         sha256 = \"{}\" }},\n\
         {{ url = \"https://example.org/t.tgz\", to = \"/opt/all/\", extract = true, owner = \"7:8\", mode = \"0600\", \
         sha256 = \"{1}\" }}]\n",
        Digest::of(b"tool").hex(),
        Digest::of(&archive).hex(),
    );
    let web = Web::new([
        ("https://example.org/a/tool?x=1", b"tool".to_vec()),
        ("https://example.org/t.tgz", archive),
    ]);
    insta::assert_snapshot!(listing(&spec, &web).await.unwrap());
    // Once for the lock, and once for the build, however often the spec names it.
    assert_eq!(web.asked.lock().unwrap().len(), 4);
}

#[tokio::test]
async fn every_platform_gets_what_is_its_own() {
    let spec = format!(
        "{}fetch = [{{ url = \"https://example.org/{{arch}}\", to = \"/x\", sha256 = {{ \"linux/amd64\" = \"{}\", \
         \"linux/arm64\" = \"{}\" }} }}]\n",
        HEAD.replace("\"linux/amd64\"", "\"linux/amd64\", \"linux/arm64\""),
        Digest::of(b"for amd").hex(),
        Digest::of(b"for arm").hex(),
    );
    let web = Web::new([
        ("https://example.org/amd64", b"for amd".to_vec()),
        ("https://example.org/arm64", b"for arm".to_vec()),
    ]);
    let project = Project::new();
    let lock = lock(&project, &spec, None, &web).await.unwrap();
    let built = project.build_locked(&spec, &lock, &web).await.unwrap();
    let layers: Vec<_> = built
        .platforms
        .iter()
        .map(|image| image.layers[0].digest)
        .collect();
    assert_ne!(layers[0], layers[1]);
}

#[tokio::test]
async fn a_build_asks_for_nothing_that_the_lock_does_not_name() {
    let spec = format!(
        "{HEAD}fetch = [{{ url = \"https://example.org/x\", to = \"/x\", sha256 = \"{}\" }}]\n",
        Digest::of(b"x").hex()
    );
    let project = Project::new();
    let web = Web::new([("https://example.org/x", b"x".to_vec())]);
    let none = lock(&project, HEAD, None, &web).await.unwrap();
    let error = project.build_locked(&spec, &none, &web).await.unwrap_err();
    assert!(
        matches!(&error, BuildError::Unlocked { missing } if missing == &["https://example.org/x"]),
        "{error:?}"
    );
    assert!(web.asked.lock().unwrap().is_empty());
    // A pin that the spec contradicts, or does not need, is refused with its place.
    let pinned = lock(&project, &spec, None, &web).await.unwrap();
    let other = spec.replace(&Digest::of(b"x").hex()[..8], "00000000");
    let text = pinned.to_string();
    let mut findings = Vec::new();
    for spec in [&other[..], HEAD] {
        let error = lock(&project, spec, Some(&Lock::parse(&text).unwrap()), &web).await;
        let Err(LockError::Conflict { findings: found }) = error else {
            panic!("{error:?}");
        };
        findings.push(render(&text, &found));
    }
    insta::assert_snapshot!(findings.join("\n"));
}

#[tokio::test]
async fn content_that_is_not_what_it_should_be_never_gets_into_an_image() {
    let spec = format!(
        "{HEAD}fetch = [{{ url = \"https://example.org/x\", to = \"/x\", sha256 = \"{}\" }}]\n",
        Digest::of(b"x").hex()
    );
    let project = Project::new();
    let good = Web::new([("https://example.org/x", b"x".to_vec())]);
    let pinned = lock(&project, &spec, None, &good).await.unwrap();
    for bad in [b"y".to_vec(), b"xx".to_vec(), Vec::new()] {
        let web = Web::new([("https://example.org/x", bad)]);
        let error = project.build_locked(&spec, &pinned, &web).await.unwrap_err();
        assert!(matches!(error, BuildError::Fetch { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn c11_programs_that_hand_out_rights_need_an_owner() {
    let archive = tar(&[("su", 0o4755, "#!")]);
    let spec = |rest: &str| {
        format!(
            "{HEAD}fetch = [{{ url = \"https://example.org/x\", to = \"/bin/\", extract = true{rest}, sha256 = \"{}\" }}]\n",
            Digest::of(&archive).hex()
        )
    };
    let web = Web::new([("https://example.org/x", archive.clone())]);
    let error = listing(&spec(""), &web).await.unwrap_err();
    let BuildError::Spec { findings } = error else {
        panic!("{error:?}");
    };
    insta::assert_snapshot!(render(&spec(""), &findings));
    let owned = listing(&spec(", owner = \"root\""), &web).await.unwrap();
    assert!(owned.contains("4755"), "{owned}");
    let without = listing(&spec(", mode = \"0755\""), &web).await.unwrap();
    assert!(without.contains("0755") && !without.contains("4755"), "{without}");
}

#[tokio::test]
async fn what_cannot_be_unpacked_is_a_finding_of_the_spec() {
    let pages = [
        ("https://example.org/text", b"<html>".to_vec()),
        (
            "https://example.org/tar",
            tar(&[("a/x", 0o644, "x"), ("b/y", 0o644, "y")]),
        ),
    ];
    let mut shown = Vec::new();
    for (url, content) in &pages {
        let spec = format!(
            "{HEAD}fetch = [{{ url = \"{url}\", to = \"/x/\", extract = true, strip = 2, sha256 = \"{}\" }}]\n",
            Digest::of(content).hex()
        );
        let web = Web::new(pages.clone());
        let error = listing(&spec, &web).await.unwrap_err();
        let BuildError::Spec { findings } = error else {
            panic!("{error:?}");
        };
        shown.push(render(&spec, &findings));
    }
    insta::assert_snapshot!(shown.join("\n"));
}
