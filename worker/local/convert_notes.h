/*
 * convert_notes - what a converted file says about its making, as metadata of the GGUF file:
 *
 *   inpaint.convert.program                            the program, its version and commit
 *   inpaint.convert.type, .keep                        the types that were asked for: "Q8_0", ["modulation=F16"]
 *   inpaint.convert.inputs, .inputs.sha256             base names of the files, and their digests, in the same order
 *   inpaint.convert.loras, .loras.sha256, .loras.scale likewise the LoRAs that were merged, with their scales as text
 *
 * No times and no paths, so that the same inputs give the same bytes everywhere.
 */
#ifndef WORKER_LOCAL_CONVERT_NOTES_H
#define WORKER_LOCAL_CONVERT_NOTES_H

#include "models/convert/convert.h"
#include "models/fill/fill.h"
#include "worker/verify/model_files.h"

enum { CONVERT_NOTES_MAX = 16, CONVERT_NOTES_FILES = SHARDS_MAX_FILES + FILL_MAX_LORAS };

struct convert_notes {
    struct gguf_write_pair pairs[CONVERT_NOTES_MAX];
    int n;
    const char *paths[CONVERT_NOTES_FILES]; /* inputs, then LoRAs */
    int n_paths;
    char (*digests)[FILE_DIGEST_SIZE]; /* [n_paths], in the arena: zeros until convert_notes_digest() */
};

struct convert_made_of {
    const struct shards *inputs;
    const struct fill_lora *loras; /* [n_loras], with the paths of their files */
    int n_loras;
    const struct convert_types *types;
};

/* Texts are from the arena. ERR_NOMEM. */
MUST_CHECK enum err_code convert_notes_make(const struct convert_made_of *m, struct arena *a, struct convert_notes *ret,
                                            struct err *err);
int64_t convert_notes_bytes(const struct convert_notes *n); /* of all files, which the digests take to read */
/* Reads a file, and puts its digest where the pairs have zeros: the size of the metadata stays the same. What is known
 * of the file by its digest goes to `text`; ERR_CORRUPT where it is damaged. Errors of file_digest(). */
MUST_CHECK enum err_code convert_notes_digest(struct convert_notes *n, int file, const struct file_digest_watch *watch,
                                              char text[VERDICT_TEXT_SIZE], struct err *err);

#endif
