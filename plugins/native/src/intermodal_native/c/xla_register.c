/* Telling an XLA of handlers through its own C interface, for programs that give no other way to it. */
#include <stdio.h>
#include <string.h>

#include "xla.h"

struct span {
    const char *characters;
    size_t size;
};

struct registration {
    size_t size;
    struct extension *extensions;
    struct span name, platform;
    void *instantiate, *prepare, *initialize, *execute;
    uint32_t traits;
};

struct error_question {
    size_t size;
    struct extension *extensions;
    void *error;
    const char *message;
};

/* The whole of the interface that is used here; `struct api` is how it begins. */
struct registry {
    struct api api;
    void (*get_message)(struct error_question *);
    void (*destroy_error)(struct error_question *);
    void *(*add)(struct registration *);
};

/* Register `handler` for CPUs under a name. Returns 1, or 0 with the reason in `why`, of `size` bytes. */
EXPORT int native_xla_register(const struct registry *registry, const char *name, void *handler, char *why, size_t size)
{
    const struct version *version = &registry->api.version;
    if (registry->api.size < sizeof *registry || version->major != 0 || version->minor < FIRST_MINOR
        || version->minor > LAST_MINOR) {
        snprintf(why, size, "its interface has version %d.%d, and 0.%d to 0.%d are known", version->major,
                 version->minor, FIRST_MINOR, LAST_MINOR);
        return 0;
    }
    struct registration given = {
        .size = sizeof given,
        .name = {name, strlen(name)},
        .platform = {"Host", 4},
        .execute = handler,
    };
    void *error = registry->add(&given);
    if (!error)
        return 1;
    struct error_question question = {.size = sizeof question, .error = error};
    registry->get_message(&question);
    snprintf(why, size, "%s", question.message);
    question.size = offsetof(struct error_question, message);
    registry->destroy_error(&question);
    return 0;
}
