/* SPDX-License-Identifier: Apache-2.0 */
/* Opens a file when it is told VICTIM_EXEC, and whoever watches that file may let it wait in there,
 * in an uninterruptible sleep, for as long as it takes. */
#include "tests/victims/victim.h"

int main(void)
{
	char path[128];

	victim_begin();
	snprintf(path, sizeof(path), "%s/watched", getenv("VICTIM_DIR"));
	close(open(path, O_WRONLY | O_CREAT, 0600));
	while (!victim_stopping()) {
		victim_nap(500);
		if (atomic_load(&victim->command) == VICTIM_EXEC && victim_command())
			close(open(path, O_RDONLY));
		victim_progress();
	}
	return 0;
}
