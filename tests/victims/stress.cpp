/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fifty threads that do all kinds of things at once and check each other: mutexes of every kind
 * held across naps, condition variables, reader-writer locks, barriers, semaphores, threads that
 * come and go, thread-local objects with destructors, timers, signals on alternate stacks, vector
 * and x87 registers, exceptions through many frames, memory of all arenas with patterns, epoll
 * sets, event counters, pipes, sockets, and children.
 *
 * What is in a pipe or socket is not rolled back, so of those only errors count, and foreign bytes.
 */
#include "tests/victims/victim.hpp"

#include <csignal>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <spawn.h>
#include <stdexcept>
#include <string>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <vector>

victim_shared *victim;
extern char **environ;

namespace
{
constexpr unsigned MAX_WORKERS = 64;
struct worker {
	void (*step)(worker &);
	unsigned nr;
	pthread_t thread;
	std::atomic<uint64_t> steps;
	uint32_t random;
};
worker workers[MAX_WORKERS];
unsigned n_workers;

bool stopping()
{
	return victim->stop.load() != 0;
}

unsigned below(worker &w, unsigned n)
{
	w.random = w.random * 1664525u + 1013904223u;
	return (w.random >> 8) % n;
}

/* --- mutexes --------------------------------------------------------------------------------- */
struct guarded {
	pthread_mutex_t mutex;
	int type;
	uint64_t a, b;
	pid_t owner;
};
guarded mutexes[8];

void make_mutex(guarded &g, int type, bool robust, bool inherit, bool shared)
{
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, type);
	if (robust)
		pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	if (inherit)
		pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_INHERIT);
	if (shared)
		pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	g.type = type;
	victim_check(pthread_mutex_init(&g.mutex, &attr) == 0, "mutex");
}

void with_mutex(worker &w)
{
	guarded &g = mutexes[w.nr % 8];
	int r = pthread_mutex_lock(&g.mutex);

	victim_check(r == 0, "lock %u: %d", w.nr % 8, r);
	victim_check(g.owner == 0, "owner %d", g.owner);
	g.owner = gettid();
	if (g.type == PTHREAD_MUTEX_RECURSIVE)
		victim_check(pthread_mutex_lock(&g.mutex) == 0, "again");
	if (g.type == PTHREAD_MUTEX_ERRORCHECK)
		victim_check((r = pthread_mutex_lock(&g.mutex)) == EDEADLK, "errorcheck: %d", r);
	g.a++;
	victim_nap(100 + below(w, 400));
	g.b++;
	victim_check(g.a == g.b && g.owner == gettid(), "guarded");
	g.owner = 0;
	if (g.type == PTHREAD_MUTEX_RECURSIVE)
		victim_check(pthread_mutex_unlock(&g.mutex) == 0, "unlock inner");
	r = pthread_mutex_unlock(&g.mutex);
	victim_check(r == 0, "unlock %u: %d", w.nr % 8, r);
}

/* --- a queue with condition variables -------------------------------------------------------- */
pthread_mutex_t queue_lock = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t not_empty = PTHREAD_COND_INITIALIZER, not_full = PTHREAD_COND_INITIALIZER;
uint64_t queue[16], put_at, taken_at;

void produce(worker &)
{
	pthread_mutex_lock(&queue_lock);
	while (put_at - taken_at == 16 && !stopping())
		victim_check(pthread_cond_wait(&not_full, &queue_lock) == 0, "wait for room");
	if (put_at - taken_at < 16) {
		queue[put_at % 16] = put_at * 7;
		put_at++;
	}
	pthread_cond_signal(&not_empty);
	pthread_mutex_unlock(&queue_lock);
}

void consume(worker &)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += 3000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_mutex_lock(&queue_lock);
	int r = 0;
	while (put_at == taken_at && r == 0)
		r = pthread_cond_timedwait(&not_empty, &queue_lock, &until);
	victim_check(r == 0 || r == ETIMEDOUT, "timed wait: %d", r);
	if (put_at != taken_at) {
		victim_check(queue[taken_at % 16] == taken_at * 7, "queue");
		taken_at++;
	}
	pthread_cond_signal(&not_full);
	pthread_mutex_unlock(&queue_lock);
	victim_nap(200);
}

/* --- reader-writer lock, barrier, semaphores ------------------------------------------------- */
pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
uint64_t written[8];

void read_under_lock(worker &w)
{
	victim_check(pthread_rwlock_rdlock(&rwlock) == 0, "rdlock");
	uint64_t first = written[0];
	victim_nap(below(w, 300));
	for (uint64_t v : written)
		victim_check(v == first, "torn under a read lock");
	victim_check(pthread_rwlock_unlock(&rwlock) == 0, "unlock");
	victim_nap(100);
}

void write_under_lock(worker &)
{
	victim_check(pthread_rwlock_wrlock(&rwlock) == 0, "wrlock");
	for (uint64_t &v : written) {
		v++;
		victim_nap(30);
	}
	victim_check(pthread_rwlock_unlock(&rwlock) == 0, "unlock");
	victim_nap(500);
}

constexpr unsigned RUNNERS = 4;
pthread_barrier_t barrier;
std::atomic<uint64_t> laps[RUNNERS];

void run_laps(worker &w)
{
	unsigned me = w.nr % RUNNERS;
	uint64_t lap = ++laps[me];
	int r = pthread_barrier_wait(&barrier);

	victim_check(r == 0 || r == PTHREAD_BARRIER_SERIAL_THREAD, "barrier: %d", r);
	for (auto &l : laps)
		victim_check(l == lap, "lap %lu, not %lu", (unsigned long)l, (unsigned long)lap);
	r = pthread_barrier_wait(&barrier);
	victim_check(r == 0 || r == PTHREAD_BARRIER_SERIAL_THREAD, "barrier: %d", r);
	victim_nap(200);
}

sem_t ping, pong;

void serve(worker &)
{
	victim_check(sem_post(&ping) == 0, "post");
	victim_check(sem_wait(&pong) == 0, "wait");
	victim_nap(200);
}

void answer(worker &)
{
	victim_check(sem_wait(&ping) == 0, "wait");
	victim_check(sem_post(&pong) == 0, "post");
}

/* --- threads that come and go, with thread-local objects -------------------------------------- */
std::atomic<uint64_t> objects_made, objects_gone;

struct local_object {
	std::string text;
	pid_t owner;
	local_object() : text("of thread " + std::to_string(gettid())), owner(gettid())
	{
		objects_made++;
	}
	~local_object()
	{
		victim_check(owner == gettid(), "destroyed by another thread");
		victim_check(text == "of thread " + std::to_string(gettid()), "text");
		objects_gone++;
	}
};
thread_local local_object local;
thread_local uint64_t local_number = 41;
pthread_key_t key;
std::atomic<uint64_t> keys_gone;

void *short_life(void *arg)
{
	victim_check(local.owner == gettid() && local_number == 41, "thread-local");
	local_number++;
	pthread_setspecific(key, arg);
	victim_nap((long)(intptr_t)arg % 300);
	victim_check(local_number == 42 && pthread_getspecific(key) == arg, "thread-local");
	return arg;
}

void churn(worker &w)
{
	pthread_t t[3];
	uint64_t gone = keys_gone;
	void *end;

	for (auto &thread : t) {
		int r = pthread_create(
			&thread, nullptr, short_life, (void *)(intptr_t)(1 + below(w, 9999)));
		victim_check(r == 0, "pthread_create: %d", r);
	}
	for (auto &thread : t)
		victim_check(pthread_join(thread, &end) == 0 && end, "join");
	victim_check(keys_gone >= gone + 3, "destructors of keys");
}

/* --- signals and timers ----------------------------------------------------------------------- */
std::atomic<uint64_t> timer_hits, alarm_hits;
thread_local volatile uint64_t kicks;
thread_local char *stack_begin, *stack_end;

void on_signal(int sig)
{
	char here = 0;
	int error = errno;
	volatile double x = 1.25;

	for (int i = 0; i < 8; i++)
		x = x * 1.5;
	victim_check(&here >= stack_begin && &here < stack_end, "not on the alternate stack");
	if (sig == SIGALRM)
		alarm_hits++;
	else if (sig == SIGRTMIN + 1)
		timer_hits++;
	else
		kicks = kicks + 1;
	errno = error;
}

void open_signals()
{
	constexpr size_t size = 65536;
	stack_t s = {};
	sigset_t set;

	stack_begin = new char[size];
	stack_end = stack_begin + size;
	s.ss_sp = stack_begin;
	s.ss_size = size;
	victim_check(sigaltstack(&s, nullptr) == 0, "sigaltstack");
	sigfillset(&set);
	victim_check(pthread_sigmask(SIG_UNBLOCK, &set, nullptr) == 0, "mask");
}

/* Naps here are cut short by the handlers, and only by them. */
void with_timers(worker &w)
{
	static thread_local bool begun;
	static thread_local timer_t timer;
	struct itimerspec its = {{0, 3000000}, {0, 2000000}};
	struct itimerval alarm = {{0, 5000}, {0, 5000}};
	uint64_t before = w.nr % 2 ? alarm_hits : timer_hits;

	if (!begun && w.nr % 2) {
		open_signals();
		victim_check(setitimer(ITIMER_REAL, &alarm, nullptr) == 0, "setitimer");
	} else if (!begun) {
		struct sigevent ev = {};
		open_signals();
		ev.sigev_notify = SIGEV_SIGNAL;
		ev.sigev_signo = SIGRTMIN + 1;
		victim_check(timer_create(CLOCK_MONOTONIC, &ev, &timer) == 0, "timer_create");
		victim_check(timer_settime(timer, 0, &its, nullptr) == 0, "timer_settime");
	}
	begun = true;
	for (unsigned i = 0; (w.nr % 2 ? alarm_hits : timer_hits) == before; i++) {
		struct timespec ms = {0, 1000000};
		victim_check(i < 20000, "%s has stopped", w.nr % 2 ? "the alarm" : "the timer");
		nanosleep(&ms, nullptr);
	}
}

void kick_itself(worker &)
{
	static thread_local bool begun;

	if (!begun)
		open_signals();
	begun = true;
	uint64_t before = kicks;
	victim_check(pthread_kill(pthread_self(), SIGUSR1) == 0, "kick");
	victim_check(kicks == before + 1, "kicks");
	struct timespec some = {0, 300000};
	nanosleep(&some, nullptr);
}

/* --- registers ---------------------------------------------------------------------------------
 */
typedef double lanes __attribute__((vector_size(32)));

__attribute__((target("avx2"))) void vectors_hold(double seed)
{
	lanes a = {seed, seed + 1, seed + 2, seed + 3}, b = a * 2, c = a * 3, d = a * 4, sum;

	for (unsigned i = 0; i < 3000; i++)
		__asm__ volatile("" : "+x"(a), "+x"(b), "+x"(c), "+x"(d));
	sum = a + b + c + d;
	for (int i = 0; i < 4; i++)
		victim_check(sum[i] == (seed + i) * 10, "vector registers");
}

typedef double wide __attribute__((vector_size(64)));

__attribute__((target("avx512f"))) void wide_vectors_hold(double seed)
{
	wide a = {seed, seed + 1, seed + 2, seed + 3, seed + 4, seed + 5, seed + 6, seed + 7},
	     b = a * 2;

	for (unsigned i = 0; i < 3000; i++)
		__asm__ volatile("" : "+v"(a), "+v"(b));
	for (int i = 0; i < 8; i++)
		victim_check(a[i] == seed + i && b[i] == 2 * (seed + i), "wide vector registers");
}

void with_registers(worker &w)
{
	double seed = below(w, 1000);
	long double x = 1.0L + seed;

	if (__builtin_cpu_supports("avx2"))
		vectors_hold(seed);
	if (__builtin_cpu_supports("avx512f"))
		wide_vectors_hold(seed);
	for (unsigned i = 0; i < 2000; i++)
		__asm__ volatile("fld1; faddp; fld1; fsubrp" : "+t"(x));
	victim_check(x == 1.0L + seed || x == -(1.0L + seed), "x87: %Lf", x);
	victim_nap(200);
}

/* --- exceptions ---------------------------------------------------------------------------------
 */
thread_local int frames_open;

struct frame {
	frame()
	{
		frames_open++;
	}
	~frame()
	{
		frames_open--;
	}
};

__attribute__((noinline)) int descend(unsigned depth, const std::string &what)
{
	frame here;

	if (depth == 0) {
		victim_nap(50);
		throw std::runtime_error(what);
	}
	return descend(depth - 1, what) + frames_open;
}

void with_exceptions(worker &w)
{
	std::string what = "thrown " + std::to_string(below(w, 100000));

	try {
		descend(20 + below(w, 40), what);
		victim_check(false, "nothing was thrown");
	} catch (const std::runtime_error &e) {
		victim_check(what == e.what() && frames_open == 0, "%s, %d frames", e.what(),
			frames_open);
	}
	victim_nap(150);
}

/* --- memory --------------------------------------------------------------------------------------
 */
void with_memory(worker &w)
{
	struct block {
		uint8_t *at;
		size_t size;
		uint8_t byte;
	};
	static thread_local std::vector<block> blocks;

	for (unsigned i = 0; i < 20; i++) {
		size_t size = 1 + below(w, i % 5 == 0 ? 300000 : 3000);
		uint8_t byte = (uint8_t)below(w, 256);
		uint8_t *at = static_cast<uint8_t *>(malloc(size));
		victim_check(at, "malloc");
		memset(at, byte, size);
		blocks.push_back({at, size, byte});
	}
	while (blocks.size() > 60) {
		size_t i = below(w, (unsigned)blocks.size());
		block b = blocks[i];
		for (size_t k = 0; k < b.size; k += 61)
			victim_check(b.at[k] == b.byte, "memory");
		victim_check(b.at[b.size - 1] == b.byte, "memory");
		free(b.at);
		blocks[i] = blocks.back();
		blocks.pop_back();
	}
	victim_nap(300);
}

/* --- descriptors
 * ---------------------------------------------------------------------------------- */
int epoll_fd, event_fd, pipe_fds[2], sockets[2];

void watch(worker &)
{
	struct epoll_event ev[4];
	int n = epoll_wait(epoll_fd, ev, 4, 4);

	victim_check(n >= 0, "epoll_wait");
	for (int i = 0; i < n; i++) {
		uint64_t value = 0;
		uint8_t bytes[64];
		int fd = ev[i].data.fd;
		ssize_t r = fd == event_fd ? read(fd, &value, 8) : read(fd, bytes, sizeof(bytes));

		victim_check(r > 0 || errno == EAGAIN, "read of %d: %zd", fd, r);
		for (ssize_t k = 0; fd != event_fd && k < r; k++)
			victim_check(bytes[k] == (fd == pipe_fds[0] ? 'p' : 's'), "foreign bytes");
	}
}

void feed(worker &w)
{
	uint64_t one = 1;
	ssize_t r;

	switch (below(w, 3)) {
	case 0:
		r = write(event_fd, &one, 8);
		break;
	case 1:
		r = write(pipe_fds[1], "ppp", 3);
		break;
	default:
		r = send(sockets[1], "sssss", 5, 0);
	}
	victim_check(r > 0 || errno == EAGAIN, "write");
	victim_nap(200);
}

void open_descriptors()
{
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	victim_check(epoll_fd >= 0 && event_fd >= 0 &&
			     pipe2(pipe_fds, O_NONBLOCK | O_CLOEXEC) == 0 &&
			     socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
				     sockets) == 0,
		"descriptors");
	for (int fd : {event_fd, pipe_fds[0], sockets[0]}) {
		struct epoll_event ev = {};
		ev.events = EPOLLIN;
		ev.data.fd = fd;
		victim_check(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev) == 0, "epoll_ctl");
	}
}

/* --- children
 * --------------------------------------------------------------------------------------- */
/* A child that a rolled-back process waits for may be unknown to it by now. */
void have_a_child(worker &)
{
	char name[] = "/bin/true";
	char *const argv[] = {name, nullptr};
	int raw = 0;
	pid_t pid, r;

	victim_check(posix_spawn(&pid, name, nullptr, nullptr, argv, environ) == 0, "posix_spawn");
	r = waitpid(pid, &raw, 0);
	victim_check((r == pid && raw == 0) || (r < 0 && errno == ECHILD && victim_is_swapped()),
		"waitpid(%d): %d, status %x", pid, r, (unsigned)raw);
	victim_nap(20000);
}

/* --- all of it
 * --------------------------------------------------------------------------------------- */
void *work(void *arg)
{
	worker &w = *static_cast<worker *>(arg);
	pid_t tid = gettid();

	while (!stopping()) {
		w.step(w);
		victim_check(
			gettid() == tid && pthread_equal(pthread_self(), w.thread), "identity");
		w.steps++;
	}
	return nullptr;
}

void add(unsigned n, void (*step)(worker &))
{
	for (unsigned i = 0; i < n; i++) {
		worker &w = workers[n_workers];
		w.step = step;
		w.nr = n_workers;
		w.random = ++n_workers * 2654435761u;
	}
}

[[noreturn]] void exit_by_thread()
{
	pthread_t t;
	pthread_create(
		&t, nullptr, [](void *) -> void * { _exit(VICTIM_EXIT_STATUS); }, nullptr);
	for (;;)
		pause();
}

void obey()
{
	static int *volatile nowhere = reinterpret_cast<int *>(16);

	switch (victim->command.exchange(RUN)) {
	case ABORT:
		abort();
	case SEGV:
		*nowhere = 1;
		break;
	case EXIT:
		_exit(VICTIM_EXIT_STATUS);
	case EXIT_BY_THREAD:
		exit_by_thread();
	}
}

void make_all()
{
	struct sigaction sa = {};
	sigset_t set;

	sa.sa_handler = on_signal;
	sa.sa_flags = SA_ONSTACK;
	for (int sig : {SIGUSR1, SIGALRM, SIGRTMIN + 1})
		victim_check(sigaction(sig, &sa, nullptr) == 0, "sigaction");
	/* Only those that mean to are interrupted. Nobody blocks what ends a process. */
	sigemptyset(&set);
	for (int sig : {SIGUSR1, SIGALRM, SIGRTMIN + 1})
		sigaddset(&set, sig);
	pthread_sigmask(SIG_BLOCK, &set, nullptr);
	make_mutex(mutexes[0], PTHREAD_MUTEX_NORMAL, false, false, false);
	make_mutex(mutexes[1], PTHREAD_MUTEX_RECURSIVE, false, false, false);
	make_mutex(mutexes[2], PTHREAD_MUTEX_ERRORCHECK, false, false, false);
	make_mutex(mutexes[3], PTHREAD_MUTEX_ADAPTIVE_NP, false, false, false);
	make_mutex(mutexes[4], PTHREAD_MUTEX_NORMAL, true, false, false);
	make_mutex(mutexes[5], PTHREAD_MUTEX_NORMAL, false, true, false);
	make_mutex(mutexes[6], PTHREAD_MUTEX_RECURSIVE, true, true, true);
	make_mutex(mutexes[7], PTHREAD_MUTEX_ERRORCHECK, false, false, true);
	pthread_barrier_init(&barrier, nullptr, RUNNERS);
	sem_init(&ping, 0, 0);
	sem_init(&pong, 0, 0);
	pthread_key_create(&key, [](void *) { keys_gone++; });
	open_descriptors();
}
} // namespace

int main()
{
	victim_begin();
	make_all();
	add(16, with_mutex);    /* two for each mutex: numbers 0 to 15 */
	add(RUNNERS, run_laps); /* 16 to 19: every one its own lap */
	add(2, with_timers);
	add(3, produce);
	add(3, consume);
	add(3, read_under_lock);
	add(1, write_under_lock);
	add(2, serve);
	add(2, answer);
	add(3, churn);
	add(1, kick_itself);
	add(3, with_registers);
	add(3, with_exceptions);
	add(4, with_memory);
	add(1, watch);
	add(2, feed);
	add(1, have_a_child);
	for (unsigned i = 0; i < n_workers; i++) {
		int r = pthread_create(&workers[i].thread, nullptr, work, &workers[i]);
		victim_check(r == 0, "pthread_create: %d", r);
	}
	uint64_t seen[MAX_WORKERS] = {}, rounds[MAX_WORKERS] = {};
	while (!stopping()) {
		obey();
		victim_nap(1000);
		for (unsigned i = 0; i < n_workers; i++) {
			uint64_t steps = workers[i].steps;
			rounds[i] = steps == seen[i] ? rounds[i] + 1 : 0;
			seen[i] = steps;
			victim_check(rounds[i] < 30000, "worker %u stands still", i);
		}
		victim->counter++;
		victim->progress++;
	}
	/* Of those that wait for each other some may wait for ever by now. */
	_exit(0);
}
