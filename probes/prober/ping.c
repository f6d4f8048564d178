/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kind=ping: what rosnode ping asks, getPid on the ROS 1 node's slave API.
 *
 * The master says which port that has; it is asked once, and again when nobody answers there. The
 * node is our keeper's child, so it is on this machine, whatever host name it goes by: it is
 * asked at 127.0.0.1, and no name is looked up. The master may be elsewhere (a numeric address, or
 * localhost). A master that does not answer says nothing of the node.
 */
#include <errno.h>
#include <string.h>

#include "probes/prober/check.h"
#include "probes/prober/curl.h"
#include "probes/prober/xmlrpc.h"

#define CALLER "/twinit"

struct ping {
	struct curl_call *call;
	unsigned port;   /* of the slave API; 0: not known */
	bool asked_anew; /* in this look */
};

static void ask_master(struct check *c);

static void forget_call(struct check *c)
{
	struct ping *p = c->own;

	curl_cancel(STEAL_PTR(p->call));
}

static bool ask(struct check *c, const char *url, const char *method, const char *const *arguments,
	size_t n, curl_done_fn done)
{
	struct ping *p = c->own;
	_cleanup_free_ char *post = xmlrpc_call(method, arguments, n);

	p->call = post ? curl_begin(c->prober->loop, url, post, c->settings->timeout + USEC_PER_SEC,
				 done, c)
		       : NULL;
	if (!p->call)
		check_unknown(c);
	return p->call;
}

static void on_pid(void *user, CURLcode error, _unused_ long status, const char *body, size_t len)
{
	struct check *c = user;
	struct ping *p = c->own;
	struct xmlrpc_triple t;

	p->call = NULL;
	if (error == CURLE_COULDNT_CONNECT) {
		/* Another life of the node may have another port. */
		p->port = 0;
		if (!p->asked_anew) {
			p->asked_anew = true;
			ask_master(c);
		} else {
			check_bad(c, "nobody at the port that the master knows");
		}
		return;
	}
	if (error != CURLE_OK)
		check_bad(c, "getPid: %s", curl_easy_strerror(error));
	else if (xmlrpc_triple(body, len, &t) < 0 || t.code != 1)
		check_bad(c, "getPid: no answer of a ROS node");
	else
		check_good(c);
}

static void ask_node(struct check *c)
{
	static const char *const arguments[] = {CALLER};
	const struct ping *p = c->own;
	char url[64];

	snprintf(url, sizeof(url), "http://127.0.0.1:%u/RPC2", p->port);
	ask(c, url, "getPid", arguments, ELEMENTSOF(arguments), on_pid);
}

static void on_uri(void *user, CURLcode error, _unused_ long status, const char *body, size_t len)
{
	struct check *c = user;
	struct ping *p = c->own;
	struct xmlrpc_triple t;

	p->call = NULL;
	/* Not registered (yet), or no master: nothing to ask. */
	if (error != CURLE_OK || xmlrpc_triple(body, len, &t) < 0 || t.code != 1 ||
		(p->port = xmlrpc_port_of(t.value)) == 0) {
		check_unknown(c);
		return;
	}
	ask_node(c);
}

static void ask_master(struct check *c)
{
	const char *const arguments[] = {CALLER, c->settings->node};

	ask(c, c->settings->master, "lookupNode", arguments, ELEMENTSOF(arguments), on_uri);
}

static void begin(struct check *c)
{
	struct ping *p = c->own;

	p->asked_anew = p->port == 0;
	if (p->port)
		ask_node(c);
	else
		ask_master(c);
}

static int init(struct check *c)
{
	c->own = calloc(1, sizeof(struct ping));
	return c->own ? 0 : -ENOMEM;
}

const struct check_ops check_ping = {.init = init, .begin = begin, .cancel = forget_call};
