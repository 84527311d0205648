/* An allocator, preloaded, that fails once when told to: at the k-th request from now on of NumPy's or of the package's own code. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);

static long left = -1;

void fail_allocation(long k) { left = k; }
long allocations_left(void) { return left; }

/* NumPy's requests for arrays; small ones are for its own objects. */
static int fails(const void *caller, size_t size) {
    Dl_info found;
    if (left < 0 || !dladdr(caller, &found) || !found.dli_fname)
        return 0;
    if (!strstr(found.dli_fname, "fastopt") && (size < 1024 || !strstr(found.dli_fname, "_multiarray_umath")))
        return 0;
    return left-- == 0;
}

void *malloc(size_t size) { return fails(__builtin_return_address(0), size) ? NULL : __libc_malloc(size); }
void *calloc(size_t n, size_t size) { return fails(__builtin_return_address(0), n * size) ? NULL : __libc_calloc(n, size); }
void *realloc(void *p, size_t size) { return fails(__builtin_return_address(0), size) ? NULL : __libc_realloc(p, size); }
