/* For 32-bit processors. Rust's standard library asks musl for the time through the call that has 32 bits for it, which fails
   after January 2038, and ends the program when it fails. A device's clock may say anything: it must start all the same.
   This stands before musl's call of the name. It answers with the last moment that 32 bits can hold instead of failing.
   What the program itself does with times, it takes from the 64-bit call where it has one (src/state/clock.rs). */
#include <stdint.h>
#include <time.h>

struct timespec32 {
    int32_t seconds, nanoseconds;
};

/* musl's headers give `clock_gettime` the name of the 64-bit call. */
int narrow(clockid_t, struct timespec32 *) __asm__("clock_gettime");

int narrow(clockid_t clock, struct timespec32 *out) {
    struct timespec now;
    int failed = clock_gettime(clock, &now);
    if (failed) return failed;
    out->seconds = now.tv_sec > INT32_MAX ? INT32_MAX : now.tv_sec < INT32_MIN ? INT32_MIN : (int32_t)now.tv_sec;
    out->nanoseconds = (int32_t)now.tv_nsec;
    return 0;
}
