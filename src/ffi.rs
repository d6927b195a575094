//! The C ABI. Unsafe, as only `platform` is beside it: it reads strings that C passes and writes results where C wants them.
//!
//! The rules stand at the top of the generated header (`cbindgen.toml`); a function's comment says only what differs.
#![allow(unsafe_code)]

mod guard;
mod job;
mod service;
mod status;
mod string;

pub use job::*;
pub use service::*;
pub use status::*;
pub use string::csb_string_free;

use libc::c_char;

/// The version of this ABI. It grows when a function changes; documents grow without it.
pub const CSB_ABI_VERSION: u32 = 1;

const _: () = assert!(CSB_ABI_VERSION == crate::service::ABI_VERSION);

/// Returns the version of the ABI that the library implements. Compare it with `CSB_ABI_VERSION` of the header. Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn csb_abi_version() -> u32 {
    CSB_ABI_VERSION
}

/// Returns the version of the library, for instance "0.1.0". Static: not to be freed. Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn csb_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}
