/*
 * Operations of guests, devices and the host on one space and one EPT, and their schedule: the
 * input, the rules and the oracle are those of tests/host/operations.h. TRACE in the environment
 * shows what an input does.
 */
#include <stdlib.h>

#include "tests/fuzz/fuzz.h"
#include "tests/host/arena.h"
#include "tests/host/operations.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct ept_stats stats;

	port_log_show(getenv("TRACE"));
	arena_keep(true);
	operations_run(bytes, size, &stats);
	return 0;
}
