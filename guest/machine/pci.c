/*
 * PCI Local Bus Specification "Configuration Mechanism #1": only a dword at 0xcf8 is the address;
 * smaller accesses belong to whatever else is there. Called under the device lock.
 */
#include "guest/machine/pci.h"

#define ADDRESS       0xcf8
#define RESET_CONTROL 0xcf9
#define RESET_CPU     0x04		/* resets when it goes from 0 to 1 */

uint32_t pci_in(const struct pci *pci, uint16_t port, unsigned size)
{
	if (port == ADDRESS && size == 4)
		return pci->address;
	if (port == RESET_CONTROL && size == 1)
		return pci->reset_control;
	return UINT32_MAX;		/* master abort: nobody there */
}

bool pci_out(struct pci *pci, uint16_t port, uint32_t value, unsigned size)
{
	bool resets = false;

	if (port == ADDRESS && size == 4) {
		pci->address = value & 0x80fffffc;
	} else if (port == RESET_CONTROL && size == 1) {
		resets = value & ~pci->reset_control & RESET_CPU;
		pci->reset_control = value & 0x0e;
	}
	return resets;
}
