/* SPDX-License-Identifier: Apache-2.0 */
/* XML-RPC answers, good, bad and hostile; and what counts looks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "probes/polled.h"
#include "probes/prober/xmlrpc.h"

static int triple(const char *body, struct xmlrpc_triple *t)
{
	return xmlrpc_triple(body, strlen(body), t);
}

#define HEAD "<?xml version=\"1.0\"?><methodResponse><params><param><value><array><data>"
#define TAIL "</data></array></value></param></params></methodResponse>"

static void test_answers(_unused_ void **state)
{
	struct xmlrpc_triple t;

	/* as roscpp writes it, and as rospy does */
	assert_int_equal(triple(HEAD "<value><i4>1</i4></value><value></value><value><i4>4711</i4>"
				     "</value>" TAIL,
				 &t),
		0);
	assert_int_equal(t.code, 1);
	assert_string_equal(t.text, "");
	assert_string_equal(t.value, "4711");
	assert_int_equal(triple(HEAD "\n<value><int>-1</int></value>\n<value><string>unknown node "
				     "&lt;/x&gt;</string></value>\n<value> a </value>\n" TAIL,
				 &t),
		0);
	assert_int_equal(t.code, -1);
	assert_string_equal(t.text, "unknown node </x>");
	assert_string_equal(t.value, " a ");
	/* the value may be an array: only scalars are taken */
	assert_int_equal(
		triple(HEAD "<value><int>1</int></value><value>s</value><value><array><data>"
			    "<value>x</value></data></array></value>" TAIL,
			&t),
		0);
	assert_string_equal(t.value, "");
}

static void test_no_answers(_unused_ void **state)
{
	static const char *const bodies[] = {"", "x", "<", "<methodResponse/>",
		"<html><body>no</body></html>", HEAD TAIL, HEAD "<value><int>1</int></value>" TAIL,
		HEAD "<value><int>1</int></value><value>s</value>", /* cut off */
		"<methodResponse><fault><value><struct><member><name>faultCode</name><value><int>1"
		"</int></value></member></struct></value></fault></methodResponse>",
		"<!DOCTYPE x [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;\">]>" HEAD
		"<value>&b;</value><value>s</value>" TAIL};
	struct xmlrpc_triple t = {.code = 42};

	for (size_t i = 0; i < ELEMENTSOF(bodies); i++)
		if (triple(bodies[i], &t) != -EBADMSG)
			fail_msg("\"%s\" was taken for an answer", bodies[i]);
	assert_int_equal(t.code, 42);
}

static void test_long_and_deep(_unused_ void **state)
{
	char *body = calloc(1, 100000);
	struct xmlrpc_triple t;

	assert_non_null(body);
	strcpy(body, HEAD "<value><int>1</int></value><value>");
	memset(body + strlen(body), 'x', 5000);
	strcat(body, "</value><value>v</value>" TAIL);
	assert_int_equal(triple(body, &t), 0);
	assert_int_equal(strlen(t.text), XMLRPC_TEXT_MAX - 1);
	assert_string_equal(t.value, "v");
	body[0] = '\0';
	for (int i = 0; i < 1000; i++)
		strcat(body, "<array>");
	assert_int_equal(triple(body, &t), -EBADMSG);
	free(body);
}

static void test_random(_unused_ void **state)
{
	static const char *const pieces[] = {"<value>", "</value>", "<array>", "</array>", "<int>",
		"</int>", "<data>", "</data>", "1", "&lt;", "&", "<", ">", "\xff",
		"<methodResponse>", "</methodResponse>", "<fault>", "<!--", "-->", "]]>"};
	unsigned seed = 5;

	for (int round = 0; round < 20000; round++) {
		char body[400] = "<methodResponse>";
		struct xmlrpc_triple t;

		for (int i = rand_r(&seed) % 20; i > 0; i--)
			strcat(body, pieces[(size_t)rand_r(&seed) % ELEMENTSOF(pieces)]);
		(void)!triple(body, &t);
	}
}

static void test_call(_unused_ void **state)
{
	static const char *const arguments[] = {"/a<b>&c", "x"};
	_cleanup_free_ char *call = xmlrpc_call("lookupNode", arguments, 2);

	assert_string_equal(call,
		"<?xml version=\"1.0\"?><methodCall><methodName>lookupNode</methodName><params>"
		"<param><value><string>/a&lt;b&gt;&amp;c</string></value></param>"
		"<param><value><string>x</string></value></param></params></methodCall>");
}

static void seen(struct polled *p, usec_t at, bool good)
{
	probe_event(&p->probe, &(struct probe_event){.type = PROBE_EVENT_OBSERVED,
				       .at = at,
				       .good = good,
				       .detail = "no answer"});
}

static void test_polled(_unused_ void **state)
{
	const struct probe_settings s = {.name = (char *)"p",
		.kind = KIND_PING,
		.tolerate = 1,
		.interval = 100,
		.timeout = 50};
	struct polled p;
	usec_t again;
	char why[100];

	polled_init(&p, &s);
	assert_string_equal(p.probe.ops->result, "ping");
	assert_int_equal(p.probe.notice, 300);
	probe_start(&p.probe, 1000);
	assert_int_equal(probe_verdict(&p.probe, 1000, &again), PROBE_ALIVE);
	assert_true(again == USEC_INFINITY);
	seen(&p, 900, false); /* another life */
	seen(&p, 1100, false);
	assert_int_equal(probe_verdict(&p.probe, 1100, &again), PROBE_SUSPECT);
	seen(&p, 1200, true);
	assert_int_equal(probe_verdict(&p.probe, 1200, &again), PROBE_ALIVE);
	assert_int_equal(p.probe.last_good, 1200);
	seen(&p, 1300, false);
	seen(&p, 1400, false);
	assert_int_equal(probe_verdict(&p.probe, 1400, &again), PROBE_FAILED);
	p.probe.ops->describe(&p.probe, 1400, why, sizeof(why));
	assert_string_equal(why, "no answer (2 times in a row)");
	probe_start(&p.probe, 2000);
	assert_int_equal(probe_verdict(&p.probe, 2000, &again), PROBE_ALIVE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_no_answers),
		cmocka_unit_test(test_long_and_deep),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_call),
		cmocka_unit_test(test_polled),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
