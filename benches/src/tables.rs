//! The tables of building: packing, building again, changing one file, memory.

use std::process::Command;

use crate::buildkit::BuildKit;
use crate::input::{self, Tree};
use crate::measure::{self, Promise, Row, Runs};
use crate::server::Server;
use crate::{Bench, Report, Result, is_installed};

/// Peers whose runs take a minute are run at most so often.
const SLOW_RUNS: usize = 2;

const COMPRESS_FLOOR: &str = "floor: Cairn's compressor and SHA-256 over a tar archive, all cores";
const STAT_FLOOR: &str = "floor: a stat of every file, all cores";
const HASH_FLOOR: &str = "floor: tar and SHA-256 by openssl";
const BUILDKIT: &str = "BuildKit";

impl Bench {
    pub(crate) fn builds(
        &self,
        big: &Tree,
        many: &Tree,
        wanted: &dyn Fn(&str) -> bool,
        report: &mut Report,
    ) -> Result<()> {
        big.split(false)?;
        if wanted("pack") {
            self.pack_table(big, report)?;
        }
        if wanted("noop") {
            for tree in [many, big] {
                self.noop_table(tree, report)?;
            }
        }
        if wanted("change") {
            self.change_table(big, report)?;
        }
        if wanted("cold") {
            self.cold_table(big, report)?;
        }
        if wanted("memory") {
            self.memory_table(big, many, report)?;
        }
        if wanted("transfer") {
            self.transfers(big, report)?;
        }
        Ok(())
    }

    pub(crate) fn slow(&self) -> Runs {
        Runs::new(self.runs.min(SLOW_RUNS))
    }

    /// BuildKit, or a line that says why it is not there.
    fn buildkit(&self, report: &mut Report) -> Option<BuildKit> {
        match BuildKit::start(self.work.path.join("buildkit")) {
            Ok(buildkit) => Some(buildkit),
            Err(why) => {
                report.add(format!("\n{BUILDKIT} is not measured: {why}.\n"));
                None
            }
        }
    }

    fn pack_table(&self, big: &Tree, report: &mut Report) -> Result<()> {
        let promises = [
            Promise::slower("umoci", 1.8),
            Promise::slower("buildah", 8.0),
            Promise::slower(BUILDKIT, 8.0),
            Promise::slower(COMPRESS_FLOOR, 1.0 / 1.3),
        ];
        let mut rows = vec![self.pack_cairn(big)?];
        rows.extend(self.pack_umoci(big)?);
        rows.extend(self.pack_buildah(big)?);
        if let Some(buildkit) = self.buildkit(report) {
            let out = self.work.path.join("buildkit.tar");
            let output = format!("type=oci,dest={}", out.display());
            let mut row = self.slow().measure(
                BUILDKIT,
                |_| buildkit.prune(),
                || buildkit.build(&big.context, Some(&output), false),
            )?;
            row.note = size_note(input::bytes_of(&out)?);
            rows.push(row);
            measure::remove_file(&out)?;
        }
        rows.extend(self.pack_floors(big)?);
        report.add(measure::table("Pack `big`, cold", &rows, &promises));
        big.compress("zstd")?;
        let zstd = self.pack_cairn(big);
        big.split(false)?;
        report.add(measure::table("Pack `big`, cold, as zstd", &[zstd?], &[]));
        Ok(())
    }

    fn pack_cairn(&self, tree: &Tree) -> Result<Row> {
        let mut row = self
            .runs()
            .measure("cairn build", |_| self.forget(), || self.build(tree))?;
        row.note = size_note(input::bytes_under(&self.store())?);
        Ok(row)
    }

    fn pack_umoci(&self, tree: &Tree) -> Result<Option<Row>> {
        let script = "umoci init --layout \"$OUT\"; umoci new --image \"$OUT:1\"; umoci insert --image \"$OUT:1\" tree /";
        self.pack_peer("umoci", script, &self.runs(), tree)
    }

    fn pack_buildah(&self, tree: &Tree) -> Result<Option<Row>> {
        let script = "b() { buildah --root \"$OUT.root\" --runroot \"$OUT.run\" \"$@\"; }; \
                      b bud --no-cache -q -t bench -f Dockerfile .; b push -q bench \"oci:$OUT:1\"";
        self.pack_peer("buildah", script, &self.slow(), tree)
    }

    fn pack_peer(&self, name: &str, script: &str, runs: &Runs, tree: &Tree) -> Result<Option<Row>> {
        if !is_installed(name) {
            return Ok(None);
        }
        let peer = self.work.path.join("peer");
        let empty = |_| measure::remove(&peer);
        let mut row = runs.measure(name, empty, || self.shell(script, &tree.context))?;
        row.note = size_note(input::bytes_under(&peer)?);
        measure::remove(&peer)?;
        Ok(Some(row))
    }

    fn pack_floors(&self, tree: &Tree) -> Result<Vec<Row>> {
        let mut rows = vec![self.floor("floor: tar alone", "tar -cf - tree", tree)?];
        if is_installed("openssl") {
            let script = "tar -cf - tree | openssl dgst -sha256";
            rows.push(self.floor(HASH_FLOOR, script, tree)?);
        }
        if is_installed("pigz") {
            rows.push(self.floor(
                "floor: tar into pigz -1, all cores",
                "tar -cf - tree | pigz -1",
                tree,
            )?);
        }
        let archive = self.work.path.join("big.tar");
        measure::run(
            Command::new("tar")
                .arg("-cf")
                .arg(&archive)
                .arg("-C")
                .arg(&tree.context)
                .arg("tree"),
        )?;
        rows.push(
            self.runs()
                .measure(COMPRESS_FLOOR, |_| Ok(()), || itself("compress", &archive))?,
        );
        measure::remove_file(&archive)?;
        Ok(rows)
    }

    fn noop_table(&self, tree: &Tree, report: &mut Report) -> Result<()> {
        let promises = [Promise::slower(BUILDKIT, 15.0), Promise::slower(STAT_FLOOR, 0.5)];
        self.forget()?;
        measure::run(&mut self.build(tree))?;
        let mut rows = vec![
            self.runs()
                .measure("cairn build", |_| Ok(()), || self.build(tree))?,
        ];
        rows.extend(self.rebuild_buildah(tree, |_| Ok(()))?);
        if let Some(buildkit) = self.buildkit(report) {
            let command = || buildkit.build(&tree.context, None, true);
            measure::run(&mut command())?;
            rows.push(self.runs().measure(BUILDKIT, |_| Ok(()), command)?);
        }
        rows.push(self.runs().measure(
            STAT_FLOOR,
            |_| Ok(()),
            || itself("stat", &tree.context.join("tree")),
        )?);
        let title = format!("Build {tree} again, nothing changed (one of both promises is to be kept)");
        report.add(measure::table(&title, &rows, &promises));
        Ok(())
    }

    fn rebuild_buildah(&self, tree: &Tree, prepare: impl Fn(usize) -> Result<()>) -> Result<Option<Row>> {
        if !is_installed("buildah") {
            return Ok(None);
        }
        let script =
            "buildah --root \"$OUT.root\" --runroot \"$OUT.run\" bud --layers -q -t bench -f Dockerfile .";
        measure::run(&mut self.shell(script, &tree.context))?;
        let command = || self.shell(script, &tree.context);
        self.slow().measure("buildah", prepare, command).map(Some)
    }

    /// A change that is built and pushed to the registry of distribution 2, else to `cairn serve`; and how many bytes went
    /// over for it, as one layer and cut into parts.
    fn change_table(&self, tree: &Tree, report: &mut Report) -> Result<()> {
        let promises = [Promise::slower("buildah", 20.0), Promise::slower(BUILDKIT, 20.0)];
        let server = self.registry(report)?;
        let target = format!("{}/bench/tree", server.host);
        let (row, moved) = self.change_cairn("cairn build, copy", tree, &server, &format!("{target}:1"))?;
        let mut rows = vec![row];
        if is_installed("buildah") {
            let script = "b() { buildah --root \"$OUT.root\" --runroot \"$OUT.run\" \"$@\"; }; \
                          b bud --layers -q -t bench -f Dockerfile .; \
                          b push -q --tls-verify=false bench \"docker://$TARGET\"";
            let command = || {
                let mut command = self.shell(script, &tree.context);
                command.env("TARGET", format!("{target}:buildah"));
                command
            };
            measure::run(&mut command())?;
            let changed = |round| tree.change(round + 1000);
            rows.push(self.slow().measure("buildah", changed, command)?);
        }
        if let Some(buildkit) = self.buildkit(report) {
            let output = format!("type=image,name={target}:buildkit,push=true,registry.insecure=true");
            let command = || buildkit.build(&tree.context, Some(&output), true);
            measure::run(&mut command())?;
            let changed = |round| tree.change(round + 2000);
            rows.push(self.slow().measure(BUILDKIT, changed, command)?);
        }
        let whole = self.layers(tree)?;
        tree.split(true)?;
        let split = self.change_cairn(
            "cairn build, copy, split = \"auto\"",
            tree,
            &server,
            &format!("{target}:split"),
        );
        let parts = self.layers(tree)?;
        tree.split(false)?;
        measure::remove_file(&tree.context.join("tree/changed.txt"))?;
        let (row, moved_split) = split?;
        rows.push(row);
        let title = "One file of 2 KB changed in `big`, built and pushed";
        report.add(measure::table(title, &rows, &promises));
        report.add(format!(
            "\nBytes moved for the change: {}, of a layer of {}: {} (promise: ≤ 1.05 of it and 64 KiB). Cut into {} parts: {}, {:.2}% of \
             the image (promise: ≤ 3%).\n",
            size_note(moved),
            size_note(whole.bytes),
            verdict(moved <= whole.bytes * 105 / 100 + (64 << 10)),
            parts.count,
            size_note(moved_split),
            moved_split as f64 * 100.0 / parts.bytes as f64,
        ));
        Ok(())
    }

    fn registry(&self, report: &mut Report) -> Result<Server> {
        let directory = self.work.path.join("registry-2");
        match Server::distribution("docker-registry", &directory) {
            Ok(server) => Ok(server),
            Err(why) => {
                report.add(format!("\n`cairn serve` takes the pushes: {why}.\n"));
                self.serve()
            }
        }
    }

    /// Builds and pushes once, then once for each run with a change before it; and how much the registry grew for each.
    fn change_cairn(&self, name: &str, tree: &Tree, server: &Server, target: &str) -> Result<(Row, u64)> {
        let push = || {
            let script = "\"$CAIRN\" build && \"$CAIRN\" copy bench:built \"$TARGET\"";
            let mut command = self.shell(script, &tree.context);
            self.confine(&mut command);
            command.env("CAIRN", &self.cairn).env("TARGET", target);
            command
        };
        self.forget()?;
        measure::run(&mut push())?;
        let before = input::bytes_under(&server.storage)?;
        let seed = target.len() * 10_000;
        let row = self
            .runs()
            .measure(name, |round| tree.change(seed + round), push)?;
        let moved = input::bytes_under(&server.storage)?.saturating_sub(before);
        Ok((row, moved / self.runs as u64))
    }

    /// What the last build's image is made of.
    fn layers(&self, tree: &Tree) -> Result<Layers> {
        let document = measure::output(
            self.cairn(&tree.context)
                .args(["--json", "inspect", "bench:built"]),
        )?;
        // One image: the sizes of its layers follow their media types.
        let sizes: Vec<u64> = document
            .split("\"mediaType\":\"application/vnd.oci.image.layer.")
            .skip(1)
            .filter_map(|text| {
                let size = text.split("\"size\":").nth(1)?;
                size.split(|character: char| !character.is_ascii_digit())
                    .next()?
                    .parse()
                    .ok()
            })
            .collect();
        if sizes.is_empty() {
            return Err(format!("no layers in {document}"));
        }
        Ok(Layers {
            count: sizes.len(),
            bytes: sizes.iter().sum(),
        })
    }

    fn cold_table(&self, big: &Tree, report: &mut Report) -> Result<()> {
        self.forget()?;
        measure::run(&mut self.build(big))?;
        let fresh = |_| big.touch();
        let mut rows = vec![
            self.runs()
                .measure("cairn build, caches of the last build", fresh, || self.build(big))?,
        ];
        let without_store = |_| {
            big.touch()?;
            measure::remove(&self.store())
        };
        let name = "cairn build, its cache and no store";
        rows.push(self.runs().measure(name, without_store, || self.build(big))?);
        rows.extend(self.rebuild_buildah(big, fresh)?);
        let script = "tar -cf - tree | openssl dgst -sha256";
        if is_installed("openssl") {
            rows.push(self.floor(HASH_FLOOR, script, big)?);
        }
        let title = "Build `big` again, nothing changed but the files' times (a fresh checkout)";
        report.add(measure::table(title, &rows, &[]));
        self.runner_table(big, report)?;
        Ok(())
    }

    /// A machine with nothing but the files and a ledger to read, of `cairn serve` and of the registry of distribution 2.
    fn runner_table(&self, big: &Tree, report: &mut Report) -> Result<()> {
        let fresh = |_| {
            big.touch()?;
            self.forget()
        };
        let mut rows = Vec::new();
        for (name, server) in [
            ("cairn push, to cairn serve", self.serve()?),
            ("cairn push, to docker-registry", self.registry(report)?),
        ] {
            big.released_at(&format!("{}/bench/runner", server.host))?;
            self.forget()?;
            let release = ["release", "1.0.0", "--channel", "prod"];
            measure::run(self.cairn(&big.context).args(release))?;
            let push = || {
                let mut command = self.cairn(&big.context);
                command.arg("push");
                command
            };
            rows.push(self.runs().measure(name, fresh, push)?);
        }
        let row = self
            .runs()
            .measure("cairn build, which makes every byte", fresh, || self.build(big));
        big.split(false)?;
        rows.push(row?);
        if is_installed("openssl") {
            let script = "tar -cf - tree | openssl dgst -sha256";
            rows.push(self.floor(HASH_FLOOR, script, big)?);
        }
        let title = "A cold runner: no cache, no store, fresh files; nothing changed since the release";
        let promises = [Promise::slower(HASH_FLOOR, 1.0 / 1.2)];
        report.add(measure::table(title, &rows, &promises));
        Ok(())
    }

    fn memory_table(&self, big: &Tree, many: &Tree, report: &mut Report) -> Result<()> {
        report.add("\nMost memory at once (VmHWM)\n\n| tree | cold | nothing changed | bytes a path beyond one file, nothing changed |\n|---|---|---|---|\n".to_owned());
        let small = Tree::one(&self.work.path.join("one"))?;
        let base = self.memory(&small)?.1;
        for tree in [big, many] {
            let (cold, again) = self.memory(tree)?;
            report.add(format!(
                "| {tree} | {} | {} | {} |\n",
                size_note(cold),
                size_note(again),
                again.saturating_sub(base) / tree.files as u64,
            ));
        }
        Ok(())
    }

    fn memory(&self, tree: &Tree) -> Result<(u64, u64)> {
        self.forget()?;
        let cold = measure::peak_memory(&mut self.build(tree))?;
        Ok((cold, measure::peak_memory(&mut self.build(tree))?))
    }

    fn floor(&self, name: &str, script: &str, tree: &Tree) -> Result<Row> {
        let script = format!("{script} | cat >/dev/null");
        self.runs()
            .measure(name, |_| Ok(()), || self.shell(&script, &tree.context))
    }

    fn build(&self, tree: &Tree) -> Command {
        let mut command = self.cairn(&tree.context);
        command.arg("build");
        command
    }
}

struct Layers {
    count: usize,
    bytes: u64,
}

pub(crate) fn size_note(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

pub(crate) fn verdict(kept: bool) -> &'static str {
    if kept { "kept" } else { "NOT KEPT" }
}

/// This program, to measure a floor.
fn itself(what: &str, path: &std::path::Path) -> Command {
    let mut command = Command::new("/proc/self/exe");
    if let Ok(program) = std::env::current_exe() {
        command = Command::new(program);
    }
    command.arg(what).arg(path);
    command
}
