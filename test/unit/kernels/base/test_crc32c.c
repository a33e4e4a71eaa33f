#include <stdlib.h>
#include <string.h>

#include "kernels/base/crc32c.h"
#include "test/support/check.h"

TEST(crc32c__gives_the_published_values) /* PROTOCOL.md 5.3; RFC 3720 B.4 */
{
    unsigned char bytes[32] = { 0 };

    CHECK(crc32c(0, "", 0) == 0);
    CHECK(crc32c(0, "hello", 5) == 0x9a71bb4c);
    CHECK(crc32c(0, "123456789", 9) == 0xe3069283);
    CHECK(crc32c(0, bytes, 32) == 0x8a9136aa);
    memset(bytes, 0xff, 32);
    CHECK(crc32c(0, bytes, 32) == 0x62a8ab43);
    for (int i = 0; i < 32; i++)
        bytes[i] = (unsigned char)i;
    CHECK(crc32c(0, bytes, 32) == 0x46dd794e);
    for (int i = 0; i < 32; i++)
        bytes[i] = (unsigned char)(31 - i);
    CHECK(crc32c(0, bytes, 32) == 0x113fdb5c);
}

/* Computes bit by bit, like the definition. */
static uint32_t plain(const unsigned char *p, size_t n)
{
    uint32_t r = 0xffffffff;

    while (n--) {
        r ^= *p++;
        for (int bit = 0; bit < 8; bit++)
            r = r >> 1 ^ (r & 1 ? 0x82f63b78 : 0);
    }
    return ~r;
}

TEST(crc32c__is_the_same_whole_in_pieces_and_combined)
{
    unsigned char bytes[1000];

    srand(7);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)rand();
    for (size_t n = 0; n <= sizeof bytes; n += 37) {
        size_t cut = n / 3;
        uint32_t want = plain(bytes, n), first = crc32c(0, bytes, cut);

        CHECK(crc32c(0, bytes, n) == want);
        CHECK(crc32c(first, bytes + cut, n - cut) == want);
        CHECK(crc32c_by_tables(0, bytes, n) == want);
        CHECK(crc32c_by_tables(first, bytes + cut, n - cut) == want);
        CHECK(crc32c_joined(first, crc32c(0, bytes + cut, n - cut), n - cut) == want);
    }
}

TEST(crc32c__of_two_texts_is_joined_to_that_of_both) /* the values of RFC 3720 B.4 and of many checksum libraries */
{
    static const unsigned char zeros[16];
    const uint32_t of_zeros = crc32c(0, zeros, 16);
    uint32_t first = crc32c(0, "12345", 5);

    CHECK(crc32c_joined(first, crc32c(0, "6789", 4), 4) == 0xe3069283);
    CHECK(crc32c_joined(of_zeros, of_zeros, 16) == 0x8a9136aa);
    CHECK(crc32c_joined(first, 0, 0) == first);
    CHECK(crc32c_joined(0, first, 5) == first);
    CHECK(crc32c_joined(crc32c_joined(0x12345678, of_zeros, 16), of_zeros, 16) ==
          crc32c_joined(0x12345678, crc32c_joined(of_zeros, of_zeros, 16), 32));
}
