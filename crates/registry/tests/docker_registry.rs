//! Our client against registries of distribution: Debian's docker-registry (2.8; no referrers, no conditions, unsorted
//! tags), and v3 (`registry`), which sorts and pages its lists and deletes tags.

#[path = "support/program.rs"]
mod program;
mod support;

use std::sync::Arc;

use cairn_oci::{Manifest, json, media_type};
use cairn_store::conformance::{self, Expectations};
use cairn_store::{Condition, Page, RawManifest, Referrers, Repository, RepositoryError, Target};
use program::{DockerRegistry, installed};
use support::{image, remote};

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_holds_as_far_as_docker_registry_goes() {
    let Some(program) = installed("docker-registry") else {
        return;
    };
    let registry = DockerRegistry::start(&program).await;
    let repository = remote(&registry.host(), "team/web");
    let capabilities = repository.capabilities().await.unwrap();
    assert!(!capabilities.conditions && !capabilities.seal);
    assert_eq!(capabilities.referrers, Referrers::FallbackTag);
    let expected = Expectations {
        sorted_tags: false,
        strict_pages: false,
        index_before_children: false,
        strict_documents: false,
        ..Expectations::default()
    };
    let sibling = remote(&registry.host(), "team/sibling");
    conformance::check_with(Arc::new(repository), Arc::new(sibling), expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_holds_as_far_as_distribution_v3_goes() {
    let Some(program) = installed("registry") else {
        return;
    };
    let registry = DockerRegistry::start(&program).await;
    let repository = remote(&registry.host(), "team/web");
    let capabilities = repository.capabilities().await.unwrap();
    assert!(!capabilities.conditions && !capabilities.seal);
    assert_eq!(capabilities.referrers, Referrers::FallbackTag);
    let expected = Expectations {
        // A full page always has a link to a next one, which may be empty.
        strict_pages: false,
        index_before_children: false,
        ..Expectations::default()
    };
    let sibling = remote(&registry.host(), "team/sibling");
    conformance::check_with(Arc::new(repository), Arc::new(sibling), expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_registry_gets_referrers_by_fallback_tag_and_no_conditions() {
    let Some(program) = installed("docker-registry") else {
        return;
    };
    let registry = DockerRegistry::start(&program).await;
    let remote = remote(&registry.host(), "a");
    let subject = image(&remote, "subject").await;
    let tag = Target::Tag("x".parse().unwrap());
    remote
        .write_manifest(&tag, &subject, &Condition::Always)
        .await
        .unwrap();
    let refused = remote.write_manifest(&tag, &subject, &Condition::IfAbsent).await;
    assert!(
        matches!(refused, Err(RepositoryError::Unsupported { .. })),
        "{refused:?}"
    );
    let mut manifest: Manifest = serde_json::from_slice(subject.bytes()).unwrap();
    manifest.artifact_type = Some("application/vnd.test".to_owned());
    manifest.subject = Some(subject.descriptor());
    let manifest = RawManifest::new(media_type::MANIFEST, json::canonical(&manifest));
    let target = Target::Digest(manifest.digest());
    remote
        .write_manifest(&target, &manifest, &Condition::Always)
        .await
        .unwrap();
    let listed = remote
        .list_referrers(&subject.digest(), Some("application/vnd.test"), &Page::first())
        .await
        .unwrap();
    assert_eq!(listed.manifests.len(), 1);
    assert_eq!(listed.manifests[0].digest, manifest.digest());
    let deleted = remote.delete_tag(&"x".parse().unwrap()).await;
    assert!(
        matches!(deleted, Err(RepositoryError::Unsupported { .. })),
        "{deleted:?}"
    );
}
