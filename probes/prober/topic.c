/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kind=topic: the rate at which messages of a ROS 1 topic leave the node, against MinHz= and
 * MaxHz= over Window=. They are counted in the streams (message_count.h): nobody subscribes, and
 * the node is not asked. It is asked only which connection carries which topic (getBusInfo on its
 * slave API, whose port the master knows), and when it does not answer the last list holds: whether
 * it answers is the business of Kind=ping.
 *
 * Each subscriber has a connection of its own, and one that is slow loses messages: the fastest
 * counts. Without a subscriber nothing is sent, and nothing is said.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "probes/prober/check.h"
#include "probes/prober/curl.h"
#include "probes/prober/message_count.h"
#include "probes/prober/xmlrpc.h"
#include "supervisor/base/log.h"
#include "supervisor/keeper/cgroup.h"

#define CALLER "/twinit"
#define STREAMS_MAX 64u
#define SAMPLES 32u /* of each stream, spread over Window= */
#define LOOKS_KEPT 8u
#define ASK_EVERY 5u /* looks, where streams are known */
#define ASK_TIMEOUT USEC_PER_SEC

struct sample {
	usec_t at;
	uint64_t messages;
};
struct topic_stream {
	struct message_stream id;
	struct sample ring[SAMPLES];
	unsigned n;
	bool listed;
};
struct topic {
	struct message_count count;
	char cgroup[PATH_MAX]; /* that is counted in; "": none */
	bool refused;          /* told */
	struct curl_call *call;
	unsigned port; /* of the slave API; 0: not known */
	unsigned looks;
	struct topic_stream *streams;
	unsigned n_streams;
	/* When the window of this look began, was it let run? */
	struct starvation_look node[LOOKS_KEPT], self[LOOKS_KEPT];
	unsigned n_looks;
};

/* --- what is counted ------------------------------------------------------------------------ */

static void refuse(struct check *c, const char *why)
{
	struct topic *t = c->own;

	if (!t->refused)
		log_node(LOG_WARNING, c->prober->unit->id, "probe %s cannot count: %s",
			c->settings->name, why);
	t->refused = true;
}

static char *read_proc(pid_t pid, const char *name)
{
	char path[64], *text = NULL;
	size_t size = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	f = fopen(path, "re");
	if (f && getdelim(&text, &size, '\0', f) < 0)
		STEAL_PTR(text);
	if (f)
		fclose(f);
	return text;
}

/* In the node's own group, and in none that others share. */
static bool start_counting(struct check *c)
{
	_cleanup_free_ char *mounts = read_proc(getpid(), "mountinfo");
	_cleanup_free_ char *own = read_proc(c->prober->pid, "cgroup");
	_cleanup_close_ int folder = -1;
	struct topic *t = c->own;
	char path[PATH_MAX];
	int r = mounts && own ? cgroup_find(mounts, own, NULL, path) : -ESRCH;

	if (r < 0 || !strstr(path, "/" CGROUP_PARENT "/")) {
		refuse(c, "the node has no control group of its own (cgroup v2)");
		return false;
	}
	if (t->count.map >= 0 && strcmp(path, t->cgroup) == 0)
		return true;
	message_count_close(&t->count);
	folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = folder < 0 ? -errno : message_count_open(&t->count, folder);
	if (r < 0) {
		refuse(c, strerror(-r));
		return false;
	}
	strcpy(t->cgroup, path);
	return true;
}

static void add_sample(struct check *c, struct topic_stream *s, usec_t now, uint64_t messages)
{
	usec_t apart = c->settings->window / (SAMPLES - 4);
	const struct sample *last = s->n ? &s->ring[(s->n - 1) % SAMPLES] : NULL;

	if (!last || now - last->at >= apart)
		s->ring[s->n++ % SAMPLES] = (struct sample){now, messages};
}

/* The newest that is a window old: what is counted from. */
static const struct sample *base_of(const struct topic_stream *s, usec_t until)
{
	const struct sample *best = NULL;

	for (unsigned i = 0; i < MIN2(s->n, SAMPLES); i++)
		if (s->ring[i].at <= until && (!best || s->ring[i].at > best->at))
			best = &s->ring[i];
	return best;
}

/* --- judging -------------------------------------------------------------------------------- */

/* A node that was starved within the window could not have sent: the window's begin is what the
 * present is compared with. */
static void remember_look(struct check *c)
{
	struct topic *t = c->own;
	unsigned last = (t->n_looks - 1) % LOOKS_KEPT;
	usec_t apart = c->settings->window / (LOOKS_KEPT - 2);

	if (t->n_looks == 0 || c->node.at - t->node[last].at >= apart) {
		t->node[t->n_looks % LOOKS_KEPT] = c->node;
		t->self[t->n_looks++ % LOOKS_KEPT] = c->self;
	}
}

static void compare_with_begin(struct check *c, usec_t from)
{
	const struct topic *t = c->own;
	usec_t best = 0;

	for (unsigned i = 0; i < MIN2(t->n_looks, LOOKS_KEPT); i++)
		if (t->node[i].at <= from && t->node[i].at > best) {
			best = t->node[i].at;
			c->node = t->node[i];
			c->self = t->self[i];
		}
}

static void judge(struct check *c)
{
	const struct probe_settings *s = c->settings;
	struct topic *t = c->own;
	usec_t now = now_usec(), from = now - MIN2(s->window, now), since = 0;
	uint64_t messages, fastest = 0;
	double seconds, hz, best = -1;

	remember_look(c);
	for (unsigned i = 0; i < t->n_streams; i++) {
		struct topic_stream *stream = &t->streams[i];
		const struct sample *base;

		if (message_count_read(&t->count, &stream->id, &messages) < 0)
			continue;
		base = base_of(stream, from);
		if (base && messages >= base->messages) {
			hz = (double)(messages - base->messages) / (double)(now - base->at);
			if (hz > best) {
				best = hz;
				since = base->at;
				fastest = messages - base->messages;
			}
		}
		add_sample(c, stream, now, messages);
	}
	if (best < 0) {
		check_unknown(c);
		return;
	}
	seconds = (double)(now - since) / USEC_PER_SEC;
	hz = (double)fastest / seconds;
	/* One message more or less is a matter of when one looks. */
	if (s->min_hz && (double)(fastest + 1) * 1000 < seconds * s->min_hz) {
		compare_with_begin(c, since);
		check_bad(c, "%s: %.2f Hz, less than %.2f", s->topic, hz, s->min_hz / 1000.);
	} else if (s->max_hz && (double)fastest * 1000 > seconds * s->max_hz + 1000) {
		check_bad(c, "%s: %.2f Hz, more than %.2f", s->topic, hz, s->max_hz / 1000.);
	} else {
		check_good(c);
	}
}

/* --- which connections ---------------------------------------------------------------------- */

#define RING 8
struct bus_info {
	struct check *check;
	char text[RING][XMLRPC_TEXT_MAX];
	unsigned n;
};

static struct topic_stream *find_stream(struct topic *t, const struct message_stream *id)
{
	for (unsigned i = 0; i < t->n_streams; i++)
		if (memcmp(&t->streams[i].id, id, sizeof(*id)) == 0)
			return &t->streams[i];
	if (t->n_streams >= STREAMS_MAX)
		return NULL;
	t->streams[t->n_streams] = (struct topic_stream){.id = *id};
	return &t->streams[t->n_streams++];
}

/* [id, peer, "o", "TCPROS", topic, connected, "TCPROS connection on port L to [IP:R on socket N]"],
 * of which the last is what roscpp and rospy agree on. */
static void take_scalar(void *user, _unused_ unsigned depth, const char *text)
{
	struct bus_info *b = user;
	struct topic *t = b->check->own;
	const char *topic = b->text[(b->n + RING - 2) % RING];
	const char *direction = b->text[(b->n + RING - 4) % RING];
	unsigned local, remote;
	struct message_stream id;
	struct topic_stream *s;
	char host[64];

	if (b->n >= 6 &&
		sscanf(text, "TCPROS connection on port %u to [%63[^]:]:%u", &local, host,
			&remote) == 3 &&
		*direction == 'o' && strcmp(topic, b->check->settings->topic) == 0 &&
		inet_pton(AF_INET, host, &id.remote) == 1) {
		id.local_port = htons((uint16_t)local);
		id.remote_port = htons((uint16_t)remote);
		s = find_stream(t, &id);
		if (s)
			s->listed = true;
	}
	snprintf(b->text[b->n++ % RING], XMLRPC_TEXT_MAX, "%s", text);
}

static void drop_unlisted(struct topic *t)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < t->n_streams; i++)
		if (t->streams[i].listed)
			t->streams[kept++] = t->streams[i];
	t->n_streams = kept;
}

static void on_bus_info(
	void *user, CURLcode error, _unused_ long status, const char *body, size_t len)
{
	struct check *c = user;
	struct bus_info b = {.check = c};
	struct topic *t = c->own;

	t->call = NULL;
	if (error == CURLE_COULDNT_CONNECT)
		t->port = 0;
	for (unsigned i = 0; i < t->n_streams; i++)
		t->streams[i].listed = false;
	if (error == CURLE_OK && xmlrpc_answer(body, len, take_scalar, &b) == 0)
		drop_unlisted(t);
	judge(c);
}

static bool ask(struct check *c, const char *url, const char *method, const char *const *arguments,
	size_t n, curl_done_fn done)
{
	struct topic *t = c->own;
	_cleanup_free_ char *post = xmlrpc_call(method, arguments, n);

	t->call = post ? curl_begin(c->prober->loop, url, post,
				 MIN2(ASK_TIMEOUT, c->settings->timeout / 2), done, c)
		       : NULL;
	return t->call;
}

static void ask_node(struct check *c)
{
	static const char *const arguments[] = {CALLER};
	const struct topic *t = c->own;
	char url[64];

	snprintf(url, sizeof(url), "http://127.0.0.1:%u/RPC2", t->port);
	if (!ask(c, url, "getBusInfo", arguments, ELEMENTSOF(arguments), on_bus_info))
		judge(c);
}

static void on_uri(void *user, CURLcode error, _unused_ long status, const char *body, size_t len)
{
	struct check *c = user;
	struct topic *t = c->own;
	struct xmlrpc_triple answer;

	t->call = NULL;
	if (error == CURLE_OK && xmlrpc_triple(body, len, &answer) == 0 && answer.code == 1)
		t->port = xmlrpc_port_of(answer.value);
	if (t->port)
		ask_node(c);
	else
		judge(c);
}

static void begin(struct check *c)
{
	const char *const arguments[] = {CALLER, c->settings->node};
	struct topic *t = c->own;

	if (!start_counting(c)) {
		check_unknown(c);
		return;
	}
	if (t->n_streams > 0 && t->looks++ % ASK_EVERY != 0)
		judge(c);
	else if (t->port)
		ask_node(c);
	else if (!ask(c, c->settings->master, "lookupNode", arguments, ELEMENTSOF(arguments),
			 on_uri))
		judge(c);
}

static void cancel(struct check *c)
{
	struct topic *t = c->own;

	curl_cancel(STEAL_PTR(t->call));
}

/* A twin has the connections of its original, and what it had counted was the original's. */
static void restart(struct check *c)
{
	struct topic *t = c->own;

	t->n_looks = t->looks = t->n_streams = 0;
}

static int init(struct check *c)
{
	struct topic *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->count = (struct message_count)MESSAGE_COUNT_NONE;
	t->streams = calloc(STREAMS_MAX, sizeof(*t->streams));
	c->own = t;
	return t->streams ? 0 : -ENOMEM;
}

const struct check_ops check_topic = {
	.init = init, .begin = begin, .cancel = cancel, .restart = restart};
