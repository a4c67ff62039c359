# The benchmarks on this machine: build/bench/step, optimized as the image is, without sanitizers.
# Included by the Makefile; tests/bench/README.md.

BENCH_CFLAGS  := $(COMMON) -O2 -fno-strict-aliasing -fno-pie
BENCH_COMMON  := $(wildcard mm/*.c mm/base/*.c ept/*.c) tests/host/arena.c tests/host/port.c \
	    tests/host/kick.c
BENCH_SOURCES := $(BENCH_COMMON) $(wildcard tests/bench/on_*.c) tests/bench/bench.c \
	    tests/bench/step.c
# What the host and the EPT count themselves.
WORK_PARTS   := tests/bench/work.c tests/bench/guest_soft.c $(wildcard tests/bench/work_*.c)
WORK_SOURCES := $(BENCH_COMMON) $(wildcard tests/host/soft_*.c) $(WORK_PARTS) \
	    tests/bench/hosted.c

$(BUILD)/bench/%.o: % Makefile tests/bench/rules.mk
	@mkdir -p $(@D)
	@$(CC) $(BENCH_CFLAGS) -MMD -MP -c $< -o $@
# The table that linker.ld makes in the image.
$(BUILD)/bench/step: $(BENCH_SOURCES:%=$(BUILD)/bench/%.o)
	@$(CC) -no-pie -Wl,--defsym=benchmarks_start=__start_benchmarks \
		-Wl,--defsym=benchmarks_end=__stop_benchmarks -o $@ $^
$(BUILD)/bench/work: $(WORK_SOURCES:%=$(BUILD)/bench/%.o) tests/bench/work.ld
	@$(CC) -no-pie -o $@ $^

.PHONY: bench
bench:
	$(SETUP) python
	@$(PYTHON) tests/tools/bench.py --check
	$(SETUP) build $$($(PYTHON) tests/tools/bench.py --needs)
	$(AGAIN) -s $(BUILD)/foliovisor.elf payloads $(BUILD)/bench/step \
		$(BUILD)/bench/work
	@$(PYTHON) tests/tools/bench.py

# The workloads' figures are tested as far as they must come out.
$(BUILD)/unit/bench_work: $(WORK_PARTS:%=$(BUILD)/host/%.o) tests/bench/work.ld
