/*
 * What the C hosts that test the library share: checks that count, calls that must fail and explain themselves, calls that
 * must succeed, and a job followed to its end.
 */
#ifndef CSB_TESTING_H
#define CSB_TESTING_H

#include "cs_backup.h"
#include "json.h"

#include <dirent.h>
#include <time.h>

#define ATL "{\"poolFqdn\": \"atl-cs-001.litwareinc.com\"}"
#define CHI "{\"poolFqdn\": \"chi-cs-001.litwareinc.com\"}"
#define DISABLE "{\"job\": \"disable\", \"poolFqdn\": \"atl-cs-001.litwareinc.com\"}"
#define NOWHERE "{\"job\": \"sync\", \"poolFqdn\": \"nowhere.litwareinc.com\"}"

enum { PATIENCE_MS = 60000 };

static int passed = 0, failed = 0;

/* What outputs hold before each call: nothing that a caller could mistake for a result, nor the library free. */
static char poison;

static inline void check(bool holds, const char *what)
{
    printf("%-7s %s\n", holds ? "ok" : "FAILED", what);
    fflush(stdout);
    *(holds ? &passed : &failed) += 1;
}

static inline double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static inline void pause_ms(long ms)
{
    struct timespec pause = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&pause, NULL);
}

/* How many entries a folder has; 1 where it cannot be read. */
static inline int entries_of(const char *path)
{
    int entries = 0;
    DIR *folder = opendir(path);
    if (folder == NULL) {
        return 1;
    }
    while (readdir(folder) != NULL) {
        entries++;
    }
    closedir(folder);
    return entries - 2; /* "." and ".." */
}

/* How many threads this process has, those of sanitizers included; 1 where the system does not tell. */
static inline int threads_now(void)
{
    return entries_of("/proc/self/task");
}

/* How long the system may still count a thread that was joined: it says so a moment before the thread is gone. Threads that
 * nobody joins stay for ten seconds. */
enum { JOINED_MS = 1000 };

/* Whether only as many threads are left as the program began with, or come to be in this time. */
static inline bool threads_end(int began_with, double within_ms)
{
    for (double deadline = now_ms() + within_ms; threads_now() > began_with && now_ms() < deadline;) {
        pause_ms(5);
    }
    return threads_now() <= began_with;
}

/* Whether an error document says everything that the rules promise. Frees it. */
static inline bool explains(csb_status status, const char *kind, char *error)
{
    bool complete = error != NULL && error != &poison && json_is(json_field(error, "kind"), kind) &&
                    strcmp(csb_status_name(status), kind) == 0 && json_number(json_field(error, "status")) == status &&
                    !json_is(json_field(error, "message"), "") && json_exists(json_field(error, "message")) &&
                    !json_is(json_field(error, "advice"), "") && json_exists(json_field(error, "advice")) &&
                    json_exists(json_field(error, "retryable")) && json_exists(json_field(error, "context")) &&
                    json_exists(json_field(error, "causes"));
    if (!complete) {
        printf("        wanted %s, got %s (%d): %s\n", kind, csb_status_name(status), (int)status,
               error == NULL || error == &poison ? "no error document" : error);
    }
    if (error != &poison) {
        csb_string_free(error);
    }
    return complete;
}

/* ---- calls with poisoned outputs: each is true where the call failed as it should ------------------------------------- */

static inline bool open_fails(const char *config, const char *kind)
{
    csb_service *service = (csb_service *)(void *)&poison;
    char *error = &poison;
    csb_status status = csb_service_open(config, &service, &error);
    return explains(status, kind, error) && service == NULL;
}

static inline bool request_fails(const csb_service *service, const char *request, const char *kind)
{
    char *reply = &poison, *error = &poison;
    csb_status status = csb_service_request(service, request, &reply, &error);
    return explains(status, kind, error) && reply == NULL;
}

typedef csb_status start_function(const csb_service *, const char *, uint64_t *, char **);

static inline bool start_fails(start_function *start, const csb_service *service, const char *request, const char *kind)
{
    uint64_t job = 4711;
    char *error = &poison;
    csb_status status = start(service, request, &job, &error);
    return explains(status, kind, error) && job == 0;
}

static inline bool poll_fails(const csb_service *service, uint64_t job, const char *kind)
{
    char *events = &poison, *error = &poison;
    csb_status status = csb_job_poll(service, job, 0, 0, &events, &error);
    return explains(status, kind, error) && events == NULL;
}

static inline bool cancel_fails(const csb_service *service, uint64_t job, const char *kind)
{
    char *error = &poison;
    csb_status status = csb_job_cancel(service, job, &error);
    return explains(status, kind, error);
}

static inline bool report_fails(const csb_service *service, uint64_t job, int32_t format, const char *kind)
{
    char *report = &poison, *error = &poison;
    csb_status status = csb_job_report(service, job, format, &report, &error);
    return explains(status, kind, error) && report == NULL;
}

static inline bool release_fails(const csb_service *service, uint64_t job, const char *kind)
{
    char *error = &poison;
    csb_status status = csb_job_release(service, job, &error);
    return explains(status, kind, error);
}

static inline bool shutdown_fails(const csb_service *service, const char *kind)
{
    char *error = &poison;
    csb_status status = csb_service_shutdown(service, 0, &error);
    return explains(status, kind, error);
}

/* Every function that takes a handle. */
static inline void every_call_fails(const csb_service *service, const char *kind, const char *when)
{
    char what[200];
    const struct {
        const char *name;
        bool as_it_should;
    } calls[] = {
        {"csb_service_request", request_fails(service, "{\"request\": \"getPools\"}", kind)},
        {"csb_backup_start", start_fails(csb_backup_start, service, ATL, kind)},
        {"csb_sync_start", start_fails(csb_sync_start, service, ATL, kind)},
        {"csb_job_start", start_fails(csb_job_start, service, DISABLE, kind)},
        {"csb_job_poll", poll_fails(service, 1, kind)},
        {"csb_job_cancel", cancel_fails(service, 1, kind)},
        {"csb_job_report", report_fails(service, 1, CSB_REPORT_JSON, kind)},
        {"csb_job_release", release_fails(service, 1, kind)},
    };
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        snprintf(what, sizeof what, "%s: %s is %s", when, calls[i].name, kind);
        check(calls[i].as_it_should, what);
    }
}

/* ---- calls that must succeed ----------------------------------------------------------------------------------------- */

static inline void must(csb_status status, char **error, const char *what)
{
    if (status != CSB_STATUS_OK || *error != NULL) {
        printf("FAILED  %s: %s: %s\n", what, csb_status_name(status), *error == NULL ? "" : *error);
        printf("%d passed, %d failed\n", passed, failed + 1);
        exit(1);
    }
}

static inline csb_service *opened(const char *deployment)
{
    char quoted[4096], config[4200] = "{}";
    if (deployment != NULL && json_quote(deployment, quoted, sizeof quoted) != NULL) {
        snprintf(config, sizeof config, "{\"deploymentFile\": %s}", quoted);
    }
    csb_service *service = NULL;
    char *error = &poison;
    must(csb_service_open(config, &service, &error), &error, "open");
    return service;
}

static inline char *reply_to(const csb_service *service, const char *request)
{
    char *reply = NULL, *error = &poison;
    must(csb_service_request(service, request, &reply, &error), &error, request);
    return reply;
}

static inline uint64_t started(start_function *start, const csb_service *service, const char *request)
{
    uint64_t job = 0;
    char *error = &poison;
    must(start(service, request, &job, &error), &error, request);
    return job;
}

static inline char *polled(const csb_service *service, uint64_t job, uint64_t after, uint32_t timeout_ms)
{
    char *events = NULL, *error = &poison;
    must(csb_job_poll(service, job, after, timeout_ms, &events, &error), &error, "poll");
    return events;
}

static inline char *reported(const csb_service *service, uint64_t job, int32_t format)
{
    char *report = NULL, *error = &poison;
    must(csb_job_report(service, job, format, &report, &error), &error, "report");
    return report;
}

static inline void cancelled(const csb_service *service, uint64_t job)
{
    char *error = &poison;
    must(csb_job_cancel(service, job, &error), &error, "cancel");
}

static inline void released(const csb_service *service, uint64_t job)
{
    char *error = &poison;
    must(csb_job_release(service, job, &error), &error, "release");
}

static inline void shut_down(const csb_service *service)
{
    char *error = &poison;
    must(csb_service_shutdown(service, PATIENCE_MS, &error), &error, "shutdown");
}

/* What was seen of a job's events, from the first to the last. */
typedef struct {
    uint64_t last;
    unsigned count, finished, progress;
    bool in_order, ended;
} seen;

static inline void look_at(const char *reply, seen *seen)
{
    for (const char *event = json_first(json_field(reply, "events")); event != NULL; event = json_next(event)) {
        uint64_t number = (uint64_t)json_number(json_field(event, "seq"));
        seen->in_order = seen->in_order && number > seen->last && !seen->ended;
        seen->last = number;
        seen->count++;
        seen->progress += json_is(json_field(event, "event"), "progress");
        seen->ended = json_is(json_field(event, "event"), "finished");
        seen->finished += seen->ended;
    }
    seen->last = (uint64_t)json_number(json_field(reply, "lastSeq"));
}

/* Follows a job to its end, or to the first event of a kind. */
static inline seen follow(const csb_service *service, uint64_t job, const char *until)
{
    seen seen = {.in_order = true};
    for (double deadline = now_ms() + PATIENCE_MS; !seen.ended && now_ms() < deadline;) {
        char *reply = polled(service, job, seen.last, 100);
        bool there = false;
        for (const char *event = json_first(json_field(reply, "events")); event != NULL; event = json_next(event)) {
            there = there || (until != NULL && json_is(json_field(event, "event"), until));
        }
        look_at(reply, &seen);
        csb_string_free(reply);
        if (there) {
            break;
        }
    }
    return seen;
}

static inline bool ends_as(const csb_service *service, uint64_t job, const char *outcome)
{
    seen seen = follow(service, job, NULL);
    if (!seen.ended) {
        return false;
    }
    char *report = reported(service, job, CSB_REPORT_JSON);
    bool as_wanted = json_is(json_field(report, "outcome"), outcome);
    if (!as_wanted) {
        printf("        wanted %s: %s\n", outcome, report);
    }
    csb_string_free(report);
    return as_wanted;
}

/* Makes a deployment in a new folder, with so many users and files; `deployment` receives the path of its file. */
static inline void make_sample_of(const char *folder, int many, char *deployment, size_t size)
{
    char quoted[4096], request[4300];
    if (json_quote(folder, quoted, sizeof quoted) == NULL) {
        exit(2);
    }
    snprintf(request, sizeof request,
             "{\"request\": \"createSampleDeployment\", \"folder\": %s, \"users\": %d, \"contactsPerUser\": 5, \"files\": %d}",
             quoted, many, many);
    csb_service *service = opened(NULL);
    char *reply = reply_to(service, request);
    json_string(json_field(reply, "deploymentFile"), deployment, size);
    csb_string_free(reply);
    csb_service_free(service);
}

/* Makes a small deployment in a new folder; `deployment` receives the path of its file. */
static inline void make_sample(const char *folder, char *deployment, size_t size)
{
    make_sample_of(folder, 40, deployment, size);
}

/* Ends the program with its counts; the exit code for main. */
static inline int counted(void)
{
    printf("%d passed, %d failed\n", passed, failed);
    return failed == 0 ? 0 : 1;
}

#endif
