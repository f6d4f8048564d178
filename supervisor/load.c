/* SPDX-License-Identifier: Apache-2.0 */
/* Units from their folders into nodes: manager_load_units(). */
#include <dirent.h>
#include <errno.h>
#include <string.h>

#include "config/strv.h"
#include "supervisor/base/log.h"
#include "supervisor/manager.h"
#include "supervisor/order.h"

static const char suffix[] = ".ini";

/* A file that is wrong in every line must not fill the log, nor an answer on the bus. */
#define DIAGS_TOLD_MAX 20u

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
		_cleanup_free_ char *line = NULL;
		char *joined;

		if (i == DIAGS_TOLD_MAX) {
			log_node(LOG_WARNING, n->id, "%zu more; see twinctl verify", diags->n - i);
			return;
		}
		line = diag_format(d);

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

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
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

/* The names of all units in the folder, in order: which ones are left out where there are too
 * many should not hang on the file system. */
static int list_folder(DIR *d, struct strv *names)
{
	struct dirent *e;
	int r = strv_init(names);

	while (r == 0 && (errno = 0, e = readdir(d))) {
		char id[NODE_ID_MAX];

		if (unit_id(e->d_name, id))
			r = strv_copy(names, e->d_name);
	}
	if (r == 0 && errno != 0)
		r = -errno;
	if (r == 0)
		qsort(names->items, names->n, sizeof(*names->items), compare_names);
	return r;
}

static int load_file(struct manager *m, const char *folder, const char *name)
{
	_cleanup_free_ char *path = NULL;
	char id[NODE_ID_MAX];

	if (!unit_id(name, id))
		return 0;
	if (manager_find_node(m, id)) {
		log_node(LOG_DEBUG, id, "%s/%s is hidden by an earlier one", folder, name);
		return 0;
	}
	if (asprintf(&path, "%s/%s", folder, name) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	return load_unit(m, id, path);
}

/* 1: loaded; 0: there is no such folder. */
static int load_folder(struct manager *m, const char *folder)
{
	DIR *d = opendir(folder);
	struct strv names;
	int r;

	if (!d) {
		r = -errno;
		/* One folder of the default path need not be there. */
		log_node(r == -ENOENT ? LOG_NOTICE : LOG_ERR, NULL, "unit path %s: %s", folder,
			strerror(-r));
		if (r == -ENOENT)
			return 0;
		m->start_incomplete = true;
		return 1;
	}
	r = list_folder(d, &names);
	closedir(d);
	for (size_t i = 0; r == 0 && i < names.n; i++)
		r = load_file(m, folder, names.items[i]);
	strv_clear(&names);
	return r < 0 ? r : 1;
}

int manager_load_units(struct manager *m)
{
	int r = 0, k, n_folders = 0;

	for (char **folder = m->unit_path; r >= 0 && folder && *folder; folder++) {
		r = load_folder(m, *folder);
		if (r < 0)
			log_error("loading units from %s: %s", *folder, strerror(-r));
		else
			n_folders += r;
	}
	if (r >= 0 && n_folders == 0) {
		log_error("there is no folder of units, and so nothing to start");
		r = -ENOENT;
	}
	/* With what there is, rather than with nothing. */
	k = order_resolve(m);
	return k < 0 ? k : MIN2(r, 0);
}
