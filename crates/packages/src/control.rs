//! Paragraphs of fields, as dpkg keeps them (deb822(5)).

/// A paragraph: its fields, as far as they are wanted.
pub(crate) struct Paragraph<'b, const N: usize> {
    /// Line of the document at which it starts, from 1.
    pub(crate) line: usize,
    /// The value of each wanted field, without surrounding blanks; further lines, and comments
    /// between them, stand in it as they are.
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
pub(crate) fn paragraphs<'b, const N: usize>(
    bytes: &'b [u8],
    wanted: [&str; N],
) -> Result<Vec<Paragraph<'b, N>>, (usize, Flaw)> {
    let mut paragraphs = Vec::new();
    let mut current: Option<Paragraph<'b, N>> = None;
    // Which field a continuation belongs to, and where its value begins.
    let mut open: Option<(usize, usize)> = None;
    let mut end = 0;
    for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        let start = end;
        end = start + line.len() + 1;
        if line.trim_ascii().is_empty() {
            paragraphs.extend(current.take());
        } else if line.starts_with(b"#") {
            // A comment, which ends nothing: it may stand between the lines of a field.
        } else if line.starts_with(b" ") || line.starts_with(b"\t") {
            let paragraph = current.as_mut().ok_or((number, Flaw::NoField))?;
            if let Some((index, from)) = open {
                paragraph.fields[index] = Some(bytes[from..start + line.len()].trim_ascii());
            }
        } else {
            let fields = [None; N];
            let paragraph = current.get_or_insert(Paragraph { line: number, fields });
            let taken = take_field(paragraph, line, wanted).map_err(|flaw| (number, flaw))?;
            open = taken.map(|(index, from)| (index, start + from));
        }
    }
    paragraphs.extend(current);
    Ok(paragraphs)
}

/// Keeps the line if it is wanted, and says as which field, and where in the line its value begins.
fn take_field<'b, const N: usize>(
    paragraph: &mut Paragraph<'b, N>,
    line: &'b [u8],
    wanted: [&str; N],
) -> Result<Option<(usize, usize)>, Flaw> {
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
    let Some(index) = index else {
        return Ok(None);
    };
    match paragraph.fields[index].replace(value) {
        Some(_) => Err(Flaw::Repeated),
        None => Ok(Some((index, colon + 1))),
    }
}
