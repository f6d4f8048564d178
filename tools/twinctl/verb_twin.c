/* SPDX-License-Identifier: Apache-2.0 */
/* twinctl twin status|checkpoint|drop NODE */
#include <string.h>

#include "tools/twinctl/twinctl.h"

static void print_failover(const struct node_info *n)
{
	char a[FORMAT_MAX], l[FORMAT_MAX], b[FORMAT_MAX];

	if (n->failover_at == 0)
		return;
	printf(" Failovers: %u; last %s: %s, ", n->n_failovers, format_ago(a, n->failover_at),
		n->failover_cause);
	if (strcmp(n->failover_result, "success") == 0)
		printf("swapped%s in %s, rolled back %s, generation %u\n",
			strcmp(n->failover_way, "in-place") == 0 ? " in place" : "",
			format_span(l, n->failover_latency), format_span(b, n->failover_rollback),
			n->failover_generation);
	else
		printf("%s after %s\n", n->failover_result, format_span(l, n->failover_latency));
	if (*n->failover_detail)
		printf("            %s\n", n->failover_detail);
	if (*n->failover_fault)
		printf("            %s\n", n->failover_fault);
}

void print_twin(const struct node_info *n)
{
	char a[FORMAT_MAX], b[FORMAT_MAX], d[FORMAT_MAX];
	bool failed = strcmp(n->twin_state, "failed") == 0;

	if (!n->twin_enabled) {
		printf("      Twin: off\n");
		return;
	}
	printf("      Twin: %s", n->twin_state);
	for (size_t i = 0; i < n->n_twin_pids; i++)
		printf("%s%u", i ? ", " : " (pid ", n->twin_pids[i]);
	printf("%s", n->n_twin_pids ? ")" : "");
	if (n->n_twin_pids && n->checkpoint_at)
		printf(", %s old", format_span(a, now_usec() - n->checkpoint_at));
	/* "failed": none is made, or only seldom tried. */
	if (!failed)
		printf("; one every %s", format_span(a, n->interval));
	else if (*n->skip_reason)
		printf(" (%s)", n->skip_reason);
	putchar('\n');
	if (n->n_checkpoints)
		printf("    Freeze: %s last, %s median, %s longest\n",
			format_span(a, n->freeze_last), format_span(b, n->freeze_median),
			format_span(d, n->freeze_max));
	if (n->n_twin_pids)
		printf("     Holds: %u thread%s, %s of its own\n", n->n_threads,
			n->n_threads == 1 ? "" : "s", format_bytes(a, n->memory_private));
	if (*n->excluded_memory)
		printf("   Without: %s\n", n->excluded_memory);
	printf("Checkpoint: %u made, %u skipped", n->n_checkpoints, n->n_skipped);
	if (n->n_skipped && *n->skip_reason && !failed)
		printf(" (last: %s)", n->skip_reason);
	putchar('\n');
	if (n->n_children || n->n_child_failovers)
		printf("  Children: %u guarded, %u taken over by twins of theirs\n", n->n_children,
			n->n_child_failovers);
	print_failover(n);
}

static int twin_status(struct context *c, const char *node)
{
	_cleanup_node_info_ struct node_info n = {0};

	int r = node_info_get(c, node, &n);
	if (r)
		return r;
	if (c->json) {
		struct json j = json_to(stdout);
		json_object_begin(&j, NULL);
		json_string(&j, "id", n.id);
		node_info_json_twin(&j, &n);
		json_object_end(&j);
		json_finish(&j);
	} else {
		printf("%s - %s\n", n.id, n.description);
		print_twin(&n);
	}
	return strcmp(n.twin_state, "armed") == 0 ? 0 : EXIT_NOT_ACTIVE;
}

static int twin_do(struct context *c, const char *node, const char *method, const char *done)
{
	_cleanup_free_ char *id = node_id(node);

	int r = client_call(c, method, id, NULL, NULL);
	if (r)
		return r;
	if (c->json) {
		struct json j = json_to(stdout);
		json_object_begin(&j, NULL);
		json_string(&j, "id", id);
		json_string(&j, "done", done);
		json_object_end(&j);
		json_finish(&j);
	} else if (!c->quiet)
		printf("%s: %s\n", id, done);
	return 0;
}

int verb_twin(struct context *c, int argc _unused_, char **argv)
{
	if (strcmp(argv[1], "status") == 0)
		return twin_status(c, argv[2]);
	if (strcmp(argv[1], "checkpoint") == 0)
		return twin_do(c, argv[2], "CheckpointNode", "checkpoint");
	if (strcmp(argv[1], "drop") == 0)
		return twin_do(c, argv[2], "DropTwin", "drop");
	complain("twin: '%s' is none of status, checkpoint, drop", argv[1]);
	return EXIT_FAILURE;
}
