/* The texts of a set of LoRAs. */
#include "models/fill/lora_set.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "test/support/check.h"

TEST(lora_set__scales_are_written_with_as_few_digits_as_read_back_the_same)
{
    static const struct {
        double scale;
        const char *text;
    } cases[] = { { 1, "1" },       { 0.8, "0.8" }, { -10, "-10" }, { 0, "0" }, { 1.25, "1.25" }, { 0.1234567, "0.1234567" },
                  { 1e-300, "1e-300" } };
    char text[LORA_SCALE_TEXT_SIZE];
    uint64_t state = 7;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lora_scale_text(cases[i].scale, text);
        CHECK_STR(text, cases[i].text);
    }
    for (int i = 0; i < 1000; i++) {
        double v;

        state = state * 6364136223846793005u + 1442695040888963407u;
        v = ldexp((double)(int64_t)state, -60 - i % 64);
        lora_scale_text(v, text);
        CHECK(strtod(text, NULL) == v && strlen(text) < sizeof text - 1);
    }
}
