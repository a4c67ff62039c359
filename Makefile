# foliovisor: `make` alone lists what there is.
#
# Sources are found by folder: a new .c or .S file in a room is built without a change here.

BUILD    := build
CC       ?= gcc
ifeq ($(origin CC),default)
CC       := gcc
endif

WARNINGS := -Wall -Wextra -Werror -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes \
	    -Wcast-align -Wcast-qual -Wundef -Wvla -Wimplicit-fallthrough -Wswitch-enum \
	    -Wwrite-strings -Wpointer-arith -Wframe-larger-than=1024
COMMON   := -std=gnu17 -g -I. $(WARNINGS)

IMAGE_CFLAGS := $(COMMON) -O2 -ffreestanding -mno-red-zone -mgeneral-regs-only -fno-pie -fno-pic \
	    -mcmodel=kernel -fno-omit-frame-pointer -fno-stack-protector -fcf-protection=none \
	    -fno-asynchronous-unwind-tables -fno-strict-aliasing
HOST_CFLAGS  := $(COMMON) -O1 -fno-omit-frame-pointer -fno-strict-aliasing -fno-pie \
	    -fsanitize=address,undefined -fno-sanitize-recover=all

# ---------------------------------------------------------------- the image

IMAGE_SOURCES := $(wildcard boot/*.[cS] vmx/*.[cS] mm/*.c mm/base/*.c ept/*.c guest/machine/*.c \
	    guest/load/*.c tests/tap.c tests/boot/*.[cS] tests/host/soft_cpu.c)
IMAGE_OBJECTS := $(IMAGE_SOURCES:%=$(BUILD)/image/%.o)

$(BUILD)/image/%.c.o: %.c
	@mkdir -p $(@D)
	@$(CC) $(IMAGE_CFLAGS) -MMD -MP -c $< -o $@
$(BUILD)/image/%.S.o: %.S
	@mkdir -p $(@D)
	@$(CC) $(IMAGE_CFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/foliovisor.elf: $(IMAGE_OBJECTS) linker.ld
	@$(CC) -nostdlib -static -no-pie -Wl,-T,linker.ld,--build-id=none,-z,max-page-size=4096 \
		-o $@ $(IMAGE_OBJECTS) -lgcc

.PHONY: objects
objects: $(IMAGE_OBJECTS)

# ---------------------------------------------------------------- hosted unit tests (cmocka)

UNIT_TESTS   := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(wildcard tests/unit/*.c))
HOSTED       := $(wildcard mm/*.c mm/base/*.c ept/*.c guest/load/*.c tests/host/*.c)
HOST_OBJECTS := $(HOSTED:%=$(BUILD)/host/%.o)

$(BUILD)/host/%.c.o: %.c
	@mkdir -p $(@D)
	@$(CC) $(HOST_CFLAGS) -MMD -MP -c $< -o $@
$(BUILD)/unit/%: $(BUILD)/host/tests/unit/%.c.o $(HOST_OBJECTS)
	@mkdir -p $(@D)
	@$(CC) -no-pie -fsanitize=address,undefined -o $@ $^ -lcmocka -lpthread
.PRECIOUS: $(BUILD)/host/%.c.o

.PHONY: unit check
unit: $(UNIT_TESTS)
	@for t in $(UNIT_TESTS); do $$t || exit 1; done

check: objects unit

clean:
	rm -rf $(BUILD)

-include $(shell test -d $(BUILD) && find $(BUILD) -name '*.d')
