//! Signals on their way, and receipts for them.

use super::{
    ConnectionId, Registry, SessionId,
    session::{self, Origin, Receipt},
};
use crate::check::AddressedSignal;
use shoal_protocol::{rendezvous::ReceiptStatus, time::Timestamp};

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
            return self.receipt(from, number, ReceiptStatus::Refused);
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
            return self.receipt(from, number, ReceiptStatus::Gone);
        };
        match receiver
            .inbox
            .push(now, origin, signal.into_signed(), &self.limits)
        {
            Ok(()) => self.woken.extend(receiver.connection),
            Err(session::Full(key)) => {
                self.counts.reached(key);
                self.receipt(from, number, ReceiptStatus::Full);
            }
        }
    }

    pub(super) fn ack(&mut self, id: SessionId, number: u64) {
        let origin = self
            .sessions
            .get_mut(&id)
            .and_then(|session| session.inbox.acknowledge(number));
        if let Some(origin) = origin {
            self.receipt_to(origin, ReceiptStatus::Delivered);
        }
    }

    pub(super) fn receipts_gone(&mut self, given_up: Vec<Origin>) {
        for origin in given_up {
            self.receipt_to(origin, ReceiptStatus::Gone);
        }
    }

    /// A receipt to whoever sent a signal, if it is still that session.
    pub(super) fn receipt_to(&mut self, origin: Origin, status: ReceiptStatus) {
        let session = self.sessions.get(&origin.session);
        if session.is_some_and(|session| session.incarnation == origin.incarnation) {
            self.receipt(origin.session, origin.id, status);
        }
    }

    pub(super) fn receipt(&mut self, id: SessionId, number: u64, status: ReceiptStatus) {
        self.counts.receipt(status);
        if let Some(session) = self.sessions.get_mut(&id) {
            session.push_receipt(Receipt { id: number, status }, &self.limits);
            self.woken.extend(session.connection);
        }
    }
}
