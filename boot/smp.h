/* The start of the other CPUs. */
#ifndef BOOT_SMP_H
#define BOOT_SMP_H

#include "boot/acpi.h"

/* Starts all that were found, but for this one; `page` is below 1 MiB, and free again after. */
void smp_start(const struct acpi_cpus *found, hpa_t page);

#endif
