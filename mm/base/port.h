/*
 * What mm asks of the ground it stands on. Implemented by boot/port.c in the image and by
 * tests/host/port.c in hosted programs.
 */
#ifndef MM_BASE_PORT_H
#define MM_BASE_PORT_H

#include <stddef.h>
#include <stdint.h>

#include "mm/base/addr.h"

#define MAX_CPUS 64

/*
 * All physical memory is mapped, readable and writable, from this address up: in the image by
 * boot's page tables, hosted by one sparse mapping (an address that AddressSanitizer and
 * ThreadSanitizer leave to programs).
 */
#if __STDC_HOSTED__
#define DIRECT_MAP UINT64_C(0x00007e9000000000)
#else
#define DIRECT_MAP UINT64_C(0xffff800000000000)
#endif

static inline void *hpa_to_ptr(hpa_t address) { return (void *)(DIRECT_MAP + address.raw); }
static inline void *pfn_to_ptr(pfn_t frame) { return hpa_to_ptr(pfn_to_hpa(frame)); }
static inline hpa_t ptr_to_hpa(const void *pointer) { return hpa((uint64_t)pointer - DIRECT_MAP); }
static inline pfn_t ptr_to_pfn(const void *pointer) { return hpa_to_pfn(ptr_to_hpa(pointer)); }

/* The number of the CPU that runs this, 0..MAX_CPUS-1. It can't change inside mm and ept code. */
#if defined(EXPLORE)
unsigned port_cpu(void);
#elif __STDC_HOSTED__
extern _Thread_local unsigned port_thread_cpu __attribute__((tls_model("local-exec")));
static inline unsigned port_cpu(void) { return port_thread_cpu; }
#else
/* On every way into and out of a guest, thus one instruction: GS points to boot's struct cpu. */
#define PORT_CPU_OFFSET 8
static inline unsigned port_cpu(void)
{
	return *(const __seg_gs unsigned *)PORT_CPU_OFFSET;
}
#endif

/* Between two looks at a word that another CPU will change. */
void port_relax(void);

/* One line for the person at the console; printf's conversions. */
void port_log(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Stops every CPU, after one line that says why. */
_Noreturn void port_panic(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
