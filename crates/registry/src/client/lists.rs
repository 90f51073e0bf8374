//! Lists of a registry, page by page.

use bytes::Bytes;
use cairn_oci::{MediaType, Tag, json, manifest};
use cairn_store::{Page, RepositoryError, TagPage};
use http::header::{HeaderMap, LINK};
use http::{Method, StatusCode};
use reqwest::Url;
use serde::Deserialize;

use super::answer::Refusal;
use super::auth::Access;
use super::host::text;
use super::manifests::content_type;
use super::remote::{Remote, Whole};
use super::transport::Request;
use crate::wire::{Query, Route, link};

/// Largest page of a list, in bytes (4 MiB).
const PAGE_LIMIT: usize = manifest::LIMIT;
/// Longest position in a list that is carried on, in bytes.
const NEXT_LIMIT: usize = 8 << 10;

#[derive(Deserialize)]
struct TagList {
    /// Some registries write `null` where there are none.
    tags: Option<Vec<Tag>>,
}

/// What one request for a page gave.
pub(super) enum Fetched {
    /// The page, of which type it is, and where to go on.
    Page {
        bytes: Bytes,
        media_type: Option<MediaType>,
        next: Option<String>,
    },
    /// It is not there, with what the registry said about it.
    Missing(Refusal),
}

impl Remote {
    pub(super) async fn tags(&self, page: &Page) -> Result<TagPage, RepositoryError> {
        let mut found = self.tag_page(page).await?;
        let is_full = found.tags.len() == page.limit.max(1);
        if found.next.is_none() && is_full && !self.host.learned().links {
            found.next = self.after_full(page, &found.tags).await?;
        }
        Ok(found)
    }

    async fn tag_page(&self, page: &Page) -> Result<TagPage, RepositoryError> {
        let route = Route::Tags(self.name.clone());
        let fetched = self.fetch_page(&route, Query::default(), page, &[StatusCode::NOT_FOUND]);
        match fetched.await? {
            Fetched::Missing(_) => Ok(TagPage {
                tags: Vec::new(),
                next: None,
            }),
            Fetched::Page { bytes, next, .. } => {
                let list: TagList = json::parse(&bytes, PAGE_LIMIT).map_err(|error| {
                    self.protocol(format!("the list of tags cannot be read: {}", cause(&error)))
                })?;
                Ok(TagPage {
                    tags: list.tags.unwrap_or_default(),
                    next,
                })
            }
        }
    }

    /// Whether the list goes on after a page that is just full and does not say so: some registries heed `n` and send no
    /// `Link`.
    async fn after_full(&self, page: &Page, tags: &[Tag]) -> Result<Option<String>, RepositoryError> {
        let Some(last) = tags.last().map(ToString::to_string) else {
            return Ok(None);
        };
        let next = Page {
            after: Some(last.clone()),
            limit: page.limit,
        };
        let more = self.tag_page(&next).await?.tags;
        // Whoever does not know `last` gives the same once more.
        let is_new = !more.is_empty() && !more.iter().any(|tag| tags.contains(tag));
        Ok(is_new.then_some(last))
    }

    /// Asks for the page of a list that begins after `page.after`: the path that the page before named, or an entry.
    /// The statuses of `missing` say that there is no such list.
    pub(super) async fn fetch_page(
        &self,
        route: &Route,
        query: Query,
        page: &Page,
        missing: &[StatusCode],
    ) -> Result<Fetched, RepositoryError> {
        let url = self.page_url(route, query, page)?;
        let request = Request::new(Method::GET, url).to(Access::to(route));
        let whole = self.ask_whole(&request, PAGE_LIMIT, "a page of a list");
        let (headers, bytes) = match whole.await? {
            Whole::Document(headers, bytes) => (headers, bytes),
            Whole::Other(answer) if missing.contains(&answer.status()) => {
                return Ok(Fetched::Missing(Refusal::read(answer).await));
            }
            Whole::Other(answer) => return Err(self.refused(&request, answer).await),
        };
        let next = self.next_page(route, &request.url, &headers)?;
        if next.is_some() {
            self.host.learn(|learned| learned.links = true);
        }
        self.meter.downloaded(bytes.len() as u64);
        Ok(Fetched::Page {
            bytes,
            media_type: content_type(&headers),
            next,
        })
    }

    fn page_url(&self, route: &Route, query: Query, page: &Page) -> Result<Url, RepositoryError> {
        let mut url = self.host.url(route);
        match page.after.as_deref() {
            Some(next) if next.starts_with('/') => return self.own_page(route, &url, next),
            after => {
                let query = query.with("n", &page.limit.max(1).to_string());
                let query = match after {
                    Some(after) => query.with("last", after),
                    None => query,
                };
                url.set_query(Some(&query.to_string()));
            }
        }
        Ok(url)
    }

    /// Where the list goes on, as a path with a query. It must be the same list of the same registry.
    fn next_page(
        &self,
        route: &Route,
        from: &Url,
        headers: &HeaderMap,
    ) -> Result<Option<String>, RepositoryError> {
        let Some(target) = text(headers, &LINK).and_then(link::next) else {
            return Ok(None);
        };
        let next = self.own_page(route, from, target)?;
        if next == *from {
            return Err(self.protocol("a page of a list names itself as the next one"));
        }
        Ok(Some(match next.query() {
            Some(query) => format!("{}?{query}", next.path()),
            None => next.path().to_owned(),
        }))
    }

    fn own_page(&self, route: &Route, from: &Url, target: &str) -> Result<Url, RepositoryError> {
        let refused = |why: &str| self.protocol(format!("the next page of a list is not followed: {why}"));
        if target.len() > NEXT_LIMIT {
            return Err(refused("its name is too long"));
        }
        let next = self.host.follow(from, target);
        let next = next.map_err(|error| refused(&error.to_string()))?;
        if !self.host.owns(&next) {
            return Err(refused("it is at another host"));
        }
        let same = Route::parse(&Method::GET, next.path());
        if same.as_ref() != Ok(route) {
            return Err(refused("it is another list"));
        }
        Ok(next)
    }
}

/// The error and what is behind it, in one line.
pub(super) fn cause(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
