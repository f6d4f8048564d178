# SPDX-License-Identifier: Apache-2.0
# Included by the Makefile. PACKAGES=no: install nothing, all is there.
#   make demo SEED=42 DEMO_FLAGS="--crashes=3"
SEED ?=
DEMO_FLAGS ?=
PACKAGES ?= yes
DEMO_NODES := $(B)/tests/ros/lidar_source $(B)/tests/ros/scan_sink

.PHONY: packages demo-packages check-packages lint-packages demo
# $(call install-packages,SETS)
install-packages = $(if $(filter yes,$(PACKAGES)),tools/install-packages.sh $(1),@:)

packages:
	$(call install-packages,build)
demo-packages:
	$(call install-packages,demo)
check-packages:
	$(call install-packages,check)
lint-packages:
	$(call install-packages,lint)

# A second make, because the first was started before the packages were there.
demo: demo-packages
	+$(MAKE) --no-print-directory MODE=$(MODE) all $(DEMO_NODES)
	tools/demo/demo --build=$(B) $(if $(SEED),--seed=$(SEED)) $(DEMO_FLAGS)
