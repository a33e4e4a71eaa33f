/*
 * score-table [--seeds N] [--each] [--vae FILE] [PHOTO.png ...] - how well the scores of models/score/scores.h tell
 * removals with a known fault from clean ones, on generated grounds (test/support/scenes/score_scenes.h), or on squares
 * of the given photos; for test/bench/RESULTS.md. --each prints the figures of every case, --vae adds windows of an
 * encoder's latents.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/file.h"
#include "models/codec/decode.h"
#include "test/support/scenes/score_latents.h"
#include "test/support/scenes/score_scenes.h"

enum { SIDE = 320, SEEDS = 6, N_FIGURES = 10 };
static const size_t arena_bytes = (size_t)1 << 30;

struct tally {
    int n, own[N_FAULTS], total[N_FAULTS], coherence[N_FAULTS], seam_shown[N_FAULTS], seam_below, seam_pairs;
    int sound_shown[N_SOUND], sound_total[N_SOUND];
    int latent[N_FAULTS], latent_hallucination[N_FAULTS];
    double sum[N_FAULTS + N_SOUND][N_FIGURES], latent_sum[N_FAULTS + N_SOUND][2];
};

struct table {
    struct arena arena;
    struct score_encoder *encoder; /* NULL: none */
    int seeds;
    bool each;
};

static void add_figures(double sum[N_FIGURES], const struct picture_scores *s)
{
    const double v[N_FIGURES] = { s->seam,  s->outline, s->colour_step, s->overlap,       s->sharpness,
                                  s->grain, s->ghost,   s->coherence,   s->hallucination, s->total };

    for (int i = 0; i < N_FIGURES; i++)
        sum[i] += v[i];
}

static void print_figures(const char *name, const double v[N_FIGURES], double n)
{
    printf("| %-14s |", name);
    for (int i = 0; i < N_FIGURES; i++)
        printf(" %6.3f |", v[i] / n);
    printf("\n");
}

static void fail(const struct err *err)
{
    (void)fprintf(stderr, "score-table: %s\n", err->msg);
    exit(1);
}

static struct score_coherence latent_coherence(struct table *table, const struct score_case *c,
                                               const struct image *after)
{
    struct score_coherence ret = { 1.0, 0.0 };
    struct score_features f;
    struct err err = { 0 };

    if (table->encoder && (score_encode(table->encoder, &table->arena, after, &f, &err) ||
                           score_features_measure(&table->arena, &f, &c->paste, &ret, &err)))
        fail(&err);
    return ret;
}

static void add_latents(double sum[2], struct score_coherence s)
{
    sum[0] += s.coherence;
    sum[1] += s.hallucination;
}

static void run_case(struct table *table, const struct score_case *c, struct tally *t)
{
    struct arena *a = &table->arena;
    struct score_coherence latent, clean_latent = { 1.0, 0.0 };
    struct picture_scores clean, s;
    struct image after;

    for (int f = 0; f < N_FAULTS; f++) {
        double own[N_FIGURES] = { 0 };

        score_case_result(a, c, (enum score_fault)f, &after);
        score_case_measure(a, c, &after, &s);
        latent = latent_coherence(table, c, &after);
        if (f == FAULT_NONE) {
            clean = s;
            clean_latent = latent;
        }
        add_latents(t->latent_sum[f], latent);
        t->latent[f] += latent.coherence < clean_latent.coherence;
        t->latent_hallucination[f] += latent.hallucination > clean_latent.hallucination;
        add_figures(t->sum[f], &s);
        add_figures(own, &s);
        if (table->each)
            print_figures(score_fault_name((enum score_fault)f), own, 1);
        t->own[f] += score_own_figure_is_worse((enum score_fault)f, &clean, &s);
        t->total[f] += picture_scores_better(&clean, &s);
        t->coherence[f] += s.coherence <= clean.coherence;
        t->seam_shown[f] += picture_scores_seam_shows(&s);
    }
    for (int k = 0; k < N_SOUND; k++) {
        score_case_sound(a, c, (enum score_sound)k, &after);
        score_case_measure(a, c, &after, &s);
        add_figures(t->sum[N_FAULTS + k], &s);
        add_latents(t->latent_sum[N_FAULTS + k], latent_coherence(table, c, &after));
        t->sound_shown[k] += picture_scores_seam_shows(&s);
    }
    t->n++;
}

static void print_tally(const char *name, const struct tally *t)
{
    printf("\n%s: %d cases\n\n| fault | own figure | total | coherence not better | seam shows |\n| --- | --- | --- | "
           "--- | --- |\n",
           name, t->n);
    for (int f = 0; f < N_FAULTS; f++)
        printf("| %s | %.1f %% | %.1f %% | %.1f %% | %.1f %% |\n", score_fault_name((enum score_fault)f),
               100.0 * t->own[f] / t->n, 100.0 * t->total[f] / t->n, 100.0 * t->coherence[f] / t->n,
               100.0 * t->seam_shown[f] / t->n);
    printf("| fresh grain | | | | %.1f %% |\n| clone | | | | %.1f %% |\n", 100.0 * t->sound_shown[0] / t->n,
           100.0 * t->sound_shown[1] / t->n);
    printf("\n| mean           |   seam | outl.  | colour | overlap | sharp |  grain |  ghost | coher. | halluc. | "
           "total |\n"
           "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n");
    for (int f = 0; f < N_FAULTS; f++)
        print_figures(score_fault_name((enum score_fault)f), t->sum[f], t->n);
    print_figures("fresh grain", t->sum[N_FAULTS], t->n);
    print_figures("clone", t->sum[N_FAULTS + 1], t->n);
}

static void print_latents(const struct tally *t)
{
    printf("\n| latents | coherence worse | hallucination worse | mean coherence | mean hallucination |\n"
           "| --- | --- | --- | --- | --- |\n");
    for (int f = 0; f < N_FAULTS; f++)
        printf("| %s | %.1f %% | %.1f %% | %.3f | %.3f |\n", score_fault_name((enum score_fault)f),
               100.0 * t->latent[f] / t->n, 100.0 * t->latent_hallucination[f] / t->n, t->latent_sum[f][0] / t->n,
               t->latent_sum[f][1] / t->n);
    for (int k = 0; k < N_SOUND; k++)
        printf("| %s | | | %.3f | %.3f |\n", k == SOUND_CLONE ? "clone" : "fresh grain",
               t->latent_sum[N_FAULTS + k][0] / t->n, t->latent_sum[N_FAULTS + k][1] / t->n);
}

static void add_tally(struct tally *all, const struct tally *t)
{
    const int *from = (const int *)t;

    for (size_t i = 0; i < offsetof(struct tally, sum) / sizeof(int); i++)
        ((int *)all)[i] += from[i];
    for (int f = 0; f < N_FAULTS + N_SOUND; f++)
        for (int i = 0; i < N_FIGURES; i++)
            all->sum[f][i] += t->sum[f][i];
    for (int f = 0; f < N_FAULTS + N_SOUND; f++)
        for (int i = 0; i < 2; i++)
            all->latent_sum[f][i] += t->latent_sum[f][i];
}

static void run_ground(struct table *table, enum score_ground g, struct tally *t)
{
    struct arena *a = &table->arena;

    for (int seed = 1; seed <= table->seeds; seed++) {
        struct arena_mark m = arena_mark(a);
        struct score_case c;
        struct image truth, again;

        score_draw_ground(a, g, (uint64_t)seed, 0, SIDE, SIDE, &truth);
        score_draw_ground(a, g, (uint64_t)seed, 1, SIDE, SIDE, &again);
        score_case_on(a, &truth, g, (uint64_t)seed * 131 + g, &c);
        c.again = &again;
        run_case(table, &c, t);
        arena_rewind(a, m);
    }
}

static void cut(struct arena *a, const struct image *photo, uint64_t seed, struct image *ret, struct err *err)
{
    uint64_t z = (seed + 3) * 0x9e3779b97f4a7c15u;
    int left = (int)((z >> 33) % (uint64_t)(photo->width - SIDE + 1)),
        top = (int)((z >> 13) % (uint64_t)(photo->height - SIDE + 1));

    if (image_new(a, SIDE, SIDE, 3, ret, err))
        exit(1);
    for (int y = 0; y < SIDE; y++)
        memcpy(ret->pixels + (size_t)y * SIDE * 3,
               photo->pixels + 3 * ((size_t)(top + y) * (size_t)photo->width + (size_t)left), (size_t)SIDE * 3);
}

static void run_photo(struct table *table, const char *path, struct tally *t)
{
    struct arena *a = &table->arena;
    struct arena_mark whole = arena_mark(a);
    struct image stored, photo, truth;
    struct image_notes notes;
    struct err err = { 0 };
    struct span file;

    if (file_read(path, IMAGE_MAX_FILE_BYTES, a, &file, &err) ||
        image_decode(a, file, &(struct decode_options){ .alpha = IMAGE_ALPHA_ON_WHITE }, &stored, &notes, &err) ||
        image_to_rgb(a, &stored, &photo, &err) || photo.width < SIDE || photo.height < SIDE) {
        (void)fprintf(stderr, "score-table: %s: %s\n", path, err.msg[0] ? err.msg : "smaller than 320 x 320 pixels");
        exit(1);
    }
    for (int seed = 1; seed <= table->seeds; seed++) {
        struct arena_mark m = arena_mark(a);
        struct score_case c;

        cut(a, &photo, (uint64_t)seed, &truth, &err);
        score_case_on(a, &truth, (enum score_ground)(seed % N_GROUNDS), (uint64_t)seed * 137, &c);
        run_case(table, &c, t);
        arena_rewind(a, m);
    }
    arena_rewind(a, whole);
}

/* The index of the first photo. */
static int read_options(int argc, char **argv, struct table *table, struct score_encoder *encoder)
{
    struct err err = { 0 };
    int i = 1;

    for (; i < argc && argv[i][0] == '-'; i++) {
        if (strcmp(argv[i], "--each") == 0)
            table->each = true;
        else if (strcmp(argv[i], "--seeds") == 0 && i + 1 < argc)
            table->seeds = atoi(argv[++i]);
        else if (strcmp(argv[i], "--vae") == 0 && i + 1 < argc)
            table->encoder = encoder;
        if (table->encoder && !encoder->be && score_encoder_open(encoder, argv[++i], &err))
            fail(&err);
    }
    return i;
}

int main(int argc, char **argv)
{
    struct table table = { .seeds = SEEDS };
    struct score_encoder encoder = { 0 };
    struct tally all = { 0 };
    struct err err = { 0 };
    int first = read_options(argc, argv, &table, &encoder), n = first < argc ? argc - first : N_GROUNDS;

    if (arena_init(&table.arena, arena_bytes, &err))
        fail(&err);
    for (int i = 0; i < n; i++) {
        struct tally t = { 0 };

        if (first < argc)
            run_photo(&table, argv[first + i], &t);
        else
            run_ground(&table, (enum score_ground)i, &t);
        print_tally(first < argc ? argv[first + i] : score_ground_name((enum score_ground)i), &t);
        add_tally(&all, &t);
    }
    print_tally("all", &all);
    if (table.encoder) {
        print_latents(&all);
        score_encoder_close(&encoder);
    }
    arena_done(&table.arena);
    return 0;
}
