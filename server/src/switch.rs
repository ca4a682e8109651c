//! Something that is switched on once, and those who wait for it.
//!
//! `tokio::sync::watch` does the same, but wakes those who wait in an order that it draws from a generator of tokio's. What
//! a node does when it becomes ready, or stops, would be another thing in each run of the same seed.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use tokio::sync::Notify;

/// Switches on. Dropping it without having done so tells those who wait that it never will.
#[derive(Debug)]
pub struct Switch(Arc<Shared>);

/// What is switched on.
#[derive(Clone, Debug)]
pub struct Switched(Arc<Shared>);

/// It will never be switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the switch is gone")]
pub struct Gone;

#[derive(Debug)]
struct Shared {
    state: AtomicU8,
    changed: Notify,
}

impl Switch {
    /// A switch, and what it switches.
    pub fn new() -> (Self, Switched) {
        let shared = Arc::new(Shared { state: AtomicU8::new(OFF), changed: Notify::new() });
        (Self(Arc::clone(&shared)), Switched(shared))
    }

    /// Switches on; a second time changes nothing.
    pub fn turn_on(&self) {
        self.0.change(ON);
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.0.change(GONE);
    }
}

impl Switched {
    /// Is it on?
    pub fn is_on(&self) -> bool {
        self.0.state.load(Ordering::Acquire) == ON
    }

    /// Returns once it is on, those who wait in the order in which they began to.
    pub async fn on(&self) -> Result<(), Gone> {
        loop {
            let mut changed = pin!(self.0.changed.notified());
            changed.as_mut().enable();
            match self.0.state.load(Ordering::Acquire) {
                ON => return Ok(()),
                GONE => return Err(Gone),
                _ => changed.await,
            }
        }
    }
}

impl Shared {
    fn change(&self, to: u8) {
        if self.state.compare_exchange(OFF, to, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.changed.notify_waiters();
        }
    }
}

const OFF: u8 = 0;
const ON: u8 = 1;
const GONE: u8 = 2;

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn those_who_wait_hear_that_it_is_on_or_never_will_be() {
        let mut context = Context::from_waker(Waker::noop());
        let (switch, switched) = Switch::new();
        let mut waiting = pin!(switched.on());
        assert_eq!(waiting.as_mut().poll(&mut context), Poll::Pending);
        assert!(!switched.is_on());
        switch.turn_on();
        drop(switch);
        assert_eq!(waiting.as_mut().poll(&mut context), Poll::Ready(Ok(())));
        assert!(switched.is_on());

        let (switch, switched) = Switch::new();
        let mut waiting = pin!(switched.on());
        assert_eq!(waiting.as_mut().poll(&mut context), Poll::Pending);
        drop(switch);
        assert_eq!(waiting.as_mut().poll(&mut context), Poll::Ready(Err(Gone)));
        assert_eq!(pin!(switched.on()).poll(&mut context), Poll::Ready(Err(Gone)));
    }
}
