//! What is done to a database when an engine opens it.

use super::{
    layout::{
        CHUNKS, CLAIMED_KEY, CONTENTS, EPOCH_KEY, FORMAT, FORMAT_KEY, META, PLACES, PROOFS, Record,
        foreign, number, records, whole,
    },
    notes::take_up,
    transaction::{Result, Transaction, from_idb},
};
use js_sys::Array;
use shoal_peer_core::io::Slot;
use shoal_protocol::{content::ContentKey, sorted::SortedMap, time::UnixMillis};
use wasm_bindgen::{JsCast, JsValue};

/// Slots that a record names, with its key if the content is whole.
type Named = SortedMap<Slot, Option<ContentKey>>;

/// Puts a new epoch into the store, after a look at its format, and into a new one what is noted.
pub async fn take_over(
    t: &Transaction,
    now: UnixMillis,
    notes: Vec<[JsValue; 4]>,
) -> Result<(u64, Option<u32>)> {
    if number(t, FORMAT_KEY).await? > Some(u64::from(FORMAT)) {
        return Err(foreign());
    }
    t.put(META, &FORMAT_KEY.into(), &FORMAT.into())?;
    let before = number(t, EPOCH_KEY).await?;
    let claimed = number(t, CLAIMED_KEY).await?.unwrap_or(0);
    let epoch = now.0.max(before.unwrap_or(0).max(claimed) + 1);
    t.put(META, &EPOCH_KEY.into(), &(epoch as f64).into())?;
    let recovered = match before.is_none() && !notes.is_empty() {
        true => Some(take_up(t, notes)?),
        false => None,
    };
    Ok((epoch, recovered))
}

/// Takes out records that cannot be read, and deletes the chunks of slots that no record
/// names; returns the slots that are named, with the key of what is whole in them, and the keys of
/// what was taken out.
pub async fn drop_orphans(t: &Transaction) -> Result<(Named, Vec<String>)> {
    let (records, damaged) = records(t).await?;
    for key in &damaged {
        t.delete(CONTENTS, key.clone())?;
        t.delete(PROOFS, key.clone())?;
    }
    let damaged = damaged
        .iter()
        .map(|key| key.as_string().unwrap_or_default());
    let of = |(key, record): (&ContentKey, &Record)| (record.slot, record.complete.then_some(*key));
    let named: Named = records.iter().map(of).collect();
    for store in [CHUNKS, PLACES] {
        let request = t.store(store)?.open_key_cursor(None, None);
        let mut cursor = request.map_err(from_idb)?.await.map_err(from_idb)?;
        // One step for each slot, however many chunks there are.
        while let Some(at) = cursor {
            let key: Array = at.key().map_err(from_idb)?.unchecked_into();
            let slot = key.get(0).as_f64().unwrap_or(0.0) as Slot;
            if !named.contains_key(&slot) {
                t.delete(store, whole(slot)?)?;
            }
            let next = Array::of1(&((slot + 1) as f64).into());
            let request = at.next(Some(&next)).map_err(from_idb)?;
            cursor = request.await.map_err(from_idb)?;
        }
    }
    Ok((named, damaged.collect()))
}

/// Gives out an epoch above the engine's and above all that were given out.
pub async fn claim_epoch(t: &Transaction, engine: u64, now: UnixMillis) -> Result<u64> {
    let before = number(t, CLAIMED_KEY).await?.unwrap_or(0).max(engine);
    let epoch = now.0.max(before + 1);
    t.put(META, &CLAIMED_KEY.into(), &(epoch as f64).into())?;
    Ok(epoch)
}
