/*
 * ACPI, as far as it names processors: RSDP, XSDT or RSDT, MADT ("Multiple APIC Description
 * Table" of the ACPI specification). Read once by boot_main(), under the early page tables;
 * every checksum, length and address is checked before it is used.
 */
#include "boot/acpi.h"
#include "boot/layout.h"
#include "boot/memory.h"
#include "boot/string.h"

enum { RSDP_V1_BYTES = 20, RSDP_V2_BYTES = 36, TABLE_MAX = 1 << 20 };
enum { MADT_ENTRIES = 44, MADT_LOCAL_APIC = 0, MADT_LOCAL_X2APIC = 9 };
enum { CPU_ENABLED = 1 };

struct rsdp {
	char signature[8];
	uint8_t checksum, oem[6], revision;
	uint32_t rsdt, length;
	uint64_t xsdt;
	uint8_t whole_checksum, reserved[3];
} __attribute__((packed));

struct table_header {
	char signature[4];
	uint32_t length;
	uint8_t revision, checksum, rest[26];
} __attribute__((packed));

static bool sums_to_zero(const void *table, uint64_t bytes)
{
	uint8_t sum = 0;

	for (uint64_t i = 0; i < bytes; i++)
		sum = (uint8_t)(sum + ((const uint8_t *)table)[i]);
	return sum == 0;
}

/* A table that can be read: in reach, of a sensible length. Its sum is the caller's to check. */
static const struct table_header *find_table(uint64_t address)
{
	const struct table_header *table = hpa_to_ptr(hpa(address));

	if (!address || address > EARLY_MAP_BYTES - TABLE_MAX)
		return NULL;
	if (table->length < sizeof(*table) || table->length > TABLE_MAX)
		return NULL;
	memory_reserve(hpa(address), table->length);
	return table;
}

static void add_cpu(struct acpi_cpus *out, uint32_t apic_id, uint32_t flags)
{
	if (!(flags & CPU_ENABLED))
		return;
	for (unsigned i = 0; i < out->count; i++)
		if (out->apic_id[i] == apic_id)
			return;		/* listed as a local APIC and as an x2APIC */
	if (out->count == MAX_CPUS)
		out->ignored++;
	else
		out->apic_id[out->count++] = apic_id;
}

const char *acpi_read_madt(const void *madt, struct acpi_cpus *out)
{
	const uint8_t *bytes = madt;
	uint32_t length = ((const struct table_header *)madt)->length;

	*out = (struct acpi_cpus){ 0 };
	if (length < MADT_ENTRIES || !sums_to_zero(madt, length))
		return "ACPI's MADT is damaged: its bytes don't sum to 0";
	for (uint32_t at = MADT_ENTRIES; at + 2 <= length; at += bytes[at + 1]) {
		uint8_t type = bytes[at], size = bytes[at + 1];
		uint32_t id, flags;

		if (size < 2 || size > length - at)
			return "ACPI's MADT is damaged: an entry leaves the table";
		if (type == MADT_LOCAL_APIC && size >= 8) {
			memcpy(&flags, bytes + at + 4, sizeof(flags));
			add_cpu(out, bytes[at + 3], flags);
		} else if (type == MADT_LOCAL_X2APIC && size >= 16) {
			memcpy(&id, bytes + at + 4, sizeof(id));
			memcpy(&flags, bytes + at + 8, sizeof(flags));
			add_cpu(out, id, flags);
		}
	}
	return out->count ? NULL : "ACPI's MADT lists no enabled processor";
}

/* Looks through an XSDT (8-byte addresses) or RSDT (4-byte addresses) for the MADT. */
static const char *read_root(const struct table_header *root, unsigned width,
			     struct acpi_cpus *out)
{
	if (!root || !sums_to_zero(root, root->length))
		return "ACPI's root table is damaged or out of reach";
	for (uint32_t at = sizeof(*root); at + width <= root->length; at += width) {
		uint64_t address = 0;
		const struct table_header *table;

		memcpy(&address, (const uint8_t *)root + at, width);
		table = find_table(address);
		if (table && !memcmp(table->signature, "APIC", 4))
			return acpi_read_madt(table, out);
	}
	return "ACPI has no MADT, the table that lists the processors";
}

const char *acpi_read_cpus(const uint8_t *rsdp, unsigned bytes, struct acpi_cpus *out)
{
	struct rsdp root = { 0 };

	if (bytes < RSDP_V1_BYTES)
		return "the loader gives no ACPI root pointer (RSDP), so there is no MADT";
	memcpy(&root, rsdp, bytes < sizeof(root) ? bytes : sizeof(root));
	if (memcmp(root.signature, "RSD PTR ", 8) || !sums_to_zero(&root, RSDP_V1_BYTES))
		return "ACPI's root pointer (RSDP) is damaged";
	if (root.revision >= 2 && bytes >= RSDP_V2_BYTES && root.xsdt) {
		if (!sums_to_zero(&root, RSDP_V2_BYTES))
			return "ACPI's root pointer (RSDP) is damaged in its second part";
		return read_root(find_table(root.xsdt), 8, out);
	}
	return read_root(find_table(root.rsdt), 4, out);
}
