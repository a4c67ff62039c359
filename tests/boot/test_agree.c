/*
 * The list of tests/host/agree.h on this machine's CPU, in a guest of its own tables, and on the
 * soft CPU beside it. What the two disagree about is an erratum of the list, or a failure.
 */
#include "boot/boot.h"
#include "tests/boot/box.h"
#include "tests/host/agree.h"
#include "vmx/caps.h"
#include "vmx/insn.h"
#include "vmx/port.h"
#include "vmx/vmx.h"

enum { STEP_WORDS = 3, VECTOR_PF = 14, REASON_PML_FULL = 62 };
#define CR0_WP   (UINT64_C(1) << 16)
#define EFER_NXE (UINT64_C(1) << 11)

/* The guest's code, stack and tables lie where a box has them. */
_Static_assert(AGREE_TABLES == BOX_TABLES && AGREE_ALIAS == BOX_BYTES, "tests/boot/box.h");
_Static_assert(AGREE_MEMORY_ORDER == 6 && BOX_BYTES == 64 * PAGE_SIZE, "tests/boot/box.h");

static void *pages(unsigned order)
{
	void *pages;

	check(port_pages_alloc(order, &pages) == STATUS_OK);
	return pages;
}

static struct agree_world world_create(void)
{
	return (struct agree_world){
		.tables = pages(AGREE_TABLES_ORDER), .memory = pages(AGREE_MEMORY_ORDER),
		.log = pages(0), .physical_bits = insn_cpuid(0x80000008, 0).eax & 0xff,
	};
}

static void world_destroy(struct agree_world *world)
{
	port_pages_free(world->tables);
	port_pages_free(world->memory);
	port_pages_free(world->log);
}

/* ------------------------------------------------------------------ this machine's CPU */

static uint64_t *word_at(const struct agree_world *world, uint64_t address)
{
	return (uint64_t *)(void *)(world->memory + address);
}

static uint64_t address_of(const struct agree_world *world, const struct agree_step *step)
{
	if (step->verb == AGREE_CLEAR)
		return AGREE_ALIAS + (3 - step->offset) * PAGE_SIZE +
		       (step->offset == LEVEL_4K ? step->page * 8 : 0);
	return agree_gpa(world, step->page).raw + step->offset;
}

/* The guest's steps from `first` up to one that is the host's; returns which that is. */
static unsigned write_steps(const struct agree_world *world, unsigned first)
{
	uint64_t *word = word_at(world, BOX_WORDS);
	unsigned i = first;

	for (; i < AGREE_STEPS; i++, word += STEP_WORDS) {
		const struct agree_step *step = &world->what->steps[i];

		if (step->verb == AGREE_END || step->verb == AGREE_INVEPT)
			break;
		word[0] = step->verb;
		word[1] = address_of(world, step);
		word[2] = step->value;
	}
	word[0] = AGREE_END;
	return i;
}

static void start(const struct agree_world *world, struct vcpu *vcpu)
{
	const struct snippet snippet = SNIPPET(steps);

	for (const uint8_t *from = snippet.start; from < snippet.end; from++)
		world->memory[BOX_CODE + (from - snippet.start)] = *from;
	box_start_vcpu(vcpu, BOX_LONG);
	vcpu_set_control(vcpu, CONTROL_EFER, vcpu_control(vcpu, CONTROL_EFER) | EFER_NXE);
	vcpu_set_control(vcpu, CONTROL_CR0, vcpu_control(vcpu, CONTROL_CR0) | CR0_WP);
	vcpu_set_reg(vcpu, REG_RSI, BOX_WORDS);
}

static void start_log(const struct agree_world *world)
{
	vmcs_write(VMCS_SECONDARY_CONTROLS, vmx_caps.control[SECONDARY] | SECONDARY_PML);
	vmcs_write(VMCS_PML_ADDRESS, ptr_to_hpa(world->log).raw);
	vmcs_write(VMCS_PML_INDEX, world->what->index);
}

/* As the soft CPU would say it. */
static struct soft_exit exit_of(struct vcpu *vcpu, const struct vcpu_exit *exit)
{
	if (exit->kind == EXIT_HLT)
		return (struct soft_exit){ .kind = SOFT_DONE };
	if (exit->kind == EXIT_EPT_VIOLATION)
		return (struct soft_exit){ SOFT_VIOLATION, exit->ept.address, exit->qualification,
					   exit_ept_linear_valid(exit) ? vcpu_exit_linear(vcpu)
								       : 0 };
	if (exit->kind == EXIT_EPT_MISCONFIGURATION)
		return (struct soft_exit){ SOFT_MISCONFIGURATION, exit->ept.address, 0, 0 };
	if (exit->kind == EXIT_EXCEPTION && exit->exception.vector == VECTOR_PF)
		return (struct soft_exit){ SOFT_PAGE_FAULT, gpa(0), exit->exception.error,
					   exit->qualification };
	if (exit->reason == REASON_PML_FULL)
		return (struct soft_exit){ .kind = SOFT_PML_FULL };
	print("# agree: exit %s, reason %u, at 0x%llx\n", exit_kind_name(exit->kind), exit->reason,
	      (unsigned long long)vcpu_reg(vcpu, REG_RIP));
	return (struct soft_exit){ .kind = (enum soft_kind)-1 };
}

static void run_steps(const struct agree_world *world, struct vcpu *vcpu, struct agree_seen *seen)
{
	struct vcpu_exit exit;

	for (unsigned next, first = 0; first < AGREE_STEPS; first = next + 1) {
		next = write_steps(world, first);
		start(world, vcpu);
		vmx_invept(world->eptp);
		box_run(vcpu, &exit);
		seen->exit = exit_of(vcpu, &exit);
		for (unsigned i = first; i < next; i++)
			seen->loaded[i] = word_at(world, BOX_WORDS)[(i - first) * STEP_WORDS + 2];
		if (seen->exit.kind != SOFT_DONE || next == AGREE_STEPS ||
		    world->what->steps[next].verb == AGREE_END)
			break;
	}
}

static void run_on_machine(const struct agree_world *world, struct agree_seen *seen)
{
	struct vcpu *vcpu;
	struct vm *vm;

	*seen = (struct agree_seen){ .index = world->what->index };
	check(vm_create_raw(world->eptp, &vm) == STATUS_OK);
	vm_catch_exceptions(vm, 1 << VECTOR_PF);
	check(vcpu_create(vm, &vcpu) == STATUS_OK);
	vcpu_load(vcpu);
	if (world->what->flags & AGREE_LOG)
		start_log(world);
	run_steps(world, vcpu, seen);
	if (world->what->flags & AGREE_LOG)
		seen->index = (uint16_t)vmcs_read(VMCS_PML_INDEX);
	vcpu_destroy(vcpu);
	vm_destroy(vm);
}

BOOT_TEST("agree/machine", NEEDS_VMX)
{
	struct agree_world world = world_create();
	struct agree_tally tally = { .say = print };
	struct agree_seen seen;

	world.accessed_dirty = vmx_ept_caps()->accessed_dirty;
	world.pml = vmx_caps.pml;
	world.execute_only = vmx_caps.execute_only;
	world.max_level = vmx_ept_caps()->max_level;
	if (!(insn_cpuid(0x80000001, 0).edx & 1 << 26)) {
		tap_skip("no guest pages of 1 GiB");
		world_destroy(&world);
		return;
	}
	for (unsigned i = 0; i < agree_case_count; i++) {
		if (!agree_can(&world, &agree_cases[i])) {
			tally.left_out++;
			continue;
		}
		agree_build(&world, &agree_cases[i]);
		run_on_machine(&world, &seen);
		agree_judge(&world, &seen, true, &tally);
	}
	expect(agree_report(&tally, "machine"));
	expect(tally.agreed > 300);
	world_destroy(&world);
}

/* ------------------------------------------------------------------ the soft CPU */

BOOT_TEST("agree/soft", NEEDS_NOTHING)
{
	struct agree_world world = world_create();
	struct agree_tally tally = { .say = print };
	struct soft_cpu *cpu = pages(5);
	struct agree_seen seen;

	_Static_assert(sizeof(*cpu) <= 32 * PAGE_SIZE, "its pages");
	world.physical_bits = 46;
	world.accessed_dirty = world.pml = world.execute_only = true;
	world.max_level = LEVEL_1G;
	for (unsigned i = 0; i < agree_case_count; i++) {
		if (!agree_can(&world, &agree_cases[i]))
			continue;
		agree_build(&world, &agree_cases[i]);
		agree_on_soft(&world, cpu, &seen);
		agree_judge(&world, &seen, false, &tally);
	}
	expect(agree_report(&tally, "soft"));
	port_pages_free(cpu);
	world_destroy(&world);
}
