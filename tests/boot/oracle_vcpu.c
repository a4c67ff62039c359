/*
 * See oracle_vcpu.h. Behind the memory that is logged the VM has a few pages that are not: the
 * snippet's, and one for each vCPU with the accesses of its turn, which the host writes before and
 * reads after.
 */
#include "tests/boot/oracle_vcpu.h"

#include "boot/boot.h"
#include "ept/log.h"
#include "tests/boot/box.h"

/* In the space: where the pages are that nobody logs. A turn is over long before its ticks are. */
#define OWN_PAGES hva(UINT64_C(1) << 41)
enum { OWN_BYTES = (1 + ORACLE_WRITERS) << PAGE_SHIFT, TICKS = 1000000 };

static struct hands {
	struct vm *vm;
	struct vcpu *vcpus[ORACLE_WRITERS];
	gpa_t code;			/* then a page for each writer */
	bool mapped;
} hands;

static gpa_t turn_gpa(const struct oracle_writer *w)
{
	return gpa(hands.code.raw + (1 + w->number) * PAGE_SIZE);
}

static enum status lend_own_pages(struct oracle *o)
{
	const struct region region = { gpa_to_gfn(hands.code), OWN_BYTES >> PAGE_SHIFT, OWN_PAGES,
				       REGION_READ_WRITE, LEVEL_4K };
	struct snippet code = SNIPPET(oracle_turn);
	enum status status = space_map(o->memory->space, OWN_PAGES, OWN_BYTES,
				       PROTECTION_READ_WRITE, LEVEL_4K);

	hands.mapped = status == STATUS_OK;
	if (status == STATUS_OK)
		status = ept_region_add(o->ept, &region);
	return status != STATUS_OK ? status
				   : ept_write_guest(o->ept, hands.code, code.start,
						     (uint64_t)(code.end - code.start));
}

static enum status vcpu_hands_open(struct oracle *o)
{
	enum status status;

	hands = (struct hands){ .code = gpa(o->memory->pages * PAGE_SIZE) };
	status = lend_own_pages(o);
	if (status == STATUS_OK)
		status = vm_create(o->ept, &hands.vm);
	for (unsigned i = 0; i < o->plan.writers && status == STATUS_OK; i++)
		status = vcpu_create(hands.vm, &hands.vcpus[i]);
	return status;
}

static void vcpu_hands_close(struct oracle *o)
{
	for (unsigned i = 0; i < ORACLE_WRITERS; i++)
		if (hands.vcpus[i])
			vcpu_destroy(hands.vcpus[i]);
	if (hands.vm)
		vm_destroy(hands.vm);
	if (hands.mapped)
		check(space_unmap(o->memory->space, OWN_PAGES, OWN_BYTES) == STATUS_OK);
}

static void begin_turn(struct oracle_writer *w, struct vcpu *vcpu)
{
	if (ept_write_guest(w->oracle->ept, turn_gpa(w), w->turn, sizeof(w->turn)) != STATUS_OK)
		w->refused++;
	vcpu_start_protected(vcpu, (uint32_t)hands.code.raw);
	vcpu_set_reg(vcpu, REG_RSI, turn_gpa(w).raw);
	vcpu_set_reg(vcpu, REG_RCX, ORACLE_TURN);
}

static void end_turn(struct oracle_writer *w)
{
	if (ept_read_guest(w->oracle->ept, turn_gpa(w), w->turn, sizeof(w->turn)) != STATUS_OK)
		w->refused++;
}

/* True: it may be entered again, now or when there is room in a ring. */
static bool answer(struct oracle_writer *w, const struct vcpu_exit *exit, bool *full)
{
	enum fault_result result = FAULT_FIXED;

	if (exit->kind == EXIT_EPT_VIOLATION)
		result = ept_fault(w->oracle->ept, exit->ept.address, exit->ept.access,
				   exit_ept_allowed(exit));
	else if (exit->kind != EXIT_INTERRUPT && exit->kind != EXIT_KICK &&
		 exit->kind != EXIT_TIMER)
		return false;
	*full = result == FAULT_RING_FULL && w->oracle->plan.log.kind == LOG_RING_ONLY;
	w->full += *full;
	return *full || result == FAULT_FIXED || result == FAULT_RETRY || result == FAULT_SPURIOUS;
}

/* True: the turn is made, or can't be. */
static bool run_turn(struct oracle_writer *w, struct vcpu *vcpu)
{
	uint64_t end = tsc_now() + TICKS;
	struct vcpu_exit exit;
	bool full = false;

	do {
		vcpu_run(vcpu, TICKS, &exit);
		if (exit.kind == EXIT_HLT)
			return true;
		if (!answer(w, &exit, &full)) {
			print("# vCPU %u: %s at 0x%llx\n", w->number, exit_kind_name(exit.kind),
			      (unsigned long long)vcpu_reg(vcpu, REG_RIP));
			w->refused++;
			return true;
		}
	} while (!full && tsc_now() < end);
	return false;
}

static bool vcpu_hands_make(struct oracle_writer *w)
{
	struct oracle *o = w->oracle;
	struct vcpu *vcpu = hands.vcpus[w->number];
	bool made;

	if (!w->on_its_way)
		begin_turn(w, vcpu);
	ept_ring_use(o->ept, w->ring);
	made = run_turn(w, vcpu);
	ept_ring_use(o->ept, NULL);
	if (made)
		end_turn(w);
	return made;
}

const struct oracle_hands oracle_vcpu_hands = { vcpu_hands_open, vcpu_hands_make,
						vcpu_hands_close };
