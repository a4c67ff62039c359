/*
 * What `guest` is asked to run. Called by guest.c; knows no machine but print() and the tables of
 * payloads and boot modules: tests/fuzz/console.c is built of it.
 */
#include "boot/boot.h"
#include "boot/console.h"
#include "boot/guest_options.h"
#include "boot/string.h"
#include "guest/machine/machine.h"
#include "guest/machine/payload.h"

static bool find_image(const char *name, struct load_file *out)
{
	const struct load_file *payload = payload_find(name);

	if (payload) {
		*out = *payload;
		return true;
	}
	for (unsigned i = 0; i < boot_module_count(); i++)
		if (!strcmp(boot_module(i)->name, name)) {
			*out = (struct load_file){ name, boot_module(i)->bytes,
						   boot_module(i)->size };
			return true;
		}
	return false;
}

static void print_known_images(const char *name)
{
	print("guest: no image '%s'; there are:", name);
	for (const struct load_file *p = payloads; p < payloads_end; p++)
		print(" %s", p->name);
	for (unsigned i = 0; i < boot_module_count(); i++)
		print(" %s", boot_module(i)->name);
	print("\n");
}

bool guest_find_image(const char *name, struct load_file *out)
{
	if (find_image(name, out))
		return true;
	print_known_images(name);
	return false;
}

static bool parse_number(const char *key, const char *text, uint64_t least, uint64_t most,
			 uint64_t *out)
{
	if (console_number(text, least, most, out))
		return true;
	print("guest: %s=%s: expected a number from %llu to %llu\n", key, text,
	      (unsigned long long)least, (unsigned long long)most);
	return false;
}

static bool parse_policy(const char *name, enum ept_policy *out)
{
	static const char *const names[EPT_POLICIES] = {
		[EPT_POLICY_MAP] = "map", [EPT_POLICY_ZAP] = "zap", [EPT_POLICY_RFC] = "rfc",
		[EPT_POLICY_BATCH] = "batch", [EPT_POLICY_PTE] = "pte",
	};

	for (*out = 0; *out < EPT_POLICIES; (*out)++)
		if (!strcmp(name, names[*out]))
			return true;
	print("guest: policy=%s: expected zap, rfc, map, pte or batch\n", name);
	return false;
}

static bool parse_log(const char *name, struct guest_options *out)
{
	static const char *const names[] = {
		[LOG_WRITE_PROTECT] = "wp", [LOG_DIRTY_BIT] = "dbit", [LOG_RING] = "ring",
		[LOG_PML] = "pml",
	};

	out->logged = strcmp(name, "off") != 0;
	if (!out->logged)
		return true;
	for (unsigned kind = 0; kind < sizeof(names) / sizeof(names[0]); kind++)
		if (!strcmp(name, names[kind])) {
			out->log = (enum log_kind)kind;
			return true;
		}
	print("guest: log=%s: expected off, wp, dbit, pml or ring\n", name);
	return false;
}

static bool parse_option(struct guest_options *options, char *word)
{
	char *value = strchr(word, '=');

	if (!value) {
		print("guest: '%s': expected key=value\n", word);
		return false;
	}
	*value++ = '\0';
	if (!strcmp(word, "mem"))
		return parse_number(word, value, MACHINE_MEM_MIN, MACHINE_MEM_MAX,
				    &options->mem_mib);
	if (!strcmp(word, "vcpus"))
		return parse_number(word, value, 1, MACHINE_VCPUS_MAX, &options->vcpus);
	if (!strcmp(word, "level"))
		return parse_number(word, value, LEVEL_4K, LEVEL_1G, &options->level);
	if (!strcmp(word, "harass"))
		return parse_number(word, value, 0, HARASS_RATE_MAX, &options->harass);
	if (!strcmp(word, "policy"))
		return parse_policy(value, &options->policy);
	if (!strcmp(word, "log"))
		return parse_log(value, options);
	if (!strcmp(word, "initrd"))
		return guest_find_image(value, &options->initrd);
	if (!strcmp(word, "console") && (!strcmp(value, "raw") || !strcmp(value, "prefix"))) {
		options->raw = value[0] == 'r';
		return true;
	}
	print("guest: '%s=%s': expected mem= vcpus= level= harass= policy= log= initrd= "
	      "console=raw|prefix or cmdline=\n", word, value);
	return false;
}

bool guest_options_parse(struct guest_options *options, char *text)
{
	*options = (struct guest_options){ .mem_mib = 64, .vcpus = 1, .level = LEVEL_2M,
					   .command_line = "" };
	char *rest = text;

	options->name = console_word(&rest);
	if (!options->name) {
		print("guest: expected the name of an image\n");
		return false;
	}
	for (;;) {
		rest += strspn(rest, " \t");
		if (!strncmp(rest, "cmdline=", 8)) {
			options->command_line = rest + 8;
			return true;
		}

		char *word = console_word(&rest);

		if (!word)
			return true;
		if (!parse_option(options, word))
			return false;
	}
}
