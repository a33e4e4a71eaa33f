#include "kernels/base/crc32c.h"

#include <pthread.h>

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
uint32_t crc32c(uint32_t crc, const void *bytes, size_t n)
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
