//! A certificate instead of a client secret: a short text, signed with its key, says who we are.
//!
//! The PEM file holds the certificate and its RSA key, in any order. The signature is PS256, and the certificate is named
//! by its SHA-256, as the libraries of Azure do it.

use std::path::Path;

use async_trait::async_trait;
use azure_core::error::{Error, ErrorKind};
use azure_core::http::ClientMethodOptions;
use azure_core::time::OffsetDateTime;
use azure_identity::ClientAssertion;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::rsa::KeyPair;
use ring::signature::RSA_PSS_SHA256;
use serde_json::json;

/// How long an assertion is good.
const VALID_SECONDS: i64 = 600;

/// Signs assertions.
pub(super) struct Certificate {
    key: KeyPair,
    /// The certificate, and those above it when they are to be sent.
    certificates: Vec<Vec<u8>>,
    send_chain: bool,
    client_id: String,
    audience: String,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Certificate of {}", self.client_id)
    }
}

impl Certificate {
    /// # Errors
    /// What is wrong with the file.
    pub(super) fn read(
        path: &Path,
        client_id: &str,
        audience: String,
        send_chain: bool,
    ) -> Result<Self, String> {
        let shown = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read the certificate {shown}: {error}"))?;
        let (mut key, mut certificates) = (None, Vec::new());
        for (label, bytes) in blocks(&text).map_err(|why| format!("{why}: {shown}"))? {
            match label.as_str() {
                "CERTIFICATE" => certificates.push(bytes),
                "PRIVATE KEY" => key = Some(KeyPair::from_pkcs8(&bytes)),
                "RSA PRIVATE KEY" => key = Some(KeyPair::from_der(&bytes)),
                "ENCRYPTED PRIVATE KEY" => {
                    return Err(format!(
                        "the key in {shown} is encrypted, which is not supported: write it without a password, \
                         readable for this user alone"
                    ));
                }
                _ => {}
            }
        }
        let key = key.ok_or_else(|| format!("there is no RSA private key in {shown}"))?;
        let key = key.map_err(|why| format!("the private key in {shown} cannot be used: {why}"))?;
        if certificates.is_empty() {
            return Err(format!("there is no certificate in {shown}"));
        }
        Ok(Self {
            key,
            certificates,
            send_chain,
            client_id: client_id.to_owned(),
            audience,
        })
    }

    fn assertion(&self, now: i64) -> Result<String, String> {
        let mut id = [0; 16];
        let random = SystemRandom::new();
        random
            .fill(&mut id)
            .map_err(|_| "there are no random numbers")?;
        let first = self.certificates.first().map_or(&[][..], Vec::as_slice);
        let mut header = json!({
            "alg": "PS256",
            "typ": "JWT",
            "x5t#S256": URL_SAFE_NO_PAD.encode(digest(&SHA256, first)),
        });
        if self.send_chain {
            let all = self.certificates.iter().map(|c| STANDARD.encode(c));
            header["x5c"] = all.collect();
        }
        let claims = json!({
            "aud": self.audience,
            "iss": self.client_id,
            "sub": self.client_id,
            "jti": URL_SAFE_NO_PAD.encode(id),
            "iat": now,
            "nbf": now - 60,
            "exp": now + VALID_SECONDS,
        });
        let [header, claims] =
            [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let signed = format!("{header}.{claims}");
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key
            .sign(&RSA_PSS_SHA256, &random, signed.as_bytes(), &mut signature)
            .map_err(|_| "the key does not sign")?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

#[async_trait]
impl ClientAssertion for Certificate {
    async fn secret(&self, _: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        self.assertion(OffsetDateTime::now_utc().unix_timestamp())
            .map_err(|why| Error::with_message(ErrorKind::Credential, why))
    }
}

/// The blocks of a PEM file: what they hold, and their bytes.
fn blocks(text: &str) -> Result<Vec<(String, Vec<u8>)>, String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, begun)) = rest.split_once("-----BEGIN ") {
        let ended = begun.split_once("-----").and_then(|(label, behind)| {
            let (body, after) = behind.split_once(&format!("-----END {label}-----"))?;
            Some((label, body, after))
        });
        let (label, body, after) = ended.ok_or("the PEM file has a block without an end")?;
        let body: String = body.split_whitespace().collect();
        let bytes = STANDARD
            .decode(body)
            .map_err(|_| "a block of the PEM file is no base64")?;
        found.push((label.to_owned(), bytes));
        rest = after;
    }
    Ok(found)
}
