/*
 * CsBackup: the backup service for paired server pools.
 *
 * Rules, which hold for every function here:
 *
 * - Inputs are NUL-terminated UTF-8. Every pointer is checked; NULL where something is needed is InvalidArgument.
 * - Parameters come in the order inputs, outputs, out_error. Outputs are cleared on entry and written only on success.
 *   out_error may be NULL; on failure it receives an error document.
 * - A function returns CSB_STATUS_OK, or the number of an error kind, CSB_STATUS_... (csb_status_name names it). Numbers
 *   are never used again for anything else.
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
 The version of the C ABI. It grows when a function changes; documents grow without it.
 */
#define ABI_VERSION 1

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
 How a call ended: `CSB_STATUS_OK`, or the number of an error kind.
 */
typedef int32_t csb_status;

/*
 The call succeeded.
 */
#define CSB_STATUS_OK 0

/*
 A pointer was NULL, an enumeration or a number out of range.
 */
#define CSB_STATUS_INVALID_ARGUMENT 1

/*
 A string was not UTF-8.
 */
#define CSB_STATUS_INVALID_UTF8 2

/*
 A document was not JSON, had an unknown field or a field of the wrong type.
 */
#define CSB_STATUS_INVALID_REQUEST 3

/*
 A defect of this library; the call was abandoned, the process goes on.
 */
#define CSB_STATUS_PANIC 4

/*
 The service was shut down.
 */
#define CSB_STATUS_SHUT_DOWN 5

/*
 The service was opened without a deployment, and the request needs one.
 */
#define CSB_STATUS_NOT_CONNECTED 6

/*
 A store cannot be opened or reached.
 */
#define CSB_STATUS_STORE_UNAVAILABLE 7

/*
 A store is locked by another program for longer than the time limit.
 */
#define CSB_STATUS_STORE_BUSY 8

/*
 A job is already running for this pool and direction.
 */
#define CSB_STATUS_CONFLICT 9

/*
 A newer owner has taken over; this one may not write any more.
 */
#define CSB_STATUS_FENCED 10

/*
 The job was cancelled.
 */
#define CSB_STATUS_CANCELLED 11

/*
 No job has this id.
 */
#define CSB_STATUS_UNKNOWN_JOB 12

/*
 No pool has this name.
 */
#define CSB_STATUS_UNKNOWN_POOL 13

/*
 A file does not exist.
 */
#define CSB_STATUS_FILE_MISSING 14

/*
 A TOML file cannot be parsed.
 */
#define CSB_STATUS_SYNTAX_ERROR 15

/*
 A file has a field that is not known.
 */
#define CSB_STATUS_UNKNOWN_FIELD 16

/*
 A value in a file is not valid.
 */
#define CSB_STATUS_INVALID_VALUE 17

/*
 Two pools have the same name.
 */
#define CSB_STATUS_DUPLICATE_POOL 18

/*
 A pool is its own backup pool.
 */
#define CSB_STATUS_SELF_PAIRED 19

/*
 A pool names a backup pool that does not name it.
 */
#define CSB_STATUS_ONE_SIDED_PAIRING 20

/*
 A pool names a backup pool that the topology does not have.
 */
#define CSB_STATUS_UNKNOWN_BACKUP_POOL 21

/*
 Two stores, or files of the deployment, are the same place.
 */
#define CSB_STATUS_SHARED_STORE 22

/*
 A standby copy lies inside the store it is a copy of, or the other way round.
 */
#define CSB_STATUS_STANDBY_INSIDE_SOURCE 23

/*
 A store's URL names an engine that this version does not have, or a store or document is of a newer build.
 */
#define CSB_STATUS_UNSUPPORTED_STORE 24

/*
 The pool has no backup pool.
 */
#define CSB_STATUS_NOT_PAIRED 25

/*
 A content store's marker is missing or its listing is empty: it is probably not mounted.
 */
#define CSB_STATUS_CONTENT_STORE_UNMOUNTED 27

/*
 More objects would be deleted at the standby than the safety share allows.
 */
#define CSB_STATUS_SAFETY_SHARE_EXCEEDED 28

/*
 The pool is not in the state that the job was asked to require.
 */
#define CSB_STATUS_POOL_STATE_MISMATCH 29

/*
 The backup service did not reach the awaited state in the given number of tries.
 */
#define CSB_STATUS_STATE_NOT_REACHED 30

/*
 The source changes faster than it can be copied in one consistent piece.
 */
#define CSB_STATUS_SOURCE_TOO_BUSY 31

/*
 There is no space left where something has to be written.
 */
#define CSB_STATUS_DISK_FULL 32

/*
 The file system or database refuses the access.
 */
#define CSB_STATUS_ACCESS_DENIED 33

/*
 A store holds something that this product did not put there, and will not overwrite.
 */
#define CSB_STATUS_FOREIGN_CONTENT 34

/*
 A database file is damaged.
 */
#define CSB_STATUS_CORRUPT 35

/*
 The Central Management store or its replica does not have what was asked for.
 */
#define CSB_STATUS_NOT_PUBLISHED 36

/*
 The local replica is damaged or of another version.
 */
#define CSB_STATUS_REPLICA_INVALID 37

/*
 An input or output failed for a reason that has no kind of its own.
 */
#define CSB_STATUS_IO 38

/*
 The process that ran the job ended before the job did.
 */
#define CSB_STATUS_INTERRUPTED 39

/*
 The standby copy of the Central Management store is newer than the master.
 */
#define CSB_STATUS_MASTER_OUTDATED 40

/*
 Two options exclude each other, or one needs another.
 */
#define CSB_STATUS_OPTION_CONFLICT 41

/*
 The SQLite library in use is too old to be trusted with a live database.
 */
#define CSB_STATUS_UNSAFE_SQLITE 42

/*
 The process was forked from one that had a service open.
 */
#define CSB_STATUS_FORKED 43

/*
 A database file was replaced by another one while a job had it open.
 */
#define CSB_STATUS_STORE_REPLACED 44

/*
 The process that this library runs in has a database open by other means.
 */
#define CSB_STATUS_STORE_OPEN_IN_PROCESS 45

/*
 A report was to take the place of something that no report may overwrite.
 */
#define CSB_STATUS_REPORT_REFUSED 46

/*
 A copy of the Central Management store takes no publications.
 */
#define CSB_STATUS_NOT_MASTER 47

/*
 Two stores of one Central Management store hold different documents at the same revision.
 */
#define CSB_STATUS_SPLIT_TIMELINE 48

/*
 A store or a file of the deployment lies in a folder whose content is copied, replaced or removed.
 */
#define CSB_STATUS_PLACE_INSIDE_STORE 51

/*
 What a sync would replace as a whole could not be kept, so nothing was replaced.
 */
#define CSB_STATUS_HISTORY_FULL 53

/*
 Another machine does not let this one do what it asks for, or only that machine may do it.
 */
#define CSB_STATUS_PEER_REFUSED 54

/*
 The backup service at another machine cannot be talked to by this version.
 */
#define CSB_STATUS_PEER_INCOMPATIBLE 55

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/*
 Returns the version of the ABI that the library implements. Compare it with `CSB_ABI_VERSION` of the header. Never blocks.
 */
uint32_t csb_abi_version(void);

/*
 Returns the version of the library, for instance "0.1.0". Static: not to be freed. Never blocks.
 */
const char *csb_version(void);

/*
 Returns the name of a status, for instance "StoreBusy", "OK", or "Unknown" for a number this version does not
 have. Static: not to be freed. Never blocks.
 */
const char *csb_status_name(csb_status status);

/*
 Frees a string that this library returned. NULL is accepted. Every such string is freed exactly once. Never blocks.
 */
void csb_string_free(char *string);

/*
 Opens a service with the configuration document. `out_service` receives a handle, to be freed with `csb_service_free`.
 Blocks while it reads the deployment's files, at most 30 s where they do not answer; looks at no pool's store.
 */
csb_status csb_service_open(const char *config_json,
                            struct csb_service **out_service,
                            char **out_error);

/*
 Answers a request document. `out_reply` receives the reply document, to be freed with `csb_string_free`. Blocks while it
 looks at stores; where one does not answer, at most 30 s (10 s for a status), then the error is `StoreUnavailable`.
 */
csb_status csb_service_request(const struct csb_service *service,
                               const char *request_json,
                               char **out_reply,
                               char **out_error);

/*
 Cancels all jobs, blocks up to `timeout_ms` until their reports are written, and joins the service's threads. Every
 later call with this handle but `csb_service_free` returns `ShutDown`. A second shutdown does nothing.
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
 Starts a job of the kind that the request names: `{"job": "backup", …}`. `out_job` receives the job's number, to be given
 back with `csb_job_release`. Returns at once: the pool is looked up by the job itself.
 */
csb_status csb_job_start(const struct csb_service *service,
                         const char *request_json,
                         uint64_t *out_job,
                         char **out_error);

/*
 Starts the backup of a pool: `csb_job_start` with the job `backup`.
 */
csb_status csb_backup_start(const struct csb_service *service,
                            const char *request_json,
                            uint64_t *out_job,
                            char **out_error);

/*
 Starts the synchronization of a pool with its backup pool: `csb_job_start` with the job `sync`.
 */
csb_status csb_sync_start(const struct csb_service *service,
                          const char *request_json,
                          uint64_t *out_job,
                          char **out_error);

/*
 Tells what a job has told after the event `after_seq`. `out_events` receives the events document, to be freed with
 `csb_string_free`. Blocks up to `timeout_ms` until there is an event: 0 does not wait, more than 60 s is 60 s. Nothing
 new is OK with an empty list.
 */
csb_status csb_job_poll(const struct csb_service *service,
                        uint64_t job,
                        uint64_t after_seq,
                        uint32_t timeout_ms,
                        char **out_events,
                        char **out_error);

/*
 Asks a job to stop at the next transaction boundary. Never blocks; OK for a job that is stopping or has ended.
 */
csb_status csb_job_cancel(const struct csb_service *service,
                          uint64_t job,
                          char **out_error);

/*
 Gives the report of a job that has ended, as `CSB_REPORT_JSON` or `CSB_REPORT_HTML`; `Conflict` while it runs.
 `out_report` receives it, to be freed with `csb_string_free`. Never blocks.
 */
csb_status csb_job_report(const struct csb_service *service,
                          uint64_t job,
                          int32_t format,
                          char **out_report,
                          char **out_error);

/*
 Forgets a job that has ended; its number is stale then, its record on disk stays. `Conflict` while it runs. Never
 blocks.
 */
csb_status csb_job_release(const struct csb_service *service,
                           uint64_t job,
                           char **out_error);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* CS_BACKUP_H */
