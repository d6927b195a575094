//! Handles: opened, asked, shut down, freed.
//!
//! A handle is a number in a pointer's clothes that is looked up in a table and never followed: a stale or foreign one is
//! an error, not undefined behaviour, and a call that is under way keeps what it works on alive.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use libc::c_char;
use tokio::runtime::Runtime;

use super::guard::{Out, guarded};
use super::status::csb_status;
use super::string;
use crate::clock::SystemClock;
use crate::error::{Error, ErrorKind, Result};
use crate::service::{OpenConfig, Request, Service, shut_down};

/// An open service. Opaque.
#[allow(non_camel_case_types)]
pub struct csb_service {
    _opaque: [u8; 0],
}

/// What a handle stands for.
pub(super) struct Opened {
    /// The process that opened it: threads do not cross a fork, and SQLite's locks must not.
    process: u32,
    runtime: Mutex<Option<Runtime>>,
    service: Arc<Service>,
}

#[derive(Default)]
struct Handles {
    last: usize,
    open: BTreeMap<usize, Arc<Opened>>,
}

static HANDLES: Mutex<Handles> = Mutex::new(Handles { last: 0, open: BTreeMap::new() });

/// Handles are this far apart, so that none looks like a small number or a misaligned pointer.
const HANDLE_STEP: usize = 16;

/// How many worker threads run jobs; stores are used on threads of their own.
const WORKERS: usize = 2;

fn handles() -> MutexGuard<'static, Handles> {
    HANDLES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a handle stands for, open or shut down.
pub(super) fn opened(handle: *const csb_service) -> Result<Arc<Opened>> {
    if handle.is_null() {
        return Err(string::null("service"));
    }
    match handles().open.get(&handle.addr()) {
        Some(opened) if opened.is_inherited() => Err(forked()),
        Some(opened) => Ok(Arc::clone(opened)),
        None => Err(Error::new(
            ErrorKind::InvalidArgument,
            "This is no open service.",
            "Use a handle before it is freed, and only this library's.",
        )
        .at("argument", "service")),
    }
}

fn forked() -> Error {
    Error::new(
        ErrorKind::Forked,
        "This process was forked from one that had a service open.",
        "Start a new program in the child (exec), or free every service before forking.",
    )
}

impl Opened {
    /// Whether this process is a child of the one that opened it.
    fn is_inherited(&self) -> bool {
        self.process != std::process::id()
    }

    /// The service, unless it was shut down.
    pub(super) fn service(&self) -> Result<&Arc<Service>> {
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner);
        if runtime.is_some() { Ok(&self.service) } else { Err(shut_down()) }
    }

    /// Cancels all jobs and joins the threads, as far as the time allows.
    fn shut_down(&self, timeout: Duration) {
        let started = std::time::Instant::now();
        self.service.close(timeout);
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(runtime) = runtime {
            runtime.shutdown_timeout(timeout.saturating_sub(started.elapsed()));
        }
        self.service.abandon();
    }
}

/// Dropped without a shutdown, for instance while another thread is in a call: nothing may block here.
impl Drop for Opened {
    fn drop(&mut self) {
        self.service.close(Duration::ZERO);
        if let Some(runtime) = self.runtime.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            runtime.shutdown_background();
        }
    }
}

/// Opens a service with the configuration document. `out_service` receives a handle, to be freed with `csb_service_free`.
/// Blocks while it reads the deployment's files, at most 30 s where they do not answer; looks at no pool's store.
///
/// # Safety
/// See the rules of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn csb_service_open(
    config_json: *const c_char,
    out_service: *mut *mut csb_service,
    out_error: *mut *mut c_char,
) -> csb_status {
    // SAFETY: outputs are NULL or writable by the rules of the header.
    let out = unsafe { Out::clear(out_service, std::ptr::null_mut()) };
    let body = || {
        #[cfg(feature = "failpoints")]
        crate::platform::failpoint::set_up();
        let out = out.required("out_service")?;
        // SAFETY: strings are NULL or NUL-terminated by the rules of the header.
        let config: OpenConfig = unsafe { string::read("config_json", config_json) }?;
        if handles().open.values().any(|opened| opened.is_inherited()) {
            return Err(forked());
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .thread_name("cs-backup")
            .enable_all()
            .build()
            .map_err(|cause| {
                Error::new(
                    ErrorKind::Io,
                    "No threads can be started.",
                    "Raise the process's limit of threads.",
                )
                .caused_by(&cause)
            })?;
        let service = Service::open(&config, Arc::new(SystemClock::new()), runtime.handle().clone())?;
        let service = Arc::new(service);
        let opened =
            Arc::new(Opened { process: std::process::id(), runtime: Mutex::new(Some(runtime)), service });
        let mut handles = handles();
        handles.last += HANDLE_STEP;
        let handle = handles.last;
        handles.open.insert(handle, opened);
        out.set(std::ptr::without_provenance_mut(handle));
        Ok(())
    };
    // SAFETY: as above.
    unsafe { guarded(out_error, body) }
}

/// Answers a request document. `out_reply` receives the reply document, to be freed with `csb_string_free`. Blocks while it
/// looks at stores; where one does not answer, at most 30 s (10 s for a status), then the error is `StoreUnavailable`.
///
/// # Safety
/// See the rules of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn csb_service_request(
    service: *const csb_service,
    request_json: *const c_char,
    out_reply: *mut *mut c_char,
    out_error: *mut *mut c_char,
) -> csb_status {
    // SAFETY: outputs are NULL or writable by the rules of the header.
    let out = unsafe { Out::clear(out_reply, std::ptr::null_mut()) };
    let body = || {
        let out = out.required("out_reply")?;
        crate::platform::failpoint::fail_point!("ffi.request");
        let opened = opened(service)?;
        // SAFETY: strings are NULL or NUL-terminated by the rules of the header.
        let request: Request = unsafe { string::read("request_json", request_json) }?;
        out.set(string::give(&opened.service()?.answer(request)?)?);
        Ok(())
    };
    // SAFETY: as above.
    unsafe { guarded(out_error, body) }
}

/// Cancels all jobs, blocks up to `timeout_ms` until their reports are written, and joins the service's threads. Every
/// later call with this handle but `csb_service_free` returns `ShutDown`. A second shutdown does nothing.
///
/// # Safety
/// See the rules of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn csb_service_shutdown(
    service: *const csb_service,
    timeout_ms: u32,
    out_error: *mut *mut c_char,
) -> csb_status {
    let body = || {
        opened(service)?.shut_down(Duration::from_millis(timeout_ms.into()));
        Ok(())
    };
    // SAFETY: outputs are NULL or writable by the rules of the header.
    unsafe { guarded(out_error, body) }
}

/// Frees a handle. NULL and stale handles are accepted. Never blocks: shut the service down first, to let its jobs write
/// their reports.
#[unsafe(no_mangle)]
pub extern "C" fn csb_service_free(service: *mut csb_service) {
    let mut handles = handles();
    if handles.open.get(&service.addr()).is_some_and(|opened| opened.is_inherited()) {
        return;
    }
    let opened = handles.open.remove(&service.addr());
    drop(handles);
    // A panic must not cross into C; there is nobody to tell.
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        if let Some(opened) = opened {
            // At once, although a call that is under way may keep it alive for a while.
            opened.service.close(Duration::ZERO);
        }
    }));
}
