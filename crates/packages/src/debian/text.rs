//! Fields as text.

/// A field's bytes as text; what is no UTF-8 becomes a sign that no field that counts may have.
pub(super) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
