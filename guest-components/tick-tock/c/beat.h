/* The logic of tick-tock: it runs anywhere, and so does its test. */
#pragma once
#include <stdio.h>

/* Writes what the clock says at its nth beat. */
static inline void beat(unsigned n, char *line, size_t size) {
    snprintf(line, size, "%s %u", n % 2 ? "tick" : "tock", n);
}
