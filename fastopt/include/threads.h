/* Threads: OpenMP if the build has it, the clock that tells whether they pay, and a flag for forked processes. */
#ifndef FASTOPT_THREADS_H
#define FASTOPT_THREADS_H

#ifdef _OPENMP
#include <omp.h>
#define FO_OPENMP 1
#else
#define FO_OPENMP 0
#define omp_get_max_threads() 1
#endif

#if defined(_WIN32)
#include <windows.h>
static inline double fo_now(void)
{
    LARGE_INTEGER t, f;
    QueryPerformanceCounter(&t);
    QueryPerformanceFrequency(&f);
    return (double)t.QuadPart / (double)f.QuadPart;
}
static int fo_forked = 0;
static void fo_watch_forks(void) {}
#else
#include <pthread.h>
#include <time.h>
static inline double fo_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
/* A forked child has the memory of the thread pool without its threads: it must stay serial. */
static int fo_forked = 0;
static void fo_child(void) { fo_forked = 1; }
static void fo_watch_forks(void) { pthread_atfork(0, 0, fo_child); }
#endif
#endif
