#include "kernels/base/crc32c.h"

#include <pthread.h>
#include <string.h>

enum { SLICES = 8 };

static const uint32_t polynomial = 0x82F63B78; /* reflected: the lowest bit is the highest power */

/* table[k][b]: what byte b becomes after k further zero bytes. */
static uint32_t table[SLICES][256];
static pthread_once_t table_once = PTHREAD_ONCE_INIT;

static void make_table(void)
{
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t r = b;

        for (int bit = 0; bit < 8; bit++)
            r = r >> 1 ^ (r & 1 ? polynomial : 0);
        table[0][b] = r;
    }
    for (int k = 1; k < SLICES; k++)
        for (int b = 0; b < 256; b++)
            table[k][b] = table[k - 1][b] >> 8 ^ table[0][table[k - 1][b] & 255];
}

static uint32_t load_le32(const unsigned char *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* Slicing-by-8 (Kounavis and Berry 2005): eight independent lookups for eight bytes instead of a chain of eight. */
uint32_t crc32c_by_tables(uint32_t crc, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    uint32_t r = ~crc;

    (void)pthread_once(&table_once, make_table);
    for (; n >= SLICES; n -= SLICES, p += SLICES) {
        uint32_t low = load_le32(p) ^ r, high = load_le32(p + 4);

        r = table[7][low & 255] ^ table[6][low >> 8 & 255] ^ table[5][low >> 16 & 255] ^ table[4][low >> 24] ^
            table[3][high & 255] ^ table[2][high >> 8 & 255] ^ table[1][high >> 16 & 255] ^ table[0][high >> 24];
    }
    for (; n; n--)
        r = r >> 8 ^ table[0][(r ^ *p++) & 255];
    return ~r;
}

#ifdef __x86_64__
__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t r, const unsigned char *p, size_t n)
{
    uint64_t wide = r, word;

    for (; n >= sizeof word; n -= sizeof word, p += sizeof word) {
        memcpy(&word, p, sizeof word);
        wide = __builtin_ia32_crc32di(wide, word);
    }
    r = (uint32_t)wide;
    for (; n; n--)
        r = __builtin_ia32_crc32qi(r, *p++);
    return r;
}
#endif

uint32_t crc32c(uint32_t crc, const void *bytes, size_t n)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("sse4.2"))
        return ~by_instruction(~crc, bytes, n);
#endif
    return crc32c_by_tables(crc, bytes, n);
}

/* --- joining --- */

/* The product of two polynomials modulo that of the checksum. */
static uint32_t times(uint32_t a, uint32_t b)
{
    uint32_t product = 0;

    for (uint32_t power = 1u << 31; power; power >>= 1) { /* the highest bit is the power 0 */
        product ^= a & power ? b : 0;
        b = b >> 1 ^ (b & 1 ? polynomial : 0);
    }
    return product;
}

/* A byte behind a text multiplies its remainder by x^8. The powers of that are squared bit by bit of the length. */
uint32_t crc32c_joined(uint32_t first, uint32_t second, uint64_t second_bytes)
{
    uint32_t square = 1u << (31 - 8);

    for (uint64_t n = second_bytes; n; n >>= 1) {
        if (n & 1)
            first = times(square, first);
        square = times(square, square);
    }
    return first ^ second;
}
