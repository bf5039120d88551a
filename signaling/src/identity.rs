//! The server's identity: an Ed25519 key, kept in a file if the operator wants it to last.

use anyhow::{Context, Result, bail};
use base64ct::{Base64UrlUnpadded, Encoding};
use ed25519_dalek::SigningKey;
use shoal_protocol::id::PeerId;
use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write},
    path::Path,
};

/// The server's key.
pub struct Identity(SigningKey);

impl Identity {
    /// A new identity from 32 secret random bytes.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(SigningKey::from_bytes(&seed))
    }

    /// The id peers know the server by.
    pub fn id(&self) -> PeerId {
        PeerId::from_public_key(self.0.verifying_key().to_bytes())
    }

    /// The identity in `file`; `seed` becomes it, and is written there, if there is no file.
    pub fn load_or_create(file: &Path, seed: [u8; 32]) -> Result<Self> {
        let shown = file.display();
        match fs::read_to_string(file) {
            Ok(text) => match decode(text.trim()) {
                Some(seed) => Ok(Self::from_seed(seed)),
                None => bail!("{shown} does not hold an identity (32 bytes, base64url)"),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => {
                write_secret(file, &Base64UrlUnpadded::encode_string(&seed))
                    .with_context(|| format!("cannot write the identity to {shown}"))?;
                Ok(Self::from_seed(seed))
            }
            Err(error) => {
                Err(error).with_context(|| format!("cannot read the identity in {shown}"))
            }
        }
    }
}

fn decode(text: &str) -> Option<[u8; 32]> {
    let bytes = Base64UrlUnpadded::decode_vec(text).ok()?;
    bytes.try_into().ok()
}

/// Writes a new file that only its owner may read.
fn write_secret(file: &Path, text: &str) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(file)?;
    writeln!(file, "{text}")?;
    file.sync_all()
}
