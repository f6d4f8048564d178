/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes at all: a unit, or an error that says why, and never a crash. Same bytes each run. */
#include "tests/unit/test_config.h"

#include "config/env.h"

static const char sample[] =
	"# A unit with everything in it\n"
	"[Unit]\nDescription=The %i ; at 100% speed\nAfter=a b \\\n  # comment\n  \"c\"\n"
	"Requires=d\nStartLimitIntervalSec=1min 30s\nStartLimitBurst=3\n\n"
	"[Service]\nType=notify\nExecStartPre=-/bin/mkdir -p \"/run/my node\"\n"
	"ExecStart=/opt/ros/talker '__name:=%i' ; a\\x41\\u00e4 \\\n    --rate=\"1 0\"\n"
	"Environment=A=1 \"B=two words\" "
	"C=%n\nEnvironmentFile=-/nonexistent\nUser=ros\nGroup=1000\n"
	"WorkingDirectory=/\nRestart=on-failure\nRestartSec=250ms\nTimeoutStartSec=1.5min\n"
	"WatchdogSec=infinity\nKillSignal=SIGRTMIN+3\nStandardOutput=append:/var/log/%N.log\n"
	"Nice=-5\nCPUAffinity=0-1,3\nLimitNOFILE=1024:infinity\nLimitCORE=64M\n"
	"OOMScoreAdjust=-900\n[Install]\nWantedBy=default.target\n"
	"[Twin]\nEnabled=yes\nGuardChildren=yes\nInterval=100ms\nGenerations=2\nQuietWindow="
	"5ms\nTakeover="
	"reclaim\nChildren=refuse\n";

/* xorshift: the same numbers on every machine. */
static uint32_t next_random(uint32_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 17;
	*seed ^= *seed << 5;
	return *seed;
}

/* Loads from a block of exactly that size, so that a sanitizer sees one byte too many. */
static void try_bytes(const char *text, size_t len)
{
	_cleanup_free_ char *copy = malloc(len ? len : 1);
	struct loaded l;

	memcpy(copy, text, len);
	l = load_bytes(copy, len);
	for (size_t i = 0; i < l.diags.n; i++) {
		_cleanup_free_ char *s = diag_format(&l.diags.items[i]);

		assert_non_null(s);
		assert_in_range(l.diags.items[i].line, 0, len + 1);
	}
	if (l.unit) {
		assert_non_null(l.unit->exec_start.argv);
		assert_int_equal(l.unit->exec_start.argv[0][0], '/');
	}
	done(&l);
}

static void the_sample_is_good(void **state _unused_)
{
	struct loaded l = load_clean(sample);

	done(&l);
}

static void every_truncation(void **state _unused_)
{
	for (size_t n = 0; n < sizeof(sample); n++)
		try_bytes(sample, n);
}

static void random_bytes_in_a_unit(void **state _unused_)
{
	static const char special[] = "\0\n\r\t \\\"'%=[];#:-\xff\xc3";
	uint32_t seed = 20240229;

	for (int run = 0; run < 20000; run++) {
		char text[sizeof(sample)];
		size_t len = sizeof(sample) - 1;

		memcpy(text, sample, sizeof(sample));
		for (uint32_t k = next_random(&seed) % 8 + 1; k > 0; k--) {
			uint32_t r = next_random(&seed);
			size_t at = next_random(&seed) % len;

			if (r % 4 == 0) { /* lose a byte */
				memmove(text + at, text + at + 1, len - at - 1);
				len--;
			} else if (r % 4 == 1) {
				text[at] = (char)(r >> 8);
			} else { /* what has a meaning finds more than what has none */
				text[at] = special[(r >> 8) % (sizeof(special) - 1)];
			}
		}
		try_bytes(text, len);
	}
}

static void random_bytes_alone(void **state _unused_)
{
	uint32_t seed = 4711;

	for (int run = 0; run < 2000; run++) {
		char text[300];
		size_t len = next_random(&seed) % sizeof(text);

		for (size_t i = 0; i < len; i++)
			text[i] = (char)next_random(&seed);
		try_bytes(text, len);
	}
}

static void random_environment_files(void **state _unused_)
{
	static const char letters[] = "AB=='\"\"\\\\\n\n# ;\t$1\r";
	uint32_t seed = 1701;

	for (int run = 0; run < 20000; run++) {
		size_t len = next_random(&seed) % 40;
		_cleanup_free_ char *text = malloc(len + 1);
		struct strv env;

		for (size_t i = 0; i < len; i++)
			text[i] = letters[next_random(&seed) % (sizeof(letters) - 1)];
		text[len] = 0;
		assert_int_equal(strv_init(&env), 0);
		assert_int_equal(env_parse(text, len, &env, NULL, NULL), 0);
		for (size_t i = 0; i < env.n; i++)
			assert_non_null(strchr(env.items[i], '='));
		strv_clear(&env);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_sample_is_good),
		cmocka_unit_test(every_truncation),
		cmocka_unit_test(random_bytes_in_a_unit),
		cmocka_unit_test(random_bytes_alone),
		cmocka_unit_test(random_environment_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
