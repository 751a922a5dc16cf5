/* SPDX-License-Identifier: BSD-2-Clause */
/* A bare TCP connection to an endpoint, by the libfabric lane's part of its address. */
#ifndef UP_TESTS_LIB_OFI_DOOR_H
#define UP_TESTS_LIB_OFI_DOOR_H

#include "lane/ofi/wire.h"

struct up_ep;

/* The lane's part of the endpoint's address: it begins there and has `*bytes`. */
const struct ofi_addr *ofi_door(const uint8_t *addr, size_t len, size_t *bytes);
/* A socket that is connected with where the endpoint listens, over IPv4. */
int ofi_knock(struct up_ep *ep);

#endif
