/* Pages for tables: borrowed from the host before a lock is taken, handed out under it. */
#ifndef EPT_TABLE_H
#define EPT_TABLE_H

#include "ept/state.h"

/*
 * This CPU's store gets what one fault can use at most. Call without ept->lock: it takes
 * host->lock and may fail, which nothing under ept->lock does.
 */
MUST_USE enum status ept_table_prepare(struct ept *ept);
/* What is there already costs no call. */
static inline bool ept_table_is_prepared(const struct ept_cpu *cpu)
{
	return cpu->table_count == TABLES_PER_FAULT;
}
/* A zeroed page from this CPU's store; ept_table_prepare has seen to it that there is one. */
pfn_t ept_table_take(struct ept *ept);
/* Back to the store: it was not used after all. */
void ept_table_untake(struct ept *ept, pfn_t table);
/* Back to the host: no processor and no walker can reach it. */
void ept_table_free(struct ept *ept, pfn_t table);
/* Empties every CPU's store. Nobody may use the EPT any more. */
void ept_table_drain(struct ept *ept);

#endif
