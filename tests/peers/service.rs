//! `cairn serve` as a service: the unit and the configuration of the example.

use super::peer::Peer;
use super::tls::certificate;
use crate::harness::{Sandbox, Server, binary, workspace};

fn example(file: &str) -> String {
    let path = workspace().join("examples/cairn").join(file);
    std::fs::read_to_string(path).expect("a file of the example")
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    let sandbox = Sandbox::new();
    let Some(systemd) = Peer::find("systemd-analyze", &sandbox) else {
        return;
    };
    // The program is not installed where the unit looks for it.
    let program = binary();
    let program = program.to_str().expect("a path of letters");
    let unit = example("cairn.service").replace("/usr/bin/cairn", program);
    let path = sandbox.write("cairn.service", unit);
    let verified = systemd.run(&["verify", path.to_str().expect("a path of letters")]);
    assert!(!verified.stderr.contains("cairn.service"), "{verified}");
}

#[test]
fn the_configuration_of_the_example_is_served() {
    let sandbox = Sandbox::new();
    let Some(openssl) = Peer::find("openssl", &sandbox) else {
        return;
    };
    certificate(&openssl, &sandbox, "trusted");
    for name in ["cert.pem", "key.pem"] {
        let content = std::fs::read(sandbox.project().join(name)).expect("an own file");
        sandbox.write(&format!("tls/{name}"), content);
    }
    // The password is `pw`; bcrypt with cost 5.
    let hash = "$2y$05$abcdefghijklmnopqrstuuHIrMEWpUCQe2YqFR3sXwQ75u4od..9q";
    sandbox.write("users", format!("ci:{hash}\nreleases:{hash}\n"));
    let config = example("serve.toml");
    let config = config.replace("127.0.0.1:9090", "127.0.0.1:0");
    sandbox.write("serve.toml", config);
    let options = ["serve", "--config", "serve.toml", "--listen", "127.0.0.1:0"];
    let server = Server::start(sandbox.command(options));
    server.signal(rustix::process::Signal::TERM);
    server.wait().ok().says("metrics at http://127.0.0.1:");
}
