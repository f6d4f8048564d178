/* SPDX-License-Identifier: Apache-2.0 */
/*
 * State of the process that fork does not copy: ITIMER_REAL and POSIX timers (with a hole in
 * their ids) go on, the parent-death signal and the subreaper flag stay.
 */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <time.h>

#include "tests/victims/victim.h"

#define PERIOD_MS 3

static volatile sig_atomic_t alarms, ticks, quiet_ticks;

static void on_alarm(int sig)
{
	(void)sig;
	alarms++;
}

static void on_tick(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	if (info->si_value.sival_int == 77)
		ticks++;
	else
		quiet_ticks++;
}

/* The timers interrupt it, as they should. */
static void pause_a_little(void)
{
	struct timespec ts = {0, 500000};
	(void)nanosleep(&ts, NULL);
}

int main(void)
{
	struct itimerval it = {{0, PERIOD_MS * 1000}, {0, PERIOD_MS * 1000}}, now;
	struct itimerspec spec = {{0, PERIOD_MS * 1000000}, {0, PERIOD_MS * 1000000}}, left;
	struct sigaction tick = {.sa_sigaction = on_tick, .sa_flags = SA_SIGINFO | SA_RESTART};
	struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL,
		.sigev_signo = SIGRTMIN + 1,
		.sigev_value.sival_int = 77};
	struct sigevent none = {.sigev_notify = SIGEV_NONE};
	timer_t hole, timer, silent, late, cpu;
	clockid_t own_clock;
	int death = 0, reaper = 0;

	victim_begin();
	signal(SIGALRM, on_alarm);
	victim_check(sigaction(SIGRTMIN + 1, &tick, NULL) == 0, "sigaction");
	victim_check(timer_create(CLOCK_MONOTONIC, &none, &hole) == 0, "timer_create");
	victim_check(timer_create(CLOCK_MONOTONIC, &ev, &timer) == 0, "timer_create");
	victim_check(timer_create(CLOCK_REALTIME, &none, &silent) == 0, "timer_create");
	victim_check(timer_delete(hole) == 0, "timer_delete");
	victim_check(timer_settime(timer, 0, &spec, NULL) == 0, "timer_settime");
	spec.it_value.tv_sec = 1000;
	victim_check(timer_settime(silent, 0, &spec, NULL) == 0, "timer_settime");
	/* Ids are not given a second time, so those of a program that makes many grow large. */
	for (int i = 0; i < 500; i++)
		victim_check(
			timer_create(CLOCK_MONOTONIC, &none, &late) == 0 && timer_delete(late) == 0,
			"timer_create");
	victim_check(timer_create(CLOCK_BOOTTIME, &none, &late) == 0, "timer_create");
	victim_check(timer_settime(late, 0, &spec, NULL) == 0, "timer_settime");
	victim_check(clock_getcpuclockid(0, &own_clock) == 0, "clock");
	victim_check(timer_create(own_clock, &none, &cpu) == 0, "timer_create");
	victim_check(timer_settime(cpu, 0, &spec, NULL) == 0, "timer_settime");
	victim_check(setitimer(ITIMER_REAL, &it, NULL) == 0, "setitimer");
	victim_check(prctl(PR_SET_PDEATHSIG, SIGUSR2) == 0, "PDEATHSIG");
	victim_check(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0, "subreaper");
	while (!victim_stopping()) {
		sig_atomic_t a = alarms, t = ticks;
		while ((alarms == a || ticks == t) && !victim_stopping())
			pause_a_little();
		victim_check(quiet_ticks == 0, "a tick without its value");
		victim_check(getitimer(ITIMER_REAL, &now) == 0 &&
				     now.it_interval.tv_usec == PERIOD_MS * 1000,
			"getitimer");
		victim_check(timer_gettime(silent, &left) == 0 && left.it_value.tv_sec > 900,
			"the silent timer");
		victim_check(timer_gettime(late, &left) == 0 && left.it_value.tv_sec > 900,
			"the timer with a large id");
		victim_check(timer_gettime(cpu, &left) == 0 && left.it_value.tv_sec > 900,
			"the timer of processor time");
		victim_check(timer_gettime(hole, &left) < 0, "the deleted timer is back");
		victim_check(prctl(PR_GET_PDEATHSIG, &death) == 0 && death == SIGUSR2,
			"PDEATHSIG %d", death);
		victim_check(prctl(PR_GET_CHILD_SUBREAPER, &reaper) == 0 && reaper == 1,
			"subreaper %d", reaper);
		victim_progress();
	}
	return 0;
}
