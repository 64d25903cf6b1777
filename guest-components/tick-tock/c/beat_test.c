/* Runs natively: make test. */
#include "beat.h"
#include <string.h>

static int failed;

static void check(unsigned n, const char *want) {
    char line[32];
    beat(n, line, sizeof line);
    if (strcmp(line, want) != 0) {
        fprintf(stderr, "beat %u: \"%s\", want \"%s\"\n", n, line, want);
        failed = 1;
    }
}

int main(void) {
    check(1, "tick 1");
    check(2, "tock 2");
    check(3, "tick 3");
    puts(failed ? "failed" : "ok");
    return failed;
}
