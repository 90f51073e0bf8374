//! What a pipeline says of itself: who started it, which run it is, from which source. All of it is claimed, and shown so.

use std::borrow::Cow;

use cairn_ledger::entry::TEXT_LIMIT;
use cairn_ledger::{Run, Source};

use crate::environment::Environment;
use crate::source::without_secret;

/// What the variables of a pipeline say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pipeline {
    /// Who started it.
    pub actor: Option<String>,
    /// Which run it is.
    pub run: Option<Run>,
    /// What it was started for.
    pub source: Option<Source>,
}

impl Pipeline {
    /// What GitHub, GitLab or Jenkins set; nothing elsewhere.
    #[must_use]
    pub fn of(environment: &Environment) -> Self {
        let variables = Variables(environment);
        let is_set = |name| environment.text(name).is_some();
        if is_set("GITHUB_ACTIONS") {
            github(&variables)
        } else if is_set("GITLAB_CI") {
            gitlab(&variables)
        } else if is_set("JENKINS_URL") || (is_set("BUILD_URL") && is_set("BUILD_ID")) {
            jenkins(&variables)
        } else {
            Self::default()
        }
    }

    fn new(actor: Option<String>, run: Run, source: Source) -> Self {
        Self {
            actor,
            run: (run != Run::default()).then_some(run),
            source: (source != Source::default()).then_some(source),
        }
    }
}

/// <https://docs.github.com/actions/reference/workflows-and-actions/variables>
fn github(variables: &Variables<'_>) -> Pipeline {
    let repository = variables
        .text("GITHUB_SERVER_URL")
        .zip(variables.text("GITHUB_REPOSITORY"))
        .map(|(server, name)| format!("{server}/{name}"));
    let id = variables.text("GITHUB_RUN_ID");
    // The first attempt has no address of its own.
    let attempt = variables
        .text("GITHUB_RUN_ATTEMPT")
        .filter(|attempt| attempt != "1");
    let url = repository.as_ref().zip(id.as_ref()).map(|(repository, id)| {
        let attempt = attempt.map(|attempt| format!("/attempts/{attempt}"));
        format!("{repository}/actions/runs/{id}{}", attempt.unwrap_or_default())
    });
    let run = Run {
        url: url.map(|url| bounded(&url)),
        id,
    };
    let source = Source {
        repository: repository.map(|url| bounded(&url)),
        commit: variables.text("GITHUB_SHA"),
        reference: variables.text("GITHUB_REF"),
        ..Source::default()
    };
    // Who runs it again is not who ran it first.
    let actor = variables
        .text("GITHUB_TRIGGERING_ACTOR")
        .or_else(|| variables.text("GITHUB_ACTOR"));
    Pipeline::new(actor, run, source)
}

/// <https://docs.gitlab.com/ci/variables/predefined_variables/>
fn gitlab(variables: &Variables<'_>) -> Pipeline {
    let run = Run {
        url: variables
            .url("CI_JOB_URL")
            .or_else(|| variables.url("CI_PIPELINE_URL")),
        id: variables
            .text("CI_JOB_ID")
            .or_else(|| variables.text("CI_PIPELINE_ID")),
    };
    let tag = variables
        .text("CI_COMMIT_TAG")
        .map(|tag| format!("refs/tags/{tag}"));
    let branch = || Some(format!("refs/heads/{}", variables.text("CI_COMMIT_BRANCH")?));
    let source = Source {
        repository: variables.url("CI_PROJECT_URL"),
        commit: variables.text("CI_COMMIT_SHA"),
        reference: tag
            .or_else(branch)
            .or_else(|| variables.text("CI_COMMIT_REF_NAME"))
            .map(|name| bounded(&name)),
        ..Source::default()
    };
    Pipeline::new(variables.text("GITLAB_USER_LOGIN"), run, source)
}

/// Jenkins' own variables, those of its Git plugin, and `BUILD_USER_ID` of the plugin "build user vars".
fn jenkins(variables: &Variables<'_>) -> Pipeline {
    let run = Run {
        url: variables.url("BUILD_URL"),
        id: variables.text("BUILD_TAG").or_else(|| variables.text("BUILD_ID")),
    };
    let source = Source {
        repository: variables.url("GIT_URL"),
        commit: variables.text("GIT_COMMIT"),
        reference: variables
            .text("GIT_BRANCH")
            .or_else(|| variables.text("BRANCH_NAME")),
        ..Source::default()
    };
    Pipeline::new(variables.text("BUILD_USER_ID"), run, source)
}

struct Variables<'a>(&'a Environment);

impl Variables<'_> {
    /// A variable, as an entry can hold it.
    fn text(&self, name: &str) -> Option<String> {
        let text = bounded(self.0.text(name)?);
        (!text.is_empty()).then_some(text)
    }

    /// The same for a URL, without user and password.
    fn url(&self, name: &str) -> Option<String> {
        let text = bounded(&without_secret(self.0.text(name)?));
        (!text.is_empty()).then_some(text)
    }
}

/// Without control characters, and cut to what a text of an entry may have: whatever a pipeline says, it is no error.
#[must_use]
pub fn bounded(text: &str) -> String {
    let mut text: Cow<'_, str> = text.trim().into();
    if text.contains(char::is_control) {
        text = text.replace(char::is_control, " ").trim().to_owned().into();
    }
    if text.len() <= TEXT_LIMIT {
        return text.into_owned();
    }
    let mut end = TEXT_LIMIT - '…'.len_utf8();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

/// What git says, and what the pipeline says where git says nothing, if both mean the same commit.
#[must_use]
pub fn joined(git: Option<Source>, pipeline: Option<Source>) -> Option<Source> {
    let Some(git) = git else { return pipeline };
    let bound = |text: Option<String>| text.map(|text| bounded(&text));
    let pipeline = pipeline
        .filter(|pipeline| pipeline.commit == git.commit)
        .unwrap_or_default();
    Some(Source {
        repository: bound(git.repository.or(pipeline.repository)),
        path: bound(git.path),
        commit: bound(git.commit),
        reference: bound(git.reference.or(pipeline.reference)),
        dirty: git.dirty,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "ffac537e6cbbf934b08745a378932722df287a53";

    fn of(variables: &[(&str, &str)]) -> Pipeline {
        Pipeline::of(&Environment::of(variables))
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn github_actions() {
        // What a job has there, as its documentation lists it.
        let mut variables = vec![
            ("CI", "true"),
            ("GITHUB_ACTIONS", "true"),
            ("GITHUB_ACTOR", "octocat"),
            ("GITHUB_TRIGGERING_ACTOR", "octocat"),
            ("GITHUB_EVENT_NAME", "push"),
            ("GITHUB_JOB", "release"),
            ("GITHUB_REF", "refs/tags/v1.4.2"),
            ("GITHUB_REF_NAME", "v1.4.2"),
            ("GITHUB_REF_TYPE", "tag"),
            ("GITHUB_REPOSITORY", "acme/shop"),
            ("GITHUB_REPOSITORY_OWNER", "acme"),
            ("GITHUB_RUN_ATTEMPT", "1"),
            ("GITHUB_RUN_ID", "1658821493"),
            ("GITHUB_RUN_NUMBER", "3"),
            ("GITHUB_SERVER_URL", "https://github.example.org"),
            ("GITHUB_SHA", COMMIT),
            ("GITHUB_WORKFLOW", "Release"),
        ];
        let pipeline = of(&variables);
        assert_eq!(pipeline.actor, some("octocat"));
        let run = pipeline.run.unwrap();
        let url = "https://github.example.org/acme/shop/actions/runs/1658821493";
        assert_eq!((run.url, run.id), (some(url), some("1658821493")));
        let source = pipeline.source.unwrap();
        assert_eq!(source.repository, some("https://github.example.org/acme/shop"));
        assert_eq!(
            (source.commit, source.reference),
            (some(COMMIT), some("refs/tags/v1.4.2"))
        );

        variables.extend([("GITHUB_RUN_ATTEMPT", "2"), ("GITHUB_TRIGGERING_ACTOR", "hubot")]);
        let again = of(&variables);
        assert_eq!(again.run.unwrap().url, some(&format!("{url}/attempts/2")));
        assert_eq!(again.actor, some("hubot"));
    }

    #[test]
    fn gitlab_ci() {
        let variables = [
            ("CI", "true"),
            ("GITLAB_CI", "true"),
            ("CI_COMMIT_BRANCH", "main"),
            ("CI_COMMIT_REF_NAME", "main"),
            ("CI_COMMIT_REF_SLUG", "main"),
            ("CI_COMMIT_SHA", COMMIT),
            ("CI_COMMIT_SHORT_SHA", "ffac537e"),
            ("CI_JOB_ID", "4711"),
            ("CI_JOB_NAME", "release"),
            ("CI_JOB_URL", "https://gitlab.example.org/acme/shop/-/jobs/4711"),
            ("CI_PIPELINE_ID", "812"),
            (
                "CI_PIPELINE_URL",
                "https://gitlab.example.org/acme/shop/-/pipelines/812",
            ),
            ("CI_PROJECT_PATH", "acme/shop"),
            ("CI_PROJECT_URL", "https://gitlab.example.org/acme/shop"),
            (
                "CI_REPOSITORY_URL",
                "https://gitlab-ci-token:glcbt-secret@gitlab.example.org/acme/shop.git",
            ),
            ("CI_SERVER_URL", "https://gitlab.example.org"),
            ("GITLAB_USER_EMAIL", "ada@example.org"),
            ("GITLAB_USER_LOGIN", "ada"),
            ("GITLAB_USER_NAME", "Ada"),
        ];
        let pipeline = of(&variables);
        assert_eq!(pipeline.actor, some("ada"));
        let run = pipeline.run.unwrap();
        assert_eq!(run.url, some("https://gitlab.example.org/acme/shop/-/jobs/4711"));
        assert_eq!(run.id, some("4711"));
        let source = pipeline.source.unwrap();
        assert_eq!(source.repository, some("https://gitlab.example.org/acme/shop"));
        assert_eq!(
            (source.commit, source.reference),
            (some(COMMIT), some("refs/heads/main"))
        );
        let tagged = [&variables[..1], &variables[1..2], &[("CI_COMMIT_TAG", "v1.4.2")]].concat();
        assert_eq!(of(&tagged).source.unwrap().reference, some("refs/tags/v1.4.2"));
    }

    #[test]
    fn jenkins_sets_no_marker_of_its_own() {
        let variables = [
            ("CI", "true"),
            ("BUILD_DISPLAY_NAME", "#153"),
            ("BUILD_ID", "153"),
            ("BUILD_NUMBER", "153"),
            ("BUILD_TAG", "jenkins-shop-153"),
            ("BUILD_URL", "https://jenkins.example.org/job/shop/153/"),
            ("BUILD_USER_ID", "ada"),
            ("EXECUTOR_NUMBER", "0"),
            ("GIT_BRANCH", "origin/main"),
            ("GIT_COMMIT", COMMIT),
            ("GIT_URL", "https://ada:ghp_secret@git.example.org/acme/shop.git"),
            ("JENKINS_URL", "https://jenkins.example.org/"),
            ("JOB_NAME", "shop"),
            ("NODE_NAME", "built-in"),
            ("WORKSPACE", "/var/lib/jenkins/workspace/shop"),
        ];
        let pipeline = of(&variables);
        assert_eq!(pipeline.actor, some("ada"));
        let run = pipeline.run.clone().unwrap();
        assert_eq!(run.url, some("https://jenkins.example.org/job/shop/153/"));
        assert_eq!(run.id, some("jenkins-shop-153"));
        let source = pipeline.source.clone().unwrap();
        assert_eq!(
            source.repository,
            some("https://git.example.org/acme/shop.git"),
            "without the secret"
        );
        assert_eq!(
            (source.commit, source.reference),
            (some(COMMIT), some("origin/main"))
        );
        // Neither CI nor the plugin for users, and an agent that does not know the controller's address.
        let bare: Vec<_> = variables
            .into_iter()
            .filter(|(name, _)| !matches!(*name, "CI" | "BUILD_USER_ID" | "JENKINS_URL"))
            .collect();
        assert_eq!(
            of(&bare),
            Pipeline {
                actor: None,
                ..pipeline
            }
        );
    }

    #[test]
    fn whatever_a_pipeline_says_fits_into_an_entry() {
        let long = format!("https://jenkins.example.org/job/{}/1/", "größe".repeat(400));
        let hostile = "\x1b]0;owned\x07a\nb\tc";
        let pipeline = of(&[
            ("JENKINS_URL", "x"),
            ("BUILD_URL", &long),
            ("BUILD_USER_ID", hostile),
            ("GIT_BRANCH", "\n\t "),
        ]);
        let url = pipeline.run.unwrap().url.unwrap();
        assert!(url.len() <= TEXT_LIMIT && url.ends_with('…'), "{url}");
        assert_eq!(pipeline.actor, some("]0;owned a b c"));
        assert_eq!(pipeline.source, None);
    }

    #[test]
    fn elsewhere_there_is_nothing_to_say() {
        let variables = [
            ("CI", "true"),
            ("GIT_COMMIT", COMMIT),
            ("BUILD_ID", "1"),
            ("GITHUB_ACTOR", "x"),
        ];
        assert_eq!(of(&variables), Pipeline::default());
        assert_eq!(of(&[("USER", "ada")]), Pipeline::default());
    }

    #[test]
    fn git_comes_first_and_the_pipeline_fills_what_is_missing() {
        let source = |commit: &str, reference: Option<&str>| Source {
            commit: some(commit),
            reference: reference.map(str::to_owned),
            ..Source::default()
        };
        let (git, ci) = (source("a", None), source("a", Some("refs/heads/main")));
        assert_eq!(joined(Some(git.clone()), Some(ci.clone())), Some(ci.clone()));
        assert_eq!(joined(None, Some(ci.clone())), Some(ci));
        let other = source("b", Some("refs/heads/x"));
        assert_eq!(joined(Some(git.clone()), Some(other)), Some(git));
    }
}
