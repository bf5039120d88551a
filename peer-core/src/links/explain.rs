//! Why a link failed, in words for a person.

use crate::{
    io::{CandidateCounts, Candidates, Code, Error},
    link::LinkFailure,
};
use shoal_protocol::{id::PeerId, signal::Refusal};

/// Puts a failure in words for a person; `None` where nobody can do anything about it.
pub(super) fn explain(
    peer: PeerId,
    was_up: bool,
    failure: &LinkFailure,
    candidates: Candidates,
) -> Option<Error> {
    let (code, message) = match failure {
        LinkFailure::Auth(why) => (
            Code::LinkAuth,
            format!(
                "The connection to {peer} was dropped: {why}. Somebody may be in between, for example a rendezvous that is not honest."
            ),
        ),
        LinkFailure::Protocol(why) => (
            Code::Unreachable,
            format!("The connection to {peer} was dropped: {why}."),
        ),
        LinkFailure::Signing => (
            Code::Unreachable,
            "This peer could not sign with its key.".into(),
        ),
        LinkFailure::Refused(Refusal::Version) => (
            Code::Unreachable,
            format!(
                "{peer} speaks another version of Shoal. One of the two pages must be reloaded or updated."
            ),
        ),
        LinkFailure::Unsealed | LinkFailure::Refused(Refusal::Unsealed) => (
            Code::LinkAuth,
            format!(
                "The connection to {peer} was given up: what was said about it was not sealed to the key of the other side."
            ),
        ),
        LinkFailure::Connection(_) | LinkFailure::Timeout(_) if was_up => return None,
        LinkFailure::Connection(detail) => (
            Code::Unreachable,
            format!("{} ({detail})", explain_candidates(peer, candidates)),
        ),
        LinkFailure::Timeout("no connection came about") => {
            (Code::Unreachable, explain_candidates(peer, candidates))
        }
        LinkFailure::Refused(_) | LinkFailure::Timeout(_) => return None,
    };
    Some(Error {
        code,
        message,
        peer: Some(peer),
        candidates: Some(candidates),
    })
}

/// Says what the candidates tell about a connection that did not come about.
fn explain_candidates(peer: PeerId, Candidates { local, remote }: Candidates) -> String {
    let start = format!("No connection to {peer} could be made: ");
    let total = |counts: CandidateCounts| counts.host + counts.srflx + counts.relay;
    start
        + match (total(local), total(remote)) {
            (0, _) => {
                "this browser found no network address to offer; a setting, an extension or a missing network hides them."
            }
            (_, 0) => "the other browser sent no network address.",
            _ if local.relay + remote.relay > 0 => {
                "not even the TURN relay worked; check its address, its port and its password."
            }
            _ if local.srflx == 0 && remote.srflx == 0 => {
                "both sides know only addresses of their own network, for the rendezvous names no STUN server or it does not answer."
            }
            _ => {
                "the networks in between let no direct connection through; a TURN server would help."
            }
        }
}
