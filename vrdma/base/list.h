/* SPDX-License-Identifier: BSD-2-Clause */
/* An intrusive doubly linked list; an unlinked node points to itself. */
#ifndef UP_BASE_LIST_H
#define UP_BASE_LIST_H

#include <stdbool.h>

struct up_list {
	struct up_list *next, *prev;
};

static inline void up_list_init(struct up_list *l)
{
	l->next = l->prev = l;
}

static inline bool up_list_empty(const struct up_list *l)
{
	return l->next == l;
}

static inline void up_list_add_tail(struct up_list *head, struct up_list *node)
{
	node->prev = head->prev;
	node->next = head;
	head->prev->next = node;
	head->prev = node;
}

/* The node stays as it is: for one that is freed or overwritten next, or marked by the caller. */
static inline void up_list_unlink(struct up_list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
}

static inline void up_list_del(struct up_list *node)
{
	up_list_unlink(node);
	up_list_init(node);
}

/* `tmp` allows the body to unlink `pos`. */
#define up_list_each(pos, tmp, head)                                                               \
	for ((pos) = (head)->next, (tmp) = (pos)->next; (pos) != (head);                           \
	     (pos) = (tmp), (tmp) = (pos)->next)

#endif
