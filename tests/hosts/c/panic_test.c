/*
 * A defect in one layer of the library, which a build with the feature `failpoints` makes on purpose:
 *
 *     FAILPOINTS='store.user.synchronize=1*panic->off' panic_test DEPLOYMENT_FILE
 *
 * It must reach the host as the error Panic, with a message and without a crash; the handle goes on working, and the next
 * job does what the failed one could not.
 */
#define _POSIX_C_SOURCE 200809L /* clock_gettime, nanosleep, opendir */

#include "testing.h"

/* Whether an error document, or a report that holds some, tells of a panic. */
static bool tells(const char *document)
{
    return document != NULL && strstr(document, "\"kind\":\"Panic\"") != NULL && strstr(document, "failpoint") != NULL;
}

static unsigned panics = 0;

/* Takes over the two outputs of a call; NULL where it panicked, which is counted. */
static char *taken(csb_status status, char *out, char *error, const char *what)
{
    if (status == CSB_STATUS_OK) {
        return out;
    }
    check(strcmp(csb_status_name(status), "Panic") == 0 && tells(error) && out == NULL, what);
    panics++;
    csb_string_free(error);
    return NULL;
}

static csb_service *service_of(const char *deployment)
{
    char quoted[4096], config[4200];
    json_quote(deployment, quoted, sizeof quoted);
    snprintf(config, sizeof config, "{\"deploymentFile\": %s}", quoted);
    csb_service *service = NULL;
    char *error = NULL;
    csb_status status = csb_service_open(config, &service, &error);
    if (taken(status, (char *)service, error, "open says Panic") == NULL) {
        service = opened(deployment);
    }
    return service;
}

static void ask(const csb_service *service)
{
    char *reply = NULL, *error = NULL;
    csb_status status = csb_service_request(service, "{\"request\": \"getPools\"}", &reply, &error);
    csb_string_free(taken(status, reply, error, "the request says Panic"));
}

/* Runs a job; what its report, or the call that did not give one, says of a panic is counted. */
static void run(const csb_service *service, start_function *start)
{
    uint64_t job = 0;
    char *error = NULL, *report = NULL;
    csb_status status = start(service, ATL, &job, &error);
    if (taken(status, job == 0 ? NULL : (char *)&job, error, "the start says Panic") == NULL) {
        return;
    }
    seen seen = follow(service, job, NULL);
    check(seen.finished == 1 && seen.ended, "the job ends in one event, whatever happens");
    status = csb_job_report(service, job, CSB_REPORT_JSON, &report, &error);
    report = taken(status, report, error, "the report says Panic");
    panics += tells(report);
    csb_string_free(report);
    status = csb_job_report(service, job, CSB_REPORT_HTML, &report, &error);
    csb_string_free(taken(status, report, error, "the page says Panic"));
    released(service, job);
}

int main(int count, char **arguments)
{
    const char *points = getenv("FAILPOINTS");
    if (count != 2 || points == NULL) {
        fprintf(stderr, "usage: FAILPOINTS=NAME=1*panic->off %s DEPLOYMENT_FILE\n", arguments[0]);
        return 2;
    }
    csb_service *service = service_of(arguments[1]);
    ask(service);
    run(service, csb_sync_start);
    ask(service);
    check(panics == 1, "the defect was told, once");
    check(ends_as(service, started(csb_backup_start, service, ATL), "Succeeded"), "the next job does the work");
    shut_down(service);
    csb_service_free(service);
    return counted();
}
