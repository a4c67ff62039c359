/*
 * Dropping this CPU's cached translations, and making another CPU leave its guest so that it
 * drops its own: the CPU side of ept/flush.c. SDM "Caching Translation Information".
 */
#include "ept/port.h"

#include "vmx/caps.h"
#include "vmx/port.h"
#include "vmx/vcpu_state.h"

enum { SINGLE_CONTEXT = 1, ALL_CONTEXTS = 2 };

struct descriptor { uint64_t first, second; };

void vmx_invept(uint64_t eptp)
{
	struct descriptor descriptor = { eptp, 0 };
	uint64_t type = SINGLE_CONTEXT;
	bool failed;

	__asm__ volatile("invept %[at], %[type]"
			 : "=@ccna"(failed)
			 : [at] "m"(descriptor), [type] "r"(type) : "memory");
	if (failed)
		port_panic("INVEPT of EPTP 0x%llx: %s", (unsigned long long)eptp,
			   vmcs_error_text(vmcs_instruction_error()));
}

void vmx_invvpid(uint16_t vpid)
{
	struct descriptor descriptor = { vpid, 0 };
	uint64_t type = vmx_caps.invvpid_single ? SINGLE_CONTEXT : ALL_CONTEXTS;
	bool failed;

	__asm__ volatile("invvpid %[at], %[type]"
			 : "=@ccna"(failed) : [at] "m"(descriptor), [type] "r"(type) : "memory");
	if (failed)
		port_panic("INVVPID of VPID %u: %s", vpid,
			   vmcs_error_text(vmcs_instruction_error()));
}

/*
 * An NMI, because a guest can't hold it off; entry.S says why one that comes just before an
 * entry is not lost. To a CPU that has left already it is an interruption without consequence.
 */
void port_kick(unsigned cpu)
{
	port_send_nmi(cpu);
}
