/*
 * Runs a program and makes one of its system calls on chosen files fail, fall short, hang, or be its last.
 *
 *   inject [-l LOG] [-r RECORD] CALLS PATTERN WHEN ACTION PROGRAM [ARGUMENT...]
 *
 *   CALLS    names of calls or of groups, separated by commas: open read write sync rename unlink truncate copy
 *            mkdir link list attributes, or `all`; see the table below
 *   PATTERN  shell patterns for absolute paths, separated by `|`; `*` also stands for slashes. A call that names two
 *            files is of both
 *   WHEN     which of the calls that match, counted from 1 over all threads: `7`, `7+` (and all later ones), `0` (none)
 *   ACTION   an errno (EIO ENOSPC EDQUOT EROFS EACCES EPERM EINTR EMFILE ESTALE ETIMEDOUT), `short` (half of a write
 *            is done), `hang=MS` (that one call waits, then goes on), `kill` (SIGKILL, the call is not made), `torn` (half
 *            of a write is done, then SIGKILL)
 *   LOG      gets a line for each call that matches: its number, name and path
 *   RECORD   gets what each call that matches is about to change: a line with its group, an offset, a number of bytes, flags
 *            and the paths, between tabs, then the bytes and a line break. The offset of `truncate` is the new size
 *
 * It ends as the program did, with 128 + the signal if it was killed, and with 125 where it cannot do its work.
 *
 * Calls are intercepted by the kernel (seccomp user notification), not in libc: Rust's rustix makes its system calls by
 * itself. Neither root nor ptrace is needed. Writes through memory mappings, as of SQLite's -shm files, are not seen.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define CANNOT 125
#define PATH_SPACE (2 * PATH_MAX + 2)
#define LENGTH(array) (sizeof(array) / sizeof(*(array)))

/* Where a call's files are among its arguments: a descriptor, or a path and perhaps the folder it is relative to. */
enum { NONE = -1 };
struct place { int folder, path; };
struct call { const char *name, *group; int number; struct place of[2]; };
#define FD(argument) {{argument, NONE}, {NONE, NONE}}
#define PATH(argument) {{NONE, argument}, {NONE, NONE}}
#define AT(folder, path) {{folder, path}, {NONE, NONE}}
#define CALL(name, group, ...) {#name, group, SYS_##name, __VA_ARGS__}

static const struct call calls[] = {
    CALL(openat, "open", AT(0, 1)), CALL(openat2, "open", AT(0, 1)),
    CALL(read, "read", FD(0)), CALL(pread64, "read", FD(0)), CALL(readv, "read", FD(0)), CALL(preadv, "read", FD(0)),
    CALL(write, "write", FD(0)), CALL(pwrite64, "write", FD(0)), CALL(writev, "write", FD(0)), CALL(pwritev, "write", FD(0)),
    CALL(fsync, "sync", FD(0)), CALL(fdatasync, "sync", FD(0)), CALL(sync_file_range, "sync", FD(0)), CALL(syncfs, "sync", FD(0)),
    CALL(renameat2, "rename", {{0, 1}, {2, 3}}), CALL(renameat, "rename", {{0, 1}, {2, 3}}),
    CALL(unlinkat, "unlink", AT(0, 1)),
    CALL(ftruncate, "truncate", FD(0)), CALL(truncate, "truncate", PATH(0)), CALL(fallocate, "truncate", FD(0)),
    CALL(copy_file_range, "copy", {{0, NONE}, {2, NONE}}), CALL(sendfile, "copy", FD(0)),
    CALL(mkdirat, "mkdir", AT(0, 1)), CALL(linkat, "link", {{0, 1}, {2, 3}}), CALL(symlinkat, "link", AT(1, 2)),
    CALL(getdents64, "list", FD(0)),
    CALL(fchmod, "attributes", FD(0)), CALL(fchmodat, "attributes", AT(0, 1)), CALL(utimensat, "attributes", AT(0, 1)),
    CALL(fchown, "attributes", FD(0)), CALL(fchownat, "attributes", AT(0, 1)),
#ifdef SYS_open
    CALL(open, "open", PATH(0)), CALL(creat, "open", PATH(0)), CALL(rename, "rename", {{NONE, 0}, {NONE, 1}}),
    CALL(unlink, "unlink", PATH(0)), CALL(rmdir, "unlink", PATH(0)), CALL(mkdir, "mkdir", PATH(0)),
    CALL(link, "link", {{NONE, 0}, {NONE, 1}}), CALL(symlink, "link", PATH(1)), CALL(chmod, "attributes", PATH(0)),
#endif
};

static const struct { const char *name; int number; } errors[] = {
    {"EIO", EIO}, {"ENOSPC", ENOSPC}, {"EDQUOT", EDQUOT}, {"EROFS", EROFS}, {"EACCES", EACCES}, {"EPERM", EPERM},
    {"EINTR", EINTR}, {"EMFILE", EMFILE}, {"ESTALE", ESTALE}, {"ETIMEDOUT", ETIMEDOUT},
};

enum action { FAIL, SHORT, HANG, KILL, TORN };
static struct { char *patterns; unsigned long when; int and_later; enum action action; long value; FILE *log, *record; } chosen;

static void cannot(const char *what)
{
    fprintf(stderr, "inject: %s: %s\n", what, errno ? strerror(errno) : "not understood");
    _exit(CANNOT);
}

static int is_listed(const char *name, const char *list)
{
    size_t length = strlen(name);
    for (const char *at = list; (at = strstr(at, name)); at += length)
        if ((at == list || at[-1] == ',') && (at[length] == ',' || !at[length])) return 1;
    return 0;
}

static const struct call *call_of(int number)
{
    for (size_t i = 0; i < LENGTH(calls); i++)
        if (calls[i].number == number) return &calls[i];
    return NULL;
}

/* The absolute path of a file that a stopped call names; empty where there is none. Whether the file still has it. */
static int path_of(const struct seccomp_notif *stopped, struct place place, char path[PATH_SPACE])
{
    char name[PATH_MAX] = "", link[64];
    *path = 0;
    if (place.path != NONE) {
        /* Page by page: the string may end right before memory that cannot be read. */
        for (size_t have = 0; have < sizeof name - 1 && !memchr(name, 0, have);) {
            size_t next = (size_t)stopped->data.args[place.path] + have, rest = 4096 - next % 4096;
            if (rest > sizeof name - 1 - have) rest = sizeof name - 1 - have;
            struct iovec to = {name + have, rest}, from = {(void *)next, rest};
            if (process_vm_readv((pid_t)stopped->pid, &to, 1, &from, 1, 0) != (ssize_t)rest) break;
            have += rest;
        }
        if (*name == '/') { strcpy(path, name); return 1; }
    }
    int folder = place.folder == NONE ? AT_FDCWD : (int)stopped->data.args[place.folder];
    if (folder == AT_FDCWD) snprintf(link, sizeof link, "/proc/%u/cwd", stopped->pid);
    else snprintf(link, sizeof link, "/proc/%u/fd/%d", stopped->pid, folder);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
    char *deleted = strstr(path, " (deleted)");
    if (deleted) *deleted = 0;
    size_t used = strlen(path);
    if (*name) snprintf(path + used, PATH_SPACE - used, "/%s", name);
    return !deleted;
}

static int matches(const char *path)
{
    char list[PATH_MAX], *rest = list;
    snprintf(list, sizeof list, "%s", chosen.patterns);
    for (char *one; (one = strsep(&rest, "|"));)
        if (fnmatch(one, path, 0) == 0) return 1;
    return 0;
}

/* Copies from the program's memory. */
static void copy_from(const struct seccomp_notif *stopped, size_t at, char *to, size_t length)
{
    for (size_t have = 0; have < length;) {
        struct iovec into = {to + have, length - have}, from = {(void *)(at + have), length - have};
        ssize_t got = process_vm_readv((pid_t)stopped->pid, &into, 1, &from, 1, 0);
        if (got <= 0) cannot("the bytes of a write");
        have += (size_t)got;
    }
}

/* Where the next write to a descriptor goes. */
static unsigned long long position(const struct seccomp_notif *stopped)
{
    char name[64], line[64];
    unsigned long long at = 0;
    snprintf(name, sizeof name, "/proc/%u/fdinfo/%d", stopped->pid, (int)stopped->data.args[0]);
    FILE *info = fopen(name, "r");
    if (!info || !fgets(line, sizeof line, info) || sscanf(line, "pos: %llu", &at) != 1) cannot("the place of a write");
    fclose(info);
    return at;
}

/* Notes what a call is about to change. */
static void record(const struct seccomp_notif *stopped, const struct call *call)
{
    char paths[2][PATH_SPACE] = {"", ""};
    const __u64 *of = stopped->data.args;
    int number = stopped->data.nr, named = path_of(stopped, call->of[0], paths[0]);
    unsigned long long offset = 0, length = 0, flags = 0;
    if (call->of[1].folder != NONE || call->of[1].path != NONE) path_of(stopped, call->of[1], paths[1]);
    /* Nothing of a file without a name is left. */
    if (!named) return;
    if (number == SYS_pwrite64 || number == SYS_write) {
        offset = number == SYS_write ? position(stopped) : of[3];
        length = of[2];
    } else if (number == SYS_ftruncate) {
        offset = of[1];
    } else if (number == SYS_openat) {
        flags = of[2];
#ifdef SYS_open
    } else if (number == SYS_open) {
        flags = of[1];
#endif
    } else if (!strcmp(call->group, "write") || !strcmp(call->group, "truncate") || !strcmp(call->group, "copy")
               || !strcmp(call->group, "link") || number == SYS_openat2) {
        cannot("a call that is not recorded");
    }
    char *bytes = malloc(length + 1);
    copy_from(stopped, of[1], bytes, length);
    fprintf(chosen.record, "%s\t%llu\t%llu\t%llu\t%s\t%s\n", call->group, offset, length, flags, paths[0], paths[1]);
    fwrite(bytes, 1, length, chosen.record);
    fputc('\n', chosen.record);
    fflush(chosen.record);
    free(bytes);
}

/* Does the first half of a write for the program; the bytes written, or minus an errno. */
static long write_half(const struct seccomp_notif *stopped)
{
    char line[64] = "", name[64];
    unsigned process = stopped->pid;
    snprintf(name, sizeof name, "/proc/%u/status", stopped->pid);
    FILE *status = fopen(name, "r");
    while (status && fgets(line, sizeof line, status) && sscanf(line, "Tgid: %u", &process) != 1) continue;
    if (status) fclose(status);
    int handle = (int)syscall(SYS_pidfd_open, process, 0);
    int file = handle < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, handle, (int)stopped->data.args[0], 0);
    size_t half = (size_t)stopped->data.args[2] / 2;
    char *bytes = malloc(half + 1);
    struct iovec to = {bytes, half}, from = {(void *)(size_t)stopped->data.args[1], half};
    if (file < 0 || process_vm_readv((pid_t)stopped->pid, &to, 1, &from, 1, 0) != (ssize_t)half) cannot("half a write");
    ssize_t written = stopped->data.nr == SYS_pwrite64
        ? pwrite(file, bytes, half, (off_t)stopped->data.args[3]) : write(file, bytes, half);
    long result = written < 0 ? -errno : written;
    free(bytes);
    close(file);
    close(handle);
    return result;
}

static void answer(int listener, const struct seccomp_notif *stopped, long result, int goes_on)
{
    struct seccomp_notif_resp response = {.id = stopped->id, .flags = goes_on ? SECCOMP_USER_NOTIF_FLAG_CONTINUE : 0};
    if (!goes_on && result < 0) response.error = (int)result;
    if (!goes_on && result >= 0) response.val = result;
    /* Fails where the program was killed meanwhile. */
    ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
}

static void decide(int listener, const struct seccomp_notif *stopped)
{
    static unsigned long matched;
    const struct call *call = call_of(stopped->data.nr);
    char path[PATH_SPACE] = "";
    int found = 0;
    for (int i = 0; call && i < 2 && !found; i++)
        if (call->of[i].folder != NONE || call->of[i].path != NONE) {
            path_of(stopped, call->of[i], path);
            found = matches(path);
        }
    if (found && chosen.log) fprintf(chosen.log, "%lu %s %s\n", matched + 1, call->name, path), fflush(chosen.log);
    if (found && chosen.record) record(stopped, call);
    matched += (unsigned long)found;
    int hit = found && chosen.when && (matched == chosen.when || (chosen.and_later && matched > chosen.when));
    int writes = stopped->data.nr == SYS_write || stopped->data.nr == SYS_pwrite64;
    if (!hit || ((chosen.action == SHORT || chosen.action == TORN) && (!writes || stopped->data.args[2] < 2))) {
        answer(listener, stopped, 0, 1);
    } else if (chosen.action == FAIL) {
        answer(listener, stopped, -chosen.value, 0);
    } else if (chosen.action == SHORT) {
        answer(listener, stopped, write_half(stopped), 0);
    } else if (chosen.action == KILL || chosen.action == TORN) {
        if (chosen.action == TORN) write_half(stopped);
        kill((pid_t)stopped->pid, SIGKILL);
    } else if (fork() == 0) { /* Only this call hangs, not those of other threads. */
        usleep((useconds_t)chosen.value * 1000);
        answer(listener, stopped, 0, 1);
        _exit(0);
    }
}

/* Installs the filter in this process; the listener for it. */
static int install(const char *names)
{
    struct sock_filter filter[2 * LENGTH(calls) + 3];
    unsigned short size = 0;
    filter[size++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < LENGTH(calls); i++) {
        if (strcmp(names, "all") && !is_listed(calls[i].name, names) && !is_listed(calls[i].group, names)) continue;
        filter[size++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)calls[i].number, 0, 1);
        filter[size++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
    }
    if (size == 1) cannot(names);
    filter[size++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {size, filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) cannot("no_new_privs");
    int listener = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
    if (listener < 0) cannot("seccomp");
    return listener;
}

/* Sends a descriptor through a socket, or receives one where it is negative. */
static int pass(int through, int descriptor)
{
    char byte = 0;
    struct iovec content = {&byte, 1};
    union { struct cmsghdr header; char space[CMSG_SPACE(sizeof(int))]; } control = {.space = {0}};
    struct msghdr message = {.msg_iov = &content, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (descriptor < 0) {
        if (recvmsg(through, &message, MSG_CMSG_CLOEXEC) != 1 || !(header = CMSG_FIRSTHDR(&message))) return -1;
        memcpy(&descriptor, CMSG_DATA(header), sizeof descriptor);
        return descriptor;
    }
    *header = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
    return sendmsg(through, &message, 0) == 1 ? 0 : -1;
}

static void understand(char **arguments)
{
    char *end, *action = arguments[3];
    chosen.patterns = arguments[1];
    chosen.when = strtoul(arguments[2], &end, 10);
    chosen.and_later = *end == '+';
    chosen.action = !strcmp(action, "short") ? SHORT : !strcmp(action, "kill") ? KILL
        : !strcmp(action, "torn") ? TORN : !strncmp(action, "hang=", 5) ? HANG : FAIL;
    if (chosen.action == HANG) chosen.value = atol(action + 5);
    for (size_t i = 0; i < LENGTH(errors); i++)
        if (!strcmp(action, errors[i].name)) chosen.value = errors[i].number;
    if (chosen.action == FAIL && !chosen.value) cannot(action);
}

int main(int count, char **arguments)
{
    int sockets[2];
    while (count > 2 && (!strcmp(arguments[1], "-l") || !strcmp(arguments[1], "-r"))) {
        FILE **file = arguments[1][1] == 'l' ? &chosen.log : &chosen.record;
        if (!(*file = fopen(arguments[2], "we"))) cannot(arguments[2]);
        arguments += 2, count -= 2;
    }
    if (count < 6) cannot("usage: inject [-l LOG] [-r RECORD] CALLS PATTERN WHEN ACTION PROGRAM [ARGUMENT...]");
    understand(arguments + 1);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets)) cannot("socketpair");
    pid_t program = fork();
    if (program == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        int listener = install(arguments[1]);
        if (pass(sockets[1], listener)) cannot("sendmsg");
        close(listener);
        execvp(arguments[5], arguments + 5);
        cannot(arguments[5]);
    }
    close(sockets[1]);
    int listener = pass(sockets[0], -1), status = 0;
    struct pollfd waiting = {listener, POLLIN, 0};
    while (waitpid(program, &status, WNOHANG) == 0) {
        struct seccomp_notif stopped = {0};
        if (listener >= 0 && poll(&waiting, 1, 50) > 0 && (waiting.revents & POLLIN)
            && ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &stopped) == 0)
            decide(listener, &stopped);
        else if (listener < 0 || (waiting.revents & POLLHUP))
            waitid(P_PID, (id_t)program, &(siginfo_t){0}, WEXITED | WNOWAIT);
    }
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
