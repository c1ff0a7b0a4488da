//! Azure Key Vault, through the SDK of its makers.

mod assertion;
mod chain;
mod transport;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use azure_core::cloud::CloudConfiguration;
use azure_core::error::ErrorKind;
use azure_core::http::{
    ClientOptions, ExponentialRetryOptions, RawResponse, RetryOptions, Transport,
};
use azure_core::time::{Duration, OffsetDateTime};
use azure_security_keyvault_secrets::models::{SecretAttributes, SecretClientGetSecretOptions};
use azure_security_keyvault_secrets::{SecretClient, SecretClientOptions};
use jiff::Timestamp;
use odibi_plan::Secret;
use odibi_story::failure::{Failure, FailureClass};
use serde_json::Value;

use self::chain::Chain;
use crate::Options;
use crate::answer::{refused, said, setting, unusable};
use crate::network::Network;

/// Where vaults of the public cloud are.
const SUFFIX: &str = ".vault.azure.net";
const RETRIES_MAX: u32 = 5;

pub(crate) struct KeyVaults {
    options: Options,
    network: Network,
    doors: Mutex<BTreeMap<Cloud, Result<Door, Failure>>>,
}

/// Each has its own place to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cloud {
    Public,
    China,
    Government,
}

impl Cloud {
    fn of(host: &str) -> Self {
        if host.ends_with(".azure.cn") {
            Self::China
        } else if host.ends_with(".usgovcloudapi.net") {
            Self::Government
        } else {
            Self::Public
        }
    }

    fn configuration(self) -> CloudConfiguration {
        match self {
            Self::Public => CloudConfiguration::AzurePublic,
            Self::China => CloudConfiguration::AzureChina,
            Self::Government => CloudConfiguration::AzureGovernment,
        }
    }

    fn authority(self) -> &'static str {
        match self {
            Self::Public => "https://login.microsoftonline.com",
            Self::China => "https://login.chinacloudapi.cn",
            Self::Government => "https://login.microsoftonline.us",
        }
    }
}

#[derive(Clone)]
struct Door {
    chain: Arc<Chain>,
    client: ClientOptions,
}

impl KeyVaults {
    pub(crate) fn new(options: Options, network: Network) -> Self {
        Self {
            options,
            network,
            doors: Mutex::default(),
        }
    }

    pub(crate) async fn fetch(
        &self,
        vault: &str,
        name: &str,
        version: Option<&str>,
    ) -> Result<Secret, Failure> {
        let host = if vault.contains('.') {
            vault.to_owned()
        } else {
            format!("{vault}{SUFFIX}")
        };
        let door = self.door(Cloud::of(&host))?;
        let options = SecretClientOptions {
            client_options: door.client.clone(),
            ..SecretClientOptions::default()
        };
        let client = SecretClient::new(
            &format!("https://{host}/"),
            door.chain.clone(),
            Some(options),
        )
        .map_err(|error| setting(format!("the key vault `{vault}` has no address: {error}")))?;
        let options = SecretClientGetSecretOptions {
            secret_version: version.map(str::to_owned),
            ..SecretClientGetSecretOptions::default()
        };
        let response = client
            .get_secret(name, Some(options))
            .await
            .map_err(|error| failed(&error, &door.chain, &host))?;
        let date = response.headers().get_optional_string(&"date".into());
        let found = response.into_model().map_err(|error| {
            refused(
                200,
                &format!("its answer cannot be read: {}", said(&error.to_string())),
            )
        })?;
        if let Some(attributes) = &found.attributes {
            usable(attributes, now(date.as_deref()))?;
        }
        let value = found.value.filter(|value| !value.is_empty());
        value
            .map(Secret::new)
            .ok_or_else(|| unusable("secret/empty", "the secret is empty"))
    }

    fn door(&self, cloud: Cloud) -> Result<Door, Failure> {
        let mut doors = self.doors.lock().unwrap_or_else(PoisonError::into_inner);
        doors
            .entry(cloud)
            .or_insert_with(|| self.open(cloud))
            .clone()
    }

    fn open(&self, cloud: Cloud) -> Result<Door, Failure> {
        let sender = transport::Sender::new(&self.options, self.network.azure()?)?;
        let client = ClientOptions {
            transport: Some(Transport::new(Arc::new(sender.clone()))),
            retry: RetryOptions::exponential(ExponentialRetryOptions {
                max_retries: RETRIES_MAX,
                max_total_elapsed: Duration::try_from(self.options.timeout)
                    .unwrap_or(Duration::seconds(60)),
                ..ExponentialRetryOptions::default()
            }),
            cloud: Some(Arc::new(cloud.configuration())),
            ..ClientOptions::default()
        };
        let chain = Chain::new(&self.options, &client, &sender, cloud.authority())?;
        Ok(Door {
            chain: Arc::new(chain),
            client,
        })
    }
}

/// The vault's own time, so that a clock that is wrong here does no harm.
fn now(date: Option<&str>) -> OffsetDateTime {
    let said = date.and_then(|date| httpdate::parse_http_date(date).ok());
    said.map_or_else(OffsetDateTime::now_utc, OffsetDateTime::from)
}

/// Key Vault gives secrets away outside of their time, so that is looked at here.
fn usable(attributes: &SecretAttributes, now: OffsetDateTime) -> Result<(), Failure> {
    let shown = |at: OffsetDateTime| {
        Timestamp::from_second(at.unix_timestamp())
            .map_or_else(|_| String::new(), |at| at.to_string())
    };
    if attributes.enabled == Some(false) {
        return Err(unusable("secret/disabled", "the secret is disabled"));
    }
    if let Some(at) = attributes.expires.filter(|at| *at <= now) {
        let message = format!("the secret has expired at {}", shown(at));
        return Err(unusable("secret/expired", message));
    }
    if let Some(at) = attributes.not_before.filter(|at| *at > now) {
        let message = format!("the secret is not valid before {}", shown(at));
        return Err(unusable("secret/not-yet-valid", message));
    }
    Ok(())
}

fn failed(error: &azure_core::Error, chain: &Chain, host: &str) -> Failure {
    match error.kind() {
        ErrorKind::HttpResponse {
            status,
            raw_response,
            ..
        } => answered(u16::from(*status), raw_response.as_deref()),
        ErrorKind::Credential => {
            let failure = Failure::new(
                FailureClass::Denied,
                "secret/credentials",
                "none of the ways to log in to Azure works",
            );
            let tried = chain.tried();
            if tried.is_empty() {
                failure.cause(said(&error.to_string()))
            } else {
                tried.into_iter().fold(failure, Failure::cause)
            }
        }
        ErrorKind::Connection | ErrorKind::Io => Failure::new(
            FailureClass::Transient,
            "secret/unreachable",
            format!("the key vault cannot be reached: {host}"),
        )
        .cause(said(&crate::answer::chain(error))),
        ErrorKind::DataConversion | ErrorKind::Other => Failure::new(
            FailureClass::Denied,
            "secret/refused",
            format!(
                "the key vault cannot be used: {}",
                said(&crate::answer::chain(error))
            ),
        ),
    }
}

/// Why a vault refuses stands in its answer, in two levels of codes.
fn answered(status: u16, response: Option<&RawResponse>) -> Failure {
    let body: Value = response
        .and_then(|response| serde_json::from_slice(response.body().as_ref()).ok())
        .unwrap_or_default();
    let error = &body["error"];
    let inner = error["innererror"]["code"].as_str().unwrap_or_default();
    let message = error["message"].as_str().unwrap_or_default();
    let lower = format!("{inner} {message}").to_ascii_lowercase();
    let words = match (inner, error["code"].as_str()) {
        ("", None) => message.to_owned(),
        ("", Some(code)) => format!("{code}: {}", said(message)),
        (inner, _) => format!("{inner}: {}", said(message)),
    };
    if status == 403 {
        let known = [
            ("disabled", "secret/disabled", "the secret is disabled"),
            ("expired", "secret/expired", "the secret has expired"),
            (
                "not yet valid",
                "secret/not-yet-valid",
                "the secret is not valid yet",
            ),
            (
                "notyetvalid",
                "secret/not-yet-valid",
                "the secret is not valid yet",
            ),
        ];
        if let Some((_, code, what)) = known.iter().find(|(word, ..)| lower.contains(word)) {
            return unusable(code, format!("{what} (HTTP 403): {words}"));
        }
    }
    let failure = refused(status, &words);
    match inner {
        "ForbiddenByRbac" => {
            failure.hint("give the identity the role `Key Vault Secrets User` on the vault")
        }
        "ForbiddenByPolicy" | "AccessDenied" => failure.hint(
            "give the identity the permission `get` for secrets in the vault's access policies",
        ),
        "ForbiddenByFirewall" | "ForbiddenByConnection" => {
            failure.hint("let this network through the vault's firewall")
        }
        _ => failure,
    }
}
