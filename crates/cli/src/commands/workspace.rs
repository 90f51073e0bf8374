//! A verb on images of a workspace: `-p NAME`, `--workspace`.

use cairn_oci::Reference;
use futures_util::future::join_all;
use serde::Serialize;
use serde_json::Value;

use super::{key, run_here};
use crate::args::Command;
use crate::failure::{Exit, Failure};
use crate::output;
use crate::program::Cairn;
use crate::terminal::{Kept, Terminal};
use crate::workspace::{Member, Root};

/// How a verb goes about several images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Side by side.
    Together,
    /// One after the other, and the rest also after a failure: what it says is worth having.
    Each,
    /// One after the other, and no further after a failure: it writes what others see.
    UntilFailure,
    /// One after the other, and it is enough if one of them knows the answer.
    Any,
}

/// `--json`
#[derive(Serialize)]
struct Document {
    images: Vec<ImageDocument>,
}

#[derive(Serialize)]
struct ImageDocument {
    name: String,
    /// The exit code that the verb would have for this image alone.
    exit: u8,
    /// What it reports; none if it failed before that.
    report: Option<Value>,
}

/// How a verb ended for one image.
struct Outcome {
    name: String,
    result: Result<(), Failure>,
    kept: Kept,
}

/// Does what the command line says for the images of the workspace that it names.
///
/// # Errors
///
/// When the verb takes no spec, or there is no such image; else the failure of the first image, by name, that failed.
pub async fn run(cairn: &Cairn, command: &Command) -> Result<(), Failure> {
    let order = order(command)?;
    let members = chosen(cairn, Root::find(cairn)?.members(cairn)?)?;
    if let ([member], false) = (&members[..], cairn.global.workspace) {
        let terminal = cairn.terminal.of_member(&member.name);
        let on_one = cairn.on(member.clone(), terminal);
        return run_here(&on_one, command).await;
    }
    for_each(command)?;
    let on_each: Vec<(String, Cairn)> = members
        .into_iter()
        .map(|member| {
            let terminal = cairn.terminal.about(&member.name);
            (member.name.clone(), cairn.on(member, terminal))
        })
        .collect();
    let outcomes = match order {
        Order::Together => together(&on_each, command).await,
        Order::Each => one_by_one(&on_each, command, |_| true).await,
        Order::UntilFailure => one_by_one(&on_each, command, Result::is_ok).await,
        Order::Any => any(&on_each, command).await,
    };
    tell_untried(&cairn.terminal, &on_each, &outcomes);
    report(&cairn.terminal, outcomes)
}

/// Which images are meant, by name.
fn chosen(cairn: &Cairn, members: Vec<Member>) -> Result<Vec<Member>, Failure> {
    if cairn.global.workspace {
        return Ok(members);
    }
    for wanted in &cairn.global.packages {
        if !members.iter().any(|member| member.name == *wanted) {
            let names: Vec<_> = members.iter().map(|member| member.name.as_str()).collect();
            let text = format!("the workspace has no image `{wanted}`");
            return Err(Failure::new(Exit::Usage, text).with_hint(format!("it has: {}", names.join(", "))));
        }
    }
    let is_wanted = |member: &Member| cairn.global.packages.contains(&member.name);
    Ok(members.into_iter().filter(is_wanted).collect())
}

/// How the verb goes about several images, if it takes a spec at all.
fn order(command: &Command) -> Result<Order, Failure> {
    match command {
        Command::Build(_) => Ok(Order::Together),
        Command::Lock(_)
        | Command::Push(_)
        | Command::Release(_)
        | Command::Promote(_)
        | Command::Rollback(_)
        | Command::Resume(_)
        | Command::Switch(_)
        | Command::Yank(_)
        | Command::Adopt(_)
        | Command::Record(_)
        | Command::Repair(_)
        | Command::Ratify(_)
        | Command::Prune(_)
        | Command::Ledger(_) => Ok(Order::UntilFailure),
        Command::Tags(_)
        | Command::History(_)
        | Command::Diff(_)
        | Command::Status(_)
        | Command::Show(_)
        | Command::Approve(_)
        | Command::Verify(_)
        | Command::Audit(_) => Ok(Order::Each),
        Command::Which(_) => Ok(Order::Any),
        Command::Key(key) if matches!(key.verb, Some(key::Verb::List(_))) => Ok(Order::Each),
        Command::Key(_)
        | Command::Init(_)
        | Command::Pull(_)
        | Command::Copy(_)
        | Command::Inspect(_)
        | Command::Serve(_)
        | Command::Doctor(_)
        | Command::Login(_)
        | Command::Logout(_)
        | Command::Store(_)
        | Command::Completions(_) => {
            let text = "-p and --workspace choose specs, and this verb takes none";
            Err(Failure::new(Exit::Usage, text))
        }
    }
}

/// Fails if the command line names what only one image can have.
fn for_each(command: &Command) -> Result<(), Failure> {
    if let Command::Build(build) = command {
        let shared = build.outputs.iter().map(ToString::to_string);
        if let Some(shared) = shared.into_iter().find(|output| !output.contains(output::NAME)) {
            let text = format!("--output {shared} would be written by each image");
            let hint = "{name} in it is the image's name: --output oci:out/{name}".to_owned();
            return Err(Failure::new(Exit::Usage, text).with_hint(hint));
        }
    }
    let named = match command {
        Command::Push(push) => push.reference.as_ref(),
        Command::Tags(tags) => tags.repository.as_ref(),
        Command::Release(release) => release.image.as_ref().or(release.ledger.repository.as_ref()),
        Command::Promote(promote) => promote.options.append.ledger.repository.as_ref(),
        Command::Rollback(rollback) => rollback.options.append.ledger.repository.as_ref(),
        Command::Resume(resume) => resume.options.append.ledger.repository.as_ref(),
        Command::Switch(switch) => switch.options.append.ledger.repository.as_ref(),
        Command::Yank(yank) => yank.options.ledger.repository.as_ref(),
        Command::Adopt(adopt) => adopt.ledger.repository.as_ref(),
        Command::Record(record) => record.options.ledger.repository.as_ref(),
        Command::Repair(repair) => repair.ledger.repository.as_ref(),
        Command::Prune(prune) => prune.ledger.repository.as_ref(),
        Command::History(history) => history.ledger.repository.as_ref(),
        Command::Diff(diff) => diff.ledger.repository.as_ref(),
        Command::Status(status) => status.ledger.repository.as_ref(),
        Command::Show(show) => show.ledger.repository.as_ref(),
        Command::Audit(audit) => audit.ledger.repository.as_ref(),
        Command::Approve(approve) => approve.ledger.repository.as_ref(),
        Command::Ratify(ratify) => ratify.ledger.repository.as_ref(),
        Command::Ledger(ledger) => ledger.repository(),
        Command::Key(key) => key.repository(),
        Command::Which(which) => {
            return which
                .repository()
                .map_or(Ok(()), |named| Err(only_one(&named.to_string())));
        }
        Command::Verify(verify) => {
            return verify
                .image
                .as_ref()
                .map_or(Ok(()), |image| Err(only_one(&image.to_string())));
        }
        _ => None,
    };
    named.map_or(Ok(()), |named: &Reference| Err(only_one(&named.to_string())))
}

fn only_one(named: &str) -> Failure {
    let text = format!("{named} is one image, and several of the workspace are meant");
    Failure::new(Exit::Usage, text).with_hint("leave one of the two out".to_owned())
}

async fn together(on_each: &[(String, Cairn)], command: &Command) -> Vec<Outcome> {
    let mut prepared = Vec::new();
    for (_, cairn) in on_each {
        prepared.push(match command {
            Command::Build(build) => build.prepare(cairn).await,
            _ => Ok(()),
        });
    }
    let tasks = on_each
        .iter()
        .zip(prepared)
        .map(|((name, cairn), prepared)| async move {
            let result = match prepared {
                Ok(()) => run_here(cairn, command).await,
                Err(failure) => Err(failure),
            };
            ended(name, cairn, result)
        });
    join_all(tasks).await
}

async fn one_by_one(
    on_each: &[(String, Cairn)],
    command: &Command,
    goes_on: fn(&Result<(), Failure>) -> bool,
) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for (name, cairn) in on_each {
        let outcome = ended(name, cairn, run_here(cairn, command).await);
        let goes_on = goes_on(&outcome.result);
        outcomes.push(outcome);
        if !goes_on {
            break;
        }
    }
    outcomes
}

/// That an image knows nothing of what is asked for is said only if none does.
async fn any(on_each: &[(String, Cairn)], command: &Command) -> Vec<Outcome> {
    let mut results = Vec::new();
    for (_, cairn) in on_each {
        results.push(run_here(cairn, command).await);
    }
    let is_known = results.iter().any(Result::is_ok);
    let is_unknown = |result: &Result<(), Failure>| {
        let failure = result.as_ref().err();
        failure.is_some_and(|failure| failure.exit() == Exit::Input)
    };
    let mut outcomes = Vec::new();
    for ((name, cairn), result) in on_each.iter().zip(results) {
        let result = if is_known && is_unknown(&result) {
            Ok(())
        } else {
            result
        };
        outcomes.push(ended(name, cairn, result));
    }
    outcomes
}

/// Says at once why it failed: the others may take long.
fn ended(name: &str, cairn: &Cairn, result: Result<(), Failure>) -> Outcome {
    if let Err(failure) = &result {
        cairn.terminal.fail(failure);
    }
    Outcome {
        name: name.to_owned(),
        result,
        kept: cairn.terminal.take_kept(),
    }
}

fn tell_untried(terminal: &Terminal, on_each: &[(String, Cairn)], outcomes: &[Outcome]) {
    let untried: Vec<_> = on_each
        .iter()
        .skip(outcomes.len())
        .map(|(name, _)| name.as_str())
        .collect();
    if !untried.is_empty() {
        terminal.warn(format!("not tried after the failure: {}", untried.join(", ")));
    }
}

/// Prints what each image has to say, by name.
fn report(terminal: &Terminal, outcomes: Vec<Outcome>) -> Result<(), Failure> {
    let exit = outcomes
        .iter()
        .find_map(|outcome| outcome.result.as_ref().err().map(Failure::exit));
    if terminal.json {
        let images = outcomes
            .into_iter()
            .map(image_document)
            .collect::<Result<_, _>>()?;
        terminal.document(&Document { images })?;
    } else {
        terminal.bytes(&lines(&outcomes))?;
    }
    exit.map_or(Ok(()), |exit| Err(Failure::silent(exit)))
}

fn image_document(outcome: Outcome) -> Result<ImageDocument, Failure> {
    let report = outcome
        .kept
        .document
        .map(|document| serde_json::from_slice(&document));
    let bug = |error: serde_json::Error| Failure::of(Exit::Bug, &error);
    Ok(ImageDocument {
        name: outcome.name,
        exit: outcome.result.err().map_or(0, |failure| failure.exit() as u8),
        report: report.transpose().map_err(bug)?,
    })
}

/// One line each as a table; several under the image's name.
fn lines(outcomes: &[Outcome]) -> Vec<u8> {
    let said: Vec<&Outcome> = outcomes
        .iter()
        .filter(|outcome| !outcome.kept.lines.is_empty())
        .collect();
    let count = |outcome: &&Outcome| outcome.kept.lines.iter().filter(|byte| **byte == b'\n').count();
    let mut bytes = Vec::new();
    if said.iter().all(|outcome| count(outcome) == 1) {
        let width = said.iter().map(|outcome| outcome.name.len()).max().unwrap_or(0);
        for outcome in said {
            bytes.extend(format!("{:<width$}  ", outcome.name).into_bytes());
            bytes.extend(&outcome.kept.lines);
        }
        return bytes;
    }
    for (index, outcome) in said.into_iter().enumerate() {
        let gap = if index == 0 { "" } else { "\n" };
        bytes.extend(format!("{gap}{}:\n", outcome.name).into_bytes());
        bytes.extend(&outcome.kept.lines);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(name: &str, lines: &str) -> Outcome {
        Outcome {
            name: name.to_owned(),
            result: Ok(()),
            kept: Kept {
                lines: lines.as_bytes().to_vec(),
                document: None,
            },
        }
    }

    #[test]
    fn a_line_each_is_a_table_and_more_stand_under_the_name() {
        let one = [
            outcome("api", "sha256:1\n"),
            outcome("frontend", "sha256:2\n"),
            outcome("x", ""),
        ];
        assert_eq!(
            String::from_utf8(lines(&one)).unwrap(),
            "api       sha256:1\nfrontend  sha256:2\n"
        );
        let more = [outcome("api", "a\nb\n"), outcome("web", "c\n")];
        assert_eq!(
            String::from_utf8(lines(&more)).unwrap(),
            "api:\na\nb\n\nweb:\nc\n"
        );
    }
}
