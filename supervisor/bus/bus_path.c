/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "supervisor/bus/bus_internal.h"

int bus_node_path(const char *id, char **ret)
{
	return sd_bus_path_encode(BUS_NODE_PREFIX, id, ret);
}

int bus_job_path(uint32_t id, char **ret)
{
	return asprintf(ret, BUS_JOB_PREFIX "/%u", id) < 0 ? -ENOMEM : 0;
}

int bus_find_node(sd_bus *sd _unused_, const char *path, const char *interface _unused_,
	void *userdata, void **ret_found, sd_bus_error *error _unused_)
{
	struct bus *b = userdata;
	_cleanup_free_ char *id = NULL, *own = NULL;

	int r = sd_bus_path_decode(path, BUS_NODE_PREFIX, &id);
	if (r <= 0)
		return r;
	struct node *n = manager_find_node(b->manager, id);
	if (!n)
		return 0;
	/* "_61" decodes to "a" as well; but signals come from one path, so there is but one. */
	r = bus_node_path(id, &own);
	if (r < 0 || strcmp(own, path) != 0)
		return MIN2(r, 0);
	*ret_found = n;
	return 1;
}

int bus_find_job(sd_bus *sd _unused_, const char *path, const char *interface _unused_,
	void *userdata, void **ret_found, sd_bus_error *error _unused_)
{
	struct bus *b = userdata;

	for (struct job *j = b->manager->jobs; j; j = j->next) {
		char own[sizeof(BUS_JOB_PREFIX) + 16];
		snprintf(own, sizeof(own), BUS_JOB_PREFIX "/%u", j->id);
		if (strcmp(path, own) == 0) {
			*ret_found = j;
			return 1;
		}
	}
	return 0;
}

int bus_enumerate_nodes(sd_bus *sd _unused_, const char *prefix _unused_, void *userdata,
	char ***ret_paths, sd_bus_error *error _unused_)
{
	struct bus *b = userdata;
	size_t n = 0, i = 0;

	for (const struct node *p = b->manager->nodes; p; p = p->next)
		n++;
	char **paths = calloc(n + 1, sizeof(*paths));
	if (!paths)
		return -ENOMEM;
	for (const struct node *p = b->manager->nodes; p; p = p->next) {
		int r = bus_node_path(p->id, &paths[i++]);
		if (r < 0) {
			paths[i - 1] = NULL;
			strv_free(paths);
			return r;
		}
	}
	*ret_paths = paths;
	return 0;
}

int bus_enumerate_jobs(sd_bus *sd _unused_, const char *prefix _unused_, void *userdata,
	char ***ret_paths, sd_bus_error *error _unused_)
{
	struct bus *b = userdata;
	size_t n = 0, i = 0;

	for (const struct job *j = b->manager->jobs; j; j = j->next)
		n++;
	char **paths = calloc(n + 1, sizeof(*paths));
	if (!paths)
		return -ENOMEM;
	for (const struct job *j = b->manager->jobs; j; j = j->next) {
		int r = bus_job_path(j->id, &paths[i++]);
		if (r < 0) {
			paths[i - 1] = NULL;
			strv_free(paths);
			return r;
		}
	}
	*ret_paths = paths;
	return 0;
}
