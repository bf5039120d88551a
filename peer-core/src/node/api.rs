//! Calls of the API and their answers.

use super::{NeedsProof, Node, Op, content::store_error};
use crate::{
    contents::describe,
    fetch::Terms,
    io::{
        Answer, CallId, Code, Command, Content, Error, Event, LinkStats, Output, PeerInfo,
        StoreError, StoreRequest,
    },
    publishing::Waiting,
};
use shoal_protocol::{content::ContentKey, id::PeerId, sorted::SortedMap, time::Timestamp};
use std::time::Duration;

/// How long a catalog that was asked for is waited for. Guess: some round trips of a bad line.
const CATALOG_PATIENCE: Duration = Duration::from_secs(5);

impl Node {
    pub(super) fn command(&mut self, now: Timestamp, call: CallId, command: Command) {
        match command {
            Command::Publish {
                size,
                metadata,
                pinned,
            } => {
                let waiting = Waiting {
                    size,
                    metadata,
                    pinned,
                };
                match self.publications.wait(call, waiting) {
                    Ok(()) => self.publish_next(),
                    Err(error) => self.answer_error(call, error),
                }
            }
            Command::Fetch {
                key,
                priority,
                paused,
                on_demand,
                pinned,
            } => {
                if pinned {
                    self.pin(key);
                }
                if let Some(content) = self
                    .contents
                    .get(key)
                    .filter(|content| content.held.is_full())
                {
                    let content = describe(content);
                    return self.answer(call, Answer::Content(content));
                }
                let known = self.contents.get(key).is_some() && self.transfers.is_fetching(key);
                self.fetch_calls.entry(key).or_default().push(call);
                let running = self.transfers.terms(key);
                // One that the store goes on with may not run yet.
                let is_wanted = self.contents.get(key).is_some_and(|content| content.wanted);
                let is_read = running.map_or(!is_wanted, |terms| terms.on_demand);
                let terms = Terms {
                    priority: running.map_or(priority, |terms| terms.priority.max(priority)),
                    paused: running.map_or(paused, |terms| terms.paused),
                    on_demand: on_demand && is_read,
                };
                self.transfers.set_terms(now, key, terms);
                if known {
                    self.note_wanted(key);
                    self.answer_fetch_calls(key);
                } else if !self.transfers.is_fetching(key) {
                    self.begin_fetch(now, key);
                }
            }
            Command::Pause { key } => {
                self.set_paused(now, key, true);
                self.answer(call, Answer::Done);
            }
            Command::Resume { key } => {
                self.set_paused(now, key, false);
                self.answer(call, Answer::Done);
            }
            Command::Prioritise { key, priority } => {
                if let Some(terms) = self.transfers.terms(key) {
                    let terms = Terms { priority, ..terms };
                    self.transfers.set_terms(now, key, terms);
                }
                self.answer(call, Answer::Done);
            }
            Command::Limit(limits) => {
                self.uploads.set_limits(now, limits);
                self.transfers.set_limit(now, limits.download);
                self.answer(call, Answer::Done);
            }
            Command::StopFetch {
                key,
                on_demand,
                unless_wanted,
            } => {
                let terms = self.transfers.terms(key);
                match terms.filter(|_| on_demand) {
                    _ if unless_wanted && terms.is_none_or(|terms| !terms.on_demand) => {}
                    Some(terms) => {
                        let terms = Terms { on_demand, ..terms };
                        self.transfers.set_terms(now, key, terms);
                        self.note_wanted(key);
                    }
                    None => self.stop_fetch(key),
                }
                self.answer(call, Answer::Done);
            }
            Command::Read { key, index } => self.read(call, key, index),
            Command::Held { key } => {
                let held = self.contents.get(key).map(|content| content.held.ranges());
                self.answer(call, Answer::Held(held.unwrap_or_default()));
            }
            Command::Hold { key } => {
                self.holds.insert(call, key);
            }
            Command::Contents => {
                let contents = self.contents.iter().map(describe).collect();
                self.answer(call, Answer::Contents(contents));
            }
            Command::Remove { key } => {
                if self.contents.get(key).is_none() && !self.transfers.is_fetching(key) {
                    return self.fail(call, Code::NotHeld, "it is not held here");
                }
                self.fail_waiting(key);
                // Withdrawn first, deleted after.
                self.tell_gone(now, key, &[]);
                self.forget(key);
                self.sign_catalog(now);
                self.store(Op::Remove { call }, StoreRequest::RemoveContent { key });
            }
            Command::Pin { key, pinned } => match self.contents.get(key) {
                Some(_) => self.store(
                    Op::Pin {
                        key,
                        pinned,
                        call: Some(call),
                    },
                    StoreRequest::SetPinned { key, pinned },
                ),
                None => self.fail(call, Code::NotHeld, "it is not held here"),
            },
            Command::Peers => {
                let mut peers: Vec<PeerInfo> = self
                    .links
                    .up()
                    .map(|(id, _)| self.peer_info(now, id))
                    .collect();
                let unlinked = self
                    .view
                    .iter()
                    .filter(|peer| self.links.link_to(**peer).is_none());
                peers.extend(unlinked.map(|&id| self.peer_info(now, id)));
                self.answer(call, Answer::Peers(peers));
            }
            Command::Catalog { peer } => self.catalog(now, call, peer),
            Command::Close => {
                self.close();
                // Last, since the driver ends with it, and the leave is to be said before.
                self.answer(call, Answer::Done);
            }
        }
    }

    /// Pins a content that is being fetched, once there is a record of it.
    fn pin(&mut self, key: ContentKey) {
        match self.contents.get(key) {
            Some(content) if content.pinned => {}
            Some(_) => self.store(
                Op::Pin {
                    key,
                    pinned: true,
                    call: None,
                },
                StoreRequest::SetPinned { key, pinned: true },
            ),
            None => {
                self.to_pin.insert(key);
            }
        }
    }

    fn peer_info(&self, now: Timestamp, id: PeerId) -> PeerInfo {
        let traffic = self.links.traffic(id);
        let rtt = traffic.as_ref().and_then(|traffic| traffic.rtt);
        let link = traffic.map(|traffic| LinkStats {
            connections: traffic.lanes + 1,
            received: traffic.received,
            sent: traffic.sent,
            receive_rate: traffic.receiving.get(now),
            send_rate: traffic.sending.get(now),
        });
        PeerInfo {
            id,
            linked: link.is_some(),
            rtt: rtt.map(|rtt| rtt.as_secs_f64() * 1e3),
            link,
        }
    }

    /// Nobody waits for the call any more.
    pub(super) fn abort(&mut self, call: CallId) {
        self.holds.remove(&call);
        self.abort_publication(call);
        let read = self.read_calls.iter_mut().find_map(|((key, _), calls)| {
            let before = calls.len();
            calls.retain(|waiting| *waiting != call);
            (calls.len() < before).then_some(*key)
        });
        if let Some(key) = read {
            self.read_calls.retain(|_, calls| !calls.is_empty());
            self.reads_changed(key);
        }
        for calls in self.catalog_calls.values_mut() {
            calls.retain(|(waiting, _)| *waiting != call);
        }
        let of_call = self
            .fetch_calls
            .iter()
            .find(|(_, calls)| calls.contains(&call))
            .map(|(key, _)| *key);
        if let Some(key) = of_call {
            let calls = self.fetch_calls.entry(key).or_default();
            calls.retain(|waiting| *waiting != call);
            if calls.is_empty() {
                self.fetch_calls.remove(&key);
                if !self.replicating.contains_key(&key) {
                    self.stop_fetch(key);
                }
            }
        }
    }

    /// Lets a fetch rest, or go on.
    fn set_paused(&mut self, now: Timestamp, key: ContentKey, paused: bool) {
        let running = self.transfers.terms(key);
        let is_of_use = match self.contents.get(key) {
            Some(content) if content.held.is_full() => false,
            Some(content) => running.is_some() || content.wanted == paused,
            None => running.is_some(),
        };
        if !is_of_use {
            return;
        }
        let terms = running.unwrap_or_default();
        self.transfers
            .set_terms(now, key, Terms { paused, ..terms });
        self.note_wanted(key);
        if running.is_none() && !paused {
            self.begin_fetch(now, key);
        }
        self.search_anew(now);
    }

    /// Has the store know whether a fetch is to go on after a restart.
    pub(super) fn note_wanted(&mut self, key: ContentKey) {
        let wanted = self.transfers.wants_all(key);
        self.set_wanted(key, wanted);
    }

    /// Has the store know that, of a fetch that runs or has ended.
    pub(super) fn note_fetched(&mut self, key: ContentKey) {
        let wanted = self.transfers.is_fetching(key) && self.transfers.wants_all(key);
        self.set_wanted(key, wanted);
    }

    fn set_wanted(&mut self, key: ContentKey, wanted: bool) {
        if let Some(content) = self.contents.get_mut(key)
            && content.wanted != wanted
            && !content.held.is_full()
        {
            content.wanted = wanted;
            self.store(Op::Quiet, StoreRequest::SetWanted { key, wanted });
        }
    }

    fn stop_fetch(&mut self, key: ContentKey) {
        self.fail_waiting(key);
        if self.transfers.is_fetching(key) {
            self.event(Event::Stopped { key });
        }
        self.transfers.stop(key);
        // It may be about to go on once its proof is read.
        if let Some(needs) = self.needs_proof.get_mut(&key) {
            needs.retain(|need| !matches!(need, NeedsProof::Fetch));
        }
        self.to_pin.remove(&key);
        self.replicating.remove(&key);
        self.providers.remove(&key);
        self.searched.remove(&key);
        self.note_fetched(key);
    }

    /// Ends all calls that wait for a content.
    pub(super) fn fail_waiting(&mut self, key: ContentKey) {
        let fetches = self.fetch_calls.remove(&key).unwrap_or_default();
        let reads: Vec<CallId> = self
            .reads_of(key)
            .iter()
            .flat_map(|index| self.read_calls.remove(&(key, *index)).unwrap_or_default())
            .collect();
        for call in fetches.into_iter().chain(reads) {
            self.fail(call, Code::Aborted, "its fetch was stopped");
        }
    }

    /// Answers the calls that waited until size and name of a content were known.
    pub(super) fn answer_fetch_calls(&mut self, key: ContentKey) {
        let Some(content) = self.contents.get(key).map(describe) else {
            return;
        };
        for call in self.fetch_calls.remove(&key).unwrap_or_default() {
            self.answer(call, Answer::Content(content.clone()));
        }
    }

    pub(super) fn read(&mut self, call: CallId, key: ContentKey, index: u32) {
        match self.contents.get(key) {
            Some(content) if index >= content.held.len() => {
                self.fail(call, Code::InvalidArgument, "it has no such chunk");
            }
            Some(content) if content.held.contains(index) => {
                self.with_proof(key, NeedsProof::Read(call, index))
            }
            _ => self.wait_for_chunk(call, key, index),
        }
    }

    pub(super) fn wait_for_chunk(&mut self, call: CallId, key: ContentKey, index: u32) {
        let loading = self.needs_proof.contains_key(&key);
        if !self.transfers.is_fetching(key) && !loading {
            return self.fail(
                call,
                Code::NotHeld,
                "this part of it is not held here; fetch it first",
            );
        }
        self.read_calls.entry((key, index)).or_default().push(call);
        self.reads_changed(key);
    }

    /// Chunks of a content that somebody waits to read.
    pub(super) fn reads_of(&self, key: ContentKey) -> Vec<u32> {
        let reads = self.read_calls.keys().filter(|(of, _)| *of == key);
        reads.map(|(_, index)| *index).collect()
    }

    /// Others wait to read than before.
    pub(super) fn reads_changed(&mut self, key: ContentKey) {
        let at = self.reads_of(key).into_iter().collect();
        self.transfers.set_reading(key, at);
    }

    fn catalog(&mut self, now: Timestamp, call: CallId, peer: PeerId) {
        if peer == self.peer {
            let contents = self.contents.iter().map(describe).collect();
            return self.answer(call, Answer::Contents(contents));
        }
        let until = now + CATALOG_PATIENCE;
        self.catalog_calls
            .entry(peer)
            .or_default()
            .push((call, until));
        if self.catalogs.catalog(peer).is_some()
            || !self.view.contains(&peer) && self.links.link_to(peer).is_none()
        {
            self.answer_catalog_calls(peer);
        } else {
            self.ask_for_catalog(now, peer);
        }
    }

    /// Answers with what is known of a peer's catalog.
    pub(super) fn answer_catalog_calls(&mut self, peer: PeerId) {
        let calls = self.catalog_calls.remove(&peer).unwrap_or_default();
        if calls.is_empty() {
            return;
        }
        let entries = self
            .catalogs
            .catalog(peer)
            .into_iter()
            .flat_map(|catalog| catalog.entries());
        let contents: Vec<Content> = entries
            .map(|entry| Content {
                key: entry.key,
                size: entry.size.bytes(),
                held: if entry.complete {
                    entry.size.bytes()
                } else {
                    0
                },
                pinned: false,
                metadata: entry.metadata.clone(),
            })
            .collect();
        for (call, _) in calls {
            self.answer(call, Answer::Contents(contents.clone()));
        }
    }

    /// Answers those that waited long enough.
    pub(super) fn end_catalog_calls(&mut self, now: Timestamp) {
        let due: Vec<PeerId> = self
            .catalog_calls
            .iter()
            .filter(|(_, calls)| calls.iter().any(|(_, until)| *until <= now))
            .map(|(peer, _)| *peer)
            .collect();
        for peer in due {
            self.answer_catalog_calls(peer);
        }
    }

    fn close(&mut self) {
        for call in self.publications.stop_all_waiting() {
            self.answer_error(call, Error::new(Code::Closed, "The peer was closed."));
        }
        for call in self.publications.calls() {
            self.end_publication(call, Error::new(Code::Closed, "The peer was closed."));
        }
        let waiting: Vec<CallId> = std::mem::take(&mut self.fetch_calls)
            .into_values()
            .chain(std::mem::take(&mut self.read_calls).into_values())
            .flatten()
            .chain(
                std::mem::take(&mut self.catalog_calls)
                    .into_values()
                    .flatten()
                    .map(|(call, _)| call),
            )
            .collect();
        for call in waiting {
            self.answer_error(call, Error::new(Code::Closed, "The peer was closed."));
        }
        self.holds = SortedMap::new();
        self.links.close_all();
        self.session.leave();
        self.flush_close();
    }

    fn flush_close(&mut self) {
        while let Some(action) = self.links.poll() {
            if let crate::links::Action::Close(link) = action {
                self.outputs.push_back(Output::CloseLink { link });
            }
        }
        while let Some(action) = self.session.poll() {
            match action {
                crate::rendezvous::Action::Send(message) => {
                    self.outputs
                        .push_back(Output::SendRendezvous(message.to_text()));
                }
                crate::rendezvous::Action::Disconnect => {
                    self.outputs.push_back(Output::CloseRendezvous)
                }
                _ => {}
            }
        }
        self.closed = true;
    }

    pub(super) fn answer(&mut self, call: CallId, answer: Answer) {
        self.outputs.push_back(Output::Answer {
            call,
            result: Ok(answer),
        });
    }

    pub(super) fn answer_error(&mut self, call: CallId, error: Error) {
        self.outputs.push_back(Output::Answer {
            call,
            result: Err(error),
        });
    }

    pub(super) fn fail(&mut self, call: CallId, code: Code, why: &str) {
        self.answer_error(
            call,
            Error::new(code, format!("The content cannot be had: {why}.")),
        );
    }

    pub(super) fn fail_store(&mut self, call: CallId, error: &StoreError) {
        self.answer_error(call, store_error(error));
    }
}
