/* The service and its hook. gen/app.h is made from wit/ by wit-bindgen. */
#include "beat.h"
#include "gen/app.h"

static const uint64_t SECOND = 1000000000;
static unsigned beats;

/* Waits until `stop` is ready, but not for longer than a second, and returns whether it is. */
static bool wait_a_second_for(wasi_io_poll_borrow_pollable_t stop) {
    wasi_io_poll_own_pollable_t timer = wasi_clocks_monotonic_clock_subscribe_duration(SECOND);
    wasi_io_poll_borrow_pollable_t both[] = {stop, wasi_io_poll_borrow_pollable(timer)};
    wasi_io_poll_list_borrow_pollable_t list = {both, 2};
    app_list_u32_t ready;
    wasi_io_poll_poll(&list, &ready);
    app_list_u32_free(&ready);
    wasi_io_poll_pollable_drop_own(timer);
    return wasi_io_poll_method_pollable_ready(stop);
}

/* The service: it returns as soon as the host asks for the stop; true means that it went well. */
bool exports_wasi_cli_run_run(void) {
    wasi_io_poll_own_pollable_t stop = curfew_lifecycle_host_subscribe_stop();
    char line[32];
    do {
        beat(++beats, line, sizeof line);
        puts(line);
        fflush(stdout);
    } while (!wait_a_second_for(wasi_io_poll_borrow_pollable(stop)));
    wasi_io_poll_pollable_drop_own(stop);
    return true;
}

/* The hook: called once, when run has returned. */
void exports_app_shutdown(void) {
    printf("ticked %u times\n", beats);
    fflush(stdout);
}
