//! The one wrapper that every export goes through: outputs cleared on entry, panics caught, errors written.

use std::panic::{AssertUnwindSafe, catch_unwind};

use libc::c_char;

use super::status::{CSB_STATUS_OK, csb_status};
use super::string;
use crate::error::{Error, ErrorKind, Result};

/// An output parameter, cleared when it is taken.
pub(super) struct Out<T>(*mut T);

impl<T: Copy> Out<T> {
    /// Takes and clears an output.
    ///
    /// # Safety
    /// `pointer` is NULL or points to memory that may be written until the call returns.
    pub(super) unsafe fn clear(pointer: *mut T, empty: T) -> Self {
        if !pointer.is_null() {
            // SAFETY: not NULL, and writable by this function's contract.
            unsafe { pointer.write(empty) };
        }
        Out(pointer)
    }

    /// Refuses NULL, for outputs that are needed.
    pub(super) fn required(self, name: &str) -> Result<Self> {
        if self.0.is_null() { Err(string::null(name)) } else { Ok(self) }
    }

    /// Writes the result.
    pub(super) fn set(self, value: T) {
        self.set_with(|| value);
    }

    /// Writes the result, which is made only where there is a place for it: nobody would free it elsewhere.
    fn set_with(self, value: impl FnOnce() -> T) {
        if !self.0.is_null() {
            let value = value();
            // SAFETY: not NULL, and writable by the contract of `clear`, which made it.
            unsafe { self.0.write(value) };
        }
    }
}

/// Runs the body of an export. A panic in it becomes an error; the caller gets its message, never a backtrace.
///
/// # Safety
/// `out_error` is NULL or points to memory that may be written until the call returns.
pub(super) unsafe fn guarded(out_error: *mut *mut c_char, body: impl FnOnce() -> Result<()>) -> csb_status {
    // SAFETY: by this function's contract.
    let out_error = unsafe { Out::clear(out_error, std::ptr::null_mut()) };
    let mut error = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => return CSB_STATUS_OK,
        Ok(Err(error)) => error,
        Err(payload) => panicked(payload.as_ref()),
    };
    error.causes.iter_mut().chain(error.context.values_mut()).chain([&mut error.message]).for_each(shorten);
    out_error.set_with(|| string::give(&error).unwrap_or(std::ptr::null_mut()));
    error.status
}

/// Errors quote what the caller sent, which may be enormous: of a text so long people need the beginning.
fn shorten(text: &mut String) {
    const LONGEST: usize = 16_000;
    if let Some((end, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(end);
        text.push('…');
    }
}

fn panicked(payload: &(dyn std::any::Any + Send)) -> Error {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
    let mut error = Error::new(
        ErrorKind::Panic,
        "This library has a defect: the call was abandoned.",
        "Report it to its maintainers with this message. What was committed before is safe.",
    );
    error.causes.push(text);
    error
}
