//! What sealing a signal's body costs: microseconds a body, and bytes of a signal as it is
//! signed, beside the same signal with its body in plain. Prints a line of JSON for each.
//!
//!     cargo bench -p shoal-protocol --bench seal -- BODIES

#![allow(clippy::print_stdout)]
#![expect(clippy::disallowed_methods, reason = "a benchmark is what has a clock")]

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use rand_chacha::{ChaCha12Rng, rand_core::SeedableRng};
use shoal_protocol::{
    id::{LinkId, Nonce, PeerId},
    namespace::Namespace,
    seal::{SealContext, SealSecret},
    signal::{
        Answer, Description, Fingerprint, Opened, Setup, Signal, SignalBody, description_hash,
    },
    signed::Payload,
    time::UnixMillis,
};
use std::{hint::black_box, time::Instant};

fn main() {
    let mut numbers = std::env::args().filter_map(|arg| arg.parse().ok());
    let bodies: u32 = numbers.next().unwrap_or(1000);
    for body in opened() {
        sizes(&body);
    }
    let empty = signal(SignalBody::Restart).to_payload().len();
    let link = signal(SignalBody::Link(SealSecret::new([1; 32]).key()));
    let plain = empty - "restart".len() + "link".len();
    println!(
        r#"{{"case":"link, accept","plain":{plain},"sealed":{}}}"#,
        link.to_payload().len()
    );
    times(bodies);
}

/// What browsers say.
fn opened() -> [Opened; 4] {
    let description = Description {
        ufrag: "Wq3e".parse().expect("4 characters"),
        pwd: "x3Kd8sV1mQ2pL9nB4cT7yU0a".parse().expect("24 characters"),
        fingerprint: Fingerprint([0xab; 32]),
        setup: Setup::Actpass,
        max_message_size: 262_144,
    };
    let line =
        "candidate:842163049 1 udp 1677729535 203.0.113.7 46154 typ srflx raddr 0.0.0.0 rport 0";
    [
        Opened::Offer(description.clone()),
        Opened::Answer(Answer {
            description,
            offer: description_hash("", ""),
        }),
        Opened::Candidate(line.parse().ok()),
        Opened::Candidate(None),
    ]
}

fn signal(body: SignalBody) -> Signal {
    Signal {
        from: PeerId::from_public_key([1; 32]),
        to: PeerId::from_public_key([2; 32]),
        namespace: Namespace::default(),
        link: LinkId([3; 16]),
        n: 4,
        nonce: Nonce([5; 16]),
        versions: vec![1],
        expires: UnixMillis(1_790_000_000_000),
        body,
    }
}

fn context<'a>(signal: &'a Signal, kind: &'static str) -> SealContext<'a> {
    SealContext {
        from: signal.from,
        to: signal.to,
        namespace: &signal.namespace,
        link: signal.link,
        n: signal.n,
        kind,
    }
}

fn sizes(body: &Opened) {
    let empty = signal(SignalBody::Restart);
    let text = body.to_text();
    let plain = empty
        .to_payload()
        .replace("restart\"", &format!("{}\",\"body\":{text}", body.kind()));
    let mut rng = ChaCha12Rng::from_seed([5; 32]);
    let key = SealSecret::new([6; 32]).key();
    let sealed = key.seal(&text, context(&empty, body.kind()), &mut rng);
    let sealed = signal(body.sealed(sealed.expect("the key is one"))).to_payload();
    let end = if text == "null" { ", no more" } else { "" };
    println!(
        r#"{{"case":"{}{end}","plain":{},"sealed":{}}}"#,
        body.kind(),
        plain.len(),
        sealed.len()
    );
}

fn times(bodies: u32) {
    let [_, _, candidate, _] = opened();
    let (text, at) = (candidate.to_text(), signal(SignalBody::Restart));
    let context = context(&at, candidate.kind());
    let secret = SealSecret::new([6; 32]);
    let mut rng = ChaCha12Rng::from_seed([5; 32]);
    let sealed = secret.key().seal(&text, context, &mut rng);
    let sealed = sealed.expect("the key is one");
    let signer = SigningKey::from_bytes(&[7; 32]);
    let verifier: VerifyingKey = signer.verifying_key();
    let sig = signer.sign(text.as_bytes());
    time("key of a link", bodies, || {
        black_box(SealSecret::new(black_box([6; 32])));
    });
    time("seal", bodies, || {
        black_box(secret.key().seal(&text, context, &mut rng)).expect("the key is one");
    });
    time("open", bodies, || {
        black_box(secret.open(&sealed, context)).expect("it is sealed to the key");
    });
    time("beside it: verify a signature", bodies, || {
        let verified = verifier.verify_strict(text.as_bytes(), &sig);
        black_box(verified).expect("it is the signer's");
    });
}

fn time(case: &str, bodies: u32, mut act: impl FnMut()) {
    let start = Instant::now();
    for _ in 0..bodies {
        act();
    }
    let micros = start.elapsed().as_secs_f64() * 1e6 / f64::from(bodies);
    println!(r#"{{"case":"{case}","micros":{micros:.1}}}"#);
}
