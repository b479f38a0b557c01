//! The installation's signing key.

use super::Config;
use crate::core::webhook::SigningKey;
use meta_domain::fault::InvalidField;
use meta_runtime::StartError;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// File of a key that was made here.
const KEY_FILE: &str = "webhooks.key";

/// The key of the configuration, or the one that is kept in the data folder, made when it is
/// missing. Several orchestrators need the same one, so each has to be told.
///
/// # Errors
/// When the configured key is too short, or the file cannot be read or made.
pub fn signing_key(config: &Config, data_dir: &Path) -> Result<SigningKey, StartError> {
    if let Some(text) = &config.key {
        let bad = |why| StartError::Config(vec![InvalidField::new("webhooks.key", why)]);
        return SigningKey::parse(text).map_err(bad);
    }
    let path = data_dir.join(KEY_FILE);
    let failed = |e: &dyn std::fmt::Display| StartError::failed(&path.display().to_string(), e);
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    match made {
        Ok(mut file) => {
            let key = meta_runtime::clock::secret();
            file.write_all(key.as_bytes())
                .and_then(|()| file.sync_all())
                .map_err(|e| failed(&e))?;
        }
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(failed(&e)),
    }
    let text = std::fs::read_to_string(&path).map_err(|e| failed(&e))?;
    SigningKey::parse(&text).map_err(|why| failed(&why))
}
