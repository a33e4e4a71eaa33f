#include "models/layout/known_files.h"

#include <stdio.h>
#include <string.h>

#include "test/support/check.h"

TEST(known_files__is_a_list_of_facts_of_one_form)
{
    struct known_file f;
    struct err err = { 0 };
    int n = 0;

    for (size_t at = 0; known_file_next(&at, &f, &err); n++) {
        CHECK(f.name.len && f.name.len < 128 && f.name.ptr[0] != '/' && f.what.len);
        CHECK(f.bytes == -1 || f.bytes > 1000);
        CHECK(f.sha256.len == 0 || f.sha256.len == 64);
        CHECK(strspn(f.sha256.ptr ? f.sha256.ptr : "", "0123456789abcdef") == f.sha256.len);
        CHECK(memchr(f.source.ptr, '/', f.source.len) && !memchr(f.source.ptr, ':', f.source.len)); /* no address */
    }
    CHECK_OK(err.code, err);
    CHECK(n >= 30);
}

TEST(known_files__has_no_name_twice_with_one_size_and_no_digest_twice)
{
    struct known_file a, b;

    for (size_t i = 0; known_file_next(&i, &a, NULL);)
        for (size_t k = i; known_file_next(&k, &b, NULL);) {
            CHECK(!span_eq(a.name, b.name) || (a.bytes != b.bytes && a.bytes >= 0 && b.bytes >= 0));
            CHECK(a.sha256.len == 0 || !span_eq(a.sha256, b.sha256));
        }
}

/* Digests that are published in many places: the official repository's own page, and SentencePiece's model of T5. */
TEST(known_files__knows_a_file_by_its_digest)
{
    struct known_file f;

    CHECK(known_file_by_digest("03e289f530df51d014f48e675a9ffa2141bc003259bf5f25d75b957e920a41ca", &f));
    CHECK(span_is(f.name, "flux1-fill-dev.safetensors"));
    CHECK_INT(f.bytes, 23804922408);
    CHECK(span_is(f.source, "black-forest-labs/FLUX.1-Fill-dev"));
    CHECK(known_file_by_digest("d60acb128cf7b7f2536e8f38a5b18a05535c9e14c7a355904270e15b0945ea86", &f));
    CHECK(span_is(f.name, "tokenizer_2/spiece.model"));
    CHECK(!known_file_by_digest("03e289f530df51d014f48e675a9ffa2141bc003259bf5f25d75b957e920a41cb", &f));
    CHECK(!known_file_by_digest("", &f)); /* as the digests that are not known */
}

TEST(known_files__knows_a_file_by_its_name_and_size)
{
    static const struct {
        const char *path;
        int64_t bytes;
        enum known_name want;
    } cases[] = {
        { "ae.safetensors", 335304388, KNOWN_NAME_SIZE },
        { "/models/vae/ae.safetensors", 335304388, KNOWN_NAME_SIZE },
        { "/models/ae.safetensors", 335304387, KNOWN_NAME_ONLY },
        { "/models/my-ae.safetensors", 335304388, KNOWN_NOT },
        { "/models/ae.safetensors/x", 335304388, KNOWN_NOT },
        { "/models/vae/diffusion_pytorch_model.safetensors", 167666902, KNOWN_NAME_SIZE },
        { "/models/vae/diffusion_pytorch_model.safetensors", 335306212, KNOWN_NOT }, /* others have it as F32 */
        { "/models/transformer/diffusion_pytorch_model.safetensors", 167666902, KNOWN_NOT },
        { "flux1-fill-dev-Q8_0.gguf", 1, KNOWN_NOT }, /* its size is not known */
        { "", 0, KNOWN_NOT },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct known_file f;
        enum known_name got = known_file_by_name_and_size(cases[i].path, cases[i].bytes, &f);

        if (got != cases[i].want)
            test_fail(__FILE__, __LINE__, "%s: %d, want %d", cases[i].path, got, cases[i].want);
    }
}
