//! The peer's key.
//!
//! A non-extractable WebCrypto key, kept in the store. Where the page has no WebCrypto
//! (plain HTTP) or it knows no Ed25519, a key that lives as long as the engine does.

use ed25519_dalek::{Signer, SigningKey};
use js_sys::{Array, Object, Reflect, Uint8Array};
use shoal_protocol::id::{PeerId, Signature};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Crypto, CryptoKey, CryptoKeyPair, SubtleCrypto};

const ALGORITHM: &str = "Ed25519";
/// Names in the stored identity.
const PRIVATE_KEY: &str = "privateKey";
const PUBLIC_KEY: &str = "publicKey";

/// Signs for the peer.
pub struct Identity {
    peer: PeerId,
    key: Key,
}

enum Key {
    Browser(SubtleCrypto, CryptoKey),
    Here(Box<SigningKey>),
}

/// Random bytes that nobody can predict; `None` where the browser has none.
pub fn random() -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    crypto()?
        .get_random_values_with_u8_array(&mut bytes)
        .ok()
        .map(|_| bytes)
}

impl Identity {
    /// Makes a new one; `None` where the browser has no source of randomness.
    pub async fn generate() -> Option<Self> {
        if let Some(subtle) = subtle()
            && let Ok(identity) = Self::in_browser(subtle).await
        {
            return Some(identity);
        }
        let key = SigningKey::from_bytes(&random()?);
        Some(Self {
            peer: PeerId::from_public_key(key.verifying_key().to_bytes()),
            key: Key::Here(Box::new(key)),
        })
    }

    async fn in_browser(subtle: SubtleCrypto) -> Result<Self, JsValue> {
        let usages = Array::of2(&"sign".into(), &"verify".into());
        let pair = JsFuture::from(subtle.generate_key_with_str(ALGORITHM, false, &usages)?);
        let pair: CryptoKeyPair = pair.await?.unchecked_into();
        let (private, public) = (pair.get_private_key(), pair.get_public_key());
        let public = JsFuture::from(subtle.export_key("raw", &public)?).await?;
        let peer = peer(&Uint8Array::new(&public)).ok_or(JsValue::NULL)?;
        Ok(Self {
            peer,
            key: Key::Browser(subtle, private),
        })
    }

    /// What to put into the store; `None` for a key that must not leave this engine.
    pub fn to_stored(&self) -> Option<JsValue> {
        let Key::Browser(_, private) = &self.key else {
            return None;
        };
        let stored = Object::new();
        let public = Uint8Array::from(&self.peer.public_key()[..]);
        for (name, value) in [
            (PRIVATE_KEY, private.as_ref()),
            (PUBLIC_KEY, public.as_ref()),
        ] {
            Reflect::set(&stored, &name.into(), value).ok()?;
        }
        Some(stored.into())
    }

    /// Takes what was in the store; `None` if it cannot be used here.
    pub fn from_stored(stored: &JsValue) -> Option<Self> {
        let get = |name: &str| Reflect::get(stored, &name.into()).ok();
        let private: CryptoKey = get(PRIVATE_KEY)?.dyn_into().ok()?;
        let public: Uint8Array = get(PUBLIC_KEY)?.dyn_into().ok()?;
        Some(Self {
            peer: peer(&public)?,
            key: Key::Browser(subtle()?, private),
        })
    }

    /// Who this is.
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// Signs; `None` if the browser does not do it.
    pub async fn sign(&self, message: &[u8]) -> Option<Signature> {
        match &self.key {
            Key::Browser(subtle, key) => {
                let signature = subtle.sign_with_str_and_u8_array(ALGORITHM, key, message);
                let signature = JsFuture::from(signature.ok()?).await.ok()?;
                let signature = Uint8Array::new(&signature).to_vec();
                signature.try_into().ok().map(Signature)
            }
            Key::Here(key) => Some(Signature(key.sign(message).to_bytes())),
        }
    }
}

fn peer(public: &Uint8Array) -> Option<PeerId> {
    public.to_vec().try_into().ok().map(PeerId::from_public_key)
}

fn crypto() -> Option<Crypto> {
    let crypto = Reflect::get(&js_sys::global(), &"crypto".into()).ok()?;
    crypto.dyn_into().ok()
}

/// Whether this page can use WebCrypto: plain-HTTP origins cannot.
pub fn subtle() -> Option<SubtleCrypto> {
    let subtle = Reflect::get(crypto()?.as_ref(), &"subtle".into()).ok()?;
    subtle.dyn_into().ok()
}
