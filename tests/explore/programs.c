/* The programs that selftest.c explores: an interpreter, and a few races that are well known. */
#include "tests/explore/programs.h"

struct program program;
struct line variables[VARIABLES];
uint64_t registers[THREADS][INSTRUCTIONS];

void program_setup(void)
{
	__builtin_memset(variables, 0, sizeof(variables));
	__builtin_memset(registers, 0, sizeof(registers));
}

static uint64_t execute(struct instruction instruction)
{
	atomic64_t *word = &variables[instruction.variable].word;

	switch (instruction.operation) {
	case OP_LOAD: return atomic_read(word);
	case OP_STORE: atomic_write(word, instruction.value); return 0;
	case OP_XCHG: return atomic_xchg(word, instruction.value);
	case OP_ADD: return atomic_add(word, instruction.value);
	case OP_FENCE: atomic_fence(); return 0;
	}
	return 0;
}

static void run_thread(unsigned thread)
{
	for (unsigned i = 0; i < program.length[thread]; i++)
		registers[thread][i] = execute(program.code[thread][i]);
}

void program_thread0(void) { run_thread(0); }
void program_thread1(void) { run_thread(1); }
void program_thread2(void) { run_thread(2); }
void program_thread3(void) { run_thread(3); }

/* ------------------------------------------------------------------ known races */

static struct line x, y;
static spinlock_t lock, other;
static rwlock_t gate;
static uint64_t plain;
static uint64_t seen[2];

static void clear(void)
{
	atomic_write(&x.word, 0);
	atomic_write(&y.word, 0);
	lock = other = (spinlock_t){ 0 };
	gate = (rwlock_t){ 0 };
	plain = seen[0] = seen[1] = 0;
}

static void add_by_hand(void) { atomic_write(&x.word, atomic_read(&x.word) + 1); }
static void add_atomically(void) { atomic_add(&x.word, 1); }
static void two_added(void) { check(atomic_read(&x.word) == 2); }

const struct scenario lost_update = {
	.name = "lost_update", .rule = "two increments add two", .setup = clear,
	.actors = { add_by_hand, add_by_hand }, .verify = two_added,
};
const struct scenario kept_update = {
	.name = "kept_update", .rule = "two increments add two", .setup = clear,
	.actors = { add_atomically, add_atomically }, .verify = two_added,
};

static void write_plainly(void) { atomic_add(&x.word, 1); plain++; }
static void write_locked(void)
{
	write_lock(&gate);
	plain++;
	write_unlock(&gate);
	read_lock(&gate);
	check(plain);
	read_unlock(&gate);
}

const struct scenario data_race = {
	.name = "data_race", .rule = "plain accesses are ordered", .setup = clear,
	.actors = { write_locked, write_plainly },
};

/* Both begin with the lock's word, and do not look what stood there. */
static void ignore_lock(void)
{
	atomic_add(&x.word, 1);
	plain++;
	atomic_sub(&x.word, 1);
}

const struct scenario lock_unheeded = {
	.name = "lock_unheeded", .rule = "plain accesses are ordered", .setup = clear,
	.actors = { ignore_lock, ignore_lock },
};

static void take_both(void)
{
	spin_lock(&lock);
	spin_lock(&other);
	spin_unlock(&other);
	spin_unlock(&lock);
}
static void take_both_backwards(void)
{
	spin_lock(&other);
	spin_lock(&lock);
	spin_unlock(&lock);
	spin_unlock(&other);
}

const struct scenario dead_lock = {
	.name = "dead_lock", .rule = "locks are taken in one order", .setup = clear,
	.actors = { take_both, take_both_backwards },
};

/* Two who announce themselves and look for the other, as ept_enter and a shootdown do. */
static void enter_first(void) { atomic_write(&x.word, 1); seen[0] = atomic_read(&y.word); }
static void enter_second(void) { atomic_write(&y.word, 1); seen[1] = atomic_read(&x.word); }
static void enter_first_locked(void) { atomic_xchg(&x.word, 1); seen[0] = atomic_read(&y.word); }
static void enter_second_fenced(void)
{
	atomic_write(&y.word, 1);
	atomic_fence();
	seen[1] = atomic_read(&x.word);
}
static void one_saw(void) { check(seen[0] || seen[1]); }

const struct scenario entry_without_fence = {
	.name = "entry_without_fence", .rule = "one sees the other", .setup = clear,
	.actors = { enter_first, enter_second }, .verify = one_saw,
};
const struct scenario entry_with_fence = {
	.name = "entry_with_fence", .rule = "one sees the other", .setup = clear,
	.actors = { enter_first_locked, enter_second_fenced }, .verify = one_saw,
};

static void send(void)
{
	plain = 5;
	atomic_write(&x.word, 1);
	await(atomic_read(&y.word));
	check(plain == 6);
}
static void answer(void)
{
	await(atomic_read(&x.word));
	check(plain == 5);
	plain = 6;
	atomic_write(&y.word, 1);
}

const struct scenario message = {
	.name = "message", .rule = "what was written before is seen after", .setup = clear,
	.actors = { send, answer },
};

static void count_for_ever(void)
{
	for (;;)
		atomic_add(&x.word, 1);
}

const struct scenario endless = {
	.name = "endless", .rule = "it ends", .setup = clear,
	.actors = { count_for_ever, add_atomically },
};

static void choose_thrice(void)
{
	unsigned a = explore_choose(3), b = explore_choose(2);

	atomic_add(&x.word, a * 2 + b);
	check(a * 2 + b != 5);
}

const struct scenario choices = {
	.name = "choices", .rule = "every choice is tried", .setup = clear,
	.actors = { choose_thrice, add_atomically },
};

/* Three actors, about a hundred steps. */
static void cycle(void)
{
	for (unsigned i = 0; i < 6; i++) {
		spin_lock(&lock);
		plain++;
		spin_unlock(&lock);
		atomic_add(&x.word, 1);
	}
}
static void all_counted(void) { check(plain == 18 && atomic_read(&x.word) == 18); }

const struct scenario lock_cycles = {
	.name = "lock_cycles", .rule = "a lock keeps all others out", .setup = clear,
	.actors = { cycle, cycle, cycle }, .verify = all_counted,
};
