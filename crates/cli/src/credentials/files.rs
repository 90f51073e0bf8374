//! Where docker and podman keep credentials.

use std::path::PathBuf;

use crate::environment::Environment;

/// Whose file it is. It decides how the entry for Docker Hub is spelt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Docker's `config.json`, which podman and others read too.
    Docker,
    /// Podman's `auth.json`.
    Podman,
}

/// A file that may be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its path, absolute.
    pub path: PathBuf,
    /// Whose it is.
    pub owner: Owner,
}

/// The files in the order in which they count, as podman has it: `REGISTRY_AUTH_FILE` alone, else
/// `DOCKER_CONFIG` alone, else podman's two, then Docker's.
#[must_use]
pub fn places(environment: &Environment) -> Vec<Place> {
    let place = |path: PathBuf| {
        let path = environment.absolute(&path);
        let owner = match path.file_name() {
            Some(name) if name == "config.json" => Owner::Docker,
            _ => Owner::Podman,
        };
        Place { path, owner }
    };
    if let Some(path) = environment.path("REGISTRY_AUTH_FILE") {
        return vec![place(path)];
    }
    if let Some(directory) = environment.path("DOCKER_CONFIG") {
        return vec![place(directory.join("config.json"))];
    }
    let home = environment.path("HOME");
    let run = environment.path("XDG_RUNTIME_DIR");
    let config = environment.path("XDG_CONFIG_HOME");
    let config = config.or_else(|| home.as_ref().map(|home| home.join(".config")));
    [
        run.map(|path| path.join("containers/auth.json")),
        config.map(|path| path.join("containers/auth.json")),
        home.map(|path| path.join(".docker/config.json")),
    ]
    .into_iter()
    .flatten()
    .map(place)
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(variables: &[(&str, &str)]) -> Vec<String> {
        let places = places(&Environment::of(variables));
        places
            .iter()
            .map(|place| place.path.display().to_string())
            .collect()
    }

    #[test]
    fn the_order_is_that_of_podman() {
        let home = ("HOME", "/h");
        assert_eq!(
            paths(&[home, ("XDG_RUNTIME_DIR", "/run/user/1")]),
            [
                "/run/user/1/containers/auth.json",
                "/h/.config/containers/auth.json",
                "/h/.docker/config.json"
            ]
        );
        assert_eq!(
            paths(&[home, ("XDG_CONFIG_HOME", "/c")]),
            ["/c/containers/auth.json", "/h/.docker/config.json"]
        );
        let docker = ("DOCKER_CONFIG", "/d");
        assert_eq!(paths(&[home, docker]), ["/d/config.json"]);
        assert_eq!(
            paths(&[home, docker, ("REGISTRY_AUTH_FILE", "x/a.json")]),
            ["/x/a.json"]
        );
        assert_eq!(paths(&[]), Vec::<String>::new());
    }

    #[test]
    fn the_name_of_a_file_says_whose_it_is() {
        let owners = |variables: &[(&str, &str)]| -> Vec<Owner> {
            let places = places(&Environment::of(variables));
            places.iter().map(|place| place.owner).collect()
        };
        assert_eq!(owners(&[("HOME", "/h")]), [Owner::Podman, Owner::Docker]);
        assert_eq!(
            owners(&[("REGISTRY_AUTH_FILE", "/x/config.json")]),
            [Owner::Docker]
        );
    }
}
