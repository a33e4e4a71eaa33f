#include "worker/auth/oidc.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "kernels/base/base64.h"
#include "worker/base/crypto.h"
#include "worker/base/members.h"

enum { CLOCK_SKEW_S = 60, LIFETIME_MAX_S = 86400 };

static const char signature_removed[] = "SIGNATURE_REMOVED_BY_GOOGLE";
static const int64_t time_max_s = INT64_C(1) << 40;

static const struct {
    int status;
    const char *text, *name;
} reasons[] = {
#define X(name, status, text) { status, text, #name },
    OIDC_REASON_MAP(X)
#undef X
};

enum { EXP, IAT, NBF, ISS, AUD, EMAIL, EMAIL_VERIFIED, N_CLAIMS };

/* The state of one check. Its steps are numbered as in PROTOCOL.md 2.2. */
struct check {
    const struct oidc *o;
    const struct budget *budget;
    struct span token;
    struct span part[3];        /* header, claims, signature as received */
    bool verified_by_cloud_run; /* its marker stands in place of the signature, and this is Cloud Run */
    struct member claims[N_CLAIMS];
    char claims_text[OIDC_CLAIMS_MAX]; /* what `claims` point into */
    int64_t exp, iat, nbf;             /* nbf is 0 where it is absent */
    struct oidc_result *result;
};

/* ---- step 1: the header, the token's characters, its three parts ---- */

static enum oidc_reason take_token(const struct span *authorization, int n, struct span *ret)
{
    static const char scheme[] = "bearer ";
    const size_t scheme_len = sizeof scheme - 1;
    struct span s;

    if (n < 1)
        return OIDC_NO_HEADER;
    if (n > 1)
        return OIDC_MANY_HEADERS;
    s = authorization[0];
    if (s.len <= scheme_len || strncasecmp(s.ptr, scheme, scheme_len) != 0)
        return OIDC_NOT_BEARER;
    *ret = (struct span){ s.ptr + scheme_len, s.len - scheme_len };
    if (ret->len > OIDC_TOKEN_MAX)
        return OIDC_TOKEN_SIZE;
    for (size_t i = 0; i < ret->len; i++)
        if (!base64_is_url(ret->ptr[i]) && ret->ptr[i] != '.')
            return OIDC_TOKEN_SHAPE;
    return OIDC_ACCEPTED;
}

static enum oidc_reason split(struct check *c, struct span token)
{
    struct span rest = token;

    for (int i = 0; i < 3; i++) {
        const char *dot = memchr(rest.ptr, '.', rest.len);
        size_t n = dot ? (size_t)(dot - rest.ptr) : rest.len;

        if (n == 0 || (i < 2) != (dot != NULL))
            return OIDC_TOKEN_SHAPE;
        c->part[i] = (struct span){ rest.ptr, n };
        if (dot)
            rest = (struct span){ dot + 1, rest.len - n - 1 };
    }
    c->token = token;
    return OIDC_ACCEPTED;
}

/* ---- step 2: strict base64url and JSON, so that a token has one spelling ---- */

static enum oidc_reason decode(struct span part, char *buf, size_t size, struct span *ret)
{
    size_t n;
    enum err_code rc = base64_decode(part, BASE64_URL | BASE64_NO_PADDING, buf, size, &n, NULL);

    *ret = (struct span){ buf, rc ? 0 : n };
    return rc == ERR_TOO_LARGE ? OIDC_TOKEN_SIZE : rc ? OIDC_TOKEN_SHAPE : OIDC_ACCEPTED;
}

/* Reads a part of the token, a JSON object, and points the members into its text. `bad`: why it is refused. */
static enum oidc_reason read_object(struct span text, struct member *m, int n, enum oidc_reason bad)
{
    enum err_code rc = members_parse(text, OIDC_DEPTH_MAX, "token", m, n, NULL);

    return rc == ERR_NOMEM ? OIDC_INTERNAL : rc ? bad : OIDC_ACCEPTED;
}

/* Ends the function with the reason of a step that refuses the token. */
#define STEP(call)                        \
    do {                                  \
        enum oidc_reason reason = (call); \
        if (reason)                       \
            return reason;                \
    } while (0)

/* Whether each number is one that libjwt's JSON reader takes, which has 64 bits for an integer and for a fraction. A
 * number that it refuses would look like a bad signature. */
static bool has_small_numbers(struct span text)
{
    struct json_scan s;
    enum json_event event;
    int64_t integer;
    double real;

    json_scan_init(&s, text);
    while ((event = json_scan_next(&s)) > JSON_END) {
        bool is_real = event == JSON_NUMBER && (memchr(s.raw.ptr, '.', s.raw.len) ||
                                                memchr(s.raw.ptr, 'e', s.raw.len) || memchr(s.raw.ptr, 'E', s.raw.len));

        if (event == JSON_NUMBER && !(is_real ? json_double(s.raw, &real) : json_int64(s.raw, &integer)))
            return false;
    }
    return event == JSON_END;
}

/* ---- step 3: the token's header ---- */

static enum oidc_reason check_header(struct check *c)
{
    enum { ALG, TYP, KID, CRIT, B64, ZIP, CTY, N };
    struct member m[N] = { { .name = "alg" }, { .name = "typ" }, { .name = "kid" }, { .name = "crit" },
                           { .name = "b64" }, { .name = "zip" }, { .name = "cty" } };
    char buf[OIDC_HEADER_MAX], text[8], kid[sizeof c->result->kid];
    struct span header;

    STEP(decode(c->part[0], buf, sizeof buf, &header));
    STEP(read_object(header, m, N, OIDC_HEADER));
    if (!member_text(&m[ALG], text, sizeof text) || strcmp(text, "RS256") != 0)
        return OIDC_ALGORITHM;
    if (m[TYP].type && (!member_text(&m[TYP], text, sizeof text) || strcasecmp(text, "JWT") != 0))
        return OIDC_TYPE;
    if (m[CRIT].type || m[B64].type || m[ZIP].type || m[CTY].type) /* RFC 7515 4.1.11, RFC 7797 */
        return OIDC_EXTENSION;
    if (!member_text(&m[KID], kid, sizeof kid) || !jwks_is_kid(kid))
        return OIDC_KEY_ID;
    if (!has_small_numbers(header))
        return OIDC_HEADER;
    memcpy(c->result->kid, kid, sizeof kid);
    return OIDC_ACCEPTED;
}

/* ---- step 6, its first half: the claims' form ---- */

static bool is_time(const struct member *m, int64_t *ret)
{
    return member_integer(m, ret) && *ret > 0 && *ret < time_max_s;
}

/* Comes before the signature, because libjwt reads the claims before it verifies anything. Nothing is believed yet. */
static enum oidc_reason read_claims(struct check *c)
{
    static const char *const names[N_CLAIMS] = { "exp", "iat", "nbf", "iss", "aud", "email", "email_verified" };
    struct member *m = c->claims;
    struct span text;

    for (int i = 0; i < N_CLAIMS; i++)
        m[i] = (struct member){ .name = names[i] };
    STEP(decode(c->part[1], c->claims_text, sizeof c->claims_text, &text));
    STEP(read_object(text, m, N_CLAIMS, OIDC_CLAIMS));
    if (!is_time(&m[EXP], &c->exp) || !is_time(&m[IAT], &c->iat) || (m[NBF].type && !is_time(&m[NBF], &c->nbf)))
        return OIDC_TIMES;
    return has_small_numbers(text) ? OIDC_ACCEPTED : OIDC_CLAIMS;
}

/* ---- steps 4 and 5: key and signature ---- */

static enum oidc_reason check_marker(struct check *c)
{
    if (!span_is(c->part[2], signature_removed))
        return OIDC_ACCEPTED;
    c->verified_by_cloud_run = c->o->mode == PUSH_AUTH_IAM && c->o->on_cloud_run;
    return c->verified_by_cloud_run ? OIDC_ACCEPTED : OIDC_SIGNATURE_REMOVED;
}

static enum oidc_reason check_signature(struct check *c)
{
    char buf[CRYPTO_SIGNATURE_MAX];
    struct libjwt_key *key;
    struct span signature;
    enum err_code rc;

    if (decode(c->part[2], buf, sizeof buf, &signature)) /* such a token must not cost a fetch of keys */
        return OIDC_SIGNATURE;
    rc = jwks_find(c->o->jwks, c->result->kid, c->budget, &key, NULL);
    if (rc)
        return rc == ERR_NOT_FOUND ? OIDC_KEY_UNKNOWN : OIDC_KEYS_UNAVAILABLE;
    rc = libjwt_verify(key, c->token, NULL);
    libjwt_key_free(key);
    return rc == ERR_DENIED ? OIDC_SIGNATURE : rc ? OIDC_INTERNAL : OIDC_ACCEPTED;
}

/* ---- steps 6 and 7: what the claims say ---- */

static enum oidc_reason check_times(const struct check *c)
{
    int64_t now = sys_wall_us(c->o->sys) / 1000000;

    if (now >= c->exp + CLOCK_SKEW_S)
        return OIDC_EXPIRED;
    if (c->iat >= now + CLOCK_SKEW_S || c->nbf >= now + CLOCK_SKEW_S)
        return OIDC_NOT_YET;
    if (c->exp - c->iat > LIFETIME_MAX_S || now - c->iat > LIFETIME_MAX_S)
        return OIDC_LIFETIME;
    return OIDC_ACCEPTED;
}

/* The texts that a claim may have. */
struct choice {
    const char *const *texts;
    int n;
};

static bool is_one_of(const struct member *m, struct choice allowed)
{
    char text[OIDC_CLAIMS_MAX + 1];

    if (!member_text(m, text, sizeof text))
        return false;
    for (int i = 0; i < allowed.n; i++)
        if (strcmp(text, allowed.texts[i]) == 0)
            return true;
    return false;
}

/* Appends a text in printable ASCII, in which no two texts look the same. false: it does not fit, and "..." follows. */
static bool append(char *buf, size_t size, const char *text)
{
    static const char rest[] = "...";
    size_t n = strlen(buf);

    for (const char *p = text; *p; p++) {
        bool plain = *p >= ' ' && *p <= '~' && *p != '\\';

        if (n + sizeof "\\xff" - 1 + sizeof rest > size) {
            (void)snprintf(buf + n, size - n, "%s", rest);
            return false;
        }
        n += (size_t)snprintf(buf + n, size - n, plain ? "%c" : "\\x%02x", (unsigned char)*p);
    }
    return true;
}

/* For the log: what the claim says, and what it had to be. Neither is secret. */
static void note_claim(const struct member *m, struct choice allowed, struct oidc_result *result)
{
    char text[OIDC_CLAIMS_MAX + 1];
    bool is_text = member_text(m, text, sizeof text), fits = true;

    (void)append(result->received, sizeof result->received,
                 is_text               ? text
                 : m->type == JSON_END ? "(none)"
                                       : "(not a text)");
    for (int i = 0; i < allowed.n && fits; i++)
        fits = append(result->wanted, sizeof result->wanted, i ? ", " : "") &&
               append(result->wanted, sizeof result->wanted, allowed.texts[i]);
}

static enum oidc_reason check_text(const struct check *c, int claim, struct choice allowed, enum oidc_reason bad)
{
    if (is_one_of(&c->claims[claim], allowed))
        return OIDC_ACCEPTED;
    note_claim(&c->claims[claim], allowed, c->result);
    return bad;
}

static void note_email(const struct member *m, struct oidc_result *result)
{
    if (!member_text(m, result->email, sizeof result->email))
        result->email[0] = 0;
    for (char *p = result->email; *p; p++)
        if (*p < ' ' || *p > '~')
            *p = '?';
}

static enum oidc_reason check_claims(const struct check *c)
{
    static const char *const issuers[] = { "https://accounts.google.com", "accounts.google.com" };

    note_email(&c->claims[EMAIL], c->result);
    STEP(check_times(c));
    STEP(check_text(c, ISS, (struct choice){ issuers, 2 }, OIDC_ISSUER));
    STEP(check_text(c, AUD, (struct choice){ c->o->audiences, c->o->n_audiences }, OIDC_AUDIENCE));
    if (c->claims[EMAIL_VERIFIED].type != JSON_TRUE)
        return OIDC_EMAIL_UNVERIFIED;
    return check_text(c, EMAIL, (struct choice){ c->o->emails, c->o->n_emails }, OIDC_EMAIL);
}

/* ---- the steps in order ---- */

static enum oidc_reason run_steps(struct check *c, const struct span *authorization, int n_authorization)
{
    struct span token;

    STEP(take_token(authorization, n_authorization, &token));
    STEP(split(c, token));
    STEP(check_header(c));
    STEP(check_marker(c));
    STEP(read_claims(c));
    if (!c->verified_by_cloud_run)
        STEP(check_signature(c));
    return check_claims(c);
}

struct oidc_result oidc_check(const struct oidc *o, const struct span *authorization, int n_authorization,
                              const struct budget *budget)
{
    struct oidc_result result = { .kid = "" };
    struct check c = { .o = o, .budget = budget, .result = &result };

    result.reason = o->mode == PUSH_AUTH_NONE ? OIDC_ACCEPTED : run_steps(&c, authorization, n_authorization);
    result.status = reasons[result.reason].status;
    result.text = reasons[result.reason].text;
    return result;
}

void oidc_label(enum oidc_reason reason, char ret[OIDC_LABEL_SIZE])
{
    const char *name = reasons[reason].name;
    int i = 0;

    for (; name[i] && i < OIDC_LABEL_SIZE - 1; i++)
        ret[i] = name[i] >= 'A' && name[i] <= 'Z' ? (char)(name[i] - 'A' + 'a') : name[i];
    ret[i] = 0;
}

static bool all_there(const char *const *list, int n)
{
    for (int i = 0; i < n; i++)
        if (!list[i] || !*list[i])
            return false;
    return n >= 1 && n <= OIDC_LIST_MAX;
}

enum err_code oidc_check_settings(const struct oidc *o, struct err *err)
{
    if (o->mode == PUSH_AUTH_NONE)
        return ERR_OK;
    if (!all_there(o->audiences, o->n_audiences))
        return err_set(err, ERR_INVALID, "PUSH_AUDIENCE: must be 1 to %d audiences, none of them empty", OIDC_LIST_MAX);
    if (!all_there(o->emails, o->n_emails))
        return err_set(err, ERR_INVALID, "PUSH_SERVICE_ACCOUNT: must be 1 to %d e-mail addresses, none of them empty",
                       OIDC_LIST_MAX);
    if (!o->jwks || !o->sys)
        return err_set(err, ERR_INTERNAL, "oidc: checking tokens needs keys and a clock");
    return ERR_OK;
}
