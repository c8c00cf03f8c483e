/* prime-c: counts the primes up to `limit`, in C without a library, since the protocol is only lines.
 *
 * Data: `limit`, an integer from 2 to 10,000,000 (default 1,000,000).
 * Result: `limit`, `count` of the primes <= limit, the `largest` of them.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_LIMIT = 1000000, SMALLEST = 2, LARGEST = 10000000 };

static const char *blanks(const char *at) { return at + strspn(at, " \t\r\n"); }

/* The end of the JSON value that begins at `at`. The line is complete and valid: the daemon wrote it. */
static const char *past(const char *at) {
    int depth = 0;
    do {
        if (*at == '"') {
            for (at++; *at && *at != '"'; at++)
                if (*at == '\\' && at[1]) at++;
        } else if (*at == '{' || *at == '[') {
            depth++;
        } else if (*at == '}' || *at == ']') {
            depth--;
        } else if (depth == 0) {
            return at + strcspn(at, ",}] \t\r\n");
        }
        if (*at) at++;
    } while (depth && *at);
    return at;
}

/* The value of a key of the object that begins at `at`, or NULL. Our keys contain no escapes. */
static const char *value(const char *at, const char *key) {
    if (!at || *at != '{') return NULL;
    size_t length = strlen(key);
    for (at = blanks(at + 1); *at == '"'; at = blanks(at + 1)) {
        const char *name = at + 1, *end = past(at);
        at = blanks(blanks(end) + 1);
        if ((size_t)(end - name - 1) == length && !memcmp(name, key, length)) return at;
        at = blanks(past(at));
        if (*at != ',') return NULL;
    }
    return NULL;
}

/* The beginning of every reply. It names its task, so that it cannot be taken for another task's. */
static void reply(const char *status, const char *id) {
    printf("{\"status\":\"%s\",\"task_id\":%.*s,", status, (int)(past(id) - id), id);
}

static void answer(const char *id, long limit) {
    static unsigned char composite[LARGEST + 1];
    memset(composite, 0, (size_t)limit + 1);
    long count = 0, largest = 2;
    for (long n = 2; n <= limit; n++) {
        if (composite[n]) continue;
        count++;
        largest = n;
        for (long multiple = n * n; multiple <= limit; multiple += n) composite[multiple] = 1;
    }
    reply("success", id);
    printf("\"result\":{\"limit\":%ld,\"count\":%ld,\"largest\":%ld}}\n", limit, count, largest);
}

int main(void) {
    char *line = NULL;
    size_t room = 0;
    /* Output to a pipe is buffered by the block otherwise, and a reply in a buffer is a timeout. */
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (getline(&line, &room, stdin) > 0) {
        const char *id = value(blanks(line), "task_id");
        if (!id) id = "null"; /* a line typed by hand */
        const char *given = value(value(blanks(line), "task_data"), "limit");
        long limit = DEFAULT_LIMIT;
        if (given) {
            char *end;
            limit = strtol(given, &end, 10);
            if (end != past(given)) limit = 0;
        }
        if (limit >= SMALLEST && limit <= LARGEST)
            answer(id, limit);
        else {
            reply("error", id);
            puts("\"error\":\"data.limit must be an integer from 2 to 10,000,000\"}");
        }
    }
    free(line);
    return 0;
}
