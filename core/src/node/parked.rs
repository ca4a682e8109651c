//! Requests that wait: for the disk, for data, or for several answers.

use alloc::collections::BTreeMap;

use crate::{
    ids::{LogId, RequestId},
    message::{FetchRequest, ProduceResponse, Response},
    time::Instant,
};

/// A produce request whose batches are on their way. Partitions that have not been answered yet stand as timed out, so
/// that the response is right at whatever moment it is given.
#[derive(Debug)]
pub(super) struct ParkedProduce {
    pub(super) response: ProduceResponse,
    pub(super) waiting: usize,
    pub(super) deadline: Instant,
}

/// A fetch request that has found too little to answer.
#[derive(Debug)]
pub(super) struct ParkedFetch {
    pub(super) request: FetchRequest,
    pub(super) logs: alloc::vec::Vec<LogId>,
    /// Bytes found so far.
    pub(super) bytes: usize,
    pub(super) deadline: Instant,
}

/// A request whose answer is put together from the outcomes of several jobs.
#[derive(Debug)]
pub(super) struct Gather {
    pub(super) response: Response,
    pub(super) waiting: usize,
    /// Until when it may wait for other nodes.
    pub(super) deadline: Instant,
}

/// Requests of one kind, by id.
#[derive(Debug)]
pub(super) struct Parked<T>(BTreeMap<RequestId, T>);

impl<T> Default for Parked<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> Parked<T> {
    pub(super) fn park(&mut self, id: RequestId, what: T) {
        assert!(self.0.insert(id, what).is_none(), "a request id is used once");
    }

    pub(super) fn get(&mut self, id: RequestId) -> Option<&mut T> {
        self.0.get_mut(&id)
    }

    pub(super) fn take(&mut self, id: RequestId) -> Option<T> {
        self.0.remove(&id)
    }

    pub(super) fn any(&self) -> Option<RequestId> {
        self.0.keys().next().copied()
    }
}

pub(super) type ParkedProduces = Parked<ParkedProduce>;
pub(super) type ParkedFetches = Parked<ParkedFetch>;
pub(super) type Gathers = Parked<Gather>;
