/* SPDX-License-Identifier: BSD-2-Clause */
/* Receives, and the memory that messages come to. */
#include "lane/ofi/ofi.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

/* Of each receive: whole lines. */
#define ROOM ((OFI_HEAD_ROOM + OFI_MAX_PACKET + 63) & ~(size_t)63)

static void free_memory(struct ofi_pool *pool)
{
	if (pool->mr)
		up_ofi_close_fid(&pool->mr->fid);
	munmap(pool->memory, pool->n * ROOM);
	free(pool);
}

struct ofi_pool *up_ofi_pool_create(struct ofi_lane *lane, unsigned n)
{
	struct ofi_pool *pool = calloc(1, sizeof(*pool) + n * sizeof(pool->rx[0]));

	if (!pool)
		return NULL;
	pool->lane = lane;
	pool->n = n;
	/* Not from the heap: pages that no long packet touches shall not be there. */
	pool->memory =
		mmap(NULL, n * ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (pool->memory == MAP_FAILED) {
		free(pool);
		return NULL;
	}
	madvise(pool->memory, n * ROOM, MADV_NOHUGEPAGE);
	if (up_ofi_register(lane, pool->memory, n * ROOM, FI_RECV, &pool->mr)) {
		free_memory(pool);
		return NULL;
	}
	for (unsigned i = 0; i < n; i++) {
		pool->rx[i].work.receive = true;
		pool->rx[i].pool = pool;
		pool->rx[i].data = pool->memory + i * ROOM;
		up_list_init(&pool->rx[i].held);
	}
	return pool;
}

void up_ofi_pool_destroy(struct ofi_pool *pool)
{
	for (unsigned i = 0; i < pool->n; i++) {
		pool->lane->nspent -= pool->rx[i].spent;
		up_list_del(&pool->rx[i].held);
	}
	free_memory(pool);
}

int up_ofi_rx_post(struct ofi_rx *rx)
{
	struct ofi_pool *pool = rx->pool;
	void *desc = pool->mr ? fi_mr_desc(pool->mr) : NULL;

	return (int)fi_recv(pool->ep, rx->data, pool->lane->head + OFI_MAX_PACKET, desc,
			    FI_ADDR_UNSPEC, &rx->work.provider);
}

int up_ofi_pool_post(struct ofi_pool *pool, struct fid_ep *ep)
{
	int ret = 0;

	pool->ep = ep;
	for (unsigned i = 0; i < pool->n && !ret; i++) {
		ret = up_ofi_rx_post(&pool->rx[i]);
		if (ret == -FI_EAGAIN) {
			up_ofi_post_later(&pool->rx[i]);
			ret = 0;
		}
	}
	return ret;
}
