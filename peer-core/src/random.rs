//! Randomness, made from the seed a node is given.

use rand_chacha::ChaCha12Rng;
use rand_core::{CryptoRng, Rng, SeedableRng};
use std::time::Duration;

/// The node's only source of randomness. ChaCha with twelve rounds, as `rand`'s standard
/// generator: good enough for nonces, and the same everywhere for the same seed.
pub(crate) struct Random(ChaCha12Rng);

impl Random {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self(ChaCha12Rng::from_seed(seed))
    }

    /// `N` unpredictable bytes.
    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// The generator itself, for what takes one.
    pub(crate) fn rng(&mut self) -> &mut impl CryptoRng {
        &mut self.0
    }

    /// A number below `bound`, or 0 if that is 0. The bias is below 2^-32 for the small
    /// bounds it is used with.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        ((u64::from(self.0.next_u32()) * u64::from(bound)) >> 32) as u32
    }

    /// A number of 52 bits, which JavaScript can hold.
    pub(crate) fn slot(&mut self) -> u64 {
        self.0.next_u64() >> 12
    }

    /// A seed for a generator of its own.
    pub(crate) fn fork(&mut self) -> Random {
        Random::new(self.bytes())
    }

    /// Puts things into an order in which each is as likely at every place (Fisher and Yates).
    pub(crate) fn shuffle<T>(&mut self, things: &mut [T]) {
        for last in (1..things.len()).rev() {
            things.swap(last, self.below(last as u32 + 1) as usize);
        }
    }

    /// Exponential back-off with equal jitter: between a half and all of
    /// `base * 2^failures`, at most `max`.
    /// Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    pub(crate) fn backoff(&mut self, base: Duration, failures: u32, max: Duration) -> Duration {
        let full = base.saturating_mul(1 << failures.min(16)).min(max);
        full / 2 + full.mul_f64(f64::from(self.below(1000)) / 2000.0)
    }
}
