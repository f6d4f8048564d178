/* SPDX-License-Identifier: Apache-2.0 */
/* static IN OUT: for each line from the pipe IN one line in OUT, with the number of lines so far.
 * To be linked statically. */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int in = argc == 3 ? open(argv[1], O_RDWR) : -1;
	int out = argc == 3 ? open(argv[2], O_WRONLY | O_CREAT | O_APPEND, 0644) : -1;
	unsigned count = 0;
	char c;

	if (in < 0 || out < 0)
		return 2;
	while (read(in, &c, 1) == 1)
		if (c == '\n')
			dprintf(out, "%u\n", ++count);
	return 3;
}
