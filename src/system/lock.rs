//! Locks that are taken without asking whether somebody has panicked while holding them.
//!
//! A panic ends the process (`panic = "abort"`), but in tests, where that of the test that fails says more than those of
//! the threads which come after it.
//!
//! Must not know: what is locked.

use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// For one at a time.
#[derive(Debug, Default)]
pub(crate) struct Lock<T>(Mutex<T>);

impl<T> Lock<T> {
    pub(crate) const fn new(content: T) -> Self {
        Self(Mutex::new(content))
    }

    /// Waits for its turn.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does somebody hold it?
    #[cfg(test)]
    pub(crate) fn is_held(&self) -> bool {
        self.0.try_lock().is_err()
    }
}

/// For many who read, or one who writes.
#[derive(Debug, Default)]
pub(crate) struct SharedLock<T>(RwLock<T>);

impl<T> SharedLock<T> {
    pub(crate) const fn new(content: T) -> Self {
        Self(RwLock::new(content))
    }

    /// Waits until nobody writes.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody reads or writes.
    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does somebody hold it, for reading or writing?
    #[cfg(test)]
    pub(crate) fn is_held(&self) -> bool {
        self.0.try_write().is_err()
    }
}
