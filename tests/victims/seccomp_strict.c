/* SPDX-License-Identifier: Apache-2.0 */
/* Strict mode: read, write, exit and the return from a handler, and nothing else for ever. */
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/timerfd.h>

#include "tests/victims/victim.h"

int main(void)
{
	struct itimerspec tick = {{0, 700000}, {0, 700000}};
	uint64_t ticks;
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);

	victim_begin();
	victim_check(fd >= 0 && timerfd_settime(fd, 0, &tick, NULL) == 0, "timerfd");
	victim_check(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) == 0, "seccomp");
	while (!victim_stopping()) {
		victim_check(read(fd, &ticks, sizeof(ticks)) == sizeof(ticks), "read");
		victim_progress();
	}
	/* Not _exit(), which ends all threads by a call that is forbidden. */
	syscall(SYS_exit, 0);
	return 0;
}
