//! Who we are for Azure: an explicit chain. What is set up is used; why something was not is kept for the error.
//!
//! | in this order | used when |
//! |---|---|
//! | client secret | `AZURE_TENANT_ID`, `AZURE_CLIENT_ID` and `AZURE_CLIENT_SECRET` are set |
//! | client certificate | `AZURE_CLIENT_CERTIFICATE_PATH` is set, with the first two |
//! | workload identity | `AZURE_FEDERATED_TOKEN_FILE` is set, with the first two |
//! | managed identity | the machine, or App Service, has one |
//! | az command line | somebody is logged in |
//!
//! The first three are asked for by name: when one of them is refused, nothing else is tried.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use azure_core::credentials::{AccessToken, Secret, TokenCredential, TokenRequestOptions};
use azure_core::error::{Error, ErrorKind};
use azure_core::http::ClientOptions;
use azure_core::time::OffsetDateTime;
use azure_identity::{
    AzureCliCredential, AzureCliCredentialOptions, ClientAssertionCredential,
    ClientAssertionCredentialOptions, ClientSecretCredential, ClientSecretCredentialOptions,
    ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId,
    WorkloadIdentityCredential, WorkloadIdentityCredentialOptions,
};
use odibi_story::failure::Failure;

use super::assertion::Certificate;
use super::transport::Sender;
use crate::Options;
use crate::answer::{chain, said, setting};

/// How long the identity service of the machine may take to be there.
const MACHINE_TIMEOUT: Duration = Duration::from_secs(1);
/// A token is not used in its last minutes.
const MARGIN_SECONDS: i64 = 120;
/// Words of `AZURE_TOKEN_CREDENTIALS`, and the links that they leave.
const WORDS: [(&str, &[&str]); 7] = [
    ("prod", &[CLIENT_SECRET, CERTIFICATE, WORKLOAD, MANAGED]),
    ("dev", &[COMMAND_LINE]),
    ("EnvironmentCredential", &[CLIENT_SECRET, CERTIFICATE]),
    ("ClientSecretCredential", &[CLIENT_SECRET]),
    ("WorkloadIdentityCredential", &[WORKLOAD]),
    ("ManagedIdentityCredential", &[MANAGED]),
    ("AzureCliCredential", &[COMMAND_LINE]),
];
const CLIENT_SECRET: &str = "client secret";
const CERTIFICATE: &str = "client certificate";
const WORKLOAD: &str = "workload identity";
const MANAGED: &str = "managed identity";
const COMMAND_LINE: &str = "az command line";

/// The chain. One token is asked for at a time, and kept.
#[derive(Debug)]
pub(super) struct Chain {
    links: Vec<Link>,
    machine: (String, u16),
    /// The token and its scope, or that there is none.
    token: tokio::sync::Mutex<Option<Result<(String, AccessToken), ()>>>,
    tried: Mutex<Vec<String>>,
}

#[derive(Debug)]
struct Link {
    name: &'static str,
    /// Why it cannot be used.
    credential: Result<Arc<dyn TokenCredential>, String>,
    /// Set up by name: its failure is final.
    named: bool,
}

impl Chain {
    pub(super) fn new(
        options: &Options,
        client: &ClientOptions,
        sender: &Sender,
        authority: &str,
    ) -> Result<Self, Failure> {
        let mut links = vec![
            client_secret(options, client),
            certificate(options, client, authority),
            workload(options, client),
            managed(options, client),
            command_line(options),
        ];
        if let Some(word) = options.get("AZURE_TOKEN_CREDENTIALS") {
            let found = WORDS
                .iter()
                .find(|(known, _)| known.eq_ignore_ascii_case(&word));
            let Some((word, kept)) = found else {
                let known: Vec<String> = WORDS
                    .iter()
                    .map(|(known, _)| format!("`{known}`"))
                    .collect();
                let failure = setting(format!(
                    "`AZURE_TOKEN_CREDENTIALS` is not known: `{}`",
                    said(&word)
                ));
                return Err(failure.hint(format!("use one of: {}", known.join(", "))));
            };
            for link in links.iter_mut().filter(|link| !kept.contains(&link.name)) {
                link.credential = Err(format!("not tried: `AZURE_TOKEN_CREDENTIALS` is `{word}`"));
            }
        }
        Ok(Self {
            links,
            machine: sender.machine(),
            token: tokio::sync::Mutex::default(),
            tried: Mutex::default(),
        })
    }

    /// What was tried when there was no token, and why it was none.
    pub(super) fn tried(&self) -> Vec<String> {
        self.tried
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    async fn ask(
        &self,
        scopes: &[&str],
        options: Option<TokenRequestOptions<'_>>,
    ) -> Result<AccessToken, Vec<String>> {
        let mut tried = Vec::new();
        for link in &self.links {
            let credential = match &link.credential {
                Ok(credential) => credential,
                Err(why) => {
                    tried.push(format!("{}: {why}", link.name));
                    continue;
                }
            };
            if link.name == MANAGED && !self.machine_answers().await {
                let (host, port) = &self.machine;
                tried.push(format!(
                    "{}: nobody answers at {host}:{port}, so this machine has none",
                    link.name
                ));
                continue;
            }
            match credential.get_token(scopes, options.clone()).await {
                Ok(token) => return Ok(token),
                Err(error) => {
                    tried.push(format!("{}: {}", link.name, said(&without_urls(&error))));
                    if link.named {
                        tried.push("nothing else was tried, since this one is set up".to_owned());
                        break;
                    }
                }
            }
        }
        Err(tried)
    }

    /// Without this look, a laptop would wait for minutes.
    async fn machine_answers(&self) -> bool {
        let (host, port) = &self.machine;
        let connecting = tokio::net::TcpStream::connect((host.as_str(), *port));
        matches!(
            tokio::time::timeout(MACHINE_TIMEOUT, connecting).await,
            Ok(Ok(_))
        )
    }
}

#[async_trait]
impl TokenCredential for Chain {
    async fn get_token(
        &self,
        scopes: &[&str],
        options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let scope = scopes.join(" ");
        let none =
            || Error::with_message(ErrorKind::Credential, "there is no way to log in to Azure");
        let mut kept = self.token.lock().await;
        match &*kept {
            Some(Ok((known, token)))
                if *known == scope
                    && token.expires_on
                        > OffsetDateTime::now_utc()
                            + azure_core::time::Duration::seconds(MARGIN_SECONDS) =>
            {
                return Ok(token.clone());
            }
            Some(Err(())) => return Err(none()),
            Some(Ok(_)) | None => {}
        }
        match self.ask(scopes, options).await {
            Ok(token) => {
                *kept = Some(Ok((scope, token.clone())));
                Ok(token)
            }
            Err(tried) => {
                *self.tried.lock().unwrap_or_else(PoisonError::into_inner) = tried;
                *kept = Some(Err(()));
                Err(none())
            }
        }
    }
}

/// What Entra says, without the trace that follows it.
fn without_urls(error: &Error) -> String {
    let text = chain(error);
    let text = text.split(" Trace ID:").next().unwrap_or_default();
    text.replace(['\n', '\r'], " ")
}

/// The variables that are missing.
fn unset(options: &Options, names: &[&str]) -> Option<String> {
    let missing: Vec<String> = names
        .iter()
        .filter(|name| options.get(name).is_none())
        .map(|name| format!("`{name}`"))
        .collect();
    match &missing[..] {
        [] => None,
        [one] => Some(format!("{one} is not set")),
        several => Some(format!("{} are not set", several.join(", "))),
    }
}

fn link(name: &'static str, named: bool, made: Result<Arc<dyn TokenCredential>, String>) -> Link {
    Link {
        name,
        named,
        credential: made,
    }
}

fn spoken(error: Error) -> String {
    said(&chain(&error))
}

fn client_secret(options: &Options, client: &ClientOptions) -> Link {
    let names = ["AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"];
    let made = match unset(options, &names) {
        Some(why) => Err(why),
        None => {
            let [tenant, id, secret] = names.map(|name| options.get(name).unwrap_or_default());
            let given = ClientSecretCredentialOptions {
                client_options: client.clone(),
            };
            ClientSecretCredential::new(tenant.trim(), id, Secret::new(secret), Some(given))
                .map(|made| made as Arc<dyn TokenCredential>)
                .map_err(spoken)
        }
    };
    link(CLIENT_SECRET, true, made)
}

fn certificate(options: &Options, client: &ClientOptions, authority: &str) -> Link {
    let names = [
        "AZURE_TENANT_ID",
        "AZURE_CLIENT_ID",
        "AZURE_CLIENT_CERTIFICATE_PATH",
    ];
    let made = match unset(options, &names) {
        Some(why) => Err(why),
        None => {
            let [tenant, id] = ["AZURE_TENANT_ID", "AZURE_CLIENT_ID"]
                .map(|name| options.get(name).unwrap_or_default().trim().to_owned());
            let path = options
                .file("AZURE_CLIENT_CERTIFICATE_PATH")
                .unwrap_or_default();
            let chain = options.get("AZURE_CLIENT_SEND_CERTIFICATE_CHAIN");
            let chain = chain.is_some_and(|word| word == "1" || word.eq_ignore_ascii_case("true"));
            let audience = format!("{authority}/{tenant}/oauth2/v2.0/token");
            Certificate::read(&path, &id, audience, chain).and_then(|assertion| {
                let given = ClientAssertionCredentialOptions {
                    client_options: client.clone(),
                };
                ClientAssertionCredential::new(tenant, id, assertion, Some(given))
                    .map(|made| made as Arc<dyn TokenCredential>)
                    .map_err(spoken)
            })
        }
    };
    link(CERTIFICATE, true, made)
}

fn workload(options: &Options, client: &ClientOptions) -> Link {
    let names = [
        "AZURE_TENANT_ID",
        "AZURE_CLIENT_ID",
        "AZURE_FEDERATED_TOKEN_FILE",
    ];
    let made = match unset(options, &names) {
        Some(why) => Err(why),
        None => WorkloadIdentityCredential::new(Some(WorkloadIdentityCredentialOptions {
            credential_options: ClientAssertionCredentialOptions {
                client_options: client.clone(),
            },
            client_id: options.get("AZURE_CLIENT_ID"),
            tenant_id: options.get("AZURE_TENANT_ID"),
            token_file_path: options.file("AZURE_FEDERATED_TOKEN_FILE"),
        }))
        .map(|made| made as Arc<dyn TokenCredential>)
        .map_err(spoken),
    };
    link(WORKLOAD, true, made)
}

fn managed(options: &Options, client: &ClientOptions) -> Link {
    let id = options.get("AZURE_CLIENT_ID");
    let made = ManagedIdentityCredential::new(Some(ManagedIdentityCredentialOptions {
        user_assigned_id: id.map(UserAssignedId::ClientId),
        client_options: client.clone(),
    }));
    let made = made
        .map(|made| made as Arc<dyn TokenCredential>)
        .map_err(spoken);
    link(MANAGED, false, made)
}

fn command_line(options: &Options) -> Link {
    let made = AzureCliCredential::new(Some(AzureCliCredentialOptions {
        tenant_id: options.get("AZURE_TENANT_ID"),
        ..AzureCliCredentialOptions::default()
    }));
    let made = made
        .map(|made| made as Arc<dyn TokenCredential>)
        .map_err(spoken);
    link(COMMAND_LINE, false, made)
}
