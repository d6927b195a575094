//! Strings across the boundary: read, written, given back.

use std::ffi::{CStr, CString};

use libc::c_char;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind, Result};

/// What to do where something is not the document that it should be.
const NO_DOCUMENT: &str = "See docs/documents.md for the fields of every document.";

/// Reads a document that C passes.
///
/// # Safety
/// `pointer` is NULL or a NUL-terminated string that lives until this returns.
pub(super) unsafe fn read<T: DeserializeOwned>(name: &str, pointer: *const c_char) -> Result<T> {
    if pointer.is_null() {
        return Err(null(name));
    }
    // SAFETY: not NULL, and NUL-terminated by this function's contract.
    let bytes = unsafe { CStr::from_ptr(pointer) };
    let text = bytes.to_str().map_err(|cause| {
        Error::new(ErrorKind::InvalidUtf8, format!("{name} is not UTF-8."), "Pass strings as UTF-8.")
            .caused_by(&cause)
    })?;
    // An array would be taken for the fields in their order.
    if text.trim_ascii_start().starts_with('[') {
        return Err(Error::new(ErrorKind::InvalidRequest, format!("{name} is an array."), NO_DOCUMENT));
    }
    let mut json = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|cause| {
        let path = cause.path().to_string();
        let error = invalid(name, &cause.into_inner());
        if path == "." { error } else { error.at("field", path) }
    })?;
    json.end().map_err(|cause| invalid(name, &cause))?;
    Ok(value)
}

fn invalid(name: &str, cause: &serde_json::Error) -> Error {
    Error::new(ErrorKind::InvalidRequest, format!("{name} is not a valid document: {cause}."), NO_DOCUMENT)
}

/// The error for a pointer that must not be NULL.
pub(super) fn null(name: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("{name} is NULL."), "Pass a valid pointer.")
        .at("argument", name)
}

/// A document as a string that C owns.
pub(super) fn give(value: &impl Serialize) -> Result<*mut c_char> {
    let text = serde_json::to_string(value).map_err(|cause| {
        Error::new(ErrorKind::Io, "A reply cannot be written.", "Report it to the maintainers.")
            .caused_by(&cause)
    })?;
    Ok(give_text(text))
}

/// A text as a string that C owns. C strings end at the first NUL: none may be inside.
pub(super) fn give_text(text: String) -> *mut c_char {
    let text = CString::new(text).unwrap_or_else(|cause| {
        let mut bytes = cause.into_vec();
        bytes.retain(|byte| *byte != 0);
        CString::new(bytes).unwrap_or_default()
    });
    text.into_raw()
}

/// Frees a string that this library returned. NULL is accepted. Every such string is freed exactly once. Never blocks.
///
/// # Safety
/// `string` is NULL or came from this library and was not freed before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn csb_string_free(string: *mut c_char) {
    if !string.is_null() {
        // SAFETY: by this function's contract it came from `CString::into_raw` and is freed once.
        drop(unsafe { CString::from_raw(string) });
    }
}
