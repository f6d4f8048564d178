/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * libcurl on libev, for the looks that speak HTTP. Names are looked up in libcurl's own thread,
 * so nothing here waits; a look that is cancelled gets no answer any more.
 */
#include <curl/curl.h>
#include <ev.h>
#include <stdbool.h>
#include <stddef.h>

#include "config/clock.h"
#include "config/macro.h"

#define CURL_BODY_MAX (64u * 1024) /* what is longer is an error */

/* error: 0, or what libcurl says. body is NUL-terminated. */
typedef void (*curl_done_fn)(void *user, CURLcode error, long status, const char *body, size_t len);
struct curl_call;

/* post NULL: GET. NULL: out of memory. */
struct curl_call *curl_begin(struct ev_loop *loop, const char *url, const char *post,
	usec_t timeout, curl_done_fn done, void *user);
void curl_cancel(struct curl_call *call); /* NULL is fine */
