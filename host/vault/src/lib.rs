//! Secrets from vaults, fetched once for a run.
