/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/keeper/policy.h"

#include <assert.h>

bool policy_is_clean_signal(int sig)
{
	return sig == SIGHUP || sig == SIGINT || sig == SIGTERM || sig == SIGPIPE;
}

enum node_result policy_result_of_signal(int sig, bool core)
{
	/* systemd calls only a death without a core clean; none of the four dumps one. */
	if (core)
		return RESULT_CORE_DUMP;
	return policy_is_clean_signal(sig) ? RESULT_SUCCESS : RESULT_SIGNAL;
}

enum node_result policy_result_of_end(const struct wait_event *e)
{
	switch (e->kind) {
	case WAIT_EXITED:
		return e->exit_status == 0 ? RESULT_SUCCESS : RESULT_EXIT_CODE;
	case WAIT_KILLED:
		return policy_result_of_signal(e->signal, false);
	case WAIT_CORE_DUMP:
		return RESULT_CORE_DUMP;
	default:
		return RESULT_PROTOCOL;
	}
}

bool policy_wants_restart(enum unit_restart restart, enum node_result result)
{
	/* The start limit exists to end restarts; nothing may start them again behind it. */
	if (result == RESULT_START_LIMIT_HIT)
		return false;
	switch (restart) {
	case RESTART_NO:
		return false;
	case RESTART_ALWAYS:
		return true;
	case RESTART_ON_SUCCESS:
		return result == RESULT_SUCCESS;
	case RESTART_ON_FAILURE:
		return result != RESULT_SUCCESS;
	case RESTART_ON_ABNORMAL:
		return result != RESULT_SUCCESS && result != RESULT_EXIT_CODE;
	case RESTART_ON_ABORT:
		return result == RESULT_SIGNAL || result == RESULT_CORE_DUMP;
	case RESTART_ON_WATCHDOG:
		return result == RESULT_WATCHDOG;
	case _RESTART_MAX:
		break;
	}
	return false;
}
static_assert(_RESTART_MAX == 7, "policy_wants_restart() has a line for each Restart= word");

bool start_limit_allows(struct start_limit *l, usec_t interval, unsigned burst, usec_t now)
{
	if (interval == 0 || burst == 0)
		return true;
	if (l->n == 0 || now - l->begin >= interval) {
		l->begin = now;
		l->n = 0;
	}
	if (l->n >= burst)
		return false;
	l->n++;
	return true;
}

int ladder_failure(struct ladder *l, unsigned count, usec_t notice, usec_t now)
{
	usec_t ran = now - l->last_swap;
	bool quick = l->last_swap && (ran <= LADDER_QUICK || ran - LADDER_QUICK <= notice);

	l->quick = quick ? l->quick + 1 : 0;
	if (l->quick >= LADDER_TRIES || count == 0)
		return -1;
	return (int)MIN2(l->quick, count - 1);
}

void ladder_swapped(struct ladder *l, usec_t now)
{
	l->last_swap = now;
}
