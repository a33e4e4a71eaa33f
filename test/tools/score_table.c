/*
 * score-table [--seeds N] [--each] [PHOTO.png ...] - how well the scores of models/picture/scores.h tell removals with
 * a known fault from clean ones, on generated grounds (test/support/score_scenes.h), or on squares of the given
 * photos; for test/bench/RESULTS.md. --each prints the figures of every case.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/base/file.h"
#include "models/codec/decode.h"
#include "test/support/score_scenes.h"

enum { SIDE = 320, MAX_ROWS = 64, SEEDS = 6 };
static const size_t arena_bytes = (size_t)1 << 30;

struct tally {
    int n, own[N_FAULTS], total[N_FAULTS], coherence[N_FAULTS], seam_shown[N_FAULTS], seam_below, seam_pairs;
    int sound_shown[N_SOUND], sound_total[N_SOUND];
    double sum[N_FAULTS + N_SOUND][9];
};

static void add_figures(double sum[9], const struct picture_scores *s)
{
    const double v[9] = { s->seam,  s->colour_step, s->overlap,       s->sharpness, s->grain,
                          s->ghost, s->coherence,   s->hallucination, s->total };

    for (int i = 0; i < 9; i++)
        sum[i] += v[i];
}

static void print_figures(const char *name, const double v[9], double n)
{
    printf("| %-14s |", name);
    for (int i = 0; i < 9; i++)
        printf(" %6.3f |", v[i] / n);
    printf("\n");
}

static void run_case(struct arena *a, const struct score_case *c, struct tally *t, bool each)
{
    struct picture_scores clean, s;
    struct image after;

    for (int f = 0; f < N_FAULTS; f++) {
        double own[9] = { 0 };

        score_case_result(a, c, (enum score_fault)f, &after);
        score_case_measure(a, c, &after, &s);
        if (f == FAULT_NONE)
            clean = s;
        add_figures(t->sum[f], &s);
        add_figures(own, &s);
        if (each)
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
    printf("\n| mean           |   seam | colour | overlap | sharp |  grain |  ghost | coher. | halluc. | total |\n"
           "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n");
    for (int f = 0; f < N_FAULTS; f++)
        print_figures(score_fault_name((enum score_fault)f), t->sum[f], t->n);
    print_figures("fresh grain", t->sum[N_FAULTS], t->n);
    print_figures("clone", t->sum[N_FAULTS + 1], t->n);
}

static void add_tally(struct tally *all, const struct tally *t)
{
    const int *from = (const int *)t;

    for (size_t i = 0; i < offsetof(struct tally, sum) / sizeof(int); i++)
        ((int *)all)[i] += from[i];
    for (int f = 0; f < N_FAULTS + N_SOUND; f++)
        for (int i = 0; i < 9; i++)
            all->sum[f][i] += t->sum[f][i];
}

static void run_ground(struct arena *a, enum score_ground g, int seeds, bool each, struct tally *t)
{
    for (int seed = 1; seed <= seeds; seed++) {
        struct arena_mark m = arena_mark(a);
        struct score_case c;
        struct image truth, again;

        score_draw_ground(a, g, (uint64_t)seed, 0, SIDE, SIDE, &truth);
        score_draw_ground(a, g, (uint64_t)seed, 1, SIDE, SIDE, &again);
        score_case_on(a, &truth, g, (uint64_t)seed * 131 + g, &c);
        c.again = &again;
        run_case(a, &c, t, each);
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

static void run_photo(struct arena *a, const char *path, int seeds, bool each, struct tally *t)
{
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
    for (int seed = 1; seed <= seeds; seed++) {
        struct arena_mark m = arena_mark(a);
        struct score_case c;

        cut(a, &photo, (uint64_t)seed, &truth, &err);
        score_case_on(a, &truth, (enum score_ground)(seed % N_GROUNDS), (uint64_t)seed * 137, &c);
        run_case(a, &c, t, each);
        arena_rewind(a, m);
    }
    arena_rewind(a, whole);
}

int main(int argc, char **argv)
{
    struct tally all = { 0 };
    struct err err = { 0 };
    struct arena a;
    int seeds = SEEDS, first = 1;
    bool each = false;

    if (arena_init(&a, arena_bytes, &err))
        return 1;
    for (; first < argc && argv[first][0] == '-'; first++) {
        if (strcmp(argv[first], "--each") == 0)
            each = true;
        else if (strcmp(argv[first], "--seeds") == 0 && first + 1 < argc)
            seeds = atoi(argv[++first]);
    }
    for (int i = 0; i < (first < argc ? argc - first : N_GROUNDS); i++) {
        const char *name = first < argc ? argv[first + i] : score_ground_name((enum score_ground)i);
        struct tally t = { 0 };

        if (first < argc)
            run_photo(&a, name, seeds, each, &t);
        else
            run_ground(&a, (enum score_ground)i, seeds, each, &t);
        print_tally(name, &t);
        add_tally(&all, &t);
    }
    print_tally("all", &all);
    arena_done(&a);
    return 0;
}
