//! The switchboard of a peer.

use crate::io::{Channel, Config, Frame, Input, Output};
use shoal_protocol::{id::LinkId, time::Timestamp};

/// A peer in one namespace.
///
/// After each [`Node::handle_input`], drain [`Node::poll_output`], then ask
/// [`Node::poll_transmit`] for the channels that can take more, then sleep until
/// [`Node::next_timeout`] or the next input.
pub struct Node {}

impl Node {
    /// Starts a peer.
    pub fn new(_now: Timestamp, _config: Config) -> Self {
        Self {}
    }

    /// Takes in something that happened.
    pub fn handle_input(&mut self, _now: Timestamp, _input: Input) {}

    /// The next thing to do, in the order in which it must be done.
    pub fn poll_output(&mut self) -> Option<Output> {
        None
    }

    /// The next frame for a channel. Ask only while the channel can take more: what was not
    /// asked for yet can still be cancelled.
    pub fn poll_transmit(
        &mut self,
        _now: Timestamp,
        _link: LinkId,
        _channel: Channel,
    ) -> Option<Frame> {
        None
    }

    /// When to hand in [`Input::Timeout`], if nothing else happens before.
    pub fn next_timeout(&self) -> Option<Timestamp> {
        None
    }
}
