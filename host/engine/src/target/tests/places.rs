//! A batch belongs to the place that it was written to, whatever the connection is called.

use odibi_plan::plan::{AzureAuth, AzureBlob, Connection, ConnectionKind, S3, S3Auth, Secret};

use super::*;
use crate::store::Stores;

fn local(base_path: &str) -> Connection {
    Connection {
        name: "local".into(),
        kind: ConnectionKind::Local {
            base_path: base_path.into(),
        },
    }
}

/// Of a file below `data`, as the log of batches names it.
pub(super) fn name(house: &House, path: &str) -> String {
    let data = house.path("");
    let project = data.parent().unwrap();
    let stores = Stores::new(project, project);
    stores.name_of_place(&local("data"), path).unwrap()
}

#[test]
fn another_place_under_the_same_name_gets_its_rows() {
    for kind in KINDS {
        for mode in [
            WriteMode::Append,
            WriteMode::AppendOnce(None),
            once_keyed(),
            upsert(),
        ] {
            let house = House::new();
            house.put("a.csv", "id\n1\n");
            house.put("b.csv", "id\n2\n");
            let run = |source: &str, base_path: &str| {
                let mut node = kind.node(source, mode.clone());
                node.write.as_mut().unwrap().connection = local(base_path);
                let facts = house.run_in("1", &node);
                effect(&facts.unwrap_or_else(|failure| panic!("{kind:?}: {failure:?}")))
            };
            let both = ["data/dev", "data/prod"];
            // In both lies something before. A text is known by what it was when odibi met it.
            if kind == Kind::Csv {
                house.put("dev/t", "id\n9\n");
                house.put("prod/t", "id\n9\n");
            } else {
                assert_eq!(both.map(|to| run("b.csv", to)), [WriteEffect::Published; 2]);
            }
            let effects = both.map(|to| run("a.csv", to));
            assert_eq!(effects, [WriteEffect::Published; 2], "{kind:?} {mode:?}");
            let again = both.map(|to| run("a.csv", to));
            assert_eq!(again, [WriteEffect::AlreadyApplied; 2], "{kind:?} {mode:?}");
        }
    }
}

#[test]
fn what_was_noted_under_the_name_of_the_connection_counts() {
    for kind in KINDS {
        let log = Arc::new(MemoryBatchLog::default());
        let house = House::new().log(Arc::<MemoryBatchLog>::clone(&log));
        house.put("a.csv", "id\n1\n");
        let node = kind.node("a.csv", WriteMode::AppendOnce(None));
        let first = house.run_in("1", &node).unwrap();
        let batch = first.write.unwrap().batch;
        // As an earlier version has left it.
        let name = name(&house, "t");
        log.adopt(&name, "local:t").unwrap();
        assert_eq!(log.find(&name, &batch), Ok(None));
        let facts = house.run_in("2", &node).unwrap();
        assert_eq!(effect(&facts), WriteEffect::AlreadyApplied, "{kind:?}");
        assert!(log.find(&name, &batch).unwrap().is_some());
        assert_eq!(log.find("local:t", &batch), Ok(None));
        assert_eq!(kind.rows(&house), ["1"]);
    }
}

#[test]
fn one_place_has_one_name_and_no_other_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let project = dir.path().join("project");
    for root in ["data/dev", "data/prod"] {
        std::fs::create_dir_all(project.join(root)).unwrap();
    }
    std::os::unix::fs::symlink(project.join("data/dev"), project.join("now")).unwrap();
    let stores = Stores::new(&project, &project);
    let name = |root: &str, path: &str| stores.name_of_place(&local(root), path).unwrap();
    let dev = name("data/dev", "a/t.csv");
    assert!(dev.starts_with("t.csv@") && dev.len() == 6 + 32, "{dev}");
    let absolute = project.join("data/dev");
    assert_eq!(name(absolute.to_str().unwrap(), "a/t.csv"), dev);
    assert_eq!(name("now", "a/t.csv"), dev);
    assert_eq!(name("data/../data/", "dev/a/t.csv"), dev);
    assert_ne!(name("data/prod", "a/t.csv"), dev);
    assert_ne!(name("data/dev", "b/t.csv"), dev);
    std::fs::remove_file(project.join("now")).unwrap();
    std::os::unix::fs::symlink(project.join("data/prod"), project.join("now")).unwrap();
    assert_eq!(name("now", "a/t.csv"), name("data/prod", "a/t.csv"));
    assert_eq!(name(".", "now/a/t.csv"), name("data/prod", "a/t.csv"));
    std::fs::create_dir(project.join("data/prod/dir")).unwrap();
    std::os::unix::fs::symlink("prod/dir", project.join("data/link")).unwrap();
    assert_eq!(name("data", "link"), name("data/prod", "dir"));
    // What a write makes, or replaces, changes no name.
    let before = name("data", "new/er/t.csv");
    std::fs::create_dir_all(project.join("data/new/er")).unwrap();
    std::os::unix::fs::symlink("elsewhere", project.join("data/new/er/t.csv")).unwrap();
    assert_eq!(name("data", "new/er/t.csv"), before);
}

/// The directory is copied or mounted somewhere else, with all that is remembered.
#[test]
fn places_in_a_project_move_with_its_state() {
    let dir = tempfile::tempdir().unwrap();
    let outside = dir.path().join("outside");
    std::fs::create_dir_all(&outside).unwrap();
    let names = |project: &str, state: Option<&str>| {
        let project = dir.path().join(project);
        for inside in ["data", ".odibi"] {
            std::fs::create_dir_all(project.join(inside)).unwrap();
        }
        let state = state.map(|state| project.join(state));
        let stores = Stores::new(&project, &project).with_state_dir(state);
        ["data", outside.to_str().unwrap()]
            .map(|root| stores.name_of_place(&local(root), "t").unwrap())
    };
    let beside = Some(".odibi");
    assert_eq!(names("here", beside), names("there", beside));
    // Of a state elsewhere several projects may have written.
    for state in [Some("../outside"), None] {
        let (here, there) = (names("here", state), names("there", state));
        assert_ne!(here[0], there[0], "{state:?}");
        assert_eq!(here[1], there[1], "{state:?}");
    }
}

#[test]
fn objects_are_known_by_server_and_key_and_not_by_who_is_let_in() {
    let s3 = |bucket: &str, endpoint: Option<&str>, path_prefix: &str, key: &str| Connection {
        name: "lake".into(),
        kind: ConnectionKind::S3(Box::new(S3 {
            bucket: bucket.into(),
            region: None,
            endpoint: endpoint.map(str::to_owned),
            path_prefix: path_prefix.into(),
            allow_http: false,
            virtual_hosted: false,
            auth: S3Auth::Keys {
                access_key_id: key.into(),
                secret_access_key: Secret::new(key),
                session_token: None,
            },
        })),
    };
    let azure = |account: &str, container: &str, key: &str| Connection {
        name: "lake".into(),
        kind: ConnectionKind::Azure(Box::new(AzureBlob {
            account: account.into(),
            container: container.into(),
            path_prefix: String::new(),
            endpoint: None,
            allow_http: false,
            auth: AzureAuth::AccountKey(Secret::new(key)),
        })),
    };
    let dir = tempfile::tempdir().unwrap();
    let stores = Stores::new(dir.path(), dir.path());
    let name = |connection: Connection, path: &str| {
        let name = stores.name_of_place(&connection, path);
        name.unwrap()
    };
    let server = Some("https://s3.example");
    let places = [
        name(s3("raw", None, "", "k"), "t"),
        name(s3("prod", None, "", "k"), "t"),
        name(s3("raw", server, "", "k"), "t"),
        name(s3("raw", None, "prod", "k"), "t"),
        name(azure("acme", "raw", "k"), "t"),
        name(azure("other", "raw", "k"), "t"),
        name(azure("acme", "prod", "k"), "t"),
    ];
    let different: std::collections::BTreeSet<&String> = places.iter().collect();
    assert_eq!(different.len(), places.len());
    assert_eq!(name(s3("raw", None, "", "new"), "t"), places[0]);
    assert_eq!(name(azure("acme", "raw", "new"), "t"), places[4]);
    // One server has many spellings.
    for server in [
        "https://s3.amazonaws.com",
        "https://S3.eu-west-1.amazonaws.com:443",
    ] {
        assert_eq!(name(s3("raw", Some(server), "", "k"), "t"), places[0]);
    }
    for server in ["https://S3.Example", "https://s3.example:443"] {
        assert_eq!(name(s3("raw", Some(server), "", "k"), "t"), places[2]);
    }
    for server in [
        "http://s3.example",
        "https://s3.example:444",
        "https://s3.example/a",
    ] {
        assert_ne!(name(s3("raw", Some(server), "", "k"), "t"), places[2]);
    }
    let mut named = azure("acme", "raw", "k");
    if let ConnectionKind::Azure(azure) = &mut named.kind {
        azure.endpoint = Some("https://acme.blob.core.windows.net".to_owned());
    }
    assert_eq!(name(named, "t"), places[4]);
    let (above, below) = (s3("raw", None, "", "k"), s3("raw", None, "a/b", "k"));
    assert_eq!(name(above, "a/b/t"), name(below, "t"));
}
