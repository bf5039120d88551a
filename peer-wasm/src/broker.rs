//! Messages between the engine and the broker, the part of Shoal on the page that has
//! the peer connections.

use crate::json::from_js;
use js_sys::{JsString, Object, Reflect};
use serde::Serialize;
use shoal_peer_core::io::LinkInput;
use shoal_protocol::{
    candidate::Candidate, control::Role, id::LinkId, rendezvous::IceServer, signal::Description,
};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::RtcDataChannel;

/// What the engine tells the broker.
#[derive(Serialize)]
#[serde(
    tag = "type",
    rename_all = "lowercase",
    rename_all_fields = "camelCase"
)]
pub enum ToBroker {
    /// Make a peer connection.
    Open {
        link: LinkId,
        role: Role,
        ice_servers: Vec<IceServer>,
        /// As `RTCConfiguration` has it.
        #[serde(skip_serializing_if = "Option::is_none")]
        ice_transport_policy: Option<&'static str>,
    },
    /// ICE servers for restarts.
    Servers {
        link: LinkId,
        ice_servers: Vec<IceServer>,
    },
    /// The other side's description.
    Remote {
        link: LinkId,
        #[serde(flatten)]
        description: Description,
    },
    /// An address of the other side; null: there are no more.
    Candidate {
        link: LinkId,
        #[serde(serialize_with = "as_line")]
        candidate: Option<Candidate>,
    },
    /// Restart ICE with another offer.
    Restart { link: LinkId },
    /// Close a peer connection.
    Close { link: LinkId },
}

fn as_line<S: serde::Serializer>(
    candidate: &Option<Candidate>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match candidate {
        Some(candidate) => serializer.collect_str(candidate),
        None => serializer.serialize_none(),
    }
}

/// What the broker says of a link.
pub enum FromBroker {
    /// The two channels, control first.
    Channels(RtcDataChannel, RtcDataChannel),
    /// Something for the node.
    Inputs(Vec<LinkInput>),
}

/// Reads a message of the broker. `None`: not one, or nothing that matters here.
pub fn read(message: &JsValue) -> Option<(LinkId, FromBroker)> {
    let link = text(message, "link")?.parse().ok()?;
    let one = |input| FromBroker::Inputs(vec![input]);
    let said = match text(message, "type")?.as_str() {
        "channels" => {
            let channel = |name| get(message, name).dyn_into::<RtcDataChannel>().ok();
            match (channel("control"), channel("bulk")) {
                (Some(control), Some(bulk)) => FromBroker::Channels(control, bulk),
                _ => one(failed("the data channels could not be transferred")),
            }
        }
        "local" => one(match from_js(message) {
            Ok(description) => LinkInput::LocalDescription(description),
            Err(error) => failed(&format!("no usable description: {error}")),
        }),
        "candidate" => match get(message, "candidate").dyn_into::<JsString>() {
            // Of a kind this version does not know: others may do.
            Ok(line) => one(LinkInput::LocalCandidate(Some(
                String::from(line).parse().ok()?,
            ))),
            Err(_) => one(LinkInput::LocalCandidate(None)),
        },
        "state" => FromBroker::Inputs(state(message)),
        "failed" => {
            let part = |name| text(message, name).unwrap_or_default();
            one(failed(&[part("code"), part("detail")].join(": ")))
        }
        _ => return None,
    };
    Some((link, said))
}

/// The state of the peer connection.
fn state(message: &JsValue) -> Vec<LinkInput> {
    let fingerprint = text(message, "remoteFingerprint").and_then(|text| text.parse().ok());
    let fingerprint = fingerprint.map(LinkInput::RemoteFingerprint);
    let end = match text(message, "value").as_deref() {
        Some("disconnected") => Some(LinkInput::Disconnected),
        Some("failed") => Some(LinkInput::Unreachable),
        Some("closed") => Some(LinkInput::Closed),
        _ => None,
    };
    fingerprint.into_iter().chain(end).collect()
}

fn failed(detail: &str) -> LinkInput {
    LinkInput::Failed {
        detail: detail.into(),
    }
}

fn get(message: &JsValue, name: &str) -> JsValue {
    match message.is_object() {
        true => Reflect::get(message.unchecked_ref::<Object>(), &name.into()).unwrap_or_default(),
        false => JsValue::UNDEFINED,
    }
}

fn text(message: &JsValue, name: &str) -> Option<String> {
    get(message, name).as_string()
}
