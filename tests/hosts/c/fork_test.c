/*
 * A process that forks: fork_test EMPTY_FOLDER
 *
 * Threads do not cross a fork, and SQLite's locks must not. The child is refused, at once and with an explanation; the
 * parent's service and its job go on.
 */
#define _POSIX_C_SOURCE 200809L /* clock_gettime, nanosleep, opendir, fork */

#include "testing.h"

#include <sys/wait.h>
#include <unistd.h>

static int child(csb_service *service)
{
    passed = failed = 0;
    every_call_fails(service, "Forked", "in the child");
    check(open_fails("{}", "Forked"), "in the child: csb_service_open is Forked");
    check(shutdown_fails(service, "Forked"), "in the child: csb_service_shutdown is Forked");
    csb_service_free(service);
    csb_service_free(service);
    check(csb_abi_version() == CSB_ABI_VERSION, "in the child: what needs no service works");
    return counted();
}

int main(int count, char **arguments)
{
    if (count != 2) {
        fprintf(stderr, "usage: %s EMPTY_FOLDER\n", arguments[0]);
        return 2;
    }
    char deployment[4096];
    make_sample(arguments[1], deployment, sizeof deployment);
    csb_service *service = opened(deployment);
    uint64_t job = started(csb_backup_start, service, ATL);
    pid_t forked = fork();
    if (forked == 0) {
        int ended = child(service);
        fflush(stdout);
        _exit(ended);
    }
    int status = -1;
    check(waitpid(forked, &status, 0) == forked && WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child is refused");
    check(ends_as(service, job, "Succeeded"), "the parent's job goes on");
    shut_down(service);
    csb_service_free(service);

    /* With every service freed, a child begins anew. */
    forked = fork();
    if (forked == 0) {
        service = opened(deployment);
        bool works = ends_as(service, started(csb_sync_start, service, ATL), "Succeeded");
        shut_down(service);
        csb_service_free(service);
        _exit(works ? 0 : 1);
    }
    check(waitpid(forked, &status, 0) == forked && WIFEXITED(status) && WEXITSTATUS(status) == 0,
          "a child of a process without services uses the library");
    return counted();
}
