/* SPDX-License-Identifier: BSD-2-Clause */
/* Messages by MPI, under mpirun, which says what carries them. */
#include "side.h"

#include <mpi.h>

#include <stdlib.h>

struct end {
	MPI_Request requests[WINDOW];
};

static struct end *open_end(bool automatic)
{
	struct end *e = calloc(1, sizeof(*e));
	int size;

	if (!e)
		die("out of memory");
	MPI_Init(NULL, NULL);
	MPI_Comm_size(MPI_COMM_WORLD, &size);
	if (size != 2)
		die("two processes are needed, not %d", size);
	return e;
}

static void close_end(struct end *e)
{
	MPI_Finalize();
	free(e);
}

static size_t address(struct end *e, void *blob)
{
	return 0;
}

static void connect_end(struct end *e, const void *blob, size_t len)
{
}

static void progress(struct end *e)
{
	int flag;

	MPI_Iprobe(MPI_ANY_SOURCE, TAG, MPI_COMM_WORLD, &flag, MPI_STATUS_IGNORE);
}

static int other(void)
{
	return side.role ? 0 : 1;
}

static void send_to(struct end *e, unsigned peer, const void *buf, size_t len, unsigned n)
{
	if (n == 1) {
		MPI_Send(buf, (int)len, MPI_BYTE, other(), TAG, MPI_COMM_WORLD);
		return;
	}
	for (unsigned i = 0; i < n; i++)
		MPI_Isend(buf, (int)len, MPI_BYTE, other(), TAG, MPI_COMM_WORLD, &e->requests[i]);
	MPI_Waitall((int)n, e->requests, MPI_STATUSES_IGNORE);
}

static void recv_from(struct end *e, void *buf, size_t len, unsigned n)
{
	if (n == 1) {
		MPI_Recv(buf, (int)len, MPI_BYTE, other(), TAG, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
		return;
	}
	for (unsigned i = 0; i < n; i++)
		MPI_Irecv(buf, (int)len, MPI_BYTE, other(), TAG, MPI_COMM_WORLD, &e->requests[i]);
	MPI_Waitall((int)n, e->requests, MPI_STATUSES_IGNORE);
}

const struct api api = {
	.name = "openmpi",
	.open = open_end,
	.close = close_end,
	.address = address,
	.connect = connect_end,
	.send = send_to,
	.recv = recv_from,
	.progress = progress,
};
