//! The bytes of every message about user stores, which never change once they were released: another machine may have another build.

use serde::Serialize;

use super::*;
use crate::platform::FileStat;
use crate::report::Moved;
use crate::store::{Generation, JobName};

fn hex(value: &impl Serialize) -> String {
    crate::wire::encode(value).unwrap().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn mark() -> Mark {
    // As it is kept.
    serde_json::from_str(
        r#"{"database":{"size":8192,"modified":[1,2],"changed":[3,4],"inode":5,"device":6},"folder_device":7,
            "end":{"salts":[1,2,3,4,5,6,7,8],"frames":9,"chain":[10,11]},"settled":true,"change_counter":12,
            "schema_cookie":13,"versions":[2,2]}"#,
    )
    .unwrap()
}

fn layout() -> Layout {
    let mut first = vec![0; 100];
    first[..16].copy_from_slice(crate::store::sqlite::HEADER);
    (first[16], first[18], first[19]) = (0x10, 1, 1);
    (first[21], first[22], first[23]) = (64, 32, 32);
    crate::store::sqlite::format::header::Header::read(&first).unwrap().layout
}

#[test]
fn messages_are_what_they_were_in_the_first_version() {
    let store = || StoreName { path: "users.sqlite".to_owned(), server_waits: true, max_lock_ms: 100 };
    assert_eq!(
        mark().database,
        FileStat { size: 8192, modified: (1, 2), changed: (3, 4), inode: 5, device: 6 }
    );
    let known = Known { store: store(), mark: Some(mark()) };
    let export = ExportRequest {
        store: store(),
        seed: Seed::Fast(7),
        layout: Some(layout()),
        mark: None,
        pages: 2,
        root: [3; 32],
        without_cache: false,
        patience_ms: 1_000,
    };
    let exported = ExportAnswer {
        way: Way::Log,
        attempts: 1,
        layout: layout(),
        pages: 2,
        suspects: vec![Suspect { page: 2, fault: "x".into() }],
        mark: mark(),
        undone: false,
        root: [4; 32],
    };
    let survey = SurveyAnswer { is_unchanged: false, pending: Some(3), refused: None };
    let at = Timestamp::from_second(1).unwrap();
    let standing = StandingAnswer {
        mark: None,
        revision: Some(5),
        confirmed: Some(at),
        is_touched: false,
        refused: None,
    };
    let state = StoreState {
        revision: 5,
        at,
        job_id: None,
        job_kind: Some(JobName::Sync),
        bytes: 6,
        kept_bytes: 7,
        reason: Some("r".to_owned()),
    };
    let send = SendRequest { store: store(), revision: None, generation: Generation(8).0 };
    let states = vec![state.clone()];
    let sent = SendAnswer { state, pages: 2, page_size: 4_096, versions: (1, 1), findings: vec![9] };
    let moved = Some(Moved { items_written: 1, items_deleted: 2, bytes: 3, batches: 4 });
    let found = [
        ("known", hex(&known)),
        ("export", hex(&export)),
        ("exported", hex(&exported)),
        ("survey", hex(&survey)),
        ("standing", hex(&standing)),
        ("send", hex(&send)),
        ("states", hex(&states)),
        ("sent", hex(&sent)),
        ("moved", hex(&moved)),
    ];
    let found: Vec<String> = found.iter().map(|(name, bytes)| format!("{name} {bytes}")).collect();
    assert_eq!(found, GOLDEN.lines().map(str::to_owned).collect::<Vec<_>>());
}

const GOLDEN: &str = "\
known 0c75736572732e73716c697465016401804002040608050607010102030405060708090a0b010c0d0202
export 0c75736572732e73716c69746501640007018020000000000002030303030303030303030303030303030303030303030303030303030303030300e807
exported 00018020000000000201020178804002040608050607010102030405060708090a0b010c0d0202000404040404040404040404040404040404040404040404040404040404040404
survey 00010300
standing 0001050114313937302d30312d30315430303a30303a30315a0000
send 0c75736572732e73716c69746501640010
states 010514313937302d30312d30315430303a30303a30315a0001010607010172
sent 0514313937302d30312d30315430303a30303a30315a000101060701017202802001010109
moved 0101020304";
