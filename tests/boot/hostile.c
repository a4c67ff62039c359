/*
 * The console's `hostile` (hostile.h). Its caller's CPU looks on and runs tasks like the others:
 * the hostile vCPUs, the neighbour's, and the host's mischief in both of their spaces, all of
 * them on whichever CPU is free.
 */
#include "tests/boot/hostile.h"

#include "boot/boot.h"
#include "boot/console.h"
#include "boot/harass.h"
#include "boot/string.h"
#include "guest/abi.h"
#include "guest/machine/payload.h"
#include "mm/base/list.h"
#include "tests/boot/unharmed.h"

enum { HOSTILE_MIB = 6, NEIGHBOUR_MIB = 6, NEIGHBOUR_PASSES = 4 };
/* The neighbour's share is small, where an emulator's time is what both of them cost. */
enum { NEIGHBOUR_TICKS = 20000, NEIGHBOUR_REST = 60000, NEIGHBOUR_HARASS = 4 };
enum { SLICE_TICKS = 50000, LIFE_EXITS = 3000, LOOK_ROUND = 8 };
/* A life that exits too seldom is over: what it has for a start, and for each exit. */
#define LIFE_TICKS  UINT64_C(1500000)
#define EXIT_TICKS  UINT64_C(5000)
/* One that halts without its timer is not worth waiting for. */
#define SLEEP_TICKS UINT64_C(100000)
/* The neighbour's memory that its program does not use: the host knows what is in it. */
#define WITNESS     UINT64_C(0x100000)
enum { WITNESS_PAGES = 64 };

enum life_end { LIFE_ENOUGH, LIFE_STILL, LIFE_PORT, LIFE_RESET, LIFE_TRIPLE, LIFE_REFUSED,
		LIFE_ENDS };
static const char *const end_names[LIFE_ENDS] = { "enough", "still", "exit_port", "reset",
						  "triple_fault", "killed" };

struct hostile_cpu { struct task task; struct life *life; unsigned number; };

struct life {
	struct machine *machine;
	struct hostile_cpu cpus[MACHINE_VCPUS_MAX];
	struct harass harass;
	uint64_t seed, most_exits, started, awake;
	uint64_t exits;			/* once it has ended */
	const char *enough;		/* why we ended it; NULL: it ended itself */
};

struct neighbour {
	struct task task;
	struct machine *machine;
	struct harass harass;
	uint64_t rounds, next;		/* rounds ended; TSC: rests until then */
};

struct run {
	struct hostile_plan plan;
	struct neighbour neighbour;
	struct life life;
	struct unharmed before;
	uint64_t lives, exits, pages_judged, ranges;
	uint64_t by_kind[EXIT_KINDS], by_end[LIFE_ENDS];
	unsigned failures;
};

static void failed(struct run *run, const char *what)
{
	run->failures++;
	print("hostile: FAILED after life %llu, seed %llu: %s\n", (unsigned long long)run->lives,
	      (unsigned long long)run->life.seed, what);
}

/* ------------------------------------------------------------------ both VMs */

static void swallow(void *context, uint8_t byte)
{
	(void)context, (void)byte;
}

static int silence(void *context)
{
	(void)context;
	return -1;
}

/* `value` is for the payload's mailbox. */
static bool create(const char *payload, uint64_t mib, unsigned vcpus, unsigned level,
		   uint64_t value, struct machine **out)
{
	struct machine_config config = {
		.name = payload, .mem_mib = mib, .vcpus = vcpus, .max_level = level,
		.console = { swallow, silence, NULL }, .load = { .command_line = "" },
	};
	char error[LOAD_ERROR_MAX];

	config.load.image = *payload_find(payload);
	if (machine_create(boot_host(), &config, out, error) != STATUS_OK) {
		print("hostile: %s\n", error);
		return false;
	}
	if (ept_write_guest(machine_ept(*out), gpa(ABI_FLAT_MAILBOX + ABI_MAIL_VALUE), &value,
			    sizeof(value)) == STATUS_OK)
		return true;
	machine_destroy(*out);
	return false;
}

static void start_harass(struct harass *harass, struct machine *m, uint64_t rate, uint64_t seed)
{
	struct machine_memory memory;

	*harass = (struct harass){ 0 };
	if (!rate)
		return;
	for (unsigned i = 0; machine_memory(m, i, &memory); i++)
		harass_add_area(harass, memory.backing, memory.bytes);
	harass_start(harass, machine_space(m), TASK_ANYWHERE, rate, seed);
}

static void stop_harass(struct run *run, struct harass *harass)
{
	if (!harass->area_count)
		return;
	harass_stop(harass);
	run->ranges += harass->ranges;
}

/* ------------------------------------------------------------------ the neighbour */

static enum task_result neighbour_step(struct task *task)
{
	struct neighbour *n = container_of(task, struct neighbour, task);

	if (tsc_now() < n->next)
		return TASK_IDLE;
	if (machine_run(n->machine, 0, NEIGHBOUR_TICKS) == MACHINE_ENDED)
		return TASK_DONE;
	n->next = tsc_now() + NEIGHBOUR_REST;
	return TASK_IDLE;
}

static uint64_t witness_word(uint64_t page, unsigned word)
{
	return page << 32 | word << 16 | 0x5a5a;
}

static void witness_page(uint64_t page, uint64_t words[PAGE_SIZE / 8])
{
	for (unsigned i = 0; i < PAGE_SIZE / 8; i++)
		words[i] = witness_word(page, i);
}

static bool start_neighbour(struct run *run)
{
	struct neighbour *n = &run->neighbour;
	static uint64_t words[PAGE_SIZE / 8];

	if (!create("demo", NEIGHBOUR_MIB, 1, LEVEL_2M, NEIGHBOUR_PASSES, &n->machine))
		return false;
	for (uint64_t page = 0; page < WITNESS_PAGES; page++) {
		witness_page(page, words);
		if (ept_write_guest(machine_ept(n->machine), gpa(WITNESS + page * PAGE_SIZE),
				    words, sizeof(words)) != STATUS_OK)
			failed(run, "the neighbour's memory can't be written");
	}
	start_harass(&n->harass, n->machine, run->plan.harass / NEIGHBOUR_HARASS, run->plan.seed);
	n->task = (struct task){ .name = "demo", .step = neighbour_step, .home = TASK_ANYWHERE };
	task_start(&n->task);
	return true;
}

static void check_witness(struct run *run)
{
	static uint64_t found[PAGE_SIZE / 8], wanted[PAGE_SIZE / 8];

	for (uint64_t page = 0; page < WITNESS_PAGES; page++) {
		witness_page(page, wanted);
		if (ept_read_guest(machine_ept(run->neighbour.machine),
				   gpa(WITNESS + page * PAGE_SIZE), found, sizeof(found))
		    != STATUS_OK || memcmp(found, wanted, sizeof(found)))
			failed(run, "the neighbour's memory has changed");
	}
}

/* It ends by itself, with the exit status of a memory that was right from first to last. */
static void end_neighbour(struct run *run)
{
	struct neighbour *n = &run->neighbour;
	struct machine_status status;
	const char *fault;
	uint64_t pages;

	task_wait(&n->task);
	stop_harass(run, &n->harass);
	machine_read_status(n->machine, &status);
	if (machine_exit_status(&status)) {
		print("hostile: the neighbour ended: %s\n", status.why);
		failed(run, "the neighbour found an error");
	}
	check_witness(run);
	ept_verify(machine_ept(n->machine));
	space_verify(machine_space(n->machine));
	fault = frames_fault(n->machine, NULL, &pages);
	if (fault)
		failed(run, fault);
	machine_destroy(n->machine);
	n->rounds++;
}

/* ------------------------------------------------------------------ a hostile life */

/* Of its own doing: not the host's interrupts, kicks and slices. */
static uint64_t own_exits(struct machine *m)
{
	uint64_t sum = 0;

	for (unsigned kind = 0; kind < EXIT_KINDS; kind++)
		if (kind != EXIT_INTERRUPT && kind != EXIT_KICK && kind != EXIT_TIMER)
			sum += machine_exits(m, (enum exit_kind)kind);
	return sum;
}

static void enough(struct life *life, const char *why)
{
	life->enough = why;
	machine_kill(life->machine, why);
}

/* After a step of vCPU 0. */
static void look(struct life *life, enum machine_result result)
{
	uint64_t exits = own_exits(life->machine), now = tsc_now();

	if (result != MACHINE_IDLE)
		life->awake = now;
	if (exits >= life->most_exits)
		enough(life, "so many exits are enough");
	else if (now - life->awake > SLEEP_TICKS)
		enough(life, "it sleeps");
	else if (now - life->started > LIFE_TICKS + exits * EXIT_TICKS)
		enough(life, "it exits no more");
}

static enum task_result hostile_step(struct task *task)
{
	struct hostile_cpu *cpu = container_of(task, struct hostile_cpu, task);
	enum machine_result result = machine_run(cpu->life->machine, cpu->number, SLICE_TICKS);

	if (result == MACHINE_ENDED)
		return TASK_DONE;
	if (!cpu->number)
		look(cpu->life, result);
	return result == MACHINE_IDLE ? TASK_IDLE : TASK_AGAIN;
}

static unsigned vcpus_of(uint64_t seed) { return seed % 4 ? 1 : 2; }

bool hostile_create(uint64_t seed, struct machine **out)
{
	return create("hostile", HOSTILE_MIB, vcpus_of(seed), seed % 3 ? LEVEL_4K : LEVEL_2M, seed,
		      out);
}

static void live(struct run *run)
{
	struct life *life = &run->life;
	unsigned vcpus = machine_vcpus(life->machine);

	start_harass(&life->harass, life->machine, run->plan.harass, life->seed);
	life->started = life->awake = tsc_now();
	for (unsigned i = 0; i < vcpus; i++) {
		life->cpus[i] = (struct hostile_cpu){
			.task = { .name = "hostile", .step = hostile_step, .home = TASK_ANYWHERE },
			.life = life,
			.number = i,
		};
		task_start(&life->cpus[i].task);
	}
	for (unsigned i = 0; i < vcpus; i++)
		task_wait(&life->cpus[i].task);
	stop_harass(run, &life->harass);
}

static enum life_end end_of(const struct life *life, const struct machine_status *status)
{
	if (status->end == END_EXIT_PORT)
		return LIFE_PORT;
	if (status->end == END_RESET)
		return LIFE_RESET;
	if (status->end == END_TRIPLE_FAULT)
		return LIFE_TRIPLE;
	if (!life->enough || strcmp(status->why, life->enough))
		return LIFE_REFUSED;
	return life->exits >= life->most_exits ? LIFE_ENOUGH : LIFE_STILL;
}

static void sum_up_life(struct run *run)
{
	struct life *life = &run->life;
	struct machine_status status;

	machine_read_status(life->machine, &status);
	life->exits = own_exits(life->machine);
	run->lives++;
	run->exits += life->exits;
	run->by_end[end_of(life, &status)]++;
	for (unsigned kind = 0; kind < EXIT_KINDS; kind++)
		run->by_kind[kind] += machine_exits(life->machine, (enum exit_kind)kind);
	print("hostile: seed %llu, %u vCPUs: %llu exits; %s\n", (unsigned long long)life->seed,
	      machine_vcpus(life->machine), (unsigned long long)life->exits, status.why);
}

static void check_host(struct run *run)
{
	uint64_t now, then;
	unsigned cpu;
	const char *fault = unharmed_fault(&run->before, &cpu, &now, &then);

	if (!fault)
		return;
	print("hostile: CPU %u: %s is 0x%llx, was 0x%llx\n", cpu, fault, (unsigned long long)now,
	      (unsigned long long)then);
	failed(run, fault);
}

/* Its own EPT and space after each life; what is of all, after every few. */
static void check_life(struct run *run)
{
	struct machine *m = run->life.machine;
	uint64_t pages;
	const char *fault;

	ept_verify(machine_ept(m));
	space_verify(machine_space(m));
	fault = frames_fault(m, run->lives % LOOK_ROUND ? NULL : run->neighbour.machine, &pages);
	if (fault)
		failed(run, fault);
	run->pages_judged += pages;
	if (run->lives % LOOK_ROUND)
		return;
	ept_verify(machine_ept(run->neighbour.machine));
	host_verify(boot_host());
	check_host(run);
}

static bool one_life(struct run *run)
{
	uint64_t left = run->plan.exits - run->exits;

	memset(&run->life, 0, sizeof(run->life));
	run->life.seed = run->plan.seed + run->lives;
	run->life.most_exits = left < LIFE_EXITS ? left : LIFE_EXITS;
	if (!hostile_create(run->life.seed, &run->life.machine))
		return false;
	live(run);
	sum_up_life(run);
	check_life(run);
	machine_destroy(run->life.machine);
	return true;
}

/* ------------------------------------------------------------------ all of it */

static void print_figures(const struct run *run)
{
	for (unsigned kind = 0; kind < EXIT_KINDS; kind++)
		if (run->by_kind[kind])
			print("# stat hostile.exits.%s %llu exits\n",
			      exit_kind_name((enum exit_kind)kind),
			      (unsigned long long)run->by_kind[kind]);
	for (unsigned end = 0; end < LIFE_ENDS; end++)
		print("# stat hostile.ended.%s %llu lives\n", end_names[end],
		      (unsigned long long)run->by_end[end]);
	print("# stat hostile.first_seed %llu seed\n", (unsigned long long)run->plan.seed);
	print("# stat hostile.lives %llu lives\n", (unsigned long long)run->lives);
	print("# stat hostile.exits %llu exits\n", (unsigned long long)run->exits);
	print("# stat hostile.pages_judged %llu pages\n", (unsigned long long)run->pages_judged);
	print("# stat hostile.host_ranges_taken %llu ranges\n", (unsigned long long)run->ranges);
	print("# stat hostile.neighbour_rounds %llu rounds\n",
	      (unsigned long long)run->neighbour.rounds);
	print("# stat hostile.failures %u failures\n", run->failures);
}

static uint64_t free_pages(void)
{
	struct host_stats stats;

	host_read_stats(boot_host(), &stats);
	return stats.pages_free;
}

static void run_lives(struct run *run)
{
	while (run->exits < run->plan.exits && run->lives < run->plan.lives) {
		if (!one_life(run)) {
			failed(run, "no machine");
			break;
		}
		if (!atomic_read(&run->neighbour.task.done))
			continue;
		end_neighbour(run);
		if (!start_neighbour(run)) {
			failed(run, "no neighbour");
			return;
		}
	}
	end_neighbour(run);
}

unsigned hostile_run(const struct hostile_plan *plan)
{
	static struct run run;
	uint64_t pages = free_pages();

	memset(&run, 0, sizeof(run));
	run.plan = *plan;
	unharmed_note(&run.before);
	if (start_neighbour(&run))
		run_lives(&run);
	else
		failed(&run, "no neighbour");
	host_verify(boot_host());
	check_host(&run);
	if (free_pages() != pages)
		failed(&run, "pages of the host are lost");
	print_figures(&run);
	return run.failures;
}

/* ------------------------------------------------------------------ the command */

static bool parse_number(char *word, const char *key, uint64_t *out)
{
	size_t length = strlen(key);
	uint64_t value = 0;
	const char *c = word + length + 1;

	if (strncmp(word, key, length) || word[length] != '=' || !*c)
		return false;
	for (; *c >= '0' && *c <= '9' && value < UINT64_MAX / 16; c++)
		value = value * 10 + (uint64_t)(*c - '0');
	*out = value;
	return !*c;
}

static void hostile_command(char *arguments)
{
	struct hostile_plan plan = { .seed = 1, .exits = 100000, .lives = UINT64_MAX,
				     .harass = 100 };

	if (!boot_has_vmx()) {
		print("hostile: no VMX here; the engines bochs and kvm have it\n");
		return;
	}
	for (char *word; (word = console_word(&arguments));)
		if (!parse_number(word, "seed", &plan.seed) &&
		    !parse_number(word, "exits", &plan.exits) &&
		    !parse_number(word, "lives", &plan.lives) &&
		    !parse_number(word, "harass", &plan.harass)) {
			print("hostile: '%s': expected seed= exits= lives= or harass=, a number\n",
			      word);
			return;
		}
	(void)hostile_run(&plan);
}

CONSOLE_COMMAND("hostile", "[seed=N] [exits=N] [lives=N] [harass=RANGES_PER_SECOND]: random guests "
		"beside one that works", hostile_command)
