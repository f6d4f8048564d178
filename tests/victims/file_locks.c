/* SPDX-License-Identifier: Apache-2.0 */
/*
 * File locks of three kinds, taken and given back in turns. What the program believes to hold it
 * holds, as another open file of it can see, and nothing else.
 */
#include <fcntl.h>
#include <sys/file.h>

#include "tests/victims/victim.h"

static int open_file(const char *name)
{
	char path[256];
	snprintf(path, sizeof(path), "%s/%s", getenv("VICTIM_DIR"), name);
	int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	victim_check(fd >= 0, "open");
	return fd;
}

static void set(int fd, int command, short type, long start, long len)
{
	struct flock f = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
	victim_check(fcntl(fd, command, &f) == 0, "fcntl(%d, %d)", command, type);
}

/* As another open file sees it: for these it is somebody else. */
static bool is_locked(int other, long at)
{
	struct flock f = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = at, .l_len = 1};
	victim_check(fcntl(other, F_OFD_GETLK, &f) == 0, "F_OFD_GETLK");
	return f.l_type != F_UNLCK;
}

static bool is_flocked(int other)
{
	if (flock(other, LOCK_EX | LOCK_NB) == 0) {
		victim_check(flock(other, LOCK_UN) == 0, "unlock");
		return false;
	}
	victim_check(errno == EWOULDBLOCK, "flock");
	return true;
}

int main(void)
{
	victim_begin();
	int posix = open_file("posix"), own = open_file("own"), whole = open_file("whole");
	int own2 = open_file("own"), whole2 = open_file("whole");
	/* To close a second descriptor of it would drop the locks. */
	int posix2 = open_file("posix");
	uint32_t random = 5;

	set(posix, F_SETLK, F_WRLCK, 100, 10);
	set(own, F_OFD_SETLK, F_WRLCK, 0, 0);
	while (!victim_stopping()) {
		long from = victim_random(&random) % 40, len = 1 + victim_random(&random) % 40;

		set(posix, F_SETLK, F_WRLCK, from, len);
		victim_check(flock(whole, LOCK_EX) == 0, "flock");
		set(own, F_OFD_SETLK, F_UNLCK, from, len);
		for (int i = 0; i < 3; i++) {
			victim_nap(200);
			for (long at = 0; at < 80; at += 3) {
				bool mine = at >= from && at < from + len;
				victim_check(
					is_locked(posix2, at) == mine, "record lock of %ld", at);
				victim_check(is_locked(own2, at) == !mine, "lock of %ld", at);
			}
			victim_check(is_locked(posix2, 105), "the lock that is always held");
			victim_check(is_flocked(whole2), "flock");
			victim_progress();
		}
		set(posix, F_SETLK, F_UNLCK, from, len);
		victim_check(flock(whole, LOCK_UN) == 0, "unlock");
		set(own, F_OFD_SETLK, F_WRLCK, from, len);
		victim_nap(200);
		victim_check(!is_locked(posix2, from), "a record lock that was given back");
		victim_check(is_locked(own2, from), "a lock that was taken again");
		victim_check(!is_flocked(whole2), "a flock that was given back");
		victim_progress();
	}
	return 0;
}
