/* A backing store outside the host's memory, so that what goes there makes room. */
#ifndef TESTS_UNIT_DISK_FIXTURE_H
#define TESTS_UNIT_DISK_FIXTURE_H

#include <string.h>

#include "mm/mm.h"

enum { DISK_PAGES = 4096 };

static struct disk {
	struct store store;
	bool fail_reads, fail_writes;
	uint64_t piece;			/* bytes of one transfer at most */
	unsigned reads, writes;
	char bytes[DISK_PAGES * PAGE_SIZE];
} disk;

static inline uint64_t disk_part(uint64_t bytes)
{
	return disk.piece && disk.piece < bytes ? disk.piece : bytes;
}

static inline enum status disk_read(struct store *self, uint64_t at, void *into, uint64_t bytes,
				    uint64_t *done)
{
	(void)self;
	disk.reads++;
	*done = disk_part(bytes);
	if (disk.fail_reads)
		return STATUS_IO_ERROR;
	memcpy(into, disk.bytes + at, *done);
	return STATUS_OK;
}

static inline enum status disk_write(struct store *self, uint64_t at, const void *from,
				     uint64_t bytes, uint64_t *done)
{
	(void)self;
	disk.writes++;
	*done = disk_part(bytes);
	if (disk.fail_writes)
		return STATUS_IO_ERROR;
	memcpy(disk.bytes + at, from, *done);
	return STATUS_OK;
}

static const struct store_ops disk_ops = { disk_read, disk_write };

static inline struct store *disk_open(void)
{
	memset(&disk, 0x5a, sizeof(disk));
	disk.store.ops = &disk_ops;
	disk.fail_reads = disk.fail_writes = false;
	disk.piece = disk.reads = disk.writes = 0;
	return &disk.store;
}

#endif
