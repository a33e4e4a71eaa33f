#include "models/fill/prompt_pack.h"

#include <math.h>

#include "test/support/bytes.h"
#include "test/support/check.h"
#include "test/support/golden.h"

static struct arena arena;

static enum err_code open_written(const struct tensor_write *t, int n, const struct metadata_pair *m, int n_pairs,
                                  struct prompt_pack *ret)
{
    const char *path = temp_path("pack.safetensors");
    struct err err = { 0 };

    CHECK_OK(arena_init(&arena, 1 << 20, &err), err);
    CHECK_OK(safetensors_write(path, t, n, m, n_pairs, &err), err);
    return prompt_pack_open(path, &arena, ret, &err);
}

TEST(prompt_pack__reads_numbered_prompts)
{
    struct prompt_pack p;
    struct err err = { 0 };

    CHECK_OK(arena_init(&arena, 1 << 20, &err), err);
    CHECK_OK(prompt_pack_open(golden("small/cases/text.safetensors"), &arena, &p, &err), err);
    CHECK_INT(p.n_entries, 4);
    CHECK(prompt_pack_find(&p, "") == &p.entries[1]);
    CHECK_INT(p.entries[1].t5_len, 64);
    CHECK_INT(p.entries[1].context, 64);
    CHECK_INT(p.entries[2].t5_len, 128);
    CHECK(prompt_pack_find(&p, p.entries[2].prompt) == &p.entries[2]);
    CHECK(prompt_pack_find(&p, "no such prompt") == NULL);
    arena_done(&arena);
}

TEST(prompt_pack__reads_a_single_prompt)
{
    static const float embeds[6] = { 1, 2, 3, 4, 5, 6 }, pooled[2] = { 7, 8 };
    const struct tensor_write t[] = { { "prompt_embeds", DT_F32, 2, { 2, 3 }, embeds },
                                      { "pooled_prompt_embeds", DT_F32, 1, { 2 }, pooled } };
    const struct metadata_pair m = { "prompt", "quiet \"grass\"\n" };
    struct prompt_pack p;
    float v;

    CHECK_INT(open_written(t, 2, &m, 1, &p), ERR_OK);
    CHECK_INT(p.n_entries, 1);
    CHECK_INT(p.entries[0].t5_len, 2);
    CHECK_INT(p.entries[0].pooled, 2);
    memcpy(&v, (const char *)prompt_pack_find(&p, m.value)->prompt_embeds + 5 * sizeof v, sizeof v);
    CHECK(v == 6);
    arena_done(&arena);
}

/* What a download leaves behind whose room was reserved before it ended. */
TEST(prompt_pack__refuses_an_unfinished_pack)
{
    enum { T = 64, D = 96, P = 128, CUT = 3001 /* no begin of a row */ };
    static float embeds[T * D], pooled[P];
    const struct tensor_write t[] = { { "prompt_embeds", DT_F32, 2, { T, D }, embeds },
                                      { "pooled_prompt_embeds", DT_F32, 1, { P }, pooled } };
    const struct metadata_pair m = { "prompt", "grass" };
    struct prompt_pack p;

    for (int i = 0; i < T * D; i++)
        embeds[i] = 1 + (float)i;
    for (int i = 0; i < P; i++)
        pooled[i] = 1 + (float)i;
    CHECK_INT(open_written(t, 2, &m, 1, &p), ERR_OK);
    arena_done(&arena);
    memset(embeds + 20 * D, 0, 4 * D * sizeof *embeds); /* tokens that are masked */
    CHECK_INT(open_written(t, 2, &m, 1, &p), ERR_OK);
    arena_done(&arena);
    memset(embeds + CUT, 0, 1024 * sizeof *embeds);
    CHECK_INT(open_written(t, 2, &m, 1, &p), ERR_CORRUPT);
    arena_done(&arena);
    memset(embeds + CUT, 0, (T * D - CUT) * sizeof *embeds);
    memset(pooled, 0, sizeof pooled);
    CHECK_INT(open_written(t, 2, &m, 1, &p), ERR_CORRUPT);
    arena_done(&arena);
}

TEST(prompt_pack__refuses_files_that_are_not_a_pack)
{
    static const float good[6] = { 1, 2, 3, 4, 5, 6 }, bad[6] = { 1, NAN, 3, 4, 5, 6 };
    const struct metadata_pair m[] = { { "prompt", "x" }, { "0.prompt", "x" }, { "1.prompt", "y" } };
    const struct {
        struct tensor_write t[4];
        int n, n_pairs;
        enum err_code want;
    } cases[] = {
        { { { "something", DT_F32, 1, { 6 }, good } }, 1, 3, ERR_NOT_FOUND },
        { { { "prompt_embeds", DT_F32, 2, { 2, 3 }, good } }, 1, 3, ERR_NOT_FOUND },
        { { { "prompt_embeds", DT_F32, 2, { 2, 3 }, good }, { "pooled_prompt_embeds", DT_F32, 1, { 6 }, good } },
          2,
          0,
          ERR_NOT_FOUND },
        { { { "prompt_embeds", DT_F32, 1, { 6 }, good }, { "pooled_prompt_embeds", DT_F32, 1, { 6 }, good } },
          2,
          3,
          ERR_CORRUPT },
        { { { "prompt_embeds", DT_F32, 2, { 2, 3 }, bad }, { "pooled_prompt_embeds", DT_F32, 1, { 6 }, good } },
          2,
          3,
          ERR_CORRUPT },
        { { { "0.prompt_embeds", DT_F32, 2, { 2, 3 }, good },
            { "0.pooled_prompt_embeds", DT_F32, 1, { 6 }, good },
            { "1.prompt_embeds", DT_F32, 2, { 3, 2 }, good },
            { "1.pooled_prompt_embeds", DT_F32, 1, { 6 }, good } },
          4,
          3,
          ERR_CORRUPT },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct prompt_pack p;

        CHECK_INT(open_written(cases[i].t, cases[i].n, m, cases[i].n_pairs, &p), cases[i].want);
        arena_done(&arena);
    }
}

/* One prompt and one schedule of two steps, broken in the way that `change` names. */
enum change { NOTHING, NO_TRANSFORMER, NO_GUIDANCE, TWO_GUIDANCES, NAN_SIGMA, NO_TABLE, SHORT_TABLE, FLAT_TABLE };

static enum err_code open_scheduled(enum change change, struct prompt_pack *ret)
{
    static const float values[8] = { 1, 0.5f, 3, 4, 5, 6, 7, 8 }, nans[2] = { 1, NAN };
    struct tensor_write t[] = { { "prompt_embeds", DT_F32, 2, { 2, 3 }, values },
                                { "pooled_prompt_embeds", DT_F32, 1, { 2 }, values },
                                { "schedule.0.sigmas", DT_F32, 1, { 2 }, change == NAN_SIGMA ? nans : values },
                                { "schedule.0.guidance", DT_F32, 1, { change == TWO_GUIDANCES ? 2 : 1 }, values + 6 },
                                { "modulation.0", DT_F32, 2, { 2, 4 }, values } };
    const struct metadata_pair m[] = { { "prompt", "x" }, { "transformer", "some digest" } };

    if (change == NO_GUIDANCE)
        t[3].name = "other";
    if (change == NO_TABLE)
        t[4].name = "another";
    if (change == SHORT_TABLE)
        t[4].dims[0] = 1;
    if (change == FLAT_TABLE) {
        t[4].n_dims = 1;
        t[4].dims[0] = 8;
    }
    return open_written(t, 5, m, change == NO_TRANSFORMER ? 1 : 2, ret);
}

TEST(prompt_pack__gives_the_table_of_exactly_the_schedule)
{
    const float sigmas[2] = { 1, 0.5f }, others[2] = { 1, 0.4f };
    struct prompt_pack p;
    float v;

    CHECK_INT(open_scheduled(NOTHING, &p), ERR_OK);
    CHECK_INT(p.n_schedules, 1);
    CHECK_INT(p.modulation_columns, 4);
    CHECK_STR(p.transformer, "some digest");
    CHECK(!prompt_pack_modulation(&p, p.entries, others, 2, 7) && !prompt_pack_modulation(&p, p.entries, sigmas, 1, 7));
    CHECK(!prompt_pack_modulation(&p, p.entries, sigmas, 2, 30) && !prompt_pack_modulation(&p, p.entries, sigmas, 2, NAN));
    CHECK(prompt_pack_modulation(&p, p.entries, sigmas, 2, 7) != NULL);
    memcpy(&v, (const char *)prompt_pack_modulation(&p, p.entries, sigmas, 2, 7) + 7 * sizeof v, sizeof v);
    CHECK(v == 8);
    arena_done(&arena);
}

TEST(prompt_pack__refuses_schedules_that_are_not_complete)
{
    static const enum err_code want[] = { [NO_TRANSFORMER] = ERR_NOT_FOUND, [NO_GUIDANCE] = ERR_NOT_FOUND,
                                          [TWO_GUIDANCES] = ERR_CORRUPT, [NAN_SIGMA] = ERR_CORRUPT,
                                          [NO_TABLE] = ERR_NOT_FOUND, [SHORT_TABLE] = ERR_CORRUPT,
                                          [FLAT_TABLE] = ERR_CORRUPT };

    for (int change = NO_TRANSFORMER; change <= FLAT_TABLE; change++) {
        struct prompt_pack p;

        CHECK_INT(open_scheduled((enum change)change, &p), want[change]);
        arena_done(&arena);
    }
}
