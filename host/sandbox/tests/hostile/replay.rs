//! Failures recorded and seen again: the same call, class, code and message; and capsules that cannot be used.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use arrow_array::types::UInt8Type;
use arrow_array::{
    ArrayRef, DictionaryArray, FixedSizeListArray, Int64Array, RecordBatch, StringArray,
    StringViewArray, StructArray,
};
use arrow_schema::{DataType, Field, Schema};
use odibi_run::port::Cancel;
use odibi_sandbox::{
    Capsule, Capture, CaptureNotice, ComponentSource, Limits, Options, Permission, Phase, Replayed,
    Sandbox,
};
use odibi_story::failure::Failure;
use serde_json::json;

use crate::{component, context, drive, limits, options, resolve, scratch, table};

/// A sandbox that records into a directory of its own.
struct Recording {
    dir: tempfile::TempDir,
    notices: Arc<Mutex<Vec<CaptureNotice>>>,
    sandbox: Sandbox,
}

impl Recording {
    fn new(limits: Limits, set: impl FnOnce(&mut Capture)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let notices: Arc<Mutex<Vec<CaptureNotice>>> = Arc::default();
        let heard = Arc::clone(&notices);
        let tell = Arc::new(move |notice| heard.lock().unwrap().push(notice));
        let mut capture = Capture::new(dir.path().join("new/capsules"), tell).unwrap();
        set(&mut capture);
        let sandbox = Sandbox::new(Options {
            limits,
            capture: Some(capture),
            ..options(component().to_vec(), Some(scratch().join("store")))
        });
        Self {
            dir,
            notices,
            sandbox: sandbox.unwrap(),
        }
    }

    /// Runs an operation that must fail.
    fn fail(&self, operation: &str, batches: &[RecordBatch]) -> Failure {
        let operation = resolve(&self.sandbox, None, operation).unwrap();
        let context = context(Cancel::default());
        let planned =
            operation.plan_within(&json!({"column": "x"}), &[batches[0].schema()], &context);
        planned
            .and_then(|plan| operation.open(&Arc::new(plan), &context))
            .and_then(|mut session| drive(session.as_mut(), batches))
            .expect_err("it must fail")
    }

    fn capsules(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.dir.path().join("new/capsules")).unwrap();
        let mut files: Vec<PathBuf> = files.map(|f| f.unwrap().path()).collect();
        files.sort();
        files
    }

    #[track_caller]
    fn only(&self) -> PathBuf {
        let files = self.capsules();
        assert_eq!(
            files.len(),
            1,
            "{:?} {files:?}",
            self.notices.lock().unwrap()
        );
        files[0].clone()
    }

    /// The code of the only notice, which says why nothing was recorded.
    #[track_caller]
    fn given_up(&self) -> String {
        assert_eq!(self.capsules(), Vec::<PathBuf>::new());
        let notices = self.notices.lock().unwrap();
        assert_eq!(notices.len(), 1, "{notices:?}");
        notices[0].capsule.clone().unwrap_err().code
    }
}

fn replay(path: &Path) -> Replayed {
    let capsule = Capsule::read(path).unwrap();
    replay_with(&capsule, component().to_vec()).unwrap()
}

fn replay_with(capsule: &Capsule, bytes: Vec<u8>) -> Result<Replayed, Failure> {
    let sandbox = Sandbox::new(Options {
        limits: capsule.limits(),
        ..options(bytes, Some(scratch().join("store")))
    });
    sandbox.unwrap().replay(capsule)
}

/// Records a failure, replays it, and returns what both said.
#[track_caller]
fn check_with(
    limits: Limits,
    operation: &str,
    input: &[RecordBatch],
    phase: Phase,
    code: &str,
    batches: usize,
) {
    let recording = Recording::new(limits, |_| {});
    let failure = recording.fail(operation, input);
    assert_eq!(failure.code, code, "{operation}: {failure}");
    let path = recording.only();
    let capsule = Capsule::read(&path).unwrap();
    let header = capsule.header();
    assert_eq!(
        (header.phase, capsule.batches()),
        (phase, batches),
        "{operation}"
    );
    assert_eq!(header.failure.message, failure.message, "{operation}");
    let hint = failure.hints.last().unwrap();
    assert!(
        hint.contains(&path.display().to_string()),
        "{operation}: {hint}"
    );
    let replayed = replay(&path);
    assert!(replayed.same, "{operation}: {replayed:?}");
    let (again, ended) = replayed.ended.unwrap();
    assert_eq!((again, &ended.code), (phase, &failure.code), "{operation}");
    if failure.limit.is_none() {
        assert_eq!(ended.message, failure.message, "{operation}");
    }
}

#[track_caller]
fn check(operation: &str, phase: Phase, code: &str, batches: usize) {
    let input = [table(10), table(20), table(30), table(40)];
    check_with(limits(), operation, &input, phase, code, batches);
}

#[test]
fn failures_of_every_class_and_call_are_seen_again() {
    check("panic_in_plan", Phase::Plan, "trap/unreachable", 0);
    check("refuses", Phase::Plan, "guest/params", 0);
    check("plan_need", Phase::Plan, "contract/plan", 0);
    check("emit_in_open", Phase::Open, "contract/port", 0);
    check("panic", Phase::Process, "trap/unreachable", 1);
    check(
        "out_of_bounds",
        Phase::Process,
        "trap/memory-out-of-bounds",
        1,
    );
    check("memory", Phase::Process, "limit/guest-memory", 1);
    check("wrong_rows", Phase::Process, "contract/rows", 1);
    check("ansi", Phase::Process, "guest/data", 1);
    // With all that came before: these depend on it.
    check("fails_at_third", Phase::Process, "guest/data", 3);
    check("panics_at_third", Phase::Process, "trap/unreachable", 3);
    check("panics_in_finish", Phase::Finish, "trap/unreachable", 4);
    check("late_same_rows", Phase::Finish, "contract/rows", 4);
}

#[test]
fn a_limit_of_time_is_seen_again_although_it_is_never_the_same_time() {
    let impatient = Limits {
        call_cpu_ms_max: 150,
        ..limits()
    };
    for (operation, phase, batches) in [
        ("spin_in_plan", Phase::Plan, 0),
        ("spin_in_open", Phase::Open, 0),
        ("spin_in_process", Phase::Process, 1),
        ("spin_in_drain", Phase::Drain, 2),
    ] {
        let input = [table(10), table(20)];
        check_with(
            impatient.clone(),
            operation,
            &input,
            phase,
            "limit/guest-cpu",
            batches,
        );
    }
}

#[test]
fn of_an_operation_without_state_only_the_failing_batch_and_its_needed_columns_are_kept() {
    let input = [table(10), table(20), table(5)];
    check_with(
        limits(),
        "per_batch_fails",
        &input,
        Phase::Process,
        "guest/data",
        1,
    );
    let recording = Recording::new(limits(), |_| {});
    recording.fail("per_batch_fails", &input);
    let bytes = std::fs::read(recording.only()).unwrap();
    let holds = |needle: &[u8]| bytes.windows(needle.len()).any(|w| w == needle);
    assert!(holds(b"name 13"));
    let ids: Vec<u8> = (5..9_i64).flat_map(i64::to_le_bytes).collect();
    assert!(
        !holds(&ids),
        "a column that the plugin did not ask for is recorded"
    );
}

#[test]
fn columns_of_many_types_come_back_or_are_stood_in_for() {
    let fields = |with_text_at: usize| {
        let mut fields = vec![
            Field::new("a", DataType::Int64, false),
            Field::new(
                "words",
                DataType::Dictionary(DataType::UInt8.into(), DataType::Utf8.into()),
                false,
            ),
            Field::new("views", DataType::Utf8View, false),
            Field::new_struct("pair", vec![Field::new("x", DataType::Int64, false)], false),
            Field::new_fixed_size_list("two", Field::new("item", DataType::Int64, false), 2, false),
            Field::new("maybe", DataType::Int64, true),
        ];
        fields.insert(with_text_at, Field::new("text", DataType::Utf8, true));
        fields
    };
    let numbers = |rows: i64| Arc::new(Int64Array::from_iter_values(0..rows)) as ArrayRef;
    let batch = |rows: i64, with_text_at: usize| {
        let words: DictionaryArray<UInt8Type> = (0..rows)
            .map(|i| if i % 2 == 0 { "even" } else { "odd" })
            .collect();
        let pair = Field::new("x", DataType::Int64, false);
        let item = Field::new("item", DataType::Int64, false);
        let mut columns: Vec<ArrayRef> = vec![
            numbers(rows),
            Arc::new(words),
            Arc::new(
                (0..rows)
                    .map(|i| Some(format!("a view number {i}")))
                    .collect::<StringViewArray>(),
            ),
            Arc::new(StructArray::from(vec![(Arc::new(pair), numbers(rows))])),
            Arc::new(FixedSizeListArray::new(
                Arc::new(item),
                2,
                numbers(rows * 2),
                None,
            )),
            numbers(rows),
        ];
        let text: StringArray = (0..rows)
            .map(|i| (i % 7 != 3).then(|| format!("name {i}")))
            .collect();
        columns.insert(with_text_at, Arc::new(text));
        RecordBatch::try_new(Arc::new(Schema::new(fields(with_text_at))), columns).unwrap()
    };
    // Every column is kept.
    let input = [batch(3, 6), batch(4, 6), batch(5, 6)];
    check_with(
        limits(),
        "fails_at_third",
        &input,
        Phase::Process,
        "guest/data",
        3,
    );
    // Two are passed through and only the text is kept.
    let input = [batch(20, 1).project(&[0, 1]).unwrap()];
    check_with(
        limits(),
        "per_batch_fails",
        &input,
        Phase::Process,
        "guest/data",
        1,
    );
    for other in 2..6 {
        let columns = [other + 1, 1];
        let input = [batch(20, 1).project(&columns).unwrap()];
        check_with(
            limits(),
            "per_batch_fails",
            &input,
            Phase::Process,
            "guest/data",
            1,
        );
    }
}

#[test]
fn success_and_interruption_leave_nothing() {
    let recording = Recording::new(limits(), |_| {});
    let operation = resolve(&recording.sandbox, None, "count").unwrap();
    let plan = operation.plan(&json!({}), &[table(1).schema()]).unwrap();
    let plan = Arc::new(plan);
    let mut session = operation.open(&plan, &context(Cancel::default())).unwrap();
    assert!(drive(session.as_mut(), &[table(7)]).is_ok());
    let cancel = Cancel::default();
    let mut session = operation.open(&plan, &context(cancel.clone())).unwrap();
    cancel.cancel();
    assert!(drive(session.as_mut(), &[table(7)]).is_err());
    assert_eq!(recording.capsules(), Vec::<PathBuf>::new());
    assert!(recording.notices.lock().unwrap().is_empty());
}

#[test]
fn capsules_are_private_numbered_and_not_too_many() {
    let recording = Recording::new(limits(), |capture| capture.per_step_max = 2);
    for _ in 0..4 {
        recording.fail("panic", &[table(1)]);
    }
    let files = recording.capsules();
    let names = files
        .iter()
        .map(|f| f.file_name().unwrap().to_str().unwrap());
    assert_eq!(
        names.collect::<Vec<_>>(),
        ["run-node-1-1.odibi-replay", "run-node-1-2.odibi-replay"]
    );
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        (mode(&files[0]), mode(files[0].parent().unwrap())),
        (0o600, 0o700)
    );
    let notices = recording.notices.lock().unwrap();
    let last = notices.last().unwrap().capsule.clone().unwrap_err();
    assert_eq!((notices.len(), last.code.as_str()), (3, "capture/too-many"));
}

#[test]
fn what_is_too_large_or_must_not_be_kept_is_not_recorded_and_that_is_said() {
    for operation in ["fails_at_third", "per_batch_fails"] {
        let recording = Recording::new(limits(), |capture| capture.bytes_max = 100);
        let failure = recording.fail(operation, &[table(20), table(20), table(20)]);
        assert_eq!(
            (recording.given_up().as_str(), failure.code.as_str()),
            ("capture/too-large", "guest/data")
        );
        assert!(failure.hints.iter().all(|hint| !hint.contains("replay")));
    }
    let recording = Recording::new(limits(), |capture| {
        capture.may = Arc::new(|subject| {
            assert_eq!(subject.columns, [["name"]]);
            Permission::Refused {
                columns: vec!["name".to_owned()],
            }
        });
    });
    recording.fail("per_batch_fails", &[table(20)]);
    assert_eq!(recording.given_up(), "capture/refused");
    let recording = Recording::new(limits(), |capture| {
        std::fs::remove_dir(&capture.dir).unwrap();
        std::fs::write(&capture.dir, "in the way").unwrap();
    });
    recording.fail("panic", &[table(20)]);
    let notice = recording.notices.lock().unwrap()[0].capsule.clone();
    assert_eq!(notice.unwrap_err().code, "capture/not-written");
}

#[test]
fn capsules_cut_short_or_changed_anywhere_are_named_failures() {
    let recording = Recording::new(limits(), |_| {});
    recording.fail("fails_at_third", &[table(100), table(10), table(10)]);
    let path = recording.only();
    let sound = std::fs::read(&path).unwrap();
    assert!(sound.len() > 5_000, "{}", sound.len());
    let refused = |bytes: &[u8], what: &str| {
        let spoilt = path.with_extension("spoilt");
        std::fs::write(&spoilt, bytes).unwrap();
        let failure = Capsule::read(&spoilt).err();
        let failure = failure.unwrap_or_else(|| panic!("{what}: it was read"));
        assert_eq!(failure.code, "replay/damaged", "{what}: {failure}");
    };
    for end in (0..sound.len()).step_by(100).chain([sound.len() - 1]) {
        refused(&sound[..end], &format!("cut at {end}"));
    }
    for at in (0..sound.len()).step_by(97) {
        let mut spoilt = sound.clone();
        spoilt[at] ^= 0x11;
        refused(&spoilt, &format!("changed at {at}"));
    }
    refused(&[sound.as_slice(), b"more"].concat(), "longer");
    let missing = Capsule::read(&path.with_extension("nowhere")).unwrap_err();
    assert_eq!(missing.code, "replay/missing");
    assert!(Capsule::read(&path).is_ok());
}

/// Rewrites a capsule and seals it again, as a stranger could.
fn forged(path: &Path, from: &[u8], to: &[u8]) -> Result<Capsule, Failure> {
    use sha2::{Digest as _, Sha256};
    assert_eq!(from.len(), to.len());
    let mut bytes = std::fs::read(path).unwrap();
    let found: Vec<usize> = (0..bytes.len() - from.len())
        .filter(|at| bytes[*at..].starts_with(from))
        .collect();
    assert!(!found.is_empty(), "{}", String::from_utf8_lossy(from));
    for at in found {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    let end = bytes.len() - 32;
    let digest = Sha256::digest(&bytes[..end - 9]);
    bytes[end..].copy_from_slice(&digest);
    let forged = path.with_extension("forged");
    std::fs::write(&forged, bytes).unwrap();
    Capsule::read(&forged)
}

#[test]
fn forged_capsules_are_named_failures() {
    let recording = Recording::new(limits(), |_| {});
    recording.fail("fails_at_third", &[table(100), table(10), table(10)]);
    let path = recording.only();
    let newer = forged(&path, b"\"format_version\": 1", b"\"format_version\": 9");
    assert_eq!(newer.unwrap_err().code, "replay/version");
    let other = forged(&path, b"\"phase\": \"process\"", b"\"phase\":  \"finish\"");
    assert_eq!(other.unwrap_err().code, "replay/damaged");
    // The gate reads what was recorded: bytes of a stranger, like those of a guest.
    for (from, to) in [
        (&b"name 18"[..], &b"name \xff\xff"[..]),
        (&[0xff, 0xff, 0xff, 0xff][..], &[0xff, 0xff, 0xff, 0x7f][..]),
    ] {
        let replayed =
            forged(&path, from, to).and_then(|capsule| replay_with(&capsule, component().to_vec()));
        assert_eq!(replayed.unwrap_err().code, "replay/damaged");
    }
}

#[test]
fn another_outcome_is_not_the_same() {
    let recording = Recording::new(limits(), |_| {});
    recording.fail("fails_at_third", &[table(100), table(10), table(10)]);
    let path = recording.only();
    // It is recorded as another message, class, or operation.
    for (from, to) in [
        (&b"\"batch 3 came,"[..], &b"\"batch 4 came,"[..]),
        (b"\"code\": \"guest/data\"", b"\"code\": \"guest/dada\""),
        (b"\"fails_at_third\"", b"\"copy\"          "),
    ] {
        let capsule = forged(&path, from, to).unwrap();
        let replayed = replay_with(&capsule, component().to_vec()).unwrap();
        assert!(!replayed.same, "{replayed:?}");
    }
}

#[test]
fn another_component_is_refused_unless_any_will_do() {
    let recording = Recording::new(limits(), |_| {});
    recording.fail("panic", &[table(1)]);
    let capsule = Capsule::read(&recording.only()).unwrap();
    let source = |name: &str, bytes: &[u8]| ComponentSource {
        name: name.to_owned(),
        bytes: bytes.to_vec().into(),
        manifest: None,
    };
    let same = [source("whatever its name", component())];
    assert!(capsule.component(&same, None, false).is_ok());
    let other = [source("odibi-hostile", b"another")];
    let code = |result: Result<ComponentSource, Failure>| result.map_err(|f| f.code).map(|_| ());
    assert_eq!(
        code(capsule.component(&other, None, false)),
        Err("replay/other-plugin".to_owned())
    );
    assert_eq!(code(capsule.component(&other, None, true)), Ok(()));
    assert_eq!(
        code(capsule.component(&[], None, true)),
        Err("replay/no-plugin".to_owned())
    );
    let file = recording.dir.path().join("other.wasm");
    std::fs::write(&file, b"another").unwrap();
    assert_eq!(
        code(capsule.component(&same, Some(&file), false)),
        Err("replay/other-plugin".to_owned())
    );
    std::fs::write(&file, component()).unwrap();
    assert_eq!(code(capsule.component(&[], Some(&file), false)), Ok(()));
}

#[test]
fn a_capsule_cannot_raise_the_limits_it_is_replayed_under() {
    let recording = Recording::new(limits(), |_| {});
    recording.fail("panic", &[table(1)]);
    let path = recording.only();
    assert_eq!(Capsule::read(&path).unwrap().limits(), limits());
    let raised = forged(
        &path,
        b"\"memory_bytes_max\": 100663296",
        b"\"memory_bytes_max\": 999999999",
    );
    let expected = Limits {
        memory_bytes_max: Limits::default().memory_bytes_max,
        ..limits()
    };
    assert_eq!(raised.unwrap().limits(), expected);
}

#[test]
fn a_capsule_of_very_many_parts_is_refused() {
    use sha2::{Digest as _, Sha256};
    let recording = Recording::new(limits(), |_| {});
    recording.fail("panics_in_finish", &[table(1)]);
    let path = recording.only();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.truncate(bytes.len() - 32 - 9);
    for _ in 0..1 << 20 {
        bytes.extend([b'F', 0, 0, 0, 0, 0, 0, 0, 0]);
    }
    let digest = Sha256::digest(&bytes);
    bytes.extend([b'E', 32, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend(digest);
    let many = path.with_extension("many");
    std::fs::write(&many, bytes).unwrap();
    let failure = Capsule::read(&many).err();
    let failure = failure.expect("it must be refused");
    assert_eq!(failure.code, "replay/damaged");
    assert!(failure.message.contains("more parts"), "{failure}");
}

#[test]
fn a_component_that_is_no_regular_file_is_not_opened() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let recording = Recording::new(limits(), |_| {});
    recording.fail("panic", &[table(1)]);
    let capsule = Capsule::read(&recording.only()).unwrap();
    let pipe = recording.dir.path().join("pipe.wasm");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR, 0).unwrap();
    // The pipe last: who opens it waits for ever.
    for path in [Path::new("/dev/null"), recording.dir.path(), &pipe] {
        let failure = capsule.component(&[], Some(path), true).unwrap_err();
        assert_eq!(failure.code, "plugin/missing");
        assert!(failure.message.contains("no regular file"), "{failure}");
    }
}
