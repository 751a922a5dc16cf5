/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ConnectX-5 as a guest sees it: objects of the device and what its files offer one another.
 *
 *   device.h   what the daemon needs of a device
 *   device.c   creation, start, stop and reset
 *   remains.c  the end of everything that a guest created
 *   pci.c      the PCI function: vfio-user callbacks, memory map, interrupts
 *   iseg.c     initialization segment: registers of BAR0 below the UAR pages
 *   cmd.c      command queue: slots, mailboxes, dispatch over one table of commands
 *   cmd.h      what a command's handler gets, and the handlers by file
 *   caps.c     capability groups
 *   cmd_*.c    commands by object: hca, res (PD, XRCD, UAR, counters), mkey, eq, cq, srq, qp,
 *              qp_modify, vport, reg, mcg, uctx (user contexts, and to whom objects belong), umem
 *              (memory of processes); cmd_queue.c has what those of queues share
 *   buf.c      rings in guest memory, as page lists
 *   locate.c   where rings and doorbell records lie in the daemon's memory
 *   eq.c       event queue entries, interrupts
 *   cq.c       completion queue entries
 *   cq_watch.c arming, moderation, events
 *   wqe.c      send and receive work queue elements into engine requests
 *   srq.c      shared receive queues (linked lists of elements)
 *   mkey.c     rights and translation entries of memory keys
 *   umr.c      registration work requests
 *   uar.c      doorbell hints of the UAR pages, trapped doorbells
 *   rings.h    what wqe.c and srq.c share
 *   abi.h      fields and how they are read and written, registers of BAR 0, the command queue
 *   abi_*.h    layouts of commands: cmd, capabilities: cap, contexts: ctx, access registers: reg;
 *              of WQEs, CQEs, EQEs and doorbells: queue
 *
 * Ownership: created, destroyed and modified by the control thread with the world stopped. Rings
 * (cq, eq) are written by workers under their locks. Each guest-supplied number is looked up in a
 * table; each address goes through struct up_mem.
 */
#ifndef UP_CONNECTX_H
#define UP_CONNECTX_H

#include "base/bytes.h"
#include "device/connectx/abi_queue.h"
#include "device/connectx/device.h"
#include "vfio/pci_config.h"

#define CX_BAR0_SIZE (32u << 20)
#define CX_UAR_OFFSET 0x10000u
#define CX_UAR_FIRST 16u /* UAR index n is page n of BAR0 */
#define CX_UAR_PAGES (CX_BAR0_SIZE / 4096u)
#define CX_MSIX_VECTORS 64u
#define CX_MSIX_TABLE 0x8000u
#define CX_MSIX_PBA 0xc000u
#define CX_MAX_EQ 128u /* numbers: 1 << CX_LOG_MAX_EQ of them are handed out */

/* A ring in guest memory, given as a page list. Ranges were checked when it was created. */
struct cx_buf {
	uint64_t *pages; /* guest-physical */
	uint32_t npages;
	uint8_t page_shift;
	uint32_t offset; /* of the ring's first byte in the first page */
	uint32_t umem;	 /* that it lies in, or 0 */
	uint64_t bytes;	 /* of the ring */
	bool stretch;	 /* the pages follow one another */
	/*
	 * When all pages are one writable host stretch (often, for small rings), the address of the
	 * ring's first byte; else NULL and each access resolves. Good as long as the owner's epoch
	 * is that of the memory map.
	 */
	uint8_t *flat;
};

struct cx_device;

/* One that waits for room in its queue. */
struct cx_event {
	uint8_t type, sub_type;
	uint8_t data[CX_EQE_DATA_SIZE];
};

struct cx_eq {
	struct cx_device *dev;
	uint32_t eqn;
	uint8_t log_size;
	uint16_t vector;
	uint32_t uar_page;	/* where its consumer index is told; 0: nowhere */
	uint64_t event_mask[4]; /* bit n: event type n, as in CREATE_EQ */
	uint32_t producer;
	uint32_t consumer; /* as told last */
	/* Of events[], a ring, those that wait are [first, first + waiting). */
	struct cx_event *events;
	uint32_t room, first, waiting;
	/* Entries may be unread of which the guest was told: since when, less what was counted. */
	bool behind;
	uint64_t counted;
	uint64_t ask_next; /* on the worker: when to interrupt it for them again */
	bool lost;	   /* its memory went away: told once in the log */
	uint64_t epoch;	   /* of the memory map that buf.flat was looked up in */
	struct cx_buf buf;
	struct up_lock lock; /* taken even with one worker: the control thread posts events too */
	uint32_t users;	     /* CQs */
	uint16_t uid;
};

/* Where a queue stands with the watch list of its device. */
enum cx_watch_state {
	CX_WATCH_OFF,	 /* all was taken when it was looked at; or it is being looked at */
	CX_WATCH_PARKED, /* on the list, to be looked at at `next` */
	CX_WATCH_FRESH,	 /* at the list's front: completions came since the last look */
};

/*
 * What is known of a queue that may be due an event (cq_watch.c). The list and the state change
 * under dev->watch_lock, all else under the queue's lock.
 */
struct cx_cq_watch {
	struct up_list node; /* on dev->watch */
	enum cx_watch_state state;
	uint32_t solicited_producer; /* producer index after the last solicited completion */
	bool have_served;
	uint32_t served_arm;	       /* the arm record that was answered by an event */
	bool untold, untold_solicited; /* completions since the last event */
	uint64_t first_pending;	       /* moderation: when the oldest unreported completion came */
	/* In ns. */
	uint32_t delay; /* from a completion to the first look */
	uint64_t since; /* when the latest ones were found */
	uint64_t next;	/* when to look, while parked */
	uint64_t step;	/* from the last look to that one */
};

struct cx_cq {
	struct up_cq base;
	struct cx_device *dev;
	struct cx_eq *eq;
	struct cx_buf buf;
	struct cx_buf resize_buf; /* the next ring, between the resize command and its completion */
	uint8_t log_size;
	uint8_t cqe_shift; /* 6 or 7 */
	bool overrun_ignore, collapsed;
	uint64_t dbr_gpa;
	uint64_t epoch;	     /* of the memory map that dbr and buf.flat were looked up in */
	uint32_t *dbr;	     /* host address of the doorbell record, or NULL: cx_cq_locate() */
	uint32_t producer;   /* 24 bits are visible */
	uint32_t consumer;   /* as last read from the guest, for the overrun check */
	uint64_t last_stamp; /* the latest timestamp; they never go back */
	uint16_t moderation_count, moderation_us;
	struct cx_cq_watch watch;
	uint8_t raw_ctx[64]; /* as created, for QUERY_CQ */
	uint32_t dbr_umem;   /* or 0 */
	uint16_t uid;
};

struct cx_srq {
	struct up_srq base;
	struct cx_device *dev;
	struct cx_buf buf;
	uint8_t log_size, log_stride; /* stride in bytes = 1 << log_stride */
	uint64_t dbr_gpa;
	uint64_t epoch; /* of the memory map that dbr and buf.flat were looked up in */
	uint32_t *dbr;
	uint32_t head;	/* index of the next element to take */
	uint16_t taken; /* elements taken, to compare with the doorbell record */
	uint16_t limit; /* armed limit, 0: none */
	uint32_t user_index;
	bool is_rmp;
	bool cyclic;	      /* elements follow one another as they lie; links are not looked at */
	uint8_t raw_ctx[192]; /* as created, for the query commands */
	uint32_t dbr_umem;    /* or 0 */
	uint16_t uid;
};

struct cx_qp {
	struct up_qp base;
	struct cx_device *dev;
	struct cx_buf buf;
	uint8_t log_sq_size;
	uint8_t log_rq_size, log_rq_stride; /* stride in bytes = 1 << log_rq_stride */
	uint32_t sq_offset;		    /* bytes into the buffer */
	uint64_t dbr_gpa;
	uint64_t epoch; /* of the memory map that dbr and buf.flat were looked up in; atomic */
	uint32_t *dbr;	/* [0] receive counter, [1] send counter */
	uint16_t sq_consumer, rq_consumer;
	uint16_t sq_producer, rq_producer; /* as the doorbell record said last */
	uint32_t user_index;
	uint32_t uar_page;
	uint32_t sweep_slot;  /* in dev->sweep_qps, set by cx_uar_use() */
	bool uidx_in_cqe;     /* false: CQEs of version 0, with the SRQ's number */
	uint8_t service_type; /* qpc.st */
	bool fre;	      /* qpc.fre: a kernel's QP, whose requests may register pages */
	uint8_t raw_ctx[232]; /* qpc as created and modified, for QUERY_QP */
	uint32_t dbr_umem;    /* or 0 */
	uint16_t uid;
};

/* Doorbell words of one UAR page that QPs use. */
struct cx_uar {
	uint32_t users; /* QPs */
	bool allocated;
	uint16_t uid;
	uint64_t seen[4]; /* last word at 0x800, 0x900, 0xa00, 0xb00 */
};

struct cx_device {
	struct up_hca hca;
	struct up_port *port;
	struct up_vfio_server *server;
	struct cx_device_config cfg;
	/* Registers and command queue: control thread only. */
	uint8_t iseg[0x4000];
	uint64_t cmdq_gpa;
	uint8_t nic_interface;	      /* CX_NIC_IFC_* */
	uint32_t pending_slots;	      /* of the command queue: rung, not executed yet */
	struct cx_exchange *exchange; /* the command in progress (cmd.c) */
	int work_fd; /* eventfd, readable while there are pending slots, or a command in progress */
	bool work_set;
	int poll_fd; /* epoll of work_fd and the server */
	struct up_pci_config pci;
	uint16_t vsc;		  /* where the vendor-specific capability is */
	uint32_t sw_reset_holder; /* of its semaphore; 0: free */
	uint8_t caps[256];	  /* general capabilities in force (SET_HCA_CAP) */
	bool host_atomics;	  /* atomics return host-endian data, as the driver asked */
	uint64_t list_bytes;	  /* of the page lists of all rings */
	uint8_t issi;		  /* interface revision in use, 0 or 1 */
	uint32_t reserved_key;	  /* of all memory, for the kernel's QPs */
	uint32_t null_key;	  /* of none, for all QPs */
	bool hca_enabled, hca_running, bus_master;
	int uar_fd;	     /* memfd behind BAR0; UAR pages are shared from it */
	uint8_t *uar_mem;    /* our mapping of it */
	struct cx_uar *uars; /* CX_UAR_PAGES of them */
	uint16_t *uar_watch; /* indexes of pages with users, packed; under stopped world */
	uint32_t uar_watch_count;
	uint32_t uar_scan; /* where of uar_watch[] the next round begins; at the end: at 0 */
	uint32_t uar_next; /* where ALLOC_UAR looks first */
	struct up_lock locate_lock; /* of the addresses in QPs, which two workers may look up */
	struct up_table pds, xrcds, cqs, counters, uctxs, umems;
	struct cx_eq *eqs[CX_MAX_EQ];
	int behind_eqs;		      /* struct cx_eq.behind; atomic */
	struct cx_eq *cmd_eq;	      /* the one that asked for command completions */
	int vectors[CX_MSIX_VECTORS]; /* eventfds or -1 */
	/* CQs that may be due an event, those with fresh completions first; under watch_lock. */
	struct up_list watch;
	struct up_lock watch_lock;
	uint64_t watch_due;	  /* when the next of the others is to be looked at */
	struct cx_qp **sweep_qps; /* QPs with a send queue, for the background sweep */
	uint32_t sweep_count, sweep_room;
	uint32_t sweep;		    /* next index of it */
	uint64_t last_poll;	    /* ns */
	bool fatal;		    /* in error until reset: told once in the log */
	struct cx_remains *remains; /* what the last driver left, and the spare tables */
};

static inline struct cx_device *cx_dev(struct up_hca *hca)
{
	return UP_CONTAINER_OF(hca, struct cx_device, hca);
}

static inline struct cx_qp *cx_qp(struct up_qp *qp)
{
	return UP_CONTAINER_OF(qp, struct cx_qp, base);
}

static inline struct cx_cq *cx_cq(struct up_cq *cq)
{
	return UP_CONTAINER_OF(cq, struct cx_cq, base);
}

static inline struct cx_srq *cx_srq(struct up_srq *srq)
{
	return UP_CONTAINER_OF(srq, struct cx_srq, base);
}

/*
 * The device's clock, which CQEs and the internal timer of the initialization segment show:
 * 156.25 MHz of CLOCK_MONOTONIC.
 */
static inline uint64_t cx_clock_ticks(uint64_t ns)
{
	return ns * 5 / 32;
}

/* device.c; device.h has what the daemon calls. */
/* Destroys every object of the guest and returns to the power-on state. */
void cx_device_reset(struct cx_device *dev);
/*
 * Puts the device in error: logged once with `why`, health buffer set, port down, until the driver
 * resets it.
 */
void cx_device_fatal(struct cx_device *dev, const char *why);

/* remains.c */
int cx_remains_init(struct cx_device *dev); /* once the tables are there; 0 or -ENOMEM */
void cx_remains_fini(struct cx_device *dev);
/* Destroys every object of the guest: nothing refers to one any more, the memory is freed later. */
void cx_remains_leave(struct cx_device *dev);
/* Frees some of what was left. True when all of it is gone, and objects may be created again. */
bool cx_remains_settle(struct cx_device *dev);

/* buf.c */
/* Takes a copy of `pages`. -EINVAL unless it holds `bytes` from `offset`, -ENOMEM. */
int cx_buf_init(struct cx_buf *b, struct up_arena *arena, const uint64_t *pages, uint32_t npages,
		uint8_t page_shift, uint32_t offset, uint64_t bytes);
void cx_buf_fini(struct cx_buf *b, struct up_arena *arena);
/* Looks up `flat` in the memory map as it is. */
void cx_buf_refresh(struct cx_buf *b, const struct up_mem *mem);
/* Host address of [off, off + len), which must not cross a page unless flat; NULL: not memory. */
void *cx_buf_at(const struct cx_buf *b, const struct up_mem *mem, uint64_t off, uint32_t len);

/* The same, for what lies in one page of a ring. */
static inline uint8_t *cx_ring_at(const struct cx_buf *b, const struct up_mem *mem, uint64_t off,
				  uint32_t len)
{
	return b->flat ? b->flat + off : cx_buf_at(b, mem, off, len);
}

/*
 * locate.c: the host addresses of an object's ring and record are looked up again at its first use
 * after a change of the memory map. A guest with hundreds of thousands of objects may change its
 * map all the time, so the change itself must not look at them. The functions are called at the
 * head of each use, under the lock that the use has: the queue's own; of a QP, any.
 */
#define CX_DBR_BYTES 8	   /* two words, of a QP or CQ */
#define CX_SRQ_DBR_BYTES 4 /* one */
/* A doorbell record; NULL unless it is aligned, and memory. */
uint32_t *cx_dbr_at(const struct up_mem *mem, uint64_t gpa, uint32_t bytes);
void cx_eq_look_up(struct cx_eq *eq);
void cx_cq_look_up(struct cx_cq *cq);
void cx_srq_look_up(struct cx_srq *srq);
void cx_qp_look_up(struct cx_qp *qp);

static inline void cx_eq_locate(struct cx_eq *eq)
{
	if (__builtin_expect(eq->epoch != eq->dev->hca.mem.epoch, 0))
		cx_eq_look_up(eq);
}

static inline void cx_cq_locate(struct cx_cq *cq)
{
	if (__builtin_expect(cq->epoch != cq->base.hca->mem.epoch, 0))
		cx_cq_look_up(cq);
}

static inline void cx_srq_locate(struct cx_srq *srq)
{
	if (__builtin_expect(srq->epoch != srq->base.hca->mem.epoch, 0))
		cx_srq_look_up(srq);
}

/* Acquire: pairs with the release of another worker that looked them up, in cx_qp_look_up(). */
static inline void cx_qp_locate(struct cx_qp *qp)
{
	uint64_t epoch = __atomic_load_n(&qp->epoch, __ATOMIC_ACQUIRE);

	if (__builtin_expect(epoch != qp->base.hca->mem.epoch, 0))
		cx_qp_look_up(qp);
}

/* iseg.c: registers. */
void cx_iseg_reset(struct cx_device *dev);
int cx_iseg_read(struct cx_device *dev, uint64_t off, void *buf, size_t len);
int cx_iseg_write(struct cx_device *dev, uint64_t off, const void *buf, size_t len);

/*
 * cmd.c: executes the command slots whose bits are set in the doorbell vector, for a bounded time;
 * what is left waits for cx_cmd_resume().
 */
void cx_cmd_doorbell(struct cx_device *dev, uint32_t slots);
void cx_cmd_resume(struct cx_device *dev);
/* Forgets them all, and the command in progress. Not for handlers. */
void cx_cmd_cancel(struct cx_device *dev);
int cx_cmd_init(struct cx_device *dev); /* 0 or -ENOMEM */
void cx_cmd_fini(struct cx_device *dev);

/* eq.c: any thread, takes eq->lock. `data`: the 28 bytes of event data at offset 32. */
void cx_eq_post(struct cx_eq *eq, uint8_t type, uint8_t subtype, const uint8_t data[28]);
/* Raises no interrupt by itself. False: there is no room, try again later. */
bool cx_eq_post_completion(struct cx_eq *eq, uint32_t cqn);
void cx_eq_interrupt(struct cx_eq *eq);
/*
 * On the worker: posts what waited for room, interrupts a guest that may have left events behind.
 * Returns the number posted, lowers *due.
 */
unsigned cx_eq_serve(struct cx_device *dev, uint64_t now, uint64_t *due);
/* Frees those that wait for room: in this arena, which need not be its device's any more. */
void cx_eq_drop_events(struct cx_eq *eq, struct up_arena *arena);
/* Goes to the EQ whose mask asks for the type; dropped when none does. */
void cx_async_event(struct cx_device *dev, uint8_t type, uint8_t subtype, const uint8_t data[28]);
void cx_cq_error_event(struct cx_device *dev, uint32_t cqn, uint8_t syndrome);
void cx_qp_event(struct up_qp *qp, enum up_event event);
void cx_srq_event(struct up_srq *srq, enum up_event event);
void cx_port_event(struct up_hca *hca, enum up_event event);

/* cq.c */
void cx_cq_post(struct up_cq *cq, const struct up_wc *wc);
void cx_cq_prefetch(struct up_cq *cq);
/* Completions that the guest has not taken yet. The queue has a doorbell record. */
uint32_t cx_cq_unread(const struct cx_cq *cq);
/* On the worker: the time of the turn, which completions are stamped with. */
void cx_cq_set_turn(uint64_t now);
/*
 * MODIFY_CQ, resize: the ring in cq->resize_buf, of 1 << log_size entries of 1 << cqe_shift bytes,
 * replaces the one in use, which is freed. World stopped. -EINVAL: more completions are unread than
 * it holds; -ENOSPC: no room to tell the guest; -EFAULT. Then resize_buf is still the caller's.
 */
int cx_cq_switch(struct cx_cq *cq, uint8_t log_size, uint8_t cqe_shift);

/* cq_watch.c */
/* A completion was written to the queue, under its lock: it may be due an event. */
void cx_cq_watch_add(struct cx_cq *cq, bool solicited);
/* Serves the watch list: events for armed CQs. Returns the number raised, lowers *due. */
unsigned cx_cq_watch(struct cx_device *dev, uint64_t now, uint64_t *due);
/* Takes a CQ that goes away off the watch list. World stopped. */
void cx_cq_forget(struct cx_cq *cq);

/* wqe.c, srq.c, umr.c: struct up_hca_ops. */
int cx_sq_fetch(struct up_qp *qp, struct up_send_wr *wr);
void cx_sq_advance(struct up_qp *qp, const struct up_send_wr *wr);
bool cx_sq_pending(struct up_qp *qp);
int cx_rq_take(struct up_qp *qp, struct up_recv_wr *wr);
int cx_srq_take(struct up_srq *srq, struct up_recv_wr *wr);
/* A limit was armed (world stopped): raises its event now if the queue is below it already. */
void cx_srq_check_limit(struct cx_srq *srq);
void cx_qp_reset(struct up_qp *qp);
enum up_wc_status cx_exec_local(struct up_qp *qp, struct up_send_wr *wr);

/* mkey.c */
/* Grants what `flags` has and revokes what it lacks, of the rights that `mask` names. */
void cx_mkey_set_access(struct up_mr *mr, uint8_t flags, uint64_t mask);
uint8_t cx_mkey_access_flags(const struct up_mr *mr);
uint32_t cx_mkey_entry_bytes(const struct up_mr *mr);
/* An entry of this list; the offset is up_mr_seal_list()'s. */
struct up_mr_piece cx_mkey_piece(const struct up_mr *mr, const uint8_t *from);
/*
 * Entries [first, first + n) of the table, which is there, as they lie at `from`. `of_zero` is the
 * page that an entry of 0 stands for.
 */
void cx_mkey_write_entries(struct up_mr *mr, uint32_t first, const uint8_t *from, uint32_t n,
			   uint64_t of_zero);

/* uar.c */
int cx_uar_init(struct cx_device *dev);
void cx_uar_fini(struct cx_device *dev);
/*
 * The pages are memory that can be read, unlike a card's. What a process stored there is gone when
 * its page is given to another; and each client gets a file of its own, as the last one may have
 * kept what it mapped. No QP uses the page, or any page.
 */
void cx_uar_clean(struct cx_device *dev, uint32_t page);
void cx_uar_renew(struct cx_device *dev);
/*
 * A QP (dev, uar_page and base are set) came or went: its UAR page is watched for doorbells and
 * its record swept. World stopped. 0, or -ENOMEM when it came.
 */
int cx_uar_use(struct cx_qp *qp, bool use);
/* All QPs went, and all pages are free. World stopped. */
void cx_uar_forget_all(struct cx_device *dev);
/* struct up_hca_ops.poll: doorbell hints, background sweep, then cx_cq_watch(). */
unsigned cx_poll(struct up_hca *hca, uint64_t now, uint64_t *due);
/* A trapped store into a UAR page: control thread. */
void cx_uar_write(struct cx_device *dev, uint64_t off, const void *buf, size_t len);

#endif
