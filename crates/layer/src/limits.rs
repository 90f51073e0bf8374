//! How much a foreign layer may ask for.

/// Bounds for reading what others wrote.
///
/// The defaults let every real image pass that we know of, and keep what a hostile one can cost in proportion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Entries of one layer. Default 2,000,000.
    pub max_entries: u64,
    /// Bytes of the tar archive. Default 64 GiB.
    pub max_uncompressed: u64,
    /// How many bytes may come out for each that goes in, beyond [`Limits::ratio_allowance`]. Default 200.
    pub max_ratio: u64,
    /// Bytes that may come out whatever went in: small layers of zeros are no attack. Default 256 MiB.
    pub ratio_allowance: u64,
    /// Bytes of one PAX header, or of one long name. Default 1 MiB.
    pub max_extension: u64,
    /// Bytes of all paths, link targets and extended attributes of one layer. Default 512 MiB.
    pub max_metadata: u64,
    /// The largest zstd window, and the most memory for xz, as a power of two. Default 27, that is 128 MiB: what
    /// zstd itself allows unasked, and more than `xz -9` needs (65 MiB).
    pub max_window_log: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_entries: 2_000_000,
            max_uncompressed: 64 << 30,
            max_ratio: 200,
            ratio_allowance: 256 << 20,
            max_extension: 1 << 20,
            max_metadata: 512 << 20,
            max_window_log: 27,
        }
    }
}
