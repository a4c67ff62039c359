/*
 * What ept asks of the CPU side. Implemented by vmx/invept.c in the image, by tests/host in
 * hosted programs.
 */
#ifndef EPT_PORT_H
#define EPT_PORT_H

/*
 * Makes that CPU leave the guest soon, if it is in one, whatever the guest does; returns at
 * once. May be called for a CPU that has just left: then nothing must happen. Never self.
 */
void port_kick(unsigned cpu);

#endif
