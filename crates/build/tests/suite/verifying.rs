//! What `verify_image` finds.

use cairn_build::verify::Code;
use cairn_build::{Report, verify_image};
use cairn_layer::{Compression, Limits};
use cairn_oci::config::{RootFs, RunConfig};
use cairn_oci::{Descriptor, Digest, ImageConfig, Index, Manifest, Platform, json, media_type};
use cairn_store::memory::MemoryRepository;
use cairn_store::{Repository as _, Target};

use crate::fixture::{BaseImage, Project, debian_tree, pack, write_blob, write_manifest};

async fn verify(repository: &MemoryRepository, digest: Digest) -> Report {
    verify_image(repository, &Target::Digest(digest), &Limits::default())
        .await
        .unwrap()
}

fn codes(report: &Report) -> Vec<Code> {
    report.findings.iter().map(|finding| finding.code).collect()
}

#[tokio::test]
async fn an_image_that_was_built_is_whole() {
    let project = Project::hello();
    let spec = "[image]\nname = \"a\"\nplatforms = [\"linux/amd64\", \"linux/arm64\"]\n[[layer]]\nname = \"l\"\ncopy = [{ from = \"dist/amd64/hello\", to = \"/\" }]\n[[layer]]\nname = \"m\"\ncopy = [{ from = \"dist/{arch}/\", to = \"/\" }]\n";
    let built = project.build(spec).await.unwrap();
    let report = verify(&project.repository("out"), built.digest).await;
    assert_eq!((report.findings, report.unchecked), (vec![], vec![]));
    let checked = report.checked;
    // The layer that both images share is read once.
    assert_eq!(
        (
            checked.manifests,
            checked.configs,
            checked.layers,
            checked.entries
        ),
        (3, 2, 2, 2)
    );
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let project = Project::new();
    let repository = project.repository("a");
    let gone = verify(&repository, Digest::of(b"gone")).await;
    assert_eq!(codes(&gone), [Code::Missing]);
    let manifest = BaseImage::debian("amd64").write(&repository).await;
    let (_, written) = pack(&debian_tree(), Compression::Gzip);
    repository.delete_blob(&written.digest).await.unwrap();
    let report = verify(&repository, manifest.digest).await;
    assert_eq!(codes(&report), [Code::Missing]);
    assert_eq!(report.findings[0].subject, written.digest.to_string());
}

/// An image whose configuration names `diff_ids` for one layer of `bytes`.
async fn image(repository: &MemoryRepository, bytes: &[u8], diff_ids: Vec<Digest>) -> Descriptor {
    let config = ImageConfig {
        created: None,
        author: None,
        platform: Platform::new("linux", "amd64"),
        config: RunConfig::default(),
        rootfs: RootFs::layers(diff_ids),
        history: Vec::new(),
    };
    let config = write_blob(repository, media_type::CONFIG, json::canonical(&config)).await;
    let layer = write_blob(repository, media_type::LAYER_GZIP, bytes.to_vec()).await;
    let manifest = json::canonical(&Manifest::image(config, vec![layer]));
    write_manifest(repository, media_type::MANIFEST, manifest).await
}

#[tokio::test]
async fn c6_layers_that_do_not_match_the_configuration_are_found() {
    let project = Project::new();
    let repository = project.repository("a");
    let (bytes, written) = pack(&debian_tree(), Compression::Gzip);
    let good = image(&repository, &bytes, vec![written.diff_id]).await;
    assert_eq!(codes(&verify(&repository, good.digest).await), []);
    let other = image(&repository, &bytes, vec![Digest::of(b"")]).await;
    assert_eq!(codes(&verify(&repository, other.digest).await), [Code::DiffId]);
    let more = image(&repository, &bytes, vec![written.diff_id, written.diff_id]).await;
    assert_eq!(codes(&verify(&repository, more.digest).await), [Code::Config]);
    let noise = image(&repository, b"\x1f\x8bnoise", vec![written.diff_id]).await;
    assert_eq!(codes(&verify(&repository, noise.digest).await), [Code::Layer]);
}

#[tokio::test]
async fn c7_a_layer_that_explodes_is_a_finding() {
    let project = Project::new();
    let repository = project.repository("a");
    let (bytes, written) = pack(&debian_tree(), Compression::Gzip);
    let image = image(&repository, &bytes, vec![written.diff_id]).await;
    let limits = Limits {
        max_uncompressed: 1000,
        ..Limits::default()
    };
    let report = verify_image(&repository, &Target::Digest(image.digest), &limits)
        .await
        .unwrap();
    assert_eq!(codes(&report), [Code::Layer]);
}

#[tokio::test]
async fn c2_c18_sizes_and_platforms_of_an_index_are_compared() {
    let project = Project::new();
    let repository = project.repository("a");
    let image = BaseImage::debian("amd64").write(&repository).await;
    let mut lying = image.clone().with_platform(Platform::new("linux", "arm64"));
    lying.size += 1;
    let index = json::canonical(&Index::images(vec![lying]));
    let index = write_manifest(&repository, media_type::INDEX, index).await;
    let report = verify(&repository, index.digest).await;
    assert_eq!(codes(&report), [Code::Size, Code::Platform]);
}

#[tokio::test]
async fn c5_indexes_that_nest_too_deep_are_found() {
    let project = Project::new();
    let repository = project.repository("a");
    let mut below = BaseImage::debian("amd64").write(&repository).await;
    for _ in 0..6 {
        let index = json::canonical(&Index::images(vec![below]));
        below = write_manifest(&repository, media_type::INDEX, index).await;
    }
    assert_eq!(codes(&verify(&repository, below.digest).await), [Code::Manifest]);
}

#[tokio::test]
async fn c12_layers_that_are_elsewhere_are_said_to_be_unchecked() {
    let project = Project::new();
    let repository = project.repository("a");
    let (_, written) = pack(&debian_tree(), Compression::Gzip);
    let config = ImageConfig {
        created: None,
        author: None,
        platform: Platform::new("linux", "amd64"),
        config: RunConfig::default(),
        rootfs: RootFs::layers(vec![written.diff_id]),
        history: Vec::new(),
    };
    let config = write_blob(&repository, media_type::CONFIG, json::canonical(&config)).await;
    let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    let layer = Descriptor::new(foreign, written.digest, written.size);
    let manifest = json::canonical(&Manifest::image(config, vec![layer]));
    let manifest = write_manifest(&repository, media_type::MANIFEST, manifest).await;
    let report = verify(&repository, manifest.digest).await;
    assert_eq!(codes(&report), []);
    assert_eq!(report.unchecked.len(), 1);
}
