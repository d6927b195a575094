//! Values as bytes, and failures.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind, Result};

/// A value as bytes: a request, a part, or an answer.
///
/// # Errors
/// `Panic` for one that cannot be written.
pub fn encode(value: &impl Serialize) -> Result<Vec<u8>> {
    postcard::to_stdvec(value).map_err(|cause| {
        Error::new(ErrorKind::Panic, "A message cannot be written.", "Report this defect.").caused_by(&cause)
    })
}

/// A value as a document, for what a newer build adds to.
///
/// # Errors
/// `Panic` for one that cannot be written.
pub fn document(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|cause| {
        Error::new(ErrorKind::Panic, "A document cannot be written.", "Report this defect.").caused_by(&cause)
    })
}

/// Reads a value.
///
/// # Errors
/// `InvalidRequest` for what is none.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    postcard::from_bytes(bytes).map_err(|cause| {
        Error::new(
            ErrorKind::InvalidRequest,
            "A message is not understood.",
            "Install the same release of CsBackup on both machines.",
        )
        .caused_by(&cause)
    })
}

/// A failure as its document.
pub(super) fn failed(error: &Error) -> Vec<u8> {
    serde_json::to_vec(error).unwrap_or_default()
}

/// An error document; of a kind that only a newer build knows, what it says for people. None where it is none.
pub(super) fn failure(document: &[u8]) -> Option<Error> {
    if let Ok(error) = serde_json::from_slice(document) {
        return Some(error);
    }
    let value: serde_json::Value = serde_json::from_slice(document).ok()?;
    let text = |name: &str| value.get(name).and_then(|text| text.as_str()).map(str::to_owned);
    let error = Error::new(ErrorKind::Io, text("message")?, text("advice").unwrap_or_default());
    Some(match text("kind") {
        Some(kind) => error.at("kind", kind),
        None => error,
    })
}

/// A number of bytes, as a frame of credit has it.
pub(super) fn bytes_of(content: &[u8]) -> usize {
    content.try_into().map_or(0, |bytes| u32::from_le_bytes(bytes) as usize)
}
