//! File capabilities: what a program may do although its user may not.

use crate::document::{Problem, nearest};

/// The names of Linux 6.12 in the order of their bits (include/uapi/linux/capability.h), without `CAP_`.
pub(super) const NAMES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// `VFS_CAP_REVISION_2`: sets of 64 bits, for every user namespace.
const REVISION_2: u32 = 0x0200_0000;
/// `VFS_CAP_FLAGS_EFFECTIVE`: what is permitted is in effect from the start.
const EFFECTIVE: u32 = 1;

/// A set of capabilities.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities(u64);

impl Capabilities {
    /// Whether none is in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The bit of one capability.
    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        if let Some(bit) = NAMES.iter().position(|name| *name == text) {
            return Ok(Self(1 << bit));
        }
        let problem = Problem::new(format!("`{text}` is not a capability"));
        let plain = text.to_ascii_lowercase();
        let plain = plain.strip_prefix("cap_").unwrap_or(&plain);
        // `nearest` compares what is written with `-`, as keys are.
        let close = NAMES.map(|name| name.replace('_', "-"));
        let close = close.each_ref().map(String::as_str);
        Err(match nearest(plain, &close) {
            Some(name) => problem.with_label(format!("did you mean `{}`?", name.replace('-', "_"))),
            None => {
                problem.with_hint("they are called as in capabilities(7), in lower case and without `CAP_`")
            }
        })
    }

    pub(super) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The value of `security.capability`: `struct vfs_cap_data` of revision 2, with the set as permitted and
    /// effective, and nothing inheritable. `setcap cap_x=ep` writes the same.
    #[must_use]
    pub fn to_xattr(self) -> Vec<u8> {
        #[expect(clippy::cast_possible_truncation, reason = "the two halves of the set")]
        let (low, high) = (self.0 as u32, (self.0 >> 32) as u32);
        let words = [REVISION_2 | EFFECTIVE, low, 0, high, 0];
        words.into_iter().flat_map(u32::to_le_bytes).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `setcap cap_net_bind_service,cap_bpf=ep` writes it on Linux 6.12.
    #[test]
    fn b6_capabilities_have_the_bytes_that_setcap_writes() {
        let of = |name| Capabilities::parse(name).unwrap();
        let set = of("net_bind_service").with(of("bpf"));
        let bytes = set.to_xattr();
        assert_eq!(
            bytes,
            [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0]
        );
    }

    #[test]
    fn names_in_other_spellings_are_refused_with_the_right_one() {
        for (text, meant) in [
            ("CAP_NET_RAW", "net_raw"),
            ("net-raw", "net_raw"),
            ("net_bind_servce", "net_bind_service"),
        ] {
            let problem = Capabilities::parse(text).unwrap_err();
            assert_eq!(problem.label, Some(format!("did you mean `{meant}`?")), "{text}");
        }
        assert!(Capabilities::parse("root").unwrap_err().hint.is_some());
    }
}
