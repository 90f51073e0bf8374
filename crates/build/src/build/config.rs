//! The configuration of the image: the spec's, upon what it inherits.

use std::collections::BTreeMap;

use cairn_oci::config::{Empty, History, RootFs, RunConfig};
use cairn_oci::{ImageConfig, Platform};

use serde_json::{Map, Value};

use super::{BuildRequest, BuiltLayer};
use crate::lock::LockedLayer;
use crate::spec::{Healthcheck, Inherit, Spec};

/// Put together from the spec, the base's configuration, the base's layers and our own.
pub(super) fn configure(
    request: &BuildRequest<'_>,
    platform: &Platform,
    base: Option<&ImageConfig>,
    base_layers: &[LockedLayer],
    own: &[BuiltLayer],
) -> ImageConfig {
    let created = request.lock.created.value.to_string();
    let diff_ids = base_layers
        .iter()
        .map(|layer| layer.diff_id)
        .chain(own.iter().map(|layer| layer.diff_id));
    let mut history = base_history(base, base_layers.len());
    history.extend(own.iter().map(|layer| History {
        created: Some(created.clone()),
        created_by: Some(format!("cairn: layer {}", layer.title())),
        ..History::default()
    }));
    ImageConfig {
        created: Some(created),
        author: None,
        platform: full_platform(platform, base),
        config: run_config(request.spec, base.map(|base| &base.config)),
        rootfs: RootFs::layers(diff_ids.collect()),
        history,
    }
}

/// The platform as the spec names it, with what a base says of the system that it needs.
fn full_platform(platform: &Platform, base: Option<&ImageConfig>) -> Platform {
    let Some(base) = base else {
        return platform.clone();
    };
    Platform {
        os_version: base.platform.os_version.clone(),
        os_features: base.platform.os_features.clone(),
        ..platform.clone()
    }
}

/// The base's history, if it has one entry for each layer; else one of our own for each, because tools that match
/// history and layers fail on anything else.
fn base_history(base: Option<&ImageConfig>, layers: usize) -> Vec<History> {
    let history = base.map(|base| base.history.clone()).unwrap_or_default();
    let with_layer = history
        .iter()
        .filter(|entry| entry.empty_layer != Some(true))
        .count();
    if with_layer == layers {
        return history;
    }
    let entry = History {
        created_by: Some("base".to_owned()),
        ..History::default()
    };
    vec![entry; layers]
}

/// What the image says of how it is run.
pub(super) fn run_config(spec: &Spec, base: Option<&RunConfig>) -> RunConfig {
    let config = &spec.config;
    let inherits = |part| {
        spec.base
            .as_ref()
            .is_some_and(|base| base.inherit.contains(&part))
    };
    let inherited = |part| base.filter(|_| inherits(part));
    let list = |own: &Option<Vec<String>>, base: Option<Vec<String>>| {
        own.clone().or(base).filter(|list| !list.is_empty())
    };
    let text = |own: Option<String>, base: Option<String>| own.or(base).filter(|text| !text.is_empty());
    RunConfig {
        user: text(
            config.user.as_ref().map(|user| user.value.to_string()),
            inherited(Inherit::User).and_then(|base| base.user.clone()),
        ),
        exposed_ports: set(
            config.expose.iter(),
            inherited(Inherit::Expose).and_then(|base| base.exposed_ports.as_ref()),
        ),
        env: env(
            &config.env,
            inherited(Inherit::Env).and_then(|base| base.env.as_deref()),
        ),
        entrypoint: list(
            &config.entrypoint,
            inherited(Inherit::Entrypoint).and_then(|base| base.entrypoint.clone()),
        ),
        cmd: list(
            &config.cmd,
            inherited(Inherit::Cmd).and_then(|base| base.cmd.clone()),
        ),
        volumes: set(
            config.volumes.iter(),
            inherited(Inherit::Volumes).and_then(|base| base.volumes.as_ref()),
        ),
        working_dir: text(
            config.workdir.clone(),
            inherited(Inherit::Workdir).and_then(|base| base.working_dir.clone()),
        ),
        labels: labels(
            &config.labels,
            inherited(Inherit::Labels).and_then(|base| base.labels.as_ref()),
        ),
        stop_signal: text(
            config.stop_signal.clone(),
            inherited(Inherit::StopSignal).and_then(|base| base.stop_signal.clone()),
        ),
        healthcheck: match &config.healthcheck {
            Some(check) => Some(healthcheck(check)),
            None => inherited(Inherit::Healthcheck).and_then(|base| base.healthcheck.clone()),
        },
    }
}

/// Docker's extension of the configuration: times are whole nanoseconds, and what is left out has its default.
fn healthcheck(check: &Healthcheck) -> Value {
    let test = match &check.test {
        None => vec!["NONE".to_owned()],
        Some(words) => [&["CMD".to_owned()], &words[..]].concat(),
    };
    let mut members = Map::from_iter([("Test".to_owned(), Value::from(test))]);
    let times = [
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("StartPeriod", check.start_period),
        ("StartInterval", check.start_interval),
    ];
    for (name, time) in times {
        // At most a day, which the reader sees to.
        if let Some(nanoseconds) = time.and_then(|time| u64::try_from(time.as_nanos()).ok()) {
            members.insert(name.to_owned(), nanoseconds.into());
        }
    }
    if let Some(retries) = check.retries {
        members.insert("Retries".to_owned(), retries.into());
    }
    Value::Object(members)
}

fn set<'s>(
    own: impl Iterator<Item = &'s String>,
    base: Option<&BTreeMap<String, Empty>>,
) -> Option<BTreeMap<String, Empty>> {
    let mut members = base.cloned().unwrap_or_default();
    members.extend(own.map(|member| (member.clone(), Empty {})));
    (!members.is_empty()).then_some(members)
}

/// The base's variables in its order, with the spec's values where both have one; then the spec's others by name.
fn env(own: &BTreeMap<String, String>, base: Option<&[String]>) -> Option<Vec<String>> {
    let mut left = own.clone();
    let mut variables = Vec::new();
    for variable in base.unwrap_or_default() {
        let name = variable.split('=').next().unwrap_or_default();
        match left.remove(name) {
            Some(value) => variables.push(format!("{name}={value}")),
            None if own.contains_key(name) => {}
            None => variables.push(variable.clone()),
        }
    }
    variables.extend(left.into_iter().map(|(name, value)| format!("{name}={value}")));
    (!variables.is_empty()).then_some(variables)
}

fn labels(
    own: &BTreeMap<String, String>,
    base: Option<&BTreeMap<String, String>>,
) -> Option<BTreeMap<String, String>> {
    let mut labels = base.cloned().unwrap_or_default();
    labels.extend(own.clone());
    (!labels.is_empty()).then_some(labels)
}
