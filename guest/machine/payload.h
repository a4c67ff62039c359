/* The guest programs that are part of the image: for the console and for tests, by name. */
#ifndef GUEST_MACHINE_PAYLOAD_H
#define GUEST_MACHINE_PAYLOAD_H

#include "guest/load/load.h"

/* Flat ones are named NAME.bin, as files would be; hello.elf is multiboot. */
extern const struct load_file payloads[], payloads_end[];

/* By name with or without its ending; NULL when there is none. */
const struct load_file *payload_find(const char *name);

#endif
