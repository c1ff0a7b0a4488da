//! Where a run takes place: the machine's name, and the Git commit of the project's directory. Read from files, no
//! program is started.

use std::path::{Path, PathBuf};

/// Files that are read are not longer than this, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// Links from a name to another name.
const LINKS_MAX: usize = 8;

/// The machine's name, where the system tells.
pub(crate) fn host() -> Option<String> {
    let name = read(Path::new("/proc/sys/kernel/hostname"))?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

/// Name of the user that this process runs as, or its number.
pub(crate) fn user() -> Option<String> {
    // `Uid:`, real, effective, saved, of the file system.
    let status = read(Path::new("/proc/self/status"))?;
    let mut lines = status.lines();
    let numbers = lines.find_map(|line| line.strip_prefix("Uid:"))?;
    let number = numbers.split_whitespace().nth(1)?.to_owned();
    let users = read(Path::new("/etc/passwd")).unwrap_or_default();
    let named = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, of) = (fields.next()?, fields.next()?, fields.next()?);
        (of == number).then(|| name.to_owned())
    });
    Some(named.unwrap_or(number))
}

/// The commit that is checked out where a directory lies, in hex.
pub(crate) fn git_commit(directory: &Path) -> Option<String> {
    let directory = directory.canonicalize().ok()?;
    let git = directory
        .ancestors()
        .find_map(|dir| git_dir(&dir.join(".git")))?;
    // A linked worktree has its own HEAD, and shares everything else.
    let shared = match read(&git.join("commondir")) {
        Some(path) => git.join(path.trim()),
        None => git.clone(),
    };
    let mut text = read(&git.join("HEAD"))?;
    for _ in 0..LINKS_MAX {
        let Some(name) = text.strip_prefix("ref:") else {
            let commit = text.trim();
            let is_hex = commit.bytes().all(|byte| byte.is_ascii_hexdigit());
            return (is_hex && matches!(commit.len(), 40 | 64)).then(|| commit.to_owned());
        };
        let name = name.trim();
        if !name.starts_with("refs/") || name.split('/').any(|part| matches!(part, "" | "." | ".."))
        {
            return None;
        }
        text = read(&git.join(name))
            .or_else(|| read(&shared.join(name)))
            .or_else(|| packed(&shared, name))?;
    }
    None
}

/// A directory, or a file that names one.
fn git_dir(path: &Path) -> Option<PathBuf> {
    if path.is_dir() {
        return Some(path.to_owned());
    }
    let text = read(path)?;
    let named = text.strip_prefix("gitdir:")?.trim();
    Some(path.parent()?.join(named)).filter(|dir| dir.is_dir())
}

fn packed(git: &Path, name: &str) -> Option<String> {
    let text = read(&git.join("packed-refs"))?;
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines
        .find(|(_, named)| *named == name)
        .map(|(commit, _)| commit.to_owned())
}

fn read(path: &Path) -> Option<String> {
    let known = std::fs::metadata(path).ok()?;
    if !known.is_file() || known.len() > FILE_BYTES_MAX {
        return None;
    }
    std::fs::read_to_string(path).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use std::fs;

    const COMMIT: &str = "5f2c1a0b9e8d7c6b5a493827160f0e0d0c0b0a09";

    fn check(files: &[(&str, &str)], expect: Option<&str>) {
        let dir = tempfile::tempdir().unwrap();
        // Above the directory, so that the repository around the tests is never found.
        fs::create_dir_all(dir.path().join("work/deep")).unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        assert_eq!(
            git_commit(&dir.path().join("work/deep")).as_deref(),
            expect,
            "{files:?}"
        );
    }

    #[test]
    fn commit_is_found_however_git_keeps_it() {
        let line = format!("{COMMIT}\n");
        let head = "ref: refs/heads/main\n";
        let packed = format!("# pack-refs with: peeled\n{COMMIT} refs/heads/main\n^{COMMIT}\n");
        check(&[("work/.git/HEAD", &line)], Some(COMMIT));
        check(
            &[
                ("work/.git/HEAD", head),
                ("work/.git/refs/heads/main", &line),
            ],
            Some(COMMIT),
        );
        check(
            &[("work/.git/HEAD", head), ("work/.git/packed-refs", &packed)],
            Some(COMMIT),
        );
        let worktree = [
            ("work/.git", "gitdir: ../repo/.git/worktrees/w\n"),
            ("repo/.git/worktrees/w/HEAD", head),
            ("repo/.git/worktrees/w/commondir", "../..\n"),
            ("repo/.git/refs/heads/main", line.as_str()),
        ];
        check(&worktree, Some(COMMIT));
    }

    #[test]
    fn what_is_no_commit_is_none() {
        check(&[("work/.git/HEAD", "ref: refs/heads/new\n")], None);
        check(&[("work/.git/HEAD", "ref: refs/../../../secret\n")], None);
        check(&[("work/.git/HEAD", "not hex\n")], None);
        check(
            &[
                ("work/.git/HEAD", "ref: refs/heads/a\n"),
                ("work/.git/refs/heads/a", "ref: refs/heads/a\n"),
            ],
            None,
        );
        check(&[("work/.git", "gitdir: /nowhere/at/all\n")], None);
    }
}
