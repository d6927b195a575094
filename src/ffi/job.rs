//! Jobs: started, watched, cancelled, reported, released.

use std::time::Duration;

use libc::c_char;
use serde::de::DeserializeOwned;

use super::guard::{Out, guarded};
use super::service::{csb_service, opened};
use super::status::csb_status;
use super::string;
use crate::error::{Error, ErrorKind};
use crate::job::request::JobRequest;
use crate::report::html;

/// The longest that one poll waits.
const LONGEST_POLL_MS: u32 = 60_000;

/// `csb_job_report`: the report as a JSON document.
pub const CSB_REPORT_JSON: i32 = 0;
/// `csb_job_report`: the report as one self-contained HTML page.
pub const CSB_REPORT_HTML: i32 = 1;

/// Starts a job of the kind that the request names: `{"job": "backup", …}`. `out_job` receives the job's number, to be given
/// back with `csb_job_release`. Returns at once: the pool is looked up by the job itself.
///
/// # Safety
/// See the rules of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn csb_job_start(
    service: *const csb_service,
    request_json: *const c_char,
    out_job: *mut u64,
    out_error: *mut *mut c_char,
) -> csb_status {
    // SAFETY: by the rules of the header, which are this function's too.
    unsafe { start::<JobRequest>(service, request_json, out_job, out_error, |request| request) }
}

/// Starts the backup of a pool: `csb_job_start` with the job `backup`.
///
/// # Safety
/// See the rules of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn csb_backup_start(
    service: *const csb_service,
    request_json: *const c_char,
    out_job: *mut u64,
    out_error: *mut *mut c_char,
) -> csb_status {
    // SAFETY: by the rules of the header, which are this function's too.
    unsafe { start(service, request_json, out_job, out_error, JobRequest::Backup) }
}

/// Starts the synchronization of a pool with its backup pool: `csb_job_start` with the job `sync`.
///
/// # Safety
/// See the rules of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn csb_sync_start(
    service: *const csb_service,
    request_json: *const c_char,
    out_job: *mut u64,
    out_error: *mut *mut c_char,
) -> csb_status {
    // SAFETY: by the rules of the header, which are this function's too.
    unsafe { start(service, request_json, out_job, out_error, JobRequest::Sync) }
}

/// # Safety
/// See the rules of the header.
unsafe fn start<R: DeserializeOwned>(
    service: *const csb_service,
    request_json: *const c_char,
    out_job: *mut u64,
    out_error: *mut *mut c_char,
    job: impl FnOnce(R) -> JobRequest,
) -> csb_status {
    // SAFETY: outputs are NULL or writable by the rules of the header.
    let out = unsafe { Out::clear(out_job, 0) };
    let body = || {
        let out = out.required("out_job")?;
        let opened = opened(service)?;
        // SAFETY: strings are NULL or NUL-terminated by the rules of the header.
        let request: R = unsafe { string::read("request_json", request_json) }?;
        out.set(opened.service()?.start(job(request))?);
        Ok(())
    };
    // SAFETY: as above.
    unsafe { guarded(out_error, body) }
}

/// Tells what a job has told after the event `after_seq`. `out_events` receives the events document, to be freed with
/// `csb_string_free`. Blocks up to `timeout_ms` until there is an event: 0 does not wait, more than 60 s is 60 s. Nothing
/// new is OK with an empty list.
///
/// # Safety
/// See the rules of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn csb_job_poll(
    service: *const csb_service,
    job: u64,
    after_seq: u64,
    timeout_ms: u32,
    out_events: *mut *mut c_char,
    out_error: *mut *mut c_char,
) -> csb_status {
    // SAFETY: outputs are NULL or writable by the rules of the header.
    let out = unsafe { Out::clear(out_events, std::ptr::null_mut()) };
    let body = || {
        let out = out.required("out_events")?;
        let timeout = Duration::from_millis(timeout_ms.min(LONGEST_POLL_MS).into());
        let opened = opened(service)?;
        out.set(string::give(&opened.service()?.poll(job, after_seq, timeout)?)?);
        Ok(())
    };
    // SAFETY: as above.
    unsafe { guarded(out_error, body) }
}

/// Asks a job to stop at the next transaction boundary. Never blocks; OK for a job that is stopping or has ended.
///
/// # Safety
/// See the rules of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn csb_job_cancel(
    service: *const csb_service,
    job: u64,
    out_error: *mut *mut c_char,
) -> csb_status {
    let body = || opened(service)?.service()?.cancel(job);
    // SAFETY: outputs are NULL or writable by the rules of the header.
    unsafe { guarded(out_error, body) }
}

/// Gives the report of a job that has ended, as `CSB_REPORT_JSON` or `CSB_REPORT_HTML`; `Conflict` while it runs.
/// `out_report` receives it, to be freed with `csb_string_free`. Never blocks.
///
/// # Safety
/// See the rules of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn csb_job_report(
    service: *const csb_service,
    job: u64,
    format: i32,
    out_report: *mut *mut c_char,
    out_error: *mut *mut c_char,
) -> csb_status {
    // SAFETY: outputs are NULL or writable by the rules of the header.
    let out = unsafe { Out::clear(out_report, std::ptr::null_mut()) };
    let body = || {
        let out = out.required("out_report")?;
        let opened = opened(service)?;
        let report = opened.service()?.report(job)?;
        out.set(match format {
            CSB_REPORT_JSON => string::give(&report)?,
            CSB_REPORT_HTML => string::give_text(html::render(&report)?),
            _ => {
                return Err(Error::new(
                    ErrorKind::InvalidArgument,
                    format!("There is no report format {format}."),
                    "Use CSB_REPORT_JSON (0) or CSB_REPORT_HTML (1).",
                )
                .at("argument", "format"));
            }
        });
        Ok(())
    };
    // SAFETY: as above.
    unsafe { guarded(out_error, body) }
}

/// Forgets a job that has ended; its number is stale then, its record on disk stays. `Conflict` while it runs. Never
/// blocks.
///
/// # Safety
/// See the rules of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn csb_job_release(
    service: *const csb_service,
    job: u64,
    out_error: *mut *mut c_char,
) -> csb_status {
    let body = || opened(service)?.service()?.release(job);
    // SAFETY: outputs are NULL or writable by the rules of the header.
    unsafe { guarded(out_error, body) }
}
