/* Who is kicked when ept asks for it. Set up by tests before their threads start. */
#include "ept/port.h"
#include "mm/base/port.h"
#include "tests/host/kick.h"

static struct soft_cpu *attached[MAX_CPUS];
static void (*hooked)(unsigned cpu);

void kick_attach(unsigned cpu, struct soft_cpu *soft) { attached[cpu] = soft; }
void kick_hook(void (*hook)(unsigned cpu)) { hooked = hook; }

void port_kick(unsigned cpu)
{
	if (attached[cpu])
		atomic_write(&attached[cpu]->kicked, 1);
	if (hooked)
		hooked(cpu);
}
