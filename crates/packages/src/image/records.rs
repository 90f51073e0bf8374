//! What is inside, for scanners: `/var/lib/dpkg/status.d`.
//!
//! One file for each package, its control file as it is, and its list of MD5 sums beside it, as distroless images have it.
//! There is no `/var/lib/dpkg/status`: nothing here was installed by dpkg, and it would change with every package.

use cairn_layer::TreePath;

use super::names;
use super::world::{World, text};
use crate::status;

pub(super) fn apply(world: &mut World<'_>, architecture: &str) {
    let names = names(world.packages);
    for (number, package) in world.packages.iter().enumerate() {
        let identity = package.identity();
        let is_foreign = ![architecture, "all"].contains(&identity.architecture());
        // Of several with one name, those of another architecture have it in their names too.
        let name = if is_foreign && names.get(identity.name()).is_some_and(|count| *count > 1) {
            format!("{}:{}", identity.name(), identity.architecture())
        } else {
            identity.name().to_owned()
        };
        let mut control = package.control.text().to_vec();
        while control.ends_with(b"\n\n") {
            control.pop();
        }
        if !control.ends_with(b"\n") {
            control.push(b'\n');
        }
        let at = |ending: &str| TreePath::new(format!("{}/{name}{ending}", status::DIRECTORY));
        let Ok(record) = at("") else {
            continue;
        };
        world.add(Some(number), &record, text(control));
        if let (Ok(at), Some(md5sums)) = (at(".md5sums"), &package.md5sums) {
            world.add(Some(number), &at, text(md5sums.clone()));
        }
    }
}
