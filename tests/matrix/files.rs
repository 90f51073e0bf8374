//! The project that the matrix builds: something of everything, and enough of it for several segments.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::harness::Random;

/// Something of everything that a spec can say without a base.
pub(crate) const SITE: &str = r#"
[image]
name = "site"
platforms = ["linux/arm64", "linux/amd64"]

[[user]]
name = "app"
uid = 10001

[[layer]]
name = "static"
copy = [{ from = "static/", to = "/srv/static/", exclude = ["**/*.map"] }]
dir = [{ to = "/var/lib/site", owner = "app", mode = "0750" }]
link = [{ from = "/srv/www", to = "static" }]

[[layer]]
name = "app"
copy = [{ from = "dist/{arch}/app", to = "/usr/bin/app" }]
write = [{ to = "/etc/site.conf", text = "port = 8080\n", mode = "0600", owner = "app" }]

[config]
entrypoint = ["/usr/bin/app"]
env = { B = "2", A = "1" }
labels = { z = "1", a = "2" }
"#;

/// Paths, contents, and whether the owner may execute.
pub(super) struct Files(Vec<(String, Vec<u8>, bool)>);

impl Files {
    pub(super) fn site() -> Self {
        let mut files = vec![
            ("cairn.toml".to_owned(), SITE.as_bytes().to_vec(), false),
            ("dist/amd64/app".to_owned(), text(1, 9000), true),
            ("dist/arm64/app".to_owned(), text(2, 9000), true),
            ("static/run.sh".to_owned(), b"#!/bin/sh\n".to_vec(), true),
            ("static/b/two.js.map".to_owned(), b"{}\n".to_vec(), false),
            ("static/large".to_owned(), text(3, 1_200_000), false),
        ];
        for name in [
            "index.html",
            "b/two.js",
            "a/one.js",
            "a-b",
            "a.b",
            "ä",
            "I",
            "ı",
            "Z",
            "z",
        ] {
            files.push((format!("static/{name}"), text(4, 700), false));
        }
        for number in 0..300 {
            let length = 1000 + number % 50 * 150;
            files.push((format!("static/many/{number}"), text(number, length), false));
        }
        Self(files)
    }

    pub(super) fn shuffle(&mut self, random: &mut Random) {
        for last in (1..self.0.len()).rev() {
            let other = usize::try_from(random.below(last as u64 + 1)).unwrap();
            self.0.swap(last, other);
        }
    }

    pub(super) fn write(&self, project: &Path) {
        for (path, content, executable) in &self.0 {
            let file = project.join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, content).unwrap();
            let mode = if *executable { 0o755 } else { 0o644 };
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        }
    }

    /// The paths, and whether the owner may execute them.
    pub(super) fn paths(&self) -> impl Iterator<Item = (&str, bool)> {
        self.0
            .iter()
            .map(|(path, _, executable)| (path.as_str(), *executable))
    }
}

/// Text of this length that compresses to about a half, another for each seed.
fn text(seed: usize, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 8);
    let mut state = seed as u64 + 1;
    while bytes.len() < length {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(format!("{} ", (state >> 33) % 5000).as_bytes());
    }
    bytes.truncate(length);
    bytes
}
