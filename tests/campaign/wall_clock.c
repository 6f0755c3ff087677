/* A wall clock that can be set for some processes alone, while they run: preloaded, it adds the seconds that stand in the
 * file CAMPAIGN_CLOCK to what the system says. The clocks that nobody can set stay as they are. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long shift_s(void) {
  char text[32] = {0};
  char *at = text;
  long seconds = 0;
  const char *path = getenv("CAMPAIGN_CLOCK");
  int handle = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (handle < 0) return 0;
  if (read(handle, text, sizeof text - 1) < 0) text[0] = 0;
  close(handle);
  /* Not by the C library: what a new one is linked with an older one, in a container, does not have. */
  if (*at == '-') at++;
  while (*at >= '0' && *at <= '9') seconds = 10 * seconds + (*at++ - '0');
  return text[0] == '-' ? -seconds : seconds;
}

int clock_gettime(clockid_t id, struct timespec *now) {
  int failed = (int)syscall(SYS_clock_gettime, id, now);
  if (!failed && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) now->tv_sec += shift_s();
  return failed;
}

int gettimeofday(struct timeval *now, void *zone) {
  struct timespec fine;
  (void)zone;
  if (clock_gettime(CLOCK_REALTIME, &fine)) return -1;
  now->tv_sec = fine.tv_sec;
  now->tv_usec = fine.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *out) {
  struct timespec now;
  if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
  if (out) *out = now.tv_sec;
  return now.tv_sec;
}
