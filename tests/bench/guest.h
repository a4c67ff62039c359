/*
 * A guest for the workloads (work.h): something with an EPT that stores and loads where it is told
 * to. Two can do it, and what runs on them does not know which it is:
 *
 *	guest_soft	the soft CPU, hosted and in the image
 *	guest_vmx	a vCPU that runs the benchmark's payload (guest/abi.h), in the image
 *
 * Its test memory begins at GUEST_BASE, where it has no region yet; the workload adds one, and maps
 * what backs it at GUEST_BACKING. One guest at a time.
 */
#ifndef TESTS_BENCH_GUEST_H
#define TESTS_BENCH_GUEST_H

#include "ept/ept.h"
#include "guest/abi.h"

#define GUEST_BASE	gpa(ABI_FLAT_REGION1)
#define GUEST_BACKING	(UINT64_C(1) << 40)

struct guest { struct space *space; struct ept *ept; };

struct guest_kind {
	/* False: there is not the memory for it. */
	bool (*open)(struct host *host, enum ept_policy policy, struct guest *out);
	/* One word in each of so many pages. It is outside of the guest before and after. */
	void (*touch)(uint64_t first, uint64_t pages, enum access access);
	/* Translations that its CPU has kept are gone, as if others had needed their places. */
	void (*forget)(void);
	void (*close)(void);
};

extern const struct guest_kind guest_soft, guest_vmx;

#endif
