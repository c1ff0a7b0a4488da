//! Where a target lies, as the log of batches names it.

use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use odibi_plan::plan::{Connection, ConnectionKind};
use odibi_story::failure::Failure;
use sha2::{Digest as _, Sha256};

use super::{Stores, split};
use crate::failure::{During, classify};

/// Bytes of the hash of a place.
const PLACE_BYTES: usize = 16;

impl Stores {
    /// Name of a place for the log of batches: the same whatever the connection is called and however it is let in, and
    /// never that of another place. Without secrets. Of a directory of this machine the root must be there.
    pub(crate) fn name_of_place(
        &self,
        connection: &Connection,
        path: &str,
    ) -> Result<String, Failure> {
        let place = match &connection.kind {
            ConnectionKind::Local { base_path } => {
                self.local_place(base_path, path)?.into_os_string()
            }
            ConnectionKind::Azure(_)
            | ConnectionKind::S3(_)
            | ConnectionKind::Gcs(_)
            | ConnectionKind::Http(_) => object_place(&connection.kind, path).into(),
        };
        let mut hash = Sha256::new_with_prefix("odibi place 1\n");
        hash.update(connection.kind.word());
        hash.update("\n");
        hash.update(place.as_bytes());
        let digest = hash.finalize();
        let digest = digest.iter().take(PLACE_BYTES);
        let digest: String = digest.map(|byte| format!("{byte:02x}")).collect();
        // For people.
        let name = Path::new(&place).file_name().unwrap_or(&place);
        Ok(format!("{}@{digest}", name.to_string_lossy()))
    }

    /// A path without links, but for one that a file of its name replaces. Below the directory of the project it begins
    /// there, where the log of batches does as well: they are moved together.
    fn local_place(&self, base_path: &str, path: &str) -> Result<PathBuf, Failure> {
        let root = self.project_dir.join(base_path);
        let (mut dir, mut rest) = match root.join(path).is_dir() {
            true => (path, None),
            false => (split(path).0, Some(PathBuf::from(split(path).1))),
        };
        let real = loop {
            let error = match root.join(dir).canonicalize() {
                Ok(real) => break rest.map_or(real.clone(), |rest| real.join(rest)),
                Err(error) => error,
            };
            // A write makes it, and there is no link in what it makes.
            let missing = matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory);
            if dir.is_empty() || !missing {
                let shown = root.display().to_string();
                return Err(classify(&error, During::Read(&shown)));
            }
            let (above, name) = split(dir);
            let below = rest.unwrap_or_default();
            (dir, rest) = (above, Some(Path::new(name).join(below)));
        };
        let state = self.state_dir.as_ref();
        let state = state.and_then(|dir| dir.canonicalize().ok());
        let project = self.project_dir.canonicalize().ok();
        Ok(match (project, state) {
            (Some(project), Some(state)) if state.starts_with(&project) => real
                .strip_prefix(&project)
                .map_or_else(|_| real.clone(), |inside| Path::new(".").join(inside)),
            _ => real,
        })
    }
}

/// The URL of an object. However the name of its server is written, it is the same; of two servers, nobody can tell
/// whether one only passes on to the other.
fn object_place(kind: &ConnectionKind, path: &str) -> String {
    let place = kind.place(path);
    let Some((scheme @ ("http" | "https"), rest)) = place.split_once("://") else {
        return place;
    };
    let (server, key) = rest.split_once('/').unwrap_or((rest, ""));
    let server = server.to_ascii_lowercase();
    let port = match scheme {
        "https" => ":443",
        _ => ":80",
    };
    let server = server.strip_suffix(port).unwrap_or(&server);
    // As it is called where no server is named.
    let usual = match kind {
        ConnectionKind::Azure(azure) => {
            let own = format!("{}.blob.core.windows.net", azure.account);
            (server == own).then(|| format!("az://{}", azure.account))
        }
        ConnectionKind::S3(_) => {
            let is_aws = server.starts_with("s3") && server.ends_with(".amazonaws.com");
            is_aws.then(|| "s3:/".to_owned())
        }
        ConnectionKind::Gcs(_) => (server == "storage.googleapis.com").then(|| "gs:/".to_owned()),
        ConnectionKind::Local { .. } | ConnectionKind::Http(_) => None,
    };
    match usual.filter(|_| scheme == "https") {
        Some(usual) => format!("{usual}/{key}"),
        None => format!("{scheme}://{server}/{key}"),
    }
}
