#include "models/notes/colour.h"

#include <lcms2.h>
#include <lcms2_plugin.h>
#include <malloc.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "models/notes/colour_matrix.h"
#include "models/notes/icc.h"

enum { BLOCK = 4096, STRIP = 256 }; /* pixels: worth a thread, and at home on its stack */

static const cmsUInt32Number INTENT = INTENT_RELATIVE_COLORIMETRIC;
/* No cache: it would be shared by the threads. */
static const cmsUInt32Number FLAGS = cmsFLAGS_NOCACHE | cmsFLAGS_BLACKPOINTCOMPENSATION;

/* What lcms2 holds for one profile; all NULL after library_close(). */
struct library {
    atomic_size_t used; /* bytes */
    cmsContext context;
    cmsHPROFILE profile, srgb;
    cmsHTRANSFORM to_srgb, from_srgb;
};

static void library_close(void *ptr)
{
    struct library *l = ptr;

    if (l->to_srgb)
        cmsDeleteTransform(l->to_srgb);
    if (l->from_srgb)
        cmsDeleteTransform(l->from_srgb);
    if (l->profile)
        (void)cmsCloseProfile(l->profile);
    if (l->srgb)
        (void)cmsCloseProfile(l->srgb);
    if (l->context)
        cmsDeleteContext(l->context);
    l->to_srgb = l->from_srgb = NULL;
    l->profile = l->srgb = NULL;
    l->context = NULL;
}

static void say_nothing(cmsContext context, cmsUInt32Number code, const char *text)
{
    (void)context;
    (void)code;
    (void)text;
}

static void *counted(struct library *l, void *ptr)
{
    if (ptr)
        atomic_fetch_add(&l->used, malloc_usable_size(ptr));
    return ptr;
}

static void *memory_take(cmsContext context, cmsUInt32Number size)
{
    struct library *l = cmsGetContextUserData(context);

    return atomic_load(&l->used) + size <= COLOUR_MEMORY ? counted(l, malloc(size)) : NULL;
}

static void memory_release(cmsContext context, void *ptr)
{
    struct library *l = cmsGetContextUserData(context);

    atomic_fetch_sub(&l->used, malloc_usable_size(ptr));
    free(ptr);
}

static void *memory_resize(cmsContext context, void *ptr, cmsUInt32Number size)
{
    struct library *l = cmsGetContextUserData(context);
    size_t before = malloc_usable_size(ptr);
    void *after = atomic_load(&l->used) + size <= COLOUR_MEMORY ? realloc(ptr, size) : NULL;

    if (after)
        atomic_fetch_sub(&l->used, before);
    return counted(l, after);
}

/* The tags that a transform may need; tables of floats (D2B0) are left out, because a small file can make many of them.
 */
static bool is_used(const char *tag)
{
    static const char used[] = "desc wtpt bkpt chad rXYZ gXYZ bXYZ rTRC gTRC bTRC kTRC A2B0 A2B1 A2B2 B2A0 B2A1 B2A2";

    for (size_t i = 0; i < sizeof used; i += 5)
        if (memcmp(tag, used + i, 4) == 0)
            return true;
    return false;
}

/* Takes all other tags out of the directory of a profile: u32 how many, then 12 bytes each. */
static bool keep_used_tags(char *profile, size_t len)
{
    enum { AT_COUNT = 128, AT_TAGS = 132, TAG = 12 };
    uint32_t n, kept = 0;

    if (len < AT_TAGS)
        return false;
    n = span_be32(profile + AT_COUNT);
    for (uint32_t i = 0; i < n && (i + 1) * (size_t)TAG <= len - AT_TAGS; i++) {
        const char *tag = profile + AT_TAGS + (size_t)i * TAG;

        if (is_used(tag))
            memmove(profile + AT_TAGS + (size_t)kept++ * TAG, tag, TAG);
    }
    memcpy(profile + AT_COUNT, (const char[4]){ 0, 0, (char)(kept >> 8), (char)kept }, 4);
    return kept > 0 && kept <= 100;
}

/* Profiles of devices and of colour spaces; links between two of them and lists of named colours are not. */
static bool is_of_pixels(cmsHPROFILE profile)
{
    cmsProfileClassSignature kind = cmsGetDeviceClass(profile);

    return kind == cmsSigInputClass || kind == cmsSigDisplayClass || kind == cmsSigOutputClass ||
           kind == cmsSigColorSpaceClass;
}

static bool open_profiles(struct library *l, char *icc, size_t len)
{
    cmsPluginMemHandler memory = {
        .base = { .Magic = cmsPluginMagicNumber, .ExpectedVersion = 2000, .Type = cmsPluginMemHandlerSig },
        .MallocPtr = memory_take,
        .FreePtr = memory_release,
        .ReallocPtr = memory_resize
    };

    l->context = cmsCreateContext(&memory, l);
    if (!l->context)
        return false;
    cmsSetLogErrorHandlerTHR(l->context, say_nothing);
    l->srgb = cmsCreate_sRGBProfileTHR(l->context);
    l->profile = keep_used_tags(icc, len) ? cmsOpenProfileFromMemTHR(l->context, icc, (cmsUInt32Number)len) : NULL;
    return l->srgb && l->profile && is_of_pixels(l->profile);
}

/* *ret_opened: whether the profile is there; *ret is closed with the arena in any case. */
static enum err_code library_open(struct arena *a, struct span icc, struct library **ret, bool *ret_opened,
                                  struct err *err)
{
    struct library *l = NULL;
    char *copy = NULL;

    TRY(arena_alloc(a, 1, sizeof *l, &l, err));
    TRY(arena_defer(a, library_close, l, err));
    {
        ARENA_SCRATCH(a);
        TRY(span_dup(a, icc, &copy, err));
        *ret_opened = open_profiles(l, copy, icc.len);
    }
    *ret = l;
    return ERR_OK;
}

/* Printable ASCII on one line. */
static void read_name(const struct library *l, char *ret)
{
    char text[COLOUR_NAME_MAX] = "";
    size_t n = 0;

    if (l->profile)
        (void)cmsGetProfileInfoASCII(l->profile, cmsInfoDescription, "en", "US", text, sizeof text);
    text[sizeof text - 1] = 0;
    for (const char *p = text; *p; p++)
        ret[n++] = *p >= ' ' && *p <= '~' ? *p : '?';
    while (n && ret[n - 1] == ' ')
        n--;
    ret[n] = 0;
    if (!n)
        memcpy(ret, "unnamed", sizeof "unnamed");
}

/* The curve of a table is read between its points without the roundings to 16 bits by lcms2: they would make one code
 * of several dark ones. */
static float light_of_code(const cmsToneCurve *curve, int code)
{
    const cmsUInt16Number *table = cmsGetToneCurveEstimatedTable(curve);
    int last = (int)cmsGetToneCurveEstimatedTableEntries(curve) - 1, i;
    double at = (double)code * last / (COLOUR_CODES - 1);

    if (cmsGetToneCurveParametricType(curve) != 0)
        return cmsEvalToneCurveFloat(curve, (float)code / (COLOUR_CODES - 1));
    if (last < 1)
        return NAN;
    i = (int)at < last ? (int)at : last - 1;
    return (float)((table[i] + (at - i) * (table[i + 1] - table[i])) / 65535.0);
}

static bool read_primaries(cmsHPROFILE profile, struct colour_primaries *ret)
{
    static const cmsTagSignature tags[3] = { cmsSigRedColorantTag, cmsSigGreenColorantTag, cmsSigBlueColorantTag };

    for (int c = 0; c < 3; c++) {
        const cmsCIEXYZ *xyz = cmsReadTag(profile, tags[c]);

        if (!xyz)
            return false;
        ret->xyz[0][c] = xyz->X;
        ret->xyz[1][c] = xyz->Y;
        ret->xyz[2][c] = xyz->Z;
    }
    return true;
}

static bool read_curves(cmsHPROFILE profile, struct colour_matrix *ret)
{
    static const cmsTagSignature tags[3] = { cmsSigRedTRCTag, cmsSigGreenTRCTag, cmsSigBlueTRCTag };

    for (int c = 0; c < 3; c++) {
        const cmsToneCurve *curve = cmsReadTag(profile, tags[c]);

        if (!curve)
            return false;
        for (int code = 0; code < COLOUR_CODES; code++)
            ret->light[c][code] = light_of_code(curve, code);
    }
    return true;
}

/* Tables go before curves, where a profile has both. */
static bool has_tables(cmsHPROFILE profile)
{
    return cmsIsTag(profile, cmsSigAToB0Tag) || cmsIsTag(profile, cmsSigAToB1Tag);
}

static bool read_matrix(const struct library *l, struct colour_matrix *ret)
{
    struct colour_primaries own, srgb;

    return cmsGetPCS(l->profile) == cmsSigXYZData && read_primaries(l->profile, &own) &&
           read_primaries(l->srgb, &srgb) && read_curves(l->profile, ret) && colour_matrix_init(ret, &own, &srgb);
}

static bool make_transforms(struct library *l)
{
    l->to_srgb = cmsCreateTransformTHR(l->context, l->profile, TYPE_RGB_FLT, l->srgb, TYPE_RGB_FLT, INTENT, FLAGS);
    l->from_srgb = cmsCreateTransformTHR(l->context, l->srgb, TYPE_RGB_FLT, l->profile, TYPE_RGB_FLT, INTENT, FLAGS);
    return l->to_srgb && l->from_srgb;
}

static void table_to_srgb(const struct colour *c, const uint8_t *codes, size_t n, float *ret)
{
    for (size_t i = 0; i < 3 * n; i++)
        ret[i] = (float)codes[i] * (1.0F / 255.0F);
    cmsDoTransform(c->table_to_srgb, ret, ret, (cmsUInt32Number)n);
    for (size_t i = 0; i < 3 * n; i++)
        ret[i] *= 255.0F;
}

static void block_to_srgb(const struct colour *c, const uint8_t *codes, size_t n, float *ret)
{
    if (c->matrix)
        colour_matrix_to_srgb(c->matrix, codes, n, ret);
    else if (c->table_to_srgb)
        table_to_srgb(c, codes, n, ret);
    else
        for (size_t i = 0; i < 3 * n; i++)
            ret[i] = codes[i];
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

void colour_to_srgb(const struct colour *c, const uint8_t *codes, size_t n, float *ret)
{
#pragma omp parallel for schedule(static) if (n > BLOCK)
    for (size_t i = 0; i < n; i += BLOCK)
        block_to_srgb(c, codes + 3 * i, least(BLOCK, n - i), ret + 3 * i);
}

/* NaN becomes 0. */
static uint8_t rounded(float level)
{
    return (uint8_t)(level > 0.0F ? fminf(level, 255.0F) + 0.5F : 0.0F);
}

static void strip_to_srgb_u8(const struct colour *c, const uint8_t *codes, size_t n, uint8_t *ret)
{
    float srgb[3 * STRIP] = { 0 };

    block_to_srgb(c, codes, n, srgb);
    for (size_t i = 0; i < 3 * n; i++)
        ret[i] = rounded(srgb[i]);
}

void colour_to_srgb_u8(const struct colour *c, const uint8_t *codes, size_t n, uint8_t *ret)
{
#pragma omp parallel for schedule(static) if (n > BLOCK)
    for (size_t i = 0; i < n; i += STRIP)
        strip_to_srgb_u8(c, codes + 3 * i, least(STRIP, n - i), ret + 3 * i);
}

static void strip_from_srgb(const struct colour *c, const float *srgb, size_t n, float *ret)
{
    float part[3 * STRIP] = { 0 };

    for (size_t i = 0; i < 3 * n; i++)
        part[i] = srgb[i] * (1.0F / 255.0F);
    cmsDoTransform(c->table_from_srgb, part, part, (cmsUInt32Number)n);
    for (size_t i = 0; i < 3 * n; i++)
        ret[i] = part[i] > 0.0F ? fminf(part[i], 1.0F) * 255.0F : 0.0F;
}

static void block_from_srgb(const struct colour *c, const float *srgb, size_t n, float *ret)
{
    if (c->matrix)
        colour_matrix_from_srgb(c->matrix, srgb, n, ret);
    else if (c->table_from_srgb)
        strip_from_srgb(c, srgb, n, ret);
    else
        for (size_t i = 0; i < 3 * n; i++)
            ret[i] = srgb[i] > 0.0F ? fminf(srgb[i], 255.0F) : 0.0F;
}

void colour_from_srgb(const struct colour *c, const float *srgb, size_t n, float *ret)
{
#pragma omp parallel for schedule(static) if (n > BLOCK)
    for (size_t i = 0; i < n; i += STRIP)
        block_from_srgb(c, srgb + 3 * i, least(STRIP, n - i), ret + 3 * i);
}

enum err_code colour_image_to_srgb(const struct colour *c, struct arena *a, const struct image *src, struct image *ret,
                                   struct err *err)
{
    struct image out = *src;

    if (!c->is_srgb) {
        TRY(image_new(a, src->width, src->height, 3, &out, err));
        colour_to_srgb_u8(c, src->pixels, (size_t)src->width * (size_t)src->height, out.pixels);
    }
    *ret = out;
    return ERR_OK;
}

/* Whether no colour changes by more than one level: over a grid, and over the greys, where spaces differ most. */
static bool changes_nothing(const struct colour *c)
{
    enum { SIDE = 18, STEP = 15, GRID = SIDE * SIDE * SIDE };
    uint8_t codes[STRIP * 3], srgb[STRIP * 3];

    for (int first = 0; first < GRID + COLOUR_CODES; first += STRIP) {
        for (int i = 0; i < STRIP; i++) {
            int at = first + i, grey = at - GRID;

            codes[3 * i] = (uint8_t)(at < GRID ? at / (SIDE * SIDE) * STEP : grey);
            codes[3 * i + 1] = (uint8_t)(at < GRID ? at / SIDE % SIDE * STEP : grey);
            codes[3 * i + 2] = (uint8_t)(at < GRID ? at % SIDE * STEP : grey);
        }
        strip_to_srgb_u8(c, codes, STRIP, srgb);
        for (int i = 0; i < STRIP * 3; i++)
            if (abs(codes[i] - srgb[i]) > 1)
                return false;
    }
    return true;
}

static void set_srgb(struct colour *c)
{
    c->is_srgb = true;
    c->matrix = NULL;
    c->table_to_srgb = c->table_from_srgb = NULL;
}

/* Which kind of photo it is. The profile is open. */
static enum err_code open_rgb(struct arena *a, struct library *l, struct colour *c, struct err *err)
{
    struct colour_matrix *m = NULL;

    TRY(arena_alloc(a, 1, sizeof *m, &m, err));
    if (!has_tables(l->profile)) {
        c->unusable = !read_matrix(l, m);
        c->matrix = m;
    } else {
        c->unusable = !make_transforms(l);
        c->table_to_srgb = l->to_srgb;
        c->table_from_srgb = l->from_srgb;
    }
    if (c->unusable) {
        set_srgb(c);
    } else if (changes_nothing(c)) {
        memcpy(c->name, "sRGB", sizeof "sRGB");
        set_srgb(c);
    }
    return ERR_OK;
}

/* The name of what the reader converted, and whether it could. */
static bool was_usable(struct library *l)
{
    cmsUInt32Number type = cmsGetColorSpace(l->profile) == cmsSigGrayData ? TYPE_GRAY_8 : TYPE_CMYK_8_REV;

    l->to_srgb =
        cmsCreateTransformTHR(l->context, l->profile, type, l->srgb, TYPE_RGB_8, INTENT, FLAGS | cmsFLAGS_NOOPTIMIZE);
    return l->to_srgb != NULL;
}

static enum err_code open_space(struct arena *a, struct span icc, struct colour *c, struct err *err)
{
    struct library *l = NULL;
    bool opened = false;

    TRY(library_open(a, icc, &l, &opened, err));
    read_name(l, c->name);
    if (opened && icc_is_rgb(icc)) {
        TRY(open_rgb(a, l, c, err));
    } else {
        c->unusable = !opened || !was_usable(l);
        set_srgb(c);
    }
    if (!c->table_to_srgb)
        library_close(l);
    return ERR_OK;
}

enum err_code colour_open(struct arena *a, struct span icc, struct colour *ret, struct err *err)
{
    struct colour c = { .name = "untagged" };

    if (icc_is_rgb(icc) || icc_is_grey(icc) || icc_is_cmyk(icc)) {
        TRY(open_space(a, icc, &c, err));
    } else {
        if (icc.len)
            memcpy(c.name, "unknown", sizeof "unknown");
        c.unusable = icc.len > 0;
        set_srgb(&c);
    }
    *ret = c;
    return ERR_OK;
}

/* What the profile makes of each grey code; the three channels of a grey in sRGB are one value. */
static bool grey_codes(struct library *l, uint8_t ret[COLOUR_CODES])
{
    uint8_t code[COLOUR_CODES], rgb[3 * COLOUR_CODES];

    l->to_srgb = cmsCreateTransformTHR(l->context, l->profile, TYPE_GRAY_8, l->srgb, TYPE_RGB_8, INTENT,
                                       FLAGS | cmsFLAGS_NOOPTIMIZE);
    if (!l->to_srgb)
        return false;
    for (int i = 0; i < COLOUR_CODES; i++)
        code[i] = (uint8_t)i;
    cmsDoTransform(l->to_srgb, code, rgb, COLOUR_CODES);
    for (int i = 0; i < COLOUR_CODES; i++)
        ret[i] = rgb[3 * i + 1];
    return true;
}

static void map_grey(struct image *grey, const uint8_t table[COLOUR_CODES])
{
    size_t n = image_bytes(grey);

#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < n; i++)
        grey->pixels[i] = table[grey->pixels[i]];
}

enum err_code colour_grey_to_srgb(struct arena *a, struct span icc, struct image *grey, struct err *err)
{
    ARENA_SCRATCH(a);
    struct library *l = NULL;
    uint8_t table[COLOUR_CODES];
    bool opened = false;

    if (grey->channels != 1 || !icc_is_grey(icc))
        return ERR_OK;
    TRY(library_open(a, icc, &l, &opened, err));
    if (opened && grey_codes(l, table))
        map_grey(grey, table);
    return ERR_OK;
}

struct colour_inks {
    struct library *library;
};

enum err_code colour_inks_open(struct arena *a, struct span icc, struct colour_inks **ret, struct err *err)
{
    struct colour_inks *inks = NULL;
    struct library *l = NULL;
    bool opened = false;

    *ret = NULL;
    if (!icc_is_cmyk(icc))
        return ERR_OK;
    TRY(library_open(a, icc, &l, &opened, err));
    TRY(arena_alloc(a, 1, sizeof *inks, &inks, err));
    if (!opened)
        return ERR_OK;
    l->to_srgb = cmsCreateTransformTHR(l->context, l->profile, TYPE_CMYK_8_REV, l->srgb, TYPE_RGB_8, INTENT, FLAGS);
    inks->library = l;
    *ret = l->to_srgb ? inks : NULL;
    return ERR_OK;
}

void colour_inks_to_srgb(const struct colour_inks *inks, const uint8_t *cmyk, size_t n, uint8_t *ret)
{
    cmsDoTransform(inks->library->to_srgb, cmyk, ret, (cmsUInt32Number)n);
}
