#include "worker/job/prompt_table.h"

#include <stdbool.h>

#define CONTINUES ", the same surface, texture and light continuing naturally"
#define GROUND    CONTINUES, PROMPT_RANK_GROUND
#define VAGUE     CONTINUES, PROMPT_RANK_VAGUE
#define BEHIND    CONTINUES, PROMPT_RANK_BEHIND

/* Labels as people and the label detectors of Google, Amazon and Microsoft write them. Labels that say nothing of a
 * surface (outdoors, plant life, sky, tree, furniture) are absent on purpose: the neutral sentence serves them better
 * than a tree in the middle of a lawn. */
static const struct prompt_surface surfaces[] = {
    { "", "A photo of the surrounding background" GROUND },

    { "grass, lawn, turf, sod, sward, meadow, pasture, paddock, prairie, grassland, grass field, grassy field, grassy, "
      "grass lawn, grass family, backyard lawn, garden lawn, artificial grass, artificial turf, synthetic turf, "
      "astroturf, "
      "groundcover, ground cover plant, football pitch, soccer field",
      "A photo of a lawn with its blades of grass" GROUND },
    { "leaf, leaves, fallen leaves, foliage, leaf litter, leaf cover, forest floor, woodland floor",
      "A photo of leaves covering the ground" GROUND },
    { "moss, mossy", "A photo of moss covering the ground" GROUND },
    { "gravel, pebble, pebblestone, shingle, grit, ballast, chippings, scree, crushed stone, crushed rock, stone chip, "
      "gravel road, gravel path, gravel driveway, pebble beach, shingle beach",
      "A photo of gravel, small pebbles lying close together" GROUND },
    { "rock, stone, bedrock, outcrop, rocky, rocky ground, stone floor, slate, sandstone, limestone, basalt",
      "A photo of natural rock" GROUND },
    { "sand, sandy, beach, sandy beach, sand beach, seashore, shore, dune, sand dune, desert, desert sand, sandbox, "
      "sandpit, "
      "singing sand",
      "A photo of fine-grained sand" GROUND },
    { "dirt, soil, mud, muddy, earth, bare earth, bare ground, bare soil, clay, loam, topsoil, garden soil, dust, "
      "trail, "
      "dirt road, dirt track, dirt path, dirt floor, unpaved road, ploughed field, plowed field",
      "A photo of bare soil" GROUND },
    { "mulch, bark mulch, bark chip, wood chip, wood chipping, pine needle, pine straw",
      "A photo of bark mulch covering the ground" GROUND },
    { "hay, straw", "A photo of straw covering the ground" GROUND },
    { "snow, snowy, snowfield, snow cover, snowdrift, fresh snow, packed snow, powder snow, slush, snowy "
      "ground",
      "A photo of snow" GROUND },
    { "ice, frost, ice rink, ice skating rink, frozen lake, sea ice", "A photo of ice" GROUND },
    { "concrete, cement, concrete floor, concrete slab, concrete pavement, concrete ground, pavement, sidewalk, "
      "footpath, "
      "footway, walkway, screed, kerb, curb",
      "A photo of a concrete pavement" GROUND },
    { "paving, paver, paving stone, paving slab, cobble, cobblestone, flagstone, flagging, sett, brick paving, "
      "brick pavement, stone pavement, stone paving, patio, terrace, courtyard, plaza, town square",
      "A photo of paving stones with their joints" GROUND },
    { "asphalt, asphalt concrete, asphalt road, road, roadway, street, lane, highway, tarmac, blacktop, bitumen, "
      "macadam, "
      "tar, driveway, parking lot, parking space, car park, thoroughfare, paved road",
      "A photo of asphalt" GROUND },
    { "wood floor, wooden floor, wood flooring, wooden flooring, timber floor, timber flooring, hardwood, hardwood "
      "floor, "
      "hardwood flooring, parquet, parquetry, parquet floor, parquet flooring, laminate, laminate floor, "
      "laminate flooring, floorboard, plank, wood plank, wooden plank, plank flooring, oak floor, wood "
      "stain, "
      "wood laminate, laminated wood",
      "A photo of a wood floor with its boards and grain" GROUND },
    { "deck, decking, wood deck, wooden deck, wood decking, timber decking, boardwalk, pier, jetty, wharf",
      "A photo of wooden decking with its boards" GROUND },
    { "tile, tiled, tile floor, tiled floor, tile flooring, floor tile, tiling, ceramic tile, ceramic floor, "
      "porcelain tile, porcelain floor, terracotta, terracotta tile, bathroom tile, kitchen tile, mosaic, mosaic tile",
      "A photo of a tiled floor with its joints" GROUND },
    { "marble, marble floor, marble flooring, granite, granite floor, terrazzo, terrazzo floor, travertine, "
      "polished stone",
      "A photo of polished stone" GROUND },
    { "linoleum, linoleum floor, linoleum flooring, lino, lino floor, vinyl, vinyl floor, vinyl flooring, rubber "
      "floor, "
      "rubber flooring, epoxy floor",
      "A photo of a smooth vinyl floor" GROUND },
    { "carpet, carpeting, carpeted, carpet floor, carpet flooring, carpeted floor, rug, area rug, floor rug, oriental "
      "rug, "
      "persian rug, persian carpet, floor mat, doormat, mat, fitted carpet, wall to wall carpet",
      "A photo of woven carpet" GROUND },
    { "sofa, couch, settee, loveseat, studio couch, sofa bed, futon, armchair, upholstery, upholstered, cushion, "
      "sofa cushion, couch cushion",
      "A photo of soft sofa upholstery" GROUND },
    { "leather, leather sofa, leather couch, leather seat", "A photo of leather upholstery" GROUND },
    { "bed, bedding, blanket, bed sheet, bed linen, bedclothes, sheet, duvet, duvet cover, quilt, comforter, "
      "bedspread, coverlet, mattress, mattress pad, throw blanket, pillow",
      "A photo of soft bedding with its folds" GROUND },
    { "fabric, textile, cloth, linen, fleece, towel, tablecloth",
      "A photo of soft fabric with its weave and folds" GROUND },
    { "table, table top, wood table, wooden table, desk, counter top, counter, worktop, "
      "work surface",
      "A photo of a table top" GROUND },

    { "floor, flooring, indoor floor, ground floor", "A photo of an indoor floor" VAGUE },
    { "wood, wooden, timber, lumber", "A photo of wood with its grain" VAGUE },

    { "water, lake, sea, ocean, pool, swimming pool, pond, river, stream, creek, bay, wave, surf, puddle, body of "
      "water, "
      "water surface, open water, water resources",
      "A photo of water with its ripples and reflections" BEHIND },
    { "wall, plaster, plaster wall, plasterwork, plasterboard, drywall, stucco, wallpaper, painted wall, white wall, "
      "concrete wall, interior wall",
      "A photo of a plain wall" BEHIND },
    { "brick, brick wall, brickwork, masonry", "A photo of a brick wall with its joints" BEHIND },
    { "stone wall, rock wall, dry stone wall", "A photo of a stone wall with its joints" BEHIND },
    { "plant, vegetation, greenery, hedge, shrub, shrubbery, bush, ivy, fern, undergrowth, low plant",
      "A photo of dense leafy plants" BEHIND },
};

/* They may stand before or behind the word for the surface and leave its meaning as it is. */
static const char leading_words[] =
    "a, the, some, green, brown, white, black, grey, gray, red, blue, yellow, beige, tan, golden, dark, light, pale, "
    "bright, colorful, colourful, dry, dead, wet, damp, moist, fresh, fallen, lush, short, tall, long, mown, mowed, "
    "cut, "
    "trimmed, soft, rough, smooth, fine, coarse, loose, old, new, worn, weathered, cracked, polished, shiny, plain, "
    "patterned, striped, natural, outdoor, indoor, public, city, urban, rural, suburban, domestic, household, home, "
    "living room, bedroom, kitchen, bathroom, garden, autumn, fall, summer, spring, winter";
static const char trailing_words[] = "surface, texture, ground, background, area, material, covering, patch, pattern";

const struct prompt_surface *prompt_table_at(int i)
{
    return i >= 0 && i < (int)(sizeof surfaces / sizeof *surfaces) ? &surfaces[i] : NULL;
}

/* ---- a label as words ---- */

enum { MAX_WORDS = 12 };

struct words {
    char text[PROMPT_LABEL_MAX]; /* lower case, without anything between the words */
    size_t begin[MAX_WORDS + 1]; /* where each word begins, and where the last one ends */
    int n;
};

/* How many bytes of white space, of a hyphen or of an underscore are here; 0: it is part of a word. */
static size_t gap_length(struct span s)
{
    static const char *const gaps[] = {
        " ",
        "\t",
        "\n",
        "\r",
        "\v",
        "\f",
        "-",
        "_",
        "\xc2\x85",     /* next line */
        "\xc2\xa0",     /* no-break space */
        "\xc2\xad",     /* soft hyphen */
        "\xe1\x9a\x80", /* Ogham space */
        "\xe3\x80\x80", /* ideographic space */
        "\xe2\x81\x9f", /* mathematical space */
        "\xe2\x81\xa0", /* word joiner */
        "\xe2\x88\x92", /* minus */
        "\xe2\x80\xa8", /* line separator */
        "\xe2\x80\xa9", /* paragraph separator */
        "\xe2\x80\xaf", /* narrow no-break space */
        "\xef\xbb\xbf", /* zero-width no-break space */
    };

    for (size_t i = 0; i < sizeof gaps / sizeof *gaps; i++)
        if (span_starts(s, gaps[i]))
            return strlen(gaps[i]);
    /* U+2000 to U+200D: spaces of every width; U+2010 to U+2015: hyphens and dashes */
    if (s.len >= 3 && span_starts(s, "\xe2\x80") && (unsigned char)s.ptr[2] >= 0x80 && (unsigned char)s.ptr[2] <= 0x95)
        return (unsigned char)s.ptr[2] <= 0x8d || (unsigned char)s.ptr[2] >= 0x90 ? 3 : 0;
    return 0;
}

static bool is_upper(char c)
{
    return c >= 'A' && c <= 'Z';
}

static bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

/* False: the label is longer than any that is known. */
static bool split(struct span label, struct words *ret)
{
    size_t at = 0;
    bool inside = false;

    *ret = (struct words){ 0 };
    for (size_t i = 0; i < label.len; i++) {
        size_t gap = gap_length((struct span){ label.ptr + i, label.len - i });
        char c = label.ptr[i];

        if (gap) {
            i += gap - 1;
            inside = false;
            continue;
        }
        if (!inside || (is_upper(c) && i && is_lower(label.ptr[i - 1]))) {
            if (ret->n == MAX_WORDS)
                return false;
            ret->begin[ret->n++] = at;
        }
        inside = true;
        if (at == sizeof ret->text)
            return false;
        ret->text[at++] = is_upper(c) ? (char)(c - 'A' + 'a') : c;
    }
    ret->begin[ret->n] = at;
    return ret->n > 0;
}

static struct span join(const struct words *w, int from, int to)
{
    return (struct span){ w->text + w->begin[from], w->begin[to] - w->begin[from] };
}

/* ---- lists of words ---- */

/* Whether the first label of the list, up to its comma, is `text` but for its blanks. */
static bool first_is(const char *list, struct span text)
{
    size_t i = 0;

    for (; *list && *list != ','; list++)
        if (*list != ' ' && (i == text.len || text.ptr[i++] != *list))
            return false;
    return i && i == text.len;
}

static bool has(const char *list, struct span text)
{
    for (; list; list = strchr(list, ',')) {
        list += *list == ',';
        if (first_is(list, text))
            return true;
    }
    return false;
}

static const struct prompt_surface *find_as_it_is(struct span text)
{
    for (int i = 1; prompt_table_at(i); i++)
        if (has(surfaces[i].labels, text))
            return &surfaces[i];
    return NULL;
}

/* As it is; else without the endings of a plural ("tiles", "beaches"). */
static const struct prompt_surface *find_number(struct span text)
{
    const struct prompt_surface *s = find_as_it_is(text);

    for (int i = 0; !s && i < 2 && text.len > 3 && text.ptr[text.len - 1] == (i ? 'e' : 's'); i++) {
        text.len--;
        s = find_as_it_is(text);
    }
    return s;
}

const struct prompt_surface *prompt_table_find(struct span label)
{
    const struct prompt_surface *s = NULL;
    struct words w;

    label = span_trimmed(label);
    if (!label.len || label.len > PROMPT_LABEL_MAX || !split(label, &w))
        return NULL;
    for (int from = 0; !s && from < w.n; from++) {
        for (int to = w.n; !s && to > from; to--) {
            s = find_number(join(&w, from, to));
            if (!has(trailing_words, join(&w, to - 1, to)))
                break;
        }
        if (!has(leading_words, join(&w, from, from + 1)))
            break;
    }
    return s;
}
