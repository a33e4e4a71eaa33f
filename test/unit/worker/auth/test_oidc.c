/* T1 to T6 of PROTOCOL.md 9.1 and the attacks A1 to A24 of PROTOCOL.md 2.8; A24 is in test_jwks.c. */
#include <stdio.h>

#include "test/support/check.h"
#include "test/support/fake/keys.h"
#include "test/support/fake/script.h"
#include "worker/auth/oidc.h"

#define KAT_N                                                                                            \
    "m3ZFR7WUHIFMHhDKqSZr5Imzkktg7ttD41j7T31MS_31UfPhpI94ySnvGU9vqYLoJMCGvdrg0DiCfwlakb-AYmI_U7H9A0pYb_" \
    "GmXqCr0wCmWh7YzmPRNsNpXP2XVEIV-0puquxrDN-"                                                          \
    "G4itPGG2jOWLnUMyAtp6eZNicQZPCWjgxGKvMPwDrCGIL4D4vf3CXENuy8DWnY9BuZtPVjBb"                           \
    "WS0pM8KJCkreX0-5pKuzCHA1yWhF8PlDPnjrkYQWS0OiICZoCBeozRegSmD9NJy9EOkpIQyq-U1GottkhyyEpUOR_"          \
    "txTNyJCCw9LmvKhZVPpRQR241X6vYo3LJgBCBQcsiw"
#define T1_HEADER "eyJhbGciOiJSUzI1NiIsImtpZCI6ImthdC0xIiwidHlwIjoiSldUIn0"
#define T1_CLAIMS                                                                                                      \
    "eyJpc3MiOiJodHRwczovL2FjY291bnRzLmdvb2dsZS5jb20iLCJhdWQiOiJodHRwczovL3cuZXhhbXBsZS9wIiwiYXpwIjoiMSIsInN1YiI6IjEi" \
    "LCJlbWFpbCI6InB1c2hAZGVtby5pYW0uZ3NlcnZpY2VhY2NvdW50LmNvbSIsImVtYWlsX3ZlcmlmaWVkIjp0cnVlLCJpYXQiOjE3MDAwMDAwMDAs" \
    "ImV4cCI6MTcwMDAwMzYwMH0"
#define T1_SIGNATURE                                                                                                   \
    "ldI7XPsy96Rk7L4zOkQ5CyFqVEU_8t3BL25NoitDFgL6t-mCiz2nJj1lVT_S-DSxz-2krsjUqRMWldjKecteHqT61FCtuzdWOeRMUSabOaKJ0n1c" \
    "DWoZdieRp5q1TV2ug9dMFhac2bHH2JnLXRoaGMp-_6zkuq_l7uUzNL6yckvaAb4NeqZW94rPLosOfJUKb90URqvEiZdecWZQe7iNIFdX8PDVYwOS" \
    "2e5euKiPsYINx62sgU6ziDzu2F79f7WpTyO6tHZgnl8uUSZHaTWW3tLfiBkJ5LNFmV8IWZQVihHpqymZEivYwt8nrSEQNF8Te6eyS_wi7bgbibSo" \
    "AnSOhg"
#define T1 T1_HEADER "." T1_CLAIMS "." T1_SIGNATURE
#define T2                                                                                                     \
    "eyJhbGciOiJIUzI1NiIsImtpZCI6ImthdC0xIiwidHlwIjoiSldUIn0." T1_CLAIMS ".DBLq1g60EAyinypSMBedFXqWS037aBPrV_" \
    "L2EUKRJ7s"

#define HEADER    "{\"alg\":\"RS256\",\"kid\":\"own\",\"typ\":\"JWT\"}"
#define TIMES_    "\"iat\":1700000000,\"exp\":1700003600"
#define ISS_      "\"iss\":\"https://accounts.google.com\""
#define AUD_      "\"aud\":\"https://w.example/p\""
#define EMAIL_    "\"email\":\"push@demo.iam.gserviceaccount.com\""
#define VERIFIED_ "\"email_verified\":true"
#define CLAIMS    "{" ISS_ "," AUD_ "," EMAIL_ "," VERIFIED_ "," TIMES_ "}"

struct fixture {
    struct script s;
    struct jwks *jwks;
    struct oidc o;
    char set[8192];
};

static struct fixture f;

static const struct test_key *own(void)
{
    return test_key(2048, 65537, 0);
}

static void start(void)
{
    struct err err = { 0 };

    script_init(&f.s);
    (void)snprintf(f.set, sizeof f.set,
                   "{\"keys\":[{\"kty\":\"RSA\",\"use\":\"sig\",\"alg\":\"RS256\",\"kid\":\"kat-1\",\"n\":\"" KAT_N
                   "\",\"e\":\"AQAB\"},"
                   "{\"kty\":\"RSA\",\"kid\":\"own\",\"n\":\"%s\",\"e\":\"%s\"}]}",
                   own()->n, own()->e);
    CHECK_OK(jwks_open(&f.s.http, &f.s.sys, "https://issuer.example/certs", &f.jwks, &err), err);
    f.o = (struct oidc){ .mode = PUSH_AUTH_OIDC,
                         .audiences = { "https://other.example", "https://w.example/p" },
                         .emails = { "push@demo.iam.gserviceaccount.com" },
                         .n_audiences = 2,
                         .n_emails = 1,
                         .jwks = f.jwks,
                         .sys = &f.s.sys };
    CHECK_OK(oidc_check_settings(&f.o, &err), err);
    script_will(&f.s, (struct script_reply){
                          .status = 200, .body = span_of(f.set), .headers = { { "cache-control", "max-age=86400" } } });
    CHECK_OK(jwks_prefetch(f.jwks, &f.s.budget, &err), err);
}

static void stop(void)
{
    jwks_close(f.jwks);
    script_done(&f.s);
}

static struct oidc_result check_header(struct span value)
{
    return oidc_check(&f.o, &value, 1, &f.s.budget);
}

static struct oidc_result check_bytes(struct span token)
{
    static char header[300000];

    CHECK(token.len + 8 < sizeof header);
    memcpy(header, "Bearer ", 7);
    memcpy(header + 7, token.ptr, token.len);
    return check_header((struct span){ header, token.len + 7 });
}

static enum oidc_reason reason_of(const char *token)
{
    struct oidc_result r = check_bytes(span_of(token));
    static const int statuses[] = {
#define X(name, status, text) status,
        OIDC_REASON_MAP(X)
#undef X
    };

    CHECK_INT(r.status, statuses[r.reason]);
    CHECK(r.text && *r.text);
    return r.reason;
}

static enum oidc_reason own_token(const char *header, const char *claims)
{
    return reason_of(test_token(own(), "RS256", header, claims));
}

static enum oidc_reason claims_with(const char *iss, const char *aud, const char *email, const char *verified,
                                    const char *times)
{
    char claims[4096];

    (void)snprintf(claims, sizeof claims, "{%s%s%s%s%s\"sub\":\"1\"}", iss, aud, email, verified, times);
    return own_token(HEADER, claims);
}

static void at(int64_t seconds)
{
    f.s.wall_us = seconds * 1000000;
}

TEST(oidc__passes_the_published_tokens) /* T1 to T6 */
{
    struct oidc_result r;

    start();
    r = check_bytes(SPAN(T1));
    CHECK_INT(r.reason, OIDC_ACCEPTED);
    CHECK_INT(r.status, 204);
    CHECK_STR(r.email, "push@demo.iam.gserviceaccount.com");
    CHECK_STR(r.kid, "kat-1");
    at(1700003659);
    CHECK_INT(reason_of(T1), OIDC_ACCEPTED);
    at(1700003661);
    CHECK_INT(reason_of(T1), OIDC_EXPIRED);
    at(1699999941);
    CHECK_INT(reason_of(T1), OIDC_ACCEPTED);
    at(1699999939);
    CHECK_INT(reason_of(T1), OIDC_NOT_YET);
    at(1700000100);
    CHECK_INT(T1_SIGNATURE[sizeof T1_SIGNATURE - 2], 'g'); /* of 342 characters, the last has four spare bits */
    CHECK_INT(reason_of(T1_HEADER "." T1_CLAIMS ".AA" T1_SIGNATURE), OIDC_SIGNATURE);
    CHECK_INT(reason_of(T1 "=="), OIDC_TOKEN_SHAPE);
    CHECK_INT(reason_of(T1 ".x"), OIDC_TOKEN_SHAPE);
    CHECK_INT(reason_of(T1 "\n"), OIDC_TOKEN_SHAPE);
    CHECK_INT(reason_of(T2), OIDC_ALGORITHM);
    CHECK_INT(reason_of("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0." T1_CLAIMS "."), OIDC_TOKEN_SHAPE);
    CHECK_INT(reason_of("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0." T1_CLAIMS ".AAAA"), OIDC_ALGORITHM);
    f.o.audiences[1] = "https://w.example/q";
    CHECK_INT(reason_of(T1), OIDC_AUDIENCE);
    f.o.audiences[1] = "https://w.example/p";
    f.o.emails[0] = "other@demo.iam.gserviceaccount.com";
    CHECK_INT(reason_of(T1), OIDC_EMAIL);
    CHECK_INT(check_bytes(SPAN(T1)).status, 403);
    CHECK_INT(f.s.n_requests, 1);
    stop();
}

TEST(oidc__takes_one_spelling_of_a_signature) /* T1e */
{
    char token[] = T1;

    start();
    for (const char *last = "hijklmnopqrstuv"; *last; last++) {
        token[sizeof token - 2] = *last;
        CHECK_INT(reason_of(token), OIDC_SIGNATURE);
    }
    stop();
}

TEST(oidc__takes_cloud_runs_marker_only_where_cloud_run_verifies) /* T4, A22 */
{
    static const char marked[] = T1_HEADER "." T1_CLAIMS ".SIGNATURE_REMOVED_BY_GOOGLE";

    start();
    CHECK_INT(reason_of(marked), OIDC_SIGNATURE_REMOVED);
    f.o.mode = PUSH_AUTH_IAM;
    CHECK_INT(reason_of(marked), OIDC_SIGNATURE_REMOVED); /* without K_SERVICE, Cloud Run has not verified it */
    f.o.on_cloud_run = true;
    CHECK_INT(reason_of(marked), OIDC_ACCEPTED);
    CHECK_INT(reason_of(T1), OIDC_ACCEPTED); /* verified in full */
    CHECK_INT(reason_of(T1_HEADER "." T1_CLAIMS ".SIGNATURE_REMOVED_BY_GOOGLF"), OIDC_SIGNATURE);
    CHECK_INT(reason_of(T1_HEADER "." T1_CLAIMS ".signature_removed_by_google"), OIDC_SIGNATURE);
    CHECK_INT(reason_of(T2), OIDC_ALGORITHM);
    at(1700003661);
    CHECK_INT(reason_of(marked), OIDC_EXPIRED);
    at(1700000100);
    f.o.emails[0] = "other@demo.iam.gserviceaccount.com";
    CHECK_INT(reason_of(marked), OIDC_EMAIL);
    f.o.audiences[1] = "x";
    CHECK_INT(reason_of(marked), OIDC_AUDIENCE);
    stop();
}

TEST(oidc__requires_one_bearer_header) /* A1 */
{
    struct span two[] = { SPAN("Bearer " T1), SPAN("Bearer " T1) };

    start();
    CHECK_INT(oidc_check(&f.o, NULL, 0, &f.s.budget).reason, OIDC_NO_HEADER);
    CHECK_INT(oidc_check(&f.o, two, 2, &f.s.budget).reason, OIDC_MANY_HEADERS);
    CHECK_INT(check_header(SPAN("Basic dTpw")).reason, OIDC_NOT_BEARER);
    CHECK_INT(check_header(SPAN("Bearer")).reason, OIDC_NOT_BEARER);
    CHECK_INT(check_header(SPAN("Bearer ")).reason, OIDC_NOT_BEARER);
    CHECK_INT(check_header(SPAN("")).reason, OIDC_NOT_BEARER);
    CHECK_INT(check_header(SPAN("Bearer  " T1)).reason, OIDC_TOKEN_SHAPE);
    CHECK_INT(check_header(SPAN("Bearer\t" T1)).reason, OIDC_NOT_BEARER);
    CHECK_INT(check_header(SPAN(" Bearer " T1)).reason, OIDC_NOT_BEARER);
    CHECK_INT(check_header(SPAN(T1)).reason, OIDC_NOT_BEARER);
    CHECK_INT(check_header(SPAN("bEARER " T1)).reason, OIDC_ACCEPTED);
    CHECK_INT(check_header(SPAN("Bearer owner")).status, 401);
    stop();
}

TEST(oidc__pins_the_algorithm) /* A2, A3, A4 */
{
    static const char *const algs[] = { "\"none\"",    "\"None\"",  "\"NONE\"",   "\"\"",      "1",        "null",
                                        "[\"RS256\"]", "\"rs256\"", "\"RS256 \"", "\"ES256\"", "\"EdDSA\"" };
    static const char *const others[] = { "HS256", "HS384", "HS512", "RS384", "RS512", "PS256" };
    char header[256];

    start();
    for (size_t i = 0; i < sizeof algs / sizeof *algs; i++) {
        (void)snprintf(header, sizeof header, "{\"alg\":%s,\"kid\":\"own\",\"typ\":\"JWT\"}", algs[i]);
        CHECK_INT(own_token(header, CLAIMS), OIDC_ALGORITHM);
    }
    CHECK_INT(own_token("{\"kid\":\"own\",\"typ\":\"JWT\"}", CLAIMS), OIDC_ALGORITHM);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        (void)snprintf(header, sizeof header, "{\"alg\":\"%s\",\"kid\":\"own\",\"typ\":\"JWT\"}", others[i]);
        CHECK_INT(reason_of(test_token(own(), others[i], header, CLAIMS)), OIDC_ALGORITHM);
        CHECK_INT(reason_of(test_token(own(), others[i], HEADER, CLAIMS)), OIDC_SIGNATURE); /* with the right alg in the header */
    }
    CHECK_INT(f.s.n_requests, 1);
    CHECK_INT(own_token(HEADER, CLAIMS), OIDC_ACCEPTED);
    stop();
}

TEST(oidc__requires_a_known_kid_and_fetches_once_for_unknown_ones) /* A5 */
{
    static const char *const kids[] = { "\"../../x\"", "\"' OR 1=1 --\"", "\"a\\u0000b\"", "7",        "null",
                                        "\"\"",        "\"a.b\"",         "\"\\u00e9\"",   "[\"own\"]" };
    static char big[1 << 16];
    char header[256];

    start();
    for (size_t i = 0; i < sizeof kids / sizeof *kids; i++) {
        (void)snprintf(header, sizeof header, "{\"alg\":\"RS256\",\"kid\":%s}", kids[i]);
        CHECK_INT(own_token(header, CLAIMS), strstr(kids[i], "u0000") ? OIDC_HEADER : OIDC_KEY_ID);
    }
    CHECK_INT(own_token("{\"alg\":\"RS256\"}", CLAIMS), OIDC_KEY_ID);
    (void)snprintf(big, sizeof big, "{\"alg\":\"RS256\",\"kid\":\"%0300d\"}", 1);
    CHECK_INT(own_token(big, CLAIMS), OIDC_KEY_ID);
    (void)snprintf(big, sizeof big, "{\"alg\":\"RS256\",\"kid\":\"%020000d\"}", 1);
    CHECK_INT(own_token(big, CLAIMS), OIDC_TOKEN_SIZE);
    CHECK_INT(f.s.n_requests, 1);
    for (int i = 0; i < 20; i++) {
        (void)snprintf(header, sizeof header, "{\"alg\":\"RS256\",\"kid\":\"made-up-%d\"}", i);
        script_will(&f.s, (struct script_reply){ .status = 200, .body = span_of(f.set) });
        CHECK_INT(own_token(header, CLAIMS), OIDC_KEY_UNKNOWN);
    }
    CHECK_INT(f.s.n_requests, 2);
    stop();
}

TEST(oidc__never_fetches_a_key_that_the_token_names) /* A6 */
{
    const struct test_key *evil = test_key(2048, 65537, 1);
    char header[4096];

    start();
    (void)snprintf(
        header, sizeof header,
        "{\"alg\":\"RS256\",\"kid\":\"own\",\"jku\":\"https://evil.example/\",\"x5u\":\"https://evil.example/\","
        "\"x5c\":[\"MIIB\"],\"jwk\":{\"kty\":\"RSA\",\"kid\":\"own\"}}");
    CHECK_INT(reason_of(test_token(evil, "RS256", header, CLAIMS)), OIDC_SIGNATURE);
    CHECK_INT(f.s.n_requests, 1);
    CHECK_INT(own_token(header, CLAIMS), OIDC_ACCEPTED); /* ignored, not forbidden */
    stop();
}

TEST(oidc__refuses_extensions_and_other_types) /* A7 */
{
    start();
    CHECK_INT(own_token("{\"alg\":\"RS256\",\"kid\":\"own\",\"crit\":[\"x\"]}", CLAIMS), OIDC_EXTENSION);
    CHECK_INT(own_token("{\"alg\":\"RS256\",\"kid\":\"own\",\"crit\":[\"b64\"],\"b64\":false}", CLAIMS),
              OIDC_EXTENSION);
    CHECK_INT(own_token("{\"alg\":\"RS256\",\"kid\":\"own\",\"b64\":true}", CLAIMS), OIDC_EXTENSION);
    CHECK_INT(own_token("{\"alg\":\"RS256\",\"kid\":\"own\",\"zip\":\"DEF\"}", CLAIMS), OIDC_EXTENSION);
    CHECK_INT(own_token("{\"alg\":\"RS256\",\"kid\":\"own\",\"cty\":\"JWT\"}", CLAIMS), OIDC_EXTENSION);
    CHECK_INT(own_token("{\"alg\":\"RS256\",\"kid\":\"own\",\"typ\":\"at+jwt\"}", CLAIMS), OIDC_TYPE);
    CHECK_INT(own_token("{\"alg\":\"RS256\",\"kid\":\"own\",\"typ\":5}", CLAIMS), OIDC_TYPE);
    CHECK_INT(own_token("{\"alg\":\"RS256\",\"kid\":\"own\",\"typ\":\"jwt\"}", CLAIMS), OIDC_ACCEPTED);
    CHECK_INT(own_token("{\"alg\":\"RS256\",\"kid\":\"own\"}", CLAIMS), OIDC_ACCEPTED);
    stop();
}

TEST(oidc__judges_times) /* A8, A9, A10; the clock says 1700000100 */
{
    static const struct {
        const char *times;
        enum oidc_reason want;
    } cases[] = {
        { "\"iat\":1699996441,\"exp\":1700000041,", OIDC_ACCEPTED }, /* expired by 59 s */
        { "\"iat\":1699996439,\"exp\":1700000039,", OIDC_EXPIRED },
        { "\"iat\":1700000159,\"exp\":1700003600,", OIDC_ACCEPTED },
        { "\"iat\":1700000161,\"exp\":1700003600,", OIDC_NOT_YET },
        { "\"iat\":1700000000,\"nbf\":1700000159,\"exp\":1700003600,", OIDC_ACCEPTED },
        { "\"iat\":1700000000,\"nbf\":1700000161,\"exp\":1700003600,", OIDC_NOT_YET },
        { "\"iat\":1700000000,\"nbf\":\"1700000000\",\"exp\":1700003600,", OIDC_TIMES },
        { "\"iat\":1700000000,\"exp\":\"1700003600\",", OIDC_TIMES },
        { "\"iat\":1700000000,\"exp\":1700003600.0,", OIDC_TIMES },
        { "\"iat\":1700000000,\"exp\":17e8,", OIDC_TIMES },
        { "\"iat\":1700000000,\"exp\":-1,", OIDC_TIMES },
        { "\"iat\":1700000000,\"exp\":0,", OIDC_TIMES },
        { "\"iat\":1700000000,\"exp\":1e300,", OIDC_TIMES },
        { "\"iat\":1700000000,\"exp\":99999999999999999999,", OIDC_TIMES },
        { "\"iat\":1700000000,\"exp\":1099511627776,", OIDC_TIMES },
        { "\"iat\":1700000000,\"exp\":null,", OIDC_TIMES },
        { "\"iat\":1700000000,\"exp\":true,", OIDC_TIMES },
        { "\"iat\":1700000000,", OIDC_TIMES },
        { "\"exp\":1700003600,", OIDC_TIMES },
        { "\"iat\":\"1700000000\",\"exp\":1700003600,", OIDC_TIMES },
        { "\"iat\":1700000000,\"exp\":2015360000,", OIDC_LIFETIME }, /* ten years ahead */
        { "\"iat\":1699913600,\"exp\":1700000200,", OIDC_LIFETIME }, /* 86,600 s long */
        { "\"iat\":1699913699,\"exp\":1700000050,", OIDC_LIFETIME }, /* 86,401 s old */
        { "\"iat\":1699913700,\"exp\":1700000050,", OIDC_ACCEPTED },
    };

    start();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        enum oidc_reason got = claims_with(ISS_ ",", AUD_ ",", EMAIL_ ",", VERIFIED_ ",", cases[i].times);

        if (got != cases[i].want)
            test_fail(__FILE__, __LINE__, "%s gives %d, want %d", cases[i].times, got, cases[i].want);
    }
    stop();
}

TEST(oidc__compares_issuer_audience_and_account_byte_by_byte) /* A11 to A16 */
{
    static const char *const issuers[] = { "\"iss\":\"https://accounts.google.com/\",",
                                           "\"iss\":\"http://accounts.google.com\",",
                                           "\"iss\":\"https://sts.example/tenant\",",
                                           "\"iss\":[\"https://accounts.google.com\"],",
                                           "",
                                           "\"iss\":\"https://securetoken.google.com/demo\",",
                                           "\"iss\":\"push@demo.iam.gserviceaccount.com\",",
                                           "\"iss\":\"\"," };
    static const char *const audiences[] = { "",
                                             "\"aud\":[\"https://w.example/p\"],",
                                             "\"aud\":\"https://W.example/p\",",
                                             "\"aud\":\"https://w.example/p/\",",
                                             "\"aud\":\"https://w.example/\",",
                                             "\"aud\":\"https://w.example/p2\",",
                                             "\"aud\":\"\",",
                                             "\"aud\":null,",
                                             "\"Aud\":\"https://w.example/p\"," };
    static const char *const emails[] = { "",
                                          "\"email\":\"other@demo.iam.gserviceaccount.com\",",
                                          "\"email\":\"PUSH@demo.iam.gserviceaccount.com\",",
                                          "\"email\":\" push@demo.iam.gserviceaccount.com\",",
                                          "\"email\":[\"push@demo.iam.gserviceaccount.com\"],",
                                          "\"email\":null,",
                                          "\"email\":\"somebody@gmail.com\"," };
    static const char *const verified[] = { "", "\"email_verified\":false,", "\"email_verified\":\"true\",",
                                            "\"email_verified\":1,", "\"email_verified\":null," };

    start();
    for (size_t i = 0; i < sizeof issuers / sizeof *issuers; i++)
        CHECK_INT(claims_with(issuers[i], AUD_ ",", EMAIL_ ",", VERIFIED_ ",", TIMES_ ","), OIDC_ISSUER);
    for (size_t i = 0; i < sizeof audiences / sizeof *audiences; i++)
        CHECK_INT(claims_with(ISS_ ",", audiences[i], EMAIL_ ",", VERIFIED_ ",", TIMES_ ","), OIDC_AUDIENCE);
    for (size_t i = 0; i < sizeof emails / sizeof *emails; i++)
        CHECK_INT(claims_with(ISS_ ",", AUD_ ",", emails[i], VERIFIED_ ",", TIMES_ ","), OIDC_EMAIL);
    for (size_t i = 0; i < sizeof verified / sizeof *verified; i++)
        CHECK_INT(claims_with(ISS_ ",", AUD_ ",", EMAIL_ ",", verified[i], TIMES_ ","), OIDC_EMAIL_UNVERIFIED);
    CHECK_INT(claims_with("\"iss\":\"accounts.google.com\",", AUD_ ",", EMAIL_ ",", VERIFIED_ ",", TIMES_ ","),
              OIDC_ACCEPTED);
    CHECK_INT(claims_with(ISS_ ",", "\"aud\":\"https://other.example\",", EMAIL_ ",", VERIFIED_ ",", TIMES_ ","),
              OIDC_ACCEPTED);
    stop();
}

static struct oidc_result result_with(const char *iss, const char *aud, const char *email)
{
    char claims[4096];

    (void)snprintf(claims, sizeof claims, "{%s%s%s" VERIFIED_ "," TIMES_ "}", iss, aud, email);
    return check_bytes(span_of(test_token(own(), "RS256", HEADER, claims)));
}

TEST(oidc__says_what_was_received_and_what_was_wanted)
{
    static const char quote[] = "\"aud\":\"a\\\"b\\\\c\\u0007\\u202e\\u00e9\",";
    char longest[2000];
    struct oidc_result r;

    start();
    r = result_with(ISS_ ",", AUD_ ",", EMAIL_ ",");
    CHECK_INT(r.reason, OIDC_ACCEPTED);
    CHECK_STR(r.received, "");
    CHECK_STR(r.wanted, "");
    r = result_with(ISS_ ",", "\"aud\":\"https://w.example/p/\",", EMAIL_ ",");
    CHECK_INT(r.reason, OIDC_AUDIENCE);
    CHECK_STR(r.received, "https://w.example/p/");
    CHECK_STR(r.wanted, "https://other.example, https://w.example/p");
    r = result_with("\"iss\":\"https://evil.example\",", AUD_ ",", EMAIL_ ",");
    CHECK_INT(r.reason, OIDC_ISSUER);
    CHECK_STR(r.received, "https://evil.example");
    CHECK_STR(r.wanted, "https://accounts.google.com, accounts.google.com");
    r = result_with(ISS_ ",", AUD_ ",", "\"email\":\"x@y\",");
    CHECK_INT(r.reason, OIDC_EMAIL);
    CHECK_STR(r.received, "x@y");
    CHECK_STR(r.wanted, "push@demo.iam.gserviceaccount.com");
    CHECK_STR(result_with(ISS_ ",", "", EMAIL_ ",").received, "(none)");
    CHECK_STR(result_with(ISS_ ",", "\"aud\":[\"https://w.example/p\"],", EMAIL_ ",").received, "(not a text)");
    CHECK_STR(result_with(ISS_ ",", quote, EMAIL_ ",").received, "a\"b\\x5cc\\x07\\xe2\\x80\\xae\\xc3\\xa9");
    (void)snprintf(longest, sizeof longest, "\"aud\":\"%01000d\",", 0);
    r = result_with(ISS_ ",", longest, EMAIL_ ",");
    CHECK(strlen(r.received) < sizeof r.received && strlen(r.received) > sizeof r.received - 10);
    CHECK_STR(r.received + strlen(r.received) - 4, "0...");
    (void)snprintf(longest, sizeof longest, "%01000d", 0);
    f.o.audiences[0] = longest;
    r = result_with(ISS_ ",", "", EMAIL_ ",");
    CHECK_STR(r.wanted + strlen(r.wanted) - 4, "0...");
    stop();
}

/* Whoever is not verified must not write into the log: claims are noted only behind the signature. */
TEST(oidc__notes_nothing_of_a_token_that_nobody_signed)
{
    const struct test_key *evil = test_key(2048, 65537, 1);
    struct oidc_result r;

    start();
    r = check_bytes(span_of(test_token(evil, "RS256", HEADER, "{" ISS_ ",\"aud\":\"CANARY\",\"email\":\"CANARY\"," TIMES_ "}")));
    CHECK_INT(r.reason, OIDC_SIGNATURE);
    CHECK_STR(r.email, "");
    CHECK_STR(r.received, "");
    CHECK_STR(r.wanted, "");
    r = check_bytes(span_of(test_token(evil, "RS256", HEADER, "{\"email\":\"CANARY\"}")));
    CHECK_INT(r.reason, OIDC_TIMES);
    CHECK_STR(r.email, "");
    stop();
}

/* libjwt reads numbers into 64 bits: what it would refuse must not look like a bad signature. */
TEST(oidc__judges_numbers_before_libjwt_reads_them)
{
    static const struct {
        const char *number;
        enum oidc_reason want;
    } cases[] = {
        { "9223372036854775807", OIDC_ACCEPTED },  { "-9223372036854775808", OIDC_ACCEPTED },
        { "9223372036854775808", OIDC_CLAIMS },    { "-9223372036854775809", OIDC_CLAIMS },
        { "99999999999999999999", OIDC_CLAIMS },   { "1e308", OIDC_ACCEPTED },
        { "1e309", OIDC_CLAIMS },                  { "-1E309", OIDC_CLAIMS },
        { "1e-999", OIDC_ACCEPTED },               { "0.1", OIDC_ACCEPTED },
        { "-0", OIDC_ACCEPTED },                   { "-0.0", OIDC_ACCEPTED },
        { "[[1,{\"a\":1e400}]]", OIDC_CLAIMS },   { "123456789012345678901234567890.5", OIDC_ACCEPTED },
        { "\"99999999999999999999\"", OIDC_ACCEPTED },
    };
    char text[600];

    start();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        enum oidc_reason got;

        (void)snprintf(text, sizeof text, "{" ISS_ "," AUD_ "," EMAIL_ "," VERIFIED_ "," TIMES_ ",\"x\":%s}", cases[i].number);
        got = own_token(HEADER, text);
        if (got != cases[i].want)
            test_fail(__FILE__, __LINE__, "claim %s gives %d, want %d", cases[i].number, got, cases[i].want);
        (void)snprintf(text, sizeof text, "{\"alg\":\"RS256\",\"kid\":\"own\",\"x\":%s}", cases[i].number);
        got = own_token(text, CLAIMS);
        if (got != (cases[i].want == OIDC_CLAIMS ? OIDC_HEADER : cases[i].want))
            test_fail(__FILE__, __LINE__, "header %s gives %d", cases[i].number, got);
    }
    stop();
}

/* ---- generated tokens ---- */

static uint64_t random_state;

static unsigned pick(unsigned n)
{
    random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (unsigned)(random_state >> 33) % n;
}

/* One JSON value of any kind, with what a reader may stumble over. */
static void put_value(char *text, size_t size, int depth)
{
    static const char *const leaves[] = { "null", "true", "false", "0", "-0", "-1", "1e5", "1.25E-3", "9007199254740993",
                                          "9223372036854775807", "1e308", "1e-400", "\"\"", "\"RS256\"", "\"none\"",
                                          "\"\\ud83d\\ude00\"", "\"\\u0001\\n\\\"\\\\\"", "\"\xf4\x8f\xbf\xbf\"",
                                          "\"\xef\xbf\xbf\"", "\"/\\/\"", "\"\x7f\"", "{}", "[]" };
    size_t n = strlen(text);

    if (depth == 0 || pick(3)) {
        (void)snprintf(text + n, size - n, "%s", leaves[pick(sizeof leaves / sizeof *leaves)]);
        return;
    }
    (void)snprintf(text + n, size - n, "[");
    for (unsigned i = 0, count = pick(4); i < count; i++) {
        put_value(text, size, depth - 1);
        n = strlen(text);
        (void)snprintf(text + n, size - n, "%s", i + 1 < count ? " , " : "");
    }
    n = strlen(text);
    (void)snprintf(text + n, size - n, "]");
}

static void put_members(char *text, size_t size)
{
    for (unsigned i = 0, count = pick(5); i < count; i++) {
        size_t n = strlen(text);

        (void)snprintf(text + n, size - n, ",\"%s%u\":", pick(2) ? "x" : "\\u0079", i);
        put_value(text, size, 5);
    }
}

/* Whatever the strict gate lets through, libjwt reads as well: a signed token is accepted, however odd the rest of it. */
TEST(oidc__accepts_every_signed_token_with_odd_but_valid_members)
{
    start();
    random_state = 14;
    for (int i = 0; i < 150; i++) {
        char header[1200] = "{\"alg\":\"RS256\",\"kid\":\"own\"", claims[3500] = "{" ISS_ "," AUD_ "," EMAIL_ "," VERIFIED_ "," TIMES_;
        enum oidc_reason got;

        put_members(header, 800);
        put_members(claims, 3000);
        (void)strcat(header, "}");
        (void)strcat(claims, "}");
        got = own_token(header, claims);
        if (got != OIDC_ACCEPTED)
            test_fail(__FILE__, __LINE__, "round %d: %s %s gives %d", i, header, claims, got);
    }
    stop();
}

/* And nothing but the token itself is accepted: bytes changed, added, dropped, repeated, in any part. */
TEST(oidc__refuses_every_mutation_of_a_token)
{
    static const char bytes[] = "ABCDabcd0123-_.=+/ \n\t\r{}\"%";
    static char token[9000];
    const size_t n = sizeof T1 - 1;

    start();
    random_state = 41;
    for (int i = 0; i < 4000; i++) {
        size_t at = pick((unsigned)n), len = n, run = 1 + pick(4);

        memcpy(token, T1, n);
        switch (pick(5)) {
        case 0: /* a character becomes another; NUL at times */
            token[at] = bytes[pick(sizeof bytes)];
            break;
        case 1: /* one is added */
            memmove(token + at + 1, token + at, n - at);
            token[at] = bytes[pick(sizeof bytes)];
            len++;
            break;
        case 2: /* some are dropped */
            len = n - run < at ? at : n - run;
            memmove(token + at, T1 + n - (len - at), len - at);
            break;
        case 3: /* some come twice */
            run = run < n - at ? run : n - at;
            memmove(token + at + run, token + at, n - at);
            len += run;
            break;
        default: /* two trade places */
            token[at] = T1[n - 1 - at];
            token[n - 1 - at] = T1[at];
        }
        if (len == n && memcmp(token, T1, n) == 0)
            continue;
        if (check_bytes((struct span){ token, len }).status != 401)
            test_fail(__FILE__, __LINE__, "round %d: %.*s", i, (int)len, token);
    }
    CHECK_INT(reason_of(T1), OIDC_ACCEPTED);
    stop();
}

TEST(oidc__bounds_the_token_and_its_parts) /* A17 */
{
    static char text[100000], token[20000];

    start();
    (void)snprintf(text, sizeof text, "{\"alg\":\"RS256\",\"kid\":\"own\",\"x\":\"%01000d\"}", 0);
    CHECK_INT(own_token(text, CLAIMS), OIDC_TOKEN_SIZE);
    (void)snprintf(text, sizeof text, "{" ISS_ "," AUD_ "," EMAIL_ "," VERIFIED_ "," TIMES_ ",\"x\":\"%04096d\"}", 0);
    CHECK_INT(own_token(HEADER, text), OIDC_TOKEN_SIZE);
    (void)snprintf(text, sizeof text, "{" ISS_ "," AUD_ "," EMAIL_ "," VERIFIED_ "," TIMES_ ",\"x\":\"%03000d\"}", 0);
    CHECK_INT(own_token(HEADER, text), OIDC_ACCEPTED);
    memset(token, 'A', sizeof token);
    CHECK_INT(check_bytes((struct span){ token, OIDC_TOKEN_MAX + 1 }).reason, OIDC_TOKEN_SIZE);
    CHECK_INT(check_bytes((struct span){ token, OIDC_TOKEN_MAX }).reason, OIDC_TOKEN_SHAPE);
    stop();
}

TEST(oidc__takes_one_spelling_of_a_token) /* A18 */
{
    static const char *const bad[] = {
        T1_HEADER "=." T1_CLAIMS "." T1_SIGNATURE,
        T1_HEADER "." T1_CLAIMS "=." T1_SIGNATURE,
        T1_HEADER "+." T1_CLAIMS "." T1_SIGNATURE,
        T1_HEADER "." T1_CLAIMS "/." T1_SIGNATURE,
        T1_HEADER " ." T1_CLAIMS "." T1_SIGNATURE,
        T1_HEADER "." T1_CLAIMS "%3D." T1_SIGNATURE,
        T1_HEADER "." T1_CLAIMS ".\t" T1_SIGNATURE,
        T1_HEADER "." T1_CLAIMS,
        T1_HEADER,
        "." T1_CLAIMS "." T1_SIGNATURE,
        T1_HEADER ".." T1_SIGNATURE,
        T1_HEADER "." T1_CLAIMS ".",
        T1_HEADER "." T1_CLAIMS "." T1_SIGNATURE ".",
        T1_HEADER "." T1_CLAIMS ".x." T1_SIGNATURE ".y",
        "..",
        ".",
    };
    struct span nul = { T1, sizeof T1 };

    start();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_INT(reason_of(bad[i]), OIDC_TOKEN_SHAPE);
    CHECK_INT(check_bytes(nul).reason, OIDC_TOKEN_SHAPE);
    /* 41 bytes in 55 characters: the last, "0", has two spare bits */
    CHECK_INT(reason_of("eyJhbGciOiJSUzI1NiIsImtpZCI6ImthdC0xIiwidHlwIjoiSldUIn1." T1_CLAIMS "." T1_SIGNATURE),
              OIDC_TOKEN_SHAPE);
    CHECK_INT(reason_of(T1_HEADER "A." T1_CLAIMS "." T1_SIGNATURE), OIDC_HEADER); /* decodes with a NUL byte at the end */
    stop();
}

TEST(oidc__refuses_duplicate_members_and_loose_json) /* A19, A20 */
{
    static const char *const claims[] = {
        "{" ISS_ "," AUD_ "," AUD_ "," EMAIL_ "," VERIFIED_ "," TIMES_ "}",
        "{" ISS_ "," AUD_ "," EMAIL_ "," EMAIL_ "," VERIFIED_ "," TIMES_ "}",
        "{" ISS_ "," AUD_ "," EMAIL_ "," VERIFIED_ "," TIMES_ ",\"exp\":1700003600}",
        "{" ISS_ "," AUD_ "," EMAIL_ "," VERIFIED_ "," TIMES_ ",\"\\u0065xp\":1700003600}",
        CLAIMS "x",
        CLAIMS CLAIMS,
        "\xef\xbb\xbf" CLAIMS,
        "[" CLAIMS "]",
        "\"x\"",
        "{" ISS_ "," AUD_ "," EMAIL_ "," VERIFIED_ "," TIMES_ ",\"x\":\"a\\u0000b\"}",
        "{" ISS_ "," AUD_ "," EMAIL_ "," VERIFIED_ "," TIMES_ ",\"x\":\"\xff\"}",
        "{" ISS_ "," AUD_ "," EMAIL_ "," VERIFIED_ "," TIMES_ ",\"x\":[[[[[[[[[1]]]]]]]]]}",
        "{" ISS_ "," AUD_ "," EMAIL_ "," VERIFIED_ "," TIMES_ ",}",
    };
    char deep[2100] = "";

    start();
    for (size_t i = 0; i < sizeof claims / sizeof *claims; i++)
        CHECK_INT(own_token(HEADER, claims[i]), OIDC_CLAIMS);
    memset(deep, '[', 1000);
    memset(deep + 1000, ']', 1000);
    CHECK_INT(own_token(HEADER, deep), OIDC_CLAIMS);
    CHECK_INT(own_token("{\"alg\":\"RS256\",\"alg\":\"RS256\",\"kid\":\"own\"}", CLAIMS), OIDC_HEADER);
    CHECK_INT(own_token("[\"RS256\"]", CLAIMS), OIDC_HEADER);
    CHECK_INT(own_token(HEADER " x", CLAIMS), OIDC_HEADER);
    stop();
}

TEST(oidc__refuses_any_other_signature) /* A21 */
{
    static char good[8192], bad[8200];
    const char *dot;
    size_t n;

    start();
    (void)snprintf(good, sizeof good, "%s", test_token(own(), "RS256", HEADER, CLAIMS));
    CHECK_INT(reason_of(good), OIDC_ACCEPTED);
    dot = strrchr(good, '.');
    n = (size_t)(dot - good) + 1;
    (void)snprintf(bad, sizeof bad, "%.*s%0342d", (int)n, good, 0);
    memset(bad + n, 'A', 342); /* 256 zero bytes */
    CHECK_INT(reason_of(bad), OIDC_SIGNATURE);
    bad[n + 340] = 0; /* 255 bytes */
    CHECK_INT(reason_of(bad), OIDC_SIGNATURE);
    (void)snprintf(bad, sizeof bad, "%sA", good); /* 343 characters: 257 bytes */
    bad[strlen(bad) - 2] = 'A';
    CHECK_INT(reason_of(bad), OIDC_SIGNATURE);
    (void)snprintf(bad, sizeof bad, "%s", good);
    bad[n + 100] = bad[n + 100] == 'B' ? 'C' : 'B';
    CHECK_INT(reason_of(bad), OIDC_SIGNATURE);
    (void)snprintf(bad, sizeof bad, "%.*s%s", (int)n, good, strrchr(T1, '.') + 1);
    CHECK_INT(reason_of(bad), OIDC_SIGNATURE);
    CHECK_INT(reason_of(test_token(test_key(2048, 65537, 1), "RS256", HEADER, CLAIMS)), OIDC_SIGNATURE);
    CHECK_INT(own_token("{\"alg\":\"RS256\",\"kid\":\"kat-1\"}", CLAIMS),
              OIDC_SIGNATURE); /* signed with another key of the set */
    stop();
}

TEST(oidc__accepts_a_replay) /* A23: the token does not bind the body */
{
    start();
    CHECK_INT(reason_of(T1), OIDC_ACCEPTED);
    CHECK_INT(reason_of(T1), OIDC_ACCEPTED);
    stop();
}

TEST(oidc__answers_503_without_any_keys)
{
    struct err err = { 0 };

    start();
    jwks_close(f.jwks);
    CHECK_OK(jwks_open(&f.s.http, &f.s.sys, "https://issuer.example/certs", &f.jwks, &err), err);
    f.o.jwks = f.jwks;
    CHECK_INT(reason_of(T1), OIDC_KEYS_UNAVAILABLE);
    CHECK_INT(reason_of(T2), OIDC_ALGORITHM); /* no key could make this token valid, so it stays 401 */
    stop();
}

TEST(oidc__checks_its_settings)
{
    struct err err = { 0 };

    start();
    f.o.emails[0] = "";
    CHECK_INT(oidc_check_settings(&f.o, NULL), ERR_INVALID);
    f.o.n_emails = 0;
    CHECK_INT(oidc_check_settings(&f.o, NULL), ERR_INVALID);
    f.o.n_audiences = 0;
    CHECK_INT(oidc_check_settings(&f.o, &err), ERR_INVALID);
    CHECK(strstr(err.msg, "PUSH_AUDIENCE"));
    f.o = (struct oidc){ .mode = PUSH_AUTH_NONE };
    err = (struct err){ 0 };
    CHECK_OK(oidc_check_settings(&f.o, &err), err);
    CHECK_INT(oidc_check(&f.o, NULL, 0, &f.s.budget).status, 204);
    stop();
}
