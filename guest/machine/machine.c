/*
 * Making a machine, taking it apart, and its end. The run loop is run.c. Called by the board's
 * console and tests.
 */
#include "guest/machine/parts.h"

#include "guest/abi.h"
#include "guest/load/text.h"
#include "vmx/port.h"
#include "vmx/vmx.h"

#define MIB         (UINT64_C(1) << 20)
#define GIB         (UINT64_C(1) << 30)
#define LOW_END     UINT64_C(0xa0000)
#define HIGH_START  (1 * MIB)
#define HOLE_START  (3 * GIB)
#define HOLE_END    (4 * GIB)
/* Guest address 0 lies here in the host space, so that both agree on what is aligned. */
#define BACKING     (64 * GIB)

/* ------------------------------------------------------------------ checks */

static enum status check_config(const struct machine_config *config, enum load_kind kind,
				char *error)
{
	uint64_t least = kind == LOAD_FLAT ? MACHINE_FLAT_MIN : MACHINE_MEM_MIN;
	uint64_t most = kind == LOAD_FLAT ? MACHINE_FLAT_MAX : MACHINE_MEM_MAX;

	if (config->mem_mib < least || config->mem_mib > most)
		return text_refuse(error, "%s: %lu MiB of guest memory; expected %lu to %lu%s",
				   config->name, config->mem_mib, least, most,
				   kind == LOAD_FLAT ? " for a flat payload" : "");
	if (!config->vcpus || config->vcpus > MACHINE_VCPUS_MAX)
		return text_refuse(error, "%s: %u virtual CPUs; expected 1 to %u", config->name,
				   config->vcpus, (unsigned)MACHINE_VCPUS_MAX);
	if (config->max_level < LEVEL_4K || config->max_level > LEVEL_1G)
		return text_refuse(error, "%s: largest leaf of level %u; expected 1 to 3",
				   config->name, config->max_level);
	return STATUS_OK;
}

/* ------------------------------------------------------------------ memory */

static void add_memory(struct machine *m, uint64_t start, uint64_t bytes)
{
	m->memory[m->memory_count++] =
		(struct machine_memory){ gpa(start), hva(BACKING + start), bytes };
}

static void add_ram(struct machine *m, uint64_t start, uint64_t end)
{
	if (start < end)
		m->ram[m->ram_count++] = (struct load_memory){ gpa(start), end - start };
}

static void lay_out_flat(struct machine *m, uint64_t bytes)
{
	add_memory(m, 0, ABI_FLAT_REGION0);
	add_memory(m, ABI_FLAT_REGION1, bytes - ABI_FLAT_REGION0);
	add_ram(m, 0, ABI_FLAT_REGION0);
	add_ram(m, ABI_FLAT_REGION1, ABI_FLAT_REGION1 + bytes - ABI_FLAT_REGION0);
}

static void lay_out_pc(struct machine *m, uint64_t bytes)
{
	uint64_t below = bytes < HOLE_START ? bytes : HOLE_START;

	add_memory(m, 0, below);
	add_ram(m, 0, LOW_END);
	add_ram(m, HIGH_START, below);
	if (bytes > below) {
		add_memory(m, HOLE_END, bytes - below);
		add_ram(m, HOLE_END, HOLE_END + bytes - below);
	}
}

static enum status create_memory(struct machine *m, const struct machine_config *config)
{
	enum status status = space_create(m->host, &m->space);

	for (unsigned i = 0; !status && i < m->memory_count; i++)
		status = space_map(m->space, m->memory[i].backing, m->memory[i].bytes,
				   PROTECTION_READ_WRITE, config->max_level);
	if (!status)
		status = ept_create(m->space, vmx_ept_caps(), &m->ept);
	if (!status) {
		ept_set_policy(m->ept, config->policy);
		ept_set_prefetch(m->ept, config->prefetch);
	}
	for (unsigned i = 0; !status && i < m->memory_count; i++) {
		struct region region = {
			.start = gpa_to_gfn(m->memory[i].start),
			.pages = m->memory[i].bytes >> PAGE_SHIFT,
			.backing = m->memory[i].backing,
			.rights = REGION_READ_WRITE,
			.max_level = config->max_level,
		};

		status = ept_region_add(m->ept, &region);
	}
	return status;
}

/* ------------------------------------------------------------------ CPUs */

static enum status create_cpus(struct machine *m, unsigned count, unsigned ring_entries)
{
	enum status status = vm_create(m->ept, &m->vm);

	m->start_tsc = read_tsc();
	for (unsigned i = 0; !status && i < count; i++) {
		struct virtual_cpu *cpu = &m->cpu[i];

		status = vcpu_create(m->vm, &cpu->vcpu);
		if (status)
			break;
		cpu->machine = m;
		cpu->number = i;
		m->cpu_count++;
		vcpu_set_tsc_offset(cpu->vcpu, -m->start_tsc);
		if (ring_entries)
			status = ept_ring_create(m->ept, ring_entries, &cpu->ring);
	}
	return status;
}

static void enter_at(struct virtual_cpu *cpu, const struct load_entry *entry)
{
	if (entry->mode == LOAD_LONG)
		vcpu_start_long(cpu->vcpu, entry->rip, entry->cr3);
	else
		vcpu_start_protected(cpu->vcpu, (uint32_t)entry->rip);
	vcpu_set_reg(cpu->vcpu, REG_RAX, entry->rax);
	vcpu_set_reg(cpu->vcpu, REG_RBX, entry->rbx);
	vcpu_set_reg(cpu->vcpu, REG_RSI, entry->rsi);
	vcpu_set_reg(cpu->vcpu, REG_RDI, entry->rdi);
	vcpu_set_reg(cpu->vcpu, REG_RSP, entry->rsp);
	atomic_write(&cpu->state, CPU_RUNNING);
}

static enum status write_memory(void *context, gpa_t to, const void *from, uint64_t bytes)
{
	struct machine *m = context;

	return ept_write_guest(m->ept, to, from, bytes);
}

static enum status load(struct machine *m, const struct load_request *request, char *error)
{
	struct load_target target = { m->ram, m->ram_count, write_memory, m };
	struct load_entry entry;
	enum status status = load_guest(request, &target, &entry, error);

	if (!status)
		enter_at(&m->cpu[0], &entry);
	return status;
}

/* ------------------------------------------------------------------ create, destroy */

static enum status allocate(struct host *host, struct machine **out)
{
	unsigned order = bytes_order(sizeof(struct machine));
	pfn_t frame;
	enum status status;

	status = folio_alloc_zeroed(host, order, &frame);
	if (status)
		return status;
	*out = pfn_to_ptr(frame);
	(*out)->host = host;
	(*out)->order = order;
	return STATUS_OK;
}

/* Everything that can run out of memory; a half-made machine is one that can be destroyed. */
static enum status build(struct machine *m, const struct machine_config *config)
{
	enum status status = create_memory(m, config);

	if (!status)
		status = create_cpus(m, config->vcpus, config->ring_entries);
	if (!status)
		cpuid_make_table(m);
	return status;
}

enum status machine_create(struct host *host, const struct machine_config *config,
			   struct machine **out, char *error)
{
	struct machine *m;
	enum load_kind kind;
	enum status status = load_recognise(&config->load.image, &kind, error);

	if (!status)
		status = check_config(config, kind, error);
	if (status)
		return status;

	status = allocate(host, &m);
	if (status) {
		text_format(error, LOAD_ERROR_MAX, "%s: %s", config->name, status_name(status));
		return status;
	}
	m->name = config->name;
	m->console = config->console;
	if (kind == LOAD_FLAT)
		lay_out_flat(m, config->mem_mib * MIB);
	else
		lay_out_pc(m, config->mem_mib * MIB);
	status = build(m, config);
	if (status)
		text_format(error, LOAD_ERROR_MAX, "%s: cannot make the machine: %s", config->name,
			    status_name(status));
	else
		status = load(m, &config->load, error);
	if (status) {
		machine_destroy(m);
		return status;
	}
	devices_reset(m, config->unix_time, config->mem_mib * 1024);
	*out = m;
	return STATUS_OK;
}

void machine_destroy(struct machine *m)
{
	for (unsigned i = 0; i < m->cpu_count; i++) {
		vcpu_destroy(m->cpu[i].vcpu);
		if (m->cpu[i].ring)
			ept_ring_destroy(m->ept, m->cpu[i].ring);
	}
	if (m->vm)
		vm_destroy(m->vm);
	if (m->ept)
		ept_destroy(m->ept);
	if (m->space)
		space_destroy(m->space);
	folio_put(m->host, ptr_to_pfn(m));
}

struct ept_ring *machine_ring(struct machine *m, unsigned vcpu)
{
	return vcpu < m->cpu_count ? m->cpu[vcpu].ring : NULL;
}

/* ------------------------------------------------------------------ the end */

void machine_end(struct machine *m, enum machine_end end, uint32_t code, const char *format, ...)
{
	va_list arguments;

	if (atomic_xchg(&m->end_claimed, 1))
		return;
	m->status.end = end;
	m->status.code = code;
	va_start(arguments, format);
	text_format_v(m->status.why, sizeof(m->status.why), format, arguments);
	va_end(arguments);
	atomic_write(&m->ended, 1);	/* publishes status; partner: machine_read_status */
	for (unsigned i = 0; i < m->cpu_count; i++)
		look_up(&m->cpu[i]);
}

void machine_kill(struct machine *m, const char *why)
{
	machine_end(m, END_KILLED, 0, "%s", why);
}

void machine_resume(struct machine *m)
{
	check(atomic_read(&m->ended) && m->status.end == END_EXIT_PORT);
	atomic_write(&m->ended, 0);
	atomic_write(&m->end_claimed, 0);
}

void machine_read_status(struct machine *m, struct machine_status *out)
{
	if (atomic_read(&m->ended))
		*out = m->status;
	else
		*out = (struct machine_status){ .end = END_RUNNING, .why = "running" };
}

int machine_exit_status(const struct machine_status *status)
{
	if (status->end != END_EXIT_PORT)
		return 2;
	if (status->code == 1)
		return 0;
	return (status->code & 0xff) > 1 ? (int)(status->code & 0xff) : 2;
}

/* ------------------------------------------------------------------ time */

#define NS_PER_SECOND UINT64_C(1000000000)

uint64_t machine_now(const struct machine *m)
{
	uint64_t ticks = read_tsc() - m->start_tsc, hz = port_tsc_hz();

	return ticks / hz * NS_PER_SECOND + ticks % hz * NS_PER_SECOND / hz;
}

uint64_t machine_ns_to_ticks(uint64_t ns)
{
	uint64_t hz = port_tsc_hz();

	return ns / NS_PER_SECOND * hz + ns % NS_PER_SECOND * hz / NS_PER_SECOND;
}

/* ------------------------------------------------------------------ what others may ask */

unsigned machine_vcpus(struct machine *m) { return m->cpu_count; }
struct ept *machine_ept(struct machine *m) { return m->ept; }
struct space *machine_space(struct machine *m) { return m->space; }

struct vcpu *machine_vcpu(struct machine *m, unsigned vcpu)
{
	check(vcpu < m->cpu_count);
	return m->cpu[vcpu].vcpu;
}

bool machine_memory(struct machine *m, unsigned i, struct machine_memory *out)
{
	if (i >= m->memory_count)
		return false;
	*out = m->memory[i];
	return true;
}
