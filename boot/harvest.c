/* The reader of dirty logs (boot/harvest.h). Holds no lock of its own: ept's do. */
#include "boot/harvest.h"
#include "mm/base/list.h"

static uint64_t words_of(const struct machine_memory *memory)
{
	return ((memory->bytes >> PAGE_SHIFT) + 63) / 64;
}

static uint64_t harvest_part(struct harvest *harvest, const struct machine_memory *memory)
{
	uint64_t pages = 0;

	check(ept_log_get(machine_ept(harvest->machine), gpa_to_gfn(memory->start),
			  harvest->words) == STATUS_OK);
	for (uint64_t i = 0; i < words_of(memory); i++)
		for (uint64_t left = harvest->words[i]; left; left &= left - 1)
			pages++;
	return pages;
}

/* Some at a time; a copy would be made after each reset. */
static uint64_t harvest_ring(struct harvest *harvest, struct ept_ring *ring)
{
	enum { AT_ONCE = 64 };
	gfn_t frames[AT_ONCE];
	uint64_t pages = 0;
	unsigned count;

	while ((count = ept_ring_harvest(ring, frames, AT_ONCE)) > 0)
		pages += ept_ring_reset(machine_ept(harvest->machine), ring);
	return pages;
}

static bool a_ring_is_full(const struct harvest *harvest)
{
	struct ept_ring *ring;

	for (unsigned i = 0; (ring = machine_ring(harvest->machine, i)); i++)
		if (ept_ring_is_full(ring))
			return true;
	return false;
}

static void harvest_all(struct harvest *harvest)
{
	struct machine_memory memory;
	struct ept_ring *ring;
	uint64_t pages = 0;

	for (unsigned i = 0; (ring = machine_ring(harvest->machine, i)); i++)
		pages += harvest_ring(harvest, ring);
	for (unsigned i = 0; machine_memory(harvest->machine, i, &memory); i++)
		pages += harvest_part(harvest, &memory);
	harvest->harvests++;
	harvest->pages += pages;
	if (pages > harvest->most)
		harvest->most = pages;
}

static enum task_result step(struct task *task)
{
	struct harvest *harvest = container_of(task, struct harvest, task);
	uint64_t now = tsc_now();

	if (atomic_read(&harvest->stop))
		return TASK_DONE;
	if (now < harvest->next && !a_ring_is_full(harvest))
		return TASK_IDLE;
	harvest_all(harvest);
	/* Of its end, so that the guest has its turn where a harvest takes longer than that. */
	harvest->next = tsc_now() + harvest->interval;
	return TASK_AGAIN;
}

/* Of the first parts, so many. */
static void disable(struct machine *machine, unsigned parts)
{
	struct machine_memory memory;

	for (unsigned i = 0; i < parts && machine_memory(machine, i, &memory); i++)
		check(ept_log_disable(machine_ept(machine), gpa_to_gfn(memory.start)) == STATUS_OK);
}

static enum status enable(struct machine *machine, enum log_kind kind)
{
	const struct log_options options = { .kind = kind };
	struct machine_memory memory;

	for (unsigned i = 0; machine_memory(machine, i, &memory); i++) {
		enum status status = ept_log_enable(machine_ept(machine), gpa_to_gfn(memory.start),
						    &options);

		if (status != STATUS_OK) {
			disable(machine, i);
			return status;
		}
	}
	return STATUS_OK;
}

enum status harvest_start(struct harvest *harvest, struct machine *machine, enum log_kind kind,
			  uint64_t rate)
{
	struct machine_memory memory;
	uint64_t words = 1;
	pfn_t frame;

	for (unsigned i = 0; machine_memory(machine, i, &memory); i++)
		words = words_of(&memory) > words ? words_of(&memory) : words;
	enum status status = folio_alloc(boot_host(), bytes_order(words * 8), &frame);

	if (status != STATUS_OK)
		return status;
	status = enable(machine, kind);
	if (status != STATUS_OK) {
		folio_put(boot_host(), frame);
		return status;
	}
	*harvest = (struct harvest){ .machine = machine, .words = pfn_to_ptr(frame),
				     .interval = tsc_hz() / rate, .next = tsc_now(),
				     .task = { .name = "harvest", .step = step,
					       .home = TASK_ANYWHERE } };
	task_start(&harvest->task);
	return STATUS_OK;
}

void harvest_stop(struct harvest *harvest)
{
	atomic_write(&harvest->stop, 1);
	task_wait(&harvest->task);
	harvest_all(harvest);
	disable(harvest->machine, REGIONS_MAX);
	folio_put(boot_host(), ptr_to_pfn(harvest->words));
}
