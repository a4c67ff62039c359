/* Exceptions and interrupts into a guest, and what exits to give them back. */
#include "tests/boot/box.h"
#include "vmx/insn.h"

enum { VECTOR_DB = 1, VECTOR_BP = 3, VECTOR_UD = 6, VECTOR_GP = 13, VECTOR_PF = 14 };
enum { AT_HANDLER = 16, AT_INTERRUPT = 32, AT_STEP = 64 };

BOOT_TEST("vmx/inject_exception", NEEDS_VMX)
{
	struct box box;

	box_create(&box, BOX_PLAIN);
	box_start(&box, BOX_LONG, SNIPPET(handler));
	box_handler(&box, VECTOR_GP, AT_HANDLER);
	vcpu_inject_exception(box.vcpu, VECTOR_GP, 0x1230);
	box_run_to_hlt(box.vcpu);
	expect_equal(vcpu_reg(box.vcpu, REG_RBX), 0x1230);
	expect_equal(vcpu_reg(box.vcpu, REG_RCX), BOX_CODE);

	/* One without an error code: RIP is what comes first off the stack. */
	box_start(&box, BOX_LONG, SNIPPET(handler));
	box_handler(&box, VECTOR_UD, AT_HANDLER);
	vcpu_inject_exception(box.vcpu, VECTOR_UD, NO_ERROR_CODE);
	box_run_to_hlt(box.vcpu);
	expect_equal(vcpu_reg(box.vcpu, REG_RBX), BOX_CODE);

	/* Delivered once: the next run begins where the handler stopped. */
	expect(!(vmcs_read(VMCS_ENTRY_EVENT) & EVENT_VALID));
	box_destroy(&box);
}

/* Real mode has no error codes; an entry with one would be refused. */
BOOT_TEST("vmx/inject_exception_real", NEEDS_VMX)
{
	struct box box;

	box_create(&box, BOX_PLAIN);
	box_start(&box, BOX_REAL, SNIPPET(real));
	/* 0000:1006, the first HLT */
	*box_word(&box, BOX_IDT + VECTOR_GP * 4) = BOX_CODE + 6;
	vcpu_inject_exception(box.vcpu, VECTOR_GP, 0);
	box_run_to_hlt(box.vcpu);
	expect_equal(*box_word(&box, BOX_WORDS), 0);
	expect_equal((uint16_t)*box_word(&box, BOX_STACK - 6), BOX_CODE);
	box_destroy(&box);
}

BOOT_TEST("vmx/catch_exceptions", NEEDS_VMX)
{
	struct vcpu_exit exit;
	struct box box;

	box_create_vm(&box, BOX_PLAIN);
	vm_catch_exceptions(box.vm, UINT32_C(1) << VECTOR_PF);
	box_create_vcpu(&box);
	box_start(&box, BOX_LONG, SNIPPET(write));
	vcpu_set_reg(box.vcpu, REG_RSI, UINT64_C(1) << 40);
	box_run(box.vcpu, &exit);
	expect_equal(exit.kind, EXIT_EXCEPTION);
	expect_equal(exit.exception.vector, VECTOR_PF);
	expect(exit.exception.has_error);
	expect_equal(exit.exception.error, 2);				/* a write, not present */
	expect_equal(exit.qualification, UINT64_C(1) << 40);	/* CR2 is not set by an exit */
	box_destroy(&box);
}

/* Without an IDT: double fault, then triple. */
BOOT_TEST("vmx/triple_fault", NEEDS_VMX)
{
	struct vcpu_exit exit;
	struct box box;

	box_create(&box, BOX_PLAIN);
	box_start(&box, BOX_LONG, SNIPPET(write));
	vcpu_set_reg(box.vcpu, REG_RSI, UINT64_C(1) << 40);
	box_run(box.vcpu, &exit);
	expect_equal(exit.kind, EXIT_TRIPLE_FAULT);
	box_destroy(&box);
}

/* #DB exits for safety's sake and is given back: the guest steps itself. */
BOOT_TEST("vmx/single_step", NEEDS_VMX)
{
	const uint64_t single_step = 1 << 14;
	struct box box;

	box_create(&box, BOX_PLAIN);
	box_start(&box, BOX_LONG, SNIPPET(step));
	box_handler(&box, VECTOR_DB, AT_STEP);
	box_run_to_hlt(box.vcpu);
	expect_equal(vcpu_reg(box.vcpu, REG_R8) & single_step, single_step);
	expect_equal(vcpu_reg(box.vcpu, REG_RCX), BOX_CODE + 11);	/* after the NOP */
	box_destroy(&box);
}

/* As INT1 does it: RIP is past it, DR6 knows nothing. */
BOOT_TEST("vmx/int1", NEEDS_VMX)
{
	struct box box;

	box_create(&box, BOX_PLAIN);
	box_start(&box, BOX_LONG, SNIPPET(int1));
	box_handler(&box, VECTOR_DB, AT_HANDLER);
	box_run_to_hlt(box.vcpu);
	expect_equal(vcpu_reg(box.vcpu, REG_RBX), BOX_CODE + 2);
	box_destroy(&box);
}

/* The exit is in the shadow of MOV SS with TF set: an entry that keeps the shadow is refused. */
BOOT_TEST("vmx/int1_in_shadow", NEEDS_VMX)
{
	struct box box;

	box_create(&box, BOX_PLAIN);
	box_start(&box, BOX_LONG, SNIPPET(int1_in_shadow));
	box_handler(&box, VECTOR_DB, AT_INTERRUPT);
	box_run_to_hlt(box.vcpu);
	expect_equal(vcpu_reg(box.vcpu, REG_RIP), BOX_CODE + AT_INTERRUPT + 2);
	box_destroy(&box);
}

static void step_over_cpuid(struct vcpu *vcpu)
{
	struct vcpu_exit exit;

	box_run(vcpu, &exit);
	expect_equal(exit.kind, EXIT_CPUID);
	vcpu_skip(vcpu, exit.length);
}

/* TF's #DB comes after an instruction that vmx's caller does for the guest, too. */
BOOT_TEST("vmx/single_step_over_exit", NEEDS_VMX)
{
	const uint64_t single_step = 1 << 14;
	struct box box;

	box_create(&box, BOX_PLAIN);
	box_start(&box, BOX_LONG, SNIPPET(step_cpuid));
	box_handler(&box, VECTOR_DB, AT_INTERRUPT);
	step_over_cpuid(box.vcpu);
	box_run_to_hlt(box.vcpu);
	expect_equal(vcpu_reg(box.vcpu, REG_RBX), BOX_CODE + 9);	/* after the CPUID */
	expect_equal(vcpu_reg(box.vcpu, REG_R8) & single_step, single_step);
	box_destroy(&box);
}

/* Wanted while interrupts are off; comes after STI and the instruction in its shadow. */
BOOT_TEST("vmx/interrupt_window", NEEDS_VMX)
{
	struct vcpu_exit exit;
	struct box box;

	box_create(&box, BOX_PLAIN);
	box_start(&box, BOX_LONG, SNIPPET(interrupt));
	box_handler(&box, 0x40, AT_INTERRUPT);
	expect(!vcpu_can_take_interrupt(box.vcpu));
	step_over_cpuid(box.vcpu);
	vcpu_want_irq_window(box.vcpu, true);

	box_run(box.vcpu, &exit);		/* the CPUID in the shadow of STI */
	expect_equal(exit.kind, EXIT_CPUID);
	expect(!vcpu_can_take_interrupt(box.vcpu));
	vcpu_skip(box.vcpu, exit.length);
	expect(vcpu_can_take_interrupt(box.vcpu));

	box_run(box.vcpu, &exit);
	expect_equal(exit.kind, EXIT_IRQ_WINDOW);
	expect(vcpu_can_take_interrupt(box.vcpu));
	vcpu_want_irq_window(box.vcpu, false);
	vcpu_inject_interrupt(box.vcpu, 0x40);
	expect(!vcpu_can_take_interrupt(box.vcpu));
	box_run_to_hlt(box.vcpu);		/* in the handler */
	expect_equal(vcpu_reg(box.vcpu, REG_RBP), 1);
	expect(!vcpu_can_take_interrupt(box.vcpu));
	box_run_to_hlt(box.vcpu);		/* after its IRET */
	expect_equal(vcpu_reg(box.vcpu, REG_RSI), 1);
	expect_equal(vcpu_reg(box.vcpu, REG_RBP), 1);
	box_destroy(&box);
}

/*
 * The stack is not there when the event is delivered: an EPT violation in the middle of it. After
 * the page is back the event comes again, with its error code; nothing is lost or doubled.
 */
BOOT_TEST("vmx/event_cut_off", NEEDS_VMX)
{
	struct vcpu_exit exit;
	struct box box;
	uint64_t *stack, entry;

	box_create(&box, BOX_PLAIN);
	box_start(&box, BOX_LONG, SNIPPET(handler));
	box_handler(&box, VECTOR_GP, AT_HANDLER);
	stack = box_entry(&box, LEVEL_4K, BOX_STACK - 8);
	entry = *stack;
	*stack = 0;
	vmx_invept(box.vm->eptp);
	vcpu_inject_exception(box.vcpu, VECTOR_GP, 0x4560);
	for (unsigned i = 0; i < 3; i++) {
		box_run(box.vcpu, &exit);
		expect_equal(exit.kind, EXIT_EPT_VIOLATION);
		expect(exit.ept.access & ACCESS_WRITE);
		expect(!vcpu_can_take_interrupt(box.vcpu));
	}
	*stack = entry;
	box_run_to_hlt(box.vcpu);
	expect_equal(vcpu_reg(box.vcpu, REG_RBX), 0x4560);
	expect_equal(vcpu_reg(box.vcpu, REG_RCX), BOX_CODE);
	expect_equal(vcpu_reg(box.vcpu, REG_RSP), BOX_STACK - 4 * 8);
	box_destroy(&box);
}

/* The same in real mode, by a fault of the guest's own: there it has no error code. */
BOOT_TEST("vmx/event_cut_off_real", NEEDS_VMX)
{
	struct vcpu_exit exit;
	struct box box;
	uint64_t *stack, entry;

	box_create(&box, BOX_PLAIN);
	box_start(&box, BOX_REAL, SNIPPET(real_fault));
	*box_word(&box, BOX_IDT + VECTOR_GP * 4) = BOX_CODE + AT_HANDLER;
	stack = box_entry(&box, LEVEL_4K, BOX_STACK - 2);
	entry = *stack;
	*stack = 0;
	vmx_invept(box.vm->eptp);
	box_run(box.vcpu, &exit);
	expect_equal(exit.kind, EXIT_EPT_VIOLATION);
	*stack = entry;
	box_run_to_hlt(box.vcpu);
	expect_equal(vcpu_reg(box.vcpu, REG_RIP), BOX_CODE + AT_HANDLER + 1);
	expect_equal(vcpu_reg(box.vcpu, REG_RSP), BOX_STACK - 3 * 2);
	expect_equal((uint16_t)*box_word(&box, BOX_STACK - 6), BOX_CODE);
	box_destroy(&box);
}

/* A guest that lives on exits that vmx answers is given no more time than any other. */
BOOT_TEST("vmx/answered_for_ever", NEEDS_VMX)
{
	struct vcpu_exit exit;
	struct box box;

	box_create(&box, BOX_PLAIN);
	box_start(&box, BOX_LONG, SNIPPET(invd));
	box_run(box.vcpu, &exit);
	expect_equal(exit.kind, EXIT_TIMER);
	box_destroy(&box);
}
