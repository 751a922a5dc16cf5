/* SPDX-License-Identifier: BSD-2-Clause */
/* UCX by its ucp interface. Its own environment (UCX_TLS) says which transports. */
#include "side.h"

#include <ucp/api/ucp.h>

#include <stdlib.h>
#include <string.h>

struct end {
	ucp_context_h context;
	ucp_worker_h worker;
	ucp_address_t *address;
	ucp_ep_h peer;
	ucp_mem_h memory[KINDS];
	ucp_rkey_h rkey[KINDS];
	uint64_t remote[KINDS];
	uint8_t *local;
	unsigned open;
};

static void must(ucs_status_t status, const char *what)
{
	if (status != UCS_OK)
		die("%s: %s", what, ucs_status_string(status));
}

static struct end *open_end(bool automatic)
{
	const ucp_params_t params = {
		.field_mask = UCP_PARAM_FIELD_FEATURES,
		.features = UCP_FEATURE_TAG | UCP_FEATURE_RMA | UCP_FEATURE_AMO64,
	};
	const ucp_worker_params_t wparams = {
		.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE,
		.thread_mode = UCS_THREAD_MODE_SINGLE,
	};
	struct end *e = calloc(1, sizeof(*e));

	if (!e)
		die("out of memory");
	must(ucp_init(&params, NULL, &e->context), "ucp_init");
	must(ucp_worker_create(e->context, &wparams, &e->worker), "ucp_worker_create");
	return e;
}

static size_t address(struct end *e, void *blob)
{
	size_t len;

	must(ucp_worker_get_address(e->worker, &e->address, &len), "ucp_worker_get_address");
	if (len > BLOB_MAX)
		die("an address of %zu bytes", len);
	memcpy(blob, e->address, len);
	return len;
}

static void connect_end(struct end *e, const void *blob, size_t len)
{
	const ucp_ep_params_t params = {
		.field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS,
		.address = blob,
	};

	if (e->peer)
		die("one peer only");
	must(ucp_ep_create(e->worker, &params, &e->peer), "ucp_ep_create");
}

static void progress(struct end *e)
{
	ucp_worker_progress(e->worker);
}

static void finish(struct end *e, unsigned left)
{
	while (e->open > left)
		ucp_worker_progress(e->worker);
}

static void ended(void *request, ucs_status_t status, void *ctx)
{
	struct end *e = ctx;

	must(status, "an operation");
	e->open--;
	ucp_request_free(request);
}

static void received(void *request, ucs_status_t status, const ucp_tag_recv_info_t *info, void *ctx)
{
	ended(request, status, ctx);
}

/* What an operation returned: done at once, refused, or open. */
static void started(struct end *e, ucs_status_ptr_t request, const char *what)
{
	if (UCS_PTR_IS_ERR(request))
		must(UCS_PTR_STATUS(request), what);
	if (request)
		e->open++;
}

static ucp_request_param_t param_of(struct end *e)
{
	return (ucp_request_param_t){
		.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA,
		.cb.send = ended,
		.user_data = e,
	};
}

static void send_to(struct end *e, unsigned peer, const void *buf, size_t len, unsigned n)
{
	const ucp_request_param_t param = param_of(e);

	for (unsigned i = 0; i < n; i++)
		started(e, ucp_tag_send_nbx(e->peer, buf, len, TAG, &param), "ucp_tag_send_nbx");
	finish(e, 0);
}

static void recv_from(struct end *e, void *buf, size_t len, unsigned n)
{
	ucp_request_param_t param = param_of(e);

	param.cb.recv = received;
	for (unsigned i = 0; i < n; i++)
		started(e, ucp_tag_recv_nbx(e->worker, buf, len, TAG, UINT64_MAX, &param),
			"ucp_tag_recv_nbx");
	finish(e, 0);
}

static void *allocate(struct end *e, size_t bytes)
{
	const ucp_mem_map_params_t params = {
		.field_mask = UCP_MEM_MAP_PARAM_FIELD_LENGTH | UCP_MEM_MAP_PARAM_FIELD_FLAGS,
		.length = bytes,
		.flags = UCP_MEM_MAP_ALLOCATE,
	};
	ucp_mem_attr_t attr = {.field_mask = UCP_MEM_ATTR_FIELD_ADDRESS};

	must(ucp_mem_map(e->context, &params, &e->memory[ALLOCATED]), "ucp_mem_map");
	must(ucp_mem_query(e->memory[ALLOCATED], &attr), "ucp_mem_query");
	memset(attr.address, 0, bytes);
	return attr.address;
}

static size_t expose(struct end *e, enum kind kind, void *mem, void *blob)
{
	const ucp_mem_map_params_t params = {
		.field_mask = UCP_MEM_MAP_PARAM_FIELD_ADDRESS | UCP_MEM_MAP_PARAM_FIELD_LENGTH,
		.address = mem,
		.length = MEMORY,
	};
	uint64_t at = (uintptr_t)mem;
	void *key;
	size_t len;

	if (!e->memory[kind])
		must(ucp_mem_map(e->context, &params, &e->memory[kind]), "ucp_mem_map");
	must(ucp_rkey_pack(e->context, e->memory[kind], &key, &len), "ucp_rkey_pack");
	if (len + sizeof(at) > BLOB_MAX)
		die("a key of %zu bytes", len);
	memcpy(blob, &at, sizeof(at));
	memcpy((uint8_t *)blob + sizeof(at), key, len);
	ucp_rkey_buffer_release(key);
	return len + sizeof(at);
}

static void import(struct end *e, enum kind kind, const void *blob, size_t len)
{
	memcpy(&e->remote[kind], blob, sizeof(uint64_t));
	must(ucp_ep_rkey_unpack(e->peer, (const uint8_t *)blob + sizeof(uint64_t), &e->rkey[kind]),
	     "ucp_ep_rkey_unpack");
}

static void local(struct end *e, void *buf)
{
	e->local = buf;
}

static void put(struct end *e, enum kind kind, size_t len)
{
	const ucp_request_param_t param = param_of(e);

	started(e, ucp_put_nbx(e->peer, e->local, len, e->remote[kind], e->rkey[kind], &param),
		"ucp_put_nbx");
	finish(e, 0);
}

static void write_to(struct end *e, enum kind kind, size_t len, unsigned n)
{
	const ucp_request_param_t param = param_of(e);
	unsigned window = len < LARGE ? WINDOW : WINDOW_LARGE;

	for (unsigned i = 0; i < n; i++) {
		started(e,
			ucp_put_nbx(e->peer, e->local, len, e->remote[kind], e->rkey[kind], &param),
			"ucp_put_nbx");
		finish(e, window - 1);
	}
	started(e, ucp_ep_flush_nbx(e->peer, &param), "ucp_ep_flush_nbx");
	finish(e, 0);
}

static void read_from(struct end *e, enum kind kind, size_t len, unsigned n)
{
	const ucp_request_param_t param = param_of(e);
	unsigned window = len < LARGE ? WINDOW : WINDOW_LARGE;

	for (unsigned i = 0; i < n; i++) {
		started(e,
			ucp_get_nbx(e->peer, e->local, len, e->remote[kind], e->rkey[kind], &param),
			"ucp_get_nbx");
		finish(e, window - 1);
	}
	finish(e, 0);
}

static void fetch_add(struct end *e, enum kind kind, size_t len, unsigned n)
{
	ucp_request_param_t param = param_of(e);
	uint64_t one = 1, old;

	param.op_attr_mask |= UCP_OP_ATTR_FIELD_DATATYPE | UCP_OP_ATTR_FIELD_REPLY_BUFFER;
	param.datatype = ucp_dt_make_contig(sizeof(one));
	param.reply_buffer = &old;
	for (unsigned i = 0; i < n; i++) {
		started(e,
			ucp_atomic_op_nbx(e->peer, UCP_ATOMIC_OP_ADD, &one, 1, e->remote[kind],
					  e->rkey[kind], &param),
			"ucp_atomic_op_nbx");
		finish(e, 0);
	}
}

const struct api api = {
	.name = "ucx",
	.open = open_end,
	.address = address,
	.connect = connect_end,
	.send = send_to,
	.recv = recv_from,
	.progress = progress,
	.allocate = allocate,
	.expose = expose,
	.import = import,
	.local = local,
	.write = write_to,
	.read = read_from,
	.fetch_add = fetch_add,
	.put = put,
};
