// CUDA's execution on one thread of the CPU: the threads of a block take turns from barrier to barrier, one block after another.
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <ucontext.h>

#define __CUDACC__ 1
#define __device__
#define __global__
#define __shared__ static
#define __forceinline__ inline

struct shim_dim { unsigned x, y, z; };
static shim_dim threadIdx, blockIdx, blockDim, gridDim;

enum { SHIM_THREADS = 256, SHIM_STACK = 1 << 16 };
typedef void (*shim_kernel)(const void *plan, int64_t x, int64_t y, int64_t z);
static ucontext_t shim_caller, shim_contexts[SHIM_THREADS];
static char shim_stacks[SHIM_THREADS][SHIM_STACK];
static bool shim_waiting[SHIM_THREADS];
static shim_kernel shim_what;
static const void *shim_plan;
static int64_t shim_x, shim_y, shim_z;

static void __syncthreads()
{
    unsigned me = threadIdx.x;
    shim_waiting[me] = true;
    swapcontext(&shim_contexts[me], &shim_caller);
    threadIdx.x = me;
}

static void atomicAdd(unsigned long long *to, unsigned long long x) { *to += x; }

static void shim_thread() { shim_what(shim_plan, shim_x, shim_y, shim_z); }

// -ftz=true treats subnormal floats as zeros. This processor flag does so for doubles too, which a device never does: kernels compiled
// with it must not use doubles.
#if SHIM_FLUSH && defined(__x86_64__)
#include <xmmintrin.h>
struct shim_mode {
    unsigned before = _mm_getcsr();
    shim_mode() { _mm_setcsr(before | 0x8040); }
    ~shim_mode() { _mm_setcsr(before); }
};
#elif SHIM_FLUSH && defined(__aarch64__)
struct shim_mode {
    uint64_t before;
    shim_mode()
    {
        __asm__ volatile("mrs %0, fpcr" : "=r"(before));
        __asm__ volatile("msr fpcr, %0" : : "r"(before | (uint64_t)1 << 24));
    }
    ~shim_mode() { __asm__ volatile("msr fpcr, %0" : : "r"(before)); }
};
#else
struct shim_mode {};
#endif

// Returns 1 where some threads of a block wait at a barrier that others never reach.
extern "C" int shim_launch(shim_kernel kernel, unsigned blocks, const void *plan, int64_t x, int64_t y, int64_t z)
{
    shim_mode mode;
    (void)mode;
    shim_what = kernel, shim_plan = plan, shim_x = x, shim_y = y, shim_z = z;
    gridDim = {blocks, 1, 1};
    blockDim = {SHIM_THREADS, 1, 1};
    for (unsigned block = 0; block < blocks; block++) {
        blockIdx = {block, 0, 0};
        for (unsigned i = 0; i < SHIM_THREADS; i++) {
            getcontext(&shim_contexts[i]);
            shim_contexts[i].uc_stack.ss_sp = shim_stacks[i];
            shim_contexts[i].uc_stack.ss_size = SHIM_STACK;
            shim_contexts[i].uc_link = &shim_caller;
            makecontext(&shim_contexts[i], shim_thread, 0);
        }
        for (unsigned waiting = SHIM_THREADS; waiting;) {
            waiting = 0;
            for (unsigned i = 0; i < SHIM_THREADS; i++) {
                shim_waiting[i] = false;
                threadIdx = {i, 0, 0};
                swapcontext(&shim_caller, &shim_contexts[i]);
                waiting += shim_waiting[i];
            }
            if (waiting && waiting < SHIM_THREADS) return 1;
        }
    }
    return 0;
}
