/* Which controls are chosen from which capabilities, this machine's and made-up ones. */
#include "boot/string.h"
#include "tests/tap.h"
#include "vmx/caps.h"
#include "vmx/vmx.h"

/* Everything may be set and may be clear. */
#define FREE (UINT64_C(0xffffffff) << 32)

static void allow_all(uint64_t allowed[CONTROL_WORDS])
{
	for (unsigned word = PIN; word < EPT_VPID; word++)
		allowed[word] = FREE;
	allowed[EPT_VPID] = ~UINT64_C(0);
}

BOOT_TEST("vmx/caps", NEEDS_VMX)
{
	uint64_t allowed[CONTROL_WORDS];

	caps_read(allowed);
	for (unsigned word = PIN; word < EPT_VPID; word++) {
		uint32_t chosen = vmx_caps.control[word];

		expect_equal(chosen & (uint32_t)allowed[word], (uint32_t)allowed[word]);
		expect_equal(chosen & ~(uint32_t)(allowed[word] >> 32), 0);
	}
	expect_equal(vmx_caps.control[PRIMARY] & PRIMARY_IRQ_WINDOW, 0);
	expect(vmx_ept_caps()->max_level >= LEVEL_4K && vmx_ept_caps()->max_level <= LEVEL_1G);
	expect(vmx_caps.fpu_bytes >= 512);
	expect(vmx_cpu_is_on());
}

BOOT_TEST("vmx/caps_all", NEEDS_NOTHING)
{
	uint64_t allowed[CONTROL_WORDS];
	struct vmx_caps caps;
	char missing[64];

	allow_all(allowed);
	caps_choose(allowed, &caps, missing, sizeof missing);
	expect(!strcmp(missing, ""));
	expect_equal(caps.control[PIN], 0x49);
	expect_equal(caps.control[SECONDARY], 0xa2);	/* not PML, nor anything unheard of */
	expect(caps.vpid && caps.invvpid_single && caps.pml && caps.execute_only);
	expect_equal(caps.ept.max_level, LEVEL_1G);
	expect(caps.ept.accessed_dirty && caps.ept.pml);
}

BOOT_TEST("vmx/caps_missing", NEEDS_NOTHING)
{
	uint64_t allowed[CONTROL_WORDS];
	struct vmx_caps caps;
	char missing[512], little[28];

	/* One that can't be set, one that can't be cleared, one that must be switched. */
	allow_all(allowed);
	allowed[PIN] &= ~(UINT64_C(1) << (32 + 3));
	allowed[PRIMARY] |= 1 << 15;
	allowed[ENTRY] |= 1 << 9;
	allowed[EPT_VPID] &= ~(UINT64_C(1) << 14);
	caps_choose(allowed, &caps, missing, sizeof missing);
	expect(!strcmp(missing, "NMI exiting, CR3-load exiting, IA-32e mode guest, "
				"EPT write-back memory type"));

	/* What does not fit is left out whole. */
	caps_choose(allowed, &caps, little, sizeof little);
	expect(!strcmp(little, "NMI exiting"));

	/* What must be one is set, asked for or not. */
	expect(caps.control[ENTRY] & ENTRY_IA32E_GUEST);
}

BOOT_TEST("vmx/caps_wanted", NEEDS_NOTHING)
{
	uint64_t allowed[CONTROL_WORDS];
	struct vmx_caps caps;
	char missing[512];

	allow_all(allowed);
	allowed[SECONDARY] &= ~(UINT64_C(1) << (32 + 17));
	allowed[EPT_VPID] &= ~(UINT64_C(1) << 17 | UINT64_C(1) << 21 | UINT64_C(1) << 32);
	caps_choose(allowed, &caps, missing, sizeof missing);
	expect(!strcmp(missing, ""));
	expect(!caps.pml && !caps.ept.pml && !caps.vpid && !caps.ept.accessed_dirty);
	expect_equal(caps.control[SECONDARY], 0x82);	/* no VPID where it can't be invalidated */
	expect_equal(caps.ept.max_level, LEVEL_2M);

	/* The one without the other. */
	allowed[SECONDARY] |= UINT64_C(1) << (32 + 17);
	caps_choose(allowed, &caps, missing, sizeof missing);
	expect(caps.pml && !caps.ept.pml);
	allowed[SECONDARY] &= ~(UINT64_C(1) << (32 + 17));
	allowed[EPT_VPID] |= UINT64_C(1) << 21;
	caps_choose(allowed, &caps, missing, sizeof missing);
	expect(caps.ept.accessed_dirty && !caps.ept.pml);
}
