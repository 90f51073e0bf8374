//! Registries with TLS and a password: others' clients at `cairn serve`, and Cairn there and at docker-registry.

use super::buildah::Buildah;
use super::peer::Peer;
use super::place::Place;
use super::podman::Podman;
use crate::harness::{Sandbox, run};

#[test]
fn cairn_releases_over_tls_with_a_password() {
    let (sandbox, registry) = (Sandbox::new(), Sandbox::new());
    if let Some(place) = Place::cairn_serve(&registry) {
        place.release_and_roll_back(&sandbox, "linear");
    }
}

#[test]
fn cairn_releases_on_docker_registry_over_tls_with_a_password() {
    let (sandbox, registry) = (Sandbox::new(), Sandbox::new());
    if let Some(place) = Place::docker_registry(&registry) {
        place.release_and_roll_back(&sandbox, "causal");
    }
}

#[test]
fn a_certificate_that_is_not_trusted_gets_nothing() {
    let (sandbox, registry, other) = (Sandbox::new(), Sandbox::new(), Sandbox::new());
    let (Some(place), Some(openssl)) = (Place::cairn_serve(&registry), Peer::find("openssl", &other)) else {
        return;
    };
    let strange = super::tls::certificate(&openssl, &other, "strange").join("ca.crt");
    let image = format!("{}:1", place.named("team/hello"));
    let mut command = sandbox.command(["inspect", &image]);
    let refused = run(command.arg("--ca").arg(&strange)).fails(3);
    let refused = refused.says("certificate");
    // Nor is plain HTTP tried instead.
    assert!(!refused.stderr.contains("400"), "{refused}");
}

#[test]
fn skopeo_goes_round_over_tls_with_a_password() {
    let (sandbox, registry) = (Sandbox::new(), Sandbox::new());
    if let (Some(skopeo), Some(place)) = (Peer::find("skopeo", &sandbox), Place::cairn_serve(&registry)) {
        place.skopeo_goes_round(&sandbox, &skopeo);
    }
}

#[test]
fn crane_goes_round_over_tls_with_a_password() {
    let (sandbox, registry) = (Sandbox::new(), Sandbox::new());
    if let (Some(crane), Some(place)) = (Peer::find("crane", &sandbox), Place::cairn_serve(&registry)) {
        place.crane_goes_round(&sandbox, &crane);
    }
}

#[test]
fn buildah_goes_round_over_tls_with_a_password() {
    let (sandbox, registry) = (Sandbox::new(), Sandbox::new());
    if let (Some(buildah), Some(place)) = (Buildah::find(&sandbox), Place::cairn_serve(&registry)) {
        place.buildah_goes_round(&sandbox, &buildah);
    }
}

#[test]
fn podman_goes_round_over_tls_with_a_password() {
    let (sandbox, registry) = (Sandbox::new(), Sandbox::new());
    if let (Some(podman), Some(place)) = (Podman::find(&sandbox), Place::cairn_serve(&registry)) {
        place.podman_goes_round(&sandbox, &podman);
    }
}
