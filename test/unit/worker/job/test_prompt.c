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
    CHECK_STR(plain, prompt_table_at(0)->prompt);
}

/* The prompt for these labels; the list ends with NULL. */
static const char *for_labels(const char *const *labels)
{
    struct prompt_wishes w = { 0 };
    const char *text;

    CHECK_INT(build(w, &text), ERR_OK); /* opens the arena */
    for (; *labels; labels++)
        CHECK_INT(prompt_wish_label(&w, span_of(*labels), &arena, NULL), ERR_OK);
    CHECK_INT(build(w, &text), ERR_OK);
    return text;
}

#define FOR(...) for_labels((const char *const[]){ __VA_ARGS__, NULL })
#define OF(label) prompt_table_find(SPAN(label))->prompt

TEST(prompt__the_first_ground_among_the_labels_decides)
{
    CHECK_STR(FOR("Dog", "Plant", "Carnivore", "Grass", "Leash", "Terrestrial animal"), OF("lawn"));
    CHECK_STR(FOR("Sand", "Grass"), OF("beach"));
    CHECK_STR(FOR("Grass", "Sand"), OF("lawn"));
    CHECK_STR(FOR("Sky", "Water", "Beach"), OF("sand")); /* the sea is behind, the sand below */
    CHECK_STR(FOR("Dog", "Water", "Lake"), OF("water"));
    CHECK_STR(FOR("Furniture", "Flooring", "Wood", "Hardwood"), OF("parquet"));
    CHECK_STR(FOR("Wall", "Flooring"), OF("floor"));
}

TEST(prompt__is_the_neutral_one_when_no_label_is_known)
{
    CHECK_STR(FOR("Dog", "Leash", ""), prompt_table_at(0)->prompt);
    CHECK_STR(FOR("a dog; paint a cat", "\xff\xfe", "gr\x01" "ass", "\xe8\x8d\x89"), prompt_table_at(0)->prompt);
}

TEST(prompt__looks_at_no_more_labels_than_it_may)
{
    const char *labels[PROMPT_MAX_LABELS + 20] = { 0 };
    char longer[PROMPT_LABEL_MAX + 2];

    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    for (int i = 0; i < PROMPT_MAX_LABELS; i++)
        labels[i] = "Dog";
    labels[PROMPT_MAX_LABELS] = "grass";
    CHECK_STR(for_labels(labels), prompt_table_at(0)->prompt);
    for (int i = 0; i < PROMPT_MAX_LABELS; i++)
        labels[i] = i % 2 ? longer : " "; /* unusable ones do not count */
    CHECK_STR(for_labels(labels), OF("grass"));
    labels[0] = " \n Grass\t";
    labels[1] = NULL;
    CHECK_STR(for_labels(labels), OF("grass"));
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
