/* SPDX-License-Identifier: Apache-2.0 */
/* Kind=http: a GET of Url= has to be answered, with Status= or any of 200 to 399. */
#include <errno.h>

#include "probes/prober/check.h"
#include "probes/prober/curl.h"

static void on_done(
	void *user, CURLcode error, long status, _unused_ const char *body, _unused_ size_t len)
{
	struct check *c = user;
	unsigned wanted = c->settings->status;

	c->own = NULL; /* freed by who calls */
	/* An answer longer than we care to read is an answer. */
	if (error == CURLE_WRITE_ERROR)
		error = CURLE_OK;
	if (error != CURLE_OK)
		check_bad(c, "%.100s: %s", c->settings->url, curl_easy_strerror(error));
	else if (wanted ? status != (long)wanted : status < 200 || status > 399)
		check_bad(c, "%.100s: status %ld", c->settings->url, status);
	else
		check_good(c);
}

static void begin(struct check *c)
{
	/* Our own timeout is the judge, libcurl's only cleans up. */
	c->own = curl_begin(c->prober->loop, c->settings->url, NULL,
		c->settings->timeout + USEC_PER_SEC, on_done, c);
	if (!c->own)
		check_unknown(c);
}

static void cancel(struct check *c)
{
	curl_cancel(STEAL_PTR(c->own));
}

const struct check_ops check_http = {.begin = begin, .cancel = cancel};
