/*
 * What every trap comes to: an interrupt is answered, an NMI counted, a fault that a try_...()
 * expects turned into its result, anything else a panic. And panic itself: all CPUs stop, the
 * registers and the way here go to the console, the emulator ends with a failure.
 */
#include "boot/apic.h"
#include "boot/cpu.h"
#include "boot/insn.h"
#include "boot/layout.h"
#include "boot/paging.h"
#include "boot/parts.h"
#include "boot/traps.h"
#include "vmx/port.h"

/* SDM "64-Bit IDT Gate Descriptors". */
struct gate {
	uint16_t offset_low, selector;
	uint8_t ist, type;
	uint16_t offset_middle;
	uint32_t offset_high, reserved;
};

enum { GATE_INTERRUPT = 0x8e };		/* present, DPL 0, interrupt gate */
enum { BACKTRACE_MAX = 24 };
enum { PANIC_STATUS = 1 };

struct fixup { uint64_t at, resume; };

extern const uint8_t trap_entries[256][16];
extern const struct fixup fixups_start[], fixups_end[];

static struct gate idt[256];
static atomic32_t panicking;		/* the CPU that does, plus 1 */

void traps_build(void)
{
	for (unsigned i = 0; i < 256; i++) {
		uint64_t entry = (uint64_t)trap_entries[i];
		uint8_t ist = i == VECTOR_NMI ? IST_NMI
			      : i == VECTOR_DOUBLE_FAULT ? IST_DOUBLE_FAULT
			      : i == VECTOR_MACHINE_CHECK ? IST_MACHINE_CHECK : IST_NONE;

		idt[i] = (struct gate){
			.offset_low = (uint16_t)entry,
			.offset_middle = (uint16_t)(entry >> 16),
			.offset_high = (uint32_t)(entry >> 32),
			.selector = SELECTOR_CODE,
			.ist = ist,
			.type = GATE_INTERRUPT,
		};
	}
}

void traps_load(void)
{
	struct { uint16_t limit; uint64_t base; } __attribute__((packed)) pointer = {
		sizeof(idt) - 1, (uint64_t)idt
	};

	__asm__ volatile("lidt %0" :: "m"(pointer));
}

/* ------------------------------------------------------------------ the last words */

enum place { PLACE_AT, PLACE_RETURN };

/* A return address may stand behind its function's last call: the byte before it is in the call. */
static void print_place(uint64_t address, enum place place)
{
	uint64_t offset = 0;
	const char *name = symbol_find(address - (place == PLACE_RETURN), &offset);

	print("  0x%016llx", (unsigned long long)address);
	if (name)
		print(" %s+0x%llx", name,
		      (unsigned long long)(offset + (place == PLACE_RETURN)));
	print("\n");
}

/* Frames as -fno-omit-frame-pointer leaves them: the caller's RBP, then the return address. */
static void print_backtrace(uint64_t rip, uint64_t rbp)
{
	print("backtrace:\n");
	print_place(rip, PLACE_AT);
	for (unsigned i = 0; i < BACKTRACE_MAX && rbp; i++) {
		const uint64_t *frame = (const uint64_t *)rbp;
		uint64_t caller, next;

		if (rbp % 8 || !try_read(&frame[1], &caller) || !try_read(&frame[0], &next))
			break;
		print_place(caller, PLACE_RETURN);
		if (next <= rbp)
			break;
		rbp = next;
	}
}

static void print_registers(const struct trap_frame *f)
{
	static const char *const name[] = { "r15", "r14", "r13", "r12", "r11", "r10", "r9 ", "r8 ",
					    "rdi", "rsi", "rbp", "rbx", "rdx", "rcx", "rax" };
	const uint64_t *value = &f->r15;

	for (unsigned i = 0; i < 15; i++)
		print("%s %016llx%s", name[i], (unsigned long long)value[i],
		      i % 4 == 3 || i == 14 ? "\n" : "  ");
	print("rsp %016llx  rip %016llx  rflags %llx  cs %llx  ss %llx\n",
	      (unsigned long long)f->rsp, (unsigned long long)f->rip,
	      (unsigned long long)f->rflags, (unsigned long long)f->cs,
	      (unsigned long long)f->ss);
	print("cr0 %llx  cr2 %llx  cr3 %llx  cr4 %llx\n", (unsigned long long)read_cr0(),
	      (unsigned long long)read_cr2(), (unsigned long long)read_cr3(),
	      (unsigned long long)read_cr4());
}

static _Noreturn void halt(void)
{
	for (;;)
		__asm__ volatile("cli; hlt");
}

void panic_stop_here(void)
{
	uint32_t who = atomic_read(&panicking);

	if (who && who != cpu_number() + 1)
		halt();
}

/* The first CPU to panic speaks; one that panics while it speaks has nothing to add. */
static void panic_begin(void)
{
	uint32_t nobody = 0, me = cpu_number() + 1;

	__asm__ volatile("cli");
	if (!atomic_cmpxchg(&panicking, &nobody, me)) {
		if (nobody == me)
			power_off(PANIC_STATUS);
		halt();
	}
	for (unsigned i = 0; i < cpu_count(); i++)
		if (i != cpu_number())
			cpu_send_nmi(i);
	print_force();
}

_Noreturn void panic_v(const char *format, va_list arguments)
{
	panic_begin();
	print("\npanic: CPU %u: ", cpu_number());
	print_v(format, arguments);
	print("\n");
	print_backtrace((uint64_t)panic_v, (uint64_t)__builtin_frame_address(0));
	power_off(PANIC_STATUS);
}

static const char *vector_name(uint64_t vector)
{
	static const char *const names[] = {
		"divide error", "debug", "NMI", "breakpoint", "overflow", "bound range",
		"invalid opcode", "no FPU", "double fault", "coprocessor segment", "invalid TSS",
		"segment not present", "stack fault", "general protection", "page fault",
		"vector 15", "x87 error", "alignment check", "machine check", "SIMD error",
		"virtualization exception", "control protection",
	};

	return vector < sizeof(names) / sizeof(names[0]) ? names[vector] : "unexpected interrupt";
}

static _Noreturn void trap_panic(const struct trap_frame *frame)
{
	panic_begin();
	print("\npanic: CPU %u: %s (vector %llu, error code 0x%llx)\n", cpu_number(),
	      vector_name(frame->vector), (unsigned long long)frame->vector,
	      (unsigned long long)frame->error);
	if (stack_window_holds(read_cr2()) &&
	    (frame->vector == VECTOR_DOUBLE_FAULT || frame->vector == VECTOR_PAGE_FAULT))
		print("a stack overflowed: 0x%llx is below one\n", (unsigned long long)read_cr2());
	print_registers(frame);
	print_backtrace(frame->rip, frame->rbp);
	power_off(PANIC_STATUS);
}

/* ------------------------------------------------------------------ what may happen */

static bool recover(struct trap_frame *frame)
{
	const uint64_t fetch = 1 << 4;	/* SDM "Page-Fault Error Code" */
	bool fetched = frame->vector == VECTOR_PAGE_FAULT && frame->error & fetch;
	uint64_t at = fetched ? *(const uint64_t *)frame->rsp : frame->rip;

	for (const struct fixup *fixup = fixups_start; fixup < fixups_end; fixup++)
		if (fixup->at == at) {
			frame->rip = fixup->resume;
			frame->rsp += fetched ? 8 : 0;
			this_cpu()->recovered_vector = (uint8_t)frame->vector;
			this_cpu()->recovered_error = frame->error;
			return true;
		}
	return false;
}

/* An NMI only says: look. What it is about stands in memory. Its handler takes no lock. */
static void handle_nmi(struct trap_frame *frame)
{
	panic_stop_here();
	atomic_bump(&this_cpu()->nmis, 1);
	vmx_nmi_in_host(&frame->rip);
}

static void handle_interrupt(const struct trap_frame *frame)
{
	if (frame->vector == VECTOR_SPURIOUS)
		return;			/* SDM "Spurious Interrupt": has no EOI */
	apic_end_of_interrupt();
	if (frame->vector == VECTOR_TIMER)
		atomic_bump(&this_cpu()->ticks, 1);
	if (frame->vector == VECTOR_CALL)
		smp_serve_calls();
}

void trap_handle(struct trap_frame *frame)
{
	if (frame->vector == VECTOR_NMI)
		handle_nmi(frame);
	else if (frame->vector == VECTOR_SPURIOUS || (frame->vector >= VECTOR_CALL &&
						      frame->vector <= VECTOR_TIMER))
		handle_interrupt(frame);
	else if (!recover(frame))
		trap_panic(frame);
}
