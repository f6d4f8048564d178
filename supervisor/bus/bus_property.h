/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Properties as a table: an interface lists X(Name, type, flags, expression) once, and both the
 * getters and the vtable's entries follow from it. In an expression n is the node (of the job:
 * j the job) and u its unit; where the unit did not load, u is all zero. Include bus_internal.h
 * first.
 */
#include <systemd/sd-bus.h>

#include "supervisor/node.h"

#define PROPERTY_CONST SD_BUS_VTABLE_PROPERTY_CONST
#define PROPERTY_EMITS SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE
#define PROPERTY_TICKS 0

#define PROPERTY_TYPE_TEXT "s"
#define PROPERTY_TYPE_BOOL "b"
#define PROPERTY_TYPE_I32 "i"
#define PROPERTY_TYPE_U32 "u"
#define PROPERTY_TYPE_U64 "t"
#define PROPERTY_CAST_TEXT(x) bus_text(x)
#define PROPERTY_CAST_BOOL(x) ((int)(x))
#define PROPERTY_CAST_I32(x) ((int32_t)(x))
#define PROPERTY_CAST_U32(x) ((uint32_t)(x))
#define PROPERTY_CAST_U64(x) ((uint64_t)(x))

#define PROPERTY_GETTER_ARGS                                                                       \
	sd_bus *sd _unused_, const char *path _unused_, const char *interface _unused_,            \
		const char *property _unused_, sd_bus_message *reply, void *userdata,              \
		sd_bus_error *error _unused_

#define PROPERTY_GETTER(name, type, flags, expression)                                             \
	static int get_##name(PROPERTY_GETTER_ARGS)                                                \
	{                                                                                          \
		static const struct unit no_unit = {0};                                            \
		const struct node *n = userdata;                                                   \
		const struct unit *u _unused_ = n->unit ? n->unit : &no_unit;                      \
		return sd_bus_message_append(                                                      \
			reply, PROPERTY_TYPE_##type, PROPERTY_CAST_##type(expression));            \
	}
#define PROPERTY_ENTRY(name, type, flags, expression)                                              \
	SD_BUS_PROPERTY(#name, PROPERTY_TYPE_##type, get_##name, 0, PROPERTY_##flags),
