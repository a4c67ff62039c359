/* The local APIC of the CPU that calls: by MSRs (x2APIC) where there are, else by memory. */
#ifndef BOOT_APIC_H
#define BOOT_APIC_H

#include <stdbool.h>
#include <stdint.h>

/* Masks the two 8259s, whose lines nobody serves. */
void pic_mask(void);
/* Chooses the mode, before the page tables are in use: maps the registers if it needs them. */
void apic_choose(void);
void apic_setup(void);			/* on each CPU */
bool apic_is_x2(void);
uint32_t apic_id(void);

void apic_send(uint32_t to, uint8_t vector);
void apic_send_nmi(uint32_t to);
/* Puts it in wait-for-SIPI; starts it in real mode at that page. SDM "MP Initialization". */
void apic_send_init(uint32_t to);
void apic_send_startup(uint32_t to, uint8_t page);
void apic_end_of_interrupt(void);

/* One interrupt (VECTOR_TIMER) from now; calibrated against the TSC by apic_timer_calibrate(). */
void apic_timer_calibrate(void);
void apic_timer_start(uint64_t microseconds);
void apic_timer_stop(void);

#endif
