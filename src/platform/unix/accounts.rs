//! Accounts: who this process is.
#![allow(unsafe_code, reason = "only libc asks the databases of users")]

use std::ffi::CStr;
use std::mem::MaybeUninit;

use rustix::process::geteuid;

/// The account that this process acts as, for people: its name, or its number where it has none.
pub fn account_name() -> String {
    let user = geteuid().as_raw();
    user_name(user).unwrap_or_else(|| format!("number {user}"))
}

/// The account that this process acts as, as the system counts accounts.
pub fn account_number() -> u32 {
    geteuid().as_raw()
}

/// The name that the system's user database gives a number.
fn user_name(user: u32) -> Option<String> {
    let mut buffer = vec![0; 1024];
    loop {
        let mut entry = MaybeUninit::<libc::passwd>::uninit();
        let mut found = std::ptr::null_mut();
        let (text, length) = (buffer.as_mut_ptr(), buffer.len());
        // SAFETY: all pointers are to memory of ours of the lengths that are said; `found` is read below only.
        let code = unsafe { libc::getpwuid_r(user, entry.as_mut_ptr(), text, length, &raw mut found) };
        match code {
            // The buffer was too small; no name is nearly as long as the limit.
            libc::ERANGE if length < 1 << 20 => buffer.resize(length * 4, 0),
            0 if !found.is_null() => {
                // SAFETY: the entry was found, so it is filled; its name is a string in `buffer`, which still lives.
                let name = unsafe { CStr::from_ptr((*found).pw_name) };
                return Some(name.to_string_lossy().into_owned());
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_its_name_and_one_that_nobody_has_none() {
        assert_eq!(user_name(0).unwrap(), "root");
        assert_eq!(user_name(4_000_123), None);
        assert!(!account_name().is_empty());
    }
}
