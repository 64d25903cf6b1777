/* Runs natively: make test. */
#include "greeting.h"
#include <string.h>

int main(void) {
    char text[64];
    int length = greeting(3, text, sizeof text);
    if (strcmp(text, "Hello, you are number 3\n") != 0 || length != (int)strlen(text)) {
        fprintf(stderr, "greeting 3: \"%s\", %d bytes\n", text, length);
        return 1;
    }
    puts("ok");
    return 0;
}
