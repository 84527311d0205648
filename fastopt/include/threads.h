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

/* True if processors are fewer than `parts` threads need, this one among them, beside what runs already, except for `own` threads
   of this process; some microseconds. False where the system does not say. In a container of some of the processors it may be false,
   too, where they are busy. */
#if defined(__linux__)
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
static inline int fo_is_busy(int parts, int own)
{
    char text[64], *at = text;
    const int file = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
    const ssize_t n = file < 0 ? 0 : read(file, text, sizeof text - 1);
    if (file >= 0) close(file);
    if (n <= 0) return 0;
    text[n] = 0;
    for (int spaces = 0; *at && spaces < 3; at++) spaces += *at == ' '; /* three averages, then running/all */
    return strtol(at, NULL, 10) - own + parts - 1 > sysconf(_SC_NPROCESSORS_ONLN);
}
#else
static inline int fo_is_busy(int parts, int own)
{
    (void)parts, (void)own;
    return 0;
}
#endif
#endif
