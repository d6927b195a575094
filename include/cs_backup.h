/*
 * CsBackup: the backup service for paired server pools.
 *
 * Rules, which hold for every function here:
 *
 * - Inputs are NUL-terminated UTF-8. Every pointer is checked; NULL where something is needed is InvalidArgument.
 * - Parameters come in the order inputs, outputs, out_error. Outputs are cleared on entry and written only on success.
 *   out_error may be NULL; on failure it receives an error document.
 * - A function returns CSB_STATUS_OK, or the number of an error kind (csb_status_name names it). Numbers are never
 *   used again for anything else.
 * - Every string that comes out belongs to the caller and is freed with csb_string_free, exactly once. Strings that
 *   are marked static are not freed.
 * - Any function may be called from any thread at any time. Freeing a service while another thread is in a call with
 *   it is safe; a stale handle is InvalidArgument.
 * - Nothing calls back. Jobs are numbers: start one, poll its events, fetch its report, release it.
 * - Panics are caught and returned as the error Panic.
 * - The library prints nothing, installs no handlers and reads no environment variables. It is never unloaded. A child
 *   that was forked while services were open is refused with Forked.
 * - Documents are JSON, described in docs/documents.md. Unknown fields in what you send are an error, unknown fields in
 *   what you receive are to be ignored: documents grow, functions do not change.
 */


#ifndef CS_BACKUP_H
#define CS_BACKUP_H

#include <stdint.h>


/*
 The version of this ABI. It grows when a function changes; documents grow without it.
 */
#define CSB_ABI_VERSION 1

/*
 `csb_job_report`: the report as a JSON document.
 */
#define CSB_REPORT_JSON 0

/*
 `csb_job_report`: the report as one self-contained HTML page.
 */
#define CSB_REPORT_HTML 1

/*
 An open service. Opaque.
 */
typedef struct csb_service csb_service;

/*
 How a call ended: 0, or the number of an error kind. Numbers are never used again.
 */
typedef int32_t csb_status;

/*
 The call succeeded.
 */
#define CSB_STATUS_OK 0

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/*
 Returns the version of the ABI that the library implements. Compare it with `CSB_ABI_VERSION` of the header.
 */
uint32_t csb_abi_version(void);

/*
 Returns the version of the library, for instance "0.1.0". Static: not to be freed.
 */
const char *csb_version(void);

/*
 Returns the name of a status, for instance "StoreBusy", "OK", or "Unknown" for a number this version does not
 have. Static: not to be freed.
 */
const char *csb_status_name(csb_status status);

/*
 Frees a string that this library returned. NULL is accepted. Every such string is freed exactly once.
 */
void csb_string_free(char *string);

/*
 Opens a service with the configuration document. The handle is freed with `csb_service_free`.
 */
csb_status csb_service_open(const char *config_json, struct csb_service **out_service, char **out_error);

/*
 Answers a request document with a reply document. May take as long as the request needs: looking at stores, not copying
 them.
 */
csb_status csb_service_request(const struct csb_service *service,
                               const char *request_json,
                               char **out_reply,
                               char **out_error);

/*
 Cancels all jobs, waits up to `timeout_ms` for their reports and joins the service's threads. Every later call with
 this handle but `csb_service_free` returns `ShutDown`. A second shutdown does nothing.
 */
csb_status csb_service_shutdown(const struct csb_service *service,
                                uint32_t timeout_ms,
                                char **out_error);

/*
 Frees a handle. NULL and stale handles are accepted. Never blocks: shut the service down first, to let its jobs write
 their reports.
 */
void csb_service_free(struct csb_service *service);

/*
 Starts the backup of a pool. Returns at once; `out_job` receives the job's number.
 */
csb_status csb_backup_start(const struct csb_service *service,
                            const char *request_json,
                            uint64_t *out_job,
                            char **out_error);

/*
 Starts the synchronization of a pool with its backup pool. Returns at once; `out_job` receives the job's number.
 */
csb_status csb_sync_start(const struct csb_service *service,
                          const char *request_json,
                          uint64_t *out_job,
                          char **out_error);

/*
 Returns what a job has told after the event `after_seq`, waiting up to `timeout_ms` for the next event: 0 does not wait,
 more than 60 s is 60 s. Nothing new is OK with an empty list.
 */
csb_status csb_job_poll(const struct csb_service *service,
                        uint64_t job,
                        uint64_t after_seq,
                        uint32_t timeout_ms,
                        char **out_events,
                        char **out_error);

/*
 Asks a job to stop at the next transaction boundary. Returns at once; OK for a job that is stopping or has ended.
 */
csb_status csb_job_cancel(const struct csb_service *service,
                          uint64_t job,
                          char **out_error);

/*
 Returns the report of a job that has ended, as `CSB_REPORT_JSON` or `CSB_REPORT_HTML`; `Conflict` while it runs.
 */
csb_status csb_job_report(const struct csb_service *service,
                          uint64_t job,
                          int32_t format,
                          char **out_report,
                          char **out_error);

/*
 Forgets a job that has ended; its number is stale then, its record on disk stays. `Conflict` while it runs.
 */
csb_status csb_job_release(const struct csb_service *service, uint64_t job, char **out_error);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* CS_BACKUP_H */
