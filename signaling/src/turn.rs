//! TURN accounts that end by themselves.
//!
//! A TURN server that shares a secret with this one (coturn's `use-auth-secret`) takes any
//! account whose user is `expiry:id` and whose password is the secret's HMAC-SHA1 of that, so
//! an account is made here without asking anybody, and is good until its expiry (Uberti,
//! draft-uberti-behave-turn-rest-00). What is allocated before lasts beyond it; new
//! allocations need a new account, which the registry sends in time.

use crate::ice::{IceArgument, InvalidIceServer};
use base64ct::{Base64, Encoding};
use core::fmt;
use ring::hmac;
use shoal_protocol::{id::PeerId, rendezvous::IceServer, time::Timestamp};
use std::{fs, io, ops::RangeInclusive, path::PathBuf, str::FromStr, time::Duration};

/// Lifetimes of accounts. Clocks of the two servers may differ by some of the shortest; with the
/// longest, coturn's secret has to be a year old before its accounts are none. Guesses.
pub const LIFETIME: RangeInclusive<Duration> =
    Duration::from_secs(10)..=Duration::from_secs(365 * 86_400);
/// Heartbeats in a lifetime, at least: an account is renewed at one of them, past its half.
const HEARTBEATS: u32 = 4;

/// What is needed to make accounts.
#[derive(Clone, Debug)]
pub struct Turn {
    urls: Vec<String>,
    secret: Secret,
    lifetime: Duration,
}

/// A text that no log shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// Keeps it, without white space around it: files end with a line's end.
    pub fn new(text: &str) -> Self {
        Self(text.trim().into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// Why TURN cannot be offered as it was configured.
#[derive(Debug, thiserror::Error)]
pub enum TurnError {
    /// There are URLs and no secret.
    #[error(
        "turn-url needs the secret that the TURN server has as static-auth-secret: \
         --turn-secret-file FILE, or SHOAL_TURN_SECRET in the environment"
    )]
    NoSecret,
    /// There is a secret and no URL.
    #[error("a TURN secret is set and no turn-url: say where the TURN server is")]
    NoUrl,
    /// The secret is given twice.
    #[error("the TURN secret is given twice: as turn-secret-file and as turn-secret")]
    TwoSecrets,
    /// The secret is empty.
    #[error("the TURN secret is empty")]
    Empty,
    /// The file cannot be read.
    #[error("cannot read the TURN secret in {}: {error}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// Accounts would end before they are renewed.
    #[error(
        "turn-lifetime-seconds is too short: accounts must last {} seconds or more (four times \
         heartbeat-seconds)", least.as_secs_f64()
    )]
    Lifetime {
        /// The shortest.
        least: Duration,
    },
}

impl Turn {
    /// Makes accounts for these URLs with this secret, good for `lifetime` each.
    pub fn new(urls: Vec<TurnUrl>, secret: Secret, lifetime: Duration) -> Self {
        Self {
            urls: urls.into_iter().map(|url| url.0).collect(),
            secret,
            lifetime,
        }
    }

    /// An account for a peer, made now.
    pub fn account(&self, peer: PeerId, now: Timestamp) -> IceServer {
        let expiry = (now + self.lifetime).unix_millis().0 / 1000;
        let user = format!("{expiry}:{peer}");
        let key = hmac::Key::new(
            hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            self.secret.0.as_bytes(),
        );
        let password = hmac::sign(&key, user.as_bytes());
        IceServer {
            urls: self.urls.clone(),
            credential: Some(Base64::encode_string(password.as_ref())),
            username: Some(user),
        }
    }

    /// When an account made now is to be replaced: at its half, so that a heartbeat that is
    /// late, or a clock that is, does no harm.
    pub fn renewal(&self, now: Timestamp) -> Timestamp {
        now + self.lifetime / 2
    }
}

/// The URL of a TURN server without an account, as `turn:HOST[:PORT][?transport=udp|tcp]`, or
/// `turns:` over TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnUrl(String);

/// A text that is no such URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected turn:HOST[:PORT][?transport=udp|tcp] or turns:…, without user and password")]
pub struct InvalidTurnUrl;

impl FromStr for TurnUrl {
    type Err = InvalidTurnUrl;

    fn from_str(text: &str) -> Result<Self, InvalidTurnUrl> {
        let (scheme, place) = text.split_once(':').ok_or(InvalidTurnUrl)?;
        if place.contains('@') {
            return Err(InvalidTurnUrl);
        }
        // An account makes it one of those that `--ice-server` takes.
        let with_account = format!("{scheme}:user:password@{place}");
        match (scheme, with_account.parse()) {
            ("turn" | "turns", Ok(IceArgument::Server(_))) => Ok(Self(text.into())),
            (_, Ok(_) | Err(InvalidIceServer)) => Err(InvalidTurnUrl),
        }
    }
}

impl fmt::Display for TurnUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is set of TURN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnSettings {
    /// TURN servers; empty: none.
    pub urls: Vec<TurnUrl>,
    /// The secret.
    pub secret: Option<Secret>,
    /// Or the file in which it is.
    pub secret_file: Option<PathBuf>,
    /// For how long an account is good.
    pub lifetime: Duration,
}

impl Default for TurnSettings {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            secret: None,
            secret_file: None,
            lifetime: Duration::from_secs(3600),
        }
    }
}

impl TurnSettings {
    /// What they ask for, checked.
    pub fn load(&self, heartbeat: Duration) -> Result<Option<Turn>, TurnError> {
        let secret = match (&self.secret_file, &self.secret) {
            (Some(_), Some(_)) => return Err(TurnError::TwoSecrets),
            (Some(file), None) => match fs::read_to_string(file) {
                Ok(secret) => Some(Secret::new(&secret)),
                Err(error) => {
                    let file = file.clone();
                    return Err(TurnError::File { file, error });
                }
            },
            (None, secret) => secret.clone(),
        };
        let secret = match (self.urls.is_empty(), secret) {
            (true, None) => return Ok(None),
            (true, Some(_)) => return Err(TurnError::NoUrl),
            (false, None) => return Err(TurnError::NoSecret),
            (false, Some(secret)) => secret,
        };
        if secret.0.is_empty() {
            return Err(TurnError::Empty);
        }
        let least = heartbeat * HEARTBEATS;
        if self.lifetime < least {
            return Err(TurnError::Lifetime { least });
        }
        Ok(Some(Turn::new(self.urls.clone(), secret, self.lifetime)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(urls: &[&str], secret: Option<&str>) -> TurnSettings {
        TurnSettings {
            urls: urls.iter().map(|url| url.parse().unwrap()).collect(),
            secret: secret.map(Secret::new),
            ..TurnSettings::default()
        }
    }

    fn load(settings: &TurnSettings) -> Result<Option<Turn>, TurnError> {
        settings.load(Duration::from_secs(15))
    }

    #[test]
    fn an_account_is_what_coturn_computes() {
        let secret = "a secret of the operator\n";
        let turn = load(&settings(&["turn:turn.example"], Some(secret)));
        let turn = turn.unwrap().unwrap();
        let peer: PeerId = "12D3KooW9tHTtS3inCZiYykw4u5G4frbjVFqhkmJX12gSNCVeH3e"
            .parse()
            .unwrap();
        let now = Timestamp::from_millis(1_790_000_000_000);
        let account = turn.account(peer, now);
        assert_eq!(account.urls, ["turn:turn.example"]);
        assert_eq!(account.username, Some(format!("1790003600:{peer}")));
        // printf %s USER | openssl dgst -sha1 -hmac SECRET -binary | base64
        let password = "LjsBSJy8T8pulf+SEk016kBOC5Q=";
        assert_eq!(account.credential.as_deref(), Some(password));
        assert_eq!(turn.renewal(now), now + Duration::from_secs(1800));
    }

    #[test]
    fn the_secret_is_never_shown() {
        let settings = settings(&["turns:a"], Some("hush"));
        let shown = format!("{settings:?} {:?}", load(&settings));
        assert!(
            shown.contains("turns:a") && !shown.contains("hush"),
            "{shown}"
        );
    }

    #[test]
    fn what_cannot_work_is_named() {
        let fails = |settings: &TurnSettings| load(settings).unwrap_err().to_string();
        let url = &["turn:a"][..];
        assert!(load(&settings(&[], None)).unwrap().is_none());
        assert!(fails(&settings(url, None)).contains("--turn-secret-file"));
        assert!(fails(&settings(&[], Some("x"))).contains("turn-url"));
        assert!(fails(&settings(url, Some(" \n"))).contains("empty"));
        let in_file = |secret| TurnSettings {
            secret_file: Some("/nowhere".into()),
            ..settings(url, secret)
        };
        assert!(fails(&in_file(Some("x"))).contains("twice"));
        assert!(fails(&in_file(None)).contains("/nowhere"));
        let lasting = |seconds| TurnSettings {
            lifetime: Duration::from_secs(seconds),
            ..settings(url, Some("x"))
        };
        assert!(fails(&lasting(59)).contains("60 seconds"));
        assert!(load(&lasting(60)).is_ok());
    }

    #[test]
    fn urls_are_of_turn_and_name_nobody() {
        for good in [
            "turn:a",
            "turns:a:443?transport=tcp",
            "turn:[::1]:3478?transport=udp",
        ] {
            assert_eq!(good.parse(), Ok(TurnUrl(good.into())));
        }
        for bad in ["", "turn:", "stun:a", "turn:u:p@a", "turn:a:0", "none"] {
            assert_eq!(bad.parse::<TurnUrl>(), Err(InvalidTurnUrl), "{bad}");
        }
    }
}
