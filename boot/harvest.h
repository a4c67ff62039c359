/*
 * Who reads a guest's dirty logs, as a migration would: all of its memory is logged, and a task
 * harvests it over and over, and counts what was stored to.
 */
#ifndef BOOT_HARVEST_H
#define BOOT_HARVEST_H

#include "boot/boot.h"
#include "guest/machine/machine.h"
#include "mm/base/atomic.h"

struct harvest {
	struct task task;
	struct machine *machine;
	uint64_t interval, next;	/* TSC ticks between harvests; when the next is due */
	uint64_t *words;		/* for the largest part of the memory */
	atomic32_t stop;		/* set by another CPU; seen at the next step */
	uint64_t harvests, pages, most;	/* so far; pages in all of them, in the fullest one */
};

/*
 * Logs all memory of the machine by that kind; `rate` harvests a second, on any CPU.
 * STATUS_NO_MEMORY, STATUS_UNSUPPORTED: this CPU cannot, and nothing is logged.
 */
MUST_USE enum status harvest_start(struct harvest *harvest, struct machine *machine,
				   enum log_kind kind, uint64_t rate);
/* Returns when it has stopped, after a last harvest; the machine is logged no more. */
void harvest_stop(struct harvest *harvest);

#endif
