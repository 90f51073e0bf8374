//! The spec that `cairn init` writes.

use cairn_oci::{Platform, RepositoryName};

/// A commented spec with one layer from `./dist`, for an image called `name`, for `platform`.
///
/// It is a valid spec; only `dist` and what is in it must be there for a build.
#[must_use]
pub fn template(name: &RepositoryName, platform: &Platform) -> String {
    let program = name.components().last().unwrap_or_default();
    format!(
        r#"# What this image is. `cairn build` makes it; the same files give the same bytes.

[image]
name = "{name}"                     # its name in the local store
platforms = ["{platform}"]
# repository = "registry.example.org/team/{program}"   # where push and release act; default: the local store

# Without [base] the image starts from scratch, which suits a statically linked program.
# [base]
# image = "registry.example.org/debian:12"     # or oci = "DIRECTORY", archive = "FILE.tar",
#                                              # or rootfs = "FILE.tar.gz"

# Users that the image's /etc/passwd gets.
# [[user]]
# name = "app"
# uid = 10001

# One layer each, in order. Put what changes more often later.
[[layer]]
name = "app"
copy = [{{ from = "dist/", to = "/app/" }}]     # what is in ./dist goes into /app
# write = [{{ to = "/etc/{program}.conf", text = "port = 8080\n" }}]
# link = [{{ from = "/usr/bin/{program}", to = "/app/{program}" }}]
# dir = [{{ to = "/var/lib/{program}", owner = "app", mode = "0750" }}]
# remove = ["/usr/share/doc"]

[config]
entrypoint = ["/app/{program}"]
# cmd = []
# workdir = "/app"
# user = "app"
# env = {{ LOG = "info" }}
# expose = [8080]
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Spec;

    #[test]
    fn the_template_is_a_spec_and_so_are_its_comments() {
        let text = template(&"team/hello".parse().unwrap(), &"linux/amd64".parse().unwrap());
        let spec = Spec::parse(&text).unwrap();
        assert_eq!(spec.config.entrypoint, Some(vec!["/app/hello".to_owned()]));
        let uncomment = |line: &str| match line.strip_prefix("# ") {
            Some(rest) if rest.contains(" = ") || rest.starts_with('[') => format!("{rest}\n"),
            _ => format!("{line}\n"),
        };
        let whole: String = text.lines().map(uncomment).collect();
        let spec = Spec::parse(&whole).unwrap();
        assert_eq!(spec.users.len(), 1);
        assert!(spec.base.is_some() && spec.config.user.is_some());
    }
}
