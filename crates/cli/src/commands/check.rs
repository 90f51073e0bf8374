//! `cairn build --check`: what a build would do again, and why, without doing it.

use cairn_build::build::check::{Aspect, Change, ImageWhy, LayerCheck, LayerWhy, PlatformCheck};
use cairn_build::{BuildRequest, Records, RepositoryInputs};
use cairn_layer::{Engine, Limits, TreePath};
use cairn_oci::{Digest, Platform};
use serde::Serialize;

use crate::commands::build::{build_failure, last_build, records};
use crate::failure::Failure;
use crate::fetch::{BuildInputs, Downloads};
use crate::program::Cairn;
use crate::project::Project;
use crate::terminal::{bytes, counted, short};

/// How many paths of a layer are named on the terminal.
const SHOWN: usize = 10;
/// How many paths of a layer are named in a document.
const LISTED: usize = 1000;

/// `--json`
#[derive(Serialize)]
struct Report {
    changed: bool,
    #[serde(skip)]
    lock: String,
    missing_pins: Vec<String>,
    platforms: Vec<PlatformReport>,
}

#[derive(Serialize)]
struct PlatformReport {
    platform: String,
    changed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    layers: Vec<LayerReport>,
}

#[derive(Serialize)]
struct LayerReport {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<(usize, usize)>,
    changed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    paths: Vec<PathReport>,
    more: usize,
}

#[derive(Serialize)]
struct PathReport {
    path: String,
    change: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    what: String,
}

/// Prints what a build of the project would do again.
///
/// # Errors
///
/// Everything that is wrong with spec or lock.
pub async fn run(cairn: &Cairn, project: &Project, platforms: &[Platform]) -> Result<(), Failure> {
    let missing = project.missing_pins();
    let mut report = Report {
        changed: true,
        lock: project.lock_name().to_owned(),
        missing_pins: missing,
        platforms: Vec::new(),
    };
    if report.missing_pins.is_empty() {
        let checks = check(cairn, project, platforms).await?;
        report.platforms = checks.iter().map(platform_report).collect();
        report.changed = report.platforms.iter().any(|platform| platform.changed);
    }
    if cairn.terminal.json {
        return cairn.terminal.document(&report);
    }
    text(&report)
        .iter()
        .try_for_each(|line| cairn.terminal.print(line))
}

async fn check(
    cairn: &Cairn,
    project: &Project,
    platforms: &[Platform],
) -> Result<Vec<PlatformCheck>, Failure> {
    let Some(lock) = project.lock() else {
        return Ok(Vec::new());
    };
    let local = project.local();
    let output = cairn.open(&local).await?;
    let records: Option<Records> = records(cairn, &local, Records::look)?;
    let request = BuildRequest {
        spec: &project.spec,
        lock,
        directory: &project.directory,
        platforms,
        // Nothing stays there.
        scratch: &cairn.store_path()?.join("cache/scratch"),
        limits: Limits::default(),
        engine: Engine::default(),
        records: records.as_ref(),
        releases: None,
    };
    let inputs = BuildInputs {
        base: RepositoryInputs::default(),
        downloads: Downloads::new(cairn, true),
    };
    let last: Option<Digest> = last_build(cairn, project).await?;
    let checks = cairn_build::check(&request, &inputs, &*output, last.as_ref()).await;
    checks.map_err(|error| build_failure(cairn, project, error))
}

fn text(report: &Report) -> Vec<String> {
    if !report.missing_pins.is_empty() {
        let missing = report.missing_pins.join(", ");
        let lock = &report.lock;
        return vec![if missing == *lock {
            format!("there is no {lock}: a build would write it first")
        } else {
            format!("{lock} would be completed first: it does not pin {missing}")
        }];
    }
    let mut lines = Vec::new();
    for platform in &report.platforms {
        lines.push(format!(
            "{}  {}",
            platform.platform,
            verdict(platform.why.as_deref())
        ));
        for layer in &platform.layers {
            let name = match layer.part {
                Some((part, of)) => format!("{} {part}/{of}", layer.name),
                None => layer.name.clone(),
            };
            lines.push(format!("  layer {name:<10} {}", verdict(layer.why.as_deref())));
            lines.extend(layer.paths.iter().take(SHOWN).map(|path| {
                let sign = match path.change {
                    "added" => '+',
                    "removed" => '-',
                    _ => '~',
                };
                let line = format!("    {sign} {}  {}", path.path, path.what);
                line.trim_end().to_owned()
            }));
            let more = layer.paths.len().saturating_sub(SHOWN) + layer.more;
            if more > 0 {
                lines.push(format!("    and {more} more"));
            }
        }
    }
    lines
}

fn verdict(why: Option<&str>) -> String {
    match why {
        None => "up to date".to_owned(),
        Some(why) => format!("would be rebuilt: {why}"),
    }
}

fn platform_report(check: &PlatformCheck) -> PlatformReport {
    PlatformReport {
        platform: check.platform.to_string(),
        changed: check.image.is_some() || check.layers.iter().any(|layer| layer.why.is_some()),
        why: check.image.as_ref().map(|why| image_why(why, &check.layers)),
        layers: check.layers.iter().map(layer_report).collect(),
    }
}

fn image_why(why: &ImageWhy, layers: &[LayerCheck]) -> String {
    let shown = |digest: &Option<String>| match digest {
        Some(text) => text
            .parse()
            .map_or_else(|_| text.clone(), |digest| short(&digest)),
        None => "none".to_owned(),
    };
    match why {
        ImageWhy::New => "there is no image of it yet".to_owned(),
        ImageWhy::Base { from, to } => format!("the base moved from {} to {}", shown(from), shown(to)),
        ImageWhy::Layers => {
            let changed = layers.iter().filter(|layer| layer.why.is_some()).count();
            format!(
                "{} of {}",
                changed,
                counted(layers.len() as u64, "layer", "layers")
            )
        }
        ImageWhy::Configuration => {
            "the configuration, the annotations or the order of layers changed".to_owned()
        }
        ImageWhy::Unknown => "the base's configuration is not here, so that it cannot be known".to_owned(),
    }
}

fn layer_report(check: &LayerCheck) -> LayerReport {
    let changes = match &check.why {
        Some(LayerWhy::Changes(changes)) => &changes[..],
        _ => &[],
    };
    LayerReport {
        name: check.name.clone(),
        part: check.part,
        changed: check.why.is_some(),
        why: check.why.as_ref().map(layer_why),
        paths: changes.iter().take(LISTED).map(path_report).collect(),
        more: changes.len().saturating_sub(LISTED),
    }
}

fn layer_why(why: &LayerWhy) -> String {
    match why {
        LayerWhy::Unknown => "no build of it is known here".to_owned(),
        LayerWhy::TooNew => {
            "its files look the same, but were too new to be sure when it was built".to_owned()
        }
        LayerWhy::Missing => "the store does not have it any more".to_owned(),
        LayerWhy::Rules => {
            "the version of Cairn, the compression or the modification time is another".to_owned()
        }
        LayerWhy::Changes(changes) => counts(changes),
    }
}

fn counts(changes: &[(TreePath, Change)]) -> String {
    let count = |wanted: fn(&Change) -> bool| changes.iter().filter(|(_, change)| wanted(change)).count();
    let counts = [
        (count(|change| *change == Change::Added), "added"),
        (count(|change| matches!(change, Change::Changed(_))), "changed"),
        (count(|change| *change == Change::Removed), "removed"),
    ];
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let counts: Vec<String> = counts.map(|(count, what)| format!("{count} {what}")).collect();
    counts.join(", ")
}

fn path_report((path, change): &(TreePath, Change)) -> PathReport {
    let (change, what) = match change {
        Change::Added => ("added", String::new()),
        Change::Removed => ("removed", String::new()),
        Change::Changed(aspects) => (
            "changed",
            aspects.iter().map(aspect).collect::<Vec<_>>().join(", "),
        ),
    };
    PathReport {
        path: path.to_string(),
        change,
        what,
    }
}

fn aspect(aspect: &Aspect) -> String {
    match aspect {
        Aspect::Kind => "something else".to_owned(),
        Aspect::Mode(from, to) => format!("mode {from:04o} → {to:04o}"),
        Aspect::Owner((uid, gid), (new_uid, new_gid)) => format!("owner {uid}:{gid} → {new_uid}:{new_gid}"),
        Aspect::Xattrs => "extended attributes".to_owned(),
        Aspect::Size(from, to) => format!("{} → {}", bytes(*from), bytes(*to)),
        Aspect::Content => "content".to_owned(),
        Aspect::Written => "written to, same size".to_owned(),
        Aspect::Touched => "touched".to_owned(),
    }
}
