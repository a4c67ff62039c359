/* What vmx asks of the board. Implemented by boot/port.c. */
#ifndef VMX_PORT_H
#define VMX_PORT_H

#include "mm/base/check.h"

/* Zeroed 4 KiB pages in the direct map for VMCSs, bitmaps and the like: 2^order of them. */
MUST_USE enum status port_pages_alloc(unsigned order, void **out);
void port_pages_free(void *pages);

/* Sends an NMI to that CPU. */
void port_send_nmi(unsigned cpu);

/* The host state that VM exits restore on this CPU, apart from what vmx reads from registers. */
struct port_host_state {
	uint64_t tr_base, gdtr_base, idtr_base;
};
void port_host_state(struct port_host_state *out);

/* Time stamp counter ticks a second; SDM "Time-Stamp Counter". */
uint64_t port_tsc_hz(void);

/*
 * The other way round, implemented by vmx: boot's NMI handler calls it with the place of the
 * interrupted RIP, which it may change; the handler returns there. It takes no lock.
 */
void vmx_nmi_in_host(uint64_t *rip);

#endif
