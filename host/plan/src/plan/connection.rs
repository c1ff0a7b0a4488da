//! What connections reach, and the secrets that open them.

pub use crate::secret::Secret;

use crate::config::normal_path;

/// A resolved connection.
#[derive(Debug, Clone, PartialEq)]
pub struct Connection {
    /// Its name in the YAML.
    pub name: String,
    /// What it is.
    pub kind: ConnectionKind,
}

/// What a connection reaches.
#[derive(Debug, Clone, PartialEq)]
pub enum ConnectionKind {
    /// A directory of this machine.
    Local {
        /// Root directory, as written; relative to the directory of the project file.
        base_path: String,
    },
    /// A container of Azure Blob Storage or Azure Data Lake Storage.
    Azure(Box<AzureBlob>),
    /// A bucket of S3, or of what speaks like it.
    S3(Box<S3>),
    /// A bucket of Google Cloud Storage.
    Gcs(Box<Gcs>),
    /// Files of a web server, which can only be read.
    Http(Box<HttpFiles>),
}

impl ConnectionKind {
    /// Where a file lies, so that two connections that reach the same one say the same.
    #[must_use]
    pub fn place(&self, path: &str) -> String {
        let parts = [self.root(), normal_path(path)];
        let filled: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        filled.join("/")
    }

    /// What all its paths begin with. Holds no secrets.
    #[must_use]
    pub fn root(&self) -> String {
        let (start, prefix) = match self {
            Self::Local { base_path } => return normal_path(base_path),
            Self::Http(http) => return http.base_url.trim_end_matches('/').to_owned(),
            Self::Azure(azure) => {
                let start = match &azure.endpoint {
                    Some(endpoint) => format!("{}/{}", bare(endpoint), azure.container),
                    None => format!("az://{}/{}", azure.account, azure.container),
                };
                (start, &azure.path_prefix)
            }
            Self::S3(s3) => (
                match &s3.endpoint {
                    Some(endpoint) => format!("{}/{}", bare(endpoint), s3.bucket),
                    None => format!("s3://{}", s3.bucket),
                },
                &s3.path_prefix,
            ),
            Self::Gcs(gcs) => (
                match &gcs.endpoint {
                    Some(endpoint) => format!("{}/{}", bare(endpoint), gcs.bucket),
                    None => format!("gs://{}", gcs.bucket),
                },
                &gcs.path_prefix,
            ),
        };
        if prefix.is_empty() {
            start
        } else {
            format!("{start}/{prefix}")
        }
    }

    /// The word of `type:`, for messages.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Local { .. } => "local",
            Self::Azure(_) => "azure_blob",
            Self::S3(_) => "s3",
            Self::Gcs(_) => "gcs",
            Self::Http(_) => "http",
        }
    }
}

fn bare(endpoint: &str) -> &str {
    endpoint.trim_end_matches('/')
}

/// `type: azure_blob` and `type: azure_adls`, which are one.
#[derive(Debug, Clone, PartialEq)]
pub struct AzureBlob {
    /// Storage account.
    pub account: String,
    /// Container; for a data lake also called file system.
    pub container: String,
    /// Directory that all paths begin at, without slashes around it; may be empty.
    pub path_prefix: String,
    /// URL of the account, where it is not `https://ACCOUNT.blob.core.windows.net`.
    pub endpoint: Option<String>,
    /// Plain HTTP may be spoken (default: only with an endpoint of this machine).
    pub allow_http: bool,
    /// Who we are.
    pub auth: AzureAuth,
}

/// Ways to be let in by Azure.
#[derive(Debug, Clone, PartialEq)]
pub enum AzureAuth {
    /// The key of the account, in base64.
    AccountKey(Secret),
    /// A shared access signature: a query string.
    Sas(Secret),
    /// An application with a secret.
    ServicePrincipal {
        /// Directory (tenant) id.
        tenant_id: String,
        /// Application (client) id.
        client_id: String,
        /// Its secret.
        client_secret: Secret,
    },
    /// What the machine was given.
    ManagedIdentity {
        /// Which of several.
        client_id: Option<String>,
    },
    /// The token that Kubernetes puts into a file; what is not given comes from `AZURE_…` variables.
    WorkloadIdentity {
        /// Directory (tenant) id.
        tenant_id: Option<String>,
        /// Application (client) id.
        client_id: Option<String>,
        /// File with the token.
        token_file: Option<String>,
    },
}

/// `type: s3`.
#[derive(Debug, Clone, PartialEq)]
pub struct S3 {
    /// Bucket.
    pub bucket: String,
    /// Region (default: that of the environment, else `us-east-1`).
    pub region: Option<String>,
    /// URL of a server that speaks like S3.
    pub endpoint: Option<String>,
    /// Directory that all paths begin at, without slashes around it; may be empty.
    pub path_prefix: String,
    /// Plain HTTP may be spoken (default: only with an endpoint of this machine).
    pub allow_http: bool,
    /// The bucket stands in the name of the host and not in the path (default: no).
    pub virtual_hosted: bool,
    /// Who we are.
    pub auth: S3Auth,
}

/// Ways to be let in by S3.
#[derive(Debug, Clone, PartialEq)]
pub enum S3Auth {
    /// An access key.
    Keys {
        /// Its id.
        access_key_id: String,
        /// Its secret.
        secret_access_key: Secret,
        /// Token of a session.
        session_token: Option<Secret>,
    },
    /// `AWS_…` variables, a web identity, the container, the machine; whatever is there first.
    Environment,
    /// Nobody: the bucket is public.
    Anonymous,
}

/// `type: gcs`.
#[derive(Debug, Clone, PartialEq)]
pub struct Gcs {
    /// Bucket.
    pub bucket: String,
    /// Directory that all paths begin at, without slashes around it; may be empty.
    pub path_prefix: String,
    /// URL of a server that speaks like Google Cloud Storage.
    pub endpoint: Option<String>,
    /// Plain HTTP may be spoken (default: only with an endpoint of this machine).
    pub allow_http: bool,
    /// Who we are.
    pub auth: GcsAuth,
}

/// Ways to be let in by Google Cloud Storage.
#[derive(Debug, Clone, PartialEq)]
pub enum GcsAuth {
    /// File with the key of a service account; relative to the directory of the project file.
    ServiceAccountFile(String),
    /// That key itself, as JSON.
    ServiceAccountKey(Secret),
    /// The application default credentials.
    Environment,
    /// Nobody: the bucket is public.
    Anonymous,
}

/// `type: http`.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpFiles {
    /// URL that all paths begin at.
    pub base_url: String,
    /// Sent with every request.
    pub headers: Vec<(String, Secret)>,
    /// Who we are.
    pub auth: HttpAuth,
}

/// Ways to be let in by a web server.
#[derive(Debug, Clone, PartialEq)]
pub enum HttpAuth {
    /// None is needed.
    None,
    /// A name and a password.
    Basic {
        /// Name.
        username: String,
        /// Password.
        password: Secret,
    },
    /// A header with a key or token.
    Header {
        /// Name of the header.
        name: String,
        /// Its whole value.
        value: Secret,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_shows_a_secret() {
        let secret = Secret::new("hunter2");
        let auth = HttpAuth::Basic {
            username: "u".into(),
            password: secret.clone(),
        };
        for shown in [
            format!("{secret} {secret:?} {secret:#?}"),
            format!("{auth:?}"),
        ] {
            assert!(
                !shown.contains("hunter2") && shown.contains("***"),
                "{shown}"
            );
        }
        assert_eq!(secret.expose(), "hunter2");
    }
}
