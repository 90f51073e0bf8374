//! From text to spec, section by section.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use cairn_layer::GlobFilter;
use cairn_oci::{Platform, Reference};
use cairn_store::archive::split_name;
use jiff::Timestamp;
use toml::Spanned;
use toml::de::DeValue;

use super::keys::{BASE, CONFIG, COPY, DIR, FETCH, GROUP, IMAGE, LAYER, LEDGER, LINK, ROOT, USER, WRITE};
use super::values::{self, Destination, Owner, Template};
use super::{
    Base, BaseSource, Capabilities, Config, Copy, Created, Directory, Extended, Group, ID_LIMIT, Image,
    Inherit, LIMIT, Layer, Ledger, Link, Spec, User, Write, checks, debian, fetch, health, rules, split_glob,
};
use crate::document::{self, Findings, Problem, Section, chain, nearest};
use crate::finding::{Finding, Located};
use crate::workspace;

/// The root of a member's workspace: its text, and the way there.
pub(super) type Root<'t> = (&'t str, &'t str);

pub(super) fn read<'t>(text: &'t str, root: Option<Root<'t>>) -> Result<Spec, Vec<Finding>> {
    let findings = Findings::default();
    let mut inherited = Vec::new();
    let spec = document::parse(text, LIMIT, &findings).and_then(|mut table| {
        // It is about other images, and has been read if it is there.
        table.get_mut().remove("workspace");
        // What is wrong with the root is told by whoever found the workspace.
        let shared = root.and_then(|(root, _)| document::parse(root, LIMIT, &Findings::default()));
        let shared = shared.as_ref().map(Spanned::get_ref);
        let up = root.map_or("", |(_, up)| up);
        // Without what is missing, more would be reported that is wrong for that reason alone.
        inherited = workspace::inherit(table.get_mut(), shared, up, &findings)?;
        let root = Section::root(&table, &ROOT.names, &findings);
        let spec = read_root(&root)?;
        checks::check(&spec, &findings);
        Some(spec)
    });
    match spec {
        Some(spec) if findings.is_empty() => Ok(spec),
        _ => Err(workspace::explained(findings.into_sorted(), &inherited)),
    }
}

/// Reads every section before the first missing one makes it give up.
fn read_root(root: &Section<'_>) -> Option<Spec> {
    let image = root.table("image", "[image]", &IMAGE.names);
    if !root.has("image") {
        root.report(
            Finding::new("the spec has no [image]", 0..0)
                .with_hint("`cairn init` writes a spec to start from"),
        );
    }
    let image = image.and_then(|section| read_image(&section));
    let base = root
        .table("base", "[base]", &BASE.names)
        .map(|section| read_base(&section));
    let packages = debian::read(root);
    let users = root.tables("user", "[[user]]", &USER.names);
    let users: Vec<_> = users.iter().filter_map(read_user).collect();
    let groups = root.tables("group", "[[group]]", &GROUP.names);
    let groups: Vec<_> = groups.iter().filter_map(read_group).collect();
    let layers = root.tables("layer", "[[layer]]", &LAYER.names);
    let layers: Vec<_> = layers.iter().filter_map(read_layer).collect();
    let config = root.table("config", "[config]", &CONFIG.names);
    let config = config.map(|section| read_config(&section)).unwrap_or_default();
    let ledger = root.table("ledger", "[ledger]", &LEDGER.names);
    let ledger = ledger.map(|section| read_ledger(&section)).unwrap_or_default();
    Some(Spec {
        image: image?,
        base: match base {
            Some(base) => Some(base?),
            None => None,
        },
        packages,
        users,
        groups,
        layers,
        config,
        ledger,
    })
}

fn read_image(section: &Section<'_>) -> Option<Image> {
    let name = section.required("name", values::image_name);
    let repository = section.parsed("repository", repository);
    let platforms = read_platforms(section);
    let created = read_created(section);
    let compression = section.parsed("compression", values::compression);
    Some(Image {
        name: name?,
        repository,
        platforms: platforms?,
        created: created?,
        compression: compression
            .map(|compression| compression.value)
            .unwrap_or_default(),
    })
}

fn repository(text: &str) -> Result<Reference, Problem> {
    let reference: Reference = text.parse().map_err(|error| Problem::new(chain(&error)))?;
    if reference.tag.is_some() || reference.digest.is_some() {
        let problem = Problem::new(format!("`{text}` is more than a repository"));
        return Err(problem.with_hint(format!(
            "leave tag and digest away: {}",
            reference.without_target()
        )));
    }
    Ok(reference)
}

/// Operating systems that images are made for.
const SYSTEMS: [&str; 4] = ["linux", "freebsd", "windows", "wasip1"];

/// Architectures, in the words of Go's `GOARCH` (image-spec, image-index.md, `platform.architecture`).
const ARCHITECTURES: [&str; 14] = [
    "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64", "ppc64le",
    "riscv64", "s390x", "wasm",
];

/// What other programs call them.
const OTHER_WORDS: [(&str, &str); 9] = [
    ("x86_64", "amd64"),
    ("x64", "amd64"),
    ("i386", "386"),
    ("i686", "386"),
    ("x86", "386"),
    ("aarch64", "arm64"),
    ("armhf", "arm/v7"),
    ("armv7l", "arm/v7"),
    ("ppc64el", "ppc64le"),
];

/// An image for a machine that nobody has is a typing error, which no runtime would explain.
fn check_platform(platform: Platform) -> Result<Platform, Problem> {
    let problem = |word: &str, what: &str, known: &[&str], meant: Option<&str>| {
        let problem = Problem::new(format!("`{word}` is not {what} that images are made for"));
        match meant.or_else(|| nearest(word, known)) {
            Some(name) => problem.with_label(format!("did you mean `{name}`?")),
            None => problem.with_hint(format!("there are: {}", known.join(", "))),
        }
    };
    if !SYSTEMS.contains(&platform.os.as_str()) {
        return Err(problem(&platform.os, "an operating system", &SYSTEMS, None));
    }
    let word = platform.architecture.as_str();
    if !ARCHITECTURES.contains(&word) {
        let meant = OTHER_WORDS.iter().find(|(other, _)| *other == word);
        let meant = meant.map(|(_, name)| *name);
        return Err(problem(word, "an architecture", &ARCHITECTURES, meant));
    }
    Ok(platform)
}

fn read_platforms(section: &Section<'_>) -> Option<Vec<Located<Platform>>> {
    let platforms = section.texts("platforms", |text| {
        let platform = text.parse::<Platform>();
        check_platform(platform.map_err(|error| Problem::new(chain(&error)))?)
    });
    let hint = "name the machines that the image is for: platforms = [\"linux/amd64\"]";
    let Some(platforms) = platforms else {
        if !section.has("platforms") {
            section.report(Finding::new("[image] needs `platforms`", section.span()).with_hint(hint));
        }
        return None;
    };
    if section.list("platforms").is_some_and(|list| list.is_empty()) {
        let span = section.key_span("platforms").unwrap_or_default();
        section.report(Finding::new("`platforms` is empty", span).with_hint(hint));
    }
    let mut seen = BTreeSet::new();
    for platform in &platforms {
        if !seen.insert(&platform.value) {
            let message = format!("the platform {} is given twice", platform.value);
            section.report(Finding::new(message, platform.span.clone()));
        }
    }
    Some(platforms)
}

fn read_created(section: &Section<'_>) -> Option<Located<Created>> {
    if !section.has("created") {
        return Some(Located::nowhere(Created::Inputs));
    }
    let text = section.text_or_date("created")?;
    match created(&text.value) {
        Ok(created) => Some(text.map(|_| created)),
        Err(problem) => {
            section.report(problem.at(text.span));
            None
        }
    }
}

fn created(text: &str) -> Result<Created, Problem> {
    if text == "inputs" {
        return Ok(Created::Inputs);
    }
    let hint = "write \"inputs\", or a date such as \"2026-01-31T12:00:00Z\"";
    match text.parse::<Timestamp>() {
        Ok(time) if time.as_second() >= 1 && time.subsec_nanosecond() == 0 => Ok(Created::At(time)),
        Ok(_) => Err(Problem::new(format!(
            "the date `{text}` is before 1970-01-01T00:00:01Z or has a fraction"
        ))
        .with_hint(hint)),
        Err(_) => Err(Problem::new(format!("`{text}` is neither \"inputs\" nor a date")).with_hint(hint)),
    }
}

fn read_base(section: &Section<'_>) -> Option<Base> {
    let image = section.parsed("image", base_image);
    let layout = section.parsed("oci", base_layout);
    let archive = section.parsed("archive", base_archive);
    let rootfs = section.parsed("rootfs", |text| Template::parse(text).map(BaseSource::RootFs));
    let inherit = read_inherit(section);
    let given: Vec<_> = ["image", "oci", "archive", "rootfs"]
        .into_iter()
        .filter(|key| section.has(key))
        .collect();
    match given[..] {
        [_] => {}
        [] => section.report(
            Finding::new(
                "[base] needs one of `image`, `oci`, `archive` and `rootfs`",
                section.span(),
            )
            .with_hint("leave [base] away to build from scratch"),
        ),
        [first, second, ..] => {
            let message = format!("[base] has both `{first}` and `{second}`; it takes one");
            let span = section.key_span(second).unwrap_or_default();
            section.report(Finding::new(message, span));
        }
    }
    Some(Base {
        source: image.or(layout).or(archive).or(rootfs)?,
        inherit: inherit.unwrap_or_else(Inherit::defaults),
    })
}

fn base_image(text: &str) -> Result<BaseSource, Problem> {
    let reference: Reference = text.parse().map_err(|error| Problem::new(chain(&error)))?;
    if reference.tag.is_none() && reference.digest.is_none() {
        return Err(Problem::new(format!(
            "`{text}` names a repository, and not which of its images"
        ))
        .with_hint(format!("add a tag or a digest, such as {text}:12")));
    }
    Ok(BaseSource::Image(reference))
}

/// `DIR` or `DIR:TAG`; what follows the last colon is a tag if it can be one.
fn base_layout(text: &str) -> Result<BaseSource, Problem> {
    if text.is_empty() || text.contains('\0') {
        return Err(Problem::new(
            "the directory of a layout has at least one character, and no NUL",
        ));
    }
    let tagged = text
        .rsplit_once(':')
        .filter(|(directory, _)| !directory.is_empty());
    let tagged = tagged.and_then(|(directory, tag)| Some((directory, tag.parse().ok()?)));
    let (directory, tag) = match tagged {
        Some((directory, tag)) => (directory, Some(tag)),
        None => (text, None),
    };
    Ok(BaseSource::Layout {
        directory: directory.to_owned(),
        tag,
    })
}

/// `FILE`, `FILE:TAG` or `FILE:NAME:TAG`.
fn base_archive(text: &str) -> Result<BaseSource, Problem> {
    let (file, name) = split_name(text);
    Ok(BaseSource::Archive {
        file: Template::parse(file)?,
        name: name.map(str::to_owned),
    })
}

fn read_inherit(section: &Section<'_>) -> Option<BTreeSet<Inherit>> {
    let parts = section.texts("inherit", |text| {
        let names = Inherit::NAMES;
        let part = Inherit::ALL.into_iter().find(|(name, _)| *name == text);
        part.map(|(_, part)| part).ok_or_else(|| {
            let problem = Problem::new(format!("`{text}` cannot be inherited"));
            match nearest(text, &names) {
                Some(name) => problem.with_label(format!("did you mean `{name}`?")),
                None => problem.with_hint(format!("what can be: {}", names.join(", "))),
            }
        })
    })?;
    Some(parts.into_iter().map(|part| part.value).collect())
}

fn read_user(section: &Section<'_>) -> Option<User> {
    let name = section.required("name", values::account_name);
    let uid = read_id(section, section.required_integer("uid"));
    let gid = read_id(section, section.integer("gid"));
    let groups = section.texts("groups", values::account_name);
    let home = section.parsed("home", values::account_path);
    let shell = section.parsed("shell", values::account_path);
    Some(User {
        name: name?,
        uid: uid?,
        gid,
        groups: groups.unwrap_or_default(),
        home: home.map_or_else(|| "/".to_owned(), |home| home.value),
        shell: shell.map_or_else(|| "/sbin/nologin".to_owned(), |shell| shell.value),
    })
}

fn read_group(section: &Section<'_>) -> Option<Group> {
    let name = section.required("name", values::account_name);
    let gid = read_id(section, section.required_integer("gid"));
    let members = section.texts("members", values::account_name);
    Some(Group {
        name: name?,
        gid: gid?,
        members: members.unwrap_or_default(),
    })
}

fn read_id(section: &Section<'_>, number: Option<Located<i64>>) -> Option<Located<u32>> {
    let number = number?;
    match u32::try_from(number.value).ok().filter(|id| *id < ID_LIMIT) {
        Some(id) => Some(number.map(|_| id)),
        None => {
            let message = format!("the id {} is not between 0 and 2147483647", number.value);
            section.report(Finding::new(message, number.span));
            None
        }
    }
}

fn read_layer(section: &Section<'_>) -> Option<Layer> {
    let name = section.required("name", values::layer_name);
    let copies = section.tables("copy", "`copy`", &COPY.names);
    let fetches = section.tables("fetch", "`fetch`", &FETCH.names);
    let fetches: Vec<_> = fetches.iter().filter_map(fetch::read).collect();
    let writes = section.tables("write", "`write`", &WRITE.names);
    let links = section.tables("link", "`link`", &LINK.names);
    let directories = section.tables("dir", "`dir`", &DIR.names);
    let copies: Vec<_> = copies.iter().filter_map(read_copy).collect();
    let writes: Vec<_> = writes.iter().filter_map(read_write).collect();
    let links: Vec<_> = links.iter().filter_map(read_link).collect();
    let directories: Vec<_> = directories.iter().filter_map(read_directory).collect();
    let removals = section.texts("remove", values::image_path).unwrap_or_default();
    let split = section.parsed("split", values::split);
    let compression = section.parsed("compression", values::compression);
    let hardlinks = section.boolean("hardlinks");
    Some(Layer {
        name: name?,
        copies,
        fetches,
        writes,
        links,
        directories,
        removals,
        split,
        compression: compression.map(|compression| compression.value),
        hardlinks: hardlinks.unwrap_or(false),
    })
}

fn read_copy(section: &Section<'_>) -> Option<Copy> {
    let from = section.required("from", Template::parse_from);
    let to = section.required("to", Destination::parse);
    let owner = section.parsed("owner", Owner::parse);
    let mode = read_mode(section, "mode");
    let directory_mode = read_directory_mode(section, "dir-mode");
    let exclude = read_globs(section, "exclude");
    let allow_secrets = read_globs(section, "allow-secrets");
    let extended = read_extended(section);
    if let (Some(from), Some(to)) = (&from, &to)
        && let (Some(_), Destination::Exactly(path)) = (split_glob(from.value.as_str()), &to.value)
    {
        let message = "a glob copies into a directory, and `to` has no slash at its end";
        let hint = format!("write `to = \"{path}/\"`");
        section.report(Finding::new(message, to.span.clone()).with_hint(hint));
    }
    Some(Copy {
        from: from?,
        to: to?,
        mode,
        directory_mode,
        owner,
        exclude,
        allow_secrets,
        extended,
    })
}

fn read_globs(section: &Section<'_>, key: &str) -> Vec<String> {
    let globs = section.texts(key, |glob| match GlobFilter::new([glob]) {
        Ok(_) => Ok(glob.to_owned()),
        Err(error) => Err(Problem::new(chain(&error))),
    });
    let globs = globs.unwrap_or_default().into_iter();
    globs.map(|glob| glob.value).collect()
}

fn read_extended(section: &Section<'_>) -> Extended {
    let mut set = Capabilities::default();
    for capability in section
        .texts("capabilities", Capabilities::parse)
        .unwrap_or_default()
    {
        set = set.with(capability.value);
    }
    let span = section.key_span("capabilities");
    Extended {
        capabilities: span
            .filter(|_| !set.is_empty())
            .map(|span| Located::new(set, span)),
        xattrs: read_map(section, "xattrs", values::xattr_name),
    }
}

/// A mode that sets the set-user-id or set-group-id bit must come with the owner whose rights it hands out.
pub(super) fn read_mode(section: &Section<'_>, key: &str) -> Option<u32> {
    read_mode_of(section, key, "lets everybody run this with its owner's rights")
}

/// On a directory these bits mean whose the files are that will be made in it.
fn read_directory_mode(section: &Section<'_>, key: &str) -> Option<u32> {
    read_mode_of(
        section,
        key,
        "gives what is made in the directory to the directory's own group or user",
    )
}

fn read_mode_of(section: &Section<'_>, key: &str, what: &str) -> Option<u32> {
    let mode = section.parsed(key, values::mode)?;
    if mode.value & 0o6000 != 0 && !section.has("owner") {
        let message = format!("the mode {:04o} {what}", mode.value);
        let finding =
            Finding::new(message, mode.span).with_hint("say whose with `owner`, or leave the first digit 0");
        section.report(finding);
    }
    Some(mode.value)
}

fn read_write(section: &Section<'_>) -> Option<Write> {
    let to = section.required("to", values::image_file);
    let text = section.required("text", |text| Ok(text.to_owned()));
    let owner = section.parsed("owner", Owner::parse);
    let mode = read_mode(section, "mode").unwrap_or(0o644);
    let extended = read_extended(section);
    Some(Write {
        to: to?,
        text: text?.value,
        mode,
        owner,
        extended,
    })
}

fn read_link(section: &Section<'_>) -> Option<Link> {
    let from = section.required("from", values::image_file);
    let to = section.required("to", values::link_target);
    Some(Link {
        from: from?,
        to: to?.value,
    })
}

fn read_directory(section: &Section<'_>) -> Option<Directory> {
    let to = section.required("to", values::image_path);
    let owner = section.parsed("owner", Owner::parse);
    let mode = read_directory_mode(section, "mode").unwrap_or(0o755);
    Some(Directory { to: to?, mode, owner })
}

fn read_config(section: &Section<'_>) -> Config {
    let texts = |key| {
        let texts = section.texts(key, values::plain_text)?;
        Some(texts.into_iter().map(|text| text.value).collect())
    };
    Config {
        entrypoint: texts("entrypoint"),
        cmd: texts("cmd"),
        workdir: section
            .parsed("workdir", values::absolute_directory)
            .map(|text| text.value),
        user: section.parsed("user", Owner::parse),
        env: read_map(section, "env", env_name),
        expose: read_ports(section),
        volumes: read_volumes(section),
        stop_signal: section
            .parsed("stop-signal", values::signal)
            .map(|text| text.value),
        healthcheck: health::read(section),
        labels: read_map(section, "labels", map_key),
        annotations: read_map(section, "annotations", map_key),
    }
}

fn env_name(name: &str) -> Result<(), Problem> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(Problem::new(format!(
            "`{}` is not the name of a variable",
            name.escape_default()
        )));
    }
    Ok(())
}

fn map_key(name: &str) -> Result<(), Problem> {
    if name.is_empty() {
        return Err(Problem::new("a key cannot be empty"));
    }
    Ok(())
}

fn read_map(
    section: &Section<'_>,
    key: &str,
    check: impl Fn(&str) -> Result<(), Problem>,
) -> BTreeMap<String, String> {
    let mut map = BTreeMap::new();
    for (name, (span, text)) in section.text_map(key).unwrap_or_default() {
        let checked = check(&name).map_err(|problem| (problem, span));
        let checked = checked
            .and_then(|()| values::plain_text(&text.value).map_err(|problem| (problem, text.span.clone())));
        match checked {
            Ok(value) => {
                map.insert(name, value);
            }
            Err((problem, span)) => section.report(problem.at(span)),
        }
    }
    map
}

fn read_ports(section: &Section<'_>) -> BTreeSet<String> {
    let mut ports = BTreeSet::new();
    for element in section.list("expose").unwrap_or_default() {
        match read_port(element) {
            Ok(port) => {
                ports.insert(port);
            }
            Err((problem, span)) => section.report(problem.at(span)),
        }
    }
    ports
}

fn read_port(element: &Spanned<DeValue<'_>>) -> Result<String, (Problem, Range<usize>)> {
    let text = match element.get_ref() {
        DeValue::String(text) => text.to_string(),
        other => match document::whole_number(other) {
            Some(number) => number.to_string(),
            None => return Err((Problem::new("`expose` must be a list of ports"), element.span())),
        },
    };
    values::port(&text).map_err(|problem| (problem, element.span()))
}

fn read_volumes(section: &Section<'_>) -> BTreeSet<String> {
    let volumes = section
        .texts("volumes", values::absolute_directory)
        .unwrap_or_default();
    volumes.into_iter().map(|volume| volume.value).collect()
}

fn read_ledger(section: &Section<'_>) -> Ledger {
    Ledger {
        trust: section.parsed("trust", |text| {
            let digests = text.split('+').map(str::parse).collect::<Result<_, _>>();
            digests.map_err(|error| Problem::new(chain(&error)))
        }),
        repository: section.parsed("repository", repository),
        channels: rules::read(section),
    }
}
