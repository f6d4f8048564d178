/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * As much of XML-RPC as a ROS 1 slave and master speak to somebody who asks: calls with strings,
 * answers of [code, text, value]. Answers come from strangers: read by expat, bounded in size and
 * depth, no entities.
 */
#include <stddef.h>

#include "config/macro.h"

#define XMLRPC_TEXT_MAX 256u

/* A <methodCall> with these strings, malloc'd; NULL: out of memory. */
char *xmlrpc_call(const char *method, const char *const *strings, size_t n);

/* The scalar values of an answer in document order, arrays opened up. */
typedef void (*xmlrpc_value_fn)(void *user, unsigned depth, const char *text);
/* -EBADMSG: no answer, or a fault. Each scalar is told with the number of arrays around it. */
_must_check_ int xmlrpc_answer(const char *body, size_t len, xmlrpc_value_fn value, void *user);

struct xmlrpc_triple {
	int code;                    /* 1: success, 0: failure, -1: error; by ROS' rules */
	char text[XMLRPC_TEXT_MAX];  /* status */
	char value[XMLRPC_TEXT_MAX]; /* where it is a scalar */
};
_must_check_ int xmlrpc_triple(const char *body, size_t len, struct xmlrpc_triple *ret);
/* Of "http://host:40123/", as a slave API is known by; 0: it has none. */
unsigned xmlrpc_port_of(const char *uri);
