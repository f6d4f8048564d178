/* SPDX-License-Identifier: Apache-2.0 */
/* Units from their folders into nodes: manager_load_units(). */
#include <dirent.h>
#include <errno.h>
#include <string.h>

#include "supervisor/base/log.h"
#include "supervisor/manager.h"
#include "supervisor/order.h"

static const char suffix[] = ".ini";

/* The id in a file's name, or false: not a unit. Hidden and back-up files are none. */
static bool unit_id(const char *file, char id[NODE_ID_MAX])
{
	size_t len = strlen(file), keep;

	if (file[0] == '.' || len < sizeof(suffix))
		return false;
	keep = len - (sizeof(suffix) - 1);
	if (strcmp(file + keep, suffix) != 0)
		return false;
	if (keep >= NODE_ID_MAX) {
		log_error("%s: an id has at most %d characters, ignored", file, NODE_ID_MAX - 1);
		return false;
	}
	memcpy(id, file, keep);
	id[keep] = '\0';
	return true;
}

/* Each finding on a line of its own, in the log and, errors only, in n->load_error. */
static void take_diags(struct node *n, const struct diag_list *diags)
{
	for (size_t i = 0; i < diags->n; i++) {
		const struct diag *d = &diags->items[i];
		_cleanup_free_ char *line = diag_format(d);
		char *joined;

		log_node(d->level == DIAG_ERROR ? LOG_ERR : LOG_WARNING, n->id, "%s",
			line ? line : "out of memory");
		if (d->level != DIAG_ERROR || !line)
			continue;
		if (asprintf(&joined, "%s%s%s", n->load_error ? n->load_error : "",
			    n->load_error ? "\n" : "", line) < 0)
			continue;
		free(n->load_error);
		n->load_error = joined;
	}
}

static int load_unit(struct manager *m, const char *id, const char *path)
{
	struct diag_list diags = DIAG_LIST_INIT;
	struct node *n = node_new(m, id, path);
	int r;

	if (!n)
		return -ENOMEM;
	r = unit_load(path, &n->unit, &diags);
	take_diags(n, &diags);
	diag_list_clear(&diags);
	if (r == 0)
		n->load_state = "loaded";
	else if (!n->load_error)
		n->load_error = strdup(strerror(-r));
	r = manager_insert_node(m, n);
	if (r == -ENOSPC)
		log_error("more than %d units", MANAGER_NODES_MAX);
	if (r < 0)
		node_free(n);
	return r;
}

static int load_folder(struct manager *m, const char *folder)
{
	DIR *d = opendir(folder);
	struct dirent *e;
	int r = 0;

	if (!d) {
		/* A folder of the default path need not be there. */
		log_node(errno == ENOENT ? LOG_NOTICE : LOG_ERR, NULL, "unit path %s: %m", folder);
		return 0;
	}
	while (r >= 0 && (e = readdir(d))) {
		_cleanup_free_ char *path = NULL;
		char id[NODE_ID_MAX];

		if (!unit_id(e->d_name, id))
			continue;
		if (manager_find_node(m, id)) {
			log_node(LOG_DEBUG, id, "%s/%s is hidden by an earlier one", folder,
				e->d_name);
			continue;
		}
		if (asprintf(&path, "%s/%s", folder, e->d_name) < 0) {
			path = NULL;
			r = -ENOMEM;
		} else
			r = load_unit(m, id, path);
	}
	closedir(d);
	return r;
}

int manager_load_units(struct manager *m)
{
	int r, k;

	for (char **folder = m->unit_path; folder && *folder; folder++) {
		r = load_folder(m, *folder);
		if (r < 0) {
			log_error("loading units from %s: %s", *folder, strerror(-r));
			/* With what there is, rather than with nothing. */
			k = order_resolve(m);
			return k < 0 ? k : r;
		}
	}
	return order_resolve(m);
}
