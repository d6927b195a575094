//! Two SQLite libraries in one process, on one database: that of this test, as a host's own, and that of the shared library.
//! The test is linked with the library's code, too; the shared library has its own copy of everything.
#![allow(
    unsafe_code,
    clippy::undocumented_unsafe_blocks,
    reason = "every block calls a function of the shared library as the header says: strings of C, outputs of this stack"
)]

use std::ffi::{CStr, CString, c_char, c_void};
use std::path::{Path, PathBuf};
use std::ptr::null_mut;

use libloading::Library;
use serde_json::{Value, json};

use crate::support::*;

type Text = *mut c_char;

/// A copy of the shared library, and a service that it has open.
struct Other {
    library: Library,
    service: *mut c_void,
}

// The library may be called from any thread.
unsafe impl Sync for Other {}
unsafe impl Send for Other {}

/// The shared library that was built with this test.
fn built() -> PathBuf {
    let beside = std::env::current_exe().unwrap().with_file_name("libcs_backup.so");
    assert!(beside.exists(), "{} was not built", beside.display());
    beside
}

impl Other {
    /// Loads a library and opens a deployment.
    fn open(library: &Path, deployment: &Path) -> Self {
        let library = unsafe { Library::new(library) }.unwrap();
        let mut other = Other { library, service: null_mut() };
        let config = text(&json!({ "deploymentFile": deployment }));
        let mut service = null_mut();
        let mut failure = null_mut();
        let status = unsafe {
            let open = other
                .library
                .get::<unsafe extern "C" fn(*const c_char, *mut *mut c_void, *mut Text) -> i32>(
                    "csb_service_open",
                )
                .unwrap();
            open(config.as_ptr(), &raw mut service, &raw mut failure)
        };
        assert_eq!(status, 0, "{:?}", other.taken(failure));
        other.service = service;
        other
    }

    /// A document that the library gave, which is given back.
    fn taken(&self, given: Text) -> Value {
        if given.is_null() {
            return Value::Null;
        }
        unsafe {
            let value = serde_json::from_slice(CStr::from_ptr(given).to_bytes()).unwrap();
            self.library.get::<unsafe extern "C" fn(Text)>("csb_string_free").unwrap()(given);
            value
        }
    }

    fn ask(&self, request: Value) -> Result<Value, Value> {
        let request = text(&request);
        let (mut reply, mut failure) = (null_mut(), null_mut());
        let status = unsafe {
            let ask = self
                .library
                .get::<unsafe extern "C" fn(*mut c_void, *const c_char, *mut Text, *mut Text) -> i32>(
                    "csb_service_request",
                )
                .unwrap();
            ask(self.service, request.as_ptr(), &raw mut reply, &raw mut failure)
        };
        let (reply, failure) = (self.taken(reply), self.taken(failure));
        if status == 0 { Ok(reply) } else { Err(failure) }
    }

    /// A backup of pool Atlanta to its end; its report.
    fn backup(&self) -> Result<Value, Value> {
        let request = text(&json!({ "poolFqdn": ATL }));
        let (mut job, mut failure) = (0, null_mut());
        let status = unsafe {
            let start = self
                .library
                .get::<unsafe extern "C" fn(*mut c_void, *const c_char, *mut u64, *mut Text) -> i32>(
                    "csb_backup_start",
                )
                .unwrap();
            start(self.service, request.as_ptr(), &raw mut job, &raw mut failure)
        };
        if status != 0 {
            return Err(self.taken(failure));
        }
        let mut after = 0;
        loop {
            let mut told = null_mut();
            let status = unsafe {
                let poll = self
                    .library
                    .get::<unsafe extern "C" fn(*mut c_void, u64, u64, u32, *mut Text, *mut Text) -> i32>(
                        "csb_job_poll",
                    )
                    .unwrap();
                poll(self.service, job, after, 1_000, &raw mut told, null_mut())
            };
            assert_eq!(status, 0);
            let told = self.taken(told);
            after = told["lastSeq"].as_u64().unwrap();
            if told["events"].as_array().unwrap().iter().any(|event| event["event"] == "finished") {
                break;
            }
        }
        let mut report = null_mut();
        let status = unsafe {
            let report_of = self
                .library
                .get::<unsafe extern "C" fn(*mut c_void, u64, i32, *mut Text, *mut Text) -> i32>(
                    "csb_job_report",
                )
                .unwrap();
            report_of(self.service, job, 0, &raw mut report, null_mut())
        };
        assert_eq!(status, 0);
        Ok(self.taken(report))
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        unsafe {
            let shut_down = self
                .library
                .get::<unsafe extern "C" fn(*mut c_void, u32, *mut Text) -> i32>("csb_service_shutdown")
                .unwrap();
            shut_down(self.service, 10_000, null_mut());
            let free = self.library.get::<unsafe extern "C" fn(*mut c_void)>("csb_service_free").unwrap();
            free(self.service);
        }
    }
}

fn text(document: &Value) -> CString {
    CString::new(document.to_string()).unwrap()
}

/// Whether a reply, an error or a report says that somebody else in this process has a database open.
fn is_refusal(said: &impl std::fmt::Debug) -> bool {
    let said = format!("{said:?}");
    said.contains("StoreOpenInProcess") || said.contains("is open in this process by other means")
}

#[test]
fn a_database_that_the_host_has_open_by_itself_is_refused_and_none_of_its_commits_lost() {
    let deployment = Deployment::new();
    let users = deployment.path("atl/users.sqlite");
    let host = server(&users);
    host.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE notes (id INTEGER PRIMARY KEY, text)")
        .unwrap();
    let write = |count: i64| {
        (0..count).for_each(|_| {
            host.execute("INSERT INTO notes (text) VALUES ('kept')", []).unwrap();
        })
    };
    write(5);
    let other = Other::open(&built(), &deployment.deployment_file());
    let report = other.backup().unwrap();
    let module =
        report["modules"].as_array().unwrap().iter().find(|m| m["module"] == PRESENCE_FOCUS).unwrap();
    assert!(is_refusal(module), "{report:#}");
    // Whoever closes the database under the host removes what it writes to.
    for suffix in ["-wal", "-shm"] {
        assert!(deployment.path(&format!("atl/users.sqlite{suffix}")).exists(), "{suffix} is gone");
    }
    write(5);
    let status = other.ask(json!({ "request": "getBackupServiceStatus", "poolFqdn": ATL }));
    assert!(is_refusal(&status), "{status:#?}");
    write(5);
    drop(host);
    // The library may have it now, and it has everything.
    let report = other.backup().unwrap();
    assert_eq!(report["outcome"], "Succeeded", "{report:#}");
    let kept: i64 = server(&users).query_row("SELECT count(*) FROM notes", [], |row| row.get(0)).unwrap();
    assert_eq!(kept, 15);
    deployment.assert_copies_equal("atl", "chi");
}

#[test]
fn two_copies_of_the_library_keep_off_each_others_databases() {
    let deployment = Deployment::of(Size { users: 400, contacts: 60, files: 3 });
    let copy = deployment.path("libanother.so");
    std::fs::copy(built(), &copy).unwrap();
    let libraries = [built(), copy].map(|library| Other::open(&library, &deployment.deployment_file()));
    let [one, two] = &libraries;
    let mut refused = 0;
    for _ in 0..10 {
        std::thread::scope(|scope| {
            let job = scope.spawn(|| one.backup());
            while !job.is_finished() {
                let status = two.ask(json!({ "request": "getBackupServiceStatus", "poolFqdn": ATL }));
                refused += usize::from(is_refusal(&status));
            }
            let done = job.join().unwrap();
            let is_done = done.as_ref().is_ok_and(|report| report["outcome"] == "Succeeded");
            assert!(is_done || is_refusal(&done), "{done:#?}");
        });
    }
    assert!(refused > 0, "they never met");
    // Nothing of the server's was harmed, nor of what the jobs wrote.
    for store in ["atl/users.sqlite", "chi/standby/atl.sqlite", "cms/cms.sqlite"] {
        let check = |path: &Path| -> String {
            server(path).query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap()
        };
        let path = deployment.path(store);
        assert!(!path.exists() || check(&path) == "ok", "{store}");
    }
    let contacts: i64 =
        deployment.server("atl").query_row("SELECT count(*) FROM contacts", [], |row| row.get(0)).unwrap();
    assert_eq!(contacts, 400 * 60);
}
