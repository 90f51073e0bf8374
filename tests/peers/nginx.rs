//! nginx with TLS in front of `cairn serve`, with the configuration of `examples/cairn`: clients reach the
//! repositories as they are, and once more below a name of the proxy's.

use std::fmt::Debug;

use super::buildah::Buildah;
use super::peer::Peer;
use super::place::{Place, users};
use super::podman::Podman;
use super::registry::Started;
use super::tls::certificate;
use crate::harness::{Project, Sandbox, Server, run, workspace};

/// What is around the example's part: nothing outside the sandbox, and one process, which can be killed.
const REST: &str = "
daemon off;
master_process off;
pid PLACE/nginx.pid;
error_log PLACE/nginx.log warn;
events {}
http {
    access_log off;
    client_body_temp_path PLACE/body;
    proxy_temp_path PLACE/proxy;
    fastcgi_temp_path PLACE/fastcgi;
    uwsgi_temp_path PLACE/uwsgi;
    scgi_temp_path PLACE/scgi;
    include PLACE/cairn.conf;
}
";

/// `cairn serve` with a file of users behind nginx; none if nginx or openssl is missing.
fn behind_nginx(registry: &Sandbox, prefix: &'static str) -> Option<Place> {
    let (openssl, nginx) = (Peer::find("openssl", registry)?, Peer::find("nginx", registry)?);
    let trusted = certificate(&openssl, registry, "trusted");
    users(registry);
    let server = Server::start(registry.command(["serve", "--listen", "127.0.0.1:0", "--htpasswd", "users"]));
    let place = registry.project().display().to_string();
    let example = workspace().join("examples/cairn/nginx.conf");
    let example = std::fs::read_to_string(example).expect("a file of the example");
    let front = Started::new(|host| {
        let mut part = example.clone();
        for (theirs, ours) in [
            ("server 127.0.0.1:5000;", format!("server {};", server.host())),
            ("listen 443 ssl;", format!("listen {host} ssl;")),
            ("/etc/cairn/tls/cert.pem", format!("{place}/cert.pem")),
            ("/etc/cairn/tls/key.pem", format!("{place}/key.pem")),
        ] {
            assert_eq!(part.matches(theirs).count(), 1, "{theirs}");
            part = part.replace(theirs, &ours);
        }
        registry.write("cairn.conf", part);
        let rest = registry.write("nginx.conf", REST.replace("PLACE", &place));
        let mut command = nginx.command(&["-p", &place, "-e", "nginx.log", "-c"]);
        command.arg(rest);
        command
    });
    let host = front.host().to_owned();
    let running: Vec<Box<dyn Debug>> = vec![Box::new(front), Box::new(server)];
    Some(Place::new(&host, prefix, trusted, running).forwarded())
}

#[test]
fn cairn_releases_through_nginx_and_conditions_hold() {
    for prefix in ["", "images/"] {
        let (sandbox, registry) = (Sandbox::new(), Sandbox::new());
        if let Some(place) = behind_nginx(&registry, prefix) {
            place.release_and_roll_back(&sandbox, "linear");
        }
    }
}

#[test]
fn a_large_layer_goes_through_nginx_and_is_kept_nowhere_on_the_way() {
    let (sandbox, registry) = (Sandbox::new(), Sandbox::new());
    let Some(place) = behind_nginx(&registry, "images/") else {
        return;
    };
    sandbox.write_project(&Project::new(), "1");
    // Bytes that do not compress, above what nginx buffers and above what it accepts unless told otherwise (1 MiB).
    let mut word = 1_u64;
    let noise = std::iter::repeat_with(|| {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        word.to_le_bytes()
    });
    let noise: Vec<u8> = noise.take(1 << 20).flatten().collect();
    sandbox.write(crate::harness::APP, &noise);
    place.sign_in(&sandbox);
    let image = format!("{}:1", place.named("team/large"));
    let digest = place.cairn(&sandbox, &["push", &image]).ok().digest();
    let elsewhere = Sandbox::new();
    place.sign_in(&elsewhere);
    assert_eq!(place.cairn(&elsewhere, &["pull", &image]).ok().digest(), digest);
    let log = std::fs::read_to_string(registry.project().join("nginx.log")).expect("nginx writes it");
    assert!(!log.contains("buffered to a temporary file"), "{log}");
}

#[test]
fn upload_locations_and_next_pages_lead_back_through_nginx() {
    let (sandbox, registry) = (Sandbox::new(), Sandbox::new());
    let (Some(curl), Some(place)) = (Peer::find("curl", &sandbox), behind_nginx(&registry, "images/")) else {
        return;
    };
    sandbox.write_project(&Project::new(), "1");
    place.sign_in(&sandbox);
    for tag in ["a", "b"] {
        let image = format!("{}:{tag}", place.named("team/hello"));
        place.cairn(&sandbox, &["push", &image]).ok();
    }
    let authority = place.authority().display().to_string();
    let ask = |method: &str, path: &str| {
        let url = format!("https://{}{path}", place.host());
        let options = [
            "-sS", "-i", "-u", "ann:pw", "--cacert", &authority, "-X", method, &url,
        ];
        run(&mut curl.command(&options)).ok().stdout
    };
    for prefix in ["", "images/"] {
        let begun = ask("POST", &format!("/v2/{prefix}team/hello/blobs/uploads/"));
        let location = header(&begun, "location");
        let below = format!("/v2/{prefix}team/hello/blobs/uploads/");
        assert!(location.starts_with(&below), "{begun}");
        let at = ask("GET", location);
        assert!(at.starts_with("HTTP/1.1 204"), "{at}");
        assert_eq!(header(&at, "location"), location);

        let first = ask("GET", &format!("/v2/{prefix}team/hello/tags/list?n=1"));
        let link = header(&first, "link");
        let next = link.strip_prefix('<').and_then(|link| link.split('>').next());
        let next = next.expect("a link has an address");
        assert!(
            next.starts_with(&format!("/v2/{prefix}team/hello/tags/list?")),
            "{first}"
        );
        let second = ask("GET", next);
        assert!(second.contains("\"b\"") && !second.contains("\"a\""), "{second}");
        assert!(!second.to_ascii_lowercase().contains("\nlink:"), "{second}");
    }
}

/// A field of an answer's head.
#[track_caller]
fn header<'a>(answer: &'a str, name: &str) -> &'a str {
    let fields = answer.lines().filter_map(|line| line.split_once(": "));
    let mut values = fields.filter(|(field, _)| field.eq_ignore_ascii_case(name));
    let found = values.next().map(|(_, value)| value);
    found.unwrap_or_else(|| panic!("no {name} in {answer}"))
}

#[test]
fn skopeo_goes_round_through_nginx_below_a_name() {
    let (sandbox, registry) = (Sandbox::new(), Sandbox::new());
    if let (Some(skopeo), Some(place)) = (Peer::find("skopeo", &sandbox), behind_nginx(&registry, "images/"))
    {
        place.skopeo_goes_round(&sandbox, &skopeo);
    }
}

#[test]
fn crane_goes_round_through_nginx_below_a_name() {
    let (sandbox, registry) = (Sandbox::new(), Sandbox::new());
    if let (Some(crane), Some(place)) = (Peer::find("crane", &sandbox), behind_nginx(&registry, "images/")) {
        place.crane_goes_round(&sandbox, &crane);
    }
}

#[test]
fn buildah_goes_round_through_nginx() {
    let (sandbox, registry) = (Sandbox::new(), Sandbox::new());
    if let (Some(buildah), Some(place)) = (Buildah::find(&sandbox), behind_nginx(&registry, "")) {
        place.buildah_goes_round(&sandbox, &buildah);
    }
}

#[test]
fn podman_goes_round_through_nginx_below_a_name() {
    let (sandbox, registry) = (Sandbox::new(), Sandbox::new());
    if let (Some(podman), Some(place)) = (Podman::find(&sandbox), behind_nginx(&registry, "images/")) {
        place.podman_goes_round(&sandbox, &podman);
    }
}
