# Guest programs: flat ones, which become part of the image (guest/machine/payload.c), and a
# multiboot kernel of its own. Included by the Makefile.

FLAT_C    := demo devices msrs hostile
FLAT_S    := bench ports triple nowhere
FLAT_BINS := $(patsubst %,$(BUILD)/guest/%.bin,$(FLAT_C) $(FLAT_S))

PAYLOAD_CFLAGS := $(COMMON) -O2 -ffreestanding -mno-red-zone -mgeneral-regs-only -fno-pie -fno-pic \
	    -fno-stack-protector -fcf-protection=none -fno-asynchronous-unwind-tables \
	    -fno-strict-aliasing -fno-tree-loop-distribute-patterns
FLAT_LINK  := ld -m elf_x86_64 -nostdlib -static --build-id=none -z noexecstack \
	    --no-warn-rwx-segments -T guest/payload/flat.ld

$(BUILD)/guest/%.o: guest/payload/% guest/payload/rules.mk
	@mkdir -p $(@D)
	@gcc $(PAYLOAD_CFLAGS) -MMD -MP -c $< -o $@
$(BUILD)/guest/32/%.o: guest/payload/% guest/payload/rules.mk
	@mkdir -p $(@D)
	@gcc -m32 $(PAYLOAD_CFLAGS) -MMD -MP -c $< -o $@

$(FLAT_C:%=$(BUILD)/guest/%.elf): $(BUILD)/guest/%.elf: $(BUILD)/guest/start.S.o \
		$(BUILD)/guest/%.c.o $(BUILD)/guest/lib.c.o $(BUILD)/guest/traps.S.o \
		guest/payload/flat.ld
	@$(FLAT_LINK) -o $@ $(filter %.o,$^)
$(FLAT_S:%=$(BUILD)/guest/%.elf): $(BUILD)/guest/%.elf: $(BUILD)/guest/%.S.o guest/payload/flat.ld
	@$(FLAT_LINK) -o $@ $(filter %.o,$^)
$(BUILD)/guest/hostile.elf: $(BUILD)/guest/hostile_cpu.c.o $(BUILD)/guest/hostile_draw.c.o
$(BUILD)/guest/%.bin: $(BUILD)/guest/%.elf
	@objcopy -O binary $< $@

$(BUILD)/guest/hello.elf: $(BUILD)/guest/32/hello_start.S.o $(BUILD)/guest/32/hello.c.o \
		guest/payload/hello.ld
	@ld -m elf_i386 -nostdlib -static --build-id=none -z noexecstack -T guest/payload/hello.ld \
		-o $@ $(filter %.o,$^)

payloads: $(FLAT_BINS) $(BUILD)/guest/hello.elf

$(BUILD)/image/guest/machine/payload.c.o $(BUILD)/clang/image/guest/machine/payload.c.o: \
	    IMAGE_CFLAGS += -DPAYLOADS='"$(BUILD)/guest/"'
$(BUILD)/image/guest/machine/payload.c.o $(BUILD)/clang/image/guest/machine/payload.c.o: \
	    $(FLAT_BINS) $(BUILD)/guest/hello.elf

# The device models have no machine in them: their hosted tests link them alone.
DEVICE_MODELS := uart pic pit rtc i8042 pci
$(BUILD)/unit/machine_devices: $(DEVICE_MODELS:%=$(BUILD)/host/guest/machine/%.c.o)
$(BUILD)/unit/machine_gva: $(BUILD)/host/guest/machine/gva.c.o
