/*
 * jpeg_scan - where the data of a JPEG file's only scan first break the rules of their coding.
 *
 * libjpeg goes on over damaged data as well as it can, and often without a word: it decodes what bytes there are, in
 * the wrong places, and what it lacks at the end tells nothing about where it was lost. Here the codes are walked
 * without computing a pixel. A code that no table has, or a coefficient behind the last of its block, shows that the
 * data are not those of this picture from there on, or a little before. Bytes that are lost are found so in most cases,
 * not in all.
 *
 * For sequential Huffman files of one scan without restart markers; nothing is found against others. Takes about 10 ns
 * a bit, so it is for files about which there is a doubt. Source  ITU-T T.81 B.2, C.2, F.2.2
 */
#ifndef MODELS_CODEC_JPEG_SCAN_H
#define MODELS_CODEC_JPEG_SCAN_H

#include <stdint.h>

#include "kernels/base/span.h"

/* The first row of pixels that is not sound, because its data break the rules or end; INT64_MAX: none. */
int64_t jpeg_scan_unsound_row(struct span file);

#endif
