/*
 * The host's mischief (boot/harass.h). One range a step, so that a machine with one CPU runs the
 * guest in between. Holds no lock of its own: mm's do.
 */
#include "boot/harass.h"
#include "mm/base/list.h"

enum { LONGEST = 64 };			/* pages; but now and then a whole area is asked back */

/* George Marsaglia, "Xorshift RNGs", the triple 13, 7, 17. */
static uint64_t draw(struct harass *harass)
{
	harass->random ^= harass->random << 13;
	harass->random ^= harass->random >> 7;
	harass->random ^= harass->random << 17;
	return harass->random;
}

/* Out of memory half way is no fault of the guest's: what was not changed stays as it was. */
static void spend(enum status status)
{
	check(status == STATUS_OK || status == STATUS_NO_MEMORY);
}

static void take_one(struct harass *harass)
{
	unsigned area = (unsigned)(draw(harass) % harass->area_count);
	uint64_t pages = harass->areas[area].bytes / PAGE_SIZE;
	uint64_t first = draw(harass) % pages;
	uint64_t count = 1 + draw(harass) % LONGEST;
	uint64_t moved = 0;

	if (count > pages - first)
		count = pages - first;

	hva_t start = hva_add(harass->areas[area].start, first * PAGE_SIZE);

	harass->ranges++;
	switch (draw(harass) % 256) {
	case 0:
		spend(space_invalidate(harass->space, harass->areas[area].start,
				       harass->areas[area].bytes));
		harass->invalidated += pages;
		break;
	case 1 ... 15:
		spend(space_split(harass->space, start, count * PAGE_SIZE));
		break;
	case 16 ... 127:
		spend(space_migrate(harass->space, start, count * PAGE_SIZE, &moved));
		harass->migrated += moved;
		break;
	default:
		spend(space_invalidate(harass->space, start, count * PAGE_SIZE));
		harass->invalidated += count;
		break;
	}
}

static enum task_result step(struct task *task)
{
	struct harass *harass = container_of(task, struct harass, task);

	if (atomic_read(&harass->stop))
		return TASK_DONE;

	uint64_t now = tsc_now();

	if (now < harass->next)
		return TASK_IDLE;
	harass->next = now + harass->interval;
	take_one(harass);
	return TASK_AGAIN;
}

void harass_add_area(struct harass *harass, hva_t start, uint64_t bytes)
{
	check(harass->area_count < HARASS_AREAS_MAX && bytes >= PAGE_SIZE);
	harass->areas[harass->area_count].start = start;
	harass->areas[harass->area_count].bytes = bytes;
	harass->area_count++;
}

void harass_start(struct harass *harass, struct space *space, int home, uint64_t rate,
		  uint64_t seed)
{
	check(harass->area_count && rate);
	harass->space = space;
	harass->interval = tsc_hz() / rate;
	harass->next = tsc_now();
	harass->random = seed ? seed : 1;
	harass->task = (struct task){ .name = "harass", .step = step, .home = home };
	task_start(&harass->task);
}

void harass_stop(struct harass *harass)
{
	atomic_write(&harass->stop, 1);
	task_wait(&harass->task);
}
