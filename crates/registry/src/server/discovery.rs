//! What the server is and can do.

use cairn_oci::RepositoryName;
use http::StatusCode;

use super::answer::{Answer, Outcome};
use super::dispatch::Call;
use crate::wire::extension::{CONDITIONS, DELETE_TAGS, Extensions, SEAL};

/// `GET /v2/`
pub(super) fn ping() -> Outcome {
    Ok(Answer::new(StatusCode::OK).json("application/json", &serde_json::json!({})))
}

/// `GET /v2/_oci/ext/discover`, the same for every repository.
pub(super) async fn discover(call: &Call, name: Option<RepositoryName>) -> Outcome {
    let name = match name {
        Some(name) => Some(name),
        // What a store can do does not depend on the repository, and opening one makes nothing.
        None => "discover".parse().ok(),
    };
    let mut features = Vec::new();
    if let Some(name) = name {
        let capabilities = call.repository(&name).await?.capabilities().await?;
        features.extend(capabilities.conditions.then_some(CONDITIONS));
        features.extend(capabilities.seal.then_some(SEAL));
        let deletes = call.config().delete && capabilities.delete_tags == Some(true);
        features.extend(deletes.then_some(DELETE_TAGS));
    }
    let document = Extensions::announcing(&features);
    Ok(Answer::new(StatusCode::OK).json("application/json", &document))
}
