//! A queue between threads that is emptied in one go.
//!
//! The receiver takes everything that has gathered while it was busy, so under load one lock and one wake-up serve
//! many orders. It has no bound of its own: what goes in is bounded where it is admitted (see [`super`]).

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// The sending end; any number of clones.
#[derive(Debug)]
pub(super) struct Mailbox<T>(Arc<Shared<T>>);

/// The receiving end.
#[derive(Debug)]
pub(super) struct Letters<T>(Arc<Shared<T>>);

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
}

#[derive(Debug)]
struct State<T> {
    queue: VecDeque<T>,
    /// The receiver sleeps and must be woken.
    asleep: bool,
    senders: usize,
}

/// How long to wait for a letter.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wait {
    /// Not at all.
    No,
    /// Until then.
    Until(Instant),
    /// Until one comes.
    Long,
}

/// Makes a queue.
pub(super) fn mailbox<T>() -> (Mailbox<T>, Letters<T>) {
    let state = Mutex::new(State { queue: VecDeque::new(), asleep: false, senders: 1 });
    let shared = Arc::new(Shared { state, filled: Condvar::new() });
    (Mailbox(Arc::clone(&shared)), Letters(shared))
}

impl<T> Mailbox<T> {
    /// Puts one in.
    pub(super) fn send(&self, letter: T) {
        self.fill(|queue| queue.push_back(letter));
    }

    /// Puts all of them in and leaves `letters` empty.
    pub(super) fn send_all(&self, letters: &mut Vec<T>) {
        if !letters.is_empty() {
            self.fill(|queue| queue.extend(letters.drain(..)));
        }
    }

    /// Is it empty, and the receiver asleep until something comes?
    pub(super) fn is_awaited(&self) -> bool {
        let state = self.0.lock();
        state.queue.is_empty() && state.asleep
    }

    fn fill(&self, put: impl FnOnce(&mut VecDeque<T>)) {
        let mut state = self.0.lock();
        put(&mut state.queue);
        let wake = std::mem::take(&mut state.asleep);
        drop(state);
        if wake {
            self.0.filled.notify_one();
        }
    }
}

impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Self {
        self.0.lock().senders += 1;
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Mailbox<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.senders -= 1;
        if state.senders == 0 {
            drop(state);
            self.0.filled.notify_one();
        }
    }
}

impl<T> Letters<T> {
    /// Takes all that is there into `letters`, which must be empty; where nothing is, waits for something as told.
    /// False when nothing is there and nothing can come any more.
    pub(super) fn take(&self, letters: &mut VecDeque<T>, wait: Wait) -> bool {
        debug_assert!(letters.is_empty(), "the letters of the round before have been read");
        let mut state = self.0.lock();
        while state.queue.is_empty() {
            if state.senders == 0 {
                return false;
            }
            let left = match wait {
                Wait::No => return true,
                Wait::Until(at) => Some(at.saturating_duration_since(Instant::now())),
                Wait::Long => None,
            };
            state.asleep = true;
            state = match left {
                None => self.0.filled.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => {
                    state.asleep = false;
                    return true;
                }
                Some(left) => self.0.filled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
        state.asleep = false;
        std::mem::swap(&mut state.queue, letters);
        true
    }
}

impl<T> Shared<T> {
    /// Nothing that can panic runs under this lock.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_arrive_in_order_and_the_end_is_seen() {
        let (mailbox, letters) = mailbox();
        let sender = std::thread::spawn(move || {
            for i in 0..10_000 {
                if i % 3 == 0 { mailbox.send(i) } else { mailbox.clone().send_all(&mut vec![i]) }
            }
        });
        let mut seen = 0;
        let mut taken = VecDeque::new();
        while letters.take(&mut taken, Wait::Long) {
            for letter in taken.drain(..) {
                assert_eq!(letter, seen);
                seen += 1;
            }
        }
        assert_eq!(seen, 10_000);
        sender.join().expect("it does not panic");
    }

    #[test]
    fn taking_without_waiting_returns_at_once() {
        let (mailbox, letters) = mailbox::<u8>();
        let mut taken = VecDeque::new();
        assert!(letters.take(&mut taken, Wait::No) && taken.is_empty());
        mailbox.send(1);
        assert!(letters.take(&mut taken, Wait::No));
        assert_eq!(taken, [1]);
        taken.clear();
        let soon = Instant::now() + Duration::from_millis(2);
        assert!(letters.take(&mut taken, Wait::Until(soon)) && taken.is_empty());
        assert!(Instant::now() >= soon);
    }
}
