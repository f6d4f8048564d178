/* SPDX-License-Identifier: Apache-2.0 */
/* Leader of a session of its own: pid, session and group are one number and stay so. */
#include "tests/victims/victim.h"

int main(void)
{
	pid_t pid = getpid();

	victim_begin();
	victim_check(setsid() == pid, "setsid");
	while (!victim_stopping()) {
		victim_nap(500);
		victim_check(getpid() == pid, "pid %d, not %d", getpid(), pid);
		victim_check(getsid(0) == pid, "session %d, not %d", getsid(0), pid);
		victim_check(getpgrp() == pid, "group %d, not %d", getpgrp(), pid);
		victim_progress();
	}
	return 0;
}
