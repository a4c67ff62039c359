/*
 * VMs: the bitmaps that all vCPUs of one share. Made and changed before its vCPUs run, by one
 * caller; read by the CPU. SDM "I/O-Bitmap Addresses", "MSR-Bitmap Address".
 */
#include "vmx/port.h"
#include "vmx/vcpu_state.h"

/* Pages of a VM: itself, the MSR bitmap, the two I/O bitmaps. */
enum { VM_ORDER = 2 };

/* Offsets in the MSR bitmap, of MSRs 0..1fff and c0000000..c0001fff. */
enum { MSR_READ_LOW = 0, MSR_READ_HIGH = 1024, MSR_WRITE_LOW = 2048, MSR_WRITE_HIGH = 3072 };

#define MSR_SYSENTER_CS  0x174
#define MSR_SYSENTER_ESP 0x175
#define MSR_SYSENTER_EIP 0x176
#define MSR_PAT          0x277
#define MSR_EFER         0xc0000080
#define MSR_FS_BASE      0xc0000100
#define MSR_GS_BASE      0xc0000101

static void clear_bit(uint8_t *bitmap, unsigned bit)
{
	bitmap[bit / 8] &= (uint8_t)~(1u << bit % 8);
}

void vm_pass_port(struct vm *vm, uint16_t port)
{
	clear_bit(vm->io_bitmaps, port);
}

void vm_pass_msr(struct vm *vm, uint32_t msr)
{
	bool high = msr >= 0xc0000000;

	if ((high ? msr - 0xc0000000 : msr) >= 0x2000)
		return;			/* those always exit */
	clear_bit(vm->msr_bitmap + (high ? MSR_READ_HIGH : MSR_READ_LOW), msr & 0x1fff);
	clear_bit(vm->msr_bitmap + (high ? MSR_WRITE_HIGH : MSR_WRITE_LOW), msr & 0x1fff);
}

/* What the VMCS holds, and what stays in the CPU while a vCPU is loaded. */
static void pass_switched_msrs(struct vm *vm)
{
	static const uint32_t in_vmcs[] = { MSR_SYSENTER_CS, MSR_SYSENTER_ESP, MSR_SYSENTER_EIP,
					    MSR_PAT, MSR_EFER, MSR_FS_BASE, MSR_GS_BASE };

	for (unsigned i = 0; i < sizeof in_vmcs / sizeof in_vmcs[0]; i++)
		vm_pass_msr(vm, in_vmcs[i]);
	for (unsigned i = 0; i < GUEST_MSRS; i++)
		vm_pass_msr(vm, vcpu_guest_msrs[i]);
}

enum status vm_create_raw(uint64_t eptp, struct vm **out)
{
	void *pages;
	enum status status = port_pages_alloc(VM_ORDER, &pages);
	struct vm *vm = pages;

	if (status != STATUS_OK)
		return status;
	vm->eptp = eptp;
	vm->msr_bitmap = (uint8_t *)pages + PAGE_SIZE;
	vm->io_bitmaps = (uint8_t *)pages + 2 * PAGE_SIZE;
	for (unsigned i = 0; i < PAGE_SIZE; i++)
		vm->msr_bitmap[i] = vm->io_bitmaps[i] = vm->io_bitmaps[PAGE_SIZE + i] = 0xff;
	pass_switched_msrs(vm);
	*out = vm;
	return STATUS_OK;
}

enum status vm_create(struct ept *ept, struct vm **out)
{
	enum status status = vm_create_raw(ept_pointer(ept), out);

	if (status == STATUS_OK)
		(*out)->ept = ept;
	return status;
}

void vm_destroy(struct vm *vm)
{
	check(!atomic_read(&vm->vcpus));
	port_pages_free(vm);
}

struct ept *vm_ept(struct vm *vm)
{
	return vm->ept;
}

void vm_catch_exceptions(struct vm *vm, uint32_t vectors)
{
	vm->exceptions = vectors;
}
