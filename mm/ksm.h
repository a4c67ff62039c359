/* Equal pages become one. For mm's own files; what others ask stands in mm.h. */
#ifndef MM_KSM_H
#define MM_KSM_H

#include "mm/space.h"

struct ksm_page { uint32_t checksum, frame; };

/* A page that was seen, and whose like may come. Nothing keeps it as it was. */
struct ksm_seen { uint32_t checksum, space; uint64_t address; };

struct ksm {
	uint32_t capacity;		/* of both arrays */
	uint32_t count;
	struct ksm_page *pages;		/* each with a reference; looked through from the first */
	struct ksm_seen *seen;		/* by checksum; who comes later takes the place */
	unsigned space;			/* the scan goes on in the host's so-many-th space, */
	uint64_t address;		/* from here on */
};

#endif
