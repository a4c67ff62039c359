/* A guest for a test: made, run to its end by tasks on all CPUs, its console kept. */
#ifndef TESTS_BOOT_GUEST_RUN_H
#define TESTS_BOOT_GUEST_RUN_H

#include "boot/boot.h"
#include "guest/machine/machine.h"
#include "guest/machine/payload.h"
#include "tests/tap.h"

enum { GUEST_OUTPUT = 16384 };

struct guest_run {
	struct machine_config config;
	struct machine *machine;
	struct machine_status status;
	uint64_t deadline;			/* TSC */
	uint64_t slice;				/* ticks that a vCPU gets at a time */
	struct guest_cpu { struct task task; struct guest_run *run; unsigned number; }
		cpu[MACHINE_VCPUS_MAX];
	char error[LOAD_ERROR_MAX];
	char output[GUEST_OUTPUT];		/* what it sent to COM1, terminated */
	unsigned used;
	const char *input;			/* what it may read from there */
};

/* Fills in a configuration that works; the payload by its name. */
void guest_prepare(struct guest_run *run, const char *payload, uint64_t mem_mib, unsigned vcpus);
/* False, after a failed expectation, when it cannot be made. */
bool guest_create(struct guest_run *run);
/* Starts a task for each vCPU; guest_wait returns when the VM has ended. */
void guest_start(struct guest_run *run);
void guest_wait(struct guest_run *run);
void guest_destroy(struct guest_run *run);
/* All of these in turn. */
void guest_to_its_end(struct guest_run *run);
/* The text occurs in its output; in the reason of its end. */
bool guest_said(const struct guest_run *run, const char *text);
bool guest_why(const struct guest_run *run, const char *text);

#endif
