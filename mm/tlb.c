/*
 * The other side of tlb.h: called under space->lock by gather.c and by whoever changes entries in
 * place.
 */
#include "mm/tlb.h"

void tlb_flush(struct space *space, uint64_t address)
{
	struct host *host = space->host;
	uint64_t others = atomic_read(&host->cpus_seen) & ~(UINT64_C(1) << port_cpu());

	for (; others; others &= others - 1)
		await(!atomic_read(&host->cpus[__builtin_ctzll(others)].inside));
	host_count(host, HOST_TLB_FLUSHES, 1);
	trace_step(host->trace, TRACE_TLB_FLUSH, address, 0);
}
