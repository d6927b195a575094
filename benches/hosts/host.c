/* What calls cost a host in C: host LIBRARY OPEN_CONFIG STATUS_REQUEST SYNC_REQUEST. Prints "name milliseconds" lines. */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cs_backup.h"

#define CALLS 300

static double now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void tell_median(const char *name, double *samples, int count) {
    qsort(samples, (size_t)count, sizeof *samples, ascending);
    printf("%s %.6f\n", name, samples[count / 2]);
}

static void *symbol(void *library, const char *name) {
    void *found = dlsym(library, name);
    if (!found) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    return found;
}

static void require(csb_status status, const char *what, const char *error) {
    if (status != 0) {
        fprintf(stderr, "%s: %d %s\n", what, (int)status, error ? error : "");
        exit(1);
    }
}

int main(int count, char **arguments) {
    if (count != 5) {
        fprintf(stderr, "usage: host LIBRARY OPEN_CONFIG STATUS_REQUEST SYNC_REQUEST\n");
        return 2;
    }
    double samples[CALLS], started = now_ms();
    void *library = dlopen(arguments[1], RTLD_NOW);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    printf("load %.6f\n", now_ms() - started);
    __typeof__(&csb_abi_version) abi_version = symbol(library, "csb_abi_version");
    __typeof__(&csb_service_open) service_open = symbol(library, "csb_service_open");
    __typeof__(&csb_service_request) service_request = symbol(library, "csb_service_request");
    __typeof__(&csb_sync_start) sync_start = symbol(library, "csb_sync_start");
    __typeof__(&csb_job_poll) job_poll = symbol(library, "csb_job_poll");
    __typeof__(&csb_service_shutdown) service_shutdown = symbol(library, "csb_service_shutdown");
    __typeof__(&csb_service_free) service_free = symbol(library, "csb_service_free");
    __typeof__(&csb_string_free) string_free = symbol(library, "csb_string_free");

    csb_service *service = NULL;
    char *error = NULL, *text = NULL;
    started = now_ms();
    require(service_open(arguments[2], &service, &error), "csb_service_open", error);
    printf("open %.6f\n", now_ms() - started);

    for (int i = 0; i < CALLS; i++) {
        started = now_ms();
        (void)abi_version();
        samples[i] = now_ms() - started;
    }
    tell_median("empty-call", samples, CALLS);

    for (int i = 0; i < CALLS; i++) {
        started = now_ms();
        require(service_request(service, arguments[3], &text, &error), "csb_service_request", error);
        string_free(text);
        samples[i] = now_ms() - started;
    }
    tell_median("status", samples, CALLS);

    uint64_t job = 0;
    started = now_ms();
    require(sync_start(service, arguments[4], &job, &error), "csb_sync_start", error);
    for (int ended = 0; !ended;) {
        require(job_poll(service, job, 0, 100, &text, &error), "csb_job_poll", error);
        ended = strstr(text, "\"finished\"") != NULL;
        string_free(text);
    }
    printf("idle-job %.6f\n", now_ms() - started);
    for (int i = 0; i < CALLS; i++) {
        started = now_ms();
        require(job_poll(service, job, UINT64_MAX - 1, 0, &text, &error), "csb_job_poll", error);
        string_free(text);
        samples[i] = now_ms() - started;
    }
    tell_median("poll", samples, CALLS);

    require(service_shutdown(service, 10000, &error), "csb_service_shutdown", error);
    service_free(service);
    return 0;
}
