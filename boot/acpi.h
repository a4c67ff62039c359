/* The processors that ACPI's MADT lists. */
#ifndef BOOT_ACPI_H
#define BOOT_ACPI_H

#include "boot/loader.h"

struct acpi_cpus {
	unsigned count, ignored;	/* ignored: enabled, but beyond MAX_CPUS */
	uint32_t apic_id[MAX_CPUS];
};

/* RSDP to XSDT or RSDT to MADT. NULL, or a sentence that says what is wrong or missing. */
const char *acpi_read_cpus(const uint8_t *rsdp, unsigned bytes, struct acpi_cpus *out);
/* The last step alone: `madt` is a whole table of table->length bytes. */
const char *acpi_read_madt(const void *madt, struct acpi_cpus *out);

#endif
