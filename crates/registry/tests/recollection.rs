//! What is remembered of a registry saves questions, and decides no write.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::sync::{Arc, Mutex};

use cairn_registry::client::{Client, ClientConfig, Recollection, Remote};
use cairn_store::{Capabilities, Condition, Referrers, Repository, RepositoryError, Target};
use support::{Fake, answer, config, image, our_server, proxy};

/// What one host can do.
#[derive(Debug, Default)]
struct Remembered(Mutex<Option<Capabilities>>);

impl Recollection for Remembered {
    fn recall(&self, _: &str) -> Option<Capabilities> {
        *self.0.lock().unwrap()
    }

    fn keep(&self, _: &str, capabilities: &Capabilities) {
        *self.0.lock().unwrap() = Some(*capabilities);
    }

    fn forget(&self, _: &str) {
        *self.0.lock().unwrap() = None;
    }
}

fn remote(fake: &Fake, remembered: &Arc<Remembered>) -> Remote {
    let config = ClientConfig {
        recollection: Arc::clone(remembered) as Arc<dyn Recollection>,
        ..config()
    };
    Client::new(config)
        .repository(&fake.host(), "a".parse().unwrap())
        .unwrap()
}

const EVERYTHING: Capabilities = Capabilities {
    conditions: true,
    seal: true,
    referrers: Referrers::Native,
    delete_tags: Some(true),
};

#[tokio::test]
async fn what_was_found_out_once_is_not_asked_again() {
    let server = our_server().await;
    let between = proxy(server.address, |_| None, |_, _| ()).await;
    let remembered = Arc::default();
    let first = remote(&between, &remembered).capabilities().await.unwrap();
    assert_eq!(first, EVERYTHING);
    let asked = between.seen().len();
    assert!(asked > 0);
    let again = remote(&between, &remembered).capabilities().await.unwrap();
    assert_eq!(again, first);
    assert_eq!(between.seen().len(), asked);
    let afresh = remote(&between, &remembered);
    afresh.ask_afresh();
    assert_eq!(afresh.capabilities().await.unwrap(), first);
    assert!(between.seen().len() > asked);
}

#[tokio::test]
async fn a_condition_is_never_sent_on_the_strength_of_memory() {
    let server = our_server().await;
    let plain = proxy(
        server.address,
        |seen| {
            for header in ["if-match", "if-none-match", "cairn-condition"] {
                seen.headers.remove(header);
            }
            seen.uri.path().contains("_oci").then(|| answer(404, &[], ""))
        },
        |_, headers| drop(headers.remove("cairn-condition")),
    )
    .await;
    // It could, yesterday.
    let remembered = Arc::new(Remembered(Mutex::new(Some(EVERYTHING))));
    let remote = remote(&plain, &remembered);
    assert!(remote.capabilities().await.unwrap().conditions);
    let manifest = image(&remote, "x").await;
    let target = Target::Tag("head".parse().unwrap());
    let written = remote
        .write_manifest(&target, &manifest, &Condition::IfAbsent)
        .await;
    assert!(
        matches!(written, Err(RepositoryError::Unsupported { .. })),
        "{written:?}"
    );
    assert_eq!(remote.stat_manifest(&target).await.unwrap(), None);
    assert_eq!(remembered.recall(""), None, "what was wrong is forgotten");
    assert!(!remote.capabilities().await.unwrap().conditions);
}

#[tokio::test]
async fn a_condition_that_is_ignored_is_noticed_and_forgotten() {
    let server = our_server().await;
    let ignoring = proxy(
        server.address,
        |seen| {
            for header in ["if-match", "if-none-match", "cairn-condition"] {
                seen.headers.remove(header);
            }
            None
        },
        |_, _| (),
    )
    .await;
    let remembered = Arc::new(Remembered(Mutex::new(Some(EVERYTHING))));
    let remote = remote(&ignoring, &remembered);
    let manifest = image(&remote, "x").await;
    let target = Target::Tag("head".parse().unwrap());
    let written = remote
        .write_manifest(&target, &manifest, &Condition::IfAbsent)
        .await;
    assert!(
        matches!(written, Err(RepositoryError::ConditionIgnored { .. })),
        "{written:?}"
    );
    assert_eq!(remembered.recall(""), None);
}
