//! AWS Secrets Manager: one signed request for each secret. Credentials come from where S3 connections have them:
//! `AWS_…` variables, a web identity, the container, the machine.

use std::sync::Arc;

use base64::Engine as _;
use object_store::aws::{
    AmazonS3Builder, AmazonS3ConfigKey, AwsAuthorizer, AwsCredential, AwsCredentialProvider,
};
use object_store::client::{HttpRequest, HttpRequestBody};
use odibi_plan::Secret;
use odibi_story::failure::{Failure, FailureClass};
use reqwest::{Client, Method};
use serde_json::json;
use tokio::sync::OnceCell;
use url::Url;

use crate::Options;
use crate::answer::{chain, refused, said, setting, unusable};
use crate::http::{Answer, send};
use crate::network::Network;

const SERVICE: &str = "secretsmanager";
/// Variables that say who we are.
const VARIABLES: [&str; 13] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_ENDPOINT_URL_STS",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_METADATA_ENDPOINT",
    "AWS_IMDSV1_FALLBACK",
    "AWS_ALLOW_HTTP",
];

pub(crate) struct SecretsManager {
    options: Options,
    network: Network,
    door: OnceCell<Result<Door, Failure>>,
}

#[derive(Clone)]
struct Door {
    client: Client,
    credentials: AwsCredentialProvider,
}

impl SecretsManager {
    pub(crate) fn new(options: Options, network: Network) -> Self {
        Self {
            options,
            network,
            door: OnceCell::new(),
        }
    }

    pub(crate) async fn fetch(&self, name: &str) -> Result<Secret, Failure> {
        let region = self.region(name)?;
        let url = self.endpoint(&region)?;
        let open = || async { self.open(&region) };
        let door = self.door.get_or_init(open).await.clone()?;
        let credential = door.credentials.get_credential().await.map_err(|error| {
            Failure::new(
                FailureClass::Denied,
                "secret/credentials",
                "no credentials for AWS: tried `AWS_…` variables, a web identity, the container and the machine",
            )
            .cause(said(&chain(&error)))
            .hint("set `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, or run with a role")
        })?;
        let body = json!({ "SecretId": name }).to_string();
        let make = || signed(&door.client, &url, &credential, &region, &body);
        let answer = send(&make, &throttled).await?;
        read(&answer)
    }

    /// Where the secret is: its ARN says it, or the environment.
    fn region(&self, name: &str) -> Result<String, Failure> {
        let of_arn = name
            .strip_prefix("arn:")
            .and_then(|rest| rest.split(':').nth(2));
        let region = of_arn
            .filter(|region| !region.is_empty())
            .map(str::to_owned);
        let region = region.or_else(|| self.options.get("AWS_REGION"));
        let region = region.or_else(|| self.options.get("AWS_DEFAULT_REGION"));
        region.ok_or_else(|| {
            setting("the region of AWS Secrets Manager is not known")
                .hint("set `AWS_REGION`, or name the secret by its ARN")
        })
    }

    fn endpoint(&self, region: &str) -> Result<Url, Failure> {
        let given = self.options.get("AWS_ENDPOINT_URL_SECRETS_MANAGER");
        let given = given.or_else(|| self.options.get("AWS_ENDPOINT_URL"));
        let text = given.unwrap_or_else(|| {
            let end = if region.starts_with("cn-") { ".cn" } else { "" };
            format!("https://{SERVICE}.{region}.amazonaws.com{end}/")
        });
        let url = Url::parse(&text).map_err(|error| {
            setting(format!(
                "the address of AWS Secrets Manager is no URL: `{text}`"
            ))
            .cause(error.to_string())
        })?;
        let here = matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
        if url.scheme() != "https" && !here {
            return Err(setting(
                "the address of AWS Secrets Manager is not an `https` address",
            ));
        }
        Ok(url)
    }

    fn open(&self, region: &str) -> Result<Door, Failure> {
        // The builder is asked for credentials alone; no bucket is touched.
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name("unused")
            .with_region(region);
        for name in VARIABLES {
            let key = name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>();
            if let (Some(value), Ok(key)) = (self.options.get(name), key) {
                builder = builder.with_config(key, value);
            }
        }
        let store = builder.build().map_err(|error| {
            setting("the credentials for AWS cannot be used").cause(said(&chain(&error)))
        })?;
        Ok(Door {
            client: self.network.client()?,
            credentials: Arc::clone(store.credentials()),
        })
    }
}

fn signed(
    client: &Client,
    url: &Url,
    credential: &AwsCredential,
    region: &str,
    body: &str,
) -> Result<reqwest::RequestBuilder, Failure> {
    let malformed = |what: &str| setting(format!("the request to AWS cannot be made: {what}"));
    let mut request = HttpRequest::new(HttpRequestBody::from(body.to_owned()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = url
        .as_str()
        .parse()
        .map_err(|_| malformed("its address is no URI"))?;
    for (name, value) in [
        ("content-type", "application/x-amz-json-1.1"),
        ("x-amz-target", "secretsmanager.GetSecretValue"),
    ] {
        let value = reqwest::header::HeaderValue::from_static(value);
        request.headers_mut().insert(name, value);
    }
    if credential
        .token
        .as_ref()
        .is_some_and(|token| !token.bytes().all(|b| b.is_ascii_graphic()))
    {
        return Err(malformed(
            "the session token holds characters that no token has",
        ));
    }
    AwsAuthorizer::new(credential, SERVICE, region).authorize(&mut request, None);
    let headers = std::mem::take(request.headers_mut());
    Ok(client
        .post(url.clone())
        .headers(headers)
        .body(body.to_owned()))
}

/// AWS says some of it with 400.
fn throttled(answer: &Answer) -> bool {
    answer.status == 400
        && [
            "ThrottlingException",
            "RequestLimitExceeded",
            "InternalServiceError",
        ]
        .contains(&kind(answer).as_str())
}

/// The name of an error.
fn kind(answer: &Answer) -> String {
    let json = answer.json();
    let name = json["__type"].as_str().unwrap_or_default();
    name.rsplit('#').next().unwrap_or_default().to_owned()
}

fn read(answer: &Answer) -> Result<Secret, Failure> {
    let json = answer.json();
    if answer.status == 200 {
        if let Some(text) = json["SecretString"].as_str() {
            return Ok(Secret::new(text));
        }
        let binary = json["SecretBinary"].as_str().unwrap_or_default();
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(binary)
            .ok();
        let text = bytes
            .filter(|b| !b.is_empty())
            .and_then(|b| String::from_utf8(b).ok());
        return text.map(Secret::new).ok_or_else(|| {
            unusable(
                "secret/binary",
                "the secret is no text, so it cannot stand in a project",
            )
        });
    }
    let kind = kind(answer);
    let words = json["Message"].as_str().or(json["message"].as_str());
    let words = format!("{kind}: {}", words.unwrap_or_default());
    Err(match kind.as_str() {
        "ResourceNotFoundException" => refused(404, &words),
        "AccessDeniedException" | "DecryptionFailure" => refused(403, &words).hint(
            "allow `secretsmanager:GetSecretValue` for the secret, and `kms:Decrypt` for its key",
        ),
        "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "ExpiredTokenException"
        | "InvalidClientTokenId"
        | "MissingAuthenticationTokenException" => refused(401, &words),
        "InvalidRequestException" => unusable(
            "secret/disabled",
            format!(
                "the secret is marked for deletion or has no value: {}",
                said(&words)
            ),
        ),
        "ThrottlingException" | "RequestLimitExceeded" => refused(429, &words),
        _ => refused(answer.status, &words),
    })
}
