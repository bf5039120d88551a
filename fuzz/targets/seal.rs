//! Sealed bodies: what is not sealed to the key of a link opens nowhere and panics nowhere, and
//! what is opens as what it was, whatever it says.

#![no_main]

use rand_chacha::{ChaCha12Rng, rand_core::SeedableRng};
use shoal_protocol::id::{LinkId, Nonce, PeerId};
use shoal_protocol::namespace::Namespace;
use shoal_protocol::seal::{SealContext, SealSecret, Sealed};
use shoal_protocol::signal::{Signal, SignalBody};
use shoal_protocol::time::UnixMillis;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let secret = SealSecret::new([6; 32]);
    let namespace = Namespace::default();
    let context = SealContext {
        from: PeerId::from_public_key([1; 32]),
        to: PeerId::from_public_key([2; 32]),
        namespace: &namespace,
        link: LinkId([3; 16]),
        n: 4,
        kind: "candidate",
    };
    if let Ok(sealed) = text.parse::<Sealed>() {
        assert_eq!(sealed.to_string(), text);
        // The golden body of the unit tests may be among the seeds.
        if let Ok(opened) = secret.open(&sealed, context) {
            assert_eq!(opened, "null");
        }
    }
    let sealed = secret
        .key()
        .seal(text, context, &mut ChaCha12Rng::from_seed([5; 32]));
    let sealed = sealed.expect("the key is one");
    assert_eq!(secret.open(&sealed, context).as_deref(), Ok(text));
    let signal = |body| Signal {
        from: context.from,
        to: context.to,
        namespace: namespace.clone(),
        link: context.link,
        n: context.n,
        nonce: Nonce([5; 16]),
        versions: vec![1],
        expires: UnixMillis(1),
        body,
    };
    // Somebody may seal anything.
    if let Ok(Some((opened, body))) = signal(SignalBody::Candidate(sealed)).open_body(&secret) {
        assert_eq!(opened, text);
        assert_eq!(body.kind(), "candidate");
    }
});
