/*
 * A process that lives for long: long_lived EMPTY_FOLDER [JOBS]
 *
 * Twenty pools in ten pairs, one service. JOBS jobs one after another (10,000 where none are named), each of one module of one
 * pool; then a hundred at once, again and again: memory, threads and descriptors stay what they were once all had been used.
 *
 * Run it with GLIBC_TUNABLES=glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0: else what each thread's heap keeps for later counts as
 * allocated, which is more than a leak would be.
 */
#define _POSIX_C_SOURCE 200809L /* clock_gettime, nanosleep, opendir */

#include "testing.h"

#include <inttypes.h>
#include <malloc.h>
#include <unistd.h>

enum { PAIRS = 10, POOLS = 2 * PAIRS, MANY = 10000, AT_ONCE = 100, CROWDS = 5 };

/* What may be used beyond what was used before. What is resident also has pages that are free in part, and stacks. */
enum { ALLOCATED_KIB_MORE = 256, RESIDENT_KIB_MORE = 4096 };

/* A job runs on few threads at a time, however many wait. */
enum { THREADS_IN_A_CROWD = 2 * AT_ONCE };

/* Records of ended jobs that are kept, and those of the jobs since old ones were last forgotten. */
enum { RECORDS = 400 };

/* A job's end is told before its last database is closed. */
enum { SETTLES_IN_MS = 3000 };

static void pool_name(int number, char *out, size_t size)
{
    snprintf(out, size, "pool-%02d.litwareinc.com", number);
}

/* Ten sample deployments become one: their stores, under other names. */
static void write_deployment(const char *folder, char *deployment, size_t size)
{
    static const char *const sites[] = {"atl", "chi"};
    char path[4096], topology[4096], name[64], partner[64];
    snprintf(deployment, size, "%s/deployment.toml", folder);
    snprintf(topology, sizeof topology, "%s/topology.toml", folder);
    for (int pair = 0; pair < PAIRS; pair++) {
        char sample[4096];
        snprintf(path, sizeof path, "%s/pair-%d", folder, pair);
        make_sample_of(path, 2, sample, sizeof sample);
    }
    FILE *out = fopen(deployment, "w");
    if (out == NULL) {
        exit(2);
    }
    fputs("central_management_store = \"sqlite:cms/cms.sqlite\"\nlocal_replica = \"cms/replica.json\"\njobs = \"jobs\"\n", out);
    fclose(out);
    out = fopen(topology, "w");
    if (out == NULL) {
        exit(2);
    }
    pool_name(0, name, sizeof name);
    fprintf(out, "central_management_pool = \"%s\"\n", name);
    for (int pool = 0; pool < POOLS; pool++) {
        const char *own = sites[pool % 2], *other = sites[(pool + 1) % 2];
        pool_name(pool, name, sizeof name);
        pool_name(pool ^ 1, partner, sizeof partner);
        snprintf(path, sizeof path, "pair-%d/%s", pool / 2, own);
        fprintf(out,
                "[[pools]]\nfqdn = \"%s\"\nbackup_pool = \"%s\"\nuser_store = { url = \"sqlite:%s/users.sqlite\" }\n"
                "content_store = { url = \"file:%s/share\" }\nstandby = { user_store = \"sqlite:%s/standby/%s.sqlite\", "
                "content_store = \"file:%s/standby/%s\", management_store = \"sqlite:%s/standby/cms.sqlite\" }\n",
                name, partner, path, path, path, other, path, other, path);
    }
    fclose(out);
}

static void publish(const csb_service *service, const char *folder)
{
    char path[4200], quoted[4300], request[4400];
    snprintf(path, sizeof path, "%s/topology.toml", folder);
    snprintf(request, sizeof request, "{\"request\": \"publishTopology\", \"file\": %s}",
             json_quote(path, quoted, sizeof quoted));
    csb_string_free(reply_to(service, request));
}

typedef struct {
    long resident_kib, allocated_kib;
    int threads, descriptors;
} used;

static used used_now(void)
{
    used used = {0, (long)(mallinfo2().uordblks / 1024), threads_now(), entries_of("/proc/self/fd") - 1}; /* the folder is open itself */
    FILE *memory = fopen("/proc/self/statm", "r");
    long pages = 0;
    if (memory != NULL && fscanf(memory, "%*s %ld", &pages) == 1) {
        used.resident_kib = pages * (sysconf(_SC_PAGESIZE) / 1024);
    }
    if (memory != NULL) {
        fclose(memory);
    }
    return used;
}

static void show(const char *when, used used)
{
    printf("        %-28s %6ld KiB, %6ld of them allocated, %3d threads, %3d descriptors\n", when, used.resident_kib,
           used.allocated_kib, used.threads, used.descriptors);
    fflush(stdout);
}

/* What is used once jobs that have told their end have ended: not more threads and descriptors than at a time before. */
static used used_at_rest(used before)
{
    used used = used_now();
    for (double deadline = now_ms() + SETTLES_IN_MS;
         (used.descriptors > before.descriptors || used.threads > before.threads) && now_ms() < deadline; used = used_now()) {
        pause_ms(20);
    }
    malloc_trim(0);
    used.resident_kib = used_now().resident_kib;
    return used;
}

static bool leaves_memory(used now, used before)
{
    return now.allocated_kib > before.allocated_kib + ALLOCATED_KIB_MORE ||
           now.resident_kib > before.resident_kib + RESIDENT_KIB_MORE;
}

static uint64_t start_sync(const csb_service *service, int pool, const char *module)
{
    char name[64], request[200];
    pool_name(pool, name, sizeof name);
    snprintf(request, sizeof request, "{\"poolFqdn\": \"%s\", \"modules\": [\"%s\"], \"waitForLeaseMs\": %d}", name, module,
             PATIENCE_MS);
    return started(csb_sync_start, service, request);
}

/* Whether a job succeeds; its number is given back. */
static bool succeeds(const csb_service *service, uint64_t job)
{
    bool succeeded = ends_as(service, job, "Succeeded");
    released(service, job);
    return succeeded;
}

static bool one_after_another(const csb_service *service, int jobs)
{
    static const char *const modules[] = {"PresenceFocus", "DataConf", "CMSMaster"};
    bool all = true;
    for (int number = 0; number < jobs && all; number++) {
        all = succeeds(service, start_sync(service, number % POOLS, modules[number % 3]));
    }
    return all;
}

static bool at_once(const csb_service *service, used *highest)
{
    uint64_t jobs[AT_ONCE];
    bool all = true;
    for (int number = 0; number < AT_ONCE; number++) {
        jobs[number] = start_sync(service, number % POOLS, "All");
    }
    *highest = used_now();
    for (int number = 0; number < AT_ONCE; number++) {
        all = succeeds(service, jobs[number]) && all;
    }
    return all;
}

int main(int count, char **arguments)
{
    int jobs = count > 2 ? atoi(arguments[2]) : MANY;
    if (count < 2 || jobs < 1) {
        fprintf(stderr, "usage: %s EMPTY_FOLDER [JOBS]\n", arguments[0]);
        return 2;
    }
    char deployment[4096];
    used idle = used_now();
    write_deployment(arguments[1], deployment, sizeof deployment);
    csb_service *service = opened(deployment);
    publish(service, arguments[1]);

    used crowded, first, now;
    bool all = true;
    for (int crowd = 0; crowd < CROWDS && all; crowd++) {
        all = at_once(service, &crowded) && one_after_another(service, 3 * POOLS);
    }
    check(all, "the first jobs of every pool succeed");
    pause_ms(SETTLES_IN_MS / 10);
    first = used_at_rest(used_now());
    show("after the first jobs", first);
    double began = now_ms();
    for (int part = 1; part <= 4 && all; part++) {
        char when[64];
        all = one_after_another(service, jobs / 4);
        now = used_at_rest(first);
        snprintf(when, sizeof when, "after %d more", part * (jobs / 4));
        show(when, now);
    }
    printf("        %.2f ms a job\n", (now_ms() - began) / jobs);
    check(all, "all jobs succeed, one after another");
    check(!leaves_memory(now, first), "they leave no memory behind");
    check(now.descriptors <= first.descriptors, "nor a descriptor open");
    check(now.threads <= first.threads, "nor a thread");

    all = true;
    for (int crowd = 0; crowd < CROWDS && all; crowd++) {
        all = at_once(service, &crowded);
        show("while a hundred run", crowded);
    }
    now = used_at_rest(first);
    show("after them", now);
    check(all, "a hundred at once on twenty pools succeed, five for each");
    check(!leaves_memory(now, first), "they leave no memory behind");
    check(now.descriptors <= first.descriptors, "nor a descriptor open");
    check(crowded.threads < THREADS_IN_A_CROWD, "they share their threads");

    char records[4200];
    snprintf(records, sizeof records, "%s/jobs", arguments[1]);
    check(entries_of(records) <= RECORDS, "old jobs are forgotten");

    shut_down(service);
    csb_service_free(service);
    check(threads_end(idle.threads, PATIENCE_MS), "the shutdown leaves no thread behind");
    check(used_now().descriptors == idle.descriptors, "and no descriptor open");
    return counted();
}
