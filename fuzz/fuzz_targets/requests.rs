//! The documents that hosts send: any text is refused or understood, and what is understood can be said again.
#![no_main]

use cs_backup::job::request::JobRequest;
use cs_backup::service::{OpenConfig, Request};
use libfuzzer_sys::fuzz_target;
use serde_json::{from_str, to_string};

fuzz_target!(|text: &str| {
    if let Ok(request) = from_str::<Request>(text) {
        let again: Request = from_str(&to_string(&request).unwrap()).unwrap();
        assert_eq!(again, request);
    }
    if let Ok(request) = from_str::<JobRequest>(text) {
        let again: JobRequest = from_str(&to_string(&request).unwrap()).unwrap();
        assert_eq!(again, request);
        let _ = request.operation();
    }
    let _ = from_str::<OpenConfig>(text);
});
