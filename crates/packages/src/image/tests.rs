//! Packages put together, and what is done instead of their scripts.

use std::io::Read as _;

use cairn_layer::{Attributes, Compression, LayerOptions, Node, Source, write_layer};

use super::*;
use crate::sample::{Deb, chain};
use crate::status;

fn at(text: &str) -> TreePath {
    TreePath::new(text).unwrap()
}

fn assembled_on(base: &Listing, debs: &[Deb]) -> Result<Assembly, AssembleError> {
    let options = Options {
        base,
        architecture: "amd64",
        max_layers: MAX_LAYERS,
    };
    assemble(debs.iter().map(Deb::archive).collect(), &options)
}

fn assembled(debs: &[Deb]) -> Assembly {
    assembled_on(&Listing::new(), debs).unwrap()
}

fn refused(debs: &[Deb]) -> String {
    chain(&assembled_on(&Listing::new(), debs).unwrap_err())
}

/// What stands at a path, in whatever layer.
fn node<'a>(assembly: &'a Assembly, path: &str) -> Option<&'a Node> {
    assembly.layers.iter().find_map(|layer| layer.tree.get(&at(path)))
}

fn content(assembly: &Assembly, path: &str) -> String {
    let Some(Node::File { source, .. }) = node(assembly, path) else {
        panic!("there is no file {path}");
    };
    match source {
        Source::Bytes(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        Source::Spooled(content) => {
            let mut text = String::new();
            content.reader().read_to_string(&mut text).unwrap();
            text
        }
        Source::Local(_) => panic!("{path} is local"),
    }
}

fn target(assembly: &Assembly, path: &str) -> String {
    match node(assembly, path) {
        Some(Node::Symlink { target, .. }) => String::from_utf8(target.clone()).unwrap(),
        other => panic!("{path} is no link: {other:?}"),
    }
}

fn attributes(assembly: &Assembly, path: &str) -> Attributes {
    match node(assembly, path) {
        Some(Node::File { attributes, .. } | Node::Directory(attributes)) => attributes.clone(),
        other => panic!("{path} has no attributes: {other:?}"),
    }
}

fn mode_and_owner(assembly: &Assembly, path: &str) -> (u32, u32, u32) {
    let attributes = attributes(assembly, path);
    (attributes.mode, attributes.uid, attributes.gid)
}

fn layers(assembly: &Assembly) -> Vec<&str> {
    assembly.layers.iter().map(|layer| layer.name.as_str()).collect()
}

/// All layers as bytes.
fn written(assembly: &Assembly) -> Vec<Vec<u8>> {
    let options = LayerOptions {
        mtime: 1,
        compression: Compression::None,
    };
    let layers = assembly.layers.iter().map(|layer| {
        let mut bytes = Vec::new();
        write_layer(&layer.tree, &options, &mut bytes).unwrap();
        bytes
    });
    layers.collect()
}

const MASTER: &str = "root:*:0:0:root:/root:/bin/bash\nman:*:6:12:man:/var/cache/man:/usr/sbin/nologin\nwww-data:*:33:33:www-data:/var/www:/usr/sbin/nologin\n";
const GROUPS: &str = "root:*:0:\nadm:*:4:\nmail:*:8:\nwww-data:*:33:\nutmp:*:43:\n";

fn base_files() -> Deb {
    Deb::new("base-files 12.4 amd64")
        .directory("bin/", 0o755)
        .directory("lib/", 0o755)
        .directory("sbin/", 0o755)
        .directory("tmp/", 0o1777)
        .directory("var/run/", 0o755)
        .directory("var/lock/", 0o1777)
        .file("usr/share/base-files/profile", "umask 022\n")
        .info(
            "postinst",
            "#!/bin/sh\ninstall_from_default profile /etc/profile\n",
        )
}

fn base_passwd() -> Deb {
    Deb::new("base-passwd 3.6.1 amd64")
        .file("usr/share/base-passwd/passwd.master", MASTER)
        .file("usr/share/base-passwd/group.master", GROUPS)
}

#[test]
fn files_below_bin_and_lib_stand_in_usr_and_no_path_is_there_twice() {
    let assembly = assembled(&[
        base_files(),
        Deb::new("libc6 2.36 amd64")
            .field("Source", "glibc (2.36)")
            .program("lib/x86_64-linux-gnu/libc.so.6", 0o755, "libc")
            .symlink("lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/ld.so"),
        Deb::new("dash 0.5 amd64")
            .program("bin/dash", 0o755, "dash")
            .symlink("bin/sh", "dash")
            .file("usr/share/doc/dash/copyright", "free\n"),
        // Both names of one program, from before /bin was a link.
        Deb::new("which 1 all")
            .program("bin/which", 0o755, "which")
            .symlink("usr/bin/which", "/bin/which"),
    ]);
    for (link, to) in [
        ("bin", "usr/bin"),
        ("sbin", "usr/sbin"),
        ("lib", "usr/lib"),
        ("lib64", "usr/lib64"),
    ] {
        assert_eq!(target(&assembly, link), to);
    }
    assert_eq!(content(&assembly, "usr/lib/x86_64-linux-gnu/libc.so.6"), "libc");
    assert_eq!(target(&assembly, "usr/bin/sh"), "dash");
    assert_eq!(content(&assembly, "usr/bin/which"), "which");
    assert_eq!(content(&assembly, "usr/share/doc/dash/copyright"), "free\n");
    assert!(node(&assembly, "lib32").is_none());
    let mut seen = BTreeMap::new();
    for layer in &assembly.layers {
        for (path, node) in layer.tree.iter() {
            let before = seen.insert(path.clone(), node);
            let is_twice = before.is_some_and(|before| match (before, node) {
                (Node::Directory(left), Node::Directory(right)) => left != right,
                _ => true,
            });
            assert!(!is_twice, "{path} is there twice");
            assert!(
                !["bin", "lib", "sbin"].iter().any(|top| path.is_under(&at(top))),
                "{path}"
            );
        }
    }
}

#[test]
fn a_base_without_merged_directories_keeps_them_and_one_with_links_is_followed() {
    let hello = [Deb::new("hello 1 all").program("bin/hello", 0o755, "")];
    let mut base = Listing::new();
    base.directories.insert(at("bin"), Attributes::directory());
    assert!(node(&assembled_on(&base, &hello).unwrap(), "bin/hello").is_some());
    let mut base = Listing::new();
    base.symlinks.insert(at("bin"), b"usr/bin".to_vec());
    base.directories.insert(at("usr"), Attributes::directory());
    let restricted = Attributes {
        mode: 0o711,
        ..Attributes::default()
    };
    base.directories.insert(at("usr/bin"), restricted.clone());
    let assembly = assembled_on(&base, &hello).unwrap();
    assert!(node(&assembly, "usr/bin/hello").is_some() && node(&assembly, "bin").is_none());
    assert_eq!(attributes(&assembly, "usr/bin"), restricted);
    base.directories
        .insert(at("usr/bin/hello"), Attributes::directory());
    let text = chain(&assembled_on(&base, &hello).unwrap_err());
    assert_eq!(
        text,
        "/usr/bin/hello is a directory in the base, and none in hello"
    );
}

#[test]
fn links_into_usr_that_a_package_brings_are_made_once() {
    let assembly = assembled(&[
        Deb::new("base-files 13 amd64")
            .symlink("bin", "usr/bin")
            .symlink("lib", "/usr/lib")
            .directory("usr/bin/", 0o755),
        Deb::new("hello 1 all")
            .program("bin/hello", 0o755, "")
            .file("usr/lib/x", ""),
    ]);
    assert_eq!(target(&assembly, "bin"), "usr/bin");
    assert!(node(&assembly, "usr/bin/hello").is_some() && node(&assembly, "usr/lib/x").is_some());
    let with_bin = assembly
        .layers
        .iter()
        .filter(|layer| layer.tree.get(&at("bin")).is_some());
    assert_eq!(with_bin.count(), 1);
    // Somewhere else than into /usr: a link as any other.
    let assembly = assembled(&[
        Deb::new("odd 1 all").symlink("lib32", "opt/lib32"),
        Deb::new("x 1 all").file("lib32/x", ""),
    ]);
    assert!(node(&assembly, "opt/lib32/x").is_some());
}

#[test]
fn what_is_added_lies_below_no_file_either() {
    let file = Deb::new("file 1 all").file("srv/x", "");
    let line = "d /srv/x/below - - - -\n";
    let directory = Deb::new("other 1 all").file("usr/lib/tmpfiles.d/other.conf", line);
    assert_eq!(
        refused(&[file, directory]),
        "/srv/x/below of other lies below /srv/x of file, which is no directory"
    );
}

#[test]
fn a_directory_that_another_package_has_as_a_link_is_that_link() {
    let debs = [
        Deb::new("a-data 1 all")
            .directory("usr/share/x/old/", 0o700)
            .file("usr/share/x/old/file", "1"),
        Deb::new("b 1 all").symlink("usr/share/x/old", "new/"),
        Deb::new("c 1 all")
            .directory("usr/share/x/new/", 0o755)
            .file("usr/share/x/new/other", "2"),
    ];
    let assembly = assembled(&debs);
    assert_eq!(content(&assembly, "usr/share/x/new/file"), "1");
    assert_eq!(target(&assembly, "usr/share/x/old"), "new/");
    // The first in the order of names says what the directory is.
    assert_eq!(mode_and_owner(&assembly, "usr/share/x/new").0, 0o700);
    let text = refused(&[
        Deb::new("a 1 all").symlink("x", "y").symlink("y", "x"),
        Deb::new("b 1 all").file("x/z", ""),
    ]);
    assert!(text.contains("symbolic links that do not end"), "{text}");
}

#[test]
fn the_order_in_which_packages_are_given_does_not_show() {
    let mut debs = vec![
        base_files(),
        base_passwd(),
        Deb::new("mawk 1 amd64").program("usr/bin/mawk", 0o755, "mawk"),
        Deb::new("a 1 all")
            .directory("srv/x/", 0o700)
            .file("lib/a", "1")
            .hardlink("usr/b", "lib/a"),
        Deb::new("b 1 all")
            .directory("srv/x/", 0o750)
            .file("srv/x/b", "2"),
    ];
    let first = written(&assembled(&debs));
    debs.reverse();
    assert!(first == written(&assembled(&debs)));
    debs.swap(1, 3);
    assert!(first == written(&assembled(&debs)));
}

#[test]
fn hard_links_stay_within_a_layer_and_lead_to_the_first_name() {
    let assembly = assembled(&[Deb::new("x 1 all")
        .file("lib/z", "content")
        .hardlink("usr/bin/b", "lib/z")
        .hardlink("usr/share/c", "lib/z")]);
    assert_eq!(content(&assembly, "usr/bin/b"), "content");
    for name in ["usr/lib/z", "usr/share/c"] {
        assert!(
            matches!(node(&assembly, name), Some(Node::Hardlink { to }) if *to == at("usr/bin/b")),
            "{name}"
        );
    }
    written(&assembly);
}

#[test]
fn two_packages_with_one_path_are_refused_unless_one_replaces_the_other() {
    let one = Deb::new("one 1 all").file("etc/x", "1");
    let two = Deb::new("two 1 all").file("etc/x", "2");
    assert_eq!(
        refused(&[one.clone(), two.clone()]),
        "/etc/x is in one and in two, and neither says that it replaces the other's"
    );
    // Equal files are no conflict.
    assembled(&[one.clone(), Deb::new("same 1 all").file("etc/x", "1")]);
    for (field, wins) in [("one", "2"), ("three, one (<< 2)", "2"), ("one (>= 1), x", "2")] {
        let two = two.clone().field("Replaces", field);
        assert_eq!(content(&assembled(&[one.clone(), two]), "etc/x"), wins, "{field}");
    }
    let first = one.clone().field("Replaces", "two");
    assert_eq!(content(&assembled(&[first, two.clone()]), "etc/x"), "1");
    assert!(refused(&[one.clone(), two.clone().field("Replaces", "one (<< 1)")]).contains("neither"));
    let below = Deb::new("three 1 all").file("etc/x/y", "");
    assert_eq!(
        refused(&[one.clone(), below]),
        "/etc/x/y of three lies below /etc/x of one, which is no directory"
    );
    let directory = Deb::new("three 1 all").directory("etc/x/", 0o755);
    assert_eq!(
        refused(&[one.clone(), directory]),
        "/etc/x is in one and in three, and neither says that it replaces the other's"
    );
    assert_eq!(refused(&[one.clone(), one]), "the package one:all is there twice");
}

#[test]
fn what_a_package_of_the_table_diverts_is_elsewhere() {
    let development = Deb::new("libpq-dev 15 amd64").program("usr/bin/pg_config", 0o755, "of libpq");
    let common = Deb::new("postgresql-common 248 all").program("usr/bin/pg_config", 0o755, "of the wrapper");
    let assembly = assembled(&[development.clone(), common]);
    assert_eq!(content(&assembly, "usr/bin/pg_config"), "of the wrapper");
    assert_eq!(content(&assembly, "usr/bin/pg_config.libpq-dev"), "of libpq");
    assert_eq!(
        content(&assembled(&[development]), "usr/bin/pg_config"),
        "of libpq"
    );
}

#[test]
fn scanners_find_each_package_and_its_copyright() {
    let assembly = assembled(&[
        Deb::new("hello 1 amd64")
            .field("Source", "greetings")
            .info("md5sums", "d41d8cd98f00b204e9800998ecf8427e  usr/bin/hello\n")
            .file("usr/share/doc/hello/copyright", "free\n"),
        Deb::new("hello 1 arm64").file("usr/lib/aarch64-linux-gnu/x", ""),
    ]);
    let record = content(&assembly, "var/lib/dpkg/status.d/hello");
    assert!(
        record.starts_with("Package: hello\nVersion: 1\nArchitecture: amd64\n")
            && record.ends_with("of packages\n")
    );
    assert!(content(&assembly, "var/lib/dpkg/status.d/hello.md5sums").starts_with("d41d8"));
    let other = content(&assembly, "var/lib/dpkg/status.d/hello:arm64");
    let listed = status::read(format!("{record}\n{other}").as_bytes()).unwrap();
    let listed: Vec<String> = listed.iter().map(ToString::to_string).collect();
    assert_eq!(listed, ["hello 1 amd64", "hello 1 arm64"]);
    assert!(node(&assembly, "var/lib/dpkg/status").is_none());
    assert_eq!(content(&assembly, "usr/share/doc/hello/copyright"), "free\n");
}

#[test]
fn packages_of_one_source_share_a_layer_and_an_update_moves_no_other() {
    let debs = |version: &str| {
        [
            base_files(),
            Deb::new("libssl3 3.0 amd64")
                .field("Source", "openssl")
                .file("usr/lib/libssl", "1"),
            Deb::new(&format!("openssl {version} amd64")).file("usr/bin/openssl", version),
            Deb::new("zlib1g 1.2 amd64")
                .field("Source", "zlib (1:1.2)")
                .file("usr/lib/libz", "z"),
        ]
    };
    let (before, after) = (assembled(&debs("3.0")), assembled(&debs("3.1")));
    assert_eq!(layers(&before), ["system", "base-files", "openssl", "zlib"]);
    let packages: Vec<&str> = before.layers[2].packages.iter().map(Installed::name).collect();
    assert_eq!(packages, ["libssl3", "openssl"]);
    let (before, after) = (written(&before), written(&after));
    for (number, (before, after)) in before.iter().zip(&after).enumerate() {
        assert_eq!(before == after, number != 2, "layer {number}");
    }
}

#[test]
fn there_are_no_more_layers_than_asked_for() {
    let debs: Vec<Deb> = (0..20)
        .map(|number| Deb::new(&format!("p{number} 1 all")).file(&format!("usr/p{number}"), ""))
        .collect();
    let options = Options {
        base: &Listing::new(),
        architecture: "amd64",
        max_layers: 6,
    };
    let assembly = assemble(debs.iter().map(Deb::archive).collect(), &options).unwrap();
    assert_eq!(layers(&assembly), ["1/6", "2/6", "3/6", "4/6", "5/6", "6/6"]);
    let packages: usize = assembly.layers.iter().map(|layer| layer.packages.len()).sum();
    assert_eq!(packages, 20);
}

#[test]
fn users_come_from_the_master_files_from_sysusers_and_from_the_table() {
    let debs = [
        base_passwd(),
        Deb::new("redis-tools 7 amd64").info("postinst", "#!/bin/sh\nadduser redis\n"),
        Deb::new("other 1 all").file(
            "usr/lib/sysusers.d/other.conf",
            "# Who is who\ng input - -\nu fixed 77 \"A fixed one\" /var/lib/fixed /bin/sh\nu other - 'The other: one'\nu third -:adm\nm other input\nm www-data input\nr - 500-900\nu www-data 99\n",
        ),
    ];
    let assembly = assembled(&debs);
    let passwd = content(&assembly, "etc/passwd");
    let group = content(&assembly, "etc/group");
    assert!(
        passwd.starts_with(MASTER) && group.starts_with(GROUPS),
        "{passwd}{group}"
    );
    assert!(
        passwd.contains("fixed:x:77:77:A fixed one:/var/lib/fixed:/bin/sh\n"),
        "{passwd}"
    );
    let id = |name: &str, text: &str| -> u32 {
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("{name}:")))
            .unwrap();
        line.split(':').nth(2).unwrap().parse().unwrap()
    };
    let (other, redis) = (id("other", &passwd), id("redis", &passwd));
    assert!((100..1_000).contains(&other) && (100..1_000).contains(&redis) && other != redis);
    assert!(
        passwd.contains(&format!(
            "other:x:{other}:{other}:The other  one:/:/usr/sbin/nologin\n"
        )),
        "{passwd}"
    );
    assert!(
        passwd.contains(&format!(
            "third:x:{}:4::/:/usr/sbin/nologin\n",
            id("third", &passwd)
        )),
        "{passwd}"
    );
    assert_eq!(id("other", &group), other);
    assert!(
        group.contains(&format!("input:x:{}:other,www-data\n", id("input", &group))),
        "{group}"
    );
    assert_eq!(mode_and_owner(&assembly, "var/lib/redis"), (0o750, redis, redis));
    assert_eq!(mode_and_owner(&assembly, "var/log/redis"), (0o2750, redis, 4));
    // Without one of the packages, the others keep their numbers.
    let fewer = assembled(&debs[..2]);
    assert_eq!(id("redis", &content(&fewer, "etc/passwd")), redis);
}

#[test]
fn who_is_in_the_base_stays_as_they_are() {
    let base = Listing {
        passwd: Some(b"root:x:0:0:root:/root:/bin/sh\nredis:x:500:500::/:/bin/false\n".to_vec()),
        group: Some(b"root:x:0:\nredis:x:500:\n".to_vec()),
        ..Listing::new()
    };
    let redis = Deb::new("redis-tools 7 amd64");
    let assembly = assembled_on(&base, std::slice::from_ref(&redis)).unwrap();
    assert!(node(&assembly, "etc/passwd").is_none() && node(&assembly, "etc/group").is_none());
    assert_eq!(mode_and_owner(&assembly, "etc/redis"), (0o2770, 500, 500));
    let assembly = assembled_on(&base, &[redis, base_passwd()]).unwrap();
    let passwd = content(&assembly, "etc/passwd");
    assert!(
        passwd.starts_with("root:x:0:0:root:/root:/bin/sh\nredis:x:500:500::/:/bin/false\nman:*:6:12:"),
        "{passwd}"
    );
    assert!(node(&assembled(&[Deb::new("x 1 all").file("x", "")]), "etc/passwd").is_none());
}

#[test]
fn a_line_of_sysusers_that_cannot_be_understood_is_named() {
    for line in ["u", "u \"x", "z x", "m x", "u ../x", "u a:b", "u 1000"] {
        let deb = Deb::new("x 1 all").file("usr/lib/sysusers.d/x.conf", &format!("\n{line}\n"));
        assert_eq!(
            refused(&[deb]),
            "line 2 of /usr/lib/sysusers.d/x.conf cannot be understood",
            "{line}"
        );
    }
}

#[test]
fn tmpfiles_make_directories_links_and_short_files() {
    let assembly = assembled(&[
        base_files(),
        base_passwd(),
        Deb::new("x 1 all").file("usr/share/there", "").file(
            "usr/lib/tmpfiles.d/x.conf",
            "d /run/x 0750 www-data adm 10d -\nD! /var/run/y 1777\nL /run/z - - - - ../usr/share/there\nf /run/text 0600 - - - one\\ntwo\nd /run/%b\nz /usr/share/there 0600\nr! /run/gone\nL+ /usr/share/there - - - - /elsewhere\nd /run/nobody - stranger stranger\n",
        ),
    ]);
    assert_eq!(mode_and_owner(&assembly, "run/x"), (0o750, 33, 4));
    assert_eq!(mode_and_owner(&assembly, "run/y"), (0o1777, 0, 0));
    assert_eq!(target(&assembly, "run/z"), "../usr/share/there");
    assert_eq!(content(&assembly, "run/text"), "one\ntwo");
    assert_eq!(mode_and_owner(&assembly, "run/text"), (0o600, 0, 0));
    assert_eq!(content(&assembly, "usr/share/there"), "");
    assert_eq!(mode_and_owner(&assembly, "run/nobody"), (0o755, 0, 0));
    assert!(node(&assembly, "run/%b").is_none());
}

#[test]
fn the_bundle_has_all_certificates_in_the_order_of_their_names() {
    let assembly = assembled(&[Deb::new("ca-certificates 2025 all")
        .directory("etc/ssl/certs/", 0o755)
        .file("usr/share/ca-certificates/mozilla/B_Root.crt", "B\n")
        .file("usr/share/ca-certificates/mozilla/A_Root_(1).crt", "A")
        .file("usr/share/ca-certificates/mozilla/notes.txt", "no")]);
    assert_eq!(content(&assembly, "etc/ssl/certs/ca-certificates.crt"), "A\nB\n");
    let configuration = content(&assembly, "etc/ca-certificates.conf");
    assert!(
        configuration.ends_with("\nmozilla/A_Root_(1).crt\nmozilla/B_Root.crt\n"),
        "{configuration}"
    );
    assert_eq!(
        target(&assembly, "etc/ssl/certs/A_Root_=1=.pem"),
        "/usr/share/ca-certificates/mozilla/A_Root_(1).crt"
    );
    assert_eq!(layers(&assembly), ["ca-certificates"]);
}

#[test]
fn of_alternatives_the_highest_that_is_there_is_taken() {
    let mawk = Deb::new("mawk 1 amd64").program("usr/bin/mawk", 0o755, "");
    let gawk = Deb::new("gawk 1 amd64").program("usr/bin/gawk", 0o755, "");
    let assembly = assembled(std::slice::from_ref(&mawk));
    assert_eq!(target(&assembly, "usr/bin/awk"), "/etc/alternatives/awk");
    assert_eq!(target(&assembly, "etc/alternatives/awk"), "/usr/bin/mawk");
    assert_eq!(target(&assembly, "etc/alternatives/nawk"), "/usr/bin/mawk");
    assert_eq!(
        target(&assembled(&[mawk, gawk]), "etc/alternatives/awk"),
        "/usr/bin/gawk"
    );
    let assembly = assembled(&[
        Deb::new("openjdk-17-jre-headless 17 amd64").program(
            "usr/lib/jvm/java-17-openjdk-amd64/bin/java",
            0o755,
            "",
        ),
        Deb::new("libblas3 3 amd64").file("usr/lib/x86_64-linux-gnu/blas/libblas.so.3", ""),
    ]);
    assert_eq!(
        target(&assembly, "etc/alternatives/java"),
        "/usr/lib/jvm/java-17-openjdk-amd64/bin/java"
    );
    assert_eq!(
        target(&assembly, "etc/alternatives/libblas.so.3-x86_64-linux-gnu"),
        "/usr/lib/x86_64-linux-gnu/blas/libblas.so.3"
    );
    assert!(node(&assembly, "usr/bin/keytool").is_none());
    // What a package has there itself stays.
    let own = Deb::new("own 1 all").file("usr/bin/awk", "mine");
    let assembly = assembled(&[own, Deb::new("mawk 1 amd64").program("bin/mawk", 0o755, "")]);
    assert_eq!(content(&assembly, "usr/bin/awk"), "mine");
}

#[test]
fn the_table_does_what_scripts_of_common_packages_do() {
    let assembly = assembled(&[
        base_files(),
        base_passwd(),
        Deb::new("libc6 2.36 amd64").file("usr/lib/libc", ""),
        Deb::new("tzdata 2026 all"),
        Deb::new("python3.11-minimal 3.11 amd64"),
        Deb::new("nginx-common 1.22 all")
            .directory("var/log/nginx/", 0o755)
            .directory("etc/nginx/sites-enabled/", 0o755)
            .file("usr/share/nginx/html/index.html", "welcome"),
    ]);
    assert_eq!(target(&assembly, "var/run"), "/run");
    assert_eq!(target(&assembly, "var/lock"), "/run/lock");
    assert_eq!(mode_and_owner(&assembly, "run/lock").0, 0o1777);
    assert_eq!(mode_and_owner(&assembly, "var/mail"), (0o2775, 0, 8));
    assert_eq!(content(&assembly, "etc/profile"), "umask 022\n");
    assert!(content(&assembly, "etc/nsswitch.conf").contains("hosts:          files dns\n"));
    assert_eq!(target(&assembly, "etc/localtime"), "/usr/share/zoneinfo/Etc/UTC");
    assert_eq!(
        mode_and_owner(&assembly, "usr/local/lib/python3.11/dist-packages").0,
        0o755
    );
    assert_eq!(mode_and_owner(&assembly, "var/log/nginx"), (0o755, 0, 4));
    assert_eq!(
        mode_and_owner(&assembly, "var/log/nginx/error.log"),
        (0o640, 33, 4)
    );
    assert_eq!(
        content(&assembly, "var/www/html/index.nginx-debian.html"),
        "welcome"
    );
    let own = Deb::new("libc-bin 2.36 amd64").file("usr/share/libc-bin/nsswitch.conf", "own\n");
    let assembly = assembled(&[own, Deb::new("libc6 2.36 amd64")]);
    assert_eq!(content(&assembly, "etc/nsswitch.conf"), "own\n");
}

#[test]
fn scripts_that_may_matter_are_named_with_what_to_do() {
    let python = "#!/bin/sh\nset -e\n# Automatically added by dh_python3\nif command -v py3compile >/dev/null 2>&1; then\n\tpy3compile -p x\nfi\n# End automatically added section\n";
    let assembly = assembled(&[
        Deb::new("harmless 1 all")
            .info("postinst", python)
            .info("postrm", "#!/bin/sh\nmkfs /\n"),
        Deb::new("perly 1 all").info("preinst", "#!/usr/bin/perl\n"),
        Deb::new("server 1 all").info(
            "postinst",
            "#!/bin/sh\nadduser --system server\nchown server /var/lib/server\n",
        ),
        Deb::new("tzdata 1 all").info("postinst", "#!/bin/sh\nsomething --new\n"),
        Deb::new("libs 1 amd64").file(
            "etc/ld.so.conf.d/libs.conf",
            "# mine\n/usr/lib/x86_64-linux-gnu\n/opt/libs/\n",
        ),
        Deb::new("awkward 1 all").info(
            "postinst",
            "update-alternatives --install /usr/bin/x x /usr/bin/y 1\n",
        ),
    ]);
    let warnings: Vec<(String, Option<String>, bool)> = assembly
        .warnings
        .iter()
        .map(|warning| (warning.to_string(), warning.hint(), warning.is_minor()))
        .collect();
    let unknown = |package: &str, script: &str, commands: &str| {
        format!(
            "the package {package} has scripts that were not run ({script}), with commands that may matter: {commands}"
        )
    };
    assert_eq!(
        warnings[..3],
        [
            (
                unknown("awkward", "postinst", "`update-alternatives --install /usr/bin/x`"),
                Some("if the image needs what they do: `link` for links and alternatives".to_owned()),
                false
            ),
            (
                "the package libs has libraries that are only found with a cache, which images do not get: in /opt/libs".to_owned(),
                Some("set LD_LIBRARY_PATH=/opt/libs in [config] env".to_owned()),
                false
            ),
            (
                unknown("perly", "preinst", "a script for perl"),
                Some("look at the package's scripts; what the image needs of them, a layer of the spec can have".to_owned()),
                false
            ),
        ]
    );
    assert_eq!(
        warnings[3],
        (
            unknown("server", "postinst", "`adduser --system server`, `chown server /var/lib/server`"),
            Some("if the image needs what they do: [[user]] or [[group]] for accounts; `dir` for directories, their modes and owners".to_owned()),
            false
        )
    );
    let (text, hint, is_minor) = &warnings[4];
    assert!(
        text.starts_with("the package tzdata has other scripts than those that are replaced (postinst "),
        "{text}"
    );
    assert!(hint.is_none() && *is_minor && warnings.len() == 5);
}

#[test]
fn d6_names_as_long_as_can_be_do_no_harm() {
    let name = "n".repeat(255);
    let certificate = format!("usr/share/ca-certificates/{}.crt", "c".repeat(60));
    assembled(&[
        Deb::new(&format!("{name} 1 all")).info("md5sums", "x"),
        Deb::new(&format!("openjdk-17-jre-headless 1 {}", "a".repeat(255))),
        Deb::new("ca-certificates 1 all").file(&certificate, "x"),
    ]);
}

#[test]
fn the_page_about_packages_names_every_row_of_the_tables() {
    let page = include_str!("../../../../docs/packages.md");
    for package in table::packages()
        .chain(alternatives::packages())
        .chain(table::diverting())
    {
        assert!(
            page.contains(&format!("`{package}`")),
            "docs/packages.md does not name {package}"
        );
    }
}
