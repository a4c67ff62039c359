# The third build of mm/, ept/ and the soft CPU: every atomic access a scheduling point, every plain
# access told to the explorer by the compiler's instrumentation for ThreadSanitizer, whose runtime
# library is replaced by tests/explore/memory.c. Included by the Makefile.

EXPLORE_WARNINGS := $(filter-out -Wframe-larger-than=%,$(WARNINGS))
EXPLORE_COMMON   := -std=gnu17 -g -I. $(EXPLORE_WARNINGS) -O2 -fno-omit-frame-pointer \
	    -fno-strict-aliasing -fno-pie -fno-stack-protector -DEXPLORE
EXPLORE_CFLAGS   := $(EXPLORE_COMMON) -fsanitize=thread -mllvm -tsan-instrument-func-entry-exit=0
# The compiler calls these by the names of libc; here they are accesses as all others.
EXPLORE_AFTER    := objcopy $(foreach copy,memset memcpy memmove, \
	    --redefine-sym $(copy)=explore_$(copy))

EXPLORER      := memory actor search report
EXPLORED      := $(wildcard mm/*.c mm/base/*.c ept/*.c tests/host/soft*.c tests/host/kick.c \
	    tests/explore/world.c tests/explore/race_*.c \
	    tests/explore/mixed.c)
EXPLORER_OBJECTS := $(EXPLORER:%=$(BUILD)/explore/tests/explore/%.c.o) \
	    $(BUILD)/explore/tests/explore/switch.S.o
EXPLORE_MAIN  := $(BUILD)/explore/tests/explore/main.c.o $(BUILD)/explore/tests/host/arena.c.o
EXPLORED_OBJECTS := $(EXPLORED:%=$(BUILD)/explore/%.o)

$(BUILD)/explore/%.o: % Makefile tests/explore/rules.mk
	@mkdir -p $(@D)
	@clang $(EXPLORE_CFLAGS) -MMD -MP -c $< -o $@
	@$(EXPLORE_AFTER) $@
# The explorer itself is not explored.
$(EXPLORER_OBJECTS) $(EXPLORE_MAIN) $(BUILD)/explore/tests/explore/selftest.c.o: \
		$(BUILD)/explore/%.o: % Makefile tests/explore/rules.mk
	@mkdir -p $(@D)
	@clang $(EXPLORE_COMMON) -MMD -MP -c $< -o $@

$(BUILD)/explore/explore: $(EXPLORER_OBJECTS) $(EXPLORE_MAIN) $(EXPLORED_OBJECTS)
	@clang -no-pie -o $@ $^
$(BUILD)/explore/selftest: $(EXPLORER_OBJECTS) $(BUILD)/explore/tests/explore/selftest.c.o \
		$(BUILD)/explore/tests/explore/programs.c.o
	@clang -no-pie -o $@ $^

.PHONY: explore
explore:
	$(SETUP) python check
	$(AGAIN) -s $(BUILD)/explore/explore
	@$(BUILD)/explore/explore T='$(T)' BOUND='$(BOUND)' ENGINE='$(ENGINE)' RUNS='$(RUNS)' \
		SEED='$(SEED)' SHARD='$(SHARD)' REPLAY='$(REPLAY)' MODEL='$(MODEL)' MOST='$(MOST)'

$(BUILD)/explore/selftest.passed: $(BUILD)/explore/selftest
	@QUICK=1 timeout 120 $< >$@.log || { grep -v '^ok' $@.log; exit 1; }
	@touch $@
