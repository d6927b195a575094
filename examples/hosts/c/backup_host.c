/*
 * An example host: backs a pool up, or synchronizes it with its backup pool, and shows what happens.
 *
 *     backup_host DEPLOYMENT.toml POOL [--sync [--give-back]] [--report FILE] [--cancel-after-ms N]
 *     backup_host --sample FOLDER
 *
 * The report is kept as HTML, or, in FILE.json, as JSON. The second form makes a sample deployment and prints the path of its deployment file. Exit code: 0 succeeded or nothing
 * to do, 1 failed, 2 wrong usage, 3 succeeded with warnings, 4 cancelled (Ctrl+C cancels).
 *
 * cc -std=c11 -Iinclude examples/hosts/c/backup_host.c -Ltarget/release -lcs_backup -Wl,-rpath,target/release -o backup_host
 */
#define _POSIX_C_SOURCE 200809L /* clock_gettime, isatty, sigaction */

#include "cs_backup.h"
#include "json.h"

#include <inttypes.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_WARNINGS = 3, EXIT_CANCELLED = 4 };

/* How long one poll waits: short, so that Ctrl+C and the progress line feel immediate. */
enum { SLICE_MS = 100, SHUTDOWN_MS = 10000 };

typedef struct {
    const char *deployment;
    const char *pool;
    const char *report_file;
    bool sync, gives_back;
    bool cancels;
    double cancel_after_ms;
} options;

/* What the screen shows of the step that runs. */
typedef struct {
    bool terminal; /* rewrites the progress line; a file or pipe gets finished steps only */
    bool line_open;
    double step_started_ms;
    char title[160];
} screen;

static volatile sig_atomic_t interrupted = 0;

static void on_interrupt(int signal)
{
    (void)signal;
    interrupted = 1;
}

static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* ---- numbers for people ------------------------------------------------------------------------------------------ */

typedef struct {
    char text[32];
} words;

static words in_thousands(double number)
{
    words plain, grouped = {""};
    snprintf(plain.text, sizeof plain.text, "%.0f", number);
    size_t length = strlen(plain.text), used = 0;
    for (size_t i = 0; i < length && used + 2 < sizeof grouped.text; i++) {
        if (i > 0 && (length - i) % 3 == 0) {
            grouped.text[used++] = ',';
        }
        grouped.text[used++] = plain.text[i];
    }
    grouped.text[used] = '\0';
    return grouped;
}

static words as_size(double bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    words size;
    size_t unit = 0;
    while (bytes >= 1024 && unit + 1 < sizeof units / sizeof *units) {
        bytes /= 1024;
        unit++;
    }
    snprintf(size.text, sizeof size.text, unit > 0 && bytes < 10 ? "%.1f %s" : "%.0f %s", bytes, units[unit]);
    return size;
}

static words as_duration(double ms)
{
    words duration;
    if (ms < 1000) {
        snprintf(duration.text, sizeof duration.text, "%.0f ms", ms);
    } else if (ms < 60000) {
        snprintf(duration.text, sizeof duration.text, "%.1f s", ms / 1e3);
    } else {
        snprintf(duration.text, sizeof duration.text, "%.0f min %02.0f s", (ms - (double)((long)ms % 60000)) / 60000,
                 (double)((long)ms % 60000) / 1e3);
    }
    return duration;
}

/* ---- errors ------------------------------------------------------------------------------------------------------ */

/* Prints one error document: what happened, why, and what to do. */
static void print_error(FILE *to, const char *indent, const char *error)
{
    char kind[64], text[2048];
    json_string(json_field(error, "kind"), kind, sizeof kind);
    fprintf(to, "%s%s: %s\n", indent, kind, json_string(json_field(error, "message"), text, sizeof text));
    for (const char *cause = json_first(json_field(error, "causes")); cause != NULL; cause = json_next(cause)) {
        fprintf(to, "%s  because: %s\n", indent, json_string(cause, text, sizeof text));
    }
    fprintf(to, "%s  what to do: %s\n", indent, json_string(json_field(error, "advice"), text, sizeof text));
}

/*
 * Whether a call succeeded; if not, prints its error document and frees it. Takes the document's address, because C does not
 * say which argument is evaluated first: the call that is the first one writes it.
 */
static bool succeeded(csb_status status, char **error)
{
    if (status != CSB_STATUS_OK) {
        if (*error != NULL) {
            print_error(stderr, "", *error);
        } else {
            fprintf(stderr, "%s\n", csb_status_name(status));
        }
    }
    csb_string_free(*error);
    *error = NULL;
    return status == CSB_STATUS_OK;
}

/* ---- events ------------------------------------------------------------------------------------------------------ */

static void clear_line(screen *screen)
{
    if (screen->line_open) {
        fputs("\r\033[K", stdout);
        screen->line_open = false;
    }
}

static void show_plan(const char *event)
{
    char command[64], pool[256], title[160];
    printf("%s %s\n", json_string(json_field(event, "command"), command, sizeof command),
           json_string(json_field(event, "poolFqdn"), pool, sizeof pool));
    const char *step = json_first(json_field(json_field(event, "plan"), "steps"));
    for (int number = 1; step != NULL; step = json_next(step), number++) {
        printf("  %d. %s\n", number, json_string(json_field(step, "title"), title, sizeof title));
    }
    putchar('\n');
}

static void show_progress(screen *screen, const char *event)
{
    if (!screen->terminal) {
        return;
    }
    char activity[64];
    const char *total = json_field(event, "itemsTotal"), *bytes = json_field(event, "bytesTotal"), *left = json_field(event, "timeLeftMs");
    const double items = json_number(json_field(event, "itemsDone"));
    clear_line(screen);
    printf("  ..  %s: ", json_string(json_field(event, "activity"), activity, sizeof activity));
    if (json_exists(total)) {
        printf("%s of %s items, ", in_thousands(items).text, in_thousands(json_number(total)).text);
    } else if (items > 0) {
        printf("%s items, ", in_thousands(items).text);
    }
    printf("%s", as_size(json_number(json_field(event, "bytesDone"))).text);
    if (json_exists(bytes)) {
        printf(" of %s", as_size(json_number(bytes)).text);
    }
    if (json_number(json_field(event, "bytesPerSecond")) > 0) {
        printf(", %s/s", as_size(json_number(json_field(event, "bytesPerSecond"))).text);
    }
    if (json_exists(left)) {
        printf(", %s left", as_duration(json_number(left)).text);
    }
    screen->line_open = true;
}

static const char *mark_of(const char *outcome)
{
    if (json_is(outcome, "Succeeded")) {
        return "ok";
    }
    return json_is(outcome, "Failed") ? "!!" : json_is(outcome, "Skipped") ? "--" : json_is(outcome, "Cancelled") ? "xx" : "!";
}

/* Shows one event. Events that it does not know are none of its business: later versions have more of them. */
static void show_event(screen *screen, const char *event)
{
    char first[512], second[64], third[64];
    const char *kind = json_field(event, "event");
    if (json_is(kind, "progress")) {
        show_progress(screen, event);
        return;
    }
    clear_line(screen);
    if (json_is(kind, "started")) {
        show_plan(event);
    } else if (json_is(kind, "stepStarted")) {
        screen->step_started_ms = now_ms();
        json_string(json_field(event, "title"), screen->title, sizeof screen->title);
        if (screen->terminal) {
            printf("  ..  %s", screen->title);
            screen->line_open = true;
        }
    } else if (json_is(kind, "stepFinished")) {
        printf("  %-2s  %-70s %9s\n", mark_of(json_field(event, "outcome")), screen->title,
               as_duration(now_ms() - screen->step_started_ms).text);
    } else if (json_is(kind, "stateChanged")) {
        printf("  >>  %s: %s -> ", json_string(json_field(event, "module"), first, sizeof first),
               json_string(json_field(event, "from"), second, sizeof second));
        printf("%s (%s)\n", json_string(json_field(event, "to"), second, sizeof second),
               json_string(json_field(event, "half"), third, sizeof third));
    } else if (json_is(kind, "warning")) {
        printf("  !   %s\n", json_string(json_field(event, "message"), first, sizeof first));
    } else if (json_is(kind, "retrying")) {
        const char *message = json_field(json_field(event, "error"), "message");
        printf("  !   %s Attempt %.0f in %s.\n", json_string(message, first, sizeof first),
               json_number(json_field(event, "attempt")), as_duration(json_number(json_field(event, "delayMs"))).text);
    }
}

/* Shows the job's events until it has ended. */
static bool follow(const csb_service *service, uint64_t job, const options *options)
{
    screen screen = {.terminal = isatty(STDOUT_FILENO) == 1};
    double cancel_at = options->cancels ? now_ms() + options->cancel_after_ms : 0;
    bool cancelled = false, finished = false;
    uint64_t seen = 0;
    while (!finished) {
        double until_cancel = options->cancels && !cancelled ? cancel_at - now_ms() : SLICE_MS;
        if (!cancelled && (interrupted || until_cancel <= 0)) {
            char *error = NULL;
            cancelled = true;
            clear_line(&screen);
            puts("  xx  Cancelling: the job stops at the next safe point.");
            if (!succeeded(csb_job_cancel(service, job, &error), &error)) {
                return false;
            }
        }
        uint32_t wait = until_cancel > 0 && until_cancel < SLICE_MS ? (uint32_t)until_cancel + 1 : SLICE_MS;
        char *events = NULL, *error = NULL;
        if (!succeeded(csb_job_poll(service, job, seen, wait, &events, &error), &error)) {
            return false;
        }
        for (const char *event = json_first(json_field(events, "events")); event != NULL; event = json_next(event)) {
            show_event(&screen, event);
            finished = finished || json_is(json_field(event, "event"), "finished");
        }
        seen = (uint64_t)json_number(json_field(events, "lastSeq"));
        csb_string_free(events);
        fflush(stdout);
    }
    return true;
}

/* ---- the report -------------------------------------------------------------------------------------------------- */

/* The rows of a table; a new heading where the direction changes, or where a sync begins to give back. */
static void show_module(const char *module, char *heading, size_t size)
{
    bool given_back = json_is(json_field(module, "purpose"), "carryBack");
    char from[256], to[256], name[64], outcome[32], wanted[600];
    const char *pools = json_field(module, "direction"), *moved = json_field(module, "moved");
    json_string(json_field(pools, "from"), from, sizeof from);
    json_string(json_field(pools, "to"), to, sizeof to);
    if (given_back) {
        snprintf(wanted, sizeof wanted, "Given back to %s", to);
    } else {
        snprintf(wanted, sizeof wanted, "%s -> %s", from, to);
    }
    if (strcmp(wanted, heading) != 0) {
        snprintf(heading, size, "%s", wanted);
        printf("\n  %s\n  %-27s %-21s %9s %9s %9s%s\n", wanted, "Module", "Outcome", "Written", "Deleted", "Size",
               given_back ? "" : "  State");
    }
    printf("  %-27s %-21s %9s %9s %9s", json_string(json_field(module, "module"), name, sizeof name),
           json_string(json_field(module, "outcome"), outcome, sizeof outcome),
           in_thousands(json_number(json_field(moved, "itemsWritten"))).text,
           in_thousands(json_number(json_field(moved, "itemsDeleted"))).text,
           as_size(json_number(json_field(moved, "bytes"))).text);
    if (!given_back) {
        printf("  %s", json_string(json_field(json_field(module, "after"), "export"), name, sizeof name));
    }
    putchar('\n');
}

static void show_problems(const char *document)
{
    char item[512], text[1024];
    const char *at;
    for (at = json_first(json_field(document, "quarantined")); at != NULL; at = json_next(at)) {
        printf("  not copied: %s\n", json_string(json_field(at, "item"), item, sizeof item));
        printf("    because: %s\n", json_string(json_field(at, "reason"), text, sizeof text));
        printf("    what to do: %s\n", json_string(json_field(at, "advice"), text, sizeof text));
    }
    for (at = json_first(json_field(document, "warnings")); at != NULL; at = json_next(at)) {
        printf("  warning: %s\n", json_string(at, text, sizeof text));
    }
    for (at = json_first(json_field(document, "errors")); at != NULL; at = json_next(at)) {
        print_error(stdout, "  ", at);
    }
}

/* Prints the report in short, and returns the exit code that stands for its outcome. */
static int show_report(const char *report)
{
    char text[64], heading[600] = "";
    const char *outcome = json_field(report, "outcome"), *modules = json_field(report, "modules");
    printf("\n%s in %s", json_string(outcome, text, sizeof text),
           as_duration(json_number(json_field(report, "durationMs"))).text);
    printf(" (job %s)\n", json_string(json_field(report, "jobId"), text, sizeof text));
    for (const char *module = json_first(modules); module != NULL; module = json_next(module)) {
        show_module(module, heading, sizeof heading);
    }
    putchar('\n');
    for (const char *module = json_first(modules); module != NULL; module = json_next(module)) {
        show_problems(module);
    }
    show_problems(report);
    if (json_is(outcome, "SucceededWithWarnings")) {
        return EXIT_WARNINGS;
    }
    if (json_is(outcome, "Cancelled")) {
        return EXIT_CANCELLED;
    }
    return json_is(outcome, "Succeeded") || json_is(outcome, "Skipped") ? EXIT_OK : EXIT_FAILED;
}

/*
 * Lets the library write the report of a job to a file, HTML or, in FILE.json, JSON; of job 0 it only asks whether the library
 * would: better before the job than after it.
 */
static bool save(const csb_service *service, uint64_t job, const char *file)
{
    char quoted[4096], request[4300];
    if (json_quote(file, quoted, sizeof quoted) == NULL) {
        fputs("The report's name is too long.\n", stderr);
        return false;
    }
    if (job == 0) {
        snprintf(request, sizeof request, "{\"request\": \"writeReport\", \"file\": %s, \"whatIf\": true}", quoted);
    } else {
        snprintf(request, sizeof request, "{\"request\": \"writeReport\", \"job\": %" PRIu64 ", \"file\": %s}", job, quoted);
    }
    char *reply = NULL, *error = NULL, written[4096];
    if (!succeeded(csb_service_request(service, request, &reply, &error), &error)) {
        return false;
    }
    if (job != 0) {
        printf("Report: %s\n", json_string(json_field(reply, "file"), written, sizeof written));
    }
    csb_string_free(reply);
    return true;
}

/* The job has ended: shows its report, keeps it where that was asked for, and forgets the job. */
static int conclude(const csb_service *service, uint64_t job, const options *options)
{
    char *report = NULL, *error = NULL;
    if (!succeeded(csb_job_report(service, job, CSB_REPORT_JSON, &report, &error), &error)) {
        return EXIT_FAILED;
    }
    int code = show_report(report);
    csb_string_free(report);
    if (options->report_file != NULL && !save(service, job, options->report_file)) {
        code = EXIT_FAILED;
    }
    if (!succeeded(csb_job_release(service, job, &error), &error)) {
        code = EXIT_FAILED;
    }
    return code;
}

/* ---- the program ------------------------------------------------------------------------------------------------- */

static int run_job(const csb_service *service, const options *options)
{
    char pool[1024], request[1200];
    if (json_quote(options->pool, pool, sizeof pool) == NULL) {
        fputs("The pool's name is too long.\n", stderr);
        return EXIT_USAGE;
    }
    if (options->report_file != NULL && !save(service, 0, options->report_file)) {
        return EXIT_FAILED;
    }
    snprintf(request, sizeof request, "{\"poolFqdn\": %s%s}", pool, options->gives_back ? ", \"giveBack\": true" : "");
    char *error = NULL;
    uint64_t job = 0;
    csb_status status = options->sync ? csb_sync_start(service, request, &job, &error)
                                      : csb_backup_start(service, request, &job, &error);
    if (!succeeded(status, &error) || !follow(service, job, options)) {
        return EXIT_FAILED;
    }
    return conclude(service, job, options);
}

static int make_sample(const csb_service *service, const char *folder)
{
    char quoted[4096], request[4200];
    if (json_quote(folder, quoted, sizeof quoted) == NULL) {
        fputs("The folder's name is too long.\n", stderr);
        return EXIT_USAGE;
    }
    snprintf(request, sizeof request, "{\"request\": \"createSampleDeployment\", \"folder\": %s}", quoted);
    char *reply = NULL, *error = NULL;
    if (!succeeded(csb_service_request(service, request, &reply, &error), &error)) {
        return EXIT_FAILED;
    }
    char file[4096];
    puts(json_string(json_field(reply, "deploymentFile"), file, sizeof file));
    csb_string_free(reply);
    return EXIT_OK;
}

static csb_service *open_service(const char *deployment)
{
    char quoted[4096], config[4200] = "{}";
    if (deployment != NULL) {
        if (json_quote(deployment, quoted, sizeof quoted) == NULL) {
            fputs("The deployment file's name is too long.\n", stderr);
            return NULL;
        }
        snprintf(config, sizeof config, "{\"deploymentFile\": %s}", quoted);
    }
    csb_service *service = NULL;
    char *error = NULL;
    return succeeded(csb_service_open(config, &service, &error), &error) ? service : NULL;
}

static bool parse(int count, char **arguments, options *options)
{
    if (count < 3 || arguments[1][0] == '-' || arguments[2][0] == '-') {
        return false;
    }
    options->deployment = arguments[1];
    options->pool = arguments[2];
    for (int i = 3; i < count; i++) {
        if (strcmp(arguments[i], "--sync") == 0) {
            options->sync = true;
        } else if (strcmp(arguments[i], "--give-back") == 0) {
            options->gives_back = true;
        } else if (strcmp(arguments[i], "--report") == 0 && i + 1 < count) {
            options->report_file = arguments[++i];
        } else if (strcmp(arguments[i], "--cancel-after-ms") == 0 && i + 1 < count) {
            char *end = NULL;
            options->cancels = true;
            options->cancel_after_ms = strtod(arguments[++i], &end);
            if (end == arguments[i] || *end != '\0' || !(options->cancel_after_ms >= 0)) {
                return false;
            }
        } else {
            return false;
        }
    }
    return options->sync || !options->gives_back;
}

int main(int count, char **arguments)
{
    options options = {0};
    const char *sample = count == 3 && strcmp(arguments[1], "--sample") == 0 ? arguments[2] : NULL;
    if (sample == NULL && !parse(count, arguments, &options)) {
        fprintf(stderr,
                "usage: %s DEPLOYMENT.toml POOL [--sync [--give-back]] [--report FILE] [--cancel-after-ms N]\n"
                "       %s --sample FOLDER\n",
                arguments[0], arguments[0]);
        return EXIT_USAGE;
    }
    if (csb_abi_version() != CSB_ABI_VERSION) {
        fprintf(stderr, "The library %s has ABI %" PRIu32 "; this program was built for ABI %d.\n", csb_version(),
                csb_abi_version(), CSB_ABI_VERSION);
        return EXIT_FAILED;
    }
    struct sigaction on_int = {.sa_handler = on_interrupt};
    sigaction(SIGINT, &on_int, NULL);

    csb_service *service = open_service(options.deployment);
    if (service == NULL) {
        return EXIT_FAILED;
    }
    int code = sample != NULL ? make_sample(service, sample) : run_job(service, &options);
    char *error = NULL;
    if (!succeeded(csb_service_shutdown(service, SHUTDOWN_MS, &error), &error)) {
        code = EXIT_FAILED;
    }
    csb_service_free(service);
    return code;
}
