//! Panics of tasks, which a runtime keeps to itself.

use std::{cell::Cell, panic, sync::Once};

thread_local! {
    static HAPPENED: Cell<bool> = const { Cell::new(false) };
}

/// Notices panics of this thread from now on.
pub(crate) fn watch() {
    static HOOKED: Once = Once::new();
    HOOKED.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            HAPPENED.set(true);
            before(info);
        }));
    });
}

/// Has one happened?
pub(crate) fn happened() -> bool {
    HAPPENED.get()
}
