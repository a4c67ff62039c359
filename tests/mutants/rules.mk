# Mutated code: tests/mutants/README.md. The objects that no mutant touches are built once, as the
# unit tests' are, but without sanitizers (a test must see the damage by itself) and without debug
# information (a mutant that compiles to the same bytes is none).

MUTANT_CFLAGS  := $(filter-out -fsanitize=% -fno-sanitize% -g,$(HOST_CFLAGS)) -g0
MUTANT_BASE    := $(BUILD)/mutants/base
MUTANT_SOURCES := $(HOSTED) tests/mutants/ground.c $(wildcard tests/unit/mm_*.c tests/unit/ept_*.c)

$(MUTANT_BASE)/%.o: % Makefile tests/mutants/rules.mk
	@mkdir -p $(@D)
	@$(CC) $(MUTANT_CFLAGS) -MMD -MP -c $< -o $@

.PHONY: mutants mutant-objects
mutant-objects: $(MUTANT_SOURCES:%=$(MUTANT_BASE)/%.o) $(BUILD)/explore/explore
mutants:
	$(SETUP) python check
	$(AGAIN) -s mutant-objects
	@MUTANT_CC='$(CC)' MUTANT_CFLAGS='$(MUTANT_CFLAGS)' EXPLORE_CFLAGS='$(EXPLORE_CFLAGS)' \
		EXPLORE_AFTER='$(EXPLORE_AFTER)' $(PYTHON) tests/mutants/mutants.py
