/*
 * Accesses through a process's tables (boot/process.h). Called by tests, and by whoever plays a
 * process. The upper half of the process's root gets the image's own entries, which never change
 * after boot_main(), so the image runs on under either CR3 (Linux: clone_pgd_range).
 *
 *	space_enter		from here on mm waits for us
 *	CR3 = the process's	and nothing of it is left in the TLB: its entries are not global
 *	the access		it may fault: recovered, and taken below
 *	CR3 = the image's
 *	space_leave
 */
#include "boot/cpu.h"
#include "boot/insn.h"
#include "boot/paging.h"
#include "boot/process.h"
#include "boot/traps.h"
#include "mm/base/atomic.h"

enum { HALF = 256, ENTRIES = 512 };

/* Whoever comes first; two that do it at a time write the same. */
static void fill_upper_half(hpa_t root)
{
	const atomic64_t *ours = hpa_to_ptr(paging_root());
	atomic64_t *theirs = hpa_to_ptr(root);

	if (atomic_read(&theirs[ENTRIES - 1]))
		return;
	for (unsigned i = HALF; i < ENTRIES; i++)
		atomic_write(&theirs[i], atomic_read(&ours[i]));
}

/* The access that faulted, as this CPU's last page fault tells. SDM "Page-Fault Error Code". */
static enum status take_fault(struct space *space, hva_t address)
{
	const uint64_t write = 1 << 1;
	const struct cpu *cpu = this_cpu();

	if (cpu->recovered_vector != VECTOR_PAGE_FAULT)
		return STATUS_BAD_RANGE;	/* not canonical */
	return space_fault(space, address,
			   cpu->recovered_error & write ? ACCESS_WRITE : ACCESS_READ);
}

/* `value` is where a load goes, or what is stored. */
static enum status reach(struct space *space, hva_t address, enum access access, uint64_t *value)
{
	enum status status = STATUS_OK;
	bool done = false;

	if (address.raw % sizeof(*value))
		return STATUS_BAD_RANGE;
	while (!done && status == STATUS_OK) {
		void *there = (void *)address.raw;
		hpa_t root = space_enter(space);

		fill_upper_half(root);
		write_cr3(root.raw);
		done = access == ACCESS_WRITE ? try_write(there, *value) : try_read(there, value);
		write_cr3(paging_root().raw);
		space_leave(space);
		if (!done)
			status = take_fault(space, address);
	}
	return status;
}

enum status process_load(struct space *space, hva_t from, uint64_t *value)
{
	return reach(space, from, ACCESS_READ, value);
}

enum status process_store(struct space *space, hva_t to, uint64_t value)
{
	return reach(space, to, ACCESS_WRITE, &value);
}
