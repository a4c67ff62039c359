/* The locks themselves, on plain words: whoever is let in too early makes a data race. */
#include "mm/base/lock.h"
#include "tests/explore/explore.h"

static spinlock_t lock;
static rwlock_t rwlock;
static uint64_t one, two;
/* Of those beside, each its own. */
static uint64_t mine[EXPLORE_ACTORS];
static atomic64_t inside;

static void set_up(void)
{
	lock = (spinlock_t){ 0 };
	rwlock = (rwlock_t){ 0 };
	one = two = 0;
	__builtin_memset(mine, 0, sizeof(mine));
	atomic_write(&inside, 0);
}

static void count(void)
{
	spin_lock(&lock);
	one++;
	spin_unlock(&lock);
}

static void verify_three(void) { check(one == 3); }

SCENARIO(spinlock, .rule = "one at a time", .setup = set_up, .actors = { count, count, count },
	 .verify = verify_three);

static void count_both(void)
{
	write_lock(&rwlock);
	one++;
	two++;
	write_unlock(&rwlock);
}

static void compare(void)
{
	read_lock(&rwlock);
	check(one == two);
	read_unlock(&rwlock);
}

static void verify_two(void) { check(one == 2 && two == 2); }

SCENARIO(rwlock_writers, .rule = "a writer is alone", .setup = set_up,
	 .actors = { count_both, count_both, compare }, .verify = verify_two);

static void verify_one(void) { check(one == 1 && two == 1); }

SCENARIO(rwlock_readers, .rule = "a writer gets in between readers that come and go",
	 .setup = set_up, .actors = { compare, count_both, compare }, .verify = verify_one);

/* ------------------------------------------------------------------ beside */

static void count_beside(void)
{
	beside_lock(&rwlock);
	one++;
	beside_open(&rwlock);
	atomic_add(&inside, 1);
	mine[port_cpu()]++;
	atomic_sub(&inside, 1);
	beside_unlock(&rwlock);
}

static void read_one(void)
{
	read_lock(&rwlock);
	(void)*(volatile uint64_t *)&one;
	read_unlock(&rwlock);
}

static void sum_up(void)
{
	write_lock(&rwlock);
	two = mine[0] + mine[1];
	one++;
	write_unlock(&rwlock);
}

static void verify_beside(void) { check(one == 3 && two <= 2); }

SCENARIO(rwlock_beside, .rule = "beside others, but after a moment without readers",
	 .setup = set_up, .actors = { count_beside, count_beside, sum_up },
	 .verify = verify_beside);

static void verify_both(void) { check(one == 2); }

SCENARIO(rwlock_beside_readers, .rule = "readers wait for that moment, and it for them",
	 .setup = set_up, .actors = { count_beside, count_beside, read_one },
	 .verify = verify_both);

/*
 * As many as there are, and no more than one that wants to be alone with what those beside write.
 */
static void count_alone(void)
{
	beside_lock(&rwlock);
	beside_alone(&rwlock);
	check(!atomic_read(&inside));
	two = mine[0] + mine[1];
	one++;
	beside_open(&rwlock);
	beside_unlock(&rwlock);
}

SCENARIO(rwlock_beside_alone, .rule = "and without those beside, where that is asked for",
	 .setup = set_up, .actors = { count_beside, count_beside, count_alone },
	 .verify = verify_beside);
