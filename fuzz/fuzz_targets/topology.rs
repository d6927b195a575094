//! A topology document: any text is refused with a reason, or means the same once it was written down again.
#![no_main]

use std::path::Path;

use cs_backup::topology::Topology;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let file = Path::new("/topology.toml");
    match Topology::from_toml(text, file) {
        Ok(topology) => {
            let written = topology.to_toml();
            let again = Topology::from_toml(&written, file);
            assert_eq!(again.as_ref().ok(), Some(&topology), "{written}");
        }
        Err(error) => assert!(!error.message.is_empty() && !error.advice.is_empty(), "{error:?}"),
    }
});
