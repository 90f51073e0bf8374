//! The machine that the tests run on, in OCI's words.

/// Its platform. What is run here must be made for it.
pub(super) fn platform() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "linux/amd64",
        "aarch64" => "linux/arm64",
        other => panic!("these tests do not know the word of OCI for {other}"),
    }
}
