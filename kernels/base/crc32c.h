/*
 * crc32c - CRC-32C (Castagnoli): reflected polynomial 0x82F63B78, start and final xor all ones (RFC 3720 12.1).
 * The checksum of Cloud Storage, where it is written as base64 of its four bytes, most significant first.
 *
 *   crc32c(0, "123456789", 9) == 0xE3069283
 *
 * For a running checksum, `crc` is the result of the bytes before, 0 at the start. Computed by the processor's own
 * instruction for it (SSE 4.2), else by slicing-by-8.
 */
#ifndef KERNELS_BASE_CRC32C_H
#define KERNELS_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

uint32_t crc32c(uint32_t crc, const void *bytes, size_t n);
uint32_t crc32c_by_tables(uint32_t crc, const void *bytes, size_t n); /* the same on any processor */

/* The checksum of two texts one behind the other, from the checksum of each and the length of the second. Takes less
 * than a microsecond, however long they are. */
uint32_t crc32c_joined(uint32_t first, uint32_t second, uint64_t second_bytes);

#endif
