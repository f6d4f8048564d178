/* SPDX-License-Identifier: Apache-2.0 */
#include "probes/prober/curl.h"

#include <string.h>

struct curl_call {
	CURL *easy;
	struct curl_slist *headers;
	char *post;
	curl_done_fn done;
	void *user;
	size_t len;
	char body[CURL_BODY_MAX + 1];
};
struct watcher {
	ev_io io;
};

static CURLM *multi;
static struct ev_loop *multi_loop;
static ev_timer multi_timer;

static void read_results(void)
{
	const CURLMsg *m;
	int left;

	while ((m = curl_multi_info_read(multi, &left))) {
		struct curl_call *call = NULL;
		CURLcode error = m->data.result;
		long status = 0;

		if (m->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&call);
		curl_easy_getinfo(m->easy_handle, CURLINFO_RESPONSE_CODE, &status);
		call->body[call->len] = '\0';
		call->done(call->user, error, status, call->body, call->len);
		curl_cancel(call);
	}
}

static void on_io(_unused_ struct ev_loop *loop, ev_io *w, int revents)
{
	int running, what = (revents & EV_READ ? CURL_CSELECT_IN : 0) |
			    (revents & EV_WRITE ? CURL_CSELECT_OUT : 0);

	curl_multi_socket_action(multi, w->fd, what, &running);
	read_results();
}

static void on_timer(_unused_ struct ev_loop *loop, _unused_ ev_timer *w, _unused_ int revents)
{
	int running;

	curl_multi_socket_action(multi, CURL_SOCKET_TIMEOUT, 0, &running);
	read_results();
}

static int set_socket(
	_unused_ CURL *easy, curl_socket_t fd, int what, _unused_ void *user, void *socket_user)
{
	struct watcher *w = socket_user;

	if (what == CURL_POLL_REMOVE) {
		if (w)
			ev_io_stop(multi_loop, &w->io);
		free(w);
		curl_multi_assign(multi, fd, NULL);
		return 0;
	}
	if (!w) {
		w = calloc(1, sizeof(*w));
		if (!w)
			return -1;
		ev_init(&w->io, on_io);
		curl_multi_assign(multi, fd, w);
	}
	ev_io_stop(multi_loop, &w->io);
	ev_io_set(&w->io, fd,
		(what & CURL_POLL_IN ? EV_READ : 0) | (what & CURL_POLL_OUT ? EV_WRITE : 0));
	ev_io_start(multi_loop, &w->io);
	return 0;
}

static int set_timer(_unused_ CURLM *m, long ms, _unused_ void *user)
{
	ev_timer_stop(multi_loop, &multi_timer);
	if (ms < 0)
		return 0;
	ev_now_update(multi_loop);
	ev_timer_set(&multi_timer, (double)ms / 1000, 0.);
	ev_timer_start(multi_loop, &multi_timer);
	return 0;
}

static size_t take_body(char *data, size_t size, size_t n, void *user)
{
	struct curl_call *call = user;
	size_t len = size * n;

	if (len > CURL_BODY_MAX - call->len)
		return 0; /* which libcurl takes for an error */
	memcpy(call->body + call->len, data, len);
	call->len += len;
	return len;
}

static bool start_curl(struct ev_loop *loop)
{
	if (multi)
		return true;
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0)
		return false;
	multi_loop = loop;
	ev_init(&multi_timer, on_timer);
	multi = curl_multi_init();
	if (!multi)
		return false;
	curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, set_socket);
	curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, set_timer);
	/* A connection that is kept would be one more thing that a swap has to keep. */
	curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, 1L);
	return true;
}

static void set_options(struct curl_call *call, const char *url, usec_t timeout)
{
	CURL *e = call->easy;

	curl_easy_setopt(e, CURLOPT_URL, url);
	curl_easy_setopt(e, CURLOPT_PRIVATE, call);
	curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, take_body);
	curl_easy_setopt(e, CURLOPT_WRITEDATA, call);
	curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)(timeout / USEC_PER_MSEC));
	curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(e, CURLOPT_FORBID_REUSE, 1L);
	curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, 1L);
	curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(e, CURLOPT_PROXY, ""); /* the node itself is asked */
	curl_easy_setopt(e, CURLOPT_USERAGENT, "twinit-prober");
	if (!call->post)
		return;
	call->headers = curl_slist_append(NULL, "Content-Type: text/xml");
	curl_easy_setopt(e, CURLOPT_HTTPHEADER, call->headers);
	curl_easy_setopt(e, CURLOPT_POSTFIELDS, call->post);
}

struct curl_call *curl_begin(struct ev_loop *loop, const char *url, const char *post,
	usec_t timeout, curl_done_fn done, void *user)
{
	struct curl_call *call = start_curl(loop) ? calloc(1, sizeof(*call)) : NULL;

	if (!call)
		return NULL;
	call->easy = curl_easy_init();
	call->post = post ? strdup(post) : NULL;
	call->done = done;
	call->user = user;
	if (!call->easy || (post && !call->post)) {
		free(call->post);
		if (call->easy)
			curl_easy_cleanup(call->easy);
		free(call);
		return NULL;
	}
	set_options(call, url, timeout);
	/* Its timer function is called, and the rest happens on the loop. */
	curl_multi_add_handle(multi, call->easy);
	return call;
}

void curl_cancel(struct curl_call *call)
{
	if (!call)
		return;
	curl_multi_remove_handle(multi, call->easy);
	curl_easy_cleanup(call->easy);
	curl_slist_free_all(call->headers);
	free(call->post);
	free(call);
}
