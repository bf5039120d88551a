//! Signals on their way, and receipts for them.

use super::{
    ConnectionId, Registry, SessionId, Timer,
    session::{self, Origin},
};
use crate::check::AddressedSignal;
use shoal_protocol::{
    rendezvous::{ACK_DELAY, MAX_RECEIPTS, MAX_UNACKED, Receipt, ReceiptStatus},
    time::Timestamp,
};
use std::mem;

impl Registry {
    pub(super) fn signal(
        &mut self,
        now: Timestamp,
        connection: ConnectionId,
        from: SessionId,
        number: u64,
        signal: AddressedSignal,
    ) {
        let Some(sender) = self.sessions.get(&from) else {
            return;
        };
        let address = self.connections.get(&connection).map(|sent| sent.from);
        let admitted = self.admission.signal(now, address, sender.peer);
        if let Err(reached) = admitted {
            self.counts.reached(reached.key);
            return self.receipt(now, from, number, ReceiptStatus::Refused);
        }
        let origin = Origin {
            session: from,
            incarnation: sender.incarnation,
            id: number,
        };
        let receiver = self
            .namespaces
            .get(&sender.namespace)
            .and_then(|members| members.session_of(&signal.to()))
            .and_then(|id| self.sessions.get_mut(&id));
        let Some(receiver) = receiver else {
            return self.receipt(now, from, number, ReceiptStatus::Gone);
        };
        match receiver
            .inbox
            .push(now, origin, signal.into_signed(), &self.limits)
        {
            Ok(()) => self.woken.extend(receiver.connection),
            Err(session::Full(key)) => {
                self.counts.reached(key);
                self.receipt(now, from, number, ReceiptStatus::Full);
            }
        }
    }

    /// The peer has taken the signals up to this number, so far as they were sent to it.
    pub(super) fn ack(&mut self, now: Timestamp, id: SessionId, number: u64) {
        while let Some(session) = self.sessions.get_mut(&id)
            && let Some(origin) = session.inbox.acknowledge(number)
        {
            self.receipt_to(now, origin, ReceiptStatus::Delivered);
        }
    }

    pub(super) fn receipts_gone(&mut self, now: Timestamp, given_up: Vec<Origin>) {
        for origin in given_up {
            self.receipt_to(now, origin, ReceiptStatus::Gone);
        }
    }

    /// A receipt to whoever sent a signal, if it is still that session.
    pub(super) fn receipt_to(&mut self, now: Timestamp, origin: Origin, status: ReceiptStatus) {
        let session = self.sessions.get(&origin.session);
        if session.is_some_and(|session| session.incarnation == origin.incarnation) {
            self.receipt(now, origin.session, origin.id, status);
        }
    }

    /// A receipt for a peer. One that says `delivered` can wait a little for a signal that takes
    /// it along; upon the others, the peer has something to do.
    pub(super) fn receipt(
        &mut self,
        now: Timestamp,
        id: SessionId,
        number: u64,
        status: ReceiptStatus,
    ) {
        self.counts.receipt(status);
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let receipt = Receipt { id: number, status };
        let forgotten = session.push_receipt(receipt, &self.limits);
        self.counts.forgot_receipts(forgotten);
        let Some(connection) = session.connection else {
            return;
        };
        let most = MAX_UNACKED.min(self.limits.receipts);
        let waits = status == ReceiptStatus::Delivered && session.receipts.len() < most;
        let due = if waits { now + ACK_DELAY } else { now };
        if session.receipts_due.is_some_and(|earlier| earlier <= due) {
            return;
        }
        self.keep_receipts(id);
        if let Some(session) = self.sessions.get_mut(&id) {
            session.receipts_due = Some(due);
        }
        match waits {
            true => _ = self.timers.insert((due, Timer::Receipts(id))),
            false => _ = self.woken.insert(connection),
        }
    }

    /// Receipts to send to a peer now.
    pub(super) fn take_receipts(&mut self, now: Timestamp, id: SessionId) -> Vec<Receipt> {
        self.keep_receipts(id);
        let Some(session) = self.sessions.get_mut(&id) else {
            return Vec::new();
        };
        let rest = session.receipts.len().min(MAX_RECEIPTS);
        let rest = session.receipts.split_off(rest);
        let taken = mem::replace(&mut session.receipts, rest);
        session.receipts_due = (!session.receipts.is_empty()).then_some(now);
        for receipt in &taken {
            session.news.sent_receipt(*receipt, &self.limits);
        }
        taken.into()
    }

    /// No receipts are due until others come, or the peer is back.
    pub(super) fn keep_receipts(&mut self, id: SessionId) {
        let session = self.sessions.get_mut(&id);
        if let Some(due) = session.and_then(|session| session.receipts_due.take()) {
            self.timers.remove(&(due, Timer::Receipts(id)));
        }
    }
}
