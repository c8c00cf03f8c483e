#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>

int main(void) {
    char *task = NULL;
    size_t room = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);           /* flush after each line */
    while (getline(&task, &room, stdin) > 0) {  /* until EOF */
        char id[37] = "", name[101], *at = strstr(task, "\"task_id\":");
        int end = 0;
        if (at) sscanf(at, "\"task_id\": \"%36[0-9a-f-]\"", id);
        at = strstr(task, "\"name\":");
        if (at && sscanf(at, "\"name\": \"%100[A-Za-z0-9 ]\"%n", name, &end) == 1 && end)
            printf("{\"status\":\"success\",\"task_id\":\"%s\",\"result\":{\"hello\":\"%s\"}}\n", id, name);
        else
            printf("{\"status\":\"error\",\"task_id\":\"%s\","
                   "\"error\":\"data.name must be letters, digits and blanks\"}\n", id);
    }
}
