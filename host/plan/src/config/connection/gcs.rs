//! `type: gcs`.
//!
//! ```yaml
//! connections:
//!   lake: {type: gcs, bucket: acme-raw, service_account_file: key.json}
//! ```

use super::super::reader::{Reader, words};
use super::url::{self, Server};
use super::{bucket, path_prefix, required, required_secret};
use crate::plan::{ConnectionKind, Gcs, GcsAuth};

#[derive(Clone, Copy)]
enum Mode {
    KeyFile,
    Key,
    Environment,
    Anonymous,
}

const MODES: [(&str, Mode); 4] = [
    ("service_account_file", Mode::KeyFile),
    ("service_account_key", Mode::Key),
    ("environment", Mode::Environment),
    ("none", Mode::Anonymous),
];

/// The words of `mode`.
pub(in crate::config) fn modes() -> Vec<&'static str> {
    words(&MODES)
}

pub(super) fn read(mut reader: Reader<'_>) -> Option<ConnectionKind> {
    let bucket = bucket(&mut reader, &["bucket", "bucket_name"], 3..=222, "-._");
    let prefix = path_prefix(&mut reader);
    let server = url::endpoint(&mut reader);
    let auth = match reader.mapping("auth") {
        Some(mut under) => {
            let auth = auth(&mut under, "mode");
            under.finish();
            auth
        }
        None => auth(&mut reader, "auth_mode"),
    };
    reader.finish_with(&[
        ("prefix", "path_prefix"),
        ("credentials", "service_account_file"),
        ("service_account", "service_account_file"),
        ("service_account_path", "service_account_file"),
    ]);
    let Server { url, allow_http } = server?;
    Some(ConnectionKind::Gcs(Box::new(Gcs {
        bucket: bucket?,
        path_prefix: prefix?,
        endpoint: url,
        allow_http,
        auth: auth?,
    })))
}

fn auth(reader: &mut Reader<'_>, mode_key: &'static str) -> Option<GcsAuth> {
    let mode = match reader.text(mode_key) {
        Some(word) => reader.choice(&word, mode_key, &MODES, &[])?,
        None if reader.optional("service_account_file").is_some() => Mode::KeyFile,
        None if reader.optional("service_account_key").is_some() => Mode::Key,
        None => Mode::Environment,
    };
    Some(match mode {
        Mode::KeyFile => {
            GcsAuth::ServiceAccountFile(required(reader, "service_account_file")?.value)
        }
        Mode::Key => GcsAuth::ServiceAccountKey(required_secret(reader, "service_account_key")?),
        Mode::Environment => GcsAuth::Environment,
        Mode::Anonymous => GcsAuth::Anonymous,
    })
}
