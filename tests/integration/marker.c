/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A node that does what it is told, in a loop:  marker STEP... [--fault STEP...]
 *
 *	mark:NAME	TWIN_MARK=NAME	say:TEXT	any notification ("watchdog": WATCHDOG=1)
 *	sleep:MS	burn:MS		of its own CPU time
 *	hang		a deadlock	spin		an endless loop
 *	leak:KB		memory that it touches and keeps
 *	crash		a null pointer	exit:STATUS
 *	leave		a thread that it has begun with ends
 *	open		a descriptor	thread		a thread, that stays
 *	listen:PATH	a socket there	deaf		no such socket any more
 *	serve:PORT	for 20 ms: HTTP, and what a ROS master and a ROS node answer
 *	status:N	of its HTTP answers
 *	own:NAME	on $BUS		talk		for 20 ms: whatever D-Bus brings
 *
 * From SIGUSR1 on it runs the steps behind --fault instead, after the loop it is in. A twin of
 * before the signal knows nothing of it.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-bus.h>
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

static int *volatile nowhere;
/* Held by the main thread, until the other one may end. */
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static void *wait_for_gate(void *arg)
{
	pthread_mutex_lock(&gate);
	return arg;
}

static void *stay(void *arg)
{
	for (;;)
		pause();
	return arg;
}

static int listener = -1, status = 200;
static sd_bus *bus;

static void listen_at(const char *path)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};

	if (listener >= 0)
		return;
	snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
	unlink(path);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(listener, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(listener, 1000) < 0)
		abort();
}

static void answer(int fd, long port)
{
	char request[4096], body[600] = "", reply[1000];
	ssize_t n = 0, more;

	/* The body comes behind the head, at times in a segment of its own. */
	do {
		more = read(fd, request + n, sizeof(request) - 1 - (size_t)n);
		n += more > 0 ? more : 0;
		request[n] = '\0';
	} while (more > 0 &&
		 (!strstr(request, "\r\n\r\n") ||
			 (strncmp(request, "POST", 4) == 0 && !strstr(request, "</methodCall>"))));
	if (strstr(request, "lookupNode"))
		snprintf(body, sizeof(body),
			"<methodResponse><params><param><value><array><data><value><int>1</int>"
			"</value><value>ok</value><value><string>http://somewhere:%ld/</string>"
			"</value></data></array></value></param></params></methodResponse>",
			port);
	else if (strstr(request, "getPid"))
		snprintf(body, sizeof(body),
			"<methodResponse><params><param><value><array><data><value><i4>1</i4>"
			"</value><value></value><value><int>%d</int></value></data></array>"
			"</value></param></params></methodResponse>",
			getpid());
	snprintf(reply, sizeof(reply), "HTTP/1.1 %d x\r\nContent-Length: %zu\r\n\r\n%s", status,
		strlen(body), body);
	if (write(fd, reply, strlen(reply)) < 0)
		perror("marker");
	close(fd);
}

static void serve(long port)
{
	struct sockaddr_in at = {.sin_family = AF_INET,
		.sin_port = htons((unsigned short)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int one = 1;

	if (listener < 0) {
		listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		if (bind(listener, (struct sockaddr *)&at, sizeof(at)) < 0 ||
			listen(listener, 100) < 0)
			abort();
	}
	if (poll(&(struct pollfd){.fd = listener, .events = POLLIN}, 1, 20) == 1)
		answer(accept4(listener, NULL, NULL, SOCK_CLOEXEC), port);
}

static void own_name(const char *name)
{
	if (bus)
		return;
	if (sd_bus_new(&bus) < 0 || sd_bus_set_address(bus, getenv("BUS")) < 0 ||
		sd_bus_set_bus_client(bus, 1) < 0 || sd_bus_start(bus) < 0 ||
		sd_bus_request_name(bus, name, 0) < 0)
		abort();
}

static void talk(void)
{
	while (sd_bus_process(bus, NULL) > 0)
		;
	sd_bus_wait(bus, 20000);
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
	} else if (IS("crash")) {
		*(volatile int *)nowhere = 1;
	} else if (IS("exit")) {
		exit((int)number);
	} else if (IS("leave")) {
		pthread_mutex_unlock(&gate);
	} else if (IS("leak")) {
		char *p = malloc((size_t)number * 1024);
		if (p)
			memset(p, 1, (size_t)number * 1024);
		__asm__ volatile("" : : "r"(p) : "memory"); /* else it is optimised away */
	} else if (IS("open")) {
		if (open("/dev/null", O_RDONLY) < 0)
			abort();
	} else if (IS("listen")) {
		listen_at(value);
	} else if (IS("deaf")) {
		if (listener >= 0)
			close(listener);
		listener = -1;
		nap(20);
	} else if (IS("serve")) {
		serve(number);
	} else if (IS("status")) {
		status = (int)number;
	} else if (IS("own")) {
		own_name(value);
	} else if (IS("talk")) {
		talk();
	} else if (IS("thread")) {
		if (pthread_create(&t, NULL, stay, NULL) != 0)
			abort();
	} else {
		fprintf(stderr, "marker: no step \"%s\"\n", s);
		exit(2);
	}
}

static int has_step(int argc, char **argv, const char *step_name)
{
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], step_name) == 0)
			return 1;
	return 0;
}

int main(int argc, char **argv)
{
	pthread_t t;
	int fault = 1;

	signal(SIGUSR1, on_signal);
	signal(SIGPIPE, SIG_IGN); /* who asks may be gone */
	if (has_step(argc, argv, "leave")) {
		pthread_mutex_lock(&gate);
		if (pthread_create(&t, NULL, wait_for_gate, NULL) != 0)
			abort();
	}
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
