/* SPDX-License-Identifier: Apache-2.0 */
/* org.twinit1.Twin; org.twinit1.xml says what each member is for. */
#include "supervisor/bus/bus_internal.h"
#include "supervisor/bus/bus_property.h"

/* clang-format off */
#define TWIN_PROPERTIES(X)                                                                         \
	X(Enabled, BOOL, CONST, u->twin.enabled)                                                   \
	X(IntervalUSec, U64, CONST, u->twin.interval)                                              \
	X(Generations, U32, CONST, u->twin.generations)                                            \
	X(State, TEXT, EMITS, twin_state_to_string(n->twin.state))                                 \
	X(CheckpointTimestamp, U64, TICKS, n->checkpoint_realtime)                                 \
	X(CheckpointTimestampMonotonic, U64, TICKS, n->twin.checkpoint_at)                         \
	X(FreezeLastUSec, U64, TICKS, n->twin.freeze_last)                                         \
	X(FreezeMedianUSec, U64, TICKS, n->twin.freeze_median)                                     \
	X(FreezeMaxUSec, U64, TICKS, n->twin.freeze_max)                                           \
	X(MemoryPrivate, U64, TICKS, n->twin.memory_private)                                       \
	X(NThreads, U32, TICKS, n->twin.n_threads)                                                 \
	X(NThreadsEnded, U32, TICKS, n->twin.n_threads_ended)                                      \
	X(NCheckpoints, U32, TICKS, n->twin.n_checkpoints)                                         \
	X(NSkipped, U32, TICKS, n->twin.n_skipped)                                                 \
	X(SkipReason, TEXT, TICKS, n->twin.skip_reason)                                            \
	X(ExcludedMemory, TEXT, TICKS, n->twin.excluded)                                           \
	X(NFailovers, U32, EMITS, n->n_failovers)                                                  \
	X(NChildrenGuarded, U32, EMITS, n->twin.n_children)                                        \
	X(NChildFailovers, U32, EMITS, n->twin.n_child_failovers)                                  \
	X(LastFailoverTimestamp, U64, EMITS, n->last_failover_realtime)                            \
	X(LastFailoverTimestampMonotonic, U64, EMITS, n->last_failover.at)                         \
	X(LastFailoverCause, TEXT, EMITS,                                                          \
		last(n) ? node_result_to_string(last(n)->cause) : "")                              \
	X(LastFailoverResult, TEXT, EMITS, last(n) ? bus_failover_result(last(n)) : "")            \
	X(LastFailoverLatencyUSec, U64, EMITS, n->last_failover.latency / NSEC_PER_USEC)           \
	X(LastFailoverRollbackUSec, U64, EMITS, n->last_failover.rollback)                         \
	X(LastFailoverGeneration, U32, EMITS, n->last_failover.generation)                         \
	X(LastFailoverDetail, TEXT, EMITS, n->last_failover.detail)                                \
	X(LastFailoverWay, TEXT, EMITS, n->last_failover.way)                                      \
	X(LastFailoverFault, TEXT, EMITS, n->last_failover.fault)
/* clang-format on */

static int get_pids(PROPERTY_GETTER_ARGS);

/* NULL before the first failover. */
static const struct keeper_failover_report *last(const struct node *n)
{
	return n->last_failover.at > 0 ? &n->last_failover : NULL;
}

TWIN_PROPERTIES(PROPERTY_GETTER)

const sd_bus_vtable bus_twin_vtable[] = {
	SD_BUS_VTABLE_START(0),
	TWIN_PROPERTIES(PROPERTY_ENTRY) SD_BUS_PROPERTY("PIDs", "au", get_pids, 0, PROPERTY_TICKS),
	SD_BUS_VTABLE_END,
};

static int get_pids(PROPERTY_GETTER_ARGS)
{
	const struct node *n = userdata;
	unsigned count = MIN2(n->twin.n_generations, (unsigned)KEEPER_GENERATIONS_MAX);

	int r = sd_bus_message_open_container(reply, 'a', "u");
	for (unsigned i = 0; r >= 0 && i < count; i++)
		r = sd_bus_message_append(reply, "u", (uint32_t)n->twin.pids[i]);
	return r < 0 ? r : sd_bus_message_close_container(reply);
}
