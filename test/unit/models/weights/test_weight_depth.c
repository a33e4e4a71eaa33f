#include "models/weights/weight_depth.h"
#include "test/support/check.h"

static int depth_of(const char *prefix, const char *const *names, int n)
{
    struct tensor_entry entries[8] = { 0 };
    const struct tensor_file file = { .entries = entries, .n_entries = n };
    struct weight_set set = { .files = { &file }, .n_files = 1 };

    for (int i = 0; i < n; i++)
        entries[i].name = span_of(names[i]);
    for (int i = 0; prefix[i]; i++)
        set.prefix[i] = prefix[i];
    return weight_depth(&set, "blocks.", 16);
}
#define DEPTH(prefix, ...) \
    depth_of(prefix, (const char *[]){ __VA_ARGS__ }, sizeof((const char *[]){ __VA_ARGS__ }) / sizeof(char *))

TEST(weight_depth__is_one_more_than_the_greatest_index)
{
    CHECK_INT(DEPTH("", "blocks.0.w", "blocks.3.w", "blocks.1.w"), 4); /* block 2 is then reported as missing, by name */
    CHECK_INT(DEPTH("", "blocks.15.w"), 16);
    CHECK_INT(DEPTH("p.", "p.blocks.1.w", "blocks.7.w"), 2);
    CHECK_INT(DEPTH("", "other.1.w"), 0);
}

TEST(weight_depth__takes_only_whole_numbers_between_stem_and_dot)
{
    CHECK_INT(DEPTH("", "blocks.", "blocks..w", "blocks.x.w", "blocks.-1.w"), 0);
    CHECK_INT(DEPTH("", "blocks.1", "blocks.1x.w", "my.blocks.1.w"), 0);
}

TEST(weight_depth__says_when_an_index_is_too_large)
{
    CHECK_INT(DEPTH("", "blocks.16.w"), 17);
    CHECK_INT(DEPTH("", "blocks.99999999999999999999.w", "blocks.0.w"), 17);
}
