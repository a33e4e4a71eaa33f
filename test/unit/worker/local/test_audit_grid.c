#include "worker/local/audit_grid.h"

#include <stdio.h>
#include <string.h>

#include "test/support/check.h"

static struct arena arena;
static struct audit_grid grid;
static struct err err;

static enum err_code parse_lists(struct audit_lists lists)
{
    err = (struct err){ 0 };
    if (!arena.base)
        CHECK_OK(arena_init(&arena, 1 << 20, &err), err);
    return audit_grid_parse(&lists, &arena, &grid, &err);
}

static enum err_code parse(const char *transformers, const char *guidance, const char *steps, const char *seeds)
{
    return parse_lists((struct audit_lists){ transformers, guidance, steps, seeds, NULL, NULL });
}

/* With one transformer, one guidance, one number of steps and one seed. */
static enum err_code parse_loras(const char *loras, const char *setting)
{
    return parse_lists((struct audit_lists){ NULL, "2", "8", "1", loras, setting });
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
    CHECK(strstr(err.msg, "1 transformers x 1 sets of LoRAs x 64 values of guidance x 16 numbers of steps x 1 seeds are 1024 cells, at most 1000"));
    CHECK_INT(parse(NULL, strcat(many, ",64"), "8", "1"), ERR_TOO_LARGE);
    CHECK(strstr(err.msg, "--guidance: more than 64 values"));
}

TEST(audit_grid__loads_each_transformer_with_each_set_of_loras_once)
{
    char names[24][AUDIT_NAME_SIZE];
    int changes = 0;

    CHECK_INT(parse_lists((struct audit_lists){ "b.gguf,a.gguf", "2,30", "8", "1,2", "none,x.safetensors:0.8+y,x.safetensors", NULL }), ERR_OK);
    CHECK_INT(audit_grid_count(&grid), 24);
    for (int i = 0; i < 24; i++) {
        const struct audit_cell c = audit_grid_cell(&grid, i), before = audit_grid_cell(&grid, i ? i - 1 : 0);

        changes += c.transformer != before.transformer || c.loras != before.loras;
        audit_cell_name(&c, c.transformer, names[i]);
        for (int k = 0; k < i; k++)
            CHECK(strcmp(names[i], names[k]) != 0);
        CHECK_INT(strspn(names[i], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"), strlen(names[i]));
    }
    CHECK_INT(changes, 5);
    CHECK(!audit_grid_cell(&grid, 3).loras);
    CHECK_STR(names[0], "b.gguf-g2-s8-n1"); /* as an audit without LoRAs has it */
    CHECK(strstr(names[4], "b.gguf-lora-") == names[4] && strstr(names[4], "-g2-s8-n1"));
    CHECK_STR(audit_grid_cell(&grid, 4).loras->text, "x.safetensors:0.8,y:1");
    CHECK_INT(audit_grid_cell(&grid, 4).loras->set.n, 2);
    CHECK_STR(audit_grid_cell(&grid, 8).loras->text, "x.safetensors:1");
    CHECK(audit_grid_cell(&grid, 16).loras == audit_grid_cell(&grid, 4).loras);
}

/* Sets that look alike: other scales, another order, another folder, text that ends elsewhere, long names. */
TEST(audit_grid__different_sets_of_loras_have_different_names)
{
    char names[16][AUDIT_NAME_SIZE];

    CHECK_INT(parse_loras("none,a,b,a+b,b+a,a:2,a:2.000000000000001,a:-2,a2,d/a,e/a,a_b,a b,m\xc3\xb6,a+a,"
                          "x123456789x123456789x123456789x123456789x123456789x123456789x123456789x123456789.safetensors", NULL), ERR_OK);
    CHECK_INT(audit_grid_count(&grid), 16);
    for (int i = 0; i < 16; i++) {
        const struct audit_cell c = audit_grid_cell(&grid, i);

        audit_cell_name(&c, "x123456789x123456789x123456789x123456789x123456789x1234.gguf", names[i]);
        CHECK_INT(strspn(names[i], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"), strlen(names[i]));
        CHECK(strlen(names[i]) < 128 && strstr(names[i], "-g2-s8-n1"));
        for (int k = 0; k < i; k++)
            CHECK(strcmp(names[i], names[k]) != 0);
    }
}

TEST(audit_grid__transformers_of_one_name_in_two_folders_have_different_names)
{
    enum { N = 6 };
    static const char *const paths[N] = { "x.gguf", "unet/x.gguf", "/models/x.gguf", "folder", "other", "x" };
    char names[N][AUDIT_NAME_SIZE];

    for (int i = 0; i < N; i++) {
        audit_cell_name(&(struct audit_cell){ .transformer = paths[i], .guidance = 2, .steps = 1, .seed = 3 }, "x.gguf", names[i]);
        CHECK(strstr(names[i], "x.gguf") == names[i] && !strchr(names[i], '/'));
        for (int k = 0; k < i; k++)
            CHECK(strcmp(names[i], names[k]) != 0);
    }
    CHECK_STR(names[0], "x.gguf-g2-s1-n3");
}

TEST(audit_grid__takes_the_setting_as_one_set_where_no_list_is_given)
{
    CHECK_INT(parse_loras(NULL, "a:0.5,b+c.safetensors"), ERR_OK);
    CHECK_INT(audit_grid_count(&grid), 1);
    CHECK_STR(audit_grid_cell(&grid, 0).loras->text, "a:0.5,b+c.safetensors:1");
    CHECK_INT(parse_loras("none", "a"), ERR_OK);
    CHECK(audit_grid_count(&grid) == 1 && !audit_grid_cell(&grid, 0).loras);
    CHECK_INT(parse_loras(NULL, NULL), ERR_OK);
    CHECK(audit_grid_count(&grid) == 1 && !audit_grid_cell(&grid, 0).loras);
    CHECK_INT(parse_loras(NULL, "a:11"), ERR_INVALID);
    CHECK(strstr(err.msg, "LORAS: LoRA 'a': the scale is 11; a number from -10 to 10 is allowed"));
}

TEST(audit_grid__says_which_set_of_loras_is_wrong)
{
    static const struct {
        const char *list, *words;
        enum err_code code;
    } cases[] = {
        { "", "--loras: '' is not none, or FILE[:SCALE] with more of them behind a +; values are separated by commas", ERR_INVALID },
        { "a,", "--loras: '' is not none", ERR_INVALID },
        { "a++b", "--loras: 'a++b': LoRA: a file's name is missing", ERR_INVALID },
        { "+a", "--loras: '+a': LoRA: a file's name is missing", ERR_INVALID },
        { "a:10.5", "--loras: 'a:10.5': LoRA 'a': the scale is 10.5; a number from -10 to 10 is allowed", ERR_INVALID },
        { "a:nan", "the scale is nan", ERR_INVALID },
        { ":0.5", "--loras: ':0.5': LoRA: a file's name is missing", ERR_INVALID },
        { "a,none+b", "--loras: 'none+b': 'none' means no LoRA, and stands alone", ERR_INVALID },
        { "none:0.5", "--loras: 'none:0.5': 'none' means no LoRA", ERR_INVALID },
        { "none,a,none", "--loras: 'none' stands there twice", ERR_INVALID },
        { "a+b:0.5,a:1+b:.5", "--loras: 'a:1+b:.5' stands there twice", ERR_INVALID },
        { "a+b+c+d+e+f+g+h+i", "more than 8 files", ERR_TOO_LARGE },
    };
    char many[400] = "none";

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK_INT(parse_loras(cases[i].list, NULL), cases[i].code);
        CHECK(strstr(err.msg, cases[i].words) && strstr(err.msg, "--loras: "));
    }
    for (int i = 1; i < AUDIT_MAX_VALUES; i++)
        (void)snprintf(many + strlen(many), sizeof many - strlen(many), ",a%d", i);
    CHECK_INT(parse_lists((struct audit_lists){ NULL, "2,3,4,5", "1,2,3,4", "1", many, NULL }), ERR_TOO_LARGE);
    CHECK(strstr(err.msg, "1 transformers x 64 sets of LoRAs x 4 values of guidance x 4 numbers of steps x 1 seeds are 1024 cells"));
    CHECK_INT(parse_loras(strcat(many, ",b"), NULL), ERR_TOO_LARGE);
    CHECK(strstr(err.msg, "--loras: more than 64 values"));
}
