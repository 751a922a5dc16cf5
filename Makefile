# SPDX-License-Identifier: BSD-2-Clause
# Thin: Meson builds, the scripts in tools/ do the rest.
BUILD ?= build

.PHONY: all deps demo check bench lint install clean

all: $(BUILD)/build.ninja
	ninja -C $(BUILD)

$(BUILD)/build.ninja: | deps
	meson setup $(BUILD)

deps:
	@tools/deps.sh build $(filter demo check,$(MAKECMDGOALS))

demo: all
	@tools/demo.py --build $(BUILD)

check: all
	@tools/check.py --build $(BUILD)

bench: all
	@mkdir -p $(BUILD)/bench
	@$(BUILD)/bench/vrdma --output $(BUILD)/bench/vrdma.json

lint: all
	@tools/lint.sh $(BUILD)

install: all
	meson install -C $(BUILD)

clean:
	rm -rf $(BUILD) $(BUILD)-*
