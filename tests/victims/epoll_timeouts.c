/* SPDX-License-Identifier: Apache-2.0 */
/*
 * epoll_wait with timeouts from 5 ms to 2 s: never EINTR, never early, and, however often it
 * is frozen, not later than three times its timeout: a call that is made again must wait for
 * what remains and not for the whole time.
 */
#include "tests/victims/victim.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

/* Frozen time is not the call's fault: some slack for a busy machine. */
#define SLACK_USEC 60000

static const int timeouts[] = {5, 20, 50, 100, 300, 2000};
#define WAITERS (sizeof(timeouts) / sizeof(timeouts[0]))
static _Atomic unsigned done[WAITERS];

static void *wait_in_turns(void *arg)
{
	const unsigned nr = (unsigned)(uintptr_t)arg;
	struct epoll_event ev = {.events = EPOLLIN}, got;
	int ep = epoll_create1(0), timeout = timeouts[nr], quiet = eventfd(0, EFD_NONBLOCK);
	bool may_be_late = victim_is_swapped();

	victim_check(ep >= 0 && quiet >= 0, "epoll");
	victim_check(epoll_ctl(ep, EPOLL_CTL_ADD, quiet, &ev) == 0, "epoll_ctl");
	while (!atomic_load(&victim->stop)) {
		int64_t t0 = victim_now_usec(), took;
		int r = nr % 2 ? epoll_pwait(ep, &got, 1, timeout, NULL)
			       : epoll_wait(ep, &got, 1, timeout);
		took = victim_now_usec() - t0;
		victim_check(r == 0, "epoll_wait of %d ms said %d", timeout, r);
		victim_check(took >= timeout * 1000LL, "%d ms took only %lld us", timeout,
			(long long)took);
		victim_check(may_be_late || took <= timeout * 3000LL + SLACK_USEC,
			"%d ms took %lld us", timeout, (long long)took);
		atomic_fetch_add(&done[nr], 1);
	}
	return NULL;
}

int main(void)
{
	int64_t begun, ran;

	victim_begin();
	begun = victim_now_usec();
	for (uintptr_t i = 0; i < WAITERS; i++)
		victim_thread(wait_in_turns, (void *)i);
	while (!victim_stopping()) {
		victim_nap(800);
		victim_progress();
	}
	ran = victim_now_usec() - begun;
	for (unsigned i = 0; i < WAITERS && !victim_is_swapped(); i++)
		victim_check(
			(int64_t)atomic_load(&done[i]) >= ran / (timeouts[i] * 3000 + SLACK_USEC),
			"only %u waits of %d ms in %lld us", atomic_load(&done[i]), timeouts[i],
			(long long)ran);
	return 0;
}
