//! Shows what is wrong with a spec or lock: the line, the caret, the nearest name.

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use cairn_build::Finding;

use crate::escape::{escape, escape_lines};
use crate::failure::{Exit, Failure};
use crate::terminal::{Terminal, counted};

/// All findings of one text as one failure, ending in `2 errors; nothing was built`.
#[must_use]
pub fn failure(terminal: &Terminal, file: &str, text: &str, findings: &[Finding], undone: &str) -> Failure {
    let rendered = findings
        .iter()
        .map(|finding| render(terminal, file, text, finding))
        .collect();
    let count = counted(findings.len() as u64, "error", "errors");
    Failure::rendered(Exit::Input, rendered, format!("{count}; {undone}"))
}

fn render(terminal: &Terminal, file: &str, text: &str, finding: &Finding) -> String {
    let renderer = if terminal.color {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let message = escape(&finding.message);
    let label = finding.label.as_deref().map(escape);
    // The source line is text of others too; replacing control characters one by one keeps all places.
    let source: String = text
        .chars()
        .map(|c| {
            if c.is_control() && c != '\n' && c != '\t' {
                ' '
            } else {
                c
            }
        })
        .collect();
    let span = places(text, &source, finding.span.clone());
    let annotation = AnnotationKind::Primary.span(span).label(label.as_deref());
    let snippet = Snippet::source(&source)
        .path(file)
        .line_start(1)
        .annotation(annotation);
    let report = Level::ERROR.primary_title(message.as_str()).element(snippet);
    let rendered = renderer.render(&[report]);
    match &finding.hint {
        Some(hint) => format!("{rendered}\nhint: {}", escape_lines(hint)),
        None => rendered,
    }
}

/// The span in `source`, which has the characters of `text` but not always their lengths.
fn places(text: &str, source: &str, span: std::ops::Range<usize>) -> std::ops::Range<usize> {
    if text.len() == source.len() {
        return span;
    }
    let place = |at: usize| {
        let characters = text.get(..at).map_or(0, |before| before.chars().count());
        source
            .char_indices()
            .nth(characters)
            .map_or(source.len(), |(index, _)| index)
    };
    place(span.start)..place(span.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a1_a_finding_shows_line_caret_and_nearest_key() {
        let text = "[config]\nentry-point = [\"/x\"]\n";
        let finding = Finding::new("unknown key `entry-point` in [config]", 9..20)
            .with_label("did you mean `entrypoint`?")
            .with_hint("see docs/spec.md");
        let terminal = Terminal::new(false, false, false, false);
        let failure = failure(&terminal, "cairn.toml", text, &[finding], "nothing was built");
        insta::assert_snapshot!(failure.to_string());
    }
}
