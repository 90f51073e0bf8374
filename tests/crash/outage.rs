//! The server is killed and started again at each request of a release, after it did what was asked and before it said so.
//! The command tries again what may be tried again, or says that it does not know.

use crate::harness::{Cut, Project, Proxy, Sandbox};

use super::{clean_or_incomplete, completed, history, prod};

/// More requests than a release makes.
const MANY: usize = 200;

#[test]
fn a_server_killed_after_each_request_of_a_release() {
    let registry = Sandbox::new();
    let mut server = registry.serve();
    let proxy = Proxy::start(server.host());
    let sandbox = Sandbox::new();
    let repository = proxy.repository("outage");
    sandbox.write_project(&Project::new().repository(repository), "0");
    sandbox.cairn(["release", "1.0.0", "--channel", "prod"]).ok();
    let mut survived = 0;
    for step in 1..MANY {
        sandbox.write_app(&step.to_string());
        let version = format!("1.0.{step}");
        let arguments = ["release", &version, "--channel", "prod"].map(str::to_owned);
        let mut command = sandbox.command(&arguments);
        let run = proxy.stop(&mut command, step, Cut::After, |_| {
            server.restart();
            proxy.forward_to(server.host());
        });
        let Some(at) = run.at else {
            run.output.ok();
            assert!(step > 5, "only {step} requests: nothing was tried");
            println!("{} outages, of which {survived} were survived", step - 1);
            return;
        };
        let about = format!("killed after request {step}, {at}: {}", run.output);
        match run.output.code {
            Some(0) => survived += 1,
            Some(3) => assert!(run.output.stdout.is_empty(), "{about}"),
            _ => panic!("{about}"),
        }
        clean_or_incomplete(&sandbox, &about);
        let done = completed(&sandbox, &arguments, &about).digest();
        assert_eq!(prod(&sandbox, &about), done, "{about}");
        let entries = history(&sandbox, &about);
        let same = entries.iter().filter(|entry| entry["version"] == *version);
        assert_eq!(same.count(), 1, "{about}: released once: {entries:#?}");
    }
    panic!("more than {MANY} requests");
}
