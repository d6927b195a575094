/*
 * The C ABI under misuse and in use: abi_test EMPTY_FOLDER [full]
 *
 * Every call that must fail is checked to clear its outputs and to explain itself. With `full`, what needs a machine that
 * is not slowed down (no valgrind) is measured too. One line per check; the last is "N passed, N failed".
 */
#define _POSIX_C_SOURCE 200809L /* clock_gettime, nanosleep, opendir, fork */

#include "cs_backup.h"
#include "cs_backup.h" /* twice: the header guards itself */
#include "hold.h"
#include "testing.h"

#include <pthread.h>
#include <stdatomic.h>

enum { THREADS = 16, ROUNDS = 25 };

/* ---- the tests ------------------------------------------------------------------------------------------------------- */

static void names_and_numbers(void)
{
    check(csb_abi_version() == CSB_ABI_VERSION, "the library has the ABI of its header");
    check(strspn(csb_version(), "0123456789.") >= 5, "the library has a version");
    check(strcmp(csb_status_name(CSB_STATUS_OK), "OK") == 0, "status 0 is OK");
    check(strcmp(csb_status_name(CSB_STATUS_STORE_BUSY), "StoreBusy") == 0, "a status has the name of its kind");
    const csb_status strange[] = {-1, 999, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < sizeof strange / sizeof *strange; i++) {
        check(strcmp(csb_status_name(strange[i]), "Unknown") == 0, "a strange status is Unknown");
    }
    csb_string_free(NULL);
    csb_service_free(NULL);
    check(true, "NULL can be freed");
}

static void bad_documents(void)
{
    const struct {
        const char *config, *kind, *what;
    } cases[] = {
        {NULL, "InvalidArgument", "open: config_json is NULL"},
        {"{\"deploymentFile\": \"\xff\xfe\"}", "InvalidUtf8", "open: bytes that are not UTF-8"},
        {"\xc0\xaf", "InvalidUtf8", "open: an overlong sequence"},
        {"{\"deploymentFile\": \"\xe2\x82", "InvalidUtf8", "open: a sequence that is cut"},
        {"\xed\xa0\x80", "InvalidUtf8", "open: a lone surrogate"},
        {"", "InvalidRequest", "open: an empty document"},
        {"{", "InvalidRequest", "open: a broken document"},
        {"[]", "InvalidRequest", "open: an array"},
        {"null", "InvalidRequest", "open: null"},
        {"{} {}", "InvalidRequest", "open: two documents"},
        {"{\"deploymentFile\": 1}", "InvalidRequest", "open: a field of the wrong type"},
        {"{\"deploymentfile\": null}", "InvalidRequest", "open: an unknown field"},
        {"{\"deploymentFile\": null, \"deploymentFile\": null}", "InvalidRequest", "open: a field twice"},
        {"{\"deploymentFile\": \"/nonexistent/deployment.toml\"}", "FileMissing", "open: a deployment that is not there"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check(open_fails(cases[i].config, cases[i].kind), cases[i].what);
    }
    enum { MANY = 4000000 };
    char *deep = malloc(MANY + 1);
    if (deep != NULL) {
        memset(deep, '[', MANY);
        deep[MANY] = '\0';
        check(open_fails(deep, "InvalidRequest"), "open: four million brackets");
        memset(deep, ' ', MANY);
        deep[0] = '{';
        deep[MANY - 1] = '}';
        csb_service *service = NULL;
        char *error = &poison;
        must(csb_service_open(deep, &service, &error), &error, "open with four million blanks");
        check(service != NULL && error == NULL, "open: four million blanks do no harm");
        csb_service_free(service);
        free(deep);
    }
}

static void missing_pointers(void)
{
    char *error = &poison;
    csb_status status = csb_service_open("{}", NULL, &error);
    check(explains(status, "InvalidArgument", error), "open: out_service is NULL");
    csb_service *service = (csb_service *)(void *)&poison;
    status = csb_service_open(NULL, &service, NULL);
    check(status != CSB_STATUS_OK && service == NULL, "open: out_error may be NULL");
    status = csb_service_open(NULL, NULL, NULL);
    check(strcmp(csb_status_name(status), "InvalidArgument") == 0, "open: all NULL");

    every_call_fails(NULL, "InvalidArgument", "service is NULL");
    check(shutdown_fails(NULL, "InvalidArgument"), "service is NULL: csb_service_shutdown is InvalidArgument");

    service = opened(NULL);
    char *out = &poison;
    uint64_t job = 1;
    check(request_fails(service, NULL, "InvalidArgument"), "request: request_json is NULL");
    status = csb_service_request(service, "{}", NULL, &error);
    check(explains(status, "InvalidArgument", error), "request: out_reply is NULL");
    check(csb_service_request(service, "{", &out, NULL) != CSB_STATUS_OK && out == NULL, "request: out_error may be NULL");
    check(start_fails(csb_backup_start, service, NULL, "InvalidArgument"), "backup: request_json is NULL");
    check(start_fails(csb_sync_start, service, NULL, "InvalidArgument"), "sync: request_json is NULL");
    check(start_fails(csb_job_start, service, NULL, "InvalidArgument"), "start: request_json is NULL");
    status = csb_backup_start(service, ATL, NULL, &error);
    check(explains(status, "InvalidArgument", error), "backup: out_job is NULL");
    status = csb_sync_start(service, ATL, NULL, &error);
    check(explains(status, "InvalidArgument", error), "sync: out_job is NULL");
    status = csb_job_start(service, DISABLE, NULL, &error);
    check(explains(status, "InvalidArgument", error), "start: out_job is NULL");
    check(csb_backup_start(service, "{", &job, NULL) != CSB_STATUS_OK && job == 0, "backup: out_error may be NULL");
    status = csb_job_poll(service, 1, 0, 0, NULL, &error);
    check(explains(status, "InvalidArgument", error), "poll: out_events is NULL");
    status = csb_job_report(service, 1, CSB_REPORT_JSON, NULL, &error);
    check(explains(status, "InvalidArgument", error), "report: out_report is NULL");
    check(csb_job_poll(service, 1, 0, 0, &out, NULL) != CSB_STATUS_OK && out == NULL, "poll: out_error may be NULL");
    check(csb_job_cancel(service, 1, NULL) != CSB_STATUS_OK, "cancel: out_error may be NULL");
    check(csb_job_release(service, 1, NULL) != CSB_STATUS_OK, "release: out_error may be NULL");
    check(csb_service_shutdown(service, 0, NULL) == CSB_STATUS_OK, "shutdown: out_error may be NULL");
    csb_service_free(service);
}

static void foreign_handles(void)
{
    char mine[64] = {0};
    every_call_fails((const csb_service *)(const void *)mine, "InvalidArgument", "a foreign handle");
    check(shutdown_fails((const csb_service *)(const void *)mine, "InvalidArgument"), "a foreign handle: not shut down");
    csb_service_free((csb_service *)(void *)mine);
    check(mine[0] == 0, "a foreign handle can be freed, and is left alone");

    csb_service *service = opened(NULL), *stale = service;
    csb_service_free(service);
    every_call_fails(stale, "InvalidArgument", "a freed handle");
    check(shutdown_fails(stale, "InvalidArgument"), "a freed handle: not shut down");
    csb_service_free(stale);
    csb_service *next = opened(NULL);
    csb_service_free(stale);
    check(next != stale, "handles are not used again");
    check(request_fails(next, "{\"request\": \"getPools\"}", "NotConnected"), "a double free does not hit the next handle");
    csb_service_free(next);
}

static void unconnected(void)
{
    csb_service *service = opened(NULL);
    check(request_fails(service, "{\"request\": \"getPools\"}", "NotConnected"), "unconnected: a request");
    check(start_fails(csb_backup_start, service, ATL, "NotConnected"), "unconnected: a backup");
    check(start_fails(csb_sync_start, service, ATL, "NotConnected"), "unconnected: a sync");
    check(start_fails(csb_job_start, service, DISABLE, "NotConnected"), "unconnected: a job");
    check(poll_fails(service, 1, "UnknownJob"), "unconnected: no job");
    check(request_fails(service, "{\"request\": \"makeCoffee\"}", "InvalidRequest"), "an unknown request");
    check(request_fails(service, "{}", "InvalidRequest"), "a request without its name");
    check(request_fails(service, "{\"request\": \"getPools\", \"x\": 1}", "InvalidRequest"), "a request with an unknown field");
    check(request_fails(service, "{\"request\": \"\xff\"}", "InvalidUtf8"), "a request that is not UTF-8");
    shut_down(service);
    every_call_fails(service, "ShutDown", "after the shutdown");
    shut_down(service);
    check(true, "a second shutdown does nothing");
    csb_service_free(service);
}

/* A pool's name of sixteen megabytes: no pool has it, which is said in fewer words. */
static void enormous_documents(const csb_service *service)
{
    static const char before[] = "{\"request\": \"getPoolBackupRelationship\", \"poolFqdn\": \"", after[] = "\"}";
    enum { ENORMOUS = 16000000 };
    char *document = malloc(ENORMOUS + sizeof before + sizeof after);
    if (document == NULL) {
        return;
    }
    size_t length = sizeof before - 1;
    memcpy(document, before, length);
    memset(document + length, 'x', ENORMOUS);
    memcpy(document + length + ENORMOUS, after, sizeof after);
    char *reply = &poison, *error = &poison;
    csb_status status = csb_service_request(service, document, &reply, &error);
    size_t said = error == NULL ? 0 : strlen(error);
    check(explains(status, "UnknownPool", error) && reply == NULL && said < ENORMOUS / 100,
          "a request of sixteen megabytes is refused in fewer words");
    document[length + ENORMOUS] = '\0';
    check(request_fails(service, document, "InvalidRequest"), "a request of sixteen megabytes that is cut");
    check(start_fails(csb_backup_start, service, document, "InvalidRequest"), "a start of sixteen megabytes");
    free(document);
}

static void bad_jobs(const csb_service *service)
{
    const struct {
        start_function *start;
        const char *request, *kind, *what;
    } cases[] = {
        {csb_backup_start, "{", "InvalidRequest", "backup: a broken document"},
        {csb_backup_start, "{}", "InvalidRequest", "backup: no pool"},
        {csb_backup_start, "{\"poolFqdn\": \"atl-cs-001.litwareinc.com\", \"retryCount\": -1}", "InvalidRequest",
         "backup: a negative count"},
        {csb_backup_start, "{\"poolFqdn\": \"atl-cs-001.litwareinc.com\", \"retryCount\": 1e30}", "InvalidRequest",
         "backup: an enormous count"},
        {csb_backup_start, "{\"poolFqdn\": \"atl-cs-001.litwareinc.com\", \"modules\": []}", "InvalidRequest",
         "backup: a field that only a sync has"},
        {csb_job_start, "{\"poolFqdn\": \"atl-cs-001.litwareinc.com\"}", "InvalidRequest", "start: no job"},
        {csb_job_start, "{\"job\": \"coffee\", \"poolFqdn\": \"atl-cs-001.litwareinc.com\"}", "InvalidRequest", "start: an unknown job"},
        {csb_job_start, "{\"job\": \"disable\", \"poolFqdn\": \"atl-cs-001.litwareinc.com\", \"force\": true}", "InvalidRequest",
         "start: a field that this job does not have"},
        {csb_backup_start, "{\"poolFqdn\": \"atl-cs-001.litwareinc.com\", \"fullBackup\": true, \"steadyState\": true}",
         "OptionConflict", "backup: options that exclude each other"},
        {csb_job_start, "{\"job\": \"backup\", \"poolFqdn\": \"atl-cs-001.litwareinc.com\", \"fullBackup\": true, \"steadyState\": true}",
         "OptionConflict", "start: options that exclude each other"},
        {csb_sync_start, "{\"poolFqdn\": \"atl-cs-001.litwareinc.com\", \"modules\": [\"Coffee\"]}", "InvalidArgument",
         "sync: an unknown module"},
        {csb_sync_start, "\xff", "InvalidUtf8", "sync: not UTF-8"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check(start_fails(cases[i].start, service, cases[i].request, cases[i].kind), cases[i].what);
    }
    const uint64_t strange[] = {0, 999, UINT64_MAX};
    for (size_t i = 0; i < sizeof strange / sizeof *strange; i++) {
        check(poll_fails(service, strange[i], "UnknownJob") && cancel_fails(service, strange[i], "UnknownJob") &&
                  report_fails(service, strange[i], CSB_REPORT_JSON, "UnknownJob") &&
                  release_fails(service, strange[i], "UnknownJob"),
              "a strange job number is UnknownJob");
    }
}

static void a_backup(const csb_service *service)
{
    uint64_t job = started(csb_backup_start, service, ATL);
    check(job != 0, "a backup has a number");
    check(report_fails(service, job, CSB_REPORT_JSON, "Conflict"), "a running job has no report yet");
    check(release_fails(service, job, "Conflict"), "a running job is not released");
    seen seen = follow(service, job, NULL);
    check(seen.in_order, "its events come in order, and nothing follows the end");
    check(seen.finished == 1 && seen.ended, "exactly one event ends it");
    check(seen.progress > 0, "it tells its progress");

    double began = now_ms();
    char *reply = polled(service, job, seen.last, UINT32_MAX);
    check(json_first(json_field(reply, "events")) == NULL && now_ms() - began < PATIENCE_MS / 2,
          "a poll beyond the cap returns at once from a job that has ended");
    csb_string_free(reply);
    reply = polled(service, job, UINT64_MAX, 0);
    check(json_first(json_field(reply, "events")) == NULL, "nothing comes after the largest number");
    csb_string_free(reply);
    struct {
        const char *name;
        uint32_t timeout;
    } again[] = {{"the same events can be read again", 0}, {"and again, with a timeout", 1000}};
    for (int i = 0; i < 2; i++) {
        reply = polled(service, job, 0, again[i].timeout);
        uint64_t kept = 0;
        for (const char *event = json_first(json_field(reply, "events")); event != NULL; event = json_next(event)) {
            kept++;
        }
        check((double)kept + json_number(json_field(reply, "dropped")) == (double)seen.last, again[i].name);
        csb_string_free(reply);
    }

    char *report = reported(service, job, CSB_REPORT_JSON), id[2][64];
    check(json_is(json_field(report, "outcome"), "Succeeded"), "the backup succeeded");
    reply = polled(service, job, 0, 0);
    check(strcmp(json_string(json_field(report, "jobId"), id[0], sizeof id[0]),
                 json_string(json_field(reply, "jobId"), id[1], sizeof id[1])) == 0 && strlen(id[0]) == 36,
          "report and events name the same job");
    check(json_is(json_field(reply, "state"), "Succeeded"), "its state is its outcome");
    unsigned modules = 0;
    for (const char *at = json_first(json_field(report, "modules")); at != NULL; at = json_next(at)) {
        modules++;
    }
    check(modules == 3, "the report has its three modules");
    csb_string_free(reply);
    csb_string_free(report);

    report = reported(service, job, CSB_REPORT_HTML);
    check(strncmp(report, "<!doctype html>", 15) == 0 || strncmp(report, "<!DOCTYPE html>", 15) == 0, "the report as a page");
    csb_string_free(report);
    check(report_fails(service, job, 2, "InvalidArgument"), "there is no report format 2");
    check(report_fails(service, job, -1, "InvalidArgument"), "there is no report format -1");
    check(report_fails(service, job, INT32_MIN, "InvalidArgument"), "nor the smallest number");
    cancelled(service, job);
    cancelled(service, job);
    check(ends_as(service, job, "Succeeded"), "cancelling what has ended changes nothing");
    released(service, job);
    check(poll_fails(service, job, "UnknownJob") && cancel_fails(service, job, "UnknownJob") &&
              report_fails(service, job, CSB_REPORT_JSON, "UnknownJob") && release_fails(service, job, "UnknownJob"),
          "a released number is UnknownJob");
    char request[200];
    snprintf(request, sizeof request, "{\"request\": \"getReport\", \"jobId\": \"%s\"}", id[0]);
    report = reply_to(service, request);
    check(json_is(json_field(report, "outcome"), "Succeeded"), "its report can still be read by its id");
    csb_string_free(report);
}

/* Whether a job that is cancelled in a step is Cancelled; `took` is the time that it needed for that. */
static bool cancelled_in_a_step(const csb_service *service, double *took)
{
    uint64_t job = started(csb_backup_start, service, CHI);
    follow(service, job, "stepStarted");
    double began = now_ms();
    cancelled(service, job);
    cancelled(service, job);
    bool as_it_should = ends_as(service, job, "Cancelled");
    *took = now_ms() - began;
    released(service, job);
    return as_it_should;
}

/* One that was started while the other one was held: one of the two is refused, whichever, and the other one then does the work. */
static void two_at_once(const csb_service *service, holder held)
{
    uint64_t jobs[2];
    jobs[0] = started(csb_backup_start, service, CHI);
    jobs[1] = started(csb_backup_start, service, CHI);
    bool ended = false;
    for (double deadline = now_ms() + PATIENCE_MS; !ended && now_ms() < deadline;) {
        for (int i = 0; i < 2; i++) {
            char *events = polled(service, jobs[i], 0, 10);
            ended = ended || !json_is(json_field(events, "state"), "Running");
            csb_string_free(events);
        }
    }
    let_go(held);
    bool both = true;
    int won = 0, refused = 0;
    for (int i = 0; i < 2; i++) {
        both = follow(service, jobs[i], NULL).ended && both;
        char *report = reported(service, jobs[i], CSB_REPORT_JSON);
        won += json_is(json_field(report, "outcome"), "Succeeded");
        refused += json_is(json_field(json_first(json_field(report, "errors")), "kind"), "Conflict");
        csb_string_free(report);
        released(service, jobs[i]);
    }
    check(both, "two jobs of one pool end");
    check(won == 1 && refused == 1, "one of them did the work, the other one says Conflict");
}

/* How often a cancellation is timed on a machine that may have other things to do: the fastest counts. */
enum { CANCELLATIONS = 5 };

static void other_jobs(const csb_service *service, const char *folder, bool full)
{
    char store[4200];
    snprintf(store, sizeof store, "%s/chi/users.sqlite", folder);
    holder held = hold(store);
    uint64_t job = started(csb_backup_start, service, CHI);
    cancelled(service, job);
    check(ends_as(service, job, "Cancelled"), "a job that is cancelled at once is Cancelled");
    released(service, job);

    double fastest = PATIENCE_MS, took = 0;
    bool all = true;
    for (int time = 0; time < CANCELLATIONS && fastest >= 1000; time++) {
        all = cancelled_in_a_step(service, &took) && all;
        fastest = took < fastest ? took : fastest;
    }
    check(all, "a job that is cancelled in a step is Cancelled, and has a report");
    if (full) {
        printf("        cancelled in %.0f ms\n", fastest);
        check(fastest < 1000, "it stopped within a second");
    }
    two_at_once(service, held);

    job = started(csb_sync_start, service, ATL);
    check(ends_as(service, job, "Succeeded"), "a sync succeeds");
    job = started(csb_sync_start, service, "{\"poolFqdn\": \"ATL-CS-001.litwareinc.com\", \"whatIf\": true}");
    check(ends_as(service, job, "Succeeded"), "a plan succeeds, whatever the case of the pool's name");

    job = started(csb_job_start, service, DISABLE);
    check(ends_as(service, job, "Succeeded"), "a job that takes the product out succeeds");
    job = started(csb_job_start, service, NOWHERE);
    check(follow(service, job, NULL).ended, "a job of an unknown pool ends");
    char *failure = reported(service, job, CSB_REPORT_JSON);
    check(json_is(json_field(json_first(json_field(failure, "errors")), "kind"), "UnknownPool"), "its report says UnknownPool");
    csb_string_free(failure);
    released(service, job);

    char *reply = reply_to(service, "{\"request\": \"listJobs\"}");
    unsigned jobs = 0;
    for (const char *at = json_first(json_field(reply, "jobs")); at != NULL; at = json_next(at)) {
        jobs++;
    }
    check(jobs >= 5, "jobs are listed");
    csb_string_free(reply);
}

/* ---- threads --------------------------------------------------------------------------------------------------------- */

typedef struct {
    const csb_service *service;
    uint64_t job;
    atomic_int calls;
    csb_status status; /* what ended the thread */
    bool sound;
} poller;

static void *poll_until_refused(void *argument)
{
    poller *poller = argument;
    uint64_t after = 0;
    poller->sound = true;
    do {
        char *events = NULL, *error = NULL;
        poller->status = csb_job_poll(poller->service, poller->job, after, PATIENCE_MS, &events, &error);
        poller->sound = poller->sound && (poller->status == CSB_STATUS_OK) == (events != NULL) &&
                        (poller->status == CSB_STATUS_OK) == (error == NULL);
        after = events != NULL ? (uint64_t)json_number(json_field(events, "lastSeq")) : after;
        csb_string_free(events);
        csb_string_free(error);
        atomic_fetch_add(&poller->calls, 1);
    } while (poller->status == CSB_STATUS_OK);
    return NULL;
}

typedef struct {
    bool frees;
    uint32_t shutdown_ms;
    const char *request, *what, *refused_as;
} ending;

static void while_another_thread_polls(const char *deployment, ending ending)
{
    char what[200];
    csb_service *service = opened(deployment);
    poller poller = {.service = service, .job = started(csb_backup_start, service, ending.request)};
    pthread_t thread;
    pthread_create(&thread, NULL, poll_until_refused, &poller);
    while (atomic_load(&poller.calls) == 0) {
        pause_ms(1);
    }
    double began = now_ms();
    if (ending.frees) {
        csb_service_free(service);
        csb_service_free(service);
    } else {
        csb_service_shutdown(service, ending.shutdown_ms, NULL);
    }
    pthread_join(thread, NULL);
    snprintf(what, sizeof what, "%s while a thread polls: its calls stay sound", ending.what);
    check(poller.sound, what);
    snprintf(what, sizeof what, "%s while a thread polls: it is told %s", ending.what, ending.refused_as);
    check(strcmp(csb_status_name(poller.status), ending.refused_as) == 0, what);
    snprintf(what, sizeof what, "%s while a thread polls: it is told soon", ending.what);
    check(now_ms() - began < PATIENCE_MS / 4, what);
    csb_service_free(service);
}

static void *mix_of_calls(void *argument)
{
    poller *poller = argument;
    poller->sound = true;
    for (int round = 0; round < ROUNDS; round++) {
        char *out = NULL, *error = NULL;
        csb_status status = csb_service_request(poller->service, "{\"request\": \"getPools\"}", &out, &error);
        poller->sound = poller->sound && status == CSB_STATUS_OK && error == NULL;
        csb_string_free(out);
        status = csb_job_poll(poller->service, poller->job, 0, 1, &out, &error);
        poller->sound = poller->sound && status == CSB_STATUS_OK && error == NULL;
        csb_string_free(out);
        status = csb_service_request(poller->service, "{\"request\": 1}", &out, &error);
        poller->sound = poller->sound && explains(status, "InvalidRequest", error) && out == NULL;
        csb_service *other = NULL;
        status = csb_service_open("{}", &other, &error);
        poller->sound = poller->sound && status == CSB_STATUS_OK && other != NULL && error == NULL;
        csb_service_free(other);
    }
    return NULL;
}

static void many_threads(const char *deployment)
{
    csb_service *service = opened(deployment);
    /* The other pool was disabled: what became of its copy is in the way of the next one. */
    uint64_t job = started(csb_sync_start, service, CHI);
    pthread_t threads[THREADS];
    poller pollers[THREADS];
    for (int i = 0; i < THREADS; i++) {
        pollers[i] = (poller){.service = service, .job = job};
        pthread_create(&threads[i], NULL, mix_of_calls, &pollers[i]);
    }
    bool sound = true;
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        sound = sound && pollers[i].sound;
    }
    check(sound, "sixteen threads ask, poll, fail, open and free at once");
    check(ends_as(service, job, "Succeeded"), "the job between them succeeds");
    shut_down(service);
    csb_service_free(service);
}

static void job_numbers_of_others(const char *deployment)
{
    csb_service *one = opened(deployment), *other = opened(deployment);
    uint64_t job = started(csb_sync_start, one, "{\"poolFqdn\": \"atl-cs-001.litwareinc.com\", \"whatIf\": true}");
    check(poll_fails(other, job, "UnknownJob"), "a job number of another service is UnknownJob");
    uint64_t theirs = started(csb_sync_start, other, "{\"poolFqdn\": \"atl-cs-001.litwareinc.com\", \"whatIf\": true}");
    check(poll_fails(other, job, "UnknownJob") && poll_fails(one, theirs, "UnknownJob"),
          "also when both services have jobs");
    shut_down(one);
    shut_down(other);
    csb_service_free(one);
    csb_service_free(other);
}

static void *nothing(void *argument)
{
    return argument;
}

enum { LOOKS = 10 };

/* How many threads there are before the library has any: a sanitizer starts its own beside the program's first. */
static int threads_at_rest(void)
{
    pthread_t thread;
    pthread_create(&thread, NULL, nothing, NULL);
    pthread_join(thread, NULL);
    int fewest = threads_now();
    for (int look = 0; look < LOOKS; look++) {
        pause_ms(JOINED_MS / LOOKS);
        fewest = threads_now() < fewest ? threads_now() : fewest;
    }
    return fewest;
}

static void never_overwrites(const char *folder)
{
    char quoted[4096], request[4300];
    csb_service *service = opened(NULL);
    snprintf(request, sizeof request, "{\"request\": \"createSampleDeployment\", \"folder\": %s}",
             json_quote(folder, quoted, sizeof quoted));
    check(request_fails(service, request, "ForeignContent"), "a sample deployment never overwrites anything");
    csb_service_free(service);
}

int main(int count, char **arguments)
{
    if (count < 2) {
        fprintf(stderr, "usage: %s EMPTY_FOLDER [full]\n", arguments[0]);
        return 2;
    }
    bool full = count > 2 && strcmp(arguments[2], "full") == 0;
    char deployment[4096];
    int threads = threads_at_rest();
    names_and_numbers();
    bad_documents();
    missing_pointers();
    foreign_handles();
    unconnected();
    make_sample(arguments[1], deployment, sizeof deployment);
    never_overwrites(arguments[1]);

    check(threads_end(threads, PATIENCE_MS), "services that were only freed leave no thread behind");
    csb_service *service = opened(deployment);
    bad_jobs(service);
    enormous_documents(service);
    a_backup(service);
    other_jobs(service, arguments[1], full);
    shut_down(service);
    check(threads_end(threads, JOINED_MS), "the shutdown has joined all threads");
    every_call_fails(service, "ShutDown", "after jobs and a shutdown");
    csb_service_free(service);

    many_threads(deployment);
    job_numbers_of_others(deployment);
    while_another_thread_polls(deployment, (ending){false, PATIENCE_MS, CHI, "shut down", "ShutDown"});
    while_another_thread_polls(deployment, (ending){true, 0, CHI, "freed", "InvalidArgument"});
    while_another_thread_polls(deployment, (ending){false, 0, ATL, "shut down without patience", "ShutDown"});
    check(threads_end(threads, PATIENCE_MS), "also a service that was freed during its job leaves no thread behind");
    return counted();
}
