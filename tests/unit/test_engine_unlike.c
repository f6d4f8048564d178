/* SPDX-License-Identifier: Apache-2.0 */
/* Processes of which no twin can be made: each is refused, with its reason, and runs on unharmed.
 */
#include "tests/unit/test_victim_run.h"

struct refusal {
	const char *name, *reason;
};
static const struct refusal refusals[] = {
	{"filter", "other seccomp filters"},
	{"policy", "another memory policy"},
	{"keyring", "a keyring of its own"},
	{"user", "other credentials"},
	{"files", "other descriptors"},
	{"folder", "other working directory"},
	{"network", "other namespaces"},
	{"personality", "other personality"},
	{"securebits", "another set of secure bits"},
	{"dispatch", "its system calls dispatched"},
	{"process keyring", "a process keyring"},
	{"hugetlb", "private huge pages"},
	{"mq_notify", "mq_notify"},
	{"tracer", "it traces process"},
	{"deadline", "deadline class"},
};

static void is_refused(void **state)
{
	const struct refusal *f = *state;
	struct victim_run r;

	setenv("VICTIM_UNLIKE", f->name, 1);
	if (run_begin(&r, "unlike", 1, false)) {
		struct twin_checkpoint cp;
		int error;
		unsigned tries = 0;

		/* A difference is believed when it has been seen for some time. */
		do {
			error = twin_checkpoint(r.e, true, &cp);
			run_take_events(&r);
			(void)nanosleep(&(struct timespec){0, 1000000}, NULL);
		} while ((error == -EAGAIN || error == -EBUSY) && ++tries < 1000);
		if (error != -ENOTSUP || !strstr(twin_reason(r.e), f->reason))
			run_fail(&r, "%d, %s", error, twin_reason(r.e));
		else
			(void)run_progress(&r, 3);
	}
	run_end(&r);
}

int main(int argc, char **argv)
{
	static struct CMUnitTest tests[ELEMENTSOF(refusals)];
	size_t n = 0;

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	for (size_t i = 0; i < ELEMENTSOF(refusals); i++)
		tests[n++] = (struct CMUnitTest){.name = refusals[i].name,
			.test_func = is_refused,
			.initial_state = (void *)&refusals[i]};
	return _cmocka_run_group_tests("unlike", tests, n, NULL, NULL);
}
