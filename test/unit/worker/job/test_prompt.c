#include <string.h>

#include "test/support/check.h"
#include "worker/job/prompt.h"

static struct arena arena;

static enum err_code build(struct prompt_wishes w, const char **ret)
{
    struct err err = { 0 };

    if (!arena.base)
        CHECK_OK(arena_init(&arena, 1 << 20, &err), err);
    *ret = NULL;
    return prompt_build(&w, &arena, ret, NULL);
}

TEST(prompt__takes_the_sessions_own_text_without_blanks_around_it)
{
    const char *text;

    CHECK_INT(build((struct prompt_wishes){ .prompt = " \n green grass\t" }, &text), ERR_OK);
    CHECK_STR(text, "green grass");
}

TEST(prompt__describes_the_ground_when_the_app_says_nothing_or_blanks)
{
    const char *plain, *blank;

    CHECK_INT(build((struct prompt_wishes){ 0 }, &plain), ERR_OK);
    CHECK_INT(build((struct prompt_wishes){ .prompt = "  " }, &blank), ERR_OK);
    CHECK_STR(blank, plain);
    CHECK(strstr(plain, "background"));
}

TEST(prompt__names_usable_labels_and_skips_the_rest)
{
    static const char *const labels[] = { "grass", "", "say \"hi\"", " wooden floor ", "line\nbreak", "a", "b", "c",
                                   "a label that is far too long to be a label of a scene" };
    struct prompt_wishes w = { 0 };
    const char *text;

    CHECK_INT(build(w, &text), ERR_OK); /* opens the arena */
    for (int i = 0; i < 9; i++)
        CHECK_INT(prompt_wish_label(&w, span_of(labels[i]), &arena, NULL), ERR_OK);
    CHECK_INT(build(w, &text), ERR_OK);
    CHECK(strstr(text, "A photo of grass, wooden floor, a, b: ") == text);
}

TEST(prompt__refuses_what_is_not_text)
{
    char longer[PROMPT_MAX_BYTES + 2];
    const char *text;

    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    CHECK_INT(build((struct prompt_wishes){ .prompt = longer }, &text), ERR_PROMPT);
    CHECK_INT(build((struct prompt_wishes){ .prompt = "a\x01" "b" }, &text), ERR_PROMPT);
    CHECK_INT(build((struct prompt_wishes){ .prompt_invalid = true }, &text), ERR_PROMPT);
    longer[PROMPT_MAX_BYTES] = 0;
    CHECK_INT(build((struct prompt_wishes){ .prompt = longer }, &text), ERR_OK);
}
