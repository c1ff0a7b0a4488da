//! `type: s3`.
//!
//! ```yaml
//! connections:
//!   lake: {type: s3, bucket: acme-raw, region: eu-central-1, path_prefix: sales}
//! ```

use super::super::reader::{Reader, words};
use super::url::{self, Server};
use super::{bucket, filled, path_prefix, required, required_secret, secret};
use crate::plan::{ConnectionKind, S3, S3Auth};

#[derive(Clone, Copy)]
enum Mode {
    Keys,
    Environment,
    Anonymous,
}

const MODES: [(&str, Mode); 3] = [
    ("keys", Mode::Keys),
    ("environment", Mode::Environment),
    ("none", Mode::Anonymous),
];

/// The words of `mode`.
pub(in crate::config) fn modes() -> Vec<&'static str> {
    words(&MODES)
}

pub(super) fn read(mut reader: Reader<'_>) -> Option<ConnectionKind> {
    let bucket = bucket(&mut reader, &["bucket", "bucket_name"], 3..=63, "-._");
    let region = filled(&mut reader, "region").map(|text| text.value);
    let prefix = path_prefix(&mut reader);
    let server = url::endpoint(&mut reader);
    let virtual_hosted = reader.boolean("virtual_hosted", false);
    let auth = match reader.mapping("auth") {
        Some(mut under) => {
            let auth = auth(&mut under, "mode");
            under.finish_with(&KEYS_MEANT);
            auth
        }
        None => auth(&mut reader, "auth_mode"),
    };
    reader.finish_with(&[
        ("prefix", "path_prefix"),
        ("endpoint_url", "endpoint"),
        KEYS_MEANT[0],
        KEYS_MEANT[1],
        KEYS_MEANT[2],
    ]);
    let Server { url, allow_http } = server?;
    Some(ConnectionKind::S3(Box::new(S3 {
        bucket: bucket?,
        region,
        endpoint: url,
        path_prefix: prefix?,
        allow_http,
        virtual_hosted,
        auth: auth?,
    })))
}

const KEYS_MEANT: [(&str, &str); 3] = [
    ("access_key", "access_key_id"),
    ("secret_key", "secret_access_key"),
    ("token", "session_token"),
];

fn auth(reader: &mut Reader<'_>, mode_key: &'static str) -> Option<S3Auth> {
    let mode = match reader.text(mode_key) {
        Some(word) => reader.choice(&word, mode_key, &MODES, &[])?,
        None if reader.optional("access_key_id").is_some()
            || reader.optional("secret_access_key").is_some() =>
        {
            Mode::Keys
        }
        None => Mode::Environment,
    };
    Some(match mode {
        Mode::Environment => S3Auth::Environment,
        Mode::Anonymous => S3Auth::Anonymous,
        Mode::Keys => {
            let id = required(reader, "access_key_id");
            let key = required_secret(reader, "secret_access_key");
            S3Auth::Keys {
                session_token: secret(reader, "session_token"),
                access_key_id: id?.value,
                secret_access_key: key?,
            }
        }
    })
}
