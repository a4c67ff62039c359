/* The soft CPU's side of agree.h. */
#include "mm/base/check.h"
#include "tests/host/agree.h"

static enum access access_of(enum agree_verb verb)
{
	switch (verb) {
	case AGREE_LOAD: return ACCESS_READ;
	case AGREE_STORE: return ACCESS_WRITE;
	case AGREE_EXCHANGE: return (enum access)(ACCESS_READ | ACCESS_WRITE);
	case AGREE_FETCH: return ACCESS_EXEC;
	case AGREE_END:
	case AGREE_CLEAR:
	case AGREE_INVEPT: break;
	}
	return ACCESS_NONE;
}

static void clear(const struct agree_world *world, const struct agree_step *step)
{
	uint64_t *entry = agree_entry(world, AGREE_EPT, step->offset, step->page);

	atomic_and((atomic64_t *)(void *)entry, ~step->value);
}

/* What the guest of the real CPU is: long mode, CPL 0, WP and NXE set. */
static void start(const struct agree_world *world, struct soft_cpu *cpu)
{
	soft_cpu_init(cpu, NULL);
	cpu->eptp = world->eptp;
	cpu->physical_bits = world->physical_bits;
	cpu->execute_only = world->execute_only;
	cpu->paging = true;
	cpu->cr3 = AGREE_TABLES;
	cpu->pml = world->what->flags & AGREE_LOG;
	cpu->pml_index = world->what->index;
	cpu->pml_address = ptr_to_hpa(world->log).raw;
}

void agree_on_soft(const struct agree_world *world, struct soft_cpu *cpu, struct agree_seen *seen)
{
	*seen = (struct agree_seen){ 0 };
	start(world, cpu);
	for (unsigned i = 0; i < AGREE_STEPS && seen->exit.kind == SOFT_DONE; i++) {
		const struct agree_step *step = &world->what->steps[i];
		uint64_t linear = agree_gpa(world, step->page).raw + step->offset;

		seen->loaded[i] = step->value;
		if (step->verb == AGREE_END)
			break;
		if (step->verb == AGREE_CLEAR)
			clear(world, step);
		else if (step->verb == AGREE_INVEPT)
			soft_invept(cpu);
		else
			seen->exit = soft_linear_access(cpu, linear, access_of(step->verb),
							&seen->loaded[i]);
	}
	seen->index = cpu->pml_index;
}
