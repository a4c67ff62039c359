/* Doubly linked circular lists of embedded nodes; the list head is a node too. Caller locks. */
#ifndef MM_BASE_LIST_H
#define MM_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list_node { struct list_node *next, *previous; };

#define container_of(pointer, type, member) \
	((type *)(void *)((char *)(pointer) - offsetof(type, member)))

static inline void list_init(struct list_node *head) { head->next = head->previous = head; }
static inline bool list_empty(const struct list_node *head) { return head->next == head; }

/* Before `head`: the end of the list that it heads. */
static inline void list_append(struct list_node *head, struct list_node *node)
{
	node->next = head;
	node->previous = head->previous;
	head->previous->next = node;
	head->previous = node;
}

static inline void list_remove(struct list_node *node)
{
	node->previous->next = node->next;
	node->next->previous = node->previous;
	list_init(node);
}

#define list_for_each(node, head) \
	for (struct list_node *node = (head)->next; node != (head); node = node->next)

#endif
