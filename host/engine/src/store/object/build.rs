//! From the keys of a connection to the client of its store.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};
use object_store::gcp::{GcpCredential, GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::http::HttpBuilder;
use object_store::{
    BackoffConfig, ClientOptions, HeaderMap, HeaderValue, ObjectStore, Result, RetryConfig,
    StaticCredentialProvider,
};
use odibi_plan::plan::{
    AzureAuth, AzureBlob, Connection, ConnectionKind, Gcs, GcsAuth, HttpAuth, HttpFiles, S3, S3Auth,
};
use odibi_story::failure::{Failure, FailureClass, code};
use reqwest::redirect::Policy;
use url::Url;

use super::fault::Scrub;
use crate::failure::internal;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For a request and its answer: at most some MiB.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);
const RETRIES_MAX: usize = 4;
const RETRY_TIMEOUT: Duration = Duration::from_secs(90);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// Redirects that are followed.
const REDIRECTS_MAX: usize = 10;

/// Makes the client of a connection.
pub(super) struct Recipe {
    connection: Connection,
    project_dir: PathBuf,
    /// Of each request.
    retries: usize,
}

/// What a client demands of the object when it puts the parts of an upload together.
#[derive(Debug, Clone)]
pub(super) enum Condition {
    /// That it is not there.
    Absent,
    /// That it has this ETag.
    Is(String),
}

impl Recipe {
    pub(super) fn new(connection: &Connection, project_dir: PathBuf) -> Self {
        Self {
            connection: connection.clone(),
            project_dir,
            retries: RETRIES_MAX,
        }
    }

    /// The same for clients that try nothing again by themselves, so that a refusal is of the try that it answers.
    pub(super) fn once(&self) -> Self {
        Self {
            connection: self.connection.clone(),
            project_dir: self.project_dir.clone(),
            retries: 0,
        }
    }

    /// Asks nothing of the store.
    pub(super) fn build(
        &self,
        condition: Option<Condition>,
        scrub: &Scrub,
    ) -> std::result::Result<Arc<dyn ObjectStore>, Failure> {
        let made = match &self.connection.kind {
            ConnectionKind::Local { .. } => return Err(internal("a directory is no object store")),
            ConnectionKind::Azure(azure) => self.azure(azure)?,
            ConnectionKind::S3(s3) => self.s3(s3, condition),
            ConnectionKind::Gcs(gcs) => self.gcs(gcs),
            ConnectionKind::Http(http) => web(http),
        };
        made.map_err(|error| {
            let message = format!(
                "connection `{}` cannot be opened with these keys",
                self.connection.name
            );
            Failure::new(FailureClass::Denied, code::READ_DENIED, message)
                .cause(scrub.clean(&error))
                .hint("check the credentials and the `endpoint` of the connection")
        })
    }

    /// A client for a file of a web server, and the URL of the file.
    pub(super) fn browser(
        &self,
        path: &str,
        scrub: &Scrub,
    ) -> std::result::Result<(HttpClient, String), Failure> {
        let ConnectionKind::Http(http) = &self.connection.kind else {
            return Err(internal("an object store is no web server"));
        };
        let client = Browser::new(http).connect(&ClientOptions::new());
        let client =
            client.map_err(|e| internal("no client for the web").cause(scrub.clean(&e)))?;
        let unusable = || internal("the URL of a connection is none");
        let mut url = Url::parse(&http.base_url).map_err(|_| unusable())?;
        let segments = url.path_segments_mut();
        segments
            .map_err(|()| unusable())?
            .pop_if_empty()
            .extend(path.split('/'));
        Ok((client, url.into()))
    }

    fn azure(
        &self,
        azure: &AzureBlob,
    ) -> std::result::Result<Result<Arc<dyn ObjectStore>>, Failure> {
        let mut builder = MicrosoftAzureBuilder::new()
            .with_account(&azure.account)
            .with_container_name(&azure.container)
            .with_client_options(options(azure.allow_http))
            .with_retry(retry(self.retries));
        if let Some(endpoint) = &azure.endpoint {
            builder = builder.with_endpoint(endpoint.clone());
        }
        builder = match &azure.auth {
            AzureAuth::AccountKey(key) => builder.with_access_key(key.expose()),
            AzureAuth::Sas(sas) => builder.with_config(AzureConfigKey::SasKey, sas.expose()),
            AzureAuth::ServicePrincipal {
                tenant_id,
                client_id,
                client_secret,
            } => builder.with_client_secret_authorization(
                client_id,
                client_secret.expose(),
                tenant_id,
            ),
            AzureAuth::ManagedIdentity { client_id } => match client_id {
                Some(client_id) => builder.with_client_id(client_id),
                None => builder,
            },
            AzureAuth::WorkloadIdentity {
                tenant_id,
                client_id,
                token_file,
            } => {
                let around = MicrosoftAzureBuilder::from_env();
                let or = |given: &Option<String>, key| {
                    given.clone().or_else(|| around.get_config_value(&key))
                };
                let tenant = or(tenant_id, AzureConfigKey::AuthorityId);
                let client = or(client_id, AzureConfigKey::ClientId);
                let file = or(token_file, AzureConfigKey::FederatedTokenFile);
                let (Some(tenant), Some(client), Some(file)) = (tenant, client, file) else {
                    let message = format!(
                        "connection `{}` has no workload identity here",
                        self.connection.name
                    );
                    return Err(
                        Failure::new(FailureClass::Denied, code::READ_DENIED, message).hint(
                            "set `AZURE_TENANT_ID`, `AZURE_CLIENT_ID` and `AZURE_FEDERATED_TOKEN_FILE`, or the keys \
                             `tenant_id`, `client_id` and `federated_token_file`",
                        ),
                    );
                };
                let builder = builder.with_tenant_id(tenant).with_client_id(client);
                builder.with_federated_token_file(file)
            }
        };
        Ok(builder.build().map(|store| Arc::new(store) as _))
    }

    fn s3(&self, s3: &S3, condition: Option<Condition>) -> Result<Arc<dyn ObjectStore>> {
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&s3.bucket)
            .with_virtual_hosted_style_request(s3.virtual_hosted)
            .with_client_options(options(s3.allow_http))
            .with_retry(retry(self.retries));
        let around = AmazonS3Builder::from_env();
        let known = |key: &AmazonS3ConfigKey| around.get_config_value(key);
        let region = s3.region.clone();
        let region = region
            .or_else(|| known(&AmazonS3ConfigKey::Region))
            .or_else(|| known(&AmazonS3ConfigKey::DefaultRegion));
        if let Some(region) = region {
            builder = builder.with_region(region);
        }
        if let Some(endpoint) = &s3.endpoint {
            builder =
                builder.with_endpoint(match (s3.virtual_hosted, endpoint.split_once("://")) {
                    (true, Some((scheme, host))) => format!("{scheme}://{}.{host}", s3.bucket),
                    _ => endpoint.clone(),
                });
        }
        builder = match &s3.auth {
            S3Auth::Anonymous => builder.with_skip_signature(true),
            S3Auth::Keys {
                access_key_id,
                secret_access_key,
                session_token,
            } => {
                let builder = builder
                    .with_access_key_id(access_key_id)
                    .with_secret_access_key(secret_access_key.expose());
                match session_token {
                    Some(token) => builder.with_token(token.expose()),
                    None => builder,
                }
            }
            S3Auth::Environment => {
                let keys = [
                    AmazonS3ConfigKey::AccessKeyId,
                    AmazonS3ConfigKey::SecretAccessKey,
                    AmazonS3ConfigKey::Token,
                    AmazonS3ConfigKey::WebIdentityTokenFile,
                    AmazonS3ConfigKey::RoleArn,
                    AmazonS3ConfigKey::RoleSessionName,
                    AmazonS3ConfigKey::StsEndpoint,
                    AmazonS3ConfigKey::ContainerCredentialsRelativeUri,
                    AmazonS3ConfigKey::ContainerCredentialsFullUri,
                    AmazonS3ConfigKey::ContainerAuthorizationTokenFile,
                ];
                keys.into_iter()
                    .fold(builder, |builder, key| match known(&key) {
                        Some(value) => builder.with_config(key, value),
                        None => builder,
                    })
            }
        };
        if let Some(condition) = condition {
            builder = builder.with_http_connector(Demanding(condition));
        }
        Ok(Arc::new(builder.build()?))
    }

    fn gcs(&self, gcs: &Gcs) -> Result<Arc<dyn ObjectStore>> {
        let mut builder = GoogleCloudStorageBuilder::new()
            .with_bucket_name(&gcs.bucket)
            .with_client_options(options(gcs.allow_http))
            .with_retry(retry(self.retries));
        if let Some(endpoint) = &gcs.endpoint {
            builder = builder.with_base_url(endpoint);
        }
        builder = match &gcs.auth {
            GcsAuth::Anonymous => {
                // Without one, writes would ask the machine for a token.
                let nobody = GcpCredential {
                    bearer: String::new(),
                };
                builder
                    .with_credentials(Arc::new(StaticCredentialProvider::new(nobody)))
                    .with_skip_signature(true)
            }
            GcsAuth::ServiceAccountKey(key) => builder.with_service_account_key(key.expose()),
            GcsAuth::ServiceAccountFile(file) => {
                let path = self.project_dir.join(file);
                builder.with_service_account_path(path.display().to_string())
            }
            GcsAuth::Environment => {
                let around = GoogleCloudStorageBuilder::from_env();
                let keys = [
                    GoogleConfigKey::ApplicationCredentials,
                    GoogleConfigKey::ServiceAccount,
                    GoogleConfigKey::ServiceAccountKey,
                ];
                keys.into_iter().fold(builder, |builder, key| {
                    match around.get_config_value(&key) {
                        Some(value) => builder.with_config(key, value),
                        None => builder,
                    }
                })
            }
        };
        Ok(Arc::new(builder.build()?))
    }
}

fn web(http: &HttpFiles) -> Result<Arc<dyn ObjectStore>> {
    let store = HttpBuilder::new()
        .with_url(&http.base_url)
        .with_retry(retry(RETRIES_MAX))
        .with_http_connector(Browser::new(http))
        .build()?;
    Ok(Arc::new(store))
}

fn web_headers(http: &HttpFiles) -> HashMap<String, String> {
    let mut headers: HashMap<String, String> = HashMap::new();
    for (name, value) in &http.headers {
        headers.insert(name.to_ascii_lowercase(), value.expose().to_owned());
    }
    match &http.auth {
        HttpAuth::None => {}
        HttpAuth::Basic { username, password } => {
            let pair = STANDARD.encode(format!("{username}:{}", password.expose()));
            headers.insert("authorization".to_owned(), format!("Basic {pair}"));
        }
        HttpAuth::Header { name, value } => {
            headers.insert(name.to_ascii_lowercase(), value.expose().to_owned());
        }
    }
    headers
}

fn options(allow_http: bool) -> ClientOptions {
    ClientOptions::new()
        .with_allow_http(allow_http)
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_timeout(REQUEST_TIMEOUT)
}

fn retry(retries: usize) -> RetryConfig {
    RetryConfig {
        max_retries: retries,
        retry_timeout: RETRY_TIMEOUT,
        backoff: BackoffConfig {
            max_backoff: BACKOFF_MAX,
            ..BackoffConfig::default()
        },
    }
}

/// A client that adds its condition to the request which ends a multipart upload: the crate has no words for it. S3 does
/// not ask for such a header to be signed.
#[derive(Debug)]
struct Demanding(Condition);

impl HttpConnector for Demanding {
    fn connect(&self, options: &ClientOptions) -> Result<HttpClient> {
        let inner = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Conditional {
            inner,
            condition: self.0.clone(),
        }))
    }
}

#[derive(Debug)]
struct Conditional {
    inner: HttpClient,
    condition: Condition,
}

#[async_trait]
impl HttpService for Conditional {
    async fn call(&self, mut request: HttpRequest) -> std::result::Result<HttpResponse, HttpError> {
        let query = request.uri().query().unwrap_or_default();
        let completes = request.method().as_str() == "POST" && query.contains("uploadId=");
        if completes {
            let (name, value) = match &self.condition {
                Condition::Absent => ("if-none-match", "*"),
                Condition::Is(e_tag) => ("if-match", e_tag.as_str()),
            };
            if let Ok(value) = value.parse() {
                request.headers_mut().insert(name, value);
            }
        }
        self.inner.execute(request).await
    }
}

/// A client for web servers: what lets us in is told to the server that was named and to no other.
struct Browser(HashMap<String, String>);

impl Browser {
    fn new(http: &HttpFiles) -> Self {
        Self(web_headers(http))
    }
}

impl std::fmt::Debug for Browser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Browser")
    }
}

impl HttpConnector for Browser {
    fn connect(&self, _: &ClientOptions) -> Result<HttpClient> {
        let fault =
            |source: Box<dyn std::error::Error + Send + Sync>| object_store::Error::Generic {
                store: "HTTP",
                source,
            };
        let mut headers = HeaderMap::try_from(&self.0).map_err(|e| fault(Box::new(e)))?;
        headers
            .values_mut()
            .for_each(|value: &mut HeaderValue| value.set_sensitive(true));
        let keeps_host = !headers.is_empty();
        let policy = Policy::custom(move |attempt| {
            let Some(from) = attempt.previous().last() else {
                return attempt.follow();
            };
            let to = attempt.url();
            let same = (from.scheme(), from.host_str(), from.port_or_known_default())
                == (to.scheme(), to.host_str(), to.port_or_known_default());
            let downgrade = from.scheme() == "https" && to.scheme() != "https";
            if attempt.previous().len() > REDIRECTS_MAX {
                attempt.error("too many redirects")
            } else if (keeps_host && !same) || downgrade {
                attempt
                    .error("the server sends us to another one, which must not see the credentials")
            } else {
                attempt.follow()
            }
        });
        let client = reqwest::Client::builder()
            .default_headers(headers)
            .redirect(policy)
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(REQUEST_TIMEOUT)
            .http1_only()
            .build();
        Ok(HttpClient::new(client.map_err(|e| fault(Box::new(e)))?))
    }
}
