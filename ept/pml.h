/* Page-modification logging, for log.c. */
#ifndef EPT_PML_H
#define EPT_PML_H

#include "ept/state.h"

/* From now on CPUs inside the guest list what they store to; none is inside that does not. */
void pml_begin(struct ept *ept) HOLDS(ept->lock);
/*
 * A log is in logs_live no more. On return no CPU on its way out has found it, and no walk; with
 * the last one CPUs list no more.
 */
void pml_end(struct ept *ept) HOLDS(ept->lock);

#endif
