//! Lists, page by page: tags, referrers, repositories.

use cairn_oci::{Digest, Index, RepositoryName, json, manifest, media_type};
use cairn_store::{Page, ReferrersPage};
use http::StatusCode;
use http::header::LINK;
use oci_spec::distribution::ErrorCode;
use serde_json::json;

use super::access::{Action, Scope};
use super::answer::{Answer, Outcome};
use super::dispatch::Call;
use crate::wire::{Query, Route, header, link};

/// The page that `n` and `last` ask for. A huge `n` is cut, `n=0` stays 0, anything but digits is refused.
fn page(call: &Call) -> Result<Page, Answer> {
    let query = call.query()?;
    let most = call.config().limits.page;
    let limit = match query.get("n") {
        None => most,
        Some(n) if !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()) => {
            n.parse().unwrap_or(most).min(most)
        }
        Some(_) => {
            let message = "n must be a number of entries, 0 or more";
            return Err(Answer::bad(ErrorCode::Unsupported, message));
        }
    };
    let after = query.get("last").filter(|last| !last.is_empty());
    Ok(Page {
        after: after.map(str::to_owned),
        limit,
    })
}

/// The answer with a link to the page after `last`, if there is one.
fn linked(answer: Answer, path: &str, query: Query, limit: usize, last: Option<&str>) -> Answer {
    let Some(last) = last else { return answer };
    let query = query.with("n", &limit.to_string()).with("last", last);
    answer.with(LINK, link::format(&format!("{path}?{query}")))
}

/// `GET /v2/<name>/tags/list`
pub(super) async fn tags(call: &Call, name: &RepositoryName) -> Outcome {
    let page = page(call)?;
    if !call.shared().store.contains(name).await? {
        return Err(Answer::missing(
            ErrorCode::NameUnknown,
            format!("there is no repository {name}"),
        ));
    }
    let (tags, next) = if page.limit == 0 {
        (Vec::new(), None)
    } else {
        let mut found = call.repository(name).await?.list_tags(&page).await?;
        found
            .tags
            .retain(|tag| call.permits(Action::Pull, name, Scope::Tag(tag)));
        (found.tags, found.next)
    };
    let document = json!({ "name": name, "tags": tags });
    let answer = Answer::new(StatusCode::OK).json("application/json", &document);
    let path = Route::Tags(name.clone()).path();
    Ok(linked(
        answer,
        &path,
        Query::default(),
        page.limit,
        next.as_deref(),
    ))
}

/// `GET /v2/_catalog`
pub(super) async fn catalog(call: &Call) -> Outcome {
    let page = page(call)?;
    let one_more = Page {
        limit: page.limit + 1,
        ..page.clone()
    };
    let mut names = call.shared().store.repositories(&one_more).await?;
    let more = names.len() > page.limit && page.limit > 0;
    names.truncate(page.limit);
    let last = names.last().filter(|_| more).map(|name| name.as_str().to_owned());
    names.retain(|name| call.permits(Action::Pull, name, Scope::Some));
    let answer = Answer::new(StatusCode::OK).json("application/json", &json!({ "repositories": names }));
    let path = Route::Catalog.path();
    Ok(linked(
        answer,
        &path,
        Query::default(),
        page.limit,
        last.as_deref(),
    ))
}

/// `GET /v2/<name>/referrers/<digest>`
pub(super) async fn referrers(call: &Call, name: &RepositoryName, subject: &Digest) -> Outcome {
    let page = page(call)?;
    let page = Page {
        limit: page.limit.max(1),
        ..page
    };
    let wanted = call.query()?.get("artifactType").map(str::to_owned);
    let repository = call.repository(name).await?;
    let found = repository
        .list_referrers(subject, wanted.as_deref(), &page)
        .await?;
    let found = cut(found);
    let index = Index {
        schema_version: 2,
        media_type: Some(media_type::INDEX.into()),
        artifact_type: None,
        manifests: found.manifests,
        subject: None,
        annotations: std::collections::BTreeMap::new(),
    };
    let mut answer = Answer::new(StatusCode::OK).json(media_type::INDEX, &index);
    let mut query = Query::default();
    if let Some(wanted) = wanted {
        answer = answer.with(header::FILTERS_APPLIED, "artifactType");
        query = query.with("artifactType", &wanted);
    }
    let path = Route::Referrers(name.clone(), *subject).path();
    Ok(linked(answer, &path, query, page.limit, found.next.as_deref()))
}

/// Ends a page before it is larger than a manifest may be: annotations can be long.
fn cut(mut page: ReferrersPage) -> ReferrersPage {
    let room = manifest::LIMIT - 1024;
    let mut size = 0;
    let fitting = page.manifests.iter().take_while(|entry| {
        size += json::canonical(*entry).len() + 1;
        size <= room
    });
    let count = fitting.count().max(1);
    if count < page.manifests.len() {
        page.manifests.truncate(count);
        page.next = page.manifests.last().map(|last| last.digest.to_string());
    }
    page
}
