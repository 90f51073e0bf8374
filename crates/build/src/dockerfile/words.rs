//! What instructions are made of: words with quotes and variables, and lists.

use std::collections::BTreeMap;

/// The longest value that variables may make of a word, in bytes: doubling a variable again and again is cheap to write.
pub(super) const LONGEST: usize = 64 * 1024;

/// A word after its variables were replaced.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Word {
    pub(super) text: String,
    /// Variables that have no value here.
    pub(super) unknown: Vec<String>,
}

/// Variables and their values.
pub(super) type Variables = BTreeMap<String, String>;

/// Cuts a line into words, as a shell would: quotes and escapes stay in them.
pub(super) fn split(line: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (None, c) if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            _ => {}
        }
        word.push(c);
        if c == escape && quote != Some('\'') {
            word.extend(characters.next());
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Takes quotes and escapes out of a word and puts values for its variables; none if it grows too long.
pub(super) fn expand(word: &str, variables: &Variables, escape: char) -> Option<Word> {
    let mut out = Word::default();
    let characters: Vec<char> = word.chars().collect();
    let mut at = 0;
    let mut quote = None;
    while let Some(&c) = characters.get(at) {
        at += 1;
        match c {
            '\'' | '"' if quote.is_none() => quote = Some(c),
            _ if quote == Some(c) => quote = None,
            _ if quote == Some('\'') => out.text.push(c),
            _ if c == escape => {
                if let Some(&next) = characters.get(at) {
                    // Within double quotes only what could mean something is escaped.
                    if quote.is_some() && !matches!(next, '"' | '$') && next != escape {
                        out.text.push(c);
                    }
                    out.text.push(next);
                    at += 1;
                } else {
                    out.text.push(c);
                }
            }
            '$' => at = variable(&characters, at, variables, &mut out),
            _ => out.text.push(c),
        }
        if out.text.len() > LONGEST {
            return None;
        }
    }
    Some(out)
}

/// Reads the variable after a `$` at `at`, and gives where it ends.
fn variable(characters: &[char], at: usize, variables: &Variables, out: &mut Word) -> usize {
    let is_name = |c: &&char| c.is_ascii_alphanumeric() || **c == '_';
    if characters.get(at) != Some(&'{') {
        let name: String = characters[at..].iter().take_while(is_name).collect();
        if name.is_empty() {
            out.text.push('$');
            return at;
        }
        match variables.get(&name) {
            Some(value) => out.text.push_str(value),
            None => out.unknown.push(name.clone()),
        }
        return at + name.len();
    }
    let length = characters[at..].iter().position(|c| *c == '}');
    let Some(end) = length.map(|length| at + length) else {
        out.text.push('$');
        return at;
    };
    let inside: String = characters[at + 1..end].iter().collect();
    let name: String = inside.chars().take_while(|c| is_name(&c)).collect();
    let value = variables.get(&name);
    match (inside[name.len()..].trim_start_matches(':'), value) {
        ("", Some(value)) => out.text.push_str(value),
        (operator, value) if operator.starts_with('-') => {
            let value = value.filter(|value| !value.is_empty());
            out.text.push_str(value.map_or(&operator[1..], String::as_str));
        }
        (operator, value) if operator.starts_with('+') => {
            if value.is_some_and(|value| !value.is_empty()) {
                out.text.push_str(&operator[1..]);
            }
        }
        _ => out.unknown.push(name),
    }
    end + 1
}

/// `["a", "b"]`, the form that has no shell.
pub(super) fn list(text: &str) -> Option<Vec<String>> {
    serde_json::from_str(text.trim()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_have_values_and_defaults() {
        let variables = Variables::from([("A".to_owned(), "x".to_owned()), ("E".to_owned(), String::new())]);
        for (word, text) in [
            ("$A/b", "x/b"),
            ("${A}b", "xb"),
            ("${B:-y}", "y"),
            ("${E:-y}", "y"),
            ("${A:+z}${B:+z}", "z"),
            ("'$A'\"$A\"", "$Ax"),
            ("\\$A", "$A"),
            ("a\\ b", "a b"),
            ("${A", "${A"),
            ("100$", "100$"),
        ] {
            assert_eq!(expand(word, &variables, '\\').unwrap().text, text, "{word}");
        }
        assert_eq!(expand("$B", &variables, '\\').unwrap().unknown, ["B"]);
    }

    #[test]
    fn words_keep_their_quotes() {
        assert_eq!(
            split("a=\"b c\" d\\ e  'f g'", '\\'),
            ["a=\"b c\"", "d\\ e", "'f g'"]
        );
        assert_eq!(split("C:\\a b", '`'), ["C:\\a", "b"]);
    }

    #[test]
    fn lists_are_those_of_json() {
        assert_eq!(list(r#"[ "a" , "b c"]"#).unwrap(), ["a", "b c"]);
        assert_eq!(list("[a]"), None);
        assert_eq!(list("['a']"), None);
        assert_eq!(list("[ -f x ]"), None);
    }
}
