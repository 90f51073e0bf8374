#![expect(
    clippy::disallowed_methods,
    reason = "the tests make the trees that they walk"
)]

use std::fs;
use std::os::unix::fs::symlink;

use super::*;

/// The names backwards: another order than any file system gives them in twice.
fn backwards(directory: BorrowedFd<'_>) -> Result<Names, Errno> {
    let mut names: Vec<_> = boxed(directory)?;
    names.sort_unstable_by(|left, right| right.cmp(left));
    together(&names)
}

/// Those with an odd last byte first.
fn shuffled(directory: BorrowedFd<'_>) -> Result<Names, Errno> {
    let mut names = boxed(directory)?;
    names.sort_unstable_by_key(|name| (name.last().map(|byte| byte % 2 == 0), name.len(), name.clone()));
    together(&names)
}

fn boxed(directory: BorrowedFd<'_>) -> Result<Vec<Box<[u8]>>, Errno> {
    Ok(read_names(directory)?.iter().map(Box::from).collect())
}

fn together(names: &[Box<[u8]>]) -> Result<Names, Errno> {
    let mut all = Names::default();
    names.iter().try_for_each(|name| all.push(name))?;
    Ok(all)
}

/// Deep and wide, with names around the slash in the order of bytes.
fn tree() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for outer in 0..12 {
        for inner in ["a", "a-b", "a.b", "b"] {
            let directory = root.path().join(format!("d{outer}")).join(inner);
            fs::create_dir_all(&directory).unwrap();
            for file in ["0", "x", "y-"] {
                fs::write(directory.join(file), format!("{outer}{inner}{file}")).unwrap();
            }
            symlink("x", directory.join("link")).unwrap();
        }
    }
    root
}

fn walked(root: &std::path::Path, threads: usize, names: ReadNames) -> Result<Vec<String>, LocalError> {
    let context = Context::open(root)?;
    let entries = context.walk_how(
        ".",
        &GlobFilter::new(["d3/a", "d4/**/x"]).unwrap(),
        How { threads, names },
    )?;
    let line = |entry: &LocalEntry| {
        let path = entry.path.as_ref().map(ToString::to_string);
        match &entry.kind {
            LocalKind::File { file, executable } => {
                format!("{path:?} {} {} {executable}", file.shown(), file.size())
            }
            other => format!("{path:?} {other:?}"),
        }
    };
    Ok(entries.iter().map(line).collect())
}

#[test]
fn a6_b7_neither_threads_nor_the_order_on_disk_show() {
    let root = tree();
    let one = walked(root.path(), 1, read_names).unwrap();
    assert_eq!(one.len(), 1 + 12 + (12 * 4 - 1) + (12 * 4 - 1) * 4 - 4);
    assert_eq!(one[1..5].join("\n"), {
        let lines = [
            "Some(\"/d0\") Directory",
            "Some(\"/d0/a\") Directory",
            "Some(\"/d0/a-b\") Directory",
            "Some(\"/d0/a-b/0\") d0/a-b/0 5 false",
        ];
        lines.join("\n")
    });
    for threads in [1, 2, 8] {
        for names in [read_names, backwards, shuffled] {
            assert_eq!(
                walked(root.path(), threads, names).unwrap(),
                one,
                "{threads} threads"
            );
        }
    }
}

#[test]
fn of_several_errors_the_first_by_path_is_reported() {
    let root = tree();
    for at in ["d1/b/pipe", "d9/a/pipe", "d11/a/pipe"] {
        rustix::fs::mknodat(
            rustix::fs::CWD,
            root.path().join(at),
            FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
    }
    for threads in [1, 2, 8] {
        for names in [read_names, backwards] {
            let error = walked(root.path(), threads, names).unwrap_err();
            assert_eq!(
                error.to_string(),
                "`d1/b/pipe` is a named pipe, which cannot be in a layer"
            );
        }
    }
}

#[test]
fn b2_a_directory_that_became_a_link_is_not_entered() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("context/inner")).unwrap();
    fs::create_dir_all(root.path().join("secret")).unwrap();
    let context = Context::open(&root.path().join("context")).unwrap();
    let walk = Walk {
        context: &context,
        from: ".",
        start: b"",
        exclude: &GlobFilter::none(),
        how: How::default(),
    };
    let inner = TreePath::new("inner").unwrap();
    assert_eq!(walk.directory(Some(&inner)).unwrap().len(), 0);
    fs::remove_dir(root.path().join("context/inner")).unwrap();
    symlink("../secret", root.path().join("context/inner")).unwrap();
    let error = walk.directory(Some(&inner)).unwrap_err();
    assert!(
        matches!(error, LocalError::Changed { ref path } if path == "inner"),
        "{error:?}"
    );
}
