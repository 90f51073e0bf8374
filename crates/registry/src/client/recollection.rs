//! What is remembered of a registry from one run to the next.

use std::fmt::Debug;

use cairn_store::Capabilities;

/// Keeps what a registry can do, by its host.
///
/// It saves questions, and decides nothing that cannot be taken back: before the first write under a condition the registry is
/// asked all the same, and every answer to such a write must confirm the condition.
pub trait Recollection: Debug + Send + Sync {
    /// What was kept, if it is not too old.
    fn recall(&self, host: &str) -> Option<Capabilities>;

    /// Keeps what the registry said just now.
    fn keep(&self, host: &str, capabilities: &Capabilities);

    /// What was kept has turned out to be wrong.
    fn forget(&self, host: &str);
}

/// Remembers nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoRecollection;

impl Recollection for NoRecollection {
    fn recall(&self, _: &str) -> Option<Capabilities> {
        None
    }

    fn keep(&self, _: &str, _: &Capabilities) {}

    fn forget(&self, _: &str) {}
}
