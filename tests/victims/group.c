/* SPDX-License-Identifier: Apache-2.0 */
/* Leader of a process group of its own in somebody else's session. */
#include "tests/victims/victim.h"

int main(void)
{
	pid_t pid = getpid(), session = getsid(0);

	victim_begin();
	victim_check(setpgid(0, 0) == 0, "setpgid");
	while (!victim_stopping()) {
		victim_nap(500);
		victim_check(getpid() == pid, "pid %d, not %d", getpid(), pid);
		victim_check(getpgrp() == pid, "group %d, not %d", getpgrp(), pid);
		victim_check(getsid(0) == session, "session %d, not %d", getsid(0), session);
		victim_progress();
	}
	return 0;
}
