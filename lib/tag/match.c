/* SPDX-License-Identifier: BSD-2-Clause */
/* Matching (tag/tag.h). */
#include "tag/tag.h"

#define FIRST_BITS 8
#define MOST_BITS 20

/* The hash of what a receive of the class and a message for it have in common. */
static uint64_t key(const struct up_tag_class *class, uint64_t tag, up_peer from)
{
	uint64_t k = (tag & ~class->ignore) +
		     (class->directed ? from : UP_PEER_ANY) * UINT64_C(0xd6e8feb86659fd93);

	k ^= k >> 32;
	return k * UINT64_C(0x9e3779b97f4a7c15);
}

static struct up_list *chain(const struct up_tag_index *x, uint64_t hash)
{
	return &x->heads[hash >> (64 - x->bits)];
}

static int make_heads(struct up_tag_index *x, unsigned bits)
{
	size_t n = (size_t)1 << bits;
	struct up_list *heads = malloc(n * sizeof(*heads));

	if (!heads)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		up_list_init(&heads[i]);
	free(x->heads);
	x->heads = heads;
	x->bits = bits;
	x->full = bits < MOST_BITS ? 2 * n : SIZE_MAX;
	return 0;
}

static int index_init(struct up_tag_index *x)
{
	x->heads = NULL;
	x->used = 0;
	return make_heads(x, FIRST_BITS);
}

static void index_fini(struct up_tag_index *x)
{
	free(x->heads);
	x->heads = NULL;
}

int up_tag_space_init(struct up_tag_space *t)
{
	up_list_init(&t->posted);
	up_list_init(&t->wild);
	up_list_init(&t->unexpected);
	return index_init(&t->receives);
}

void up_tag_space_fini(struct up_tag_space *t)
{
	for (unsigned c = 0; c < t->classes; c++)
		index_fini(&t->class[c].messages);
	index_fini(&t->receives);
}

/* More chains, empty: insert all again. False: no memory, they stay long. */
static bool grow(struct up_tag_index *x)
{
	if (!make_heads(x, x->bits + 2))
		return true;
	x->full *= 2;
	return false;
}

static unsigned find_class(const struct up_tag_space *t, uint64_t ignore, bool directed)
{
	unsigned c;

	for (c = 0; c < t->classes; c++) {
		if (t->class[c].ignore == ignore && t->class[c].directed == directed)
			break;
	}
	return c < t->classes ? c : UP_TAG_WILD;
}

static void insert_message(struct up_tag_space *t, struct up_tag_message *m, unsigned c)
{
	struct up_tag_class *class = &t->class[c];
	uint64_t hash = key(class, m->info.tag, m->info.from);

	up_list_add_tail(chain(&class->messages, hash), &m->chain[c]);
}

static void insert_all_messages(struct up_tag_space *t, unsigned c)
{
	struct up_list *at, *tmp;

	up_list_each (at, tmp, &t->unexpected)
		insert_message(t, UP_CONTAINER_OF(at, struct up_tag_message, all), c);
}

static unsigned make_class(struct up_tag_space *t, uint64_t ignore, bool directed)
{
	unsigned c = find_class(t, ignore, directed);

	if (c != UP_TAG_WILD || t->classes == UP_TAG_CLASSES)
		return c;
	c = t->classes;
	t->class[c] = (struct up_tag_class){.ignore = ignore, .directed = directed};
	if (index_init(&t->class[c].messages))
		return UP_TAG_WILD;
	t->classes++;
	insert_all_messages(t, c);
	t->class[c].messages.used = t->kept;
	return c;
}

static void insert_recv(struct up_tag_space *t, struct up_tag_recv *r)
{
	up_list_add_tail(chain(&t->receives, key(&t->class[r->class], r -> tag, r -> from)),
			 &r->chain);
}

static void grow_receives(struct up_tag_space *t)
{
	struct up_list *at, *tmp;

	if (!grow(&t->receives))
		return;
	up_list_each (at, tmp, &t->posted) {
		struct up_tag_recv *r = UP_CONTAINER_OF(at, struct up_tag_recv, all);

		if (r->class != UP_TAG_WILD)
			insert_recv(t, r);
	}
}

void up_tag_post(struct up_tag_space *t, struct up_tag_recv *r)
{
	r->class = (uint8_t)make_class(t, r->ignore, r->from != UP_PEER_ANY);
	r->seq = ++t->seq;
	r->state = UP_TAG_POSTED;
	r->space = t;
	if (r->class == UP_TAG_WILD) {
		up_list_add_tail(&t->wild, &r->chain);
	} else {
		if (__builtin_expect(t->receives.used >= t->receives.full, 0))
			grow_receives(t);
		insert_recv(t, r);
		t->receives.used++;
		t->class[r->class].posted++;
	}
	up_list_add_tail(&t->posted, &r->all);
}

void up_tag_unpost(struct up_tag_space *t, struct up_tag_recv *r)
{
	up_list_del(&r->all);
	up_list_del(&r->chain);
	if (r->class != UP_TAG_WILD) {
		t->receives.used--;
		t->class[r->class].posted--;
	}
}

static bool takes(const struct up_tag_recv *r, uint64_t tag, up_peer from)
{
	return !((r->tag ^ tag) & ~r->ignore) && (r->from == from || r->from == UP_PEER_ANY);
}

/* The first in a chain, which may have receives of other classes; and not later than `before`. */
static struct up_tag_recv *scan_recv(const struct up_list *head, uint64_t tag, up_peer from,
				     struct up_tag_recv *before)
{
	for (const struct up_list *at = head->next; at != head; at = at->next) {
		struct up_tag_recv *r = UP_CONTAINER_OF(at, struct up_tag_recv, chain);

		if (before && before->seq < r->seq)
			break;
		if (takes(r, tag, from))
			return r;
	}
	return before;
}

struct up_tag_recv *up_tag_find_recv(struct up_tag_space *t, uint64_t tag, up_peer from)
{
	struct up_tag_recv *best = NULL;

	if (up_list_empty(&t->posted))
		return NULL;
	best = UP_CONTAINER_OF(t->posted.next, struct up_tag_recv, all);
	if (takes(best, tag, from))
		return best;
	best = NULL;
	for (unsigned c = 0; c < t->classes; c++) {
		if (t->class[c].posted)
			best = scan_recv(chain(&t->receives, key(&t->class[c], tag, from)), tag,
					 from, best);
	}
	return scan_recv(&t->wild, tag, from, best);
}

void up_tag_keep(struct up_tag_space *t, struct up_tag_message *m)
{
	for (unsigned c = 0; c < t->classes; c++) {
		struct up_tag_index *x = &t->class[c].messages;

		if (__builtin_expect(x->used >= x->full, 0) && grow(x))
			insert_all_messages(t, c);
		insert_message(t, m, c);
		x->used++;
	}
	t->kept++;
	m->space = t;
	up_list_add_tail(&t->unexpected, &m->all);
}

void up_tag_unkeep(struct up_tag_space *t, struct up_tag_message *m)
{
	for (unsigned c = 0; c < t->classes; c++) {
		up_list_del(&m->chain[c]);
		t->class[c].messages.used--;
	}
	t->kept--;
	up_list_del(&m->all);
}

static bool would_take(const struct up_tag_message *m, uint64_t tag, uint64_t ignore, up_peer from)
{
	return !((m->info.tag ^ tag) & ~ignore) && (from == UP_PEER_ANY || from == m->info.from);
}

static struct up_tag_message *scan_messages(const struct up_list *head, size_t node, uint64_t tag,
					    uint64_t ignore, up_peer from)
{
	for (struct up_list *at = head->next; at != head; at = at->next) {
		struct up_tag_message *m = (void *)((char *)at - node);

		if (would_take(m, tag, ignore, from))
			return m;
	}
	return NULL;
}

struct up_tag_message *up_tag_find_message(struct up_tag_space *t, uint64_t tag, uint64_t ignore,
					   up_peer from, bool make)
{
	bool directed = from != UP_PEER_ANY;
	unsigned c;

	if (up_list_empty(&t->unexpected))
		return NULL;
	c = make ? make_class(t, ignore, directed) : find_class(t, ignore, directed);
	if (c == UP_TAG_WILD)
		return scan_messages(&t->unexpected, offsetof(struct up_tag_message, all), tag,
				     ignore, from);
	return scan_messages(chain(&t->class[c].messages, key(&t->class[c], tag, from)),
			     offsetof(struct up_tag_message, chain) + c * sizeof(struct up_list),
			     tag, ignore, from);
}
