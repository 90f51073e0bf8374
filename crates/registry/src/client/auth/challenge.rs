//! `WWW-Authenticate` (RFC 9110, sections 11.2 to 11.6.1).
//!
//! Several challenges can stand in one header, several headers in one answer. Read as servers write them: values without
//! quotes may have any letter but space and comma, and commas between parameters may be missing. What cannot be read ends its
//! header; the challenges before it count.

use std::collections::BTreeMap;

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

/// Most bytes of one header that are read (16 KiB).
const LENGTH_LIMIT: usize = 16 << 10;
/// Most challenges of one answer.
const CHALLENGE_LIMIT: usize = 16;
/// Most parameters of one challenge.
const PARAMETER_LIMIT: usize = 32;

/// One way in which a server can be told who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Challenge {
    /// The authentication scheme, in lower case.
    pub(super) scheme: String,
    /// Its parameters; names in lower case. The first of two with one name counts.
    parameters: BTreeMap<String, String>,
}

impl Challenge {
    /// The value of a parameter, whose name is given in lower case.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }
}

/// All challenges of an answer, in its order.
pub(super) fn parse(headers: &HeaderMap) -> Vec<Challenge> {
    let mut challenges = Vec::new();
    for value in headers.get_all(WWW_AUTHENTICATE) {
        let bytes = value.as_bytes();
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(LENGTH_LIMIT)]);
        Reader { rest: &text }.challenges(&mut challenges);
    }
    challenges.truncate(CHALLENGE_LIMIT);
    challenges
}

/// What is left of a header.
struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn challenges(mut self, challenges: &mut Vec<Challenge>) {
        let mut current = None;
        while challenges.len() < CHALLENGE_LIMIT {
            self.skip(|c| c == ',' || is_space(c));
            let word = self.take(is_token);
            if word.is_empty() {
                break;
            }
            let before = self.rest;
            self.skip(is_space);
            match (&mut current, self.equals()) {
                (Some(challenge), true) => {
                    let Some(value) = self.value() else {
                        // A quote that nobody closes: what this challenge says is not known.
                        return;
                    };
                    add(challenge, word, value);
                }
                (None, true) => return,
                (_, false) => {
                    challenges.extend(current.take());
                    current = Some(Challenge {
                        scheme: word.to_ascii_lowercase(),
                        parameters: BTreeMap::new(),
                    });
                    if before.len() != self.rest.len() {
                        self.skip_token68();
                    }
                }
            }
        }
        challenges.extend(current);
    }

    fn skip(&mut self, which: impl Fn(char) -> bool) {
        self.rest = self.rest.trim_start_matches(which);
    }

    fn take(&mut self, which: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !which(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn equals(&mut self) -> bool {
        match self.rest.strip_prefix('=') {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn value(&mut self) -> Option<String> {
        self.skip(is_space);
        let Some(quoted) = self.rest.strip_prefix('"') else {
            return Some(self.take(|c| c != ',' && !is_space(c)).to_owned());
        };
        let mut value = String::new();
        let mut letters = quoted.char_indices();
        loop {
            match letters.next()? {
                (end, '"') => {
                    self.rest = &quoted[end + 1..];
                    return Some(value);
                }
                (_, '\\') => value.push(letters.next()?.1),
                (_, letter) => value.push(letter),
            }
        }
    }

    /// Passes what follows a scheme if it is a `token68`, such as the first word of `Negotiate`: nobody here wants it.
    fn skip_token68(&mut self) {
        let before = self.rest;
        let word = self.take(|c| c.is_ascii_alphanumeric() || "-._~+/".contains(c));
        self.skip(|c| c == '=');
        self.skip(is_space);
        let ended = self.rest.is_empty() || self.rest.starts_with(',');
        if word.is_empty() || !ended {
            self.rest = before;
        }
    }
}

fn add(challenge: &mut Challenge, name: &str, value: String) {
    if challenge.parameters.len() < PARAMETER_LIMIT {
        let name = name.to_ascii_lowercase();
        challenge.parameters.entry(name).or_insert(value);
    }
}

const fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t')
}

/// RFC 9110, section 5.6.2.
fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `scheme a=x b=y`, one challenge a line.
    fn read(values: &[&[u8]]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            let value = http::HeaderValue::from_bytes(value).unwrap();
            headers.append(WWW_AUTHENTICATE, value);
        }
        let shown = parse(&headers).into_iter().map(|challenge| {
            let parameters = challenge.parameters.iter();
            let parameters = parameters.map(|(name, value)| format!(" {name}={value}"));
            format!("{}{}", challenge.scheme, parameters.collect::<String>())
        });
        shown.collect()
    }

    fn one(value: &str) -> Vec<String> {
        read(&[value.as_bytes()])
    }

    #[test]
    fn the_examples_of_the_rfc_and_of_registries() {
        assert_eq!(
            one(r#"Basic realm="simple", Newauth realm="apps", type=1, title="Login to \"apps\"""#),
            [
                "basic realm=simple",
                r#"newauth realm=apps title=Login to "apps" type=1"#
            ]
        );
        assert_eq!(
            one(
                r#"Bearer realm="https://auth.example.org/token",service="r",scope="repository:a/b:pull,push""#
            ),
            ["bearer realm=https://auth.example.org/token scope=repository:a/b:pull,push service=r"]
        );
    }

    #[test]
    fn several_challenges_in_one_header_and_in_several() {
        assert_eq!(
            read(&[b"Negotiate, BASIC realm=x", b"bearer realm=\"y\""]),
            ["negotiate", "basic realm=x", "bearer realm=y"]
        );
        assert_eq!(
            one("Negotiate YWJj==, Basic realm=\"a, Bearer realm=b\""),
            ["negotiate", "basic realm=a, Bearer realm=b"]
        );
        assert_eq!(
            one(" , Basic , ,Bearer realm = \"x\" , SERVICE=\"y\" ,"),
            ["basic", "bearer realm=x service=y"]
        );
    }

    #[test]
    fn what_servers_write_against_the_grammar_is_understood() {
        assert_eq!(
            one("Bearer realm=https://a.example.org/t?x service=r"),
            ["bearer realm=https://a.example.org/t?x service=r"]
        );
        assert_eq!(
            one("Bearer realm=\"x\" service=\"y\""),
            ["bearer realm=x service=y"]
        );
        assert_eq!(one("Bearer realm=\"x\",realm=\"y\""), ["bearer realm=x"]);
    }

    #[test]
    fn what_cannot_be_read_ends_its_header() {
        assert_eq!(
            one("Basic realm=\"a\", Bearer realm=\"never closed, scope=x"),
            ["basic realm=a"]
        );
        assert_eq!(read(&[b"=x", b"Basic"]), ["basic"]);
        assert_eq!(read(&[b"Basic realm=\"\xff\"", b""]), ["basic realm=\u{fffd}"]);
        assert_eq!(one(""), Vec::<String>::new());
    }

    #[test]
    fn c3_challenges_without_end_are_cut_off() {
        let many = "Basic realm=x, ".repeat(1000);
        assert_eq!(one(&many).len(), CHALLENGE_LIMIT);
        let many: String = (0..1000).map(|number| format!("a{number}=b, ")).collect();
        let challenge = &one(&format!("Basic {many}"))[0];
        assert_eq!(challenge.split(' ').count(), 1 + PARAMETER_LIMIT);
        let long = format!("Basic realm=\"{}\"", "x".repeat(1 << 20));
        assert_eq!(one(&long), Vec::<String>::new());
    }

    proptest! {
        #[test]
        fn no_header_breaks_the_reader(text in "[ -~]{0,80}") {
            one(&text);
        }

        #[test]
        fn any_value_in_quotes_is_read_back(value in "[ -~]{0,40}") {
            let quoted = value.replace('\\', r"\\").replace('"', "\\\"");
            prop_assert_eq!(one(&format!("Bearer scope=\"{quoted}\", x=y")), [format!("bearer scope={value} x=y")]);
        }
    }
}
