/*
 * Running a guest: in, out, what it was, who answers, and in again: vcpu_take_turn is the one loop.
 * Interrupts are off from before ept_enter_at until after ept_leave_at; a kick is an NMI (entry.S).
 *
 *	shootdown (ept/flush.c)			this CPU
 *	-----------------------			--------
 *						kicked = 0
 *						ept_enter_at: "inside"
 *	sees "inside"
 *	port_kick: NMI			->	anywhere from here on: turned back or exits
 *						ept_leave_at, or ept_leave_logged
 *
 * A kick that comes before ept_enter_at may be forgotten with `kicked = 0`: whoever sent it did not
 * see this CPU inside and does not wait for it.
 */
#include "vmx/caps.h"
#include "vmx/entry.h"
#include "vmx/insn.h"
#include "vmx/port.h"
#include "vmx/vcpu.h"
#include "vmx/vcpu_state.h"

enum { REASON_GUEST_STATE = 33, REASON_MSR_LOADING = 34, REASON_MACHINE_CHECK = 41,
       REASON_EPT_VIOLATION = 48 };

/* On the way of every exit: the registers that entry.S uses up are then saved once only. */
#define IN_PLACE inline __attribute__((always_inline))

_Static_assert(offsetof(struct vcpu, regs) == ENTRY_REG(0), "entry.S");
_Static_assert(offsetof(struct vcpu, host_stack) == ENTRY_HOST_STACK, "entry.S");
_Static_assert(offsetof(struct vcpu, host_stack) == sizeof(struct vcpu_registers), "entry.S");
_Static_assert(offsetof(struct vcpu, kicked) == ENTRY_KICKED, "entry.S");
_Static_assert(VMCS_INSTRUCTION_ERROR == ENTRY_ERROR_FIELD, "entry.S");

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
			 names[i], (unsigned long long)vcpu->regs.at[i],
			 names[i + 1], (unsigned long long)vcpu->regs.at[i + 1],
			 names[i + 2], (unsigned long long)vcpu->regs.at[i + 2],
			 names[i + 3], (unsigned long long)vcpu->regs.at[i + 3]);
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
static void print_failed_instruction(struct vcpu *vcpu)
{
	uint64_t error = vmcs_instruction_error();

	port_log("VM entry failed: %s", vmcs_error_text(error));
	if (error)
		vcpu_print(vcpu);
}

/* ------------------------------------------------------------------ one entry */

/* What an entry needs now and then: stale translations go, the list of stores is switched. */
static __attribute__((noinline)) void prepare_entry(struct vcpu *vcpu, enum ept_entry entry)
{
	enum ept_entry logged = entry & EPT_LOGGED;

	if (vcpu->expected == EXPECT_NOTHING && vmx_caps.vpid)
		vmx_invvpid(vcpu->vpid);
	if (entry & EPT_INVALIDATE)
		vmx_invept(vcpu->vm->eptp);
	if (logged != vcpu->logged)
		vmcs_write(VMCS_SECONDARY_CONTROLS,
			   vmx_caps.control[SECONDARY] | (logged ? SECONDARY_PML : 0));
	vcpu->logged = vcpu->expected = logged;
}

static __attribute__((noinline)) void leave_logged(struct vcpu *vcpu)
{
	uint16_t index = (uint16_t)vmcs_read(VMCS_PML_INDEX);

	ept_leave_logged(vcpu->vm->ept, vcpu->pml, index);
	if (index != EPT_PML_LAST)
		vmcs_write(VMCS_PML_INDEX, EPT_PML_LAST);
}

/* False: the guest was not entered. */
static IN_PLACE bool enter_once(struct vcpu *vcpu)
{
	enum ept_entry entry;
	bool entered;

	atomic_write(&vcpu->kicked, 0);
	entry = ept_enter_at(&vcpu->entrance);
	if (__builtin_expect(entry != vcpu->expected, 0))
		prepare_entry(vcpu, entry);
	entered = vcpu_enter(vcpu);
	if (__builtin_expect(vcpu->logged, 0))
		leave_logged(vcpu);
	else
		ept_leave_at(&vcpu->entrance);
	return entered;
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

/* Interrupts that came meanwhile, EXIT_INTERRUPT's among them, are taken before the answer. */
static IN_PLACE void answer(struct vcpu *vcpu, struct vcpu_turn *turn, struct vcpu_exit *exit)
{
	unsigned kind = exit->kind;
	enum vcpu_go go;

	atomic_bump(&turn->exits[kind], 1);
	insn_irq_on();
	go = turn->answers[kind](turn, exit);
	insn_irq_off();
	vcpu_load(vcpu);	/* the answer may have been about another vCPU */
	if (__builtin_expect(go == VCPU_PAST, 1))
		skip_instruction(exit->length);
}

/* Exits of which vmx has something to do, and those that are none. */
static __attribute__((noinline))
void settle(struct vcpu *vcpu, struct vcpu_turn *turn, uint32_t reason)
{
	struct vcpu_exit exit;

	if (exit_decode_reason(&exit, reason)) {
		print_failed_entry(vcpu, &exit);
	} else if (exit.kind == EXIT_KICK) {
		handle_nmi();
	} else if (exit.reason < EXIT_ROWS && exit_rows[exit.reason].fields & EXIT_OURS) {
		vcpu_requeue_event();
		if (intercept_exit(vcpu, &exit))
			return;
	}
	answer(vcpu, turn, &exit);
}

/* An entry that was none: kicked, or wrong by the host's doing, which is false. */
static __attribute__((noinline)) bool turn_back(struct vcpu *vcpu, struct vcpu_turn *turn)
{
	struct vcpu_exit exit = { .kind = EXIT_KICK };

	if (!atomic_read(&vcpu->kicked)) {
		print_failed_instruction(vcpu);
		return false;
	}
	answer(vcpu, turn, &exit);
	return true;
}

/*
 * One entry, its exit and the answer. False: the VMCS is wrong by the host's doing. Most exits are
 * of an instruction of which nothing but its length is to be known, or EPT violations.
 */
static IN_PLACE bool run_once(struct vcpu *vcpu, struct vcpu_turn *turn)
{
	struct vcpu_exit exit;
	uint64_t reason;

	if (__builtin_expect(!enter_once(vcpu), 0))
		return turn_back(vcpu, turn);
	reason = vmcs_read(VMCS_EXIT_REASON);
	if (__builtin_expect(reason < EXIT_ROWS && exit_rows[reason].fields == EXIT_LENGTH, 1)) {
		exit.length = (uint32_t)vmcs_read(VMCS_EXIT_LENGTH);
	} else if (reason == REASON_EPT_VIOLATION) {
		exit_decode_ept_violation(&exit);
		vcpu_requeue_event();
	} else {
		settle(vcpu, turn, (uint32_t)reason);
		return true;
	}
	exit.reason = (uint32_t)reason;
	exit.kind = (enum exit_kind)exit_rows[reason].kind;
	answer(vcpu, turn, &exit);
	return true;
}

/* ------------------------------------------------------------------ a turn */

/* TSC ticks until then; 0 when it is past. */
static IN_PLACE uint64_t left_until(struct vcpu_turn *turn)
{
	uint64_t now = insn_rdtsc(), until = atomic_read(&turn->until);

	return __builtin_expect(now < until, 1) ? until - now : 0;
}

/* SDM "VMX-Preemption Timer". The time that answers take is the guest's, too. */
static IN_PLACE void set_timer(uint64_t ticks)
{
	vmcs_write(VMCS_TIMER, ticks >> vmx_caps.timer_shift);
}

/* Interrupts are off, the vCPU is loaded. False: the VMCS is wrong by the host's doing. */
static bool take_turn(struct vcpu *vcpu, struct vcpu_turn *turn)
{
	uint64_t left;

	vcpu_turn_until(turn, insn_rdtsc() + vcpu->slice);
	left = left_until(turn);
	do {
		set_timer(left);
		if (!run_once(vcpu, turn))
			return false;
		left = left_until(turn);
	} while (left);
	return true;
}

void vcpu_take_turn(struct vcpu *vcpu, struct vcpu_turn *turn)
{
	uint64_t flags = insn_irq_save();

	vcpu_load(vcpu);
	if (!take_turn(vcpu, turn))
		port_panic("the VM entry above can't have failed by the guest's doing");
	insn_irq_restore(flags);
}

/* ------------------------------------------------------------------ to the next exit */

struct one_exit { struct vcpu_turn turn; struct vcpu_exit *out; };

static enum vcpu_go hand_over(struct vcpu_turn *turn, const struct vcpu_exit *exit)
{
	*((struct one_exit *)turn)->out = *exit;
	atomic_write(&turn->until, 0);
	return VCPU_AGAIN;
}

/* False: the VMCS is wrong by the host's doing. */
static bool run(struct vcpu *vcpu, uint64_t ticks, struct vcpu_exit *out)
{
	static vcpu_answer *const answers[EXIT_KINDS] = { [0 ... EXIT_KINDS - 1] = hand_over };
	struct one_exit one = { .turn.answers = answers, .out = out };
	uint64_t flags = insn_irq_save(), end = ticks ? insn_rdtsc() + ticks : UINT64_MAX;
	bool entered;

	/* A turn may end without an exit that is the caller's, and before its time. */
	do {
		*out = (struct vcpu_exit){ .kind = EXIT_TIMER };
		atomic_write(&one.turn.until, end);
		vcpu_load(vcpu);
		entered = take_turn(vcpu, &one.turn);
	} while (entered && out->kind == EXIT_TIMER && insn_rdtsc() < end);
	insn_irq_restore(flags);
	return entered;
}

void vcpu_run(struct vcpu *vcpu, uint64_t ticks, struct vcpu_exit *out)
{
	if (!run(vcpu, ticks, out))
		port_panic("the VM entry above can't have failed by the guest's doing");
}

/* These reasons stand for nothing else. */
static bool is_failed_entry(const struct vcpu_exit *exit)
{
	return exit->kind == EXIT_OTHER &&
	       (exit->reason == REASON_GUEST_STATE || exit->reason == REASON_MSR_LOADING ||
		exit->reason == REASON_MACHINE_CHECK);
}

enum status vcpu_run_checked(struct vcpu *vcpu, uint64_t ticks, struct vcpu_exit *out)
{
	bool entered = run(vcpu, ticks, out);

	return entered && !is_failed_entry(out) ? STATUS_OK : STATUS_BAD_FORMAT;
}
