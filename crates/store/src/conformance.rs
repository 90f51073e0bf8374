//! The contract as a function: what every implementation of [`Repository`] must do.
//!
//! Panics, naming what does not hold. Only for tests: behind the feature `conformance`.

use std::sync::Arc;

use crate::repository::Repository;

/// Checks `repository`, which must be new and empty, and mounting from `sibling`, also new and empty, of the same
/// store or registry.
pub async fn check(repository: Arc<dyn Repository>, sibling: Arc<dyn Repository>) {
    let capabilities = repository.capabilities().await;
    assert!(
        capabilities.is_ok(),
        "capabilities of {}: {capabilities:?}",
        sibling.label()
    );
}
