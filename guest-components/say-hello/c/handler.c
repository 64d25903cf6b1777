/* The answer to a request, and the hook. gen/app.h is made from wit/ by wit-bindgen. */
#include "gen/app.h"
#include "greeting.h"

static unsigned requests;

/* Returns a response without its body. */
static http_own_outgoing_response_t plain_text(void) {
    http_own_fields_t headers = http_constructor_fields();
    app_string_t name, value;
    app_string_set(&name, "content-type");
    app_string_set(&value, "text/plain");
    http_field_value_t bytes = {value.ptr, value.len};
    http_header_error_t error;
    http_method_fields_append(http_borrow_fields(headers), &name, &bytes, &error);
    return http_constructor_outgoing_response(headers);
}

/* Writes the whole body. A client that has gone is no failure, so errors are only freed. */
static void write_body(http_own_outgoing_body_t body, char *text, size_t length) {
    http_own_output_stream_t stream;
    http_method_outgoing_body_write(http_borrow_outgoing_body(body), &stream);
    app_list_u8_t bytes = {(uint8_t *)text, length};
    streams_stream_error_t gone;
    if (!streams_method_output_stream_blocking_write_and_flush(streams_borrow_output_stream(stream), &bytes, &gone))
        streams_stream_error_free(&gone);
    streams_output_stream_drop_own(stream);
    http_error_code_t unfinished;
    if (!http_static_outgoing_body_finish(body, NULL, &unfinished))
        http_error_code_free(&unfinished);
}

/* Called for each request, one at a time. */
void exports_wasi_http_incoming_handler_handle(http_own_incoming_request_t request, http_own_response_outparam_t out) {
    http_incoming_request_drop_own(request);
    http_own_outgoing_response_t response = plain_text();
    http_own_outgoing_body_t body;
    http_method_outgoing_response_body(http_borrow_outgoing_response(response), &body);
    http_result_own_outgoing_response_error_code_t answer = {.is_err = false, .val.ok = response};
    http_static_response_outparam_set(out, &answer);

    char text[64];
    int length = greeting(++requests, text, sizeof text);
    write_body(body, text, length);
}

/* The hook: called once, when the requests are answered. */
void exports_app_shutdown(void) {
    printf("said hello %u times\n", requests);
    fflush(stdout);
}
