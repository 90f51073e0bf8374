//! The `Link` header of paged lists (RFC 8288; distribution-spec, "Listing Tags").

/// The target of the first link whose relation is `next`.
#[must_use]
pub fn next(header: &str) -> Option<&str> {
    let mut rest = header;
    loop {
        let (_, after) = rest.split_once('<')?;
        let (target, after) = after.split_once('>')?;
        let (parameters, following) = match after.find(",") {
            Some(comma) => after.split_at(comma),
            None => (after, ""),
        };
        if parameters.split(';').map(str::trim).any(is_next) {
            return Some(target);
        }
        rest = following;
    }
}

fn is_next(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else {
        return false;
    };
    name.trim().eq_ignore_ascii_case("rel")
        && value
            .trim()
            .trim_matches('"')
            .split_whitespace()
            .any(|relation| relation.eq_ignore_ascii_case("next"))
}

/// A header that names `target` as the next page.
#[must_use]
pub fn format(target: &str) -> String {
    format!("<{target}>; rel=\"next\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_next_relation_counts() {
        assert_eq!(next(&format("/v2/a/tags/list?n=1")), Some("/v2/a/tags/list?n=1"));
        assert_eq!(next("</x>; rel=prev, </y>; REL=next"), Some("/y"));
        assert_eq!(next("</x>; title=\"a\"; rel=\"last next\""), Some("/x"));
        for none in ["", "</x>", "</x>; rel=prev", "/x; rel=next", "<x"] {
            assert_eq!(next(none), None, "{none}");
        }
    }
}
