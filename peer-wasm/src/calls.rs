//! What facades ask for: their calls and options, checked.

use crate::{errors::invalid, json::from_js, rendezvous::socket_url, source::Source};
use js_sys::{Array, Object, Reflect};
use serde::de::DeserializeOwned;
use shoal_peer_core::io::{Code, Command, Error, Limits, Priority, Replicate};
use shoal_protocol::{
    content::ContentKey,
    membership::{Membership, NamespaceSecret},
    namespace::Namespace,
    rendezvous::IceServer,
};
use std::time::Duration;
use wasm_bindgen::{JsCast, JsValue};

/// How often a node synchronises if nobody says otherwise.
const SYNC_INTERVAL: Duration = Duration::from_secs(30);
/// Shortest interval of synchronisation that is taken. Guess: what a test may want.
const MIN_SYNC_INTERVAL: Duration = Duration::from_millis(100);
/// Longest interval, a day: there is no use in a longer one.
const MAX_SYNC_INTERVAL: Duration = Duration::from_secs(24 * 3600);

/// What a client wants of its node.
pub struct AttachOptions {
    /// Where the WebSocket of the rendezvous is.
    pub rendezvous: Option<String>,
    pub membership: Membership,
    pub ice_servers: Option<Vec<IceServer>>,
    /// Whether links go through TURN servers only.
    pub relay_only: bool,
    pub sync_interval: Duration,
    pub replicate: Option<Replicate>,
    pub limits: Limits,
    /// Bytes that the store may hold.
    pub storage_limit: Option<u64>,
}

impl AttachOptions {
    /// Reads the options of `attach`.
    pub fn read(options: &JsValue) -> Result<Self, Error> {
        let rendezvous = match get(options, "rendezvous") {
            None => None,
            Some(url) => {
                let url = url.as_string().as_deref().and_then(socket_url);
                Some(url.ok_or_else(|| invalid("`rendezvous` is not the URL of a server"))?)
            }
        };
        let membership = membership(options)?;
        let sync_interval = match get(options, "syncInterval") {
            None => SYNC_INTERVAL,
            Some(millis) => match millis.as_f64() {
                Some(millis) if millis > 0.0 => {
                    // Casting saturates, also for infinity.
                    Duration::from_millis(millis as u64).clamp(MIN_SYNC_INTERVAL, MAX_SYNC_INTERVAL)
                }
                _ => return Err(invalid("`syncInterval` is not a number of milliseconds")),
            },
        };
        Ok(Self {
            rendezvous,
            membership,
            ice_servers: ice_servers(options)?,
            relay_only: relay_only(options)?,
            sync_interval,
            replicate: get(options, "replicate")
                .map(|rule| parse(rule, "replicate"))
                .transpose()?,
            limits: limits(options)?,
            storage_limit: storage_limit(options)?,
        })
    }
}

/// The namespace, or the private one of a secret.
fn membership(options: &JsValue) -> Result<Membership, Error> {
    let text = |name| get(options, name).map(|text| text.as_string().unwrap_or_default());
    if let Some(secret) = text("secret") {
        let secret: NamespaceSecret = secret
            .parse()
            .map_err(|error| invalid(format!("`secret` is {error}")))?;
        return Ok(Membership::private(&secret));
    }
    let namespace: Namespace = match text("namespace") {
        None => Namespace::default(),
        Some(name) => name
            .parse()
            .map_err(|error| invalid(format!("`namespace`: {error}")))?,
    };
    match namespace.is_private() {
        true => Err(invalid(
            "`namespace` is the id of a private one, which is opened with its `secret`",
        )),
        false => Ok(Membership::public(namespace)),
    }
}

fn limits(options: &JsValue) -> Result<Limits, Error> {
    let slots = number(options, "uploadSlots", "a number of peers")?;
    Ok(Limits {
        upload: number(options, "uploadLimit", "a number of bytes a second")?,
        download: number(options, "downloadLimit", "a number of bytes a second")?,
        upload_slots: slots.map(|slots| slots.min(u32::MAX.into()) as u32),
    })
}

/// How much the store may hold; infinity is as much as there is.
fn storage_limit(options: &JsValue) -> Result<Option<u64>, Error> {
    match get(options, "storageLimit").map(|limit| limit.as_f64()) {
        None => Ok(None),
        // Casting saturates.
        Some(Some(limit)) if limit > 0.0 => Ok(Some(limit as u64)),
        _ => Err(invalid("`storageLimit` is not a number of bytes")),
    }
}

/// A limit; infinity is none.
fn number(options: &JsValue, name: &str, what: &str) -> Result<Option<u64>, Error> {
    match get(options, name).map(|limit| limit.as_f64()) {
        None | Some(Some(f64::INFINITY)) => Ok(None),
        // Casting saturates.
        Some(Some(limit)) if limit > 0.0 => Ok(Some(limit as u64)),
        _ => Err(invalid(format!("`{name}` is not {what}"))),
    }
}

fn relay_only(options: &JsValue) -> Result<bool, Error> {
    let policy = get(options, "iceTransportPolicy").map(|policy| policy.as_string());
    match policy.as_ref().map(Option::as_deref) {
        None | Some(Some("all")) => Ok(false),
        Some(Some("relay")) => Ok(true),
        _ => Err(invalid("`iceTransportPolicy` is neither all nor relay")),
    }
}

/// `RTCIceServer` has one URL or several in `urls`.
fn ice_servers(options: &JsValue) -> Result<Option<Vec<IceServer>>, Error> {
    let Some(servers) = get(options, "iceServers") else {
        return Ok(None);
    };
    let servers = servers.dyn_into::<Array>();
    let servers = servers.map_err(|_| invalid("`iceServers` is not a list"))?;
    let one = |server: JsValue| {
        let server: JsValue = match get(&server, "urls") {
            Some(url) if url.is_string() => {
                let copy = Object::assign(&Object::new(), server.unchecked_ref());
                // Setting a property of a fresh object cannot fail.
                let _ = Reflect::set(&copy, &"urls".into(), &Array::of1(&url));
                copy.into()
            }
            _ => server,
        };
        parse(server, "iceServers")
    };
    servers.iter().map(one).collect::<Result<_, _>>().map(Some)
}

/// What a client asks for.
pub enum Call {
    /// Of a node; with what it publishes.
    Command(Command, Option<Source>),
    /// Of the store.
    Storage(StorageChange),
}

/// What is to change in what the store holds or may hold.
pub enum StorageChange {
    /// Nothing.
    None,
    /// The limit; `None`: the usual one.
    Limit(Option<u64>),
    /// What is neither pinned nor in use goes.
    Clear,
}

/// Reads a call.
pub fn read(call: &str, args: &JsValue) -> Result<Call, Error> {
    let command = match call {
        "publish" => {
            let source = get(args, "data").as_ref().and_then(Source::new);
            let source = source.ok_or_else(|| {
                invalid("`data` is not a Blob, an ArrayBuffer or a Uint8Array, or is detached")
            })?;
            let metadata = get(args, "metadata").map(|value| parse(value, "metadata"));
            let command = Command::Publish {
                size: source.size(),
                metadata: metadata.transpose()?.unwrap_or_default(),
                pinned: flag(args, "pinned"),
            };
            return Ok(Call::Command(command, Some(source)));
        }
        "fetch" => Command::Fetch {
            key: key(args)?,
            priority: priority(args)?,
            paused: flag(args, "paused"),
            pinned: flag(args, "pinned"),
            on_demand: flag(args, "onDemand"),
        },
        "pause" => Command::Pause { key: key(args)? },
        "resume" => Command::Resume { key: key(args)? },
        "prioritise" => Command::Prioritise {
            key: key(args)?,
            priority: priority(args)?,
        },
        "limit" => Command::Limit(limits(args)?),
        "stopFetch" => Command::StopFetch {
            key: key(args)?,
            on_demand: flag(args, "onDemand"),
            unless_wanted: flag(args, "unlessWanted"),
        },
        "read" => Command::Read {
            key: key(args)?,
            index: index(args)?,
        },
        "held" => Command::Held { key: key(args)? },
        "hold" => Command::Hold { key: key(args)? },
        "pin" => Command::Pin {
            key: key(args)?,
            pinned: flag(args, "pinned"),
        },
        "storage" => return Ok(Call::Storage(StorageChange::None)),
        "limitStorage" => return Ok(Call::Storage(StorageChange::Limit(storage_limit(args)?))),
        "clear" => return Ok(Call::Storage(StorageChange::Clear)),
        "contents" => Command::Contents,
        "remove" => Command::Remove { key: key(args)? },
        "peers" => Command::Peers,
        "catalog" => {
            let peer = get(args, "peer").and_then(|peer| peer.as_string());
            let peer = peer.and_then(|peer| peer.parse().ok());
            Command::Catalog {
                peer: peer.ok_or_else(|| invalid("`peer` is not a peer id (12D3KooW…)"))?,
            }
        }
        _ => return Err(invalid(format!("there is no call `{call}`"))),
    };
    Ok(Call::Command(command, None))
}

fn key(args: &JsValue) -> Result<ContentKey, Error> {
    let key = get(args, "key").and_then(|key| key.as_string());
    key.and_then(|key| key.parse().ok())
        .ok_or_else(|| Error::new(Code::InvalidKey, "not a content key (bafkr4i…)"))
}

fn flag(args: &JsValue, name: &str) -> bool {
    get(args, name).is_some_and(|flag| flag.is_truthy())
}

fn priority(args: &JsValue) -> Result<Priority, Error> {
    let priority = get(args, "priority").map(|priority| parse(priority, "priority"));
    Ok(priority.transpose()?.unwrap_or_default())
}

fn index(args: &JsValue) -> Result<u32, Error> {
    match get(args, "index").and_then(|index| index.as_f64()) {
        Some(index) if index >= 0.0 && index <= f64::from(u32::MAX) && index.fract() == 0.0 => {
            Ok(index as u32)
        }
        _ => Err(invalid("`index` is not the number of a chunk")),
    }
}

/// A property, unless it is undefined or null.
fn get(object: &JsValue, name: &str) -> Option<JsValue> {
    let value = object
        .is_object()
        .then(|| Reflect::get(object.unchecked_ref::<Object>(), &name.into()));
    value?
        .ok()
        .filter(|value| !value.is_undefined() && !value.is_null())
}

fn parse<T: DeserializeOwned>(value: JsValue, name: &str) -> Result<T, Error> {
    from_js(&value).map_err(|error| invalid(format!("`{name}`: {error}")))
}
