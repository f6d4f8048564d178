/* SPDX-License-Identifier: Apache-2.0 */
#include "probes/prober/xmlrpc.h"

#include <errno.h>
#include <expat.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define DEPTH_MAX 32u

static void put_escaped(FILE *f, const char *s)
{
	for (; *s; s++)
		switch (*s) {
		case '<':
			fputs("&lt;", f);
			break;
		case '>':
			fputs("&gt;", f);
			break;
		case '&':
			fputs("&amp;", f);
			break;
		default:
			fputc(*s, f);
		}
}

char *xmlrpc_call(const char *method, const char *const *strings, size_t n)
{
	char *out = NULL;
	size_t size;
	FILE *f = open_memstream(&out, &size);

	if (!f)
		return NULL;
	fprintf(f, "<?xml version=\"1.0\"?><methodCall><methodName>%s</methodName><params>",
		method);
	for (size_t i = 0; i < n; i++) {
		fputs("<param><value><string>", f);
		put_escaped(f, strings[i]);
		fputs("</string></value></param>", f);
	}
	fputs("</params></methodCall>", f);
	if (fclose(f) != 0) {
		free(out);
		return NULL;
	}
	return out;
}

struct reader {
	XML_Parser parser;
	xmlrpc_value_fn value;
	void *user;
	unsigned depth, arrays;
	bool in_value, typed, composite, fault, broken, any;
	char text[XMLRPC_TEXT_MAX];
	size_t len;
};

static void give_up(struct reader *r)
{
	r->broken = true;
	XML_StopParser(r->parser, XML_FALSE);
}

static void XMLCALL on_start(void *user, const XML_Char *name, _unused_ const XML_Char **attributes)
{
	struct reader *r = user;

	if (++r->depth > DEPTH_MAX) {
		give_up(r);
		return;
	}
	if (strcmp(name, "fault") == 0)
		r->fault = true;
	if (strcmp(name, "array") == 0) {
		r->arrays++;
		r->in_value = false;
	} else if (strcmp(name, "value") == 0) {
		r->in_value = true;
		r->typed = false;
		r->len = 0;
	} else if (r->in_value) {
		r->typed = true; /* <value><int>: blanks around it are not its text */
		r->len = 0;
	}
}

static void XMLCALL on_end(void *user, const XML_Char *name)
{
	struct reader *r = user;

	r->depth--;
	if (strcmp(name, "array") == 0) {
		r->arrays--;
		r->in_value = false;
		return;
	}
	/* The end of <int> or, of a string without a type, of <value>. */
	if (!r->in_value || (r->typed && strcmp(name, "value") == 0)) {
		r->in_value = false;
		return;
	}
	r->text[r->len] = '\0';
	r->in_value = false;
	r->any = true;
	r->value(r->user, r->arrays, r->text);
}

static void XMLCALL on_text(void *user, const XML_Char *s, int len)
{
	struct reader *r = user;

	for (int i = 0; i < len && r->in_value && r->len < sizeof(r->text) - 1; i++)
		r->text[r->len++] = s[i];
}

/* Entities are how a small document becomes a large one. */
static void XMLCALL on_entity(void *user, _unused_ const XML_Char *name, _unused_ int is_parameter,
	_unused_ const XML_Char *value, _unused_ int len, _unused_ const XML_Char *base,
	_unused_ const XML_Char *system, _unused_ const XML_Char *public,
	_unused_ const XML_Char *notation)
{
	give_up(user);
}

int xmlrpc_answer(const char *body, size_t len, xmlrpc_value_fn value, void *user)
{
	struct reader r = {.value = value, .user = user};
	bool ok;

	r.parser = XML_ParserCreate("UTF-8");
	if (!r.parser)
		return -ENOMEM;
	XML_SetUserData(r.parser, &r);
	XML_SetElementHandler(r.parser, on_start, on_end);
	XML_SetCharacterDataHandler(r.parser, on_text);
	XML_SetEntityDeclHandler(r.parser, on_entity);
	ok = XML_Parse(r.parser, body, (int)len, XML_TRUE) == XML_STATUS_OK;
	XML_ParserFree(r.parser);
	return ok && !r.broken && !r.fault && r.any ? 0 : -EBADMSG;
}

struct triple {
	struct xmlrpc_triple *ret;
	unsigned n;
};

static void take_scalar(void *user, unsigned depth, const char *text)
{
	struct triple *t = user;

	if (depth != 1)
		return;
	if (t->n == 0)
		t->ret->code = (int)strtol(text, NULL, 10);
	else if (t->n == 1)
		snprintf(t->ret->text, sizeof(t->ret->text), "%s", text);
	else if (t->n == 2)
		snprintf(t->ret->value, sizeof(t->ret->value), "%s", text);
	t->n++;
}

int xmlrpc_triple(const char *body, size_t len, struct xmlrpc_triple *ret)
{
	struct xmlrpc_triple out = {0};
	struct triple t = {.ret = &out};
	int r = xmlrpc_answer(body, len, take_scalar, &t);

	if (r < 0)
		return r;
	if (t.n < 2)
		return -EBADMSG;
	*ret = out;
	return 0;
}

unsigned xmlrpc_port_of(const char *uri)
{
	const char *host = strstr(uri, "://"), *colon = host ? strrchr(host + 3, ':') : NULL;
	unsigned long port = colon ? strtoul(colon + 1, NULL, 10) : 0;

	return port <= UINT16_MAX ? (unsigned)port : 0;
}
