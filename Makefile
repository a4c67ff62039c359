# foliovisor: `make` alone lists what there is.
#
# Sources are found by folder: a new .c or .S file in a room is built without a change here. The
# commands first install what they need (tests/tools/setup.sh), then call make again.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

BUILD    := build
ifeq ($(origin CC),default)
CC       := gcc
endif
PYTHON   := python3 -B
SETUP    := @sh tests/tools/setup.sh
# All processors, unless the caller said -j.
AGAIN     = @$(MAKE) --no-print-directory $(if $(findstring -j,$(MAKEFLAGS)),,-j$(shell nproc))

WARNINGS := -Wall -Wextra -Werror -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes \
	    -Wcast-align -Wcast-qual -Wundef -Wvla -Wimplicit-fallthrough -Wswitch-enum \
	    -Wwrite-strings -Wpointer-arith -Wframe-larger-than=1024
CLANG_WARNINGS := -Wthread-safety -Wthread-safety-beta -Wno-gcc-compat
COMMON   := -std=gnu17 -g -I. $(WARNINGS)

IMAGE_CFLAGS := $(COMMON) -O2 -ffreestanding -mno-red-zone -mgeneral-regs-only -fno-pie -fno-pic \
	    -mcmodel=kernel -fno-omit-frame-pointer -fno-stack-protector -fcf-protection=none \
	    -fno-asynchronous-unwind-tables -fno-strict-aliasing
HOST_CFLAGS  := $(COMMON) -O1 -fno-omit-frame-pointer -fno-strict-aliasing -fno-pie \
	    -fsanitize=address,undefined -fno-sanitize-recover=all

# ---------------------------------------------------------------- commands

.PHONY: help run test check image debug clean
help:
	@echo 'make run     build, choose an engine, boot, run a guest, end with a summary'
	@echo 'make test    everything that is tested (T=name or pattern, V=1 for all TAP lines)'
	@echo 'make check   the part of it that needs no emulator, for every commit'
	@echo 'make bench   what paths cost; build/bench.json (ENGINE= MEM= PAYLOAD=)'
	@echo 'make explore every interleaving of the scenarios (T= BOUND= MODEL= ENGINE=' \
	    'REPLAY= SHARD=i/n)'
	@echo 'make image   build/foliovisor.iso and build/foliovisor.elf'
	@echo 'make debug   as run, stopped at main() with gdb attached'
	@echo 'make mutants each seeded defect and the test that killed it (ALL=1 sampled ones too)'
	@echo 'make fuzz    random inputs to loaders, console, mm, ept (T RUNS SEED SHARD KEEP)'
	@echo 'make tidy    clang-tidy, cppcheck, gcc -fanalyzer, formatting'
	@echo
	@echo 'run and debug take ENGINE FIRMWARE CPUS MEM GUEST INITRD CMDLINE GUEST_MEM VCPUS'
	@echo 'POLICY LOG EXEC GUEST_CONSOLE: see README.md'

# What the variables ask for is judged before anything is built or started.
run:
	$(SETUP) python
	@$(PYTHON) tests/tools/run.py --check
	$(SETUP) build $$($(PYTHON) tests/tools/run.py --needs)
	$(AGAIN) -s $(BUILD)/foliovisor.elf payloads
	@$(PYTHON) tests/tools/run.py

debug:
	$(SETUP) python
	@$(PYTHON) tests/tools/run.py --check --debug
	$(SETUP) build debug $$($(PYTHON) tests/tools/run.py --needs --debug)
	$(AGAIN) -s $(BUILD)/foliovisor.elf payloads
	@$(PYTHON) tests/tools/run.py --debug

image:
	$(SETUP) build
	$(AGAIN) -s $(BUILD)/foliovisor.iso $(BUILD)/foliovisor.elf

check:
	$(SETUP) python check
	$(AGAIN) -s checks
	@echo 'check: all well'

test:
	$(SETUP) python build check fuzz test
	$(AGAIN) -s $(BUILD)/foliovisor.elf $(BUILD)/foliovisor.iso payloads $(UNIT_TESTS) \
		$(BUILD)/explore/explore $(BUILD)/explore/selftest $(FUZZERS) $(BUILD)/bench/step \
		$(BUILD)/bench/work
	@$(PYTHON) tests/tools/test.py

clean:
	rm -rf $(BUILD)

# ---------------------------------------------------------------- the image

IMAGE_SOURCES := $(wildcard boot/*.[cS] vmx/*.[cS] mm/*.c mm/base/*.c ept/*.c guest/machine/*.c \
	    guest/load/*.c tests/tap.c tests/boot/*.[cS] tests/host/soft*.c \
	    tests/host/agree*.c tests/host/oracle*.c \
	    $(filter-out tests/bench/step.c tests/bench/hosted.c,$(wildcard tests/bench/*.c)))
IMAGE_OBJECTS := $(IMAGE_SOURCES:%=$(BUILD)/image/%.o)

$(BUILD)/image/%.o: % Makefile
	@mkdir -p $(@D)
	@$(CC) $(IMAGE_CFLAGS) -MMD -MP -c $< -o $@

# Linked twice: the second link has the table of the functions' addresses, which the first gave.
LINK_IMAGE = $(CC) -nostdlib -static -no-pie \
	    -Wl,-T,linker.ld,--build-id=none,-z,max-page-size=4096,-z,noexecstack -o $@

$(BUILD)/image/unnamed.elf: $(IMAGE_OBJECTS) linker.ld
	@$(LINK_IMAGE) $(IMAGE_OBJECTS) -lgcc
$(BUILD)/image/symbols.S: $(BUILD)/image/unnamed.elf boot/symbols.awk
	@nm -n $< | awk -f boot/symbols.awk >$@
$(BUILD)/image/symbols.o: $(BUILD)/image/symbols.S
	@$(CC) -c $< -o $@
$(BUILD)/foliovisor.elf: $(IMAGE_OBJECTS) $(BUILD)/image/symbols.o linker.ld
	@$(LINK_IMAGE) $(IMAGE_OBJECTS) $(BUILD)/image/symbols.o -lgcc

# One hybrid medium: BIOS and UEFI, CD and USB stick.
$(BUILD)/foliovisor.iso: $(BUILD)/foliovisor.elf boot/grub.cfg
	@rm -rf $(BUILD)/iso
	@mkdir -p $(BUILD)/iso/boot/grub
	@cp $(BUILD)/foliovisor.elf $(BUILD)/iso/boot
	@cp boot/grub.cfg $(BUILD)/iso/boot/grub
	@grub-mkrescue -o $@ --modules=multiboot2 --fonts= --themes= --locales= $(BUILD)/iso \
		>$@.log 2>&1 || { cat $@.log; exit 1; }

# ---------------------------------------------------------------- guest programs

.PHONY: payloads
payloads:
-include guest/payload/rules.mk

# ---------------------------------------------------------------- hosted unit tests (cmocka)

LONG_TESTS   := ept_oracle_live ept_random ept_threads ept_oracle mm_random
UNIT_TESTS   := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(wildcard tests/unit/*.c))
HOSTED       := $(wildcard mm/*.c mm/base/*.c ept/*.c guest/load/*.c tests/host/*.c)
HOST_OBJECTS := $(HOSTED:%=$(BUILD)/host/%.o)

$(BUILD)/host/%.o: % Makefile
	@mkdir -p $(@D)
	@$(CC) $(HOST_CFLAGS) -MMD -MP -c $< -o $@
# The tests' own code: half the time to compile, and better to debug; what they test is as before.
$(BUILD)/host/tests/unit/%.o: HOST_CFLAGS += -Og
$(BUILD)/unit/%: $(BUILD)/host/tests/unit/%.c.o $(HOST_OBJECTS)
	@mkdir -p $(@D)
	@$(CC) -no-pie -fsanitize=address,undefined -o $@ $^ -lcmocka -lpthread
# The long ones run shorter here than in `make test`, which runs all of each: QUICK.
$(BUILD)/unit/%.passed: $(BUILD)/unit/%
	@QUICK=1 timeout 300 $< >$(@:.passed=.log) 2>&1 || { cat $(@:.passed=.log); exit 1; }
	@touch $@
.PRECIOUS: $(BUILD)/host/%.o $(BUILD)/unit/%

# ---------------------------------------------------------------- what has rules of its own

-include tests/explore/rules.mk tests/mutants/rules.mk tests/fuzz/rules.mk tests/bench/rules.mk

# ---------------------------------------------------------------- checks

CLANG_OBJECTS := $(patsubst %,$(BUILD)/clang/image/%.o,$(filter %.c,$(IMAGE_SOURCES))) \
	    $(patsubst %,$(BUILD)/clang/host/%.read,$(HOSTED) tests/bench/step.c \
	    tests/bench/hosted.c $(wildcard tests/unit/*.c))

$(BUILD)/clang/image/%.o: % Makefile
	@mkdir -p $(@D)
	@clang $(IMAGE_CFLAGS) -g0 $(CLANG_WARNINGS) -MMD -MP -c $< -o $@
# Of what nobody links, warnings and locks are all that is asked of clang: frames are gcc's to
# measure here, and clang's where it builds these for the fuzzers.
$(BUILD)/clang/host/%.read: % Makefile
	@mkdir -p $(@D)
	@clang $(HOST_CFLAGS) $(CLANG_WARNINGS) -fsyntax-only -MMD -MP -MT $@ -MF $@.d $<
	@touch $@

.PHONY: checks objects clang-objects unit layers layout globals rot
# Of what is ready, what runs long or waits goes first, so that none is left alone at the end.
checks: $(BUILD)/explore/selftest.passed $(BUILD)/tools.passed layers layout rot unit objects \
	    clang-objects globals $(BUILD)/explore/explore $(BUILD)/bench/step $(BUILD)/bench/work
objects: $(IMAGE_OBJECTS)
clang-objects: $(CLANG_OBJECTS)
unit: $(LONG_TESTS:%=$(BUILD)/unit/%.passed) $(UNIT_TESTS:=.passed)
layers:
	@$(PYTHON) tests/tools/layers.py
layout:
	@$(PYTHON) tests/tools/layout.py
rot:
	@$(PYTHON) tests/mutants/rot.py
globals: objects
	@$(PYTHON) tests/tools/no_globals.py $(BUILD)/image
$(BUILD)/tools.passed: $(wildcard tests/tools/*.py)
	@mkdir -p $(@D)
	@$(PYTHON) tests/tools/selftest.py >$@.log 2>&1 || { grep -v '^ok' $@.log; exit 1; }
	@touch $@

# ---------------------------------------------------------------- tidy

# payload.c is one asm statement, and wants the built payloads.
TIDY_IMAGE   := $(filter-out guest/machine/payload.c,$(filter %.c,$(IMAGE_SOURCES)))
TIDY_SOURCES := $(TIDY_IMAGE) $(filter-out $(IMAGE_SOURCES),$(HOSTED)) \
	    $(wildcard tests/unit/*.c)

.PHONY: tidy-all cppcheck
tidy:
	$(SETUP) python tidy
	$(AGAIN) -s -k tidy-all
	@echo 'tidy: all well'
tidy-all: layout cppcheck $(TIDY_SOURCES:%=$(BUILD)/tidy/%.clang-tidy) \
	    $(TIDY_IMAGE:%=$(BUILD)/tidy/%.analyzer)
cppcheck:
	@cppcheck -q --std=c11 --enable=warning,performance,portability --inline-suppr -j2 -I. \
		--suppressions-list=tests/tools/cppcheck.txt --suppress=missingIncludeSystem \
		--error-exitcode=1 boot vmx ept mm guest tests/host tests/boot tests/tap.c

$(TIDY_IMAGE:%=$(BUILD)/tidy/%.clang-tidy): FREESTANDING := -ffreestanding
$(BUILD)/tidy/%.clang-tidy: % .clang-tidy $(wildcard */*.h */*/*.h)
	@mkdir -p $(@D)
	@clang-tidy --quiet $< -- -std=gnu17 -I. $(FREESTANDING) $(CLANG_WARNINGS) \
		>$@.log 2>/dev/null || { cat $@.log; exit 1; }
	@touch $@
$(BUILD)/tidy/%.analyzer: % Makefile
	@mkdir -p $(@D)
	@gcc $(IMAGE_CFLAGS) -fanalyzer -MMD -MP -MT $@ -MF $@.d -c $< -o /dev/null
	@touch $@

-include $(shell test -d $(BUILD) && find $(BUILD) -name '*.d')
