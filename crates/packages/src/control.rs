//! Paragraphs of fields, as dpkg keeps them (deb822(5)).

/// A paragraph: its fields with their first lines, as far as they are wanted.
pub(crate) struct Paragraph<'b, const N: usize> {
    /// Line of the document at which it starts, from 1.
    pub(crate) line: usize,
    /// The value of each wanted field, without surrounding blanks.
    pub(crate) fields: [Option<&'b [u8]>; N],
}

/// Why bytes are not such paragraphs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// The line is neither a field nor the continuation of one.
    NoField,
    /// The field is in its paragraph already.
    Repeated,
}

/// Splits `bytes` into paragraphs and keeps the fields called `wanted`, whatever case their names have.
///
/// Only the first line of a field is kept; fields of one line are all that is asked for here.
pub(crate) fn paragraphs<'b, const N: usize>(
    bytes: &'b [u8],
    wanted: [&str; N],
) -> Result<Vec<Paragraph<'b, N>>, (usize, Flaw)> {
    let mut paragraphs = Vec::new();
    let mut current: Option<Paragraph<'b, N>> = None;
    for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        if line.trim_ascii().is_empty() {
            paragraphs.extend(current.take());
        } else if line.starts_with(b" ") || line.starts_with(b"\t") {
            current.as_ref().ok_or((number, Flaw::NoField))?;
        } else {
            let fields = [None; N];
            let paragraph = current.get_or_insert(Paragraph { line: number, fields });
            take_field(paragraph, line, wanted).map_err(|flaw| (number, flaw))?;
        }
    }
    paragraphs.extend(current);
    Ok(paragraphs)
}

fn take_field<'b, const N: usize>(
    paragraph: &mut Paragraph<'b, N>,
    line: &'b [u8],
    wanted: [&str; N],
) -> Result<(), Flaw> {
    let colon = line.iter().position(|byte| *byte == b':').ok_or(Flaw::NoField)?;
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    if name.is_empty()
        || name
            .iter()
            .any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control())
    {
        return Err(Flaw::NoField);
    }
    let index = wanted
        .iter()
        .position(|wanted| wanted.as_bytes().eq_ignore_ascii_case(name));
    match index.map(|index| paragraph.fields[index].replace(value)) {
        Some(Some(_)) => Err(Flaw::Repeated),
        _ => Ok(()),
    }
}
