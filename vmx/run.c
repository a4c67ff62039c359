/*
 * Running a guest: from vcpu_run to the exit that the caller has to answer. Interrupts are off
 * from before ept_enter until after ept_leave; a kick is an NMI (entry.S).
 *
 *	shootdown (ept/flush.c)			this CPU
 *	-----------------------			--------
 *						kicked = 0
 *						ept_enter: "inside"
 *	sees "inside"
 *	port_kick: NMI			->	anywhere from here on: turned back or exits
 *						ept_leave, or ept_leave_logged
 *
 * A kick that comes before ept_enter may be forgotten with `kicked = 0`: whoever sent it did not
 * see this CPU inside and does not wait for it.
 */
#include "vmx/caps.h"
#include "vmx/entry.h"
#include "vmx/insn.h"
#include "vmx/port.h"
#include "vmx/vcpu.h"
#include "vmx/vcpu_state.h"

enum { REASON_GUEST_STATE = 33, REASON_MSR_LOADING = 34, REASON_MACHINE_CHECK = 41 };

/* On the way of every exit: the registers that entry.S uses up are then saved once only. */
#define IN_PLACE inline __attribute__((always_inline))

_Static_assert(offsetof(struct vcpu, regs) == ENTRY_REG(0), "entry.S");
_Static_assert(offsetof(struct vcpu, host_rsp) == ENTRY_HOST_RSP, "entry.S");
_Static_assert(offsetof(struct vmx_cpu, kicked) == 0, "entry.S");
_Static_assert(VMCS_HOST_RSP == ENTRY_HOST_RSP_FIELD, "entry.S");

/* ------------------------------------------------------------------ what failed */

static void print_segments(struct vcpu *vcpu)
{
	static const char names[8][5] = { "ES", "CS", "SS", "DS", "FS", "GS", "LDTR", "TR" };

	for (unsigned i = SEGMENT_ES; i <= SEGMENT_TR; i++) {
		struct vcpu_segment_state s;

		vcpu_segment(vcpu, (enum vcpu_segment)i, &s);
		port_log("  %-4s %04x base %016llx limit %08x access %05x", names[i], s.selector,
			 (unsigned long long)s.base, s.limit, s.access);
	}
}

static void print_field(enum vmcs_field field)
{
	uint64_t value;

	if (vmcs_try_read(field, &value))
		port_log("  %s 0x%llx", vmcs_field_name(field), (unsigned long long)value);
}

void vcpu_print(struct vcpu *vcpu)
{
	static const char names[16][4] = { "RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI",
					   "R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15" };
	static const enum vmcs_field fields[] = {
		VMCS_GUEST_RIP, VMCS_GUEST_RSP, VMCS_GUEST_RFLAGS, VMCS_GUEST_CR0, VMCS_CR0_SHADOW,
		VMCS_GUEST_CR3, VMCS_GUEST_CR4, VMCS_CR4_SHADOW, VMCS_GUEST_EFER, VMCS_GUEST_PAT,
		VMCS_GUEST_DR7, VMCS_GUEST_GDTR_BASE, VMCS_GUEST_GDTR_LIMIT, VMCS_GUEST_IDTR_BASE,
		VMCS_GUEST_IDTR_LIMIT, VMCS_GUEST_INTERRUPTIBILITY, VMCS_GUEST_ACTIVITY,
		VMCS_GUEST_PENDING_DEBUG, VMCS_LINK_POINTER, VMCS_ENTRY_EVENT, VMCS_EPT_POINTER,
		VMCS_PIN_CONTROLS, VMCS_PRIMARY_CONTROLS, VMCS_SECONDARY_CONTROLS,
		VMCS_EXIT_CONTROLS, VMCS_ENTRY_CONTROLS };

	vcpu_load(vcpu);
	port_log("vCPU with VPID %u:", vcpu->vpid);
	for (unsigned i = 0; i < sizeof fields / sizeof fields[0]; i++)
		print_field(fields[i]);
	print_segments(vcpu);
	for (unsigned i = 0; i < 16; i += 4)
		port_log("  %-3s %016llx %-3s %016llx %-3s %016llx %-3s %016llx",
			 names[i], (unsigned long long)vcpu->regs[i],
			 names[i + 1], (unsigned long long)vcpu->regs[i + 1],
			 names[i + 2], (unsigned long long)vcpu->regs[i + 2],
			 names[i + 3], (unsigned long long)vcpu->regs[i + 3]);
}

/* SDM "VM-Entry Failures During or After Loading Guest State". */
static const char *failed_area(uint32_t reason)
{
	if (reason == REASON_GUEST_STATE)
		return "invalid guest state";
	if (reason == REASON_MSR_LOADING)
		return "MSR loading";
	return reason == REASON_MACHINE_CHECK ? "machine-check event"
					      : "a reason this SDM does not list";
}

/* SDM "VM-Entry Failures", exit qualification for invalid guest state. */
static const char *failed_detail(uint64_t qualification)
{
	switch (qualification) {
	case 2: return ", PDPTE loading";
	case 3: return ", NMI into blocking by STI";
	case 4: return ", VMCS link pointer";
	default: return "";
	}
}

static void print_failed_entry(struct vcpu *vcpu, const struct vcpu_exit *exit)
{
	port_log("VM entry failed: %s%s (exit reason %u, qualification 0x%llx)",
		 failed_area(exit->reason),
		 exit->reason == REASON_GUEST_STATE ? failed_detail(exit->qualification) : "",
		 exit->reason, (unsigned long long)exit->qualification);
	vcpu_print(vcpu);
}

/* The controls and the host's state are ours: that they are wrong is a bug. */
static void print_failed_instruction(struct vcpu *vcpu, unsigned how)
{
	const char *verb = vcpu->launched ? "VMRESUME" : "VMLAUNCH";
	uint64_t error = how == ENTRY_FAIL_VALID ? vmcs_instruction_error() : 0;

	port_log("%s failed: %s", verb, vmcs_error_text(error));
	if (how == ENTRY_FAIL_VALID)
		vcpu_print(vcpu);
}

/* ------------------------------------------------------------------ one entry */

/*
 * The guest gets `ticks`, or less: at most a slice, since an emulated or broken CPU may not
 * report interrupts for as long as the guest has them disabled. SDM "VMX-Preemption Timer".
 */
static void set_timer(struct vcpu *vcpu, uint64_t ticks)
{
	uint64_t granted = ticks && ticks < vcpu->slice ? ticks : vcpu->slice;

	if (granted == vcpu->granted)
		return;
	vmcs_write(VMCS_TIMER, granted >> vmx_caps.timer_shift);
	vcpu->granted = granted;
}

static void flush_vpid(struct vcpu *vcpu)
{
	if (vmx_caps.vpid)
		vmx_invvpid(vcpu->vpid);
	vcpu->flush_vpid = false;
}

/* What an entry needs now and then: stale translations go, the list of stores is switched. */
static __attribute__((noinline)) void prepare_entry(struct vcpu *vcpu, enum ept_entry entry)
{
	enum ept_entry logged = entry & EPT_LOGGED;

	if (entry & EPT_INVALIDATE)
		vmx_invept(vcpu->vm->eptp);
	if (logged == vcpu->logged)
		return;
	vmcs_write(VMCS_SECONDARY_CONTROLS, vmx_caps.control[SECONDARY] | (logged ? SECONDARY_PML : 0));
	vcpu->logged = logged;
}

static __attribute__((noinline)) void leave_logged(struct vcpu *vcpu)
{
	uint16_t index = (uint16_t)vmcs_read(VMCS_PML_INDEX);

	ept_leave_logged(vcpu->vm->ept, vcpu->pml, index);
	if (index != EPT_PML_LAST)
		vmcs_write(VMCS_PML_INDEX, EPT_PML_LAST);
}

static IN_PLACE void enter_ept(struct vcpu *vcpu, struct ept *ept)
{
	enum ept_entry entry = ept_enter(ept);

	if (__builtin_expect(entry != vcpu->logged, 0))
		prepare_entry(vcpu, entry);
}

static IN_PLACE void leave_ept(struct vcpu *vcpu, struct ept *ept)
{
	if (__builtin_expect(vcpu->logged, 0))
		leave_logged(vcpu);
	else
		ept_leave(ept);
}

static IN_PLACE unsigned enter_once(struct vcpu *vcpu, struct vmx_cpu *cpu)
{
	struct ept *ept = vcpu->vm->ept;
	unsigned how;

	if (__builtin_expect(vcpu->flush_vpid, 0))
		flush_vpid(vcpu);
	atomic_write(&cpu->kicked, 0);
	if (ept)
		enter_ept(vcpu, ept);
	how = vcpu_enter(vcpu, &cpu->kicked);
	if (ept)
		leave_ept(vcpu, ept);
	return how;
}

/* ------------------------------------------------------------------ what comes back */

/*
 * The NMI that made the guest exit is still to be handled: the board's handler runs, as it would
 * have on the host, and its IRET ends the blocking of further NMIs. SDM "Effects of VM Exits on
 * NMIs"; the guest must not begin with them blocked either (Bochs saves it so).
 */
static void handle_nmi(void)
{
	uint64_t blocking = vmcs_read(VMCS_GUEST_INTERRUPTIBILITY);

	if (blocking & BLOCKING_NMI)
		vmcs_write(VMCS_GUEST_INTERRUPTIBILITY, blocking & ~(uint64_t)BLOCKING_NMI);
	__asm__ volatile("int $2" ::: "memory");
}

/* Kinds with something for vmx to do; the others go to the caller at once. */
#define OURS (1u << EXIT_KICK | 1u << EXIT_INTERRUPT | 1u << EXIT_TIMER | 1u << EXIT_CR_ACCESS | \
	      1u << EXIT_EXCEPTION | 1u << EXIT_OTHER | 1u << EXIT_EPT_VIOLATION |               \
	      1u << EXIT_EPT_MISCONFIGURATION)

/*
 * A slice is over; so it is after an exit that vmx has answered, since each entry starts the timer
 * anew: a guest that does nothing but exit would go on for ever. True when there is another slice.
 */
static bool next_slice(struct vcpu *vcpu, uint64_t *left)
{
	insn_irq_window();
	if (*left && *left <= vcpu->slice)
		return false;
	*left -= *left ? vcpu->slice : 0;
	set_timer(vcpu, *left);
	return true;
}

/* True when the guest shall go on. *left: ticks that it may still run; 0 without a limit. */
static __attribute__((noinline))
bool settle(struct vcpu *vcpu, struct vcpu_exit *exit, uint64_t *left)
{
	if (exit->kind == EXIT_KICK) {
		handle_nmi();
		return false;
	}
	if (exit->kind == EXIT_INTERRUPT) {
		insn_irq_window();
		return false;
	}
	if (exit->kind != EXIT_TIMER) {
		vcpu_requeue_event();
		if (!intercept_exit(vcpu, exit))
			return false;
		exit->kind = EXIT_TIMER;
	}
	return next_slice(vcpu, left);
}

static IN_PLACE enum status run(struct vcpu *vcpu, uint64_t ticks, struct vcpu_exit *out)
{
	struct vmx_cpu *cpu = vmx_this_cpu();

	set_timer(vcpu, ticks);
	for (;;) {
		unsigned how = enter_once(vcpu, cpu);

		if (__builtin_expect(how == ENTRY_KICKED, 0)) {
			*out = (struct vcpu_exit){ .kind = EXIT_KICK };
			return STATUS_OK;
		}
		if (__builtin_expect(how != ENTRY_EXITED, 0)) {
			print_failed_instruction(vcpu, how);
			out->kind = EXIT_KINDS;
			return STATUS_BAD_FORMAT;
		}
		if (__builtin_expect(exit_decode(out), 0)) {
			print_failed_entry(vcpu, out);
			return STATUS_BAD_FORMAT;
		}
		vcpu->launched = true;
		if (!(OURS >> out->kind & 1) || !settle(vcpu, out, &ticks))
			return STATUS_OK;
	}
}

/* Both are whole, not one in terms of the other: each call counts on the way of an exit. */
enum status vcpu_run_checked(struct vcpu *vcpu, uint64_t ticks, struct vcpu_exit *out)
{
	uint64_t flags = insn_irq_save();
	enum status status;

	vcpu_load(vcpu);
	status = run(vcpu, ticks, out);
	insn_irq_restore(flags);
	return status;
}

void vcpu_run(struct vcpu *vcpu, uint64_t ticks, struct vcpu_exit *out)
{
	uint64_t flags = insn_irq_save();

	vcpu_load(vcpu);
	if (__builtin_expect(run(vcpu, ticks, out) != STATUS_OK && out->kind != EXIT_OTHER, 0))
		port_panic("the VM entry above can't have failed by the guest's doing");
	insn_irq_restore(flags);
}
