#include "test/support/profiles.h"

#include <math.h>
#include <stdint.h>

#include "test/support/bytes.h"
#include "test/support/check.h"

const struct profile_rgb profile_srgb = {
    "sRGB IEC61966-2.1",
    { { 0.43607, 0.22249, 0.01392 }, { 0.38515, 0.71687, 0.09708 }, { 0.14307, 0.06061, 0.71410 } },
    0,
    0
};
const struct profile_rgb profile_p3 = {
    "Display P3", { { 0.51512, 0.24120, -0.00105 }, { 0.29198, 0.69225, 0.04189 }, { 0.15710, 0.06657, 0.78407 } }, 0, 0
};
const struct profile_rgb profile_adobe = {
    "Adobe RGB (1998)",
    { { 0.60974, 0.31111, 0.01947 }, { 0.20528, 0.62567, 0.06087 }, { 0.14919, 0.06322, 0.74457 } },
    2.19921875,
    0
};
const struct profile_rgb profile_prophoto = {
    "ProPhoto RGB", { { 0.79767, 0.28804, 0.0 }, { 0.13519, 0.71188, 0.0 }, { 0.03134, 0.00009, 0.82491 } }, 1.8, 0
};

static void be16(struct bytes *b, double v)
{
    unsigned u = (unsigned)lround(v < 0 ? 0 : v > 65535 ? 65535 : v);

    bytes_u8(b, (uint8_t)(u >> 8));
    bytes_u8(b, (uint8_t)u);
}

static void be32(struct bytes *b, uint32_t u)
{
    for (int shift = 24; shift >= 0; shift -= 8)
        bytes_u8(b, (uint8_t)(u >> shift));
}

static void fixed(struct bytes *b, double v)
{
    be32(b, (uint32_t)(int32_t)lround(v * 65536));
}

/* Moves the bytes to the arena. */
static struct span taken(struct arena *a, struct bytes *b)
{
    struct err err = { 0 };
    char *copy = NULL;
    size_t len = b->len;

    CHECK_OK(span_dup(a, (struct span){ b->ptr, len }, &copy, &err), err);
    bytes_done(b);
    return (struct span){ copy, len };
}

struct span profile_of_tags(struct arena *a, const char *kind, const char *space, const char *pcs,
                            const struct profile_tag *tags, int n)
{
    struct bytes b = { 0 };
    uint32_t at = 132 + 12 * (uint32_t)n, len = at;

    for (int i = 0; i < n; i++)
        len += (uint32_t)(tags[i].data.len + 3) / 4 * 4;
    be32(&b, len);
    be32(&b, 0);
    be32(&b, 0x02400000);
    bytes_text(&b, kind);
    bytes_text(&b, space);
    bytes_text(&b, pcs);
    bytes_put(&b, (const char[12]){ 0x07, (char)0xd0, 0, 1, 0, 1 }, 12);
    bytes_text(&b, "acsp");
    bytes_put(&b, (const char[28]){ 0 }, 28);
    fixed(&b, 0.9642);
    fixed(&b, 1.0);
    fixed(&b, 0.8249);
    bytes_put(&b, (const char[48]){ 0 }, 48);
    be32(&b, (uint32_t)n);
    for (int i = 0; i < n; i++) {
        bytes_text(&b, tags[i].name);
        be32(&b, at);
        be32(&b, (uint32_t)tags[i].data.len);
        at += (uint32_t)(tags[i].data.len + 3) / 4 * 4;
    }
    for (int i = 0; i < n; i++) {
        bytes_put(&b, tags[i].data.ptr, tags[i].data.len);
        bytes_pad(&b, 4);
    }
    return taken(a, &b);
}

static struct span name_tag(struct arena *a, const char *name)
{
    struct bytes b = { 0 };

    bytes_text(&b, "desc");
    be32(&b, 0);
    be32(&b, (uint32_t)strlen(name) + 1);
    bytes_put(&b, name, strlen(name) + 1);
    bytes_put(&b, (const char[78]){ 0 }, 78); /* no Unicode, no Macintosh */
    return taken(a, &b);
}

static struct span xyz_tag(struct arena *a, const double xyz[3])
{
    struct bytes b = { 0 };

    bytes_text(&b, "XYZ ");
    be32(&b, 0);
    for (int i = 0; i < 3; i++)
        fixed(&b, xyz[i]);
    return taken(a, &b);
}

static double srgb_light(double v)
{
    return v <= 0.04045 ? v / 12.92 : pow((v + 0.055) / 1.055, 2.4);
}

static struct span curve_tag(struct arena *a, double gamma, int points)
{
    static const double srgb[5] = { 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045 };
    struct bytes b = { 0 };

    bytes_text(&b, gamma > 0 || points ? "curv" : "para");
    be32(&b, 0);
    if (points) {
        be32(&b, (uint32_t)points);
        for (int i = 0; i < points; i++) {
            double v = (double)i / (points - 1);
            be16(&b, 65535 * (gamma > 0 ? pow(v, gamma) : srgb_light(v)));
        }
    } else if (gamma > 0) {
        be32(&b, 1);
        be16(&b, gamma * 256);
    } else {
        be16(&b, 3);
        be16(&b, 0);
        for (int i = 0; i < 5; i++)
            fixed(&b, srgb[i]);
    }
    return taken(a, &b);
}

static const double white[3] = { 0.9642, 1.0, 0.8249 };

struct span profile_of_rgb(struct arena *a, const struct profile_rgb *p)
{
    struct span curve = curve_tag(a, p->gamma, p->points);
    const struct profile_tag tags[] = {
        { "desc", name_tag(a, p->name) },
        { "wtpt", xyz_tag(a, white) },
        { "rXYZ", xyz_tag(a, p->xyz[0]) },
        { "gXYZ", xyz_tag(a, p->xyz[1]) },
        { "bXYZ", xyz_tag(a, p->xyz[2]) },
        { "rTRC", curve },
        { "gTRC", curve },
        { "bTRC", curve },
    };

    return profile_of_tags(a, "mntr", "RGB ", "XYZ ", tags, sizeof tags / sizeof *tags);
}

struct span profile_of_grey(struct arena *a, double gamma, int points)
{
    const struct profile_tag tags[] = { { "desc", name_tag(a, "Grey of a test") },
                                        { "wtpt", xyz_tag(a, white) },
                                        { "kTRC", curve_tag(a, gamma, points) } };

    return profile_of_tags(a, "mntr", "GRAY", "XYZ ", tags, sizeof tags / sizeof *tags);
}

/* One entry of a table, its values 0 to 1. */
typedef void entry_fn(const double *in, double *out);

static double lab_f(double t)
{
    return t > 216.0 / 24389 ? cbrt(t) : (24389.0 / 27 * t + 16) / 116;
}

static double lab_t(double f)
{
    return f > 6.0 / 29 ? f * f * f : (116 * f - 16) * 27 / 24389;
}

/* Light of sRGB <-> Lab as a table of 16 bits has it: L* 100 is 65280, a* and b* 0 are 32768. */
static void lab_of_light(const double *light, double *out)
{
    double f[3];

    for (int i = 0; i < 3; i++) {
        f[i] = 0;
        for (int c = 0; c < 3; c++)
            f[i] += profile_srgb.xyz[c][i] * light[c];
        f[i] = lab_f(f[i] / white[i]);
    }
    out[0] = (116 * f[1] - 16) / 100 * 65280 / 65535;
    out[1] = (500 * (f[0] - f[1]) + 128) * 256 / 65535;
    out[2] = (200 * (f[1] - f[2]) + 128) * 256 / 65535;
}

static void light_of_lab(const double *in, double *light)
{
    static const double back[3][3] = { { 3.13386, -1.61687, -0.49062 },
                                       { -0.97877, 1.91614, 0.03345 },
                                       { 0.07194, -0.22899, 1.40524 } };
    double f = (in[0] * 65535 / 65280 * 100 + 16) / 116;
    double xyz[3] = { lab_t(f + (in[1] * 65535 / 256 - 128) / 500) * white[0], lab_t(f),
                      lab_t(f - (in[2] * 65535 / 256 - 128) / 200) * white[2] };

    for (int c = 0; c < 3; c++) {
        light[c] = back[c][0] * xyz[0] + back[c][1] * xyz[1] + back[c][2] * xyz[2];
        light[c] = light[c] < 0 ? 0 : light[c] > 1 ? 1 : light[c];
    }
}

/* What each of cyan, magenta, yellow and black lets through of red, green and blue where it covers everything. */
static void lab_of_inks(const double *inks, double *lab)
{
    static const double through[4][3] = {
        { 0.02, 0.35, 0.75 }, { 0.62, 0.03, 0.22 }, { 0.92, 0.80, 0.04 }, { 0.03, 0.03, 0.03 }
    };
    double light[3] = { 1, 1, 1 };

    for (int i = 0; i < 4; i++)
        for (int c = 0; c < 3; c++)
            light[c] *= 1 - pow(inks[i], 1.3) * (1 - through[i][c]);
    lab_of_light(light, lab);
}

static void inks_of_lab(const double *lab, double *inks)
{
    double light[3];

    light_of_lab(lab, light);
    inks[3] = 1;
    for (int c = 0; c < 3; c++) {
        inks[c] = 1 - pow(light[c], 1 / 2.2);
        inks[3] = fmin(inks[3], inks[c]);
    }
}

static void lab_of_rgb(const double *rgb, double *lab)
{
    double light[3] = { srgb_light(rgb[0]), srgb_light(rgb[1]), srgb_light(rgb[2]) };

    lab_of_light(light, lab);
}

static void rgb_of_lab(const double *lab, double *rgb)
{
    double light[3];

    light_of_lab(lab, light);
    for (int c = 0; c < 3; c++)
        rgb[c] = light[c] <= 0.0031308 ? 12.92 * light[c] : 1.055 * pow(light[c], 1 / 2.4) - 0.055;
}

static void straight_lines(struct bytes *b, int channels)
{
    for (int i = 0; i < channels; i++) {
        be16(b, 0);
        be16(b, 65535);
    }
}

static struct span table_tag(struct arena *a, int n_in, int n_out, int side, entry_fn *fn)
{
    struct bytes b = { 0 };
    int n = (int)lround(pow(side, n_in));

    bytes_text(&b, "mft2");
    be32(&b, 0);
    bytes_put(&b, (const char[4]){ (char)n_in, (char)n_out, (char)side, 0 }, 4);
    for (int i = 0; i < 9; i++)
        fixed(&b, i % 4 == 0);
    be16(&b, 2);
    be16(&b, 2);
    straight_lines(&b, n_in);
    for (int i = 0; i < n; i++) {
        double in[4], out[4];

        for (int k = n_in - 1, rest = i; k >= 0; k--, rest /= side)
            in[k] = (double)(rest % side) / (side - 1);
        fn(in, out);
        for (int k = 0; k < n_out; k++)
            be16(&b, 65535 * out[k]);
    }
    straight_lines(&b, n_out);
    return taken(a, &b);
}

struct span profile_of_cmyk(struct arena *a)
{
    const struct profile_tag tags[] = { { "desc", name_tag(a, "Four inks of a test") },
                                        { "wtpt", xyz_tag(a, white) },
                                        { "A2B0", table_tag(a, 4, 3, 7, lab_of_inks) },
                                        { "B2A0", table_tag(a, 3, 4, 9, inks_of_lab) } };

    return profile_of_tags(a, "prtr", "CMYK", "Lab ", tags, sizeof tags / sizeof *tags);
}

struct span profile_of_rgb_tables(struct arena *a)
{
    const struct profile_tag tags[] = { { "desc", name_tag(a, "A scanner of a test") },
                                        { "wtpt", xyz_tag(a, white) },
                                        { "A2B0", table_tag(a, 3, 3, 17, lab_of_rgb) },
                                        { "B2A0", table_tag(a, 3, 3, 33, rgb_of_lab) } };

    return profile_of_tags(a, "scnr", "RGB ", "Lab ", tags, sizeof tags / sizeof *tags);
}

struct span jpeg_with_profile(struct arena *a, struct span jpeg, struct span profile)
{
    enum { PART = 65000 };
    struct bytes b = { 0 };
    unsigned total = (unsigned)((profile.len + PART - 1) / PART);

    bytes_put(&b, jpeg.ptr, 2);
    for (unsigned i = 0; i < total; i++) {
        size_t len = profile.len - (size_t)i * PART < PART ? profile.len - (size_t)i * PART : PART;

        bytes_put(&b, "\xff\xe2", 2);
        be16(&b, (double)len + 16);
        bytes_put(&b, "ICC_PROFILE", 12);
        bytes_u8(&b, (uint8_t)(i + 1));
        bytes_u8(&b, (uint8_t)total);
        bytes_put(&b, profile.ptr + (size_t)i * PART, len);
    }
    bytes_put(&b, jpeg.ptr + 2, jpeg.len - 2);
    return taken(a, &b);
}
