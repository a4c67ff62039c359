/*
 * The built-in demo: all CPUs write tags into every page of the test memory, read back what
 * another CPU wrote, and run small pieces of code that they put there. Any page that the host
 * loses, mixes up or maps stale shows as an error. Ends with 0, or with 1 when it found one.
 */
#include "guest/payload/lib.h"

enum { PASSES = 4, WORDS = 8, WORD_STEP = 64, CODE_WORD = 500, CODE_EVERY = 16 };

static uint64_t base, pages, passes;
static unsigned workers;

/* Shared by the CPUs: how many have come to the current barrier, and how many barriers there were.
 */
static uint32_t arrived, barriers;
static uint64_t errors;

static void barrier(void)
{
	uint32_t before = __atomic_load_n(&barriers, __ATOMIC_ACQUIRE);

	if (__atomic_add_fetch(&arrived, 1, __ATOMIC_ACQ_REL) == workers) {
		__atomic_store_n(&arrived, 0, __ATOMIC_RELAXED);
		__atomic_store_n(&barriers, before + 1, __ATOMIC_RELEASE);
		return;
	}
	while (__atomic_load_n(&barriers, __ATOMIC_ACQUIRE) == before)
		__builtin_ia32_pause();
}

/* Different for every page, pass and word, and never 0. */
static uint64_t tag(uint64_t page, uint64_t pass, unsigned word)
{
	return (page * 0x9e3779b97f4a7c15 ^ pass << 56 ^ (uint64_t)word << 48) | 1;
}

static volatile uint64_t *words_of(uint64_t page)
{
	return (volatile uint64_t *)(base + page * 4096);
}

static void error(const char *what, uint64_t page, uint64_t found, uint64_t expected)
{
	if (__atomic_add_fetch(&errors, 1, __ATOMIC_RELAXED) > 10)
		return;
	print("demo: ");
	print(what);
	print(" of page ");
	print_number(page);
	print(": found ");
	print_hex(found);
	print(", expected ");
	print_hex(expected);
	print("\n");
}

static void write_page(uint64_t page, uint64_t pass)
{
	volatile uint64_t *words = words_of(page);

	for (unsigned i = 0; i < WORDS; i++)
		words[i * WORD_STEP] = tag(page, pass, i);
}

static void check_page(uint64_t page, uint64_t pass)
{
	volatile uint64_t *words = words_of(page);

	for (unsigned i = 0; i < WORDS; i++) {
		uint64_t found = words[i * WORD_STEP];

		if (found != tag(page, pass, i))
			error("word", page, found, tag(page, pass, i));
	}
}

/* mov $number, %eax; ret - put into the page and called there. */
static void run_in_page(uint64_t page, uint64_t pass)
{
	volatile uint64_t *code = words_of(page) + CODE_WORD;
	uint32_t number = (uint32_t)tag(page, pass, WORDS);
	uint32_t found;

	code[0] = UINT64_C(0xb8) | (uint64_t)number << 8 | UINT64_C(0xc3) << 40;
	/* A serialising instruction between writing code and running it. SDM "Self-Modifying Code".
	 */
	cpuid(0);
	__asm__ volatile("call *%1" : "=a"(found) : "r"(code) : "memory");
	if (found != number)
		error("code", page, found, number);
}

static void one_pass(unsigned me, uint64_t pass)
{
	for (uint64_t page = me; page < pages; page += workers)
		write_page(page, pass);
	barrier();
	for (uint64_t page = (me + 1) % workers; page < pages; page += workers)
		check_page(page, pass);
	barrier();
	for (uint64_t page = me * CODE_EVERY; page < pages; page += workers * CODE_EVERY)
		run_in_page(page, pass);
	barrier();
}

static void report(uint64_t pass)
{
	print("demo: pass ");
	print_number(pass + 1);
	print(" of ");
	print_number(passes);
	print(", errors ");
	print_number(__atomic_load_n(&errors, __ATOMIC_RELAXED));
	print("\n");
}

static void work(unsigned me)
{
	for (uint64_t pass = 0; pass < passes; pass++) {
		one_pass(me, pass);
		if (!me)
			report(pass);
	}
}

void cpu_main(uint64_t number)
{
	work((unsigned)number);
}

uint32_t main(uint64_t *mailbox)
{
	base = mail(mailbox, ABI_MAIL_BASE);
	pages = mail(mailbox, ABI_MAIL_COUNT);
	passes = mail(mailbox, ABI_MAIL_VALUE);
	if (!passes)
		passes = PASSES;
	workers = cpus();
	print("demo: ");
	print_number(pages);
	print(" pages at ");
	print_hex(base);
	print(", ");
	print_number(workers);
	print(workers == 1 ? " CPU\n" : " CPUs\n");
	for (unsigned i = 1; i < workers; i++) {
		if (!start_cpu(i)) {
			print("demo: a CPU does not start\n");
			return 1;
		}
	}
	work(0);
	mailbox[ABI_MAIL_SUM / 8] = errors;
	print(errors ? "demo: memory was lost\n" : "demo: all well\n");
	return errors != 0;
}
