//! Small projects to build.

/// Where a project's application is.
pub(crate) const APP: &str = "dist/amd64/app";

/// What differs between the specs of the tests.
#[derive(Debug, Clone, Default)]
pub(crate) struct Project {
    repository: Option<String>,
    more: String,
}

impl Project {
    /// An image `hello` of one layer with one file, for the local store.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The same, with a repository to push and release to.
    pub(crate) fn repository(mut self, repository: impl Into<String>) -> Self {
        self.repository = Some(repository.into());
        self
    }

    /// The same, with more text at the end.
    pub(crate) fn with(mut self, toml: &str) -> Self {
        self.more.push_str(toml);
        self
    }

    /// The text of `cairn.toml`.
    pub(crate) fn spec(&self) -> String {
        let repository = self.repository.as_ref();
        let repository = repository.map(|repository| format!("repository = \"{repository}\"\n"));
        format!(
            "[image]\nname = \"hello\"\n{}platforms = [\"linux/amd64\"]\n\n\
             [[layer]]\nname = \"app\"\n\
             copy = [{{ from = \"dist/{{arch}}/app\", to = \"/usr/bin/app\", mode = \"0755\" }}]\n\n\
             [config]\nentrypoint = [\"/usr/bin/app\"]\n{}",
            repository.unwrap_or_default(),
            self.more
        )
    }
}
