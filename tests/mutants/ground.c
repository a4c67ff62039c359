/*
 * What a program of mutants has beside the unit test that it is: one test of it can be asked for by
 * name, and waiting for ever is a failure that the test itself reports, counted in looks at a word
 * and not in seconds. Linked with --wrap=port_relax.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <sys/single_threaded.h>
#include <unistd.h>

#include "mm/base/port.h"

/*
 * Threads of sound code looked 200,000 times at most. After more they sleep between two looks, so
 * that a machine that stands still for a second does not pass for a wait without end. Where there
 * is one thread, nobody ends its wait.
 */
enum { LOOKS_ALONE = 1000, LOOKS_AWAKE = 500 * 1000, LOOKS = LOOKS_AWAKE + 4000 };

void __real_port_relax(void);
void __wrap_port_relax(void);

void __wrap_port_relax(void)
{
	static _Thread_local unsigned looks;

	if (++looks > (__libc_single_threaded ? LOOKS_ALONE : LOOKS)) {
		looks = 0;
		port_panic("waits for what never comes");
	}
	if (looks > LOOKS_AWAKE)
		usleep(1000);
	__real_port_relax();
}

__attribute__((constructor)) static void only_one_test(void)
{
	cmocka_set_test_filter(getenv("MUTANT_TEST"));
}
