/* The walk of a guest's page tables: every mode, rights, flags, and tables that are not there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "guest/machine/gva.h"

#define PG   (UINT64_C(1) << 31)
#define WP   (UINT64_C(1) << 16)
#define PSE  (UINT64_C(1) << 4)
#define PAE  (UINT64_C(1) << 5)
#define SMAP (UINT64_C(1) << 21)
#define LMA  (UINT64_C(1) << 10)

enum { BYTES = 0x10000 };
static uint8_t memory[BYTES];

static enum status read_memory(void *context, gpa_t from, void *into, uint64_t bytes)
{
	(void)context;
	if (from.raw > BYTES - bytes)
		return STATUS_NOT_FOUND;
	memcpy(into, memory + from.raw, bytes);
	return STATUS_OK;
}

static enum status write_memory(void *context, gpa_t to, const void *from, uint64_t bytes)
{
	(void)context;
	if (to.raw > BYTES - bytes)
		return STATUS_NOT_FOUND;
	memcpy(memory + to.raw, from, bytes);
	return STATUS_OK;
}

static struct gva_context context_of(uint64_t cr0, uint64_t cr4, uint64_t efer)
{
	return (struct gva_context){ .cr0 = cr0, .cr3 = 0x1000, .cr4 = cr4, .efer = efer,
				     .read = read_memory, .write = write_memory };
}

static void put(uint64_t at, uint64_t entry) { memcpy(memory + at, &entry, 8); }
static void put32(uint64_t at, uint32_t entry) { memcpy(memory + at, &entry, 4); }
static uint64_t get(uint64_t at)
{
	uint64_t entry;

	memcpy(&entry, memory + at, 8);
	return entry;
}

static int clear(void **state)
{
	(void)state;
	memset(memory, 0, sizeof(memory));
	return 0;
}

static void assert_at(const struct gva_context *c, uint64_t linear, enum access access,
		      uint64_t expected)
{
	struct gva_translation t;

	assert_int_equal(gva_translate(c, linear, access, &t), GVA_OK);
	assert_int_equal(t.address.raw, expected);
}

static void assert_faults(const struct gva_context *c, uint64_t linear, enum access access,
			  uint32_t error)
{
	struct gva_translation t;

	assert_int_equal(gva_translate(c, linear, access, &t), GVA_FAULT);
	assert_int_equal(t.error, error);
}

static void test_no_paging(void **state)
{
	struct gva_context c = context_of(1, 0, 0);

	(void)state;
	assert_at(&c, 0xfffff123, ACCESS_WRITE, 0xfffff123);
}

static void test_4_level(void **state)
{
	struct gva_context c = context_of(PG | WP, PAE, LMA);
	uint64_t linear =
		UINT64_C(5) << 39 | UINT64_C(6) << 30 | UINT64_C(7) << 21 | 8 << 12 | 0x123;

	(void)state;
	put(0x1000 + 5 * 8, 0x2003);
	put(0x2000 + 6 * 8, 0x3003);
	put(0x3000 + 7 * 8, 0x4003);
	put(0x4000 + 8 * 8, 0x8000000000abc003);
	assert_at(&c, linear, ACCESS_READ, 0xabc123);
	assert_int_equal(get(0x1000 + 5 * 8), 0x2023);
	assert_int_equal(get(0x3000 + 7 * 8), 0x4023);
	assert_int_equal(get(0x4000 + 8 * 8), 0x8000000000abc023);
	assert_at(&c, linear, ACCESS_WRITE, 0xabc123);
	assert_int_equal(get(0x4000 + 8 * 8), 0x8000000000abc063);
	assert_int_equal(get(0x3000 + 7 * 8), 0x4023);	/* D is a leaf's */
	assert_faults(&c, linear + 4096, ACCESS_WRITE, 2);
	assert_faults(&c, 0, ACCESS_READ, 0);
	put(0x3000 + 7 * 8, 0x40000083);
	assert_at(&c, linear, ACCESS_READ, 0x40008123);
	put(0x2000 + 6 * 8, 0x80000083);
	assert_at(&c, linear, ACCESS_READ, 0x80e08123);
}

static void test_rights(void **state)
{
	struct gva_context c = context_of(PG | WP, PAE, LMA);

	(void)state;
	put(0x1000, 0x2007);
	put(0x2000, 0x3007);
	put(0x3000, 0x4005);			/* read-only from here on */
	put(0x4000, 0x5007);
	assert_at(&c, 0, ACCESS_READ, 0x5000);
	assert_faults(&c, 0, ACCESS_WRITE, 3);
	assert_int_equal(get(0x4000) & 0x40, 0);	/* a fault sets no D */
	c.cr0 = PG;
	assert_at(&c, 0, ACCESS_WRITE, 0x5000);
	c.user = true;
	assert_faults(&c, 0, ACCESS_WRITE, 7);
	assert_at(&c, 0, ACCESS_READ, 0x5000);
	put(0x4000, 0x5003);
	assert_faults(&c, 0, ACCESS_READ, 5);
	c.user = false;
	put(0x4000, 0x5007);
	c.cr4 |= SMAP;
	assert_faults(&c, 0, ACCESS_READ, 1);
	c.rflags = UINT64_C(1) << 18;
	assert_at(&c, 0, ACCESS_READ, 0x5000);
}

static void test_pae(void **state)
{
	struct gva_context c = context_of(PG | WP, PAE, 0);
	uint64_t linear = UINT64_C(3) << 30 | 5 << 21 | 6 << 12 | 0x10;

	(void)state;
	c.cr3 = 0x1020;
	put(0x1020 + 3 * 8, 0x2001);		/* no rights at this level */
	put(0x2000 + 5 * 8, 0x3003);
	put(0x3000 + 6 * 8, 0x123456003);
	assert_at(&c, linear, ACCESS_WRITE, 0x123456010);
	assert_int_equal(get(0x1020 + 3 * 8), 0x2001);	/* and no A */
	put(0x2000 + 5 * 8, 0x400083);
	assert_at(&c, linear, ACCESS_WRITE, 0x406010);
}

static void test_32_bit(void **state)
{
	struct gva_context c = context_of(PG | WP, PSE, 0);
	uint64_t linear = UINT64_C(700) << 22 | 900 << 12 | 0x20;
	struct gva_translation t;

	(void)state;
	put32(0x1000 + 700 * 4, 0x2003);
	put32(0x2000 + 900 * 4, 0xabcde003);
	assert_at(&c, linear, ACCESS_WRITE, 0xabcde020);
	put32(0x1000 + 700 * 4, 0x00802083);	/* 4 MiB at 0x1_0080_0000 */
	assert_at(&c, linear, ACCESS_WRITE, UINT64_C(0x100800000) + 900 * 4096 + 0x20);
	/* Without PSE bit 7 means nothing: the entry names a table, at 0x802000. */
	c.cr4 = 0;
	assert_int_equal(gva_translate(&c, linear, ACCESS_READ, &t), GVA_NO_TABLE);
}

static void test_no_table(void **state)
{
	struct gva_context c = context_of(PG, PAE, LMA);
	struct gva_translation t;

	(void)state;
	put(0x1000, 0x123000003);
	assert_int_equal(gva_translate(&c, 0, ACCESS_READ, &t), GVA_NO_TABLE);
	assert_int_equal(t.table.raw, 0x123000000);
	c.cr3 = UINT64_C(0xffffffffff000);
	assert_int_equal(gva_translate(&c, 0, ACCESS_READ, &t), GVA_NO_TABLE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_no_paging, clear),
		cmocka_unit_test_setup(test_4_level, clear),
		cmocka_unit_test_setup(test_rights, clear),
		cmocka_unit_test_setup(test_pae, clear),
		cmocka_unit_test_setup(test_32_bit, clear),
		cmocka_unit_test_setup(test_no_table, clear),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
