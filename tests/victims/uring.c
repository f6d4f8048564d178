/* SPDX-License-Identifier: Apache-2.0 */
/* Holds an io_uring: no twin can be made of it, and freezing it again and again harms nothing. */
#include <linux/io_uring.h>

#include "tests/victims/victim.h"

int main(void)
{
	struct io_uring_params params;

	victim_begin();
	memset(&params, 0, sizeof(params));
	/* Where the kernel has none, there is nothing to see. */
	(void)syscall(SYS_io_uring_setup, 4, &params);
	while (!victim_stopping()) {
		victim_nap(500);
		victim_progress();
	}
	return 0;
}
