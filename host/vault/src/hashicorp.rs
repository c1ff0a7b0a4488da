//! HashiCorp Vault: the KV engine, version 2 and 1; a token, AppRole or Kubernetes for a login.
//!
//! | variable | |
//! |---|---|
//! | `VAULT_ADDR` | where it is |
//! | `VAULT_NAMESPACE`, `VAULT_CACERT` | as for its own command line |
//! | `VAULT_TOKEN`, or the file `~/.vault-token` | a token |
//! | `VAULT_ROLE_ID`, `VAULT_SECRET_ID`, `VAULT_APPROLE_MOUNT` | AppRole |
//! | `VAULT_K8S_ROLE`, `VAULT_K8S_MOUNT`, `VAULT_K8S_TOKEN_FILE` | Kubernetes |

use std::path::PathBuf;

use odibi_plan::Secret;
use odibi_story::failure::{Failure, FailureClass};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use url::Url;

use crate::Options;
use crate::answer::{refused, setting, unusable};
use crate::http::{Answer, send};
use crate::network::Network;

/// Where Kubernetes puts the token of a pod.
const K8S_TOKEN_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

pub(crate) struct Vault {
    options: Options,
    network: Network,
    session: OnceCell<Result<Session, Failure>>,
}

/// An open door.
#[derive(Clone)]
struct Session {
    client: Client,
    address: Url,
    namespace: Option<String>,
    token: Option<Secret>,
}

impl Vault {
    pub(crate) fn new(options: Options, network: Network) -> Self {
        Self {
            options,
            network,
            session: OnceCell::new(),
        }
    }

    /// The whole secret, as a JSON object.
    pub(crate) async fn fetch(&self, mount: &str, path: &str) -> Result<Secret, Failure> {
        let session = self.session.get_or_init(|| self.open()).await.clone()?;
        let second = match session.version(mount).await? {
            Some(version) => version == 2,
            None => {
                // Who may read a secret need not be allowed to look at mounts.
                let found = session.read(&format!("{mount}/data/{path}")).await?;
                if found.status == 200 {
                    return second_version(&found);
                }
                if !matches!(found.status, 403..=405) {
                    return Err(failed(&found));
                }
                let older = session.read(&format!("{mount}/{path}")).await?;
                return if older.status == 200 {
                    first_version(&older)
                } else {
                    Err(failed_or_deleted(&found))
                };
            }
        };
        if second {
            let found = session.read(&format!("{mount}/data/{path}")).await?;
            if found.status == 200 {
                second_version(&found)
            } else {
                Err(failed_or_deleted(&found))
            }
        } else {
            let found = session.read(&format!("{mount}/{path}")).await?;
            if found.status == 200 {
                first_version(&found)
            } else {
                Err(failed(&found))
            }
        }
    }

    async fn open(&self) -> Result<Session, Failure> {
        let address = self.options.get("VAULT_ADDR").ok_or_else(|| {
            setting("`VAULT_ADDR` is not set, so it is not known where Vault is")
                .hint("set it, for example to `https://vault.example.com:8200`")
        })?;
        let address = Url::parse(&address)
            .map_err(|error| setting("`VAULT_ADDR` is no URL").cause(error.to_string()))?;
        let host = address.host_str().unwrap_or_default();
        let here = matches!(host, "127.0.0.1" | "localhost" | "[::1]");
        if address.scheme() != "https" && !(here && address.scheme() == "http") {
            return Err(setting(
                "`VAULT_ADDR` is not an `https` address: the token would be readable on its way",
            ));
        }
        let mut session = Session {
            client: self.network.client()?,
            address,
            namespace: self.options.get("VAULT_NAMESPACE"),
            token: None,
        };
        session.token = Some(self.login(&session).await?);
        Ok(session)
    }

    /// The first way in that is set up.
    async fn login(&self, session: &Session) -> Result<Secret, Failure> {
        let options = &self.options;
        if let Some(token) = options.get("VAULT_TOKEN") {
            return Ok(Secret::new(token.trim()));
        }
        let mut tried = vec!["token: `VAULT_TOKEN` is not set".to_owned()];
        let (role, secret) = (options.get("VAULT_ROLE_ID"), options.get("VAULT_SECRET_ID"));
        if let Some(role) = role {
            let mount = options.get("VAULT_APPROLE_MOUNT");
            let mut body = json!({ "role_id": role });
            if let Some(secret) = secret {
                body["secret_id"] = Value::from(secret);
            }
            return session
                .login(mount.as_deref().unwrap_or("approle"), &body)
                .await;
        }
        tried.push("AppRole: `VAULT_ROLE_ID` is not set".to_owned());
        if let Some(role) = options.get("VAULT_K8S_ROLE") {
            let mount = options.get("VAULT_K8S_MOUNT");
            let path = options.file("VAULT_K8S_TOKEN_FILE");
            let path = path.unwrap_or_else(|| K8S_TOKEN_FILE.into());
            let token = std::fs::read_to_string(&path).map_err(|error| {
                setting(format!(
                    "cannot read the token of Kubernetes: {}",
                    path.display()
                ))
                .cause(error.to_string())
            })?;
            let body = json!({ "role": role, "jwt": token.trim() });
            return session
                .login(mount.as_deref().unwrap_or("kubernetes"), &body)
                .await;
        }
        tried.push("Kubernetes: `VAULT_K8S_ROLE` is not set".to_owned());
        let home = options.get("HOME").map(PathBuf::from);
        if let Some(path) = home.map(|home| home.join(".vault-token")) {
            match std::fs::read_to_string(&path) {
                Ok(text) if !text.trim().is_empty() => return Ok(Secret::new(text.trim())),
                Ok(_) => tried.push("file: `~/.vault-token` is empty".to_owned()),
                Err(error) => tried.push(format!("file: `~/.vault-token`: {error}")),
            }
        }
        let failure = Failure::new(
            FailureClass::Denied,
            "secret/credentials",
            "there is no way into Vault",
        );
        Err(tried.into_iter().fold(failure, Failure::cause))
    }
}

impl Session {
    fn request(&self, method: &Method, path: &str) -> Result<RequestBuilder, Failure> {
        let mut url = self.address.clone();
        {
            let mut segments = url
                .path_segments_mut()
                .map_err(|()| setting("`VAULT_ADDR` cannot have a path behind it"))?;
            segments.pop_if_empty().push("v1").extend(path.split('/'));
        }
        let mut builder = self.client.request(method.clone(), url);
        // Keeps agents and proxies from being tricked into answering for somebody else.
        builder = builder.header("X-Vault-Request", "true");
        if let Some(namespace) = &self.namespace {
            builder = builder.header("X-Vault-Namespace", namespace);
        }
        if let Some(token) = &self.token {
            let mut value = reqwest::header::HeaderValue::from_str(token.expose())
                .map_err(|_| setting("the token for Vault holds characters that no token has"))?;
            value.set_sensitive(true);
            builder = builder.header("X-Vault-Token", value);
        }
        Ok(builder)
    }

    async fn read(&self, path: &str) -> Result<Answer, Failure> {
        send(&|| self.request(&Method::GET, path), &|_| false).await
    }

    async fn login(&self, mount: &str, body: &Value) -> Result<Secret, Failure> {
        let path = format!("auth/{mount}/login");
        let make = || {
            let builder = self.request(&Method::POST, &path)?;
            Ok(builder
                .header("Content-Type", "application/json")
                .body(body.to_string()))
        };
        let answer = send(&make, &|_| false).await?;
        let json = answer.json();
        match json["auth"]["client_token"].as_str() {
            Some(token) if answer.status == 200 => Ok(Secret::new(token)),
            _ => {
                let failure = refused(answer.status, &words(&json));
                let message = format!("the login at `auth/{mount}` failed: {}", failure.message);
                Err(Failure::new(failure.class, "secret/credentials", message))
            }
        }
    }

    /// Of the KV engine at a mount; `None` when we may not know.
    async fn version(&self, mount: &str) -> Result<Option<u8>, Failure> {
        let answer = self
            .read(&format!("sys/internal/ui/mounts/{mount}"))
            .await?;
        if answer.status != 200 {
            return Ok(None);
        }
        let json = answer.json();
        let data = &json["data"];
        Ok(match data["type"].as_str() {
            Some("kv" | "generic") => match data["options"]["version"].as_str() {
                Some("2") => Some(2),
                _ => Some(1),
            },
            Some(_) | None => None,
        })
    }
}

fn second_version(answer: &Answer) -> Result<Secret, Failure> {
    let json = answer.json();
    match json["data"]["data"].as_object() {
        Some(_) => Ok(Secret::new(json["data"]["data"].to_string())),
        None => Err(unusable(
            "secret/disabled",
            "the newest version of the secret is deleted",
        )),
    }
}

fn first_version(answer: &Answer) -> Result<Secret, Failure> {
    let json = answer.json();
    match json["data"].as_object() {
        Some(_) => Ok(Secret::new(json["data"].to_string())),
        None => Err(refused(answer.status, "the answer holds no data")),
    }
}

fn failed(answer: &Answer) -> Failure {
    let failure = refused(answer.status, &words(&answer.json()));
    match answer.status {
        403 => failure.hint("give the token a policy that may `read` the path; with KV version 2 that is `MOUNT/data/PATH`"),
        503 => failure.hint("Vault is sealed or stands by"),
        _ => failure,
    }
}

/// Vault answers 404 for a version that was deleted, and says when.
fn failed_or_deleted(answer: &Answer) -> Failure {
    let json = answer.json();
    let metadata = &json["data"]["metadata"];
    if answer.status == 404 && metadata.is_object() {
        let destroyed = metadata["destroyed"].as_bool() == Some(true);
        let message = match metadata["deletion_time"].as_str() {
            _ if destroyed => "the newest version of the secret is destroyed".to_owned(),
            Some(at) => format!("the newest version of the secret was deleted at {at}"),
            None => "the newest version of the secret is deleted".to_owned(),
        };
        return unusable("secret/disabled", message);
    }
    failed(answer)
}

/// What Vault says is wrong.
fn words(json: &Value) -> String {
    let errors = json["errors"].as_array().into_iter().flatten();
    let words: Vec<&str> = errors.filter_map(Value::as_str).collect();
    words.join("; ").replace('\n', " ")
}
