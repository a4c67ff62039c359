/* The locks themselves, on plain words: whoever is let in too early makes a data race. */
#include "mm/base/lock.h"
#include "tests/explore/explore.h"

static spinlock_t lock;
static rwlock_t rwlock;
static uint64_t one, two;

static void set_up(void)
{
	lock = (spinlock_t){ 0 };
	rwlock = (rwlock_t){ 0 };
	one = two = 0;
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
