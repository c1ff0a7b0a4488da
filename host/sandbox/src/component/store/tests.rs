//! Nothing that the store did not write itself, and nothing of another component, engine or key, is loaded.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(
    clippy::print_stdout,
    reason = "how many flips there were is asked for"
)]

use std::os::unix::fs::{FileExt as _, symlink};

use super::*;

/// `(component)`.
const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";
const EXTENSIONS: [&str; 2] = ["cwasm", "seal"];

fn digest() -> String {
    "ab".repeat(32)
}

fn other_digest() -> String {
    "cd".repeat(32)
}

struct Filled {
    dir: tempfile::TempDir,
    engine: Engine,
    store: ArtifactStore,
    artifact: Vec<u8>,
}

fn filled() -> Filled {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::default();
    let store = ArtifactStore::open(&dir.path().join("store"), &engine).unwrap();
    let artifact = engine.precompile_component(EMPTY).unwrap();
    store.keep(&digest(), &artifact, "{\"name\":\"é\\u0007\"}");
    Filled {
        dir,
        engine,
        store,
        artifact,
    }
}

impl Filled {
    fn file(&self, extension: &str) -> PathBuf {
        self.file_of(&digest(), extension)
    }

    fn file_of(&self, digest: &str, extension: &str) -> PathBuf {
        self.store
            .path(&self.store.name(digest).unwrap(), extension)
    }

    fn loads(&self) -> bool {
        self.store.fetch(&self.engine, &digest()).is_some()
    }

    /// With `bytes` in place of what the store wrote, nothing is loaded; without them it is again.
    #[track_caller]
    fn void_with(&self, extension: &str, bytes: &[u8], what: &str) {
        let path = self.file(extension);
        let sound = fs::read(&path).unwrap();
        fs::write(&path, bytes).unwrap();
        assert!(!self.loads(), "{what} of {extension}");
        fs::write(&path, sound).unwrap();
    }
}

#[test]
fn what_is_kept_can_be_fetched_by_a_later_process() {
    let filled = filled();
    let again = ArtifactStore::open(&filled.store.dir, &filled.engine).unwrap();
    let manifest = "{\"name\":\"é\\u0007\"}";
    assert_eq!(again.fetch(&filled.engine, &digest()).unwrap().1, manifest);
    assert_eq!(again.manifest(&digest()).unwrap(), manifest);
    assert!(again.fetch(&filled.engine, &other_digest()).is_none());
    assert!(again.fetch(&filled.engine, "../../etc/passwd").is_none());
}

/// Every byte, and of the seal every bit.
#[test]
fn any_flipped_byte_voids_the_entry() {
    let filled = filled();
    let mut flips = 0;
    for extension in EXTENSIONS {
        let path = filled.file(extension);
        let sound = fs::read(&path).unwrap();
        // In place, which is kinder to the disk than to write the file anew.
        let file = File::options().write(true).open(&path).unwrap();
        let bits = if extension == "seal" { 8 } else { 1 };
        for (at, byte) in sound.iter().enumerate() {
            for bit in 0..bits {
                file.write_all_at(&[byte ^ (1 << ((at + bit) % 8))], at as u64)
                    .unwrap();
                assert!(!filled.loads(), "byte {at} of {extension}, flip {bit}");
                flips += 1;
            }
            file.write_all_at(&[*byte], at as u64).unwrap();
        }
        println!("{extension}: {} bytes", sound.len());
    }
    assert!(filled.loads());
    println!("{flips} flips, 0 loads");
    assert!(flips > 1_000, "only {flips} flips");
}

#[test]
fn any_truncation_or_addition_voids_the_entry() {
    let filled = filled();
    for extension in EXTENSIONS {
        let sound = fs::read(filled.file(extension)).unwrap();
        let step = (sound.len() / 500).max(1);
        let lengths = (0..sound.len()).step_by(step).chain([sound.len() - 1]);
        for length in lengths {
            filled.void_with(extension, &sound[..length], &format!("{length} bytes"));
        }
        filled.void_with(extension, &[&sound[..], b" "].concat(), "one byte more");
        filled.void_with(extension, &sound.repeat(2), "twice");
    }
    assert!(filled.loads());
}

#[test]
fn an_entry_cannot_stand_in_for_another() {
    let filled = filled();
    let other = other_digest();
    for extension in EXTENSIONS {
        fs::copy(filled.file(extension), filled.file_of(&other, extension)).unwrap();
    }
    assert!(filled.store.fetch(&filled.engine, &other).is_none());
    assert!(filled.store.manifest(&other).is_none());
}

#[test]
fn artifacts_of_two_entries_cannot_be_swapped() {
    let filled = filled();
    let other = other_digest();
    // As if the component were another: what counts is under which name it was sealed.
    let bytes = [&filled.artifact[..], b"\0"].concat();
    filled.store.keep(&other, &bytes, "{}");
    fs::rename(filled.file_of(&other, "cwasm"), filled.file("cwasm")).unwrap();
    assert!(!filled.loads());
}

#[test]
fn an_entry_of_another_engine_is_not_seen() {
    let filled = filled();
    let later = ArtifactStore {
        engine_hash: filled.store.engine_hash ^ 1,
        dir: filled.store.dir.clone(),
        key: filled.store.key,
    };
    assert!(later.fetch(&filled.engine, &digest()).is_none());
    for extension in EXTENSIONS {
        let renamed = later.path(&later.name(&digest()).unwrap(), extension);
        fs::copy(filled.file(extension), renamed).unwrap();
    }
    assert!(later.fetch(&filled.engine, &digest()).is_none());
    assert!(later.manifest(&digest()).is_none());
}

#[test]
fn a_foreign_key_opens_nothing() {
    let filled = filled();
    let key = filled.store.dir.join("key");
    fs::write(&key, [7; KEY_BYTES]).unwrap();
    let foreign = ArtifactStore::open(&filled.store.dir, &filled.engine).unwrap();
    assert_eq!(foreign.key, [7; KEY_BYTES]);
    assert!(foreign.fetch(&filled.engine, &digest()).is_none());
    // It seals what it compiles, and the first store believes none of that.
    foreign.keep(&digest(), &filled.artifact, "{}");
    assert!(foreign.fetch(&filled.engine, &digest()).is_some());
    assert!(!filled.loads());
}

/// Puts something in place of a file of the store.
type Put = fn(&Path, &Path);

#[test]
fn nothing_but_a_file_is_opened() {
    let cases: [(&str, Put); 4] = [
        ("a link to what was there", |path, aside| {
            fs::rename(path, aside).unwrap();
            symlink(aside, path).unwrap();
        }),
        ("a link to nothing", |path, aside| {
            fs::remove_file(path).unwrap();
            symlink(aside, path).unwrap();
        }),
        ("a directory", |path, _| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        }),
        ("a pipe", |path, _| {
            fs::remove_file(path).unwrap();
            let mode = rustix::fs::Mode::from_raw_mode(0o600);
            rustix::fs::mkfifoat(rustix::fs::CWD, path, mode).unwrap();
        }),
    ];
    for (what, put) in cases {
        for extension in EXTENSIONS {
            let filled = filled();
            put(&filled.file(extension), &filled.dir.path().join("aside"));
            assert!(!filled.loads(), "{what} for {extension}");
            // Sealing again mends it, except where a directory stands in the way: then it is compiled each time.
            filled.store.keep(&digest(), &filled.artifact, "{}");
            assert_eq!(
                filled.loads(),
                what != "a directory",
                "{what} for {extension}"
            );
        }
        let filled = filled();
        let key = filled.store.dir.join("key");
        put(&key, &filled.dir.path().join("aside"));
        let again = ArtifactStore::open(&filled.store.dir, &filled.engine);
        let old = again.is_ok_and(|store| store.key == filled.store.key);
        assert!(!old, "{what} for the key");
    }
}

#[test]
fn a_store_that_cannot_be_written_keeps_nothing_and_says_nothing() {
    let filled = filled();
    fs::remove_dir_all(&filled.store.dir).unwrap();
    filled.store.keep(&digest(), &filled.artifact, "{}");
    assert!(!filled.loads());
    // A file where the directory should be, and a file system that nobody can write.
    let file = filled.dir.path().join("file");
    fs::write(&file, "").unwrap();
    for place in [file.clone(), file.join("below"), "/proc/odibi".into()] {
        assert!(
            ArtifactStore::open(&place, &filled.engine).is_err(),
            "{}",
            place.display()
        );
    }
}

/// A process that is killed while it seals leaves a file without an entry.
#[test]
fn what_killed_processes_left_is_removed_when_it_is_old() {
    let filled = filled();
    let put = |name: &str, old: bool| {
        let path = filled.store.dir.join(name);
        let file = File::create(&path).unwrap();
        if old {
            file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        }
        path
    };
    let gone = [put(".tmpOld", true), put("old.cwasm", true)];
    let kept = [put(".tmpNew", false), put("new.cwasm", false)];
    File::options()
        .write(true)
        .open(filled.store.dir.join("key"))
        .unwrap()
        .set_modified(SystemTime::UNIX_EPOCH)
        .unwrap();
    filled.store.keep(&digest(), &filled.artifact, "{}");
    assert!(gone.iter().all(|path| !path.exists()));
    assert!(kept.iter().all(|path| path.exists()));
    let again = ArtifactStore::open(&filled.store.dir, &filled.engine).unwrap();
    assert!(again.fetch(&filled.engine, &digest()).is_some());
}

#[test]
fn the_oldest_entries_over_the_maximum_go() {
    let filled = filled();
    let day = |n: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(n * 86_400);
    for n in 0..ENTRIES_MAX as u64 {
        let digest = format!("{n:064x}");
        filled.store.keep(&digest, &filled.artifact, "{}");
        let seal = File::options()
            .write(true)
            .open(filled.file_of(&digest, "seal"))
            .unwrap();
        seal.set_modified(day(n)).unwrap();
    }
    filled.store.keep(&other_digest(), &filled.artifact, "{}");
    let there = |digest: &str| filled.store.fetch(&filled.engine, digest).is_some();
    // Two too many: the first and the second, which are the oldest.
    assert!(!there(&format!("{:064x}", 0)) && !there(&format!("{:064x}", 1)));
    assert!(there(&format!("{:064x}", 2)) && there(&digest()) && there(&other_digest()));
}

#[test]
fn store_and_key_are_private_and_a_bared_key_is_replaced() {
    let Filled { engine, store, .. } = &filled();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(&store.dir), 0o700);
    for entry in fs::read_dir(&store.dir).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
    fs::set_permissions(store.dir.join("key"), Permissions::from_mode(0o644)).unwrap();
    let again = ArtifactStore::open(&store.dir, engine).unwrap();
    assert_ne!(again.key, store.key);
    assert_eq!(mode(&store.dir.join("key")), 0o600);
    assert!(again.fetch(engine, &digest()).is_none());
}

#[test]
fn a_directory_that_others_may_enter_is_closed() {
    let Filled { engine, store, .. } = &filled();
    fs::set_permissions(&store.dir, Permissions::from_mode(0o777)).unwrap();
    ArtifactStore::open(&store.dir, engine).unwrap();
    assert_eq!(fs::metadata(&store.dir).unwrap().mode() & 0o777, 0o700);
}

#[test]
fn many_openers_agree_on_one_key() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::default();
    let keys: Vec<[u8; KEY_BYTES]> = std::thread::scope(|scope| {
        let open = || ArtifactStore::open(dir.path(), &engine).unwrap().key;
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert!(keys.iter().all(|key| *key == keys[0]));
}
