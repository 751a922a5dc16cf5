/* SPDX-License-Identifier: BSD-2-Clause */
/* Lists of pieces of memory (core/core.h). */
#include "core/private.h"

#include <underpass/tag.h>

size_t up_iov_bytes(const struct iovec *iov, size_t n)
{
	size_t sum = 0;

	for (size_t i = 0; i < n; i++) {
		if (__builtin_add_overflow(sum, iov[i].iov_len, &sum))
			return SIZE_MAX;
	}
	return sum;
}

/* The piece with the byte at *offset, which becomes an offset into it. */
static size_t find(const struct iovec *iov, size_t n, size_t *offset)
{
	size_t i = 0;

	while (i < n && *offset >= iov[i].iov_len)
		*offset -= iov[i++].iov_len;
	return i;
}

static size_t stretch(const struct iovec *piece, size_t offset, size_t left)
{
	size_t n = piece->iov_len - offset;

	return n < left ? n : left;
}

size_t up_iov_read(void *to, const struct iovec *iov, size_t n, size_t offset, size_t len)
{
	size_t done = 0;

	for (size_t i = find(iov, n, &offset); i < n && done < len; i++, offset = 0) {
		size_t part = stretch(&iov[i], offset, len - done);

		memcpy((char *)to + done, (const char *)iov[i].iov_base + offset, part);
		done += part;
	}
	return done;
}

size_t up_iov_write(const struct iovec *iov, size_t n, size_t offset, const void *from, size_t len)
{
	size_t done = 0;

	for (size_t i = find(iov, n, &offset); i < n && done < len; i++, offset = 0) {
		size_t part = stretch(&iov[i], offset, len - done);

		memcpy((char *)iov[i].iov_base + offset, (const char *)from + done, part);
		done += part;
	}
	return done;
}

size_t up_iov_slice(struct iovec *out, const struct iovec *iov, size_t n, size_t offset, size_t len)
{
	size_t pieces = 0;

	for (size_t i = find(iov, n, &offset); i < n && len && pieces < UP_IOV_MAX;
	     i++, offset = 0) {
		size_t part = stretch(&iov[i], offset, len);

		if (!part)
			continue;
		out[pieces].iov_base = (char *)iov[i].iov_base + offset;
		out[pieces++].iov_len = part;
		len -= part;
	}
	return pieces;
}
