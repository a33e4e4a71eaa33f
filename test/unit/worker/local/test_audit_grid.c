#include "worker/local/audit_grid.h"

#include <stdio.h>
#include <string.h>

#include "test/support/check.h"

static struct arena arena;
static struct audit_grid grid;
static struct err err;

static enum err_code parse(const char *transformers, const char *guidance, const char *steps, const char *seeds)
{
    const struct audit_lists lists = { transformers, guidance, steps, seeds };

    err = (struct err){ 0 };
    if (!arena.base)
        CHECK_OK(arena_init(&arena, 1 << 20, &err), err);
    return audit_grid_parse(&lists, &arena, &grid, &err);
}

TEST(audit_grid__has_every_combination_once_and_each_transformer_in_one_go)
{
    char names[36][AUDIT_NAME_SIZE];
    int changes = 0;

    CHECK_INT(parse("b.gguf,a.gguf", "2,4.5,30", "8,20,28", "1,18446744073709551615"), ERR_OK);
    CHECK_INT(audit_grid_count(&grid), 36);
    CHECK_INT(grid.most_steps, 28);
    for (int i = 0; i < 36; i++) {
        struct audit_cell c = audit_grid_cell(&grid, i);

        CHECK(c.guidance > 0 && c.steps > 0 && c.seed > 0);
        changes += i > 0 && c.transformer != audit_grid_cell(&grid, i - 1).transformer;
        audit_cell_name(&c, c.transformer, names[i]);
        for (int k = 0; k < i; k++)
            CHECK(strcmp(names[i], names[k]) != 0);
    }
    CHECK_INT(changes, 1);
    CHECK_STR(names[0], "b.gguf-g2-s8-n1");
    CHECK_STR(names[35], "a.gguf-g30-s28-n18446744073709551615");
    CHECK_STR(audit_grid_cell(&grid, 6).transformer, "b.gguf");
    CHECK(audit_grid_cell(&grid, 6).guidance == 4.5);
}

TEST(audit_grid__names_of_folders_are_plain_and_differ)
{
    static const char *const models[] = { "a b.gguf", "a_b.gguf", "a/b.gguf", "..", ".hidden", "<b>&\".gguf", "m\xc3\xb6.gguf", "m__.gguf",
                                          "x123456789x123456789x123456789x123456789x123456789x123456789x123456789",
                                          "x123456789x123456789x123456789x123456789x123456789x123456789x123456780" };
    enum { N = sizeof models / sizeof *models };
    static char names[N][AUDIT_NAME_SIZE];

    for (int i = 0; i < N; i++) {
        audit_cell_name(&(struct audit_cell){ .guidance = 2, .steps = 1, .seed = 3 }, models[i], names[i]);
        CHECK_INT(strspn(names[i], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"), strlen(names[i]));
        CHECK(names[i][0] != '.' && strstr(names[i], "-g2-s1-n3"));
        for (int k = 0; k < i; k++)
            CHECK(strcmp(names[i], names[k]) != 0);
    }
}

TEST(audit_grid__says_which_value_is_wrong)
{
    static const struct {
        const char *lists[4], *words;
    } cases[] = {
        { { NULL, "", "8", "1" }, "--guidance: '' is not a number from 0 to 1000" },
        { { NULL, "2,", "8", "1" }, "--guidance: ''" },
        { { NULL, "2, 4", "8", "1" }, "--guidance: ' 4'" },
        { { NULL, "nan", "8", "1" }, "--guidance: 'nan'" },
        { { NULL, "-1", "8", "1" }, "--guidance: '-1'" },
        { { NULL, "1001", "8", "1" }, "--guidance: '1001'" },
        { { NULL, "0x10", "8", "1" }, "--guidance: '0x10'" },
        { { NULL, "2;4", "8", "1" }, "values are separated by commas" },
        { { NULL, "2,4,2.0", "8", "1" }, "--guidance: '2.0' stands there twice" },
        { { NULL, "3,3.000000000000001", "8", "1" }, "stands there twice" },
        { { NULL, "2", "0", "1" }, "--steps: '0' is not a whole number from 1 to 1000" },
        { { NULL, "2", "8,1001", "1" }, "--steps: '1001'" },
        { { NULL, "2", "8.5", "1" }, "--steps: '8.5'" },
        { { NULL, "2", "99999999999999999999", "1" }, "--steps: '99999999999999999999'" },
        { { NULL, "2", "8,8", "1" }, "--steps: '8' stands there twice" },
        { { NULL, "2", "8", "18446744073709551616" }, "--seeds: '18446744073709551616' is not a whole number" },
        { { NULL, "2", "8", "-1" }, "--seeds: '-1'" },
        { { "", "2", "8", "1" }, "--transformers: '' is not a file name" },
        { { "a,b,a", "2", "8", "1" }, "--transformers: 'a' stands there twice" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *const *l = cases[i].lists;

        CHECK_INT(parse(l[0], l[1], l[2], l[3]), ERR_INVALID);
        CHECK(strstr(err.msg, cases[i].words));
    }
}

TEST(audit_grid__has_limits_and_says_what_they_are)
{
    char many[400] = "0";

    for (int i = 1; i < AUDIT_MAX_VALUES; i++)
        (void)snprintf(many + strlen(many), sizeof many - strlen(many), ",%d", i);
    CHECK_INT(parse(NULL, many, "8", "1"), ERR_OK);
    CHECK(!audit_grid_cell(&grid, 0).transformer);
    CHECK_INT(parse(NULL, many, "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16", "1"), ERR_TOO_LARGE);
    CHECK(strstr(err.msg, "1 transformers x 64 values of guidance x 16 numbers of steps x 1 seeds are 1024 cells, at most 1000"));
    CHECK_INT(parse(NULL, strcat(many, ",64"), "8", "1"), ERR_TOO_LARGE);
    CHECK(strstr(err.msg, "--guidance: more than 64 values"));
}
