//! Secrets from vaults, fetched once for a run.
//!
//! A vault that cannot be used is only an error for who asks it: nothing is looked at before.

mod answer;
mod aws;
mod azure;
mod hashicorp;
mod http;
mod network;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use odibi_plan::{Secret, SecretRef};
use odibi_run::port::Secrets;
use odibi_story::failure::{Failure, FailureClass};
use tokio::sync::OnceCell;

use self::network::Network;

/// Looks a variable of the environment up.
pub type Variable = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What vaults are reached with.
#[derive(Clone)]
pub struct Options {
    /// The environment: who we are, and where vaults are.
    pub variable: Variable,
    /// Relative paths in variables start here.
    pub directory: PathBuf,
    /// How long one secret may take, repetitions included.
    pub timeout: Duration,
}

impl Options {
    /// The value of a variable that is set and not empty.
    fn get(&self, name: &str) -> Option<String> {
        (self.variable)(name).filter(|value| !value.trim().is_empty())
    }

    /// The file that a variable names.
    fn file(&self, name: &str) -> Option<PathBuf> {
        self.get(name).map(|path| self.directory.join(path))
    }
}

/// All vaults that there are. Each thing is asked for once.
pub struct Vaults {
    options: Options,
    azure: azure::KeyVaults,
    hashicorp: hashicorp::Vault,
    aws: aws::SecretsManager,
    asked: Mutex<BTreeMap<String, Asked>>,
}

/// What a vault keeps under one name: a text, of which a field may be asked.
type Asked = Arc<OnceCell<Result<Secret, Failure>>>;

impl Vaults {
    /// Reaches nobody yet.
    ///
    /// # Errors
    /// `secret/bad-setting` when a certificate cannot be read or a variable is malformed.
    pub fn new(options: Options) -> Result<Self, Failure> {
        let network = Network::new(&options)?;
        Ok(Self {
            azure: azure::KeyVaults::new(options.clone(), network.clone()),
            hashicorp: hashicorp::Vault::new(options.clone(), network.clone()),
            aws: aws::SecretsManager::new(options.clone(), network),
            options,
            asked: Mutex::default(),
        })
    }

    async fn document(&self, reference: &SecretRef) -> Result<Secret, Failure> {
        let key = match reference {
            SecretRef::KeyVault { .. } => reference.to_string(),
            SecretRef::HashiCorp { mount, path, .. } => format!("vault:{mount}/{path}"),
            SecretRef::AwsSecretsManager { name, .. } => format!("aws-sm:{name}"),
        };
        let cell = {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(asked.entry(key).or_default())
        };
        cell.get_or_init(|| self.ask(reference)).await.clone()
    }

    async fn ask(&self, reference: &SecretRef) -> Result<Secret, Failure> {
        let asking = async {
            match reference {
                SecretRef::KeyVault {
                    vault,
                    name,
                    version,
                } => self.azure.fetch(vault, name, version.as_deref()).await,
                SecretRef::HashiCorp { mount, path, .. } => self.hashicorp.fetch(mount, path).await,
                SecretRef::AwsSecretsManager { name, .. } => self.aws.fetch(name).await,
            }
        };
        let timeout = self.options.timeout;
        match tokio::time::timeout(timeout, asking).await {
            Ok(found) => found,
            Err(_) => {
                let message = format!(
                    "the vault did not answer within {:.1} s",
                    timeout.as_secs_f64()
                );
                let failure = Failure::new(FailureClass::Transient, "secret/timeout", message);
                Err(failure.hint("set `ODIBI_SECRETS_TIMEOUT` to wait longer, for example `2m`"))
            }
        }
    }
}

#[async_trait]
impl Secrets for Vaults {
    async fn fetch(&self, reference: &SecretRef) -> Result<Secret, Failure> {
        let document = self.document(reference).await?;
        match reference {
            SecretRef::KeyVault { .. } | SecretRef::AwsSecretsManager { field: None, .. } => {
                Ok(document)
            }
            SecretRef::HashiCorp { field, .. }
            | SecretRef::AwsSecretsManager {
                field: Some(field), ..
            } => answer::field(&document, field),
        }
    }
}
