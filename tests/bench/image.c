/*
 * In the image: the console's `bench`, and its first part, the benchmarks on a host of 64 MiB made
 * of one large folio of the machine's, so that nothing of this boot has been there before. Also as
 * a test that they run. On an emulator whose time stamp counter counts instructions the figures are
 * instructions; elsewhere they are ticks.
 */
#include "boot/boot.h"
#include "boot/console.h"
#include "boot/guest_options.h"
#include "tests/bench/bench.h"
#include "tests/bench/image.h"
#include "tests/bench/payload.h"
#include "tests/tap.h"

enum { HOST_ORDER = 14 };		/* 64 MiB */

static uint64_t measure(void (*body)(struct host *host), struct host *host)
{
	uint64_t start = tsc_now();

	body(host);
	return tsc_now() - start;
}

static const struct bench_meter meter = { measure, .rounds = 4 };

/* False: there is no such folio. */
static bool run_on_fresh_host(void (*report)(const struct bench_figure *figure))
{
	struct host *host;
	pfn_t first;

	if (folio_alloc(boot_host(), HOST_ORDER, &first) != STATUS_OK)
		return false;

	const struct ram_range ram = { pfn_to_hpa(first),
				       pfn_to_hpa(pfn_add(first, UINT64_C(1) << HOST_ORDER)) };

	check(host_create(&ram, 1, &host) == STATUS_OK);
	bench_run(host, &meter, report);
	host_verify(host);
	folio_put(boot_host(), first);
	return true;
}

static void print_figure(const struct bench_figure *figure)
{
	print("# stat %s %lu.%lu ticks\n", figure->of->name, (unsigned long)figure->tenths / 10,
	      (unsigned long)figure->tenths % 10);
	print("# stat %s.n %lu operations\n", figure->of->name, (unsigned long)figure->operations);
}

void bench_host(void)
{
	if (!run_on_fresh_host(print_figure))
		print("bench: no 64 MiB in one piece for the host's figures\n");
}

/* The name of a payload: a module, or one that the image brings. */
static bool choose_payload(char *arguments)
{
	static struct load_file file;
	const char *name = console_word(&arguments);

	if (!name) {
		payload_use(NULL);
		return true;
	}
	if (!guest_find_image(name, &file))
		return false;
	payload_use(&file);
	return true;
}

static void bench_command(char *arguments)
{
	if (!choose_payload(arguments))
		return;
	bench_host();
	if (!boot_has_vmx())
		print("bench: no VMX here; the engines bochs and kvm have it\n");
	else if (!bench_exits())
		return;
	bench_scale();
	bench_work();
}

CONSOLE_COMMAND("bench",
		"[NAME]: what the host's paths, exits, faults and policies cost, "
		"by the payload NAME",
		bench_command)

static unsigned figures;

static void expect_figure(const struct bench_figure *figure)
{
	expect(figure->operations > 0);
	figures++;
}

BOOT_TEST("bench/host", NEEDS_NOTHING)
{
	figures = 0;
	if (!run_on_fresh_host(expect_figure))
		tap_skip("no 64 MiB in one piece");
	else
		expect_equal(figures, benchmarks_end - benchmarks_start);
}
