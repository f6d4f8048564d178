# SPDX-License-Identifier: Apache-2.0
# twinit. MODE=release|debug|asan|ubsan|coverage, each with its own folder under build/.
MODE ?= release
PREFIX ?= /usr
SBINDIR ?= $(if $(filter /usr,$(PREFIX)),/sbin,$(PREFIX)/sbin)
LIBEXECDIR ?= $(PREFIX)/lib/twinit
SYSCONFDIR ?= $(if $(filter /usr,$(PREFIX)),/etc,$(PREFIX)/etc)
DESTDIR ?=
VERSION := 0.1.0
B := build/$(MODE)

.PHONY: all check lint bench install clean
.DEFAULT_GOAL := all

CC ?= cc
CXX ?= c++
PKG_CONFIG ?= pkg-config
PKGS := libsystemd inih
CPPFLAGS += -I. -D_GNU_SOURCE -DTWINIT_VERSION='"$(VERSION)"' -DTWINIT_LIBEXECDIR='"$(LIBEXECDIR)"' \
	-DTWINIT_SYSCONFDIR='"$(SYSCONFDIR)"'
WARNINGS := -Wall -Wextra -Wshadow -Werror
CWARNINGS := -Wstrict-prototypes -Wmissing-prototypes
# libev's macros type-pun: see its manual on strict aliasing.
CFLAGS_BASE := -std=gnu11 -fno-strict-aliasing -fno-common $(WARNINGS) $(CWARNINGS) -g
CFLAGS_release := -O2 -fstack-protector-strong
CFLAGS_debug := -O0
CFLAGS_asan := -O1 -fsanitize=address -fno-omit-frame-pointer
CFLAGS_ubsan := -O1 -fsanitize=undefined -fno-sanitize-recover=all
CFLAGS_coverage := -O0 --coverage
LDFLAGS_asan := -fsanitize=address
LDFLAGS_ubsan := -fsanitize=undefined
LDFLAGS_coverage := --coverage
include tools/demo/demo.mk

ifeq ($(origin CFLAGS_$(MODE)),undefined)
$(error MODE=$(MODE) is not one of release, debug, asan, ubsan, coverage)
endif
ALL_CFLAGS = $(CPPFLAGS) $(CFLAGS_BASE) $(CFLAGS_$(MODE)) $(CFLAGS)
ALL_LDFLAGS = $(LDFLAGS_$(MODE)) $(LDFLAGS)
SD_LIBS = -lsystemd
EV_LIBS = -lev -lm
INI_LIBS = -linih
# __cxa_demangle() is libstdc++'s.
DW_LIBS = -ldw -lelf -lstdc++

ARCH := $(shell uname -m)
config_SRC := $(wildcard config/*.c)
base_SRC := $(wildcard supervisor/base/*.c)
twin_SRC := $(wildcard supervisor/twin/*.c supervisor/twin/arch/$(ARCH)/*.c supervisor/twin/arch/$(ARCH)/*.S)
probes_SRC := $(wildcard probes/*.c)
keeper_SRC := $(filter-out supervisor/keeper/main.c supervisor/keeper/protocol.c,$(wildcard supervisor/keeper/*.c))
supervisor_SRC := $(filter-out supervisor/main.c,$(wildcard supervisor/*.c)) $(wildcard supervisor/bus/*.c)
twinctl_SRC := $(wildcard tools/twinctl/*.c)
protocol_SRC := supervisor/keeper/protocol.c
backtrace_SRC := $(filter-out supervisor/backtrace/main.c,$(wildcard supervisor/backtrace/*.c))
prober_SRC := $(filter-out probes/prober/main.c,$(wildcard probes/prober/*.c))

obj = $(patsubst %.S,$(B)/%.o,$(patsubst %.c,$(B)/%.o,$(1)))
lib = $(B)/lib$(1).a
PROGRAMS := $(B)/twinit $(B)/twinit-keeper $(B)/twinit-prober $(B)/twinit-nsinit $(B)/twinit-backtrace $(B)/twinit-child-guard $(B)/twinctl

UNIT_TESTS := $(patsubst tests/unit/%.c,$(B)/tests/unit/%,$(wildcard tests/unit/test_*.c))
VICTIMS := $(patsubst tests/victims/%.c,$(B)/tests/victims/%,$(wildcard tests/victims/*.c)) \
	$(patsubst tests/victims/%.cpp,$(B)/tests/victims/%,$(wildcard tests/victims/*.cpp))
HELPERS := $(patsubst tests/integration/%.c,$(B)/tests/integration/%,$(wildcard tests/integration/*.c))
ROS_NODES := $(patsubst tests/ros/%.cpp,$(B)/tests/ros/%,$(wildcard tests/ros/*.cpp))
# tools/bench/%.c is a program, but for what they share.
BENCH_SHARED := tools/bench/load.c tools/bench/report.c
BENCHES := $(patsubst tools/bench/%.c,$(B)/tools/bench/%,$(filter-out $(BENCH_SHARED) tools/bench/node.c,$(wildcard tools/bench/*.c)))

all: $(PROGRAMS)

# --- libraries: each room is one -------------------------------------------------------------
define library
$(call lib,$(1)): $(call obj,$($(1)_SRC))
	@mkdir -p $$(@D)
	@rm -f $$@
	ar rcs $$@ $$^
ALL_OBJ += $(call obj,$($(1)_SRC))
endef
$(foreach l,config base twin probes prober keeper supervisor protocol backtrace,$(eval $(call library,$(l))))

# Paths and flags are compiled in: another PREFIX or CFLAGS builds anew.
$(B)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(subst ','\'',$(ALL_CFLAGS))' | cmp -s - $@ || echo '$(subst ','\'',$(ALL_CFLAGS))' >$@
FORCE:

$(B)/%.o: %.c Makefile $(B)/flags
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<
$(B)/%.o: %.S Makefile $(B)/flags
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -g -MMD -MP -c -o $@ $<

# The engine once more, with a fault point at each call that can fail: for tests alone.
faults_OBJ := $(patsubst $(B)/%,$(B)/faults/%,$(call obj,$(twin_SRC)))
$(B)/faults/%.o: %.c Makefile $(B)/flags
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -fno-inline -fno-optimize-sibling-calls -DTWIN_FAULT_POINTS \
		-include supervisor/twin/fault_point.h -MMD -MP -c -o $@ $<
$(B)/faults/%.o: %.S Makefile $(B)/flags
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -g -MMD -MP -c -o $@ $<
$(call lib,twin-faults): $(faults_OBJ)
	@rm -f $@
	ar rcs $@ $^

$(B)/twinit: $(B)/supervisor/main.o $(foreach l,supervisor protocol config base,$(call lib,$(l)))
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(SD_LIBS) $(EV_LIBS) $(INI_LIBS)
$(B)/twinit-keeper: $(B)/supervisor/keeper/main.o $(foreach l,keeper probes twin protocol config base,$(call lib,$(l)))
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(EV_LIBS) $(INI_LIBS)
$(B)/twinit-child-guard: $(B)/supervisor/child_guard/main.o $(foreach l,keeper probes twin protocol config base,$(call lib,$(l)))
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(EV_LIBS) $(INI_LIBS)
# Its commands are spawned as the keeper spawns those of the unit.
$(B)/twinit-prober: $(B)/probes/prober/main.o $(foreach l,prober keeper probes twin protocol config base,$(call lib,$(l)))
	$(CC) $(ALL_LDFLAGS) -o $@ $^ -lcurl -lexpat $(SD_LIBS) $(EV_LIBS) $(INI_LIBS)
# One is executed for each twin in a namespace, so it is small and has nothing to be linked then.
$(B)/twinit-nsinit: supervisor/namespace_init/main.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS_BASE) -O2 -static -MMD -MP -o $@ $<
$(B)/twinit-backtrace: $(B)/supervisor/backtrace/main.o $(foreach l,backtrace twin base config,$(call lib,$(l)))
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(DW_LIBS)
$(B)/twinctl: $(call obj,$(twinctl_SRC)) $(foreach l,config,$(call lib,$(l)))
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(SD_LIBS) $(INI_LIBS)

# --- tests -----------------------------------------------------------------------------------
TEST_LIBS := $(foreach l,backtrace supervisor prober keeper probes twin protocol config base,$(call lib,$(l)))
$(B)/tests/unit/%: $(B)/tests/unit/%.o $(TEST_LIBS)
	$(CC) $(ALL_LDFLAGS) -o $@ $< $(TEST_LIBS) -lcmocka -lcurl -lexpat $(DW_LIBS) $(SD_LIBS) $(EV_LIBS) $(INI_LIBS)
$(B)/tests/unit/test_engine_point%: $(B)/tests/unit/test_engine_point%.o $(foreach l,twin-faults base config,$(call lib,$(l)))
	$(CC) $(ALL_LDFLAGS) -o $@ $^ -lcmocka
# Victims and helpers are the supervised: plain programs that know nothing of twinit.
$(B)/tests/victims/%: tests/victims/%.c Makefile
	@mkdir -p $(@D)
	$(CC) -I. -D_GNU_SOURCE -std=gnu11 -O2 -g $(WARNINGS) -pthread -MMD -MP -o $@ $< $(LDFLAGS_$(notdir $*)) -lm -lrt
$(B)/tests/victims/%: tests/victims/%.cpp Makefile
	@mkdir -p $(@D)
	$(CXX) -I. -D_GNU_SOURCE -O2 -g $(WARNINGS) -pthread -MMD -MP -o $@ $< -lrt
$(B)/tests/integration/%: tests/integration/%.c Makefile
	@mkdir -p $(@D)
	$(CC) -I. -D_GNU_SOURCE -std=gnu11 -O2 -g $(WARNINGS) -pthread -MMD -MP -o $@ $< $(LDFLAGS_$(notdir $*))
$(B)/tests/ros/%: tests/ros/%.cpp Makefile
	@mkdir -p $(@D)
	$(CXX) -O2 -g -Wall -Wextra -MMD -MP -o $@ $< $$($(PKG_CONFIG) --cflags --libs roscpp sensor_msgs)
$(B)/tools/bench/node: tools/bench/node.c Makefile
	@mkdir -p $(@D)
	$(CC) -D_GNU_SOURCE -std=gnu11 -O2 -g $(WARNINGS) -pthread -MMD -MP -o $@ $<
$(B)/tools/bench/%: $(B)/tools/bench/%.o $(call obj,$(BENCH_SHARED)) $(foreach l,twin protocol base config,$(call lib,$(l)))
	$(CC) $(ALL_LDFLAGS) -pthread -o $@ $^
.PRECIOUS: $(B)/tests/unit/%.o $(B)/tools/bench/%.o

LDFLAGS_static_node := -static
LDFLAGS_marker := -lsystemd

# Programs that we did not write. make check has those that are small to install, for seconds each;
# make software all of them, for long, and installs what they need.
SOFTWARE := $(sort $(wildcard tests/software/test_*.py))
SOFTWARE_SHORT := $(patsubst %,tests/software/test_%.py,nginx openssl python redis sqlite)
.PHONY: software software-packages software-all
software: software-packages
	+$(MAKE) --no-print-directory MODE=$(MODE) software-all
software-packages:
	$(call install-packages,check software)
software-all: all
	SOFTWARE=full TIMEOUT=3600 TWINIT_BUILD=$(B) tools/run-tests $(SOFTWARE)

# make check: packages, then everything. The parts can be called alone: make unit integration.
INTEGRATION := $(sort $(wildcard tests/integration/*.sh tests/integration/*.py)) tests/ros/graph_test
# Sanitizers cannot follow what is injected into another process, nor a fork at its will.
injected = $(strip $(foreach p,/test_victims /test_engine /test_ids /test_no_allocation,$(findstring $(p),$(1))))
# What takes minutes, or loads the machine on purpose: not part of make check but of soak-victims.
LONG := test_engine_points test_keeper_probes test_keeper_prober
SANITIZED := $(foreach t,$(filter-out $(LONG:%=$(B)/tests/unit/%),$(UNIT_TESTS)),$(if $(call injected,$(t)),,$(t)))
.PHONY: unit sanitized integration test-programs check-all
test-programs: all $(UNIT_TESTS) $(VICTIMS) $(HELPERS) $(ROS_NODES)
unit: all $(UNIT_TESTS) $(VICTIMS) $(HELPERS)
	tools/run-tests $(UNIT_TESTS)
sanitized: all $(SANITIZED) $(HELPERS)
	tools/run-tests $(SANITIZED)
integration: test-programs
	TWINIT_BUILD=$(B) tools/run-tests $(INTEGRATION)
check: check-packages
	+$(MAKE) --no-print-directory MODE=$(MODE) check-all
check-all:
	+$(MAKE) --no-print-directory MODE=asan sanitized
	+$(MAKE) --no-print-directory MODE=ubsan sanitized
	+$(MAKE) --no-print-directory MODE=$(MODE) test-programs
	TWINIT_BUILD=$(B) TIMEOUT=600 VICTIM_ROUNDS=$(or $(VICTIM_ROUNDS),50) \
		VICTIM_SWAPS=$(or $(VICTIM_SWAPS),6) \
		tools/run-tests $(filter-out $(LONG_TESTS),$(UNIT_TESTS)) $(INTEGRATION) $(SOFTWARE_SHORT)

# Each victim frozen 1000 times and swapped 200 times in each way, every fault point of the engine
# taken, and 10,000 random crashes of the stress program: an hour or so.
LONG_TESTS = $(addprefix $(B)/tests/unit/,$(LONG))
.PHONY: soak-victims
soak-victims: check-packages test-programs $(B)/tools/bench/restore
	TIMEOUT=7200 VICTIM_ROUNDS=1000 VICTIM_SWAPS=200 FAULTS_ALL=1 \
		tools/run-tests $(filter %/test_victims %/test_victims_namespace,$(UNIT_TESTS)) $(LONG_TESTS)
	$(B)/tools/bench/restore --crashes=10000

# --- the rest --------------------------------------------------------------------------------
C_FILES := $(shell git ls-files '*.c' '*.h' 2>/dev/null)
SH_FILES := $(shell git ls-files '*.sh' tools/run-tests .ci/run tools/lint 2>/dev/null)
lint: lint-packages
	tools/lint $(C_FILES) -- $(SH_FILES)

# BENCH_FLAGS=--quick for a first look; BENCH_JSON=FOLDER keeps the tables for programs.
bench_json = $(if $(BENCH_JSON),--json $(BENCH_JSON)/$(1).json)
bench: $(BENCHES) $(B)/tools/bench/node $(B)/tests/victims/stress $(B)/tests/integration/marker all
	$(if $(BENCH_JSON),mkdir -p $(BENCH_JSON))
	$(B)/tools/bench/freeze $(BENCH_FLAGS) $(call bench_json,freeze)
	$(B)/tools/bench/swap $(BENCH_FLAGS) $(call bench_json,swap)
	$(B)/tools/bench/swap --way=reclaim $(BENCH_FLAGS) --dirty=0 $(call bench_json,swap-reclaim)
	TWINIT_BUILD=$(B) tools/bench/overhead.py $(BENCH_FLAGS) $(call bench_json,overhead)
	$(B)/tools/bench/restore $(BENCH_FLAGS) $(call bench_json,restore)
	$(B)/tools/bench/detect $(BENCH_FLAGS) $(call bench_json,detect)

# A healthy graph at ten times its load for half an hour: no false alarm is allowed.
FALSE_ALARMS ?= 30min
.PHONY: false-alarms
false-alarms: all $(B)/tools/bench/detect $(B)/tests/integration/marker
	$(B)/tools/bench/detect --false-alarms=$(FALSE_ALARMS)

install: all
	install -d $(DESTDIR)$(SBINDIR) $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(LIBEXECDIR)/units \
		$(DESTDIR)$(SYSCONFDIR)/twinit/units $(DESTDIR)$(PREFIX)/share/dbus-1/system.d \
		$(DESTDIR)$(PREFIX)/share/dbus-1/interfaces
	install -m 755 $(B)/twinit $(DESTDIR)$(SBINDIR)/twinit
	install -m 755 $(B)/twinctl $(DESTDIR)$(PREFIX)/bin/twinctl
	install -m 755 $(B)/twinit-keeper $(B)/twinit-prober $(B)/twinit-nsinit $(B)/twinit-backtrace $(B)/twinit-child-guard $(DESTDIR)$(LIBEXECDIR)/
	install -m 644 supervisor/bus/org.twinit1.conf $(DESTDIR)$(PREFIX)/share/dbus-1/system.d/
	install -m 644 supervisor/bus/org.twinit1.xml $(DESTDIR)$(PREFIX)/share/dbus-1/interfaces/
	install -m 644 $(wildcard units/*.ini) $(DESTDIR)$(LIBEXECDIR)/units/

clean:
	rm -rf build

-include $(shell find build -name '*.d' 2>/dev/null)
