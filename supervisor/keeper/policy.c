/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/keeper/policy.h"

#include <assert.h>
#include <math.h>

bool policy_is_clean_signal(int sig)
{
	return sig == SIGHUP || sig == SIGINT || sig == SIGTERM || sig == SIGPIPE;
}

enum node_result policy_result_of_signal(const struct exit_status_set *more, int sig, bool core)
{
	if (more && exit_status_has_signal(more, sig))
		return RESULT_SUCCESS;
	/* systemd calls only a death without a core clean; none of the four dumps one. */
	if (core)
		return RESULT_CORE_DUMP;
	return policy_is_clean_signal(sig) ? RESULT_SUCCESS : RESULT_SIGNAL;
}

enum node_result policy_result_of_end(
	const struct exit_status_set *more, const struct wait_event *e, bool oom)
{
	switch (e->kind) {
	case WAIT_EXITED:
		if (more && exit_status_has_code(more, e->exit_status))
			return RESULT_SUCCESS;
		return e->exit_status == 0 ? RESULT_SUCCESS : RESULT_EXIT_CODE;
	case WAIT_KILLED:
		if (oom && e->signal == SIGKILL && !(more && exit_status_has_signal(more, SIGKILL)))
			return RESULT_OOM_KILL;
		return policy_result_of_signal(more, e->signal, false);
	case WAIT_CORE_DUMP:
		return policy_result_of_signal(more, e->signal, true);
	default:
		return RESULT_PROTOCOL;
	}
}

usec_t policy_restart_delay(const struct unit *u, unsigned n)
{
	usec_t first = MAX2(u->restart_sec, 1), last = u->restart_max_delay;

	if (u->restart_steps == 0 || last == USEC_INFINITY || last <= first)
		return u->restart_sec;
	if (n >= u->restart_steps)
		return last;
	if (n == 0)
		return u->restart_sec;
	return (usec_t)((double)first *
			pow((double)last / (double)first, (double)n / u->restart_steps));
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

int ladder_failure(struct ladder *l, unsigned count, usec_t within, usec_t now)
{
	bool quick = l->last_swap && now - l->last_swap <= within;

	l->quick = quick ? l->quick + 1 : 0;
	if (l->quick >= LADDER_TRIES || count == 0)
		return -1;
	return (int)MIN2(l->quick, count - 1);
}

void ladder_swapped(struct ladder *l, usec_t now)
{
	l->last_swap = now;
}
