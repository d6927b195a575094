/*
 * Keeps a job from ending for as long as a test needs: tests/hosts/hold.py, which is named in $CSB_HOLD, keeps its store for itself. C and C++.
 */
#ifndef CSB_HOLD_H
#define CSB_HOLD_H

#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct {
    pid_t process;
    int input; /* it lets go when this is closed */
} holder;

static inline holder hold(const char *database)
{
    int input[2], output[2];
    char word = '\0';
    const char *program = getenv("CSB_HOLD");
    if (program == NULL || pipe(input) != 0 || pipe(output) != 0) {
        fputs("$CSB_HOLD does not name tests/hosts/hold.py.\n", stderr);
        exit(2);
    }
    pid_t process = fork();
    if (process == 0) {
        dup2(input[0], STDIN_FILENO);
        dup2(output[1], STDOUT_FILENO);
        close(input[1]);
        execlp(program, program, database, (char *)NULL);
        _exit(127);
    }
    close(input[0]);
    close(output[1]);
    if (read(output[0], &word, 1) != 1) {
        fprintf(stderr, "%s cannot be held.\n", database);
        exit(2);
    }
    close(output[0]);
    holder it = {process, input[1]};
    return it;
}

static inline void let_go(holder it)
{
    close(it.input);
    waitpid(it.process, NULL, 0);
}

#endif
