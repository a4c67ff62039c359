/*
 * The PC that a guest sees: one VM, its memory regions, its devices, the vCPUs' exits answered.
 *
 *	multiboot, Linux	0          640K   1M                3G     4G
 *				|--- RAM ----|text|--- RAM ---...-----|hole--|--- the rest of RAM
 *--- (640K..1M has memory behind it, VGA text page included, but the guest's memory map leaves it
 *out) flat			region 0: 0..2 MiB; region 1, the test memory: from 1 GiB, all the
 *rest
 */
#ifndef GUEST_MACHINE_MACHINE_H
#define GUEST_MACHINE_MACHINE_H

#include "guest/load/load.h"
#include "vmx/vcpu.h"

enum { MACHINE_VCPUS_MAX = 8 };
enum { MACHINE_MEM_MIN = 1, MACHINE_MEM_MAX = 65536 };	/* MiB of guest memory */
enum { MACHINE_FLAT_MIN = 3, MACHINE_FLAT_MAX = 1026 };	/* the same, for a flat payload */

struct machine;

/* Where the guest's serial port leads. put: one byte out; get: the next byte in, or -1. */
struct machine_console {
	void (*put)(void *context, uint8_t byte);
	int (*get)(void *context);
	void *context;
};

struct machine_config {
	const char *name;		/* in messages; kept until machine_destroy */
	uint64_t mem_mib;
	unsigned vcpus;
	unsigned max_level;		/* largest EPT leaf and host folio level, 1..3 */
	enum ept_policy policy;		/* when folios are marked: ept.h */
	unsigned prefetch;		/* pages that a fault maps at once: ept_set_prefetch */
	unsigned ring_entries;		/* of each vCPU's ring of dirty pages; 0: none */
	uint64_t unix_time;		/* the guest's real-time clock starts here */
	struct machine_console console;
	struct load_request load;
};

/*
 * Creates a host space with the guest's memory in it, the EPT, the VM, the devices, loads the
 * image and puts vCPU 0 at its entry; the others wait until the guest starts them (guest/abi.h,
 * ABI_CALL_START_CPU). On failure `error` (LOAD_ERROR_MAX bytes) has one line and nothing is left
 * behind.
 */
MUST_USE enum status machine_create(struct host *host, const struct machine_config *config,
				    struct machine **out, char *error);
/* No CPU may be in machine_run, or enter it later. */
void machine_destroy(struct machine *machine);

enum machine_result {
	MACHINE_YIELD, /* its time is over, or it was kicked: run it again */
	MACHINE_IDLE, /* halted or not started, nothing pending: run it again later */
	MACHINE_ENDED, /* the VM ended: machine_read_status has why */
};

/*
 * Runs one vCPU on this CPU for about `ticks` TSC ticks, at least until one exit, answering its
 * exits. Different vCPUs may run on different CPUs at once; one vCPU is run by one CPU at a time,
 * any CPU.
 */
enum machine_result machine_run(struct machine *machine, unsigned vcpu, uint64_t ticks);

enum machine_end { END_RUNNING, END_EXIT_PORT, END_RESET, END_TRIPLE_FAULT, END_KILLED };

/*
 * A guest ends itself by a write of v to the exit port; its code is then (v << 1) | 1, so a clean
 * end is v = 0, code 1. `make run` ends with 0 for code 1, with code & 0xff for any other (2 should
 * that be 0 or 1), and with 2 for every other end.
 */
struct machine_status {
	enum machine_end end;
	uint32_t code;			/* END_EXIT_PORT only */
	char why[120]; /* one line: "exit port, status 1"; "write to GPA 0x.. where nothing is" */
};
void machine_read_status(struct machine *machine, struct machine_status *out);
/* The exit status that stands for it, as above. */
int machine_exit_status(const struct machine_status *status);
/* From any CPU: the VM ends at the next exit of each vCPU. */
void machine_kill(struct machine *machine, const char *why);
/*
 * After END_EXIT_PORT, with no vCPU being run: as if the guest had not ended; vCPU 0 goes on
 * behind its OUT. How benchmarks hand commands to a flat payload.
 */
void machine_resume(struct machine *machine);

unsigned machine_vcpus(struct machine *machine);
struct vcpu *machine_vcpu(struct machine *machine, unsigned vcpu);
struct ept *machine_ept(struct machine *machine);
struct space *machine_space(struct machine *machine);
/* Guest memory by parts, in ascending order of GPA: where it is for the guest, and what range of
 * machine_space backs it. False past the last. For a flat payload part i is its region i. */
struct machine_memory { gpa_t start; hva_t backing; uint64_t bytes; };
bool machine_memory(struct machine *machine, unsigned i, struct machine_memory *out);

/*
 * A vCPU's ring: full, the vCPU does not run until it is reset. NULL: it has none, or there is no
 * such vCPU. What the machine stores in its stead, by INS, is a device's: logged by LOG_RING_ONLY,
 * such memory takes none of it, and the guest ends.
 */
struct ept_ring *machine_ring(struct machine *machine, unsigned vcpu);

/* Exits of one kind, all vCPUs together. */
uint64_t machine_exits(struct machine *machine, enum exit_kind kind);
/* Accesses to ports that nobody claims, and to MSRs that do not exist here. */
struct machine_unclaimed { uint64_t port_reads, port_writes, msr_reads, msr_writes; };
void machine_read_unclaimed(struct machine *machine, struct machine_unclaimed *out);

/* Exits by kind, unclaimed ports and MSRs, one "# stat NAME VALUE UNIT" line each, names prefixed.
 */
void machine_print_stats(struct machine *machine);

#endif
