//! What Debian calls the architectures of platforms.

use cairn_oci::Platform;

/// Debian's name for the packages of a platform; none if it has none.
pub(crate) fn of(platform: &Platform) -> Option<&'static str> {
    let variant = platform.variant.as_deref();
    if platform.os != "linux" {
        return None;
    }
    Some(match (platform.architecture.as_str(), variant) {
        ("amd64", _) => "amd64",
        ("arm64", _) => "arm64",
        ("386", _) => "i386",
        ("arm", Some("v5" | "v6")) => "armel",
        ("arm", _) => "armhf",
        ("ppc64le", _) => "ppc64el",
        ("mips64le", _) => "mips64el",
        ("mipsle", _) => "mipsel",
        ("riscv64", _) => "riscv64",
        ("s390x", _) => "s390x",
        ("loong64", _) => "loong64",
        _ => return None,
    })
}
