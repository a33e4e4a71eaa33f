/* The wrapper alone, as if nothing stood in front of it: what libjwt accepts too much must be refused here as well. */
#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>

#include "kernels/base/base64.h"
#include "test/support/check.h"
#include "test/support/fake/keys.h"
#include "worker/base/libjwt.h"

#define HEADER "{\"alg\":\"RS256\",\"kid\":\"k\",\"typ\":\"JWT\"}"
#define CLAIMS "{\"iss\":\"somebody\",\"exp\":1700003600}"

static struct libjwt_key *public_key(const struct test_key *k)
{
    char n[2048], e[64];
    size_t n_len, e_len;
    struct libjwt_key *key = NULL;
    struct err err = { 0 };

    CHECK_OK(base64_decode(span_of(k->n), BASE64_URL | BASE64_NO_PADDING, n, sizeof n, &n_len, &err), err);
    CHECK_OK(base64_decode(span_of(k->e), BASE64_URL | BASE64_NO_PADDING, e, sizeof e, &e_len, &err), err);
    CHECK_OK(libjwt_key_public((struct span){ n, n_len }, (struct span){ e, e_len }, &key, &err), err);
    return key;
}

static const struct test_key *own(void)
{
    return test_key(2048, 65537, 0);
}

/* The answer of libjwt_verify for a key that owns nothing else. */
static enum err_code verdict(const struct test_key *k, struct span token)
{
    struct libjwt_key *key = public_key(k);
    struct err err = { 0 };
    enum err_code rc = libjwt_verify(key, token, &err);

    CHECK_INT(rc, err.code);
    libjwt_key_free(key);
    return rc;
}

TEST(libjwt__verifies_what_it_signed_and_nothing_else)
{
    static const struct libjwt_claim claims[] = { { .name = "iss", .text = "a \"b\" \xc3\xa9" },
                                                  { .name = "exp", .number = INT64_C(1700003600) } };
    struct libjwt_key *private = NULL;
    struct err err = { 0 };
    char token[4096];

    CHECK_OK(libjwt_key_private(span_of(own()->private_pem), &private, &err), err);
    CHECK_INT(libjwt_key_bytes(private), 256);
    CHECK_OK(libjwt_sign(private, "k1", claims, 2, token, sizeof token, &err), err);
    CHECK_INT(verdict(own(), span_of(token)), ERR_OK);
    CHECK_INT(verdict(test_key(2048, 65537, 1), span_of(token)), ERR_DENIED);
    CHECK_INT(verdict(test_key(3072, 3, 0), span_of(token)), ERR_DENIED);
    for (size_t i = 0; i < strlen(token); i += 7) {
        char was = token[i];

        token[i] = was == 'A' ? 'B' : 'A';
        CHECK_INT(verdict(own(), span_of(token)), ERR_DENIED);
        token[i] = was;
    }
    CHECK_INT(libjwt_sign(private, "k1", claims, 2, token, 100, NULL), ERR_TOO_LARGE);
    libjwt_key_free(libjwt_key_ref(private)); /* `private` stays valid */
    CHECK_OK(libjwt_sign(private, "", claims, 2, token, sizeof token, &err), err);
    CHECK_INT(verdict(own(), span_of(token)), ERR_OK);
    libjwt_key_free(private);
    libjwt_key_free(NULL);
}

TEST(libjwt__signs_with_keys_of_any_allowed_size)
{
    static const struct libjwt_claim claim = { .name = "iss", .text = "x" };
    static const struct {
        int bits;
        unsigned long exponent;
    } kinds[] = { { 3072, 3 }, { 4096, 65537 } };

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const struct test_key *k = test_key(kinds[i].bits, kinds[i].exponent, 0);
        struct libjwt_key *private = NULL;
        struct err err = { 0 };
        char token[4096];

        CHECK_OK(libjwt_key_private(span_of(k->private_pem), &private, &err), err);
        CHECK_OK(libjwt_sign(private, "", &claim, 1, token, sizeof token, &err), err);
        CHECK_INT(verdict(k, span_of(token)), ERR_OK);
        libjwt_key_free(private);
    }
}

/* As keys are after they went through a form, a mail or an editor. A key that is accepted must sign. */
TEST(libjwt__signs_with_keys_of_any_line_ends)
{
    static const struct libjwt_claim claim = { .name = "iss", .text = "x" };
    static const char *const ends[] = { "\r\n", " \n", "\t \r\n", "\n" };
    static const char *const before[] = { "", "\n\n", "Bag Attributes\n", "\r\n", " \n" };
    static const char *const after[] = { "", "\n\n", "  ", "\r\n \t" };

    for (size_t i = 0; i < 4 * 5 * 4; i++) {
        struct libjwt_key *private = NULL;
        struct err err = { 0 };
        char pem[8192], token[4096];
        size_t n = (size_t)snprintf(pem, sizeof pem, "%s", before[i / 4 % 5]);

        for (const char *p = own()->private_pem; *p; p++)
            n += (size_t)snprintf(pem + n, sizeof pem - n, *p == '\n' ? "%s" : "%.1s", *p == '\n' ? ends[i % 4] : p);
        n += (size_t)snprintf(pem + n, sizeof pem - n, "%s", after[i / 20]);
        CHECK_OK(libjwt_key_private((struct span){ pem, n }, &private, &err), err);
        CHECK_OK(libjwt_sign(private, "", &claim, 1, token, sizeof token, &err), err);
        CHECK_INT(verdict(own(), span_of(token)), ERR_OK);
        libjwt_key_free(private);
    }
}

TEST(libjwt__reports_claims_that_cannot_be_written)
{
    static const struct libjwt_claim bad[][2] = {
        { { .name = "iss", .text = "\xff" }, { .name = "x", .text = "y" } },
        { { .name = "", .text = "x" }, { .name = "x", .text = "y" } },
        { { .name = "twice", .text = "x" }, { .name = "twice", .text = "y" } },
    };
    struct libjwt_key *private = NULL;
    struct err err = { 0 };
    char token[4096];

    CHECK_OK(libjwt_key_private(span_of(own()->private_pem), &private, &err), err);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_INT(libjwt_sign(private, "", bad[i], 2, token, sizeof token, NULL), ERR_INTERNAL);
    libjwt_key_free(private);
}

/* With an HMAC the PEM of the public key, which everybody has, would be the secret. */
TEST(libjwt__refuses_every_other_algorithm)
{
    static const char *const algs[] = { "HS256", "HS384", "HS512", "RS384", "RS512", "PS256" };
    static const char *const spellings[] = { "rs256", "Rs256", "none", "None", "NONE", "", "RS256 " };
    char header[128];

    for (size_t i = 0; i < sizeof algs / sizeof *algs; i++) {
        (void)snprintf(header, sizeof header, "{\"alg\":\"%s\",\"kid\":\"k\"}", algs[i]);
        CHECK_INT(verdict(own(), span_of(test_token(own(), algs[i], header, CLAIMS))), ERR_DENIED);
        CHECK_INT(verdict(own(), span_of(test_token(own(), algs[i], HEADER, CLAIMS))), ERR_DENIED);
    }
    for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++) { /* each with a good signature of RS256 */
        (void)snprintf(header, sizeof header, "{\"alg\":\"%s\",\"kid\":\"k\"}", spellings[i]);
        CHECK_INT(verdict(own(), span_of(test_token(own(), "RS256", header, CLAIMS))), ERR_DENIED);
    }
    CHECK_INT(verdict(own(), span_of(test_token(own(), "RS256", "{\"kid\":\"k\"}", CLAIMS))), ERR_DENIED);
    CHECK_INT(verdict(own(), span_of(test_token(own(), "RS256", "{\"alg\":[\"RS256\"]}", CLAIMS))), ERR_DENIED);
    CHECK_INT(verdict(own(), span_of(test_token(own(), "RS256", HEADER, CLAIMS))), ERR_OK);
}

/* libjwt skips what is not base64, and compares an HMAC of any length. */
TEST(libjwt__takes_one_spelling_of_a_signature)
{
    static const char *const tails[] = { "=", "==", "!", "\n", " ", "A", "AA", "AAAA", ".", ".x", "%3D" };
    static char good[8192], bad[9000];
    size_t n, dot;

    (void)snprintf(good, sizeof good, "%s", test_token(own(), "RS256", HEADER, CLAIMS));
    n = strlen(good);
    dot = (size_t)(strrchr(good, '.') - good);
    CHECK_INT(verdict(own(), (struct span){ good, n }), ERR_OK);
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
        (void)snprintf(bad, sizeof bad, "%s%s", good, tails[i]);
        CHECK_INT(verdict(own(), span_of(bad)), ERR_DENIED);
    }
    for (size_t cut = dot; cut < n; cut++) /* "header.claims", "header.claims.", and a signature cut short */
        CHECK_INT(verdict(own(), (struct span){ good, cut }), ERR_DENIED);
    for (size_t at = dot + 1; at < n; at += 37) {
        (void)snprintf(bad, sizeof bad, "%.*s*%s", (int)at, good, good + at); /* a character that libjwt skips */
        CHECK_INT(verdict(own(), span_of(bad)), ERR_DENIED);
    }
    memcpy(bad, good, n + 1);
    for (int bits = 1; bits < 4; bits++) { /* the unused bits of the last character: 256 bytes take 341 and a third */
        const char *alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

        bad[n - 1] = alphabet[(strchr(alphabet, good[n - 1]) - alphabet) ^ bits];
        CHECK_INT(verdict(own(), (struct span){ bad, n }), ERR_DENIED);
    }
    for (char *p = strcpy(bad, good); *p; p++) /* the standard alphabet */
        *p = *p == '-' ? '+' : *p == '_' ? '/' : *p;
    CHECK_INT(verdict(own(), (struct span){ bad, n }), strpbrk(good, "-_") ? ERR_DENIED : ERR_OK);
}

TEST(libjwt__refuses_what_is_not_a_token)
{
    static const char *const bad[] = { "", ".", "..", "...", "a.b", "a.b.", ".b.c", "a..c", "a.b.c.d", "a b.c.d" };
    static char text[LIBJWT_TOKEN_MAX + 2];
    size_t n;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_INT(verdict(own(), span_of(bad[i])), ERR_DENIED);
    n = (size_t)snprintf(text, sizeof text, "%s", test_token(own(), "RS256", HEADER, CLAIMS));
    CHECK_INT(verdict(own(), (struct span){ text, n + 1 }), ERR_DENIED); /* with the NUL byte */
    text[n] = '.';
    CHECK_INT(verdict(own(), (struct span){ text, sizeof text }), ERR_DENIED);
    memset(text, 'A', sizeof text);
    CHECK_INT(verdict(own(), (struct span){ text, sizeof text }), ERR_DENIED);
    CHECK_INT(verdict(own(), (struct span){ text, LIBJWT_TOKEN_MAX }), ERR_DENIED);
}

TEST(libjwt__refuses_other_keys)
{
    struct libjwt_key *key = NULL;
    char pem[LIBJWT_PEM_MAX + 100];

    CHECK_INT(libjwt_key_private(SPAN(""), &key, NULL), ERR_INVALID);
    CHECK_INT(libjwt_key_private(span_of(test_ec_pem()), &key, NULL), ERR_INVALID);
    CHECK_INT(libjwt_key_private(span_of(own()->public_pem), &key, NULL), ERR_INVALID);
    CHECK_INT(libjwt_key_private(span_of(test_key(1024, 65537, 0)->private_pem), &key, NULL), ERR_INVALID);
    (void)snprintf(pem, sizeof pem, "%s", own()->private_pem);
    memset(pem + strlen(pem), '\n', sizeof pem - strlen(pem));
    CHECK_INT(libjwt_key_private((struct span){ pem, sizeof pem }, &key, NULL), ERR_INVALID);
    CHECK_INT(libjwt_key_public(SPAN("\1"), SPAN("\1\0\1"), &key, NULL), ERR_INVALID);
    CHECK(!key);
}

/* worker/base/json.h has functions of these names: libjwt, which writes its JSON with jansson, must not get them. */
TEST(libjwt__uses_jansson_and_not_our_functions_of_the_same_name)
{
    static const char *const names[] = { "json_string", "json_integer" };

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        void *function = dlsym(RTLD_DEFAULT, names[i]);
        Dl_info where = { 0 };

        CHECK(function && dladdr(function, &where));
        CHECK(strstr(where.dli_fname, "jansson"));
    }
}

/* What one push costs and leaves behind: nothing. An error leaves nothing either. */
TEST(libjwt__keeps_no_memory)
{
#ifdef __SANITIZE_ADDRESS__
    test_skip("the sanitizer has its own allocator, and looks for leaks itself");
#else
    static const struct libjwt_claim claims[] = { { .name = "iss", .text = "x" }, { .name = "iss", .text = "twice" } };
    struct libjwt_key *private = NULL, *public = public_key(own());
    struct err err = { 0 };
    size_t before = 0;
    char token[4096];

    CHECK_OK(libjwt_key_private(span_of(own()->private_pem), &private, &err), err);
    for (int i = 0; i < 300; i++) {
        if (i == 100)
            before = mallinfo2().uordblks;
        CHECK_INT(libjwt_sign(private, "k", claims, 1, token, sizeof token, NULL), ERR_OK);
        CHECK_INT(libjwt_sign(private, "k", claims, 2, token + 2048, 2048, NULL), ERR_INTERNAL);
        CHECK_INT(libjwt_verify(public, span_of(token), NULL), ERR_OK);
        token[10] ^= 1;
        CHECK_INT(libjwt_verify(public, span_of(token), NULL), ERR_DENIED);
    }
    /* glibc counts what its threads keep for the next malloc, some 20 kB here; a token that is lost has 400 bytes or more */
    CHECK(mallinfo2().uordblks < before + 40000);
    libjwt_key_free(private);
    libjwt_key_free(public);
#endif
}

struct verifier {
    struct libjwt_key *key;
    char good[2048], bad[2048];
    bool agrees;
};

static void *verify_often(void *arg)
{
    struct verifier *v = arg;

    v->agrees = true;
    for (int i = 0; i < 50; i++)
        v->agrees &= libjwt_verify(v->key, span_of(v->good), NULL) == ERR_OK &&
                     libjwt_verify(v->key, span_of(v->bad), NULL) == ERR_DENIED;
    libjwt_key_free(v->key);
    return NULL;
}

TEST(libjwt__serves_many_threads_with_one_key)
{
    static struct verifier v[8];
    struct libjwt_key *key = public_key(own());
    pthread_t threads[8];

    for (int i = 0; i < 8; i++) {
        v[i].key = libjwt_key_ref(key);
        (void)snprintf(v[i].good, sizeof v[i].good, "%s", test_token(own(), "RS256", HEADER, CLAIMS));
        (void)snprintf(v[i].bad, sizeof v[i].bad, "%s", test_token(test_key(2048, 65537, 1), "RS256", HEADER, CLAIMS));
        CHECK_INT(pthread_create(&threads[i], NULL, verify_often, &v[i]), 0);
    }
    libjwt_key_free(key); /* the last thread frees it */
    for (int i = 0; i < 8; i++) {
        CHECK_INT(pthread_join(threads[i], NULL), 0);
        CHECK(v[i].agrees);
    }
}
