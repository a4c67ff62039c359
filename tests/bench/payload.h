/*
 * In the image: a flat payload that runs what the mailbox says and hands over (guest/abi.h). The
 * built-in one, or a file that the loader brought.
 */
#ifndef TESTS_BENCH_PAYLOAD_H
#define TESTS_BENCH_PAYLOAD_H

#include "guest/machine/machine.h"

struct payload_command { uint64_t command, base, count, stride, value; };

/* What runs from now on; it is kept. The built-in one at first. */
void payload_use(const struct load_file *image);

/*
 * A machine with a payload in it that has started, and done nothing but a loop of one. NULL, and a
 * line on the console, where it does not work. `max_level`: of all leaves.
 */
struct machine *payload_open(struct host *host, enum ept_policy policy, uint64_t mem_mib,
			     unsigned max_level);
/*
 * Runs one command. The ticks that the payload measured for it go to *ticks unless it is NULL.
 * False, and a line on the console: it ended in another way, or not at all.
 */
bool payload_do(struct machine *machine, const struct payload_command *command, uint64_t *ticks);

#endif
