//! Wakes up when something is due, to within microseconds and without spinning: a kernel timer in the runtime's poll.

use std::{io, os::fd::OwnedFd, time::Duration};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::{io::unix::AsyncFd, time::Instant};

/// Things that are due one after another at a fixed rate.
#[derive(Debug)]
pub(super) struct Pace {
    timer: AsyncFd<OwnedFd>,
    begun: Instant,
    rate: u64,
    passed: u64,
}

impl Pace {
    /// The first is due one interval from now.
    pub(super) fn start(rate: u64) -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        let interval = timespec(Duration::from_nanos(1_000_000_000 / rate).max(SHORTEST));
        // Taken before the timer runs: an expiration is never early, which would cost a whole interval.
        let begun = Instant::now();
        let times = Itimerspec { it_interval: interval, it_value: interval };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &times)?;
        // Sound for a descriptor that is owned, as this one is; what replaces it has to be called unsafe.
        #[expect(deprecated, reason = "an owned descriptor keeps the promise that its successor asks for")]
        let timer = AsyncFd::new(timer)?;
        Ok(Self { timer, begun, rate, passed: 0 })
    }

    /// When number `n` is due, from 1.
    fn due(&self, n: u64) -> Instant {
        self.begun
            + Duration::from_nanos(
                u64::try_from(u128::from(n) * 1_000_000_000 / u128::from(self.rate)).unwrap_or(u64::MAX),
            )
    }

    /// Waits until the next is due and says when that was; returns at once for one that is late.
    pub(super) async fn next(&mut self) -> io::Result<Instant> {
        let due = self.due(self.passed + 1);
        while Instant::now() < due {
            let mut ready = self.timer.readable().await?;
            let mut expirations = [0; 8];
            match rustix::io::read(ready.get_inner(), &mut expirations) {
                Ok(_) => {}
                Err(rustix::io::Errno::AGAIN) => ready.clear_ready(),
                Err(error) => return Err(error.into()),
            }
        }
        self.passed += 1;
        Ok(due)
    }
}

/// A faster timer would keep the runtime from everything else; what is due more often comes in bursts.
const SHORTEST: Duration = Duration::from_micros(50);

fn timespec(span: Duration) -> Timespec {
    Timespec { tv_sec: span.as_secs().cast_signed(), tv_nsec: i64::from(span.subsec_nanos()) }
}
