/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libFuzzer target: a table of ids (base/table.h) against a plain array.
 *
 * Input: capacity and first id, a byte each, then operations: a byte that says which, and for most
 * an id of a byte.
 */
#include "fuzz.h"

#include "base/table.h"

#include <errno.h>

enum operation { ADD, ADD_NULL, SET, DEL, GET, VISIT, NR_OPERATIONS };

/* Every object is a byte of this. */
static uint8_t objects[256];

struct model {
	struct up_table table;
	void *slots[256];
	uint32_t capacity, first, used;
	uint32_t cursor; /* where the next id is looked for */
};

static void add(struct model *m, void *object)
{
	int64_t id = up_table_add(&m->table, object);

	for (uint32_t left = m->capacity - m->first; left; left--) {
		uint32_t candidate = m->cursor;

		m->cursor = m->cursor + 1 == m->capacity ? m->first : m->cursor + 1;
		if (m->slots[candidate])
			continue;
		CHECK(id == candidate);
		m->slots[id] = object;
		m->used++;
		return;
	}
	CHECK(id == -ENOSPC);
}

static void set(struct model *m, uint32_t id, void *object)
{
	int err = up_table_set(&m->table, id, object);

	if (id >= m->capacity) {
		CHECK(err == -EINVAL);
	} else if (m->slots[id]) {
		CHECK(err == -EEXIST);
	} else {
		CHECK(!err);
		m->slots[id] = object;
		m->used++;
	}
}

static void del(struct model *m, uint32_t id)
{
	void *object = up_table_del(&m->table, id);

	if (id >= m->capacity) {
		CHECK(!object);
		return;
	}
	CHECK(object == m->slots[id]);
	m->used -= object != NULL;
	m->slots[id] = NULL;
}

static void visit(const struct model *m, uint32_t from)
{
	uint32_t id = from;
	void *object;

	while ((object = up_table_next(&m->table, &id))) {
		CHECK(id > from && id <= m->capacity);
		for (; from < id - 1; from++)
			CHECK(!m->slots[from]);
		CHECK(object == m->slots[from++]);
	}
	for (; from < m->capacity; from++)
		CHECK(!m->slots[from]);
}

static void play(struct model *m, struct fuzz_input *in)
{
	enum operation op = fuzz_u8(in) % NR_OPERATIONS;
	uint32_t id = op == ADD || op == ADD_NULL ? 0 : fuzz_u8(in);
	void *object = &objects[in->left % sizeof(objects)];

	switch (op) {
	case ADD:
		add(m, object);
		break;
	case ADD_NULL:
		CHECK(up_table_add(&m->table, NULL) == -EINVAL);
		break;
	case SET:
		set(m, id, object);
		break;
	case DEL:
		del(m, id);
		break;
	case GET:
		CHECK(up_table_get(&m->table, id) == (id < m->capacity ? m->slots[id] : NULL));
		CHECK(!up_table_get(&m->table, m->capacity) && !up_table_get(&m->table, -1u - id));
		break;
	default:
		visit(m, id);
	}
	CHECK(m->table.used == m->used);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	uint32_t capacity = fuzz_u8(&in), first = fuzz_u8(&in);
	struct model m = {.capacity = capacity, .first = first};
	int err = up_table_init(&m.table, m.capacity, m.first);

	CHECK(err == (m.first < m.capacity ? 0 : -EINVAL));
	if (err)
		return 0;
	m.cursor = m.first;
	while (in.left)
		play(&m, &in);
	visit(&m, 0);
	up_table_fini(&m.table);
	return 0;
}
