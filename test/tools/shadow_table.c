/* shadow-table - what models/mask/shadow.h finds in drawn scenes (test/support/scenes/scene.h), as the tables of
 * test/bench/RESULTS.md: first scenes with a shadow, then scenes without one beside something dark. */
#include <stdio.h>
#include <stdlib.h>

#include "models/mask/shadow.h"
#include "test/support/scenes/scene.h"

struct tally {
    int scenes, grown, results[SHADOW_RESULTS];
    int64_t shadow, found, added, marked;
};

static int64_t count(const struct image *mask, const struct image *within)
{
    int64_t n = 0;

    for (size_t i = 0; i < image_bytes(mask); i++)
        n += mask->pixels[i] && (!within || within->pixels[i]);
    return n;
}

static void run(const struct scene *s, struct tally *t)
{
    struct arena a;
    struct err err = { 0 };
    struct image photo, mask, shadow;
    struct shadow got;

    if (arena_init(&a, (size_t)1 << 30, &err))
        exit(1);
    scene_draw(&a, s, &photo, &mask, &shadow);
    t->marked += count(&mask, NULL);
    if (shadow_grow(&a, &photo, &mask, &got, &err))
        exit(1);
    t->scenes++;
    t->results[got.result]++;
    t->grown += got.added > 0;
    t->shadow += count(&shadow, NULL);
    t->found += count(&shadow, &mask);
    t->added += got.added;
    arena_done(&a);
}

static void put_row(const char *name, const struct tally *t, int row_of)
{
    printf("| %s | %d | %d |", name, t->scenes, t->grown);
    if (row_of)
        printf(" %.2f | %.2f |", (double)t->found / (double)t->shadow,
               (double)(t->added - t->found) / (double)t->marked);
    for (int i = 1; i < SHADOW_RESULTS; i++)
        printf(" %d |", t->results[i]);
    printf("\n");
    (void)fflush(stdout);
}

/* Three strengths and two directions of a shadow. */
static void with_shadow(struct scene s, struct tally *t)
{
    static const double lights[] = { 0.25, 0.45, 0.7 }, directions[] = { 0.1, 0.6 };

    for (int i = 0; i < 6; i++) {
        s.light = lights[i / 2];
        s.direction = directions[i % 2];
        s.seed = (unsigned)i + 1;
        s.mask_error = i % 3 * 3 - 2;
        run(&s, t);
    }
}

int main(void)
{
    static const double penumbras[] = { 0.01, 0.04 };
    static const int heights[] = { 640, 1280 };
    char name[100];

    printf("| ground, height of the photo, penumbra | scenes | grown | recall | beyond |");
    for (int i = 1; i < SHADOW_RESULTS; i++)
        printf(" %s |", shadow_result_names[i]);
    printf("\n");
    for (int g = 0; g < SCENE_FUR; g++)
        for (int h = 0; h < 2; h++)
            for (int p = 0; p < 2; p++) {
                struct tally t = { 0 };
                (void)snprintf(name, sizeof name, "%s, %d, %.2f", scene_ground_names[g], heights[h], penumbras[p]);
                with_shadow(
                    (struct scene){ .ground = (enum scene_ground)g, .height = heights[h], .penumbra = penumbras[p] },
                    &t);
                put_row(name, &t, 1);
            }
    for (int d = 0; d < SCENE_DARKS; d++) {
        struct tally t = { 0 };
        for (int g = 0; g < SCENE_GROUNDS; g++)
            for (unsigned seed = 1; seed <= 2; seed++)
                run(&(struct scene){ .ground = (enum scene_ground)g,
                                     .dark = (enum scene_dark)d,
                                     .light = 1,
                                     .height = seed & 1 ? 640 : 1280,
                                     .mask_error = (int)seed * 6 - 8,
                                     .seed = seed },
                    &t);
        put_row(scene_dark_names[d], &t, 0);
    }
    return 0;
}
