/*
 * PCI configuration mechanism 1 with no device behind it, and the reset control register 0xcf9
 * that shares its ports. The owner's lock is held around each call.
 */
#ifndef GUEST_MACHINE_PCI_H
#define GUEST_MACHINE_PCI_H

#include <stdbool.h>
#include <stdint.h>

struct pci { uint32_t address; uint8_t reset_control; };

/* Ports 0xcf8..0xcff; size 1, 2 or 4. */
uint32_t pci_in(const struct pci *pci, uint16_t port, unsigned size);
/* True when the write resets the machine. */
bool pci_out(struct pci *pci, uint16_t port, uint32_t value, unsigned size);

#endif
