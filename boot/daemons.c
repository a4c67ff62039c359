/*
 * The host's jobs (mm/daemon.h) as tasks of the image: each on whichever CPU is free, while it is
 * on. The console's `daemon` starts and stops them.
 */
#include "boot/boot.h"
#include "boot/console.h"
#include "boot/daemons.h"
#include "boot/string.h"
#include "mm/base/list.h"

enum { RATE_MAX = 1000000, PAGES_MAX = 1 << 24, MERGED_MAX = 4096 };

struct server {
	struct task task;
	enum daemon_kind kind;
	atomic32_t wanted, running;
};

static struct server servers[DAEMONS];

static enum task_result serve(struct task *task)
{
	struct server *server = container_of(task, struct server, task);

	if (!atomic_read(&server->wanted))
		return TASK_DONE;
	return daemon_step(boot_host(), server->kind, tsc_now()) ? TASK_AGAIN : TASK_IDLE;
}

enum status daemons_start(enum daemon_kind kind, uint64_t rate, uint64_t pages)
{
	struct server *server = &servers[kind];
	enum status status = STATUS_OK;

	if (atomic_read(&server->running))
		return STATUS_EXISTS;
	if (kind == DAEMON_KSM)
		status = ksm_start(boot_host(), MERGED_MAX);
	if (status == STATUS_OK)
		status = daemon_start(boot_host(), kind,
				      (struct daemon_rate){ tsc_hz() / rate, pages });
	if (status != STATUS_OK)
		return status;
	server->kind = kind;
	server->task = (struct task){ .name = daemon_name(kind), .step = serve,
				      .home = TASK_ANYWHERE };
	atomic_write(&server->wanted, 1);
	atomic_write(&server->running, 1);
	task_start(&server->task);
	return STATUS_OK;
}

void daemons_stop(enum daemon_kind kind)
{
	struct server *server = &servers[kind];

	if (!atomic_read(&server->running))
		return;
	atomic_write(&server->wanted, 0);
	task_wait(&server->task);
	daemon_stop(boot_host(), kind);
	if (kind == DAEMON_KSM)
		ksm_stop(boot_host());
	atomic_write(&server->running, 0);
}

/* ------------------------------------------------------------------ the console */

static void print_daemons(void)
{
	for (enum daemon_kind kind = 0; kind < DAEMONS; kind++) {
		struct daemon_stats stats;

		daemon_read_stats(boot_host(), kind, &stats);
		print("%-8s %-3s %llu steps, %llu pages\n", daemon_name(kind),
		      atomic_read(&servers[kind].running) ? "on" : "off",
		      (unsigned long long)stats.steps, (unsigned long long)stats.pages);
	}
}

/* DAEMONS: no such name. */
static enum daemon_kind find(const char *name)
{
	enum daemon_kind kind = 0;

	while (kind < DAEMONS && strcmp(name, daemon_name(kind)))
		kind++;
	if (kind == DAEMONS) {
		print("daemon: '%.40s': expected one of", name);
		for (enum daemon_kind i = 0; i < DAEMONS; i++)
			print(" %s", daemon_name(i));
		print("\n");
	}
	return kind;
}

static void turn_on(enum daemon_kind kind, char *arguments)
{
	const char *rate_text = console_word(&arguments), *pages_text = console_word(&arguments);
	uint64_t rate = 100, pages = 64;

	if (rate_text && !console_number(rate_text, 1, RATE_MAX, &rate)) {
		print("daemon: '%.40s': expected steps a second, 1 to %u\n", rate_text, RATE_MAX);
		return;
	}
	if (pages_text && !console_number(pages_text, 1, PAGES_MAX, &pages)) {
		print("daemon: '%.40s': expected pages a step, 1 to %u\n", pages_text, PAGES_MAX);
		return;
	}
	enum status status = daemons_start(kind, rate, pages);

	if (status == STATUS_EXISTS)
		print("daemon: %s is on already\n", daemon_name(kind));
	else if (status != STATUS_OK)
		print("daemon: %s: %s\n", daemon_name(kind), status_name(status));
}

static void command(char *arguments)
{
	const char *name = console_word(&arguments), *what = console_word(&arguments);
	enum daemon_kind kind;

	if (!name) {
		print_daemons();
		return;
	}
	kind = find(name);
	if (kind == DAEMONS)
		return;
	if (what && !strcmp(what, "on"))
		turn_on(kind, arguments);
	else if (what && !strcmp(what, "off"))
		daemons_stop(kind);
	else
		print("daemon: '%.40s': expected on [STEPS_A_SECOND [PAGES_A_STEP]], or off\n",
		      what ? what : "");
}
CONSOLE_COMMAND("daemon",
		"[NAME on [STEPS_A_SECOND [PAGES_A_STEP]] | NAME off]: the host's own jobs",
		command)
