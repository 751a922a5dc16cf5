/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The simulated guest: a virtual machine's half of the ConnectX device, without a virtual machine.
 *
 * A struct gs_vm owns a memory file as its RAM, is the vfio-user client of one port of a real
 * underpassd, brings the device up as the mlx5 driver does, and drives its queues as libmlx5 does,
 * at native speed. The daemon cannot tell it from QEMU. Layouts are those of the device's abi.h;
 * what they mean (who sets which bit when, what a completion carries) is written here anew from
 * the driver's behaviour, so that a mistake in the device shows.
 *
 * Errors. Unless a function says otherwise it does not fail: what goes wrong, and every wait that
 * passes its deadline, ends in gs_fail() with a message that names what was awaited. A test lets
 * gs_fail() fail the test, a program lets it exit.
 *
 * Threads. A VM's commands and messages may come from several threads. A queue (CQ, QP, SRQ)
 * belongs to one thread at a time.
 *
 * Addresses. A pointer into the VM's RAM is also the virtual address that its memory regions use:
 * a work request names memory by (uintptr_t)pointer, as in a user process.
 */
#ifndef GUESTSIM_H
#define GUESTSIM_H

#include "device/connectx/abi.h"
#include "device/connectx/abi_queue.h"
#include "gs_vfio.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * How long anything is waited for, unless a function takes its own limit: a guard against hanging,
 * no bound that is tested.
 */
#define GS_WAIT_MS 60000

/* ---- failures and time (gs_util.c) ---- */

/* Replaces what gs_fail() does; it must not return. The default prints and exits with 1. */
extern void (*gs_fail_handler)(const char *message);
void gs_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
uint64_t gs_now_ns(void);

/* Waits politely: spins for a moment, then sleeps a little longer each time. */
struct gs_wait {
	uint64_t end;
	unsigned turns;
};
struct gs_wait gs_wait_start(unsigned ms);
/* False once the time is over. Between the looks at what is awaited. */
bool gs_wait_turn(struct gs_wait *w);

/* A reproducible sequence of numbers. */
uint64_t gs_random(uint64_t *state);

/* ---- the daemon (gs_daemon.c) ---- */

#define GS_MAX_PORTS 64

struct gs_daemon_opts {
	unsigned ports; /* named vm0, vm1, ... */
	unsigned workers;
	bool trap_doorbells;
	bool keep_log;	    /* for gs_daemon_log_lines(), instead of on our stderr */
	const char *config; /* text of a configuration file, instead of all of the above; or NULL */
};

struct gs_daemon {
	pid_t pid;
	char dir[64];
};

/*
 * Starts the underpassd of the build, or the one that the environment's UNDERPASSD names, in a new
 * temporary directory, and waits until its control socket accepts connections.
 */
void gs_daemon_start(struct gs_daemon *d, const struct gs_daemon_opts *opts);
/* SIGTERM; waits; removes the directory. Fails unless it ends with status 0. */
void gs_daemon_stop(struct gs_daemon *d);
/* Fails unless the daemon still runs. */
void gs_daemon_check(const struct gs_daemon *d);
/* The socket of a port, in a static buffer of the calling thread. */
const char *gs_daemon_socket(const struct gs_daemon *d, unsigned port);
unsigned gs_daemon_fds(const struct gs_daemon *d);
unsigned gs_daemon_maps(const struct gs_daemon *d);
uint64_t gs_daemon_rss(const struct gs_daemon *d);    /* bytes, shared memory not counted */
uint64_t gs_daemon_cpu_ns(const struct gs_daemon *d); /* user and system time so far */
/* With keep_log: lines so far that have `text` in them; and waits for n of them. */
unsigned gs_daemon_log_lines(const struct gs_daemon *d, const char *text);
void gs_daemon_await_log(const struct gs_daemon *d, const char *text, unsigned n);
/* Waits until the daemon has no more than so many descriptors and mappings. */
void gs_daemon_await_resources(const struct gs_daemon *d, unsigned fds, unsigned maps);

/* ---- the VM (gs_vm.c, gs_ram.c, gs_cmd.c, gs_event.c) ---- */

enum { GS_VECTORS = 8, GS_COMP_EQS = 2, GS_MAX_RANGES = 4 };

struct gs_vm_opts {
	size_t ram;	  /* bytes; 0: 256 MiB. Pages cost host memory only once touched */
	uint64_t gpa;	  /* of the first byte; RAM from 4 GiB - hole on continues at 4 GiB */
	size_t low;	  /* bytes below the gap at 4 GiB; 0: all */
	bool no_mmap;	  /* trap: UAR stores go over the socket even where they could be mapped */
	bool no_bring_up; /* only connect, map memory, set up interrupts */
};

struct gs_ram_range {
	uint64_t gpa, size, offset; /* in the memory file */
};

struct gs_eq {
	uint32_t eqn;
	uint32_t nent;
	uint32_t consumer;
	struct cx_eqe *ring;
	unsigned vector;
	int fd;
};

/* What an asynchronous event said. */
struct gs_event {
	uint8_t type, sub_type;
	uint32_t number;  /* of the QP, SRQ or CQ; of the port for port events */
	uint8_t syndrome; /* CQ errors */
};

#define GS_EVENT_BACKLOG 64
#define GS_MAX_UIDX 65536

struct gs_vm {
	struct gs_vfio vfio;
	/* RAM (gs_ram.c) */
	int memfd;
	uint8_t *ram;
	size_t ram_size, ram_next;
	struct gs_ram_range ranges[GS_MAX_RANGES];
	unsigned nr_ranges;
	struct gs_area *areas;
	struct gs_free *free_list;
	pthread_mutex_t ram_lock;
	/* Registers */
	uint8_t *uar_mem; /* BAR0 as mapped; NULL when UAR stores trap */
	bool halves;	  /* then those of 8 bytes are two of 4, as a guest of 32 bits has them */
	uint64_t bar_size;
	int irq_fd[GS_VECTORS];
	/* Commands (gs_cmd.c) */
	pthread_mutex_t cmd_lock;
	struct cx_cmd_slot *slots;
	unsigned next_slot, nr_slots;
	uint8_t token;
	struct gs_mailboxes *mailboxes;
	/* Sees each command before it is executed; NULL: nobody does. */
	void (*on_command)(struct gs_vm *vm, const void *in, uint32_t inlen, uint32_t outlen);
	uint8_t status;	   /* of the last command */
	uint32_t syndrome; /* of the last command */
	/* Event queues (gs_event.c); cmd_eq.ring is NULL until it exists */
	struct gs_eq cmd_eq, async_eq, pages_eq, comp_eq[GS_COMP_EQS];
	pthread_mutex_t event_lock;
	struct gs_event backlog[GS_EVENT_BACKLOG];
	unsigned nr_backlog;
	/* The process that commands are for, which composes them itself (gs_devx.c); NULL: none */
	struct gs_devx *devx;
	/* What the driver keeps for itself */
	uint32_t uar;
	uint8_t caps[CX_CAP_BYTES];
	bool host_endian_atomics;
	uint16_t lid, sm_lid;
	uint8_t gid[16];
	uint32_t pkey;
	uint32_t xrcd0, xrcd1;
	struct gs_pd *pd0;
	struct gs_cq *cq0;
	struct gs_srq *srq_xrc0, *srq1;
	struct gs_qp *umr_qp;
	void *objects; /* all that gs_vm_close() frees */
	/* Objects by user index, as completions name them */
	void *by_uidx[GS_MAX_UIDX]; /* never given up: there are enough for any test */
	uint32_t next_uidx;
	struct gs_cq *cqs;
	uint8_t key_variant;
};

/* Connects to the port and brings the device up to an active port. */
struct gs_vm *gs_vm_open(const char *socket, const struct gs_vm_opts *opts);
/* As gs_vm_open() of a port of the daemon, with default options. */
struct gs_vm *gs_vm_open_port(const struct gs_daemon *d, unsigned port);
/* The driver starts (again), on a device in its power-on state. All earlier objects are gone. */
void gs_vm_bring_up(struct gs_vm *vm);
/* Takes the device down with TEARDOWN_HCA and DISABLE_HCA, as the driver's removal does. */
void gs_vm_tear_down(struct gs_vm *vm);
/* Hangs up, as a VM that dies, and frees everything. Objects made from it are gone with it. */
void gs_vm_close(struct gs_vm *vm);
/* Waits for the port to be active and reads its addresses. */
void gs_vm_await_active(struct gs_vm *vm);

/* Zeroed memory. `align` is a power of two; what is freed is reused by requests of that size. */
void *gs_ram_alloc(struct gs_vm *vm, size_t size, size_t align);
void gs_ram_free(struct gs_vm *vm, void *ptr, size_t size);
/* Pages that follow one another in our address space and are scattered in guest memory. */
void *gs_ram_alloc_scattered(struct gs_vm *vm, size_t size);
uint64_t gs_ram_gpa(const struct gs_vm *vm, const void *ptr);
/* Guest-physical addresses of the pages of [ptr, ptr + len); returns their number. */
unsigned gs_ram_pages(const struct gs_vm *vm, const void *ptr, size_t len, unsigned page_shift,
		      uint64_t *pages);
/* Largest page size for which [ptr, ptr + len) is a list of pages. */
unsigned gs_ram_page_shift(const struct gs_vm *vm, const void *ptr, size_t len);
void gs_ram_map(struct gs_vm *vm, unsigned range);
void gs_ram_unmap(struct gs_vm *vm, unsigned range);

uint32_t gs_reg_read(struct gs_vm *vm, uint64_t off);
void gs_reg_write(struct gs_vm *vm, uint64_t off, uint32_t value);
/* Doorbell stores into a UAR page, big endian there. */
void gs_uar_store32(struct gs_vm *vm, uint32_t uar, uint32_t off, uint32_t word);
void gs_uar_store64(struct gs_vm *vm, uint32_t uar, uint32_t off, uint64_t word);

/*
 * Executes a command. 0, or -EIO when it ended with a bad status (then vm->status, vm->syndrome),
 * or -EPROTO when it was not delivered (vm->status is the delivery status), or -ETIMEDOUT.
 */
int gs_cmd_raw(struct gs_vm *vm, const void *in, uint32_t inlen, void *out, uint32_t outlen);
/* The same, and fails unless it ends well. */
void gs_cmd(struct gs_vm *vm, const void *in, uint32_t inlen, void *out, uint32_t outlen);
/* A command that names one object and answers with nothing but a status. Result as gs_cmd_raw. */
int gs_cmd_object(struct gs_vm *vm, uint16_t opcode, uint16_t op_mod, uint32_t object);
/* A command without arguments that answers with a number. */
uint32_t gs_cmd_alloc(struct gs_vm *vm, uint16_t opcode);
/*
 * A slot as it is, for hostile tests: rings the doorbell with `slots` and waits until the owner
 * bits are clear. False when that took longer than `ms`.
 */
bool gs_cmd_ring(struct gs_vm *vm, uint32_t slots, unsigned ms);

/*
 * The next asynchronous event, of this type (or any with -1), in *ev; others that come first are
 * kept for later. False when none came in `ms`.
 */
bool gs_event_wait(struct gs_vm *vm, int type, struct gs_event *ev, unsigned ms);
/* Fails unless an event of the type and object comes. */
void gs_event_expect(struct gs_vm *vm, uint8_t type, uint32_t number);
/* Fails if an event of the type waits or comes within `ms`. */
void gs_event_expect_none(struct gs_vm *vm, uint8_t type, unsigned ms);
void gs_event_forget(struct gs_vm *vm);

/* ---- processes that compose their commands (gs_devx.c) ---- */

/*
 * From now on, until another is set in vm->devx, all commands are a new process's: what they create
 * lies in its memory.
 */
struct gs_devx *gs_devx_begin(struct gs_vm *vm);
/* Its memory and its context go: result as gs_cmd_raw(). The kernel is the one again. */
int gs_devx_end(struct gs_vm *vm, struct gs_devx *devx);
/* Memory of the process, which ends with it. */
uint32_t gs_umem_create(struct gs_vm *vm, void *ptr, size_t len);

/* ---- protection domains and memory (gs_mr.c, gs_umr.c) ---- */

enum gs_access {
	GS_LOCAL_WRITE = 1 << 0,
	GS_REMOTE_WRITE = 1 << 1,
	GS_REMOTE_READ = 1 << 2,
	GS_REMOTE_ATOMIC = 1 << 3,
	GS_REMOTE_ALL = 0xe,
	GS_ALL = 0xf,
};

struct gs_pd {
	struct gs_vm *vm;
	uint32_t pdn;
	uint32_t dma_key; /* all of guest memory by guest-physical address; 0 of processes */
};

struct gs_mr {
	struct gs_vm *vm;
	struct gs_pd *pd;
	uint32_t key; /* lkey and rkey */
	uint64_t addr, len;
	uint32_t access;
	void *list; /* guest memory for the list of a registration by work request */
	size_t list_size;
};

struct gs_pd *gs_pd_create(struct gs_vm *vm);
int gs_pd_destroy(struct gs_pd *pd);

/* A region whose page list goes with CREATE_MKEY, as the driver does without UMR. */
struct gs_mr *gs_mr_register(struct gs_pd *pd, void *ptr, size_t len, unsigned access);
/* The same with an I/O virtual address of the caller's choice, and a given page size. */
struct gs_mr *gs_mr_register_at(struct gs_pd *pd, void *ptr, size_t len, uint64_t iova,
				unsigned page_shift, unsigned access);
/* A region made of parts of others (indirect key); parts are joined from address 0 on. */
struct gs_part {
	uint32_t key;
	uint64_t addr;
	uint32_t len;
};
struct gs_mr *gs_mr_register_list(struct gs_pd *pd, const struct gs_part *parts, unsigned n,
				  unsigned access);
/* Equal parts of 1 << shift bytes (KSM). */
struct gs_mr *gs_mr_register_ksm(struct gs_pd *pd, const struct gs_part *parts, unsigned n,
				 unsigned shift, unsigned access);
int gs_mr_deregister(struct gs_mr *mr);

/* A free key for `entries` translations, to be filled by work request. */
struct gs_mr *gs_mr_alloc(struct gs_pd *pd, unsigned entries, bool list);
/* Registers through the VM's registration QP as mlx5r_umr_update_mr_pas() does. */
struct gs_mr *gs_mr_register_umr(struct gs_pd *pd, void *ptr, size_t len, unsigned access);
struct gs_mr *gs_mr_register_umr_at(struct gs_pd *pd, void *ptr, size_t len, uint64_t iova,
				    unsigned page_shift, unsigned access);
/* Changes PD and rights through the registration QP, as a re-registration does. */
void gs_mr_rereg(struct gs_mr *mr, struct gs_pd *pd, unsigned access);
/* Frees the key through the registration QP, as a deregistration into the driver's cache does. */
void gs_mr_revoke(struct gs_mr *mr);

/* A memory window, type 1 or 2. */
struct gs_mr *gs_mw_alloc(struct gs_pd *pd, unsigned type);

/* ---- completion queues (gs_cq.c) ---- */

struct gs_wc {
	uint64_t wr_id;
	uint8_t status;	 /* enum cx_syndrome, 0 for success */
	uint8_t cqe_op;	 /* enum cx_cqe_opcode */
	uint8_t send_op; /* enum cx_opcode of a requester's completion */
	uint8_t vendor;
	uint32_t byte_len;
	uint32_t imm; /* as the sender gave it; the key that was invalidated */
	struct gs_qp *qp;
	struct gs_srq *srq;
	uint32_t qpn;
	uint32_t src_qpn;
	uint16_t slid;
	uint8_t sl, path_bits;
	uint16_t pkey_index;
	bool grh, solicited;
};

struct gs_cq_attr {
	unsigned entries; /* a power of two */
	unsigned comp_vector;
	bool cqe128, ignore_overrun;
	bool scattered;		       /* ring over scattered pages */
	uint16_t period_us, max_count; /* moderation */
};

struct gs_cq {
	struct gs_vm *vm;
	struct gs_cq *next;
	uint32_t cqn;
	unsigned entries, cqe_size;
	uint8_t *ring;
	uint32_t *dbr; /* two words */
	uint32_t consumer;
	uint8_t arm_sn; /* from 0 on, as libmlx5: the first record can equal an untouched one */
	struct gs_eq *eq;
	unsigned events; /* completion events taken from the EQ for this CQ */
	/* The next ring, while the device may still write the present one */
	uint8_t *resize_ring;
	unsigned resize_entries;
};

struct gs_cq *gs_cq_create(struct gs_vm *vm, unsigned entries);
struct gs_cq *gs_cq_create_attr(struct gs_vm *vm, const struct gs_cq_attr *attr);
int gs_cq_destroy(struct gs_cq *cq);
/* Takes at most n completions that are there; returns their number. */
unsigned gs_cq_poll(struct gs_cq *cq, struct gs_wc *wc, unsigned n);
/* Waits for exactly n completions, however they come. */
void gs_cq_wait(struct gs_cq *cq, struct gs_wc *wc, unsigned n);
/* Waits for one completion; false when none came in `ms`. */
bool gs_cq_try(struct gs_cq *cq, struct gs_wc *wc, unsigned ms);
/* Waits for one completion and fails unless it has this status. */
struct gs_wc gs_cq_expect(struct gs_cq *cq, uint8_t status);
/* Fails if the CQ holds or gets a completion within `ms`. */
void gs_cq_expect_none(struct gs_cq *cq, unsigned ms);
void gs_cq_arm(struct gs_cq *cq, bool solicited_only);
/* Blocks on the interrupt until a completion event for the CQ came; false after `ms`. */
bool gs_cq_wait_event(struct gs_cq *cq, unsigned ms);
/* Result as gs_cmd_raw(). */
int gs_cq_moderate(struct gs_cq *cq, uint16_t period_us, uint16_t max_count);
int gs_cq_resize(struct gs_cq *cq, unsigned entries);

/* ---- shared receive queues (gs_srq.c) ---- */

struct gs_srq_attr {
	unsigned wrs; /* a power of two; one less can be posted */
	unsigned sges;
	bool xrc;
	uint32_t xrcd;
	struct gs_cq *cq; /* XRC only */
};

struct gs_srq {
	bool is_srq; /* first in struct gs_qp too: tells them apart in by_uidx */
	struct gs_vm *vm;
	struct gs_pd *pd;
	uint32_t srqn, uidx;
	bool xrc;
	unsigned wrs, stride;
	uint8_t *ring;
	uint32_t *dbr;
	uint16_t head, tail, counter;
	uint64_t *wr_id;
};

struct gs_srq *gs_srq_create(struct gs_pd *pd, const struct gs_srq_attr *attr);
int gs_srq_destroy(struct gs_srq *srq);
/* Arms the limit event. Result as gs_cmd_raw(). */
int gs_srq_arm_limit(struct gs_srq *srq, uint16_t limit);
uint32_t gs_xrcd_alloc(struct gs_vm *vm);

/* ---- queue pairs (gs_qp.c) ---- */

enum gs_qp_type {
	GS_RC,
	GS_UC,
	GS_UD,
	GS_XRC_INI,
	GS_XRC_TGT,
	GS_QP1,
	GS_UMR,
};

struct gs_qp_attr {
	enum gs_qp_type type;
	struct gs_cq *send_cq, *recv_cq; /* recv_cq NULL: as send_cq */
	struct gs_srq *srq;
	unsigned send_blocks; /* of 64 bytes, a power of two; 0: 128 */
	unsigned recv_wrs;    /* a power of two; 0: 64 */
	unsigned recv_sges;   /* 0: 4 */
	uint32_t xrcd;
	bool signal_all;
	bool scattered; /* rings over scattered pages */
	bool kernel;	/* the kernel's, not a process': it may register pages by work request */
	uint32_t uar;	/* 0: the VM's */
	bool block_loopback; /* IB_QP_CREATE_BLOCK_MULTICAST_LOOPBACK */
};

struct gs_qp {
	bool is_srq; /* false, see struct gs_srq */
	struct gs_vm *vm;
	struct gs_pd *pd;
	enum gs_qp_type type;
	uint32_t qpn, uidx;
	struct gs_cq *send_cq, *recv_cq;
	struct gs_srq *srq;
	uint32_t uar, bf_offset;
	bool signal_all, kernel;
	bool destroyed; /* its last completions may still wait, and are skipped */
	bool scattered;
	void *buf;
	size_t buf_size;
	uint32_t *dbr;
	/* Send queue: blocks of 64 bytes */
	uint8_t *sq;
	unsigned sq_blocks;
	uint16_t sq_post, sq_done; /* blocks, counting on */
	const uint8_t *last_ctrl;  /* control segment of the newest request */
	uint64_t *sq_wr_id;	   /* by block of the request's begin */
	uint16_t *sq_next;	   /* by block: sq_post after that request */
	/* Receive queue */
	uint8_t *rq;
	unsigned rq_wrs, rq_stride;
	uint16_t rq_post, rq_done;
	uint64_t *rq_wr_id;
};

struct gs_qp *gs_qp_create(struct gs_pd *pd, const struct gs_qp_attr *attr);
int gs_qp_destroy(struct gs_qp *qp);

/* Where a QP or an address handle leads. */
struct gs_path {
	uint16_t dlid;
	uint8_t sl, path_bits;
	bool grh;
	uint8_t dgid[16];
	uint8_t hop_limit, traffic_class;
	uint32_t flow_label;
};
struct gs_path gs_path_lid(uint16_t dlid);
struct gs_path gs_path_to(const struct gs_vm *vm); /* by LID */
struct gs_path gs_path_gid(const struct gs_vm *vm);

/* What the driver gives with INIT, RTR and RTS. */
struct gs_link {
	uint32_t remote_qpn;
	struct gs_path path;
	unsigned access; /* GS_REMOTE_* */
	uint32_t qkey;
	uint16_t pkey_index;
	uint8_t mtu;	       /* enum ib_mtu: 1 is 256 bytes, 5 is 4096 */
	uint8_t min_rnr_timer; /* 5-bit code; 1 is 10 us */
	uint8_t rnr_retry;     /* 7: for ever */
	uint8_t retry_count;
	uint8_t timeout;		   /* 4.096 us << n */
	uint8_t rd_atomic, dest_rd_atomic; /* outstanding; 0: none */
};
/* Usual values; retry and RNR retry 7, timeout 14 (67 ms). */
struct gs_link gs_link_default(void);

/* Transitions. Results as gs_cmd_raw(). */
int gs_qp_to_init(struct gs_qp *qp, const struct gs_link *l);
int gs_qp_to_rtr(struct gs_qp *qp, const struct gs_link *l);
int gs_qp_to_rts(struct gs_qp *qp, const struct gs_link *l);
int gs_qp_to_err(struct gs_qp *qp);
/* Also forgets what was posted. */
int gs_qp_to_reset(struct gs_qp *qp);
/* A transition command with a context of the caller's making (CX_QPC_BYTES, or NULL). */
int gs_qp_modify_raw(struct gs_qp *qp, uint16_t opcode, uint32_t opt_mask, const void *qpc);
/* Context as QUERY_QP gives it. */
void gs_qp_query(struct gs_qp *qp, uint8_t qpc[CX_QPC_BYTES]);
uint8_t gs_qp_state(struct gs_qp *qp); /* CX_QPS_* */
/* Reset to RTS in one go; for connected types to one peer, for others `l` gives the Q_Key. */
void gs_qp_bring_up(struct gs_qp *qp, const struct gs_link *l);
/* Connects a and b with these values (remote_qpn and path are filled in), both to RTS. */
void gs_qp_connect(struct gs_qp *a, struct gs_qp *b, const struct gs_link *l);
int gs_mcast_attach(struct gs_qp *qp, const uint8_t mgid[16]);
int gs_mcast_detach(struct gs_qp *qp, const uint8_t mgid[16]);

/* ---- work requests (gs_post.c) ---- */

struct gs_sge {
	uint64_t addr;
	uint32_t len;
	uint32_t key;
};

enum gs_send_flags {
	GS_SIGNALED = 1 << 0,
	GS_SOLICITED = 1 << 1,
	GS_FENCE = 1 << 2,
	GS_INLINE = 1 << 3,
};

struct gs_send_wr {
	uint64_t wr_id;
	uint8_t op; /* enum cx_opcode, for what libmlx5 posts by verbs */
	unsigned flags;
	uint32_t imm; /* immediate data, or the key to invalidate */
	uint64_t raddr;
	uint32_t rkey;
	uint64_t swap_add, compare;
	/* Masked atomics. Of a fetch and add compare_mask has the highest bit of each field. */
	uint64_t swap_mask, compare_mask;
	const struct gs_path *path; /* UD */
	uint32_t dest_qpn, dest_qkey;
	uint32_t xrc_srqn;
	unsigned nsge;
	const struct gs_sge *sge;
};

struct gs_sge gs_sge(const struct gs_mr *mr, const void *ptr, size_t len);

/* Writes the request into the send queue without telling the device. False: the queue is full. */
bool gs_post_send_quiet(struct gs_qp *qp, const struct gs_send_wr *wr);
/* Doorbell record and doorbell for all that was written. */
void gs_ring_send(struct gs_qp *qp);
/* Both. Fails when the queue is full. */
void gs_post_send(struct gs_qp *qp, const struct gs_send_wr *wr);
/* One receive with a scatter list. */
void gs_post_recv(struct gs_qp *qp, uint64_t wr_id, const struct gs_sge *sge, unsigned nsge);
void gs_post_srq_recv(struct gs_srq *srq, uint64_t wr_id, const struct gs_sge *sge, unsigned nsge);

/*
 * A request of the caller's making: `len` bytes (a multiple of 16) from the control segment on,
 * written as they are except that index, QP number and size are filled in where `fix` is set.
 */
void gs_post_raw(struct gs_qp *qp, uint64_t wr_id, const void *wqe, unsigned len, bool fix);
/* Address of a send block; index counts on, as sq_post does. */
uint8_t *gs_sq_block(struct gs_qp *qp, uint16_t index);

/* ---- registration by work request (gs_umr.c) ---- */

/* What a work request may do to a key; posted to an RC or the registration QP, signalled. */
void gs_post_reg(struct gs_qp *qp, uint64_t wr_id, struct gs_mr *mr, void *ptr, size_t len,
		 uint64_t iova, unsigned access);
void gs_post_reg_list(struct gs_qp *qp, uint64_t wr_id, struct gs_mr *mr,
		      const struct gs_part *parts, unsigned n, uint64_t iova, unsigned access);
void gs_post_local_inv(struct gs_qp *qp, uint64_t wr_id, uint32_t key);
/* Binds a window to [addr, addr + len) of mr; len 0 unbinds. mw->key changes as the verbs say. */
void gs_post_bind(struct gs_qp *qp, uint64_t wr_id, struct gs_mr *mw, unsigned type,
		  const struct gs_mr *mr, uint64_t addr, uint64_t len, unsigned access);
/* libmlx5's local invalidation of a type 2 window. */
void gs_post_mw_inv(struct gs_qp *qp, uint64_t wr_id, uint32_t key);

#endif
