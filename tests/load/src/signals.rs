//! Signals as peers send them: this project's own, structured and signed, and the session
//! descriptions that other systems carry.

use anyhow::Result;
use ed25519_dalek::{Signer, SigningKey};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use shoal_protocol::{
    VERSIONS,
    id::{Hash, LinkId, Nonce, PeerId, Signature},
    namespace::Namespace,
    seal::{SealContext, SealKey, SealSecret},
    signal::{Answer, Description, Opened, SIGNAL_LIFETIME, Setup, Signal, SignalBody},
    signed::{Payload, Signed},
    time::UnixMillis,
};
use std::{
    sync::OnceLock,
    time::{SystemTime, UNIX_EPOCH},
};

/// Signs as a peer does.
pub fn sign<T: Payload>(key: &SigningKey, payload: &T) -> Signed {
    let payload = payload.to_payload();
    let sig = key.sign(&T::KIND.message(&payload));
    Signed {
        peer: peer_id(key),
        payload,
        sig: Signature(sig.to_bytes()),
        member: None,
    }
}

/// The id of the peer with this key.
pub fn peer_id(key: &SigningKey) -> PeerId {
    PeerId::from_public_key(key.verifying_key().to_bytes())
}

/// The time as signed statements state it.
pub fn now() -> UnixMillis {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// A signal of this project, with the number `n`. Kinds come as often as in one negotiation:
/// a link, its accept, offer and answer, and three candidates of each side with their ends.
/// What peers seal is sealed.
pub fn signal(key: &SigningKey, to: PeerId, namespace: &Namespace, n: u32) -> Result<Signed> {
    let mut nonce = [0x5a; 16];
    nonce[..4].copy_from_slice(&n.to_le_bytes());
    let from = peer_id(key);
    let link = LinkId(nonce);
    let opened = match n % 12 {
        2 => Some(Opened::Offer(description(n)?)),
        3 => Some(Opened::Answer(Answer {
            description: description(n)?,
            offer: Hash([n as u8; 32]),
        })),
        kind @ 4..10 => Some(Opened::Candidate(Some(candidate(kind, n).parse()?))),
        10 | 11 => Some(Opened::Candidate(None)),
        _ => None,
    };
    let body = match opened {
        None if n.is_multiple_of(12) => SignalBody::Link(*sealing_key()),
        None => SignalBody::Accept(*sealing_key()),
        Some(opened) => {
            let kind = opened.kind();
            let context = SealContext {
                from,
                to,
                namespace,
                link,
                n,
                kind,
            };
            let mut rng = ChaCha20Rng::seed_from_u64(n.into());
            opened.sealed(sealing_key().seal(&opened.to_text(), context, &mut rng)?)
        }
    };
    let signal = Signal {
        from,
        to,
        namespace: namespace.clone(),
        link,
        n,
        nonce: Nonce(nonce),
        versions: VERSIONS.to_vec(),
        expires: now().plus(SIGNAL_LIFETIME),
        body,
    };
    Ok(sign(key, &signal))
}

/// The key that all receivers state: nobody here opens what is sealed.
fn sealing_key() -> &'static SealKey {
    static KEY: OnceLock<SealKey> = OnceLock::new();
    KEY.get_or_init(|| SealSecret::new([7; 32]).key())
}

/// What a browser's description says.
fn description(n: u32) -> Result<Description> {
    let fingerprint: Vec<String> = (0..32_u8)
        .map(|at| format!("{:02X}", at.wrapping_mul(7).wrapping_add(n as u8)))
        .collect();
    Ok(Description {
        ufrag: format!("{:04x}", n % 0x1_0000).parse()?,
        pwd: "k3Jb0pQz6vT1yWm8sXr2uEh5".parse()?,
        fingerprint: fingerprint.join(":").parse()?,
        setup: Setup::Actpass,
        max_message_size: 262_144,
    })
}

fn candidate(kind: u32, n: u32) -> String {
    let port = 32_768 + n % 28_000;
    match kind % 3 {
        0 => format!("candidate:1 1 udp 2122260223 192.0.2.17 {port} typ host"),
        1 => format!(
            "candidate:2 1 udp 2122252543 4d96cd2c-3a6c-4b5a-9a2a-{n:012x}.local {port} typ host"
        ),
        _ => format!(
            "candidate:842163049 1 udp 1677729535 203.0.113.9 {port} typ srflx raddr 192.0.2.17 rport {port}"
        ),
    }
}

/// A description of 1.5 to 2.5 kB, as browsers make them where candidates do not trickle,
/// with the number in it.
pub fn sdp(n: u32) -> String {
    let mut lines = vec![
        "v=0".to_owned(),
        format!(
            "o=- {} 2 IN IP4 127.0.0.1",
            4_611_731_400_430_051_336_u64 + u64::from(n)
        ),
        "s=-".into(),
        "t=0 0".into(),
        "a=group:BUNDLE 0".into(),
        "a=extmap-allow-mixed".into(),
        "a=msid-semantic: WMS".into(),
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel".into(),
        "c=IN IP4 0.0.0.0".into(),
    ];
    for at in 0..9 + n % 8 {
        lines.push(format!(
            "a=candidate:{} 1 udp {} 203.0.113.{} {} typ srflx raddr 192.0.2.17 rport {} generation 0 network-id {}",
            842_163_049 + at, 1_677_729_535 - at, at + 1, 40_000 + at, 50_000 + at, at % 4 + 1,
        ));
    }
    lines.extend([
        format!("a=ice-ufrag:{:04x}", n % 0x1_0000),
        "a=ice-pwd:k3Jb0pQz6vT1yWm8sXr2uEh5".into(),
        "a=ice-options:trickle".into(),
        "a=fingerprint:sha-256 7B:8B:F0:65:5F:78:E2:51:3B:AC:6F:F3:3F:46:1B:35:DC:B8:5F:64:1A:24:C2:43:F0:A1:58:D0:A1:2C:19:08".into(),
        "a=setup:actpass".into(),
        "a=mid:0".into(),
        "a=sctp-port:5000".into(),
        "a=max-message-size:262144".into(),
        format!("{NUMBER}{n}"),
        String::new(),
    ]);
    lines.join("\r\n")
}

/// What stands before the number in a description.
const NUMBER: &str = "a=x-number:";

/// The number in a message that holds a description.
pub fn number_in(text: &str) -> Option<u32> {
    let (_, rest) = text.split_once(NUMBER)?;
    let digits = rest.find(|c: char| !c.is_ascii_digit())?;
    rest[..digits].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_good_and_numbered() {
        let [one, two] = [1, 2].map(|n| SigningKey::from_bytes(&[n; 32]));
        let namespace = Namespace::default();
        for n in 0..12 {
            let signed = signal(&one, peer_id(&two), &namespace, n).unwrap();
            let opened: Signal = signed.open().unwrap();
            assert_eq!(
                (opened.n, opened.from, opened.to),
                (n, peer_id(&one), peer_id(&two))
            );
            let body = opened.open_body(&SealSecret::new([7; 32])).unwrap();
            assert_eq!(body.is_some(), n >= 2, "{n}: {body:?}");
        }
    }

    #[test]
    fn descriptions_are_as_long_as_browsers_make_them() {
        for n in 0..100 {
            let sdp = sdp(n);
            assert!((1500..=2500).contains(&sdp.len()), "{}", sdp.len());
            assert_eq!(number_in(&sdp), Some(n));
        }
    }
}
