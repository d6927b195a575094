//! Status numbers and their names.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::sync::OnceLock;

use libc::c_char;

use crate::error::ErrorKind;

/// How a call ended: `CSB_STATUS_OK`, or the number of an error kind.
#[allow(non_camel_case_types)]
pub type csb_status = i32;

/// The call succeeded.
pub const CSB_STATUS_OK: csb_status = 0;

/// Returns the name of a status, for instance "StoreBusy", "OK", or "Unknown" for a number this version does not
/// have. Static: not to be freed. Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn csb_status_name(status: csb_status) -> *const c_char {
    static NAMES: OnceLock<BTreeMap<csb_status, CString>> = OnceLock::new();
    let names = NAMES.get_or_init(|| {
        let kinds = ErrorKind::ALL.iter().map(|kind| (kind.status(), kind.name()));
        let all = kinds.chain([(CSB_STATUS_OK, "OK")]);
        all.filter_map(|(status, name)| Some((status, CString::new(name).ok()?))).collect()
    });
    names.get(&status).map_or(c"Unknown".as_ptr(), |name| name.as_ptr())
}
