/* SPDX-License-Identifier: BSD-2-Clause */
/* VFIO_USER_VERSION: what both sides agree on before anything else. */
#include "vfio/vfio_internal.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

/*
 * The capabilities that matter to a server which sends no commands of its own: only how many
 * descriptors the client takes with a reply (1 where it does not say).
 */
static int parse_capabilities(struct up_vfio_server *srv, const json_t *root)
{
	const json_t *caps = json_object_get(root, "capabilities");
	const json_t *fds;

	srv->conn.takes_fds = true;
	if (!caps)
		return 0;
	if (!json_is_object(caps)) {
		up_vu_complain(srv, "VERSION: capabilities are not a JSON object");
		return -EINVAL;
	}
	fds = json_object_get(caps, "max_msg_fds");
	if (!fds)
		return 0;
	if (!json_is_integer(fds) || json_integer_value(fds) < 0) {
		up_vu_complain(srv, "VERSION: max_msg_fds is not a number");
		return -EINVAL;
	}
	srv->conn.takes_fds = json_integer_value(fds) > 0;
	return 0;
}

/* The text must be a JSON object, its NUL the last byte of the message. No text is fine, too. */
static int parse_version_data(struct up_vfio_server *srv, const char *text, size_t size)
{
	json_error_t where;
	json_t *root;
	int ret;

	srv->conn.takes_fds = true;
	if (!size)
		return 0;
	if (strnlen(text, size) != size - 1) {
		up_vu_complain(srv, "VERSION: the JSON text does not end with the message");
		return -EINVAL;
	}
	root = json_loadb(text, size - 1, JSON_REJECT_DUPLICATES, &where);
	if (!json_is_object(root)) {
		up_vu_complain(srv, "VERSION: malformed JSON at byte %d",
			       root ? 0 : where.position);
		json_decref(root);
		return -EINVAL;
	}
	ret = parse_capabilities(srv, root);
	json_decref(root);
	return ret;
}

int up_vu_handle_version(struct up_vfio_server *srv, struct vu_message *msg, struct vu_reply *reply)
{
	char *text = (char *)srv->conn.transfer;
	struct vu_version version;
	int ret, n;

	up_vu_message_get(msg, &version, sizeof(version));
	if (version.major != VU_VERSION_MAJOR) {
		up_vu_complain(srv, "VERSION: the client speaks %u.%u, the server %d.%d",
			       version.major, version.minor, VU_VERSION_MAJOR, VU_VERSION_MINOR);
		return -EINVAL;
	}
	ret = parse_version_data(srv, (const char *)msg->payload + sizeof(version),
				 msg->payload_size - sizeof(version));
	if (ret < 0)
		return ret;

	/* The lower of both minor versions; there is none below ours. */
	version.minor = VU_VERSION_MINOR;
	n = snprintf(text, UP_VFIO_MAX_XFER,
		     "{\"capabilities\":{\"max_msg_fds\":%d,\"max_data_xfer_size\":%d,"
		     "\"pgsizes\":%d,\"max_dma_maps\":%u}}",
		     UP_VFIO_MAX_FDS, UP_VFIO_MAX_XFER, VU_PAGE_SIZE, srv->ranges.max);
	up_vu_reply_set(reply, &version, sizeof(version));
	reply->data = text;
	reply->data_size = (size_t)n + 1;
	srv->conn.state = VU_OPERATIONAL;
	return 0;
}
