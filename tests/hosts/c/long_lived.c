/*
 * A process that lives for long: long_lived EMPTY_FOLDER [JOBS]
 *
 * Twenty pools in ten pairs, one service. JOBS jobs one after another (10,000 where none are named), each of one module of one
 * pool; then a hundred at once, again and again: what is allocated, threads, descriptors and mappings stay what they were once
 * all had been used.
 *
 * Allocations are counted by this program, whose malloc the library uses: what the process has resident depends on the moment, on how many
 * threads happened to run at once, and on what heaps keep for later. What is used by a job that has just told its end, or by a thread that waits for
 * another one, goes away by itself; what is left behind does not. So each look waits for that.
 */
#define _GNU_SOURCE /* clock_gettime, nanosleep, opendir, malloc_usable_size */

#include "testing.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <malloc.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

enum { PAIRS = 10, POOLS = 2 * PAIRS, MANY = 10000, AT_ONCE = 100, CROWDS = 5 };

/* What may be used beyond what was used before: a block in a hundred jobs. */
enum { BLOCKS_MORE = 100, KIB_MORE = 64 };

/* Heaps of threads, two mappings each, of which glibc makes a few more where many threads run at once. */
enum { MAPPINGS_MORE = 50 };

/* Calls that block share 512 threads at most, whatever waits; a job that runs has a few of its own. */
enum { THREADS_IN_A_CROWD = 512 + 4 * POOLS };

/* Records of ended jobs that are kept, and those of the jobs since old ones were last forgotten. */
enum { RECORDS = 400 };

/* Threads without work, which have memory of their own, are kept for ten seconds. */
enum { SETTLES_IN_MS = 12000 };

/* ---- allocations, counted ---------------------------------------------------------------------------------------------- */

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *block, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *block);

static atomic_long blocks, bytes;

static void *taken(void *block)
{
    if (block != NULL) {
        atomic_fetch_add_explicit(&blocks, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&bytes, (long)malloc_usable_size(block), memory_order_relaxed);
    }
    return block;
}

static void given_back(size_t size)
{
    atomic_fetch_sub_explicit(&blocks, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&bytes, (long)size, memory_order_relaxed);
}

void *malloc(size_t size)
{
    return taken(__libc_malloc(size));
}

void *calloc(size_t count, size_t size)
{
    return taken(__libc_calloc(count, size));
}

void *memalign(size_t alignment, size_t size)
{
    return taken(__libc_memalign(alignment, size));
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return memalign(alignment, size);
}

int posix_memalign(void **out, size_t alignment, size_t size)
{
    *out = memalign(alignment, size);
    return *out == NULL ? ENOMEM : 0;
}

void *realloc(void *block, size_t size)
{
    size_t before = block == NULL ? 0 : malloc_usable_size(block);
    void *moved = __libc_realloc(block, size);
    if (block != NULL && (moved != NULL || size == 0)) {
        given_back(before);
    }
    return taken(moved);
}

void free(void *block)
{
    if (block != NULL) {
        given_back(malloc_usable_size(block));
    }
    __libc_free(block);
}

/* ---- twenty pools ------------------------------------------------------------------------------------------------------ */

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

/* ---- what is used ------------------------------------------------------------------------------------------------------ */

typedef struct {
    long blocks, kib;
    int threads, descriptors, mappings;
} used;

static int mappings_now(void)
{
    int mappings = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    for (int letter = 0; maps != NULL && (letter = fgetc(maps)) != EOF;) {
        mappings += letter == '\n';
    }
    if (maps != NULL) {
        fclose(maps);
    }
    return mappings;
}

static used used_now(void)
{
    return (used){
        .blocks = atomic_load(&blocks),
        .kib = atomic_load(&bytes) / 1024,
        .threads = threads_now(),
        .descriptors = entries_of("/proc/self/fd") - 1, /* the folder is open itself */
        .mappings = mappings_now(),
    };
}

static void show(const char *when, used used)
{
    printf("        %-28s %6ld blocks, %6ld KiB, %3d threads, %3d descriptors, %3d mappings\n", when, used.blocks, used.kib, used.threads,
           used.descriptors, used.mappings);
    fflush(stdout);
}

static long least(long one, long other)
{
    return one < other ? one : other;
}

/* The least of each that is used within so long; sooner where that is not more than what may be used. */
static used at_rest(const used *may_be, double within_ms)
{
    used low = used_now();
    for (double deadline = now_ms() + within_ms; now_ms() < deadline;) {
        if (may_be != NULL && low.blocks <= may_be->blocks && low.kib <= may_be->kib && low.threads <= may_be->threads &&
            low.descriptors <= may_be->descriptors && low.mappings <= may_be->mappings) {
            break;
        }
        pause_ms(20);
        used now = used_now();
        low = (used){least(low.blocks, now.blocks), least(low.kib, now.kib), (int)least(low.threads, now.threads),
                     (int)least(low.descriptors, now.descriptors), (int)least(low.mappings, now.mappings)};
    }
    return low;
}

/* Nothing is left behind: what may be used is not exceeded, or not any more once what was under way has ended. */
static void check_rest(const used *may_be)
{
    used now = at_rest(may_be, PATIENCE_MS);
    show("at rest", now);
    check(now.blocks <= may_be->blocks && now.kib <= may_be->kib, "they leave no memory behind");
    check(now.mappings <= may_be->mappings, "nor a mapping");
    check(now.descriptors <= may_be->descriptors, "nor a descriptor open");
    check(now.threads <= may_be->threads, "nor a thread");
}

/* ---- jobs -------------------------------------------------------------------------------------------------------------- */

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

    used crowded;
    bool all = true;
    for (int crowd = 0; crowd < CROWDS && all; crowd++) {
        all = at_once(service, &crowded) && one_after_another(service, 3 * POOLS);
    }
    check(all, "the first jobs of every pool succeed");
    used first = at_rest(NULL, SETTLES_IN_MS);
    show("after the first jobs", first);
    used may_be = first;
    may_be.blocks += BLOCKS_MORE;
    may_be.kib += KIB_MORE;
    may_be.mappings += MAPPINGS_MORE;

    double began = now_ms();
    for (int part = 1; part <= 4 && all; part++) {
        char when[64];
        all = one_after_another(service, jobs / 4);
        snprintf(when, sizeof when, "after %d more", part * (jobs / 4));
        show(when, used_now());
    }
    printf("        %.2f ms a job\n", (now_ms() - began) / jobs);
    check(all, "all jobs succeed, one after another");
    check_rest(&may_be);

    all = true;
    for (int crowd = 0; crowd < CROWDS && all; crowd++) {
        all = at_once(service, &crowded);
        show("while a hundred run", crowded);
    }
    check(all, "a hundred at once on twenty pools succeed, five for each");
    check_rest(&may_be);
    check(crowded.threads < THREADS_IN_A_CROWD, "they share their threads");

    char records[4200];
    snprintf(records, sizeof records, "%s/jobs", arguments[1]);
    check(entries_of(records) <= RECORDS, "old jobs are forgotten");

    shut_down(service);
    csb_service_free(service);
    check(threads_end(idle.threads, PATIENCE_MS), "the shutdown leaves no thread behind");
    idle.blocks = idle.kib = LONG_MAX;
    idle.mappings = INT_MAX;
    check(at_rest(&idle, PATIENCE_MS).descriptors == idle.descriptors, "and no descriptor open");
    return counted();
}
