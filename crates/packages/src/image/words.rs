//! Lines of words, as systemd's configuration files have them (sysusers.d(5), tmpfiles.d(5)).

/// The words of a line: between blanks, or between quotation marks; none if a mark is missing.
pub(super) fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = line.trim();
    while let Some(first) = rest.chars().next() {
        let end;
        if matches!(first, '"' | '\'') {
            let inside = &rest[1..];
            end = inside.find(first)?;
            words.push(inside[..end].to_owned());
            rest = &inside[end + 1..];
        } else {
            end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            words.push(rest[..end].to_owned());
            rest = &rest[end..];
        }
        rest = rest.trim_start();
    }
    Some(words)
}

/// The lines of a file that are neither empty nor comments, with their numbers from 1.
pub(super) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = (1..).zip(text.lines().map(str::trim));
    lines.filter(|(_, line)| !line.is_empty() && !line.starts_with(['#', ';']))
}

/// A word that is not left open by `-`.
pub(super) fn given(words: &[String], at: usize) -> Option<&str> {
    words
        .get(at)
        .map(String::as_str)
        .filter(|word| !matches!(*word, "-" | ""))
}
