//! What an error of a store means, and what may be said of it: never a credential.

use std::error::Error as _;

use object_store::Error;
use object_store::client::{HttpError, HttpErrorKind};
use odibi_plan::plan::{AzureAuth, ConnectionKind, GcsAuth, HttpAuth, S3Auth, Secret};
use odibi_story::failure::{Failure, FailureClass, code};

use crate::failure::During;

/// Characters of what a store said that a failure repeats.
const CAUSE_CHARS_MAX: usize = 300;

/// The closed list of what can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// 404.
    Missing,
    /// 401 and 403.
    Denied,
    /// 409 and 412: something else is there.
    Changed,
    /// Timeouts, resets, 408, 429, 5xx: another time it may work.
    Transient,
    /// The server cannot do it: no ranges, no lists, no such method.
    Unsupported,
    /// Every other answer: it will be the same another time.
    Refused,
}

#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "the crate's errors may become more"
)]
impl Fault {
    pub(super) fn of(error: &Error) -> Self {
        match error {
            Error::NotFound { .. } => Self::Missing,
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => Self::Denied,
            Error::AlreadyExists { .. } | Error::Precondition { .. } => Self::Changed,
            Error::NotSupported { .. } | Error::NotImplemented { .. } => Self::Unsupported,
            Error::Generic { .. } => Self::of_generic(error),
            _ => Self::Refused,
        }
    }

    fn of_generic(error: &Error) -> Self {
        let mut texts = vec![error.to_string()];
        let mut next = error.source();
        while let Some(at) = next {
            if let Some(http) = at.downcast_ref::<HttpError>() {
                return match http.kind() {
                    HttpErrorKind::Decode => Self::Refused,
                    _ => Self::Transient,
                };
            }
            texts.push(at.to_string());
            next = at.source();
        }
        // The crate keeps the type of this error to itself.
        let status = texts.iter().find_map(|text| {
            let (_, rest) = text.split_once("status code: ")?;
            rest.get(..3)?.parse::<u16>().ok()
        });
        match status {
            Some(404) => Self::Missing,
            Some(401 | 403) => Self::Denied,
            Some(409 | 412) => Self::Changed,
            Some(405 | 501) => Self::Unsupported,
            // The blocks of an upload are gone, since somebody else has written.
            Some(400) if texts.iter().any(|text| text.contains("InvalidBlockList")) => {
                Self::Transient
            }
            Some(408 | 425 | 429 | 500..) => Self::Transient,
            Some(_) => Self::Refused,
            None if texts.iter().any(|t| t.contains("error response: ")) => Self::Transient,
            None if texts
                .iter()
                .any(|t| t.contains("Content-Length") || t.contains("artial")) =>
            {
                Self::Unsupported
            }
            None => Self::Refused,
        }
    }

    pub(super) fn failure(self, error: &Error, during: During<'_>, scrub: &Scrub) -> Failure {
        let (class, code) = match (self, during) {
            (Self::Missing, During::Write(_)) => (FailureClass::Missing, code::WRITE_BAD_TARGET),
            (Self::Missing, _) => (FailureClass::Missing, code::READ_MISSING),
            (Self::Denied, During::Write(_)) => (FailureClass::Denied, code::WRITE_DENIED),
            (Self::Denied, _) => (FailureClass::Denied, code::READ_DENIED),
            (Self::Changed, During::Write(_)) => (FailureClass::Conflict, code::WRITE_FAILED),
            (Self::Transient, During::Write(_)) => (FailureClass::Transient, code::WRITE_FAILED),
            // What was read belongs to another version: the next attempt begins anew.
            (Self::Changed | Self::Transient, _) => (FailureClass::Transient, code::READ_FAILED),
            (Self::Unsupported | Self::Refused, During::Write(_)) => {
                (FailureClass::Denied, code::WRITE_DENIED)
            }
            (Self::Unsupported | Self::Refused, _) => (FailureClass::Denied, code::READ_DENIED),
        };
        let message = match during {
            During::Read(file) if self == Self::Changed => {
                format!("`{file}` changed while it was read")
            }
            During::Read(file) if self == Self::Missing => format!("no such file: `{file}`"),
            During::Read(file) => format!("cannot read `{file}`"),
            During::Write(file) => format!("cannot write `{file}`"),
            During::Scratch | During::Run => "a store cannot be reached".to_owned(),
        };
        let failure = Failure::new(class, code, message).cause(scrub.clean(error));
        match self {
            Self::Denied => failure.hint(
                "check the credentials of the connection, and what they are allowed to do; `odibi doctor` tries them",
            ),
            Self::Refused => failure.hint("check the keys of the connection; `odibi doctor` tries them"),
            Self::Missing | Self::Changed | Self::Transient | Self::Unsupported => failure,
        }
    }
}

/// The bucket is not there.
pub(super) fn no_bucket(kind: &ConnectionKind, connection: &str) -> Failure {
    let (what, name) = match kind {
        ConnectionKind::Azure(azure) => ("container", azure.container.as_str()),
        ConnectionKind::S3(s3) => ("bucket", s3.bucket.as_str()),
        ConnectionKind::Gcs(gcs) => ("bucket", gcs.bucket.as_str()),
        ConnectionKind::Http(_) | ConnectionKind::Local { .. } => ("root", ""),
    };
    let message = format!("the {what} of connection `{connection}` does not exist: `{name}`");
    Failure::new(FailureClass::Missing, code::READ_MISSING, message)
        .hint(format!("create it, or correct `{what}` of the connection"))
}

/// Takes the secrets of a connection out of texts.
#[derive(Clone)]
pub(super) struct Scrub {
    secrets: Vec<Secret>,
}

impl Scrub {
    pub(super) fn of(kind: &ConnectionKind) -> Self {
        let mut secrets: Vec<Secret> = Vec::new();
        match kind {
            ConnectionKind::Local { .. } => {}
            ConnectionKind::Azure(azure) => match &azure.auth {
                AzureAuth::AccountKey(secret) => secrets.push(secret.clone()),
                AzureAuth::Sas(secret) => {
                    // A part of it may be quoted, and the signature is the part that matters.
                    let parts = secret.expose().split('&').filter_map(|p| p.split_once('='));
                    let values = parts.filter(|(name, _)| *name == "sig");
                    secrets.extend(values.map(|(_, value)| Secret::new(value)));
                    secrets.push(secret.clone());
                }
                AzureAuth::ServicePrincipal { client_secret, .. } => {
                    secrets.push(client_secret.clone());
                }
                AzureAuth::ManagedIdentity { .. } | AzureAuth::WorkloadIdentity { .. } => {}
            },
            ConnectionKind::S3(s3) => {
                if let S3Auth::Keys {
                    secret_access_key,
                    session_token,
                    ..
                } = &s3.auth
                {
                    secrets.push(secret_access_key.clone());
                    secrets.extend(session_token.clone());
                }
            }
            ConnectionKind::Gcs(gcs) => {
                if let GcsAuth::ServiceAccountKey(secret) = &gcs.auth {
                    secrets.push(secret.clone());
                }
            }
            ConnectionKind::Http(http) => {
                secrets.extend(http.headers.iter().map(|(_, value)| value.clone()));
                match &http.auth {
                    HttpAuth::None => {}
                    HttpAuth::Basic { password, .. } => secrets.push(password.clone()),
                    HttpAuth::Header { value, .. } => {
                        let token = value.expose().rsplit(' ').next().unwrap_or_default();
                        secrets.push(Secret::new(token));
                        secrets.push(value.clone());
                    }
                }
            }
        }
        secrets.retain(|secret| secret.expose().len() > 3);
        Self { secrets }
    }

    /// The text of an error: one line, not long, without secrets and without the queries of URLs.
    pub(super) fn clean(&self, error: &Error) -> String {
        let mut text = error.to_string();
        if let Some(said) = said(&text) {
            text = said;
        }
        self.clean_text(&text)
    }

    pub(super) fn clean_text(&self, text: &str) -> String {
        let mut text: String = text
            .split_whitespace()
            .map(without_query)
            .collect::<Vec<_>>()
            .join(" ");
        for secret in &self.secrets {
            text = text.replace(secret.expose(), "***");
        }
        match text.char_indices().nth(CAUSE_CHARS_MAX) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        }
    }
}

/// Code and message of the XML in which stores answer.
fn said(text: &str) -> Option<String> {
    let part = |tag: &str| {
        let (_, rest) = text.split_once(&format!("<{tag}>"))?;
        rest.split_once(&format!("</{tag}>"))
            .map(|(inner, _)| inner)
    };
    let code = part("Code")?;
    Some(match part("Message") {
        Some(message) => format!("{code}: {}", message.lines().next().unwrap_or_default()),
        None => code.to_owned(),
    })
}

/// A signature may stand in the query of a URL.
fn without_query(word: &str) -> String {
    match (word.contains("://"), word.split_once('?')) {
        (true, Some((url, _))) => format!("{url}?…"),
        _ => word.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use odibi_plan::plan::HttpFiles;

    use super::*;

    fn generic(text: &str) -> Error {
        Error::Generic {
            store: "S3",
            source: text.to_owned().into(),
        }
    }

    #[test]
    fn answers_have_their_fault() {
        for (text, fault) in [
            ("x status code: 503 Service Unavailable: ", Fault::Transient),
            ("x status code: 429 Too Many Requests: ", Fault::Transient),
            ("x status code: 500 y", Fault::Transient),
            ("x status code: 400 Bad Request: ", Fault::Refused),
            (
                "x status code: 405 Method Not Allowed: ",
                Fault::Unsupported,
            ),
            (
                "Content-Length Header missing from response",
                Fault::Unsupported,
            ),
            ("the key is not base64", Fault::Refused),
        ] {
            assert_eq!(Fault::of(&generic(text)), fault, "{text}");
        }
    }

    #[test]
    fn causes_hold_no_secret_and_no_query() {
        let kind = ConnectionKind::Http(Box::new(HttpFiles {
            base_url: "https://x".into(),
            headers: vec![("X-Key".into(), Secret::new("topsecret"))],
            auth: HttpAuth::Header {
                name: "Authorization".into(),
                value: Secret::new("Bearer hunter22"),
            },
        }));
        let scrub = Scrub::of(&kind);
        let long = "z".repeat(1_000);
        let text = format!("GET https://h/a?sig=abc failed\nwith topsecret and hunter22 {long}");
        let clean = scrub.clean(&generic(&text));
        assert!(
            !clean.contains("abc") && !clean.contains("secret") && !clean.contains("hunter"),
            "{clean}"
        );
        assert!(
            clean.starts_with("Generic S3 error: GET https://h/a?… failed with ***"),
            "{clean}"
        );
        assert!(clean.chars().count() <= CAUSE_CHARS_MAX + 1 && !clean.contains('\n'));
        let xml = "status 403: <?xml?><Error><Code>SignatureDoesNotMatch</Code><Message>No.</Message><X>hunter22</X>";
        assert_eq!(scrub.clean(&generic(xml)), "SignatureDoesNotMatch: No.");
    }
}
