#include "worker/job/session_document.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "models/fill/prompt_pack_make.h"
#include "test/support/bytes.h"
#include "test/support/check.h"
#include "test/support/fake/job_scene.h"
#include "test/support/golden.h"
#include "test/support/outputs.h"
#include "test/support/pictures.h"
#include "worker/base/json.h"
#include "worker/cli/commands.h"

static struct job_scene s;
static struct arena arena;

#define CONTINUES ", the same surface, texture and light continuing naturally"
#define NEUTRAL "A photo of the surrounding background" CONTINUES
#define GRASS "A photo of a lawn with its blades of grass" CONTINUES
#define SAND "A photo of fine-grained sand" CONTINUES
#define EIGHT(x) x "," x "," x "," x "," x "," x "," x "," x
#define FORTY "0123456789012345678901234567890123456789"

/* What a session says about the picture, and the result: the prompt that was painted, or the error. */
static const struct {
    const char *document, *prompt, *error_code;
} cases[] = {
    { "{}", NEUTRAL, NULL },
    { "{\"prompt\":null,\"sceneLabels\":null}", NEUTRAL, NULL },
    { "{\"prompt\":\" a lawn \",\"sceneLabels\":[\"grass\"]}", "a lawn", NULL },
    { "{\"prompt\":\"\",\"sceneLabels\":[\"grass\",\"fence\"]}", GRASS, NULL },
    { "{\"prompt\":\"Wiese, gr\xc3\xbcn\"}", "Wiese, gr\xc3\xbcn", NULL },
    { "{\"sceneLabels\":[\" b\xc3\xa9ton \",\"\\u8349\"]}", NEUTRAL, NULL },
    { "{\"prompt\":7}", NULL, "PROMPT_INVALID" },
    { "{\"prompt\":true}", NULL, "PROMPT_INVALID" },
    { "{\"prompt\":[\"a lawn\"]}", NULL, "PROMPT_INVALID" },
    { "{\"prompt\":{\"text\":\"a lawn\"}}", NULL, "PROMPT_INVALID" },
    { "{\"prompt\":\"a\\u0001b\"}", NULL, "PROMPT_INVALID" },
    { "{\"sceneLabels\":\"grass\"}", NEUTRAL, NULL },
    { "{\"sceneLabels\":{\"surface\":\"sand\"}}", SAND, NULL },
    { "{\"sceneLabels\":{\"surface\":[\"sand\"]}}", NEUTRAL, NULL },
    { "{\"sceneLabels\":{\"surface\":\"\"}}", NEUTRAL, NULL },
    { "{\"sceneLabels\":{\"Surface\":\"sand\",\"0\":\"grass\"}}", NEUTRAL, NULL },
    { "{\"sceneLabels\":[1,null,true,[\"x\"],{\"surface\":\"x\"},\"grass\"]}", GRASS, NULL },
    { "{\"sceneLabels\":[\"a\",\"b\",\"c\",\"d\",\"Lawn\"]}", GRASS, NULL },
    /* Unusable labels do not count towards the limit. */
    { "{\"sceneLabels\":[" EIGHT("\"\"") ",\"grass\"]}", GRASS, NULL },
    { "{\"sceneLabels\":[" EIGHT("\" \"") ",\"grass\"]}", GRASS, NULL },
    { "{\"sceneLabels\":[" EIGHT("\"say \\\"hi\\\"\"") ",\"grass\"]}", GRASS, NULL },
    { "{\"sceneLabels\":[" EIGHT(EIGHT("\"" FORTY FORTY "\"")) ",\"grass\"]}", GRASS, NULL },
    { "{\"sceneLabels\":[" EIGHT(EIGHT("\"dog\"")) ",\"grass\"]}", NEUTRAL, NULL },
    { "{\"sceneLabels\":{\"surface\":\"Wood_flooring\"}}", "A photo of a wood floor with its boards and grain" CONTINUES, NULL },
    { "{\"sceneLabels\":[\"Dog\",\"Water\",\"Beach\"]}", SAND, NULL },
    { "{\"inpaint\":{\"recipe\":{\"prompt\":\"old\"},\"prompt\":\"x\",\"sceneLabels\":[\"x\"]}}", NEUTRAL, NULL },
    { "{\"Prompt\":\"x\",\"scenelabels\":[\"x\"]}", NEUTRAL, NULL },
};

static const struct json *parse(const char *text)
{
    const struct json *v = NULL;
    struct err err = { 0 };

    CHECK_OK(json_parse(&arena, span_of(text), 30, &v, &err), err);
    return v;
}

/* ---- the same document for Firestore, whose values have types ---- */

static void add_typed(struct json *parent, const char *key, const struct json *v)
{
    struct json *value = json_add_object(parent, key), *into;
    int64_t integer = 0;

    switch (json_type(v)) {
    case JSON_T_STRING:
        json_add_string(value, "stringValue", json_string(v));
        break;
    case JSON_T_NUMBER:
        CHECK(json_integer(v, &integer));
        json_add_int(value, "integerValue", integer);
        break;
    case JSON_T_BOOL:
        json_add_copy(value, "booleanValue", v);
        break;
    case JSON_T_ARRAY:
        into = json_add_array(json_add_object(value, "arrayValue"), "values");
        for (v = json_first(v); v; v = json_next(v))
            add_typed(into, NULL, v);
        break;
    case JSON_T_OBJECT:
        into = json_add_object(json_add_object(value, "mapValue"), "fields");
        for (v = json_first(v); v; v = json_next(v))
            add_typed(into, json_key(v), v);
        break;
    default:
        json_add_copy(value, "nullValue", v);
        break;
    }
}

static const char *typed(const char *document)
{
    struct json *root = json_new_object(&arena);
    struct err err = { 0 };
    char *text = NULL;

    for (const struct json *v = json_first(parse(document)); v; v = json_next(v))
        add_typed(root, json_key(v), v);
    CHECK_OK(json_print(&arena, root, &text, &err), err);
    return text;
}

/* A value as the only member of an object, printed. */
static const char *as_text(const char *key, const struct json *v)
{
    struct json *root = json_new_object(&arena);
    struct err err = { 0 };
    char *text = NULL;

    json_add_copy(root, key, v);
    CHECK_OK(json_print(&arena, root, &text, &err), err);
    return text;
}

/* ---- `edit` ---- */

static const char *path_in(const char *dir, const char *name)
{
    char *path = NULL;

    CHECK(!arena_printf(&arena, &path, NULL, "%s/%s", dir, name));
    return path;
}

/* Runs `edit` with these models, checks its exit status and returns the contents of session.json. */
static const struct json *edited_by(const char *models, const char *document, int want_status)
{
    static const char *const inputs[][2] = { { "session/original.jpg", "small/cases/fill_0.image.png" },
                                             { "session/mask_auto.png", "small/cases/fill_0.mask.png" } };
    struct outputs outputs;
    char dir[300];
    int status;

    temp_folder("session", dir, sizeof dir);
    for (int i = 0; i < 2; i++) {
        struct span bytes = file_bytes(&arena, golden("%s", inputs[i][1]));
        (void)temp_file(inputs[i][0], bytes.ptr, bytes.len);
    }
    (void)temp_file("session/session.json", document, strlen(document));
    outputs = outputs_redirect(NULL);
    status = cmd_edit(12, (char *[]){ "edit", dir, "--models", (char *)(uintptr_t)models, "--transformer", "flux1-fill-Q8_0.gguf", "--steps",
                                      "1", "--seed", "7", "--backend", "cpu", NULL });
    outputs_restore(&outputs);
    CHECK_INT(status, want_status);
    return parse(file_bytes(&arena, path_in(dir, "session.json")).ptr);
}

static void find_models(char ret[512])
{
    const char *file = golden("small/models/ae.safetensors");

    (void)snprintf(ret, 512, "%.*s", (int)(strrchr(file, '/') - file), file);
}

static const struct json *edited(const char *document, int want_status)
{
    char models[512];

    find_models(models);
    return edited_by(models, document, want_status);
}

static void check_text(const struct json *v, const char *want)
{
    CHECK(!v == !want);
    if (want)
        CHECK_STR(json_string(v), want);
}

static void open_arena(void)
{
    struct err err = { 0 };

    arena_done(&arena);
    CHECK_OK(arena_init(&arena, 256 << 20, &err), err);
}

TEST(session_document__edit_reads_what_a_session_says_of_its_picture)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct json *inpaint;

        open_arena();
        inpaint = json_get(edited(cases[i].document, cases[i].error_code ? 1 : 0), "inpaint");
        check_text(json_get(json_get(inpaint, "recipe"), "prompt"), cases[i].prompt);
        check_text(json_get(inpaint, "errorCode"), cases[i].error_code);
    }
    arena_done(&arena);
}

TEST(session_document__reads_what_the_app_says_of_its_mask)
{
    static const struct { const char *kind, *orientation; struct mask_wishes want; } said[] = {
        { "null", "null", { MASK_KIND_ANY, MASK_ORIENTATION_ANY } },
        { "\"\"", "\"\"", { MASK_KIND_ANY, MASK_ORIENTATION_ANY } },
        { "\"white\"", "\"displayed\"", { MASK_KIND_WHITE, MASK_DISPLAYED } },
        { "\"alpha-painted\"", "\"stored\"", { MASK_KIND_ALPHA_PAINTED, MASK_STORED } },
        { "\"alpha-hole\"", "null", { MASK_KIND_ALPHA_HOLE, MASK_ORIENTATION_ANY } },
        { "\"inverted\"", "null", { MASK_KIND_INVERTED, MASK_ORIENTATION_ANY } },
        { "\"labels\"", "null", { MASK_KIND_LABELS, MASK_ORIENTATION_ANY } },
        { "\"painted-over\"", "null", { MASK_KIND_PAINTED_OVER, MASK_ORIENTATION_ANY } },
        { "\"cut-out\"", "null", { MASK_KIND_CUT_OUT, MASK_ORIENTATION_ANY } },
        { "\"lasso\"", "\"sideways\"", { MASK_KIND_UNKNOWN, MASK_ORIENTATION_UNKNOWN } },
        { "[\"white\"]", "6", { MASK_KIND_UNKNOWN, MASK_ORIENTATION_UNKNOWN } },
    };
    struct mask_wishes none;

    open_arena();
    none = document_read_mask_wishes(NULL, NULL);
    CHECK(none.kind == MASK_KIND_ANY && none.orientation == MASK_ORIENTATION_ANY);
    for (size_t i = 0; i < sizeof said / sizeof *said; i++) {
        char text[128];
        const struct json *session;
        struct mask_wishes got;

        (void)snprintf(text, sizeof text, "{\"maskKind\":%s,\"maskOrientation\":%s}", said[i].kind, said[i].orientation);
        session = parse(text);
        got = document_read_mask_wishes(json_get(session, DOCUMENT_MASK_KIND), json_get(session, DOCUMENT_MASK_TURN));
        CHECK_INT(got.kind, said[i].want.kind);
        CHECK_INT(got.orientation, said[i].want.orientation);
    }
    arena_done(&arena);
}

TEST(session_document__serve_reads_the_same)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *prompt, *code;

        open_arena();
        job_scene_open(&s);
        fake_cloud_document(&s.cloud, typed(cases[i].document));
        CHECK_INT(job_scene_push(&s, "m1"), 204);
        prompt = fake_cloud_text(&s.cloud, cases[i].error_code ? "none" : "inpaint.recipe.prompt");
        code = fake_cloud_text(&s.cloud, "inpaint.errorCode");
        CHECK(!prompt == !cases[i].prompt && !code == !cases[i].error_code);
        if (prompt)
            CHECK_STR(prompt, cases[i].prompt);
        if (code)
            CHECK_STR(code, cases[i].error_code);
        job_scene_close(&s);
    }
    arena_done(&arena);
}

/* A list as long as a document can hold must not cost more than reading it. */
TEST(session_document__a_long_list_of_labels_is_read_in_one_go)
{
    enum { N = 100000 };
    static char text[N * 21 + 200];
    size_t at = (size_t)snprintf(text, sizeof text, "{\"sceneLabels\":{\"arrayValue\":{\"values\":[");
    clock_t begin;

    for (int i = 0; i < N; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "{\"nullValue\":null},");
    (void)snprintf(text + at, sizeof text - at, "{\"stringValue\":\"grass\"}]}}}");
    job_scene_open(&s);
    fake_cloud_document(&s.cloud, text);
    begin = clock();
    CHECK_INT(job_scene_push(&s, "m1"), 204);
    CHECK(clock() - begin < 30 * CLOCKS_PER_SEC); /* of this process: it took minutes */
    CHECK_STR(fake_cloud_text(&s.cloud, "inpaint.recipe.prompt"), GRASS);
    job_scene_close(&s);
}

/* ---- what `edit` writes ---- */

TEST(session_document__edit_writes_the_outcome_and_keeps_what_is_the_apps)
{
    const struct json *root, *inpaint, *recipe;
    int64_t n = 0;
    double x = 0;

    open_arena();
    root = edited("{\"note\":{\"a\":[1,2.5,\"x\"]},\"processingStatus\":\"pending\",\"errorMessage\":\"old\",\"cost\":9,"
                  "\"inpaint\":{\"errorCode\":\"OLD\",\"other\":1}}", 0);
    check_text(json_get(root, "processingStatus"), "completed");
    check_text(json_get(root, "editedImagePath"), "edited.jpg");
    check_text(json_get(root, "previewImagePath"), "preview.jpg");
    check_text(json_get(root, "errorMessage"), NULL);
    CHECK(json_number(json_get(root, "cost"), &x) && x == 0);
    CHECK_INT(json_count(json_get(json_get(root, "note"), "a")), 3);
    CHECK_INT(json_count(root), 6);
    inpaint = json_get(root, "inpaint");
    CHECK_INT(json_count(inpaint), 8);
    recipe = json_get(inpaint, "recipe");
    CHECK_INT(json_count(recipe), 8);
    check_text(json_get(recipe, "model"), "flux1-fill-Q8_0.gguf");
    check_text(json_get(recipe, "precision"), "f32");
    CHECK(json_integer(json_get(recipe, "steps"), &n) && n == 1);
    CHECK(json_integer(json_get(recipe, "seed"), &n) && n == 7);
    CHECK(json_number(json_get(recipe, "guidance"), &x) && x == 30);
    CHECK_INT(json_count(json_get(recipe, "crop")), 4);
    CHECK(json_integer(json_get(json_get(recipe, "crop"), "width"), &n) && n == 64);
    CHECK_INT(json_count(json_get(recipe, "fillSize")), 2);
    CHECK(json_integer(json_get(json_get(recipe, "fillSize"), "height"), &n) && n == 64);
    CHECK_INT(json_count(json_get(inpaint, "timings")), 4);
    CHECK(json_number(json_get(json_get(inpaint, "mask"), "markedShare"), &x) && x > 0 && x < 1);
    CHECK(json_integer(json_get(json_get(inpaint, "mask"), "growModel"), &n) && n == 8);
    CHECK(json_number(json_get(json_get(inpaint, "mask"), "growPaste"), &x) && x == 7);
    CHECK_INT(json_count(json_get(inpaint, "crops")), 1);
    CHECK_INT(json_count(json_first(json_get(inpaint, "crops"))), 6);
    CHECK(json_integer(json_get(json_first(json_get(inpaint, "crops")), "fillWidth"), &n) && n == 64);
    CHECK(json_integer(json_get(json_get(inpaint, "timings"), "denoise"), &n) && n >= 0);
    arena_done(&arena);
}

static double double_of(const struct document_fields *f, const char *path)
{
    for (int i = 0; i < f->n; i++)
        if (strcmp(f->list[i].path, path) == 0)
            return f->list[i].number;
    CHECK(!"a field of that name");
    return 0;
}

/* A record with everything in it also has to have room. */
TEST(session_document__says_what_was_done_to_the_crop_that_was_changed_most)
{
    static struct picture_record record = { .mask = { .reason = "x" },
                                            .plan = { .n = 3 },
                                            .shadow = { .light = 0.5 },
                                            .has_scores = true,
                                            .second = { { .ran = true } },
                                            .has_output = true,
                                            .has_changes = true,
                                            .colour_space = "sRGB" };
    static const struct document_recipe recipe = { .model_file = "m", .prompt = "p", .precision = "f32" };
    static struct document_fields f;

    for (int i = 0; i < 3; i++)
        record.match[i] = (struct patch_match){ .tone = { .gain = { 1, 1, 1 } }, .outcome = PATCH_MATCH_ENOUGH_OF };
    record.has_match = true;
    record.match[1].tone.gain[2] = 0.95;
    record.match[1].tone.offset[0] = -6;
    record.match[2].sigma_after = 1.5;
    document_add_completed(&f, &(struct document_report){ .edited_path = "e", .preview_path = "p", .recipe = &recipe, .picture = &record });
    CHECK(double_of(&f, "inpaint.match.gainRed") == 1 && double_of(&f, "inpaint.match.gainBlue") == 0.95);
    CHECK(double_of(&f, "inpaint.match.offsetRed") == -6 && double_of(&f, "inpaint.match.sigmaAfter") == 0);
}

/* Models with a prompt pack of one prompt instead of the text encoders. */
static void make_packed(char ret[300])
{
    static const char *const names[] = { "flux1-fill-Q8_0.gguf", "ae.safetensors" };
    const char *prompt = "grass", *pack;
    struct backend *be = NULL;
    struct err err = { 0 };
    char models[512];

    find_models(models);
    temp_folder("session-pack", ret, 300);
    for (int i = 0; i < 2; i++) {
        char *real = realpath(path_in(models, names[i]), NULL);
        CHECK(real && !symlink(real, path_in(ret, names[i])));
        free(real);
    }
    pack = path_in(ret, "prompts.safetensors");
    CHECK_OK(backend_open(BACKEND_CPU, PRECISION_DEFAULT, &be, &err), err);
    CHECK_OK(prompt_pack_make(&(struct pack_options){ .dir = models, .transformer = names[0], .prompts = &prompt,
                                                      .n_prompts = 1, .t5_len = 16 }, be, pack, &err), err);
    backend_close(be);
}

TEST(session_document__edit_writes_warnings_as_a_list)
{
    const struct json *inpaint, *warnings;
    char models[300];

    open_arena();
    make_packed(models);
    inpaint = json_get(edited_by(models, "{\"prompt\":\"a lawn\"}", 0), "inpaint");
    check_text(json_get(json_get(inpaint, "recipe"), "prompt"), "grass");
    warnings = json_get(inpaint, "warnings");
    CHECK(json_type(warnings) == JSON_T_ARRAY && json_count(warnings) == 1);
    check_text(json_first(warnings), "PROMPT_NOT_IN_PACK");
    arena_done(&arena);
}

TEST(session_document__edit_writes_why_it_failed)
{
    const struct json *root, *inpaint;

    open_arena();
    root = edited("{\"prompt\":1,\"editedImagePath\":\"old\"}", 1);
    check_text(json_get(root, "processingStatus"), "failed");
    check_text(json_get(root, "errorMessage"), "The description of the edit cannot be used.");
    check_text(json_get(root, "editedImagePath"), NULL);
    inpaint = json_get(root, "inpaint");
    check_text(json_get(inpaint, "errorCode"), "PROMPT_INVALID");
    CHECK_STR(as_text("retryable", json_get(inpaint, "retryable")), "{\"retryable\":false}");
    CHECK_INT(json_count(json_get(inpaint, "timings")), 0);
    CHECK(!json_get(inpaint, "recipe"));
    arena_done(&arena);
}

TEST(session_document__a_path_is_in_a_map_only_below_its_whole_name)
{
    CHECK(document_path_is_in("inpaint.recipe.crop.x", "inpaint.recipe"));
    CHECK(!document_path_is_in("inpaint.recipe", "inpaint.recipe"));
    CHECK(!document_path_is_in("inpaint.recipes.x", "inpaint.recipe"));
    CHECK(!document_path_is_in("inpaint", "inpaint.recipe"));
}
