#include <stdio.h>

#include "kernels/base/base64.h"
#include "test/support/check.h"
#include "test/support/fake/keys.h"
#include "worker/google/service_account.h"

#define EMAIL "\"client_email\":\"worker@demo.iam.gserviceaccount.com\""
#define TYPE  "\"type\":\"service_account\""

/* The PEM as a JSON string, valid until the next call. */
static const char *key_text(const char *pem)
{
    static char text[16384];
    size_t n = 0;

    for (; *pem; pem++)
        n += (size_t)snprintf(text + n, sizeof text - n, *pem == '\n' ? "\\n" : "%c", *pem);
    return text;
}

static const char *account(const char *members)
{
    static char text[20000];

    (void)snprintf(text, sizeof text, "{%s,\"private_key\":\"%s\"}", members,
                   key_text(test_key(2048, 65537, 0)->private_pem));
    return text;
}

static enum err_code parse(struct span text, struct err *err)
{
    struct service_account sa = { .key = NULL };
    enum err_code rc = service_account_parse(text, TOKEN_URI_GOOGLE, &sa, err);

    CHECK((rc == ERR_OK) == (sa.key != NULL));
    service_account_done(&sa);
    return rc;
}

TEST(service_account__reads_json_and_base64_of_it)
{
    static const unsigned flags[] = { BASE64_STANDARD, BASE64_URL, BASE64_STANDARD | BASE64_NO_PADDING,
                                      BASE64_URL | BASE64_NO_PADDING };
    static char base64[30000], wrapped[32000];
    const char *json = account(TYPE "," EMAIL ",\"project_id\":\"demo\",\"private_key_id\":\"k1\",\"client_id\":\"1\","
                                    "\"token_uri\":\"https://oauth2.googleapis.com/token\",\"auth_uri\":\"x\","
                                    "\"universe_domain\":\"googleapis.com\"");
    struct service_account sa;
    struct err err = { 0 };
    size_t n, at = 0;

    CHECK_OK(service_account_parse(span_of(json), TOKEN_URI_GOOGLE, &sa, &err), err);
    CHECK_STR(sa.client_email, "worker@demo.iam.gserviceaccount.com");
    CHECK_STR(sa.project_id, "demo");
    CHECK_STR(sa.key_id, "k1");
    CHECK_STR(sa.token_uri, "https://oauth2.googleapis.com/token");
    service_account_done(&sa);
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        CHECK_OK(base64_encode(span_of(json), flags[i], base64, sizeof base64, &n, &err), err);
        CHECK_OK(parse(span_of(base64), &err), err);
    }
    for (size_t i = 0; i < n; i++) { /* wrapped as base64(1) does */
        wrapped[at++] = base64[i];
        if (i % 76 == 75 || i == n - 1)
            wrapped[at++] = '\n';
    }
    CHECK_OK(parse((struct span){ wrapped, at }, &err), err);
    (void)snprintf(wrapped, sizeof wrapped, " \n%s\n", json);
    CHECK_OK(parse(span_of(wrapped), &err), err);
}

TEST(service_account__needs_only_a_type_an_account_and_a_key)
{
    struct service_account sa;
    struct err err = { 0 };

    CHECK_OK(service_account_parse(span_of(account(TYPE "," EMAIL)), TOKEN_URI_GOOGLE, &sa, &err), err);
    CHECK_STR(sa.project_id, "");
    CHECK_STR(sa.key_id, "");
    CHECK_STR(sa.token_uri, "https://oauth2.googleapis.com/token");
    service_account_done(&sa);
}

/* Every case holds the word CANARY somewhere: no message may quote it. */
TEST(service_account__refuses_the_rest_and_says_why)
{
#define OTHER "\"x\":\"CANARY\""
    static const struct {
        const char *members, *why;
        enum err_code rc;
    } cases[] = {
        { "\"type\":\"authorized_user\"," OTHER "," EMAIL, "'type' is authorized_user", ERR_UNSUPPORTED },
        { "\"type\":\"CANARY\"," EMAIL, "'type' is unknown", ERR_UNSUPPORTED },
        { OTHER "," EMAIL, "no member 'type'", ERR_UNSUPPORTED },
        { "\"type\":5," OTHER "," EMAIL, "'type'", ERR_INVALID },
        { TYPE "," EMAIL ",\"universe_domain\":\"CANARY.com\"", "universe_domain", ERR_UNSUPPORTED },
        { TYPE "," OTHER, "no member 'client_email'", ERR_INVALID },
        { TYPE ",\"client_email\":\"CANARY\"", "'client_email' is not an e-mail address", ERR_INVALID },
        { TYPE ",\"client_email\":\"CANARY\\\"@b\"", "client_email", ERR_INVALID },
        { TYPE "," EMAIL ",\"private_key_id\":\"CANARY\\\"b\"", "private_key_id", ERR_INVALID },
        { TYPE "," EMAIL ",\"project_id\":\"CANARY/b\"", "project_id", ERR_INVALID },
        { TYPE "," EMAIL ",\"token_uri\":\"https://CANARY.example/token\"", "token_uri", ERR_INVALID },
        { TYPE "," EMAIL ",\"token_uri\":\"http://127.0.0.1:9/CANARY\"", "token_uri", ERR_INVALID },
        { TYPE "," EMAIL "," OTHER "," OTHER, "twice", ERR_INVALID },
        { TYPE "," EMAIL ",\"CANARY\":1,\"CANARY\":2", "twice", ERR_INVALID },
        { TYPE "," EMAIL ",\"x\":[[[[\"CANARY\"]]]]", "damaged", ERR_INVALID },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err err = { 0 };

        CHECK_INT(parse(span_of(account(cases[i].members)), &err), cases[i].rc);
        if (!strstr(err.msg, cases[i].why) || strstr(err.msg, "CANARY") || strstr(err.msg, "PRIVATE KEY"))
            test_fail(__FILE__, __LINE__, "%s: %s", cases[i].members, err.msg);
    }
#undef OTHER
}

/* Whole texts, of which the message quotes nothing either. */
TEST(service_account__says_what_is_wrong_with_a_text_that_is_no_key)
{
#define HEAD "{" TYPE "," EMAIL ","
    static const struct {
        const char *text, *why;
    } cases[] = {
        { " \n", "is empty" },
        { "/secrets/CANARY.json", "is a path" },
        { "./CANARY", "is a path" },
        { "~/CANARY", "is a path" },
        { "CANARY!", "neither JSON nor base64" },
        { "'{\"CANARY\":1}'", "quotes" },
        { "\"CANARY\"", "quotes" },
        { "\xEF\xBB\xBF{\"CANARY\":1}", "byte-order mark" },
        { "Q0FOQVJZ", "the key is not JSON" },              /* base64 of CANARY */
        { "-----BEGIN PRIVATE KEY-----\nCANARY", "is a PEM file" },
        { "LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0t", "is a PEM file" },
        { "{\"CANARY\":", "damaged or not whole" },
        { "{\"a\":\"CANARY\nCANARY\"}", "line breaks inside its texts" },
        { HEAD "\"x\":\"CANARY\"}", "no member 'private_key'" },
        { HEAD "\"private_key\":7}", "'private_key' is not a text" },
        { HEAD "\"private_key\":\"\"}", "'private_key' is not an RSA key" },
        { HEAD "\"private_key\":\"CANARY\"}", "'private_key' is not an RSA key" },
        { HEAD "\"private_key\":\"-----BEGIN PRIVATE KEY-----\\nCANARY\\n-----END PRIVATE KEY-----\\n\"}", "in PEM" },
        { HEAD "\"private_key\":\"-----BEGIN ENCRYPTED PRIVATE KEY-----\\nMIIB\\n-----END ENCRYPTED PRIVATE KEY-----\\n\"}",
          "without a passphrase" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err err = { 0 };

        CHECK(parse(span_of(cases[i].text), &err));
        if (!strstr(err.msg, cases[i].why) || strstr(err.msg, "CANARY") || strstr(err.msg, "worker@demo") ||
            strlen(err.msg) == sizeof err.msg - 1)
            test_fail(__FILE__, __LINE__, "%s: %s", cases[i].text, err.msg);
    }
#undef HEAD
}

TEST(service_account__takes_a_token_uri_on_loopback_under_test_alone)
{
    static const char *const good[] = { "http://127.0.0.1:9/token", "http://localhost/token", "http://[::1]:80/t" };
    static const char *const bad[] = { "http://localhost.evil.example/",
                                       "http://127.0.0.1.evil.example/",
                                       "http://127.0.0.1:x@evil.example/",
                                       "https://127.0.0.1/",
                                       "http://10.0.0.1/",
                                       "" };
    char members[512];
    struct service_account sa;
    struct err err = { 0 };

    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        (void)snprintf(members, sizeof members, TYPE "," EMAIL ",\"token_uri\":\"%s\"", good[i]);
        CHECK_OK(service_account_parse(span_of(account(members)), TOKEN_URI_GOOGLE_OR_LOOPBACK, &sa, &err), err);
        service_account_done(&sa);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        (void)snprintf(members, sizeof members, TYPE "," EMAIL ",\"token_uri\":\"%s\"", bad[i]);
        CHECK_INT(service_account_parse(span_of(account(members)), TOKEN_URI_GOOGLE_OR_LOOPBACK, &sa, NULL), ERR_INVALID);
    }
}

TEST(service_account__refuses_texts_that_are_not_key_files)
{
    static char huge[SERVICE_ACCOUNT_JSON_MAX + 2];
    static const char *const bad[] = { "",     " \n",  "{}",
                                       "[]",   "{",    "e30",
                                       "!!!!", "AAAA", "{\"type\":\"service_account\"" };
    char text[1024];

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(parse(span_of(bad[i]), NULL) != ERR_OK);
    memset(huge, ' ', sizeof huge);
    *huge = '{';
    CHECK_INT(parse((struct span){ huge, sizeof huge }, NULL), ERR_TOO_LARGE);
    (void)snprintf(text, sizeof text, "{" TYPE "," EMAIL "}");
    CHECK_INT(parse(span_of(text), NULL), ERR_INVALID);
    (void)snprintf(text, sizeof text, "{" TYPE "," EMAIL ",\"private_key\":\"-----BEGIN PRIVATE KEY-----\\nAAAA\"}");
    CHECK_INT(parse(span_of(text), NULL), ERR_INVALID);
}

/* Part i of a JWT, decoded; valid until the next call for the same i. */
static const char *part(const char *jwt, int i)
{
    static char text[2][4096];
    const char *end;
    size_t n;

    for (int k = 0; k < i; k++)
        jwt = strchr(jwt, '.') + 1;
    end = jwt + strcspn(jwt, ".");
    CHECK_INT(base64_decode((struct span){ jwt, (size_t)(end - jwt) }, BASE64_URL | BASE64_NO_PADDING, text[i],
                            sizeof text[i] - 1, &n, NULL),
              ERR_OK);
    text[i][n] = 0;
    return text[i];
}

TEST(service_account__signs_an_assertion_and_a_token_of_its_own) /* PROTOCOL.md 3.3, 3.5 */
{
    const struct test_key *k = test_key(2048, 65537, 0);
    char jwt[SERVICE_ACCOUNT_JWT_SIZE], n_bytes[512];
    struct service_account sa;
    struct libjwt_key *public;
    struct err err = { 0 };
    size_t n_len;

    CHECK_OK(service_account_parse(span_of(account(TYPE "," EMAIL ",\"private_key_id\":\"k1\"")), TOKEN_URI_GOOGLE, &sa, &err),
             err);
    CHECK_OK(base64_decode(span_of(k->n), BASE64_URL | BASE64_NO_PADDING, n_bytes, sizeof n_bytes, &n_len, &err), err);
    CHECK_OK(libjwt_key_public((struct span){ n_bytes, n_len }, SPAN("\1\0\1"), &public, &err), err);
    CHECK_OK(service_account_sign(&sa, "a b", NULL, 1700000000, jwt, &err), err);
    CHECK_STR(part(jwt, 0), "{\"alg\":\"RS256\",\"kid\":\"k1\",\"typ\":\"JWT\"}");
    CHECK_STR(part(jwt, 1),
              "{\"exp\":1700003600,\"iat\":1700000000,\"iss\":\"worker@demo.iam.gserviceaccount.com\","
              "\"scope\":\"a b\",\"sub\":\"worker@demo.iam.gserviceaccount.com\"}");
    CHECK_OK(libjwt_verify(public, span_of(jwt), &err), err);
    CHECK_OK(service_account_sign(&sa, "a", "https://oauth2.googleapis.com/token", 1700000000, jwt, &err), err);
    CHECK_STR(part(jwt, 1),
              "{\"aud\":\"https://oauth2.googleapis.com/token\",\"exp\":1700003600,\"iat\":1700000000,"
              "\"iss\":\"worker@demo.iam.gserviceaccount.com\",\"scope\":\"a\"}");
    CHECK_OK(libjwt_verify(public, span_of(jwt), &err), err);
    libjwt_key_free(public);
    service_account_done(&sa);
}
