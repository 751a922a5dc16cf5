# SPDX-License-Identifier: BSD-2-Clause
# Thin: Meson builds, the scripts in tools/ do the rest.
#
#   make            build             make demo    two VMs, the RDMA programs, a table
#   make check      every test        make bench   measurements at native speed
#   make install    install           make lint    style and static checks
#   make uninstall  undo it           make clean   remove build folders
#   make deb        Debian packages, in build/deb
#
# DEPS=no leaves the system's packages alone. CHECK="--only unit" is passed to tools/check.py.
BUILD ?= build
DEPS ?= yes
CHECK ?=

.PHONY: all programs deps demo check bench lint install uninstall deb clean

all: $(BUILD)/build.ninja
	ninja -C $(BUILD)

# The two programs alone, a fifth of all that there is to compile.
programs: $(BUILD)/build.ninja
	ninja -C $(BUILD) programs

$(BUILD)/build.ninja: | deps
	meson setup $(BUILD)

ifeq ($(DEPS),no)
deps:
else
deps:
	@tools/deps.sh --rebuild $(BUILD) build $(if $(filter demo check,$(MAKECMDGOALS)),vm) \
		$(if $(filter check lint,$(MAKECMDGOALS)),check) $(filter bench,$(MAKECMDGOALS)) \
		$(if $(filter deb,$(MAKECMDGOALS)),package)
endif

demo: programs
	@tools/demo.py --build $(BUILD)

check: all
	@tools/check.py --build $(BUILD) $(CHECK)

bench: all
	@mkdir -p $(BUILD)/bench
	@$(BUILD)/bench/vrdma --output $(BUILD)/bench/vrdma.json
	@bench/rma/run.py --build $(BUILD)

lint: all
	@tools/lint.sh $(BUILD)

install: all
	meson install -C $(BUILD)

uninstall:
	ninja -C $(BUILD) uninstall

deb: deps
	@tools/deb.sh $(BUILD)

clean:
	rm -rf $(BUILD) $(BUILD)-*
