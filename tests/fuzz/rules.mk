# libFuzzer's programs, build/fuzz/NAME of tests/fuzz/NAME.c: the hosted sources once more, with
# clang's coverage in them. Included by the Makefile; run by tests/tools/fuzz.py.

FUZZ_NAMES  := load console operations schedules
FUZZERS     := $(FUZZ_NAMES:%=$(BUILD)/fuzz/%)
FUZZ_CFLAGS := $(HOST_CFLAGS)

# Files and lines are full of constants worth finding, so their comparisons are watched; operations
# have none, and twice the speed without. Those who judge look at everything: that is no coverage.
FUZZ_JUDGES := mm/verify ept/verify tests/host/model tests/host/arena tests/host/port
$(BUILD)/fuzz/objects/%.o: FUZZ_COVER = -fsanitize=fuzzer-no-link
$(BUILD)/fuzz/objects/mm/%.o $(BUILD)/fuzz/objects/ept/%.o $(BUILD)/fuzz/objects/tests/host/%.o: \
	    FUZZ_COVER = -fsanitize-coverage=inline-8bit-counters,pc-table
$(FUZZ_JUDGES:%=$(BUILD)/fuzz/objects/%.c.o): FUZZ_COVER =

$(BUILD)/fuzz/objects/%.o: % Makefile tests/fuzz/rules.mk
	@mkdir -p $(@D)
	@clang $(FUZZ_CFLAGS) $(FUZZ_COVER) $(CLANG_WARNINGS) -MMD -MP -c $< -o $@
$(filter-out %/schedules,$(FUZZERS)): $(BUILD)/fuzz/%: $(BUILD)/fuzz/objects/tests/fuzz/%.c.o \
		$(HOSTED:%=$(BUILD)/fuzz/objects/%.o)
	@clang -no-pie -fsanitize=fuzzer,address,undefined $(FUZZ_LINK) -o $@ $^
.PRECIOUS: $(BUILD)/fuzz/objects/%.o

# The console's parts without a machine, and the tables that linker.ld makes otherwise.
FUZZ_CONSOLE := boot/command boot/editor boot/guest_options boot/print tests/tap \
	    guest/machine/payload
FUZZ_TABLE    = -Wl,--defsym=$(1)_start=__start_$(1),--defsym=$(1)_end=__stop_$(1)
$(BUILD)/fuzz/console: $(FUZZ_CONSOLE:%=$(BUILD)/fuzz/objects/%.c.o)
$(BUILD)/fuzz/console: FUZZ_LINK = $(call FUZZ_TABLE,console_commands) \
	    $(call FUZZ_TABLE,boot_tests)
$(BUILD)/fuzz/objects/guest/machine/payload.c.o: FUZZ_CFLAGS += -DPAYLOADS='"$(BUILD)/guest/"'
$(BUILD)/fuzz/objects/guest/machine/payload.c.o: $(FLAT_BINS) $(BUILD)/guest/hello.elf

# Explored code once more, with coverage; the explorer as it is (tests/explore/rules.mk).
FUZZ_EXPLORED := $(filter-out tests/explore/race_%,$(EXPLORED))
$(BUILD)/fuzz/explored/%.o: % Makefile tests/fuzz/rules.mk
	@mkdir -p $(@D)
	@clang $(EXPLORE_CFLAGS) -fsanitize-coverage=inline-8bit-counters,pc-table \
	    -MMD -MP -c $< -o $@
	@$(EXPLORE_AFTER) $@
$(BUILD)/explore/tests/fuzz/schedules.c.o: tests/fuzz/schedules.c Makefile tests/explore/rules.mk
	@mkdir -p $(@D)
	@clang $(EXPLORE_COMMON) -MMD -MP -c $< -o $@
$(BUILD)/fuzz/schedules: $(BUILD)/explore/tests/fuzz/schedules.c.o $(EXPLORER_OBJECTS) \
		$(BUILD)/explore/tests/host/arena.c.o $(FUZZ_EXPLORED:%=$(BUILD)/fuzz/explored/%.o)
	@clang -no-pie -fsanitize=fuzzer -o $@ $^
.PRECIOUS: $(BUILD)/fuzz/explored/%.o

# Part of `make check`: they compile.
clang-objects: $(FUZZ_NAMES:%=$(BUILD)/clang/host/tests/fuzz/%.c.read)

.PHONY: fuzz
fuzz:
	$(SETUP) python fuzz
	$(AGAIN) -s $(FUZZERS)
	@$(PYTHON) tests/tools/fuzz.py
