/* SPDX-License-Identifier: Apache-2.0 */
/* The victims once more, each in a pid namespace of its own ([Twin] Identity=namespace). */
#define VICTIM_IDENTITY TWIN_NAMESPACE
#include "tests/unit/test_victims.c"
