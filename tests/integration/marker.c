/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A node that does what it is told, in a loop:  marker STEP... [--fault STEP...]
 *
 *	mark:NAME	TWIN_MARK=NAME	say:TEXT	any notification ("watchdog": WATCHDOG=1)
 *	sleep:MS	burn:MS		of its own CPU time
 *	hang		a deadlock	spin		an endless loop
 *	leak:KB		memory that it touches and keeps
 *	open		a descriptor	thread		a thread, that stays
 *
 * From SIGUSR1 on it runs the steps behind --fault instead, after the loop it is in. A twin of
 * before the signal knows nothing of it.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t faulty;

static void on_signal(int sig)
{
	(void)sig;
	faulty = 1;
}

static void say(const char *text)
{
	static int fd = -1;
	static struct sockaddr_un to = {.sun_family = AF_UNIX};
	const char *path = getenv("NOTIFY_SOCKET");

	if (!path)
		return;
	if (fd < 0) {
		fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		snprintf(to.sun_path, sizeof(to.sun_path), "%s", path);
	}
	sendto(fd, text, strlen(text), 0, (struct sockaddr *)&to, sizeof(to));
}

static void nap(long ms)
{
	struct timespec t = {ms / 1000, ms % 1000 * 1000000};

	while (nanosleep(&t, &t) < 0)
		;
}

static long cpu_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

__attribute__((noinline)) static void fall_into_deadlock(void)
{
	pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;

	pthread_mutex_lock(&m);
	pthread_mutex_lock(&m);
	abort();
}

static void *stay(void *arg)
{
	for (;;)
		pause();
	return arg;
}

static void step(char *s)
{
	char *value = strchr(s, ':'), text[200];
	size_t n = value ? (size_t)(value++ - s) : strlen(s);
	long number = value ? atol(value) : 0;
	pthread_t t;

#define IS(word) (n == strlen(word) && memcmp(s, word, n) == 0)
	if (IS("mark")) {
		snprintf(text, sizeof(text), "TWIN_MARK=%s", value);
		say(text);
	} else if (IS("say")) {
		say(value);
	} else if (IS("watchdog")) {
		say("WATCHDOG=1");
	} else if (IS("sleep")) {
		nap(number);
	} else if (IS("burn")) {
		for (long end = cpu_ms() + number; cpu_ms() < end;)
			;
	} else if (IS("hang")) {
		fall_into_deadlock();
	} else if (IS("spin")) {
		for (volatile int i = 0;; i++)
			;
	} else if (IS("leak")) {
		char *p = malloc((size_t)number * 1024);
		if (p)
			memset(p, 1, (size_t)number * 1024);
	} else if (IS("open")) {
		if (open("/dev/null", O_RDONLY) < 0)
			abort();
	} else if (IS("thread")) {
		if (pthread_create(&t, NULL, stay, NULL) != 0)
			abort();
	} else {
		fprintf(stderr, "marker: no step \"%s\"\n", s);
		exit(2);
	}
}

int main(int argc, char **argv)
{
	int fault = 1;

	signal(SIGUSR1, on_signal);
	while (fault < argc && strcmp(argv[fault], "--fault") != 0)
		fault++;
	for (;;) {
		for (int i = 1; i < fault && !faulty; i++)
			step(argv[i]);
		for (int i = fault + 1; i < argc && faulty; i++)
			step(argv[i]);
		if (faulty && fault + 1 >= argc)
			nap(1000);
	}
}
