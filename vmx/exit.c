/*
 * The current VMCS's account of an exit, as a value. One table says for each basic exit reason what
 * kind it is and which fields the SDM defines for it; nothing else is read, since every VMREAD
 * counts on the way of an exit.
 */
#include "vmx/exit.h"

#include "vmx/vcpu_state.h"

#define ENTRY_FAILED (UINT32_C(1) << 31)

enum { LENGTH = EXIT_LENGTH, QUALIFIED = EXIT_QUALIFIED, DETAIL = EXIT_DETAIL, OURS = EXIT_OURS };
enum { BOTH = QUALIFIED | LENGTH };

/* SDM appendix "VMX Basic Exit Reasons". */
const struct exit_row exit_rows[EXIT_ROWS] = {
	[0] = { EXIT_EXCEPTION, OURS | QUALIFIED | DETAIL },	/* or NMI: EXIT_KICK */
	[1] = { EXIT_INTERRUPT, 0 },
	[2] = { EXIT_TRIPLE_FAULT, 0 },
	[3] = { EXIT_OTHER, OURS },		/* INIT signal */
	[4] = { EXIT_OTHER, OURS | QUALIFIED },	/* start-up IPI */
	[5] = { EXIT_OTHER, OURS },
	[6] = { EXIT_OTHER, OURS },
	[7] = { EXIT_IRQ_WINDOW, 0 },
	[8] = { EXIT_OTHER, OURS },		/* NMI window */
	[9] = { EXIT_OTHER, OURS | BOTH },		/* task switch */
	[10] = { EXIT_CPUID, LENGTH },
	[11] = { EXIT_INVALID_INSTRUCTION, LENGTH },	/* GETSEC */
	[12] = { EXIT_HLT, LENGTH },
	[13] = { EXIT_OTHER, OURS | LENGTH },		/* INVD */
	[14] = { EXIT_OTHER, OURS | BOTH },
	[15] = { EXIT_OTHER, OURS | LENGTH },		/* RDPMC */
	[16] = { EXIT_OTHER, OURS | LENGTH },
	[17] = { EXIT_OTHER, OURS | LENGTH },
	[18] = { EXIT_VMCALL, LENGTH },
	[19] = { EXIT_INVALID_INSTRUCTION, LENGTH },	/* VMCLEAR ... VMXON */
	[20] = { EXIT_INVALID_INSTRUCTION, LENGTH },
	[21] = { EXIT_INVALID_INSTRUCTION, LENGTH },
	[22] = { EXIT_INVALID_INSTRUCTION, LENGTH },
	[23] = { EXIT_INVALID_INSTRUCTION, LENGTH },
	[24] = { EXIT_INVALID_INSTRUCTION, LENGTH },
	[25] = { EXIT_INVALID_INSTRUCTION, LENGTH },
	[26] = { EXIT_INVALID_INSTRUCTION, LENGTH },
	[27] = { EXIT_INVALID_INSTRUCTION, LENGTH },
	[28] = { EXIT_CR_ACCESS, OURS | BOTH | DETAIL },
	[29] = { EXIT_OTHER, OURS | BOTH },		/* MOV DR */
	[30] = { EXIT_IO, BOTH | DETAIL },
	[31] = { EXIT_RDMSR, LENGTH },
	[32] = { EXIT_WRMSR, LENGTH },
	[33] = { EXIT_OTHER, OURS | QUALIFIED },	/* entry failed: guest state */
	[34] = { EXIT_OTHER, OURS | QUALIFIED },	/* entry failed: MSR loading */
	[36] = { EXIT_INVALID_INSTRUCTION, LENGTH },	/* MWAIT */
	[37] = { EXIT_OTHER, OURS },
	[39] = { EXIT_INVALID_INSTRUCTION, LENGTH },	/* MONITOR */
	[40] = { EXIT_OTHER, OURS | LENGTH },
	[41] = { EXIT_OTHER, OURS },		/* machine check during entry */
	[48] = { EXIT_EPT_VIOLATION, OURS | QUALIFIED | DETAIL },
	[49] = { EXIT_EPT_MISCONFIGURATION, OURS | DETAIL },
	[50] = { EXIT_INVALID_INSTRUCTION, LENGTH },	/* INVEPT */
	[51] = { EXIT_OTHER, OURS | LENGTH },
	[52] = { EXIT_TIMER, 0 },
	[53] = { EXIT_INVALID_INSTRUCTION, LENGTH },	/* INVVPID */
	[54] = { EXIT_OTHER, OURS | LENGTH },		/* WBINVD */
	[55] = { EXIT_XSETBV, LENGTH },
	[58] = { EXIT_INVALID_INSTRUCTION, LENGTH },	/* INVPCID */
	[59] = { EXIT_INVALID_INSTRUCTION, LENGTH },	/* VMFUNC */
	[62] = { EXIT_OTHER, OURS | QUALIFIED },	/* page-modification log full */
};

const char *exit_kind_name(enum exit_kind kind)
{
	static const char *const names[EXIT_KINDS] = {
		[EXIT_EXCEPTION] = "exception",
		[EXIT_INTERRUPT] = "interrupt",
		[EXIT_KICK] = "kick",
		[EXIT_TRIPLE_FAULT] = "triple_fault",
		[EXIT_TIMER] = "timer",
		[EXIT_IRQ_WINDOW] = "irq_window",
		[EXIT_CPUID] = "cpuid",
		[EXIT_HLT] = "hlt",
		[EXIT_VMCALL] = "vmcall",
		[EXIT_CR_ACCESS] = "cr_access",
		[EXIT_IO] = "io",
		[EXIT_RDMSR] = "rdmsr",
		[EXIT_WRMSR] = "wrmsr",
		[EXIT_EPT_VIOLATION] = "ept_violation",
		[EXIT_EPT_MISCONFIGURATION] = "ept_misconfiguration",
		[EXIT_XSETBV] = "xsetbv",
		[EXIT_INVALID_INSTRUCTION] = "invalid_instruction",
		[EXIT_OTHER] = "other",
	};

	return kind < EXIT_KINDS ? names[kind] : "unknown";
}

/* SDM "Information for VM Exits Due to Vectored Events". */
static void decode_event(struct vcpu_exit *out)
{
	uint32_t event = (uint32_t)vmcs_read(VMCS_EXIT_EVENT);

	if ((event >> 8 & 7) == TYPE_NMI) {
		out->kind = EXIT_KICK;
		return;
	}
	out->exception.vector = (uint8_t)event;
	out->exception.type = event >> 8 & 7;
	out->exception.has_error = event & EVENT_ERROR_CODE;
	out->exception.error = out->exception.has_error ?
		(uint32_t)vmcs_read(VMCS_EXIT_ERROR_CODE) : 0;
	if (out->exception.type >= TYPE_SOFT_INTERRUPT)
		out->length = (uint32_t)vmcs_read(VMCS_EXIT_LENGTH);
}

/* SDM "Exit Qualification for I/O Instructions". */
static void decode_io(struct vcpu_exit *out)
{
	uint64_t q = out->qualification;

	out->io.size = (uint8_t)((q & 7) + 1);
	out->io.in = q & 1 << 3;
	out->io.string = q & 1 << 4;
	out->io.repeat = q & 1 << 5;
	out->io.port = (uint16_t)(q >> 16);
}

/* SDM "Exit Qualification for Control-Register Accesses". */
static void decode_cr(struct vcpu_exit *out)
{
	uint64_t q = out->qualification;

	out->cr.number = q & 15;
	out->cr.access = q >> 4 & 3;
	out->cr.reg = q >> 8 & 15;
	out->cr.lmsw = (uint16_t)(q >> 16);
}

static void decode_ept_misconfiguration(struct vcpu_exit *out)
{
	out->ept = (struct exit_ept){ .address = gpa(vmcs_read(VMCS_GUEST_PHYSICAL)) };
}

static void decode_detail(struct vcpu_exit *out)
{
	if (out->kind == EXIT_EXCEPTION)
		decode_event(out);
	else if (out->kind == EXIT_IO)
		decode_io(out);
	else if (out->kind == EXIT_CR_ACCESS)
		decode_cr(out);
	else if (out->kind == EXIT_EPT_VIOLATION)
		exit_decode_ept_violation(out);
	else
		decode_ept_misconfiguration(out);
}

bool exit_decode_reason(struct vcpu_exit *out, uint32_t word)
{
	unsigned fields = 0;

	out->kind = EXIT_OTHER;
	out->reason = word & 0xffff;
	if (out->reason < EXIT_ROWS) {
		out->kind = (enum exit_kind)exit_rows[out->reason].kind;
		fields = exit_rows[out->reason].fields;
	}
	if (fields & LENGTH)
		out->length = (uint32_t)vmcs_read(VMCS_EXIT_LENGTH);
	if (fields & QUALIFIED)
		out->qualification = vmcs_read(VMCS_QUALIFICATION);
	if (fields & DETAIL)
		decode_detail(out);
	return word & ENTRY_FAILED;
}

bool exit_decode(struct vcpu_exit *out)
{
	return exit_decode_reason(out, (uint32_t)vmcs_read(VMCS_EXIT_REASON));
}
