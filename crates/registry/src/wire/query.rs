//! Query strings: pairs of a key and a value, in order.

use super::percent;

/// The decoded pairs of a query.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a query without its `?`. `None` if an escape is broken.
    ///
    /// A `+` stays a `+`: media types contain it, and no value of the protocol contains a space.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((percent::decode(key)?, percent::decode(value)?))
        });
        pairs.collect::<Option<Vec<_>>>().map(Self)
    }

    /// The first value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        let mut pairs = self.0.iter();
        pairs
            .find(|(found, _)| found == key)
            .map(|(_, value)| value.as_str())
    }

    /// Every value of `key`.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(found, _)| found == key)
            .map(|(_, value)| value.as_str())
    }

    /// The same query with one more pair.
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.0.push((key.to_owned(), value.to_owned()));
        self
    }
}

impl std::fmt::Display for Query {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (position, (key, value)) in self.0.iter().enumerate() {
            let separator = if position == 0 { "" } else { "&" };
            write!(
                f,
                "{separator}{}={}",
                percent::encode(key),
                percent::encode(value)
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_and_repeated_keys_kept() {
        let query = Query::parse("tag=a&digest=sha256%3A00&tag=b&flag&&t=a+b").unwrap();
        assert_eq!(query.get("digest"), Some("sha256:00"));
        assert_eq!(query.all("tag").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(query.get("flag"), Some(""));
        assert_eq!(query.get("t"), Some("a+b"));
        assert_eq!(query.get("none"), None);
        assert_eq!(Query::parse("a=%"), None);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let query = Query::default()
            .with("artifactType", "application/x+json")
            .with("n", "1&2=3");
        assert_eq!(Query::parse(&query.to_string()), Some(query));
    }
}
