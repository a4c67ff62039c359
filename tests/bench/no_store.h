/* A store that costs nothing, so that a figure is the host's alone. */
#ifndef TESTS_BENCH_NO_STORE_H
#define TESTS_BENCH_NO_STORE_H

#include "mm/mm.h"

/* What is read is whatever the page held. */
static enum status read_nothing(struct store *self, uint64_t at, void *into, uint64_t bytes,
				uint64_t *done)
{
	(void)self, (void)at, (void)into;
	*done = bytes;
	return STATUS_OK;
}

static enum status write_nothing(struct store *self, uint64_t at, const void *from, uint64_t bytes,
				 uint64_t *done)
{
	(void)self, (void)at, (void)from;
	*done = bytes;
	return STATUS_OK;
}

static const struct store_ops no_store_ops = { read_nothing, write_nothing };
static struct store no_store = { &no_store_ops };

#endif
