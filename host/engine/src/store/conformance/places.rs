//! The stores that the cases run against, and the servers behind them.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use odibi_plan::plan::{
    AzureAuth, AzureBlob, Connection, ConnectionKind, Gcs, GcsAuth, HttpAuth, HttpFiles, S3,
    S3Auth, Secret,
};
use odibi_story::failure::Failure;
use serde_json::Value;
use tempfile::TempDir;

use crate::store::{Expect, Purpose, Store, Stores};

/// A service account whose token is never asked for.
const GCS_KEY: &str = r#"{"private_key": "hunter2-gcs", "private_key_id": "k", "client_email": "", "disable_oauth": true}"#;
const S3_SECRET: &str = "hunter2-s3";
const WRONG_KEY: &str = "aHVudGVyMi1henVyZS1rZXktdGhhdC1pcy13cm9uZw==";

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// A store with a root of its own, inside a bucket or directory that can be looked into as a whole.
pub(super) struct Place {
    pub(super) name: &'static str,
    pub(super) store: Arc<dyn Store>,
    /// Of the root in what lies around it.
    pub(super) prefix: String,
    around: Arc<dyn Store>,
    _dir: TempDir,
}

impl Place {
    /// Everything of this test that lies anywhere.
    pub(super) fn all(&self) -> Vec<String> {
        let own = self.prefix.split('/').next().unwrap();
        let everything = self.around.list("").unwrap().into_iter();
        // Of the bucket, other tests write other parts.
        everything
            .map(|stat| stat.path)
            .filter(|path| path.starts_with(own) || !path.starts_with("test-"))
            .collect()
    }

    /// Puts there what some programs put for a directory.
    pub(super) fn mark(&self, path: &str) {
        let key = format!("{}/{path}/", self.prefix).replace(' ', "%20");
        match self.name {
            "local" => {
                std::fs::create_dir_all(self._dir.path().join(&self.prefix).join(path)).unwrap()
            }
            "s3" => raw_put(&server("s3"), &format!("/{}/{key}", server("bucket"))),
            "gcs" => raw_put(&server("gcs"), &format!("/{}/{key}", server("bucket"))),
            _ => {}
        }
    }
}

pub(super) fn places() -> Vec<Place> {
    vec![
        local(),
        place("s3", s3),
        place("azure", azure),
        place("azure, by a signature", azure_signed),
        place("gcs", gcs),
    ]
}

/// A store in Azure, and the same for somebody whose signature lets him read and list.
pub(super) fn with_reader() -> (Place, Arc<dyn Store>) {
    let place = place("azure", azure);
    let auth = AzureAuth::Sas(Secret::new(server("azure_sas_reader")));
    let reader = azure_of(&server("azure"), &place.prefix, &server("bucket"), auth);
    let reader = open(reader, &place._dir);
    (place, reader)
}

/// Connections to S3 and Azure whose paths begin at a directory of their own.
pub(crate) fn connections() -> Vec<Connection> {
    let made = [s3(&fresh()), azure(&fresh())];
    made.map(named).into()
}

/// To S3 and to Azure, each through what `relay` puts before a server, and the same without it.
pub(crate) fn connections_at(relay: impl Fn(&str) -> String) -> [(Connection, Connection); 2] {
    let (prefix, azure_prefix) = (fresh(), fresh());
    let before_s3 = s3_at(&relay(&server("s3")), &server("bucket"), &prefix);
    let url = server("azure");
    let (origin, account) = url.rsplit_once('/').unwrap();
    let before_azure = azure_at(&format!("{}/{account}", relay(origin)), &azure_prefix);
    [
        (named(before_s3), named(s3(&prefix))),
        (named(before_azure), named(azure(&azure_prefix))),
    ]
}

fn fresh() -> String {
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("test-{}-{number}/in ner", std::process::id())
}

fn local() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let stores = Stores::new(dir.path(), dir.path());
    let open = |base_path: &str| {
        let kind = ConnectionKind::Local {
            base_path: base_path.into(),
        };
        stores.open(&named(kind), Purpose::Write).unwrap()
    };
    let prefix = fresh();
    Place {
        name: "local",
        store: open(&prefix),
        around: open("."),
        prefix,
        _dir: dir,
    }
}

fn place(name: &'static str, kind: fn(&str) -> ConnectionKind) -> Place {
    let dir = tempfile::tempdir().unwrap();
    let prefix = fresh();
    let store = open(kind(&prefix), &dir);
    Place {
        name,
        store,
        around: open(kind(""), &dir),
        prefix,
        _dir: dir,
    }
}

pub(super) fn open(kind: ConnectionKind, dir: &TempDir) -> Arc<dyn Store> {
    let stores = Stores::new(dir.path(), dir.path());
    stores.open(&named(kind), Purpose::Read).unwrap()
}

pub(super) fn named(kind: ConnectionKind) -> Connection {
    Connection {
        name: "c".into(),
        kind,
    }
}

fn s3(prefix: &str) -> ConnectionKind {
    s3_at(&server("s3"), &server("bucket"), prefix)
}

pub(super) fn s3_at(endpoint: &str, bucket: &str, prefix: &str) -> ConnectionKind {
    ConnectionKind::S3(Box::new(S3 {
        bucket: bucket.into(),
        region: Some("eu-central-1".into()),
        endpoint: Some(endpoint.into()),
        path_prefix: prefix.into(),
        allow_http: true,
        virtual_hosted: false,
        auth: S3Auth::Keys {
            access_key_id: "id".into(),
            secret_access_key: Secret::new(S3_SECRET),
            session_token: None,
        },
    }))
}

fn azure(prefix: &str) -> ConnectionKind {
    azure_with(prefix, &server("bucket"), &server("azure_key"))
}

pub(super) fn azure_at(endpoint: &str, prefix: &str) -> ConnectionKind {
    let auth = AzureAuth::AccountKey(Secret::new(server("azure_key")));
    azure_of(endpoint, prefix, &server("bucket"), auth)
}

fn azure_with(prefix: &str, container: &str, key: &str) -> ConnectionKind {
    let auth = AzureAuth::AccountKey(Secret::new(key));
    azure_of(&server("azure"), prefix, container, auth)
}

/// By a signature for the container.
fn azure_signed(prefix: &str) -> ConnectionKind {
    let auth = AzureAuth::Sas(Secret::new(server("azure_sas")));
    azure_of(&server("azure"), prefix, &server("bucket"), auth)
}

/// By the signature of a reader that was changed to let in a writer.
fn azure_forged() -> ConnectionKind {
    let forged = server("azure_sas_reader").replace("sp=rl", "sp=racwdl");
    let auth = AzureAuth::Sas(Secret::new(forged));
    azure_of(&server("azure"), "", &server("bucket"), auth)
}

fn azure_of(endpoint: &str, prefix: &str, container: &str, auth: AzureAuth) -> ConnectionKind {
    ConnectionKind::Azure(Box::new(AzureBlob {
        account: server("azure_account"),
        container: container.into(),
        path_prefix: prefix.into(),
        endpoint: Some(endpoint.into()),
        allow_http: true,
        auth,
    }))
}

fn gcs(prefix: &str) -> ConnectionKind {
    gcs_in(&server("bucket"), prefix)
}

fn gcs_in(bucket: &str, prefix: &str) -> ConnectionKind {
    ConnectionKind::Gcs(Box::new(Gcs {
        bucket: bucket.into(),
        path_prefix: prefix.into(),
        endpoint: Some(server("gcs")),
        allow_http: true,
        auth: GcsAuth::ServiceAccountKey(Secret::new(GCS_KEY)),
    }))
}

pub(super) fn web(auth: HttpAuth) -> ConnectionKind {
    ConnectionKind::Http(Box::new(HttpFiles {
        base_url: server("web"),
        headers: Vec::new(),
        auth,
    }))
}

/// Stores that refuse, a path to try, and the codes of reading and writing.
pub(super) fn shaky() -> Vec<(Arc<dyn Store>, &'static str, &'static str, &'static str)> {
    let dir = tempfile::tempdir().unwrap();
    let bucket = server("bucket");
    // moto lets everybody in: denied are Azure and the stub.
    let denied = [
        azure_with("", &bucket, WRONG_KEY),
        azure_forged(),
        gcs_in(&bucket, "denied"),
    ];
    let missing = [
        s3_at(&server("s3"), "no-such-bucket", ""),
        azure_with("", "no-such-container", &server("azure_key")),
        gcs_in("no-such-bucket", ""),
    ];
    let denied = denied.map(|kind| (open(kind, &dir), "t", "read/denied", "write/denied"));
    let missing = missing.map(|kind| (open(kind, &dir), "t", "read/missing", "read/missing"));
    // The scratch directory has to live as long as they do; it is small.
    std::mem::forget(dir);
    denied.into_iter().chain(missing).collect()
}

#[track_caller]
pub(super) fn shows_no_secret(failure: &Failure) {
    let shown = format!("{failure:?}");
    for secret in ["hunter2", WRONG_KEY, &server("azure_key")] {
        assert!(!shown.contains(secret), "{shown}");
    }
    for token in ["azure_sas", "azure_sas_reader"].map(server) {
        let (_, signature) = token.rsplit_once("sig=").unwrap();
        // The same whether it is written for a URL or not.
        let plain = signature.split('%').filter_map(|part| part.get(2..));
        let longest = plain.max_by_key(|part| part.len()).unwrap();
        assert!(longest.len() > 6 && !shown.contains(longest), "{shown}");
    }
}

fn raw_put(url: &str, path: &str) {
    let host = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    write!(
        stream,
        "PUT {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// Where a server listens, or another word of its description.
#[allow(
    clippy::disallowed_methods,
    reason = "the test script says there how to start them"
)]
pub(super) fn server(word: &str) -> String {
    static SERVERS: OnceLock<(Child, Value)> = OnceLock::new();
    let (_, places) = SERVERS.get_or_init(|| {
        let script = std::env::var_os("ODIBI_TEST_SERVERS").map(PathBuf::from);
        let script = script.expect("ODIBI_TEST_SERVERS is not set: run `tests/run --lib store`, which installs the servers");
        // They end with their standard input, which this process holds to its end.
        let mut command = Command::new(script);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the servers of the stores do not start");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let places = serde_json::from_str(&line).expect("the servers of the stores do not start");
        (child, places)
    });
    places[word].as_str().unwrap().to_owned()
}

/// A marker as a data lake with a hierarchical namespace has it is tested where Azure is: see `mark`.
pub(super) fn write(store: &dyn Store, path: &str, text: &str) {
    let mut upload = store.create(path).unwrap();
    upload.writer().unwrap().write_all(text.as_bytes()).unwrap();
    upload.put(&Expect::Anything).unwrap();
}
