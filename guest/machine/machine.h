/*
 * The PC that a guest sees: one VM, its memory regions, its devices, the vCPUs' exits answered.
 */
#ifndef GUEST_MACHINE_MACHINE_H
#define GUEST_MACHINE_MACHINE_H

#include "guest/load/load.h"
#include "vmx/vcpu.h"

enum { MACHINE_VCPUS_MAX = 8 };
enum { MACHINE_MEM_MIN = 1, MACHINE_MEM_MAX = 65536 };	/* MiB of guest memory */

struct machine;

/* Where the guest's serial port leads. put: one byte out; get: the next byte in, or -1. */
struct machine_console {
	void (*put)(void *context, uint8_t byte);
	int (*get)(void *context);
	void *context;
};

struct machine_config {
	const char *name;		/* in messages */
	uint64_t mem_mib;
	unsigned vcpus;
	unsigned max_level;		/* largest EPT leaf and host folio level, 1..3 */
	struct machine_console console;
	struct load_request load;
};

/*
 * Creates a host space with the guest's memory in it, the EPT, the VM, the devices, loads the
 * image and puts vCPU 0 at its entry; the others wait for a start (INIT-SIPI needs the local
 * APIC; until then payloads of ours start them through machine_start_vcpu). On failure `error`
 * (LOAD_ERROR_MAX bytes) has one line and nothing is left behind.
 */
MUST_USE enum status machine_create(struct host *host, const struct machine_config *config,
				    struct machine **out, char *error);
void machine_destroy(struct machine *machine);

enum machine_result {
	MACHINE_YIELD,			/* its time is over, or it was kicked: run it again */
	MACHINE_IDLE,			/* halted and nothing pending: run it again later */
	MACHINE_ENDED,			/* the VM ended: machine_status has why */
};

/* Runs one vCPU on this CPU for about `ticks` TSC ticks, answering its exits. */
enum machine_result machine_run(struct machine *machine, unsigned vcpu, uint64_t ticks);

enum machine_end { END_RUNNING, END_EXIT_PORT, END_RESET, END_TRIPLE_FAULT, END_KILLED };
struct machine_status {
	enum machine_end end;
	int code;			/* END_EXIT_PORT: (v << 1) | 1 & 0xff, 0 for ... see contract */
	char why[120];			/* one line: "exit port, status 1"; "write to GPA 0x.. where nothing is" */
};
void machine_read_status(struct machine *machine, struct machine_status *out);
/* From any CPU: the VM ends at the next exit of each vCPU. */
void machine_kill(struct machine *machine, const char *why);

struct ept *machine_ept(struct machine *machine);
struct space *machine_space(struct machine *machine);
/* The host range that backs guest RAM region i (0: from GPA 0); false past the last. */
bool machine_memory(struct machine *machine, unsigned i, hva_t *start, uint64_t *bytes);

/* Exits by kind, unknown ports and MSRs, one "# stat NAME VALUE UNIT" line each, names prefixed. */
void machine_print_stats(struct machine *machine);

#endif
