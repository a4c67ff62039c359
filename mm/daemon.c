/*
 * The jobs of daemon.h. Whoever does a step owns the job meanwhile, by its state: plain fields need
 * no lock.
 *
 *	OFF -> ON -> BUSY -> ON		start, and a step
 *	       BUSY -> STOPPING -> OFF	stop, while a step is under way: its end is the stop's
 */
#include "mm/daemon.h"
#include "mm/host.h"

enum { OFF, ON, BUSY, STOPPING };

static const struct job {
	const char *name;
	/* Deals with so many pages at most, and says with how many. */
	uint64_t (*work)(struct host *host, uint64_t pages);
} jobs[DAEMONS] = {
	[DAEMON_RECLAIM] = { "reclaim", host_balance },
	[DAEMON_FLUSH] = { "flush", host_flush },
	[DAEMON_KSM] = { "ksm", ksm_scan },
	[DAEMON_NUMA] = { "numa", numa_scan },
};

const char *daemon_name(enum daemon_kind kind) { return jobs[kind].name; }

static bool become(struct daemon *daemon, uint32_t from, uint32_t to)
{
	return atomic_cmpxchg(&daemon->state, &from, to);
}

enum status daemon_start(struct host *host, enum daemon_kind kind, struct daemon_rate rate)
{
	struct daemon *daemon = &host->daemons[kind];

	if (!rate.pages)
		return STATUS_BAD_RANGE;
	if (!become(daemon, OFF, BUSY))
		return STATUS_EXISTS;
	daemon->interval = rate.interval;
	daemon->pages = rate.pages;
	daemon->started = false;
	atomic_write(&daemon->state, ON);
	return STATUS_OK;
}

void daemon_stop(struct host *host, enum daemon_kind kind)
{
	struct daemon *daemon = &host->daemons[kind];

	for (;;) {
		if (become(daemon, ON, OFF) || atomic_read(&daemon->state) == OFF)
			return;
		if (become(daemon, BUSY, STOPPING) || atomic_read(&daemon->state) == STOPPING)
			await(atomic_read(&daemon->state) != STOPPING);
	}
}

static bool is_due(const struct daemon *daemon, uint64_t now)
{
	return !daemon->started || now - daemon->last >= daemon->interval;
}

bool daemon_step(struct host *host, enum daemon_kind kind, uint64_t now)
{
	struct daemon *daemon = &host->daemons[kind];

	if (!become(daemon, ON, BUSY))
		return false;

	bool due = is_due(daemon, now);

	if (due) {
		daemon->started = true;
		daemon->last = now;
		atomic_bump(&daemon->steps, 1);
		atomic_bump(&daemon->done, jobs[kind].work(host, daemon->pages));
	}
	if (!become(daemon, BUSY, ON))
		atomic_write(&daemon->state, OFF);
	return due;
}

void daemon_read_stats(struct host *host, enum daemon_kind kind, struct daemon_stats *out)
{
	out->steps = atomic_read(&host->daemons[kind].steps);
	out->pages = atomic_read(&host->daemons[kind].done);
}
