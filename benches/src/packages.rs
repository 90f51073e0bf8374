//! The image of `examples/flask`: packages of Debian, beside the ways to make it with other tools, all with one mirror on loopback.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::archive::Archive;
use crate::input::bytes_under;
use crate::measure::{self, Promise, Row};
use crate::tables::{size_note, verdict};
use crate::{Bench, Report, Result, is_installed};

const DOCKERFILE: &str = "Dockerfile with apt-get install, buildah";
const EXTRACT: &str = "mmdebstrap --variant=extract, buildah";
/// The longest that a build may take in which nothing is new.
const NOTHING_NEW: Duration = Duration::from_millis(50);

impl Bench {
    pub(crate) fn packages(&self, inputs: &Path, report: &mut Report) -> Result<()> {
        let archive = match Archive::serve(&inputs.join("archive")) {
            Ok(archive) => archive,
            Err(why) => {
                report.add(format!("\nPackages are not measured: {why}.\n"));
                return Ok(());
            }
        };
        let context = self.flask(&archive)?;
        let cairn = |verbs: &str| {
            let script = verbs.split(' ').map(|verb| format!("\"$CAIRN\" {verb}"));
            let mut command = self.shell(&script.collect::<Vec<_>>().join(" && "), &context);
            self.confine(&mut command);
            command
                .env("CAIRN", &self.cairn)
                .env("CAIRN_DEBIAN_MIRROR", &archive.url);
            command
        };
        let nothing = |_| {
            measure::remove_file(&context.join("cairn.lock"))?;
            self.forget()
        };
        // The mirror gets what it lacks.
        nothing(0)?;
        measure::run(&mut cairn("lock build"))?;
        let mut cold = self
            .runs()
            .measure("cairn lock, build", nothing, || cairn("lock build"))?;
        let own = self.image_bytes(&context)?;
        cold.note = size_note(own);
        let mut again =
            vec![
                self.runs()
                    .measure("cairn build, nothing changed", |_| Ok(()), || cairn("build"))?,
            ];
        again.push(
            self.runs()
                .measure("cairn lock, nothing changed", |_| Ok(()), || cairn("lock"))?,
        );
        let update = |_| measure::remove_file(&context.join("cairn.lock"));
        again.push(
            self.runs()
                .measure("cairn lock anew, indexes cached", update, || cairn("lock"))?,
        );

        let mut rows = vec![cold];
        rows.extend(self.extract(&archive, &context)?);
        let dockerfile = self.dockerfile(&archive, &context, inputs)?;
        let theirs = dockerfile.as_ref().map(|(_, _, bytes)| *bytes);
        if let Some((row, cached, _)) = dockerfile {
            rows.push(row);
            again.push(cached);
        }
        let title = "The Flask image from packages of Debian: nothing kept but a mirror on loopback";
        report.add(measure::table(title, &rows, &[Promise::slower(DOCKERFILE, 2.0)]));
        report.add(measure::table("The Flask image again", &again, &[]));
        let quick = again[0].median() <= NOTHING_NEW.as_secs_f64();
        report.add(format!(
            "\nNothing changed: {:.0} ms: {} (promise: ≤ {} ms).\n",
            again[0].median() * 1e3,
            verdict(quick),
            NOTHING_NEW.as_millis(),
        ));
        if let Some(theirs) = theirs {
            report.add(format!(
                "\nCompressed: {}, beside {} of the Dockerfile: {} (promise: no more).\n",
                size_note(own),
                size_note(theirs),
                verdict(own <= theirs),
            ));
        }
        Ok(())
    }

    /// A copy of the example, with its Dockerfile.
    fn flask(&self, archive: &Archive) -> Result<PathBuf> {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/flask");
        let context = self.work.path.join("flask");
        fs::create_dir_all(&context)
            .map_err(|error| format!("cannot create {}: {error}", context.display()))?;
        let write = |name: &str, text: &str| {
            fs::write(context.join(name), text).map_err(|error| format!("cannot write {name}: {error}"))
        };
        for name in ["cairn.toml", "app.py"] {
            let text = fs::read_to_string(example.join(name))
                .map_err(|error| format!("cannot read {name}: {error}"))?;
            write(
                name,
                &text.replace("\"bookworm\"", &format!("\"{}\"", archive.suite)),
            )?;
        }
        let Archive { url, suite } = archive;
        let install = format!(
            "echo 'deb {url} {suite} main' >/etc/apt/sources.list && apt-get -qq update && DEBIAN_FRONTEND=noninteractive \
             apt-get -qq install --yes --no-install-recommends python3-flask && apt-get clean && rm -rf /var/lib/apt/lists/*"
        );
        write(
            "Dockerfile",
            &format!(
                "FROM localhost/bench-base\nRUN {install}\nCOPY app.py /srv/app/\nUSER 10001:10001\n\
                 ENTRYPOINT [\"/usr/bin/python3\", \"/srv/app/app.py\"]\n"
            ),
        )?;
        Ok(context)
    }

    /// The bytes of the image that was built last, compressed, in a layout as the others make it.
    fn image_bytes(&self, context: &Path) -> Result<u64> {
        let layout = self.work.path.join("flask-layout");
        measure::remove(&layout)?;
        let output = format!("oci:{}", layout.display());
        measure::run(self.cairn(context).args(["copy", "flask:built", &output]))?;
        bytes_under(&layout)
    }

    fn extract(&self, archive: &Archive, context: &Path) -> Result<Option<Row>> {
        if !is_installed("mmdebstrap") || !is_installed("buildah") {
            return Ok(None);
        }
        let script = "b() { buildah --root \"$OUT.root\" --runroot \"$OUT.run\" \"$@\"; }; \
                      mmdebstrap --quiet --variant=extract --include=python3-flask \"$SUITE\" \"$OUT.tar\" \"deb $MIRROR $SUITE main\"; \
                      c=$(b from scratch); b add -q \"$c\" \"$OUT.tar\" / >/dev/null; b add -q \"$c\" app.py /srv/app/ >/dev/null; \
                      b config --user 10001:10001 --entrypoint '[\"/usr/bin/python3\", \"/srv/app/app.py\"]' \"$c\"; \
                      b commit -q --rm \"$c\" \"oci:$OUT:1\" >/dev/null";
        self.with_mirror(EXTRACT, script, archive, context)
            .map(|(row, _)| Some(row))
    }

    /// The row, one where the cache has everything, and the size of the image. The base is made before anything is measured.
    fn dockerfile(
        &self,
        archive: &Archive,
        context: &Path,
        inputs: &Path,
    ) -> Result<Option<(Row, Row, u64)>> {
        if !is_installed("mmdebstrap") || !is_installed("buildah") {
            return Ok(None);
        }
        let base = inputs.join("debian-minbase.tar");
        let prepare = "b() { buildah --root \"$OUT.root\" --runroot \"$OUT.run\" \"$@\"; }; \
                       [ -s \"$BASE\" ] || { mmdebstrap --quiet --variant=minbase \"$SUITE\" \"$BASE.part.tar\" \
                       \"deb $MIRROR $SUITE main\"; mv \"$BASE.part.tar\" \"$BASE\"; }; \
                       c=$(b from scratch); b add -q \"$c\" \"$BASE\" / >/dev/null; b commit -q --rm \"$c\" bench-base >/dev/null";
        measure::run(self.told(prepare, archive, context).env("BASE", &base))?;
        let build = |options: &str| {
            format!(
                "b() {{ buildah --root \"$OUT.root\" --runroot \"$OUT.run\" \"$@\"; }}; \
                 b bud {options} --isolation chroot --network host --pull-never -q -t flask -f Dockerfile . >/dev/null; \
                 b push -q flask \"oci:$OUT:1\""
            )
        };
        let (row, bytes) = self.with_mirror(DOCKERFILE, &build("--no-cache"), archive, context)?;
        let cached = build("--layers");
        measure::run(&mut self.told(&cached, archive, context))?;
        let again = self.slow().measure(
            "the Dockerfile, all of it cached",
            |_| Ok(()),
            || self.told(&cached, archive, context),
        )?;
        Ok(Some((row, again, bytes)))
    }

    /// Runs a script once for the mirror to have what it takes, then measures it; and how large the layout is that it makes.
    fn with_mirror(&self, name: &str, script: &str, archive: &Archive, context: &Path) -> Result<(Row, u64)> {
        let out = self.work.path.join("peer");
        let prepare = |_| {
            measure::remove_file(&self.work.path.join("peer.tar"))?;
            measure::remove(&out)
        };
        prepare(0)?;
        measure::run(&mut self.told(script, archive, context))?;
        let mut row = self
            .slow()
            .measure(name, prepare, || self.told(script, archive, context))?;
        let bytes = bytes_under(&out)?;
        row.note = size_note(bytes);
        prepare(0)?;
        Ok((row, bytes))
    }

    fn told(&self, script: &str, archive: &Archive, context: &Path) -> Command {
        let mut command = self.shell(script, context);
        command.env("MIRROR", &archive.url).env("SUITE", &archive.suite);
        command
    }
}
