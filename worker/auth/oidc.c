#include "worker/auth/oidc.h"

#include <strings.h>

#include "kernels/base/base64.h"
#include "worker/base/members.h"

enum { CLOCK_SKEW_S = 60, LIFETIME_MAX_S = 86400 };

static const char signature_removed[] = "SIGNATURE_REMOVED_BY_GOOGLE";
static const int64_t time_max_s = INT64_C(1) << 40;

static const struct {
    int status;
    const char *text;
} reasons[] = {
#define X(name, status, text) { status, text },
    OIDC_REASON_MAP(X)
#undef X
};

/* The state of one check. Its steps are numbered as in PROTOCOL.md 2.2. */
struct check {
    const struct oidc *o;
    const struct budget *budget;
    struct span part[3];        /* header, claims, signature as received */
    struct span signed_text;    /* the first two with the dot between them */
    bool verified_by_cloud_run; /* its marker stands in place of the signature, and this is Cloud Run */
    struct oidc_result *result;
};

/* ---- step 1: the header, the token's characters, its three parts ---- */

static bool is_token_character(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
           c == '.';
}

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
        if (!is_token_character(ret->ptr[i]))
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
    c->signed_text = (struct span){ token.ptr, token.len - c->part[2].len - 1 };
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

/* Decodes a part of the token, a JSON object, into `buf`, and points the members into it. `bad`: why it is refused. */
static enum oidc_reason read_object(struct span part, char *buf, size_t size, struct member *m, int n,
                                    enum oidc_reason bad)
{
    struct span text;
    enum oidc_reason reason = decode(part, buf, size, &text);
    enum err_code rc;

    if (reason)
        return reason;
    rc = members_parse(text, OIDC_DEPTH_MAX, "token", m, n, NULL);
    return rc == ERR_NOMEM ? OIDC_INTERNAL : rc ? bad : OIDC_ACCEPTED;
}

/* ---- step 3: the token's header ---- */

static bool is_kid(const char *kid)
{
    for (const char *p = kid; *p; p++)
        if (!is_token_character(*p) || *p == '.')
            return false;
    return *kid;
}

static enum oidc_reason check_header(struct check *c)
{
    enum { ALG, TYP, KID, CRIT, B64, ZIP, CTY, N };
    struct member m[N] = { { .name = "alg" }, { .name = "typ" }, { .name = "kid" }, { .name = "crit" },
                           { .name = "b64" }, { .name = "zip" }, { .name = "cty" } };
    char buf[OIDC_HEADER_MAX], text[8], kid[sizeof c->result->kid];
    enum oidc_reason reason = read_object(c->part[0], buf, sizeof buf, m, N, OIDC_HEADER);

    if (reason)
        return reason;
    if (!member_text(&m[ALG], text, sizeof text) || strcmp(text, "RS256") != 0)
        return OIDC_ALGORITHM;
    if (m[TYP].type && (!member_text(&m[TYP], text, sizeof text) || strcasecmp(text, "JWT") != 0))
        return OIDC_TYPE;
    if (m[CRIT].type || m[B64].type || m[ZIP].type || m[CTY].type) /* RFC 7515 4.1.11, RFC 7797 */
        return OIDC_EXTENSION;
    if (!member_text(&m[KID], kid, sizeof kid) || !is_kid(kid))
        return OIDC_KEY_ID;
    memcpy(c->result->kid, kid, sizeof kid);
    return OIDC_ACCEPTED;
}

/* ---- steps 4 and 5: key and signature ---- */

static enum oidc_reason check_marker(struct check *c)
{
    if (!span_is(c->part[2], signature_removed))
        return OIDC_ACCEPTED;
    if (c->o->mode != PUSH_AUTH_IAM)
        return OIDC_SIGNATURE_REMOVED;
    c->verified_by_cloud_run = c->o->on_cloud_run;
    return c->verified_by_cloud_run ? OIDC_ACCEPTED : OIDC_SIGNATURE;
}

static enum oidc_reason check_signature(struct check *c)
{
    char buf[CRYPTO_SIGNATURE_MAX];
    struct crypto_key *key;
    struct span signature;
    enum oidc_reason reason = decode(c->part[2], buf, sizeof buf, &signature);
    enum err_code rc;

    if (reason)
        return OIDC_SIGNATURE;
    rc = jwks_find(c->o->jwks, c->result->kid, c->budget, &key, NULL);
    if (rc)
        return rc == ERR_NOT_FOUND ? OIDC_KEY_UNKNOWN : OIDC_KEYS_UNAVAILABLE;
    rc = crypto_rs256_verify(key, c->signed_text, signature, NULL);
    crypto_key_free(key);
    return rc == ERR_DENIED ? OIDC_SIGNATURE : rc ? OIDC_INTERNAL : OIDC_ACCEPTED;
}

/* ---- steps 6 and 7: the claims ---- */

enum { EXP, IAT, NBF, ISS, AUD, EMAIL, EMAIL_VERIFIED, N_CLAIMS };

static bool is_time(const struct member *m, int64_t *ret)
{
    return member_integer(m, ret) && *ret > 0 && *ret < time_max_s;
}

static enum oidc_reason check_times(const struct check *c, const struct member *m)
{
    int64_t now = sys_wall_us(c->o->sys) / 1000000, exp, iat, nbf = 0;

    if (!is_time(&m[EXP], &exp) || !is_time(&m[IAT], &iat) || (m[NBF].type && !is_time(&m[NBF], &nbf)))
        return OIDC_TIMES;
    if (now >= exp + CLOCK_SKEW_S)
        return OIDC_EXPIRED;
    if (iat >= now + CLOCK_SKEW_S || nbf >= now + CLOCK_SKEW_S)
        return OIDC_NOT_YET;
    if (exp - iat > LIFETIME_MAX_S || now - iat > LIFETIME_MAX_S)
        return OIDC_LIFETIME;
    return OIDC_ACCEPTED;
}

static bool is_one_of(const struct member *m, const char *const *allowed, int n)
{
    char text[OIDC_CLAIMS_MAX + 1];

    if (!member_text(m, text, sizeof text))
        return false;
    for (int i = 0; i < n; i++)
        if (strcmp(text, allowed[i]) == 0)
            return true;
    return false;
}

static void note_email(const struct member *m, struct oidc_result *result)
{
    if (!member_text(m, result->email, sizeof result->email))
        result->email[0] = 0;
    for (char *p = result->email; *p; p++)
        if (*p < ' ' || *p > '~')
            *p = '?';
}

static enum oidc_reason check_claims(struct check *c)
{
    static const char *const issuers[] = { "https://accounts.google.com", "accounts.google.com" };
    struct member m[N_CLAIMS] = { { .name = "exp" },           { .name = "iat" }, { .name = "nbf" },
                                  { .name = "iss" },           { .name = "aud" }, { .name = "email" },
                                  { .name = "email_verified" } };
    char buf[OIDC_CLAIMS_MAX];
    enum oidc_reason reason = read_object(c->part[1], buf, sizeof buf, m, N_CLAIMS, OIDC_CLAIMS);

    if (reason)
        return reason;
    note_email(&m[EMAIL], c->result);
    reason = check_times(c, m);
    if (reason)
        return reason;
    if (!is_one_of(&m[ISS], issuers, 2))
        return OIDC_ISSUER;
    if (!is_one_of(&m[AUD], c->o->audiences, c->o->n_audiences))
        return OIDC_AUDIENCE;
    if (m[EMAIL_VERIFIED].type != JSON_TRUE)
        return OIDC_EMAIL_UNVERIFIED;
    if (!is_one_of(&m[EMAIL], c->o->emails, c->o->n_emails))
        return OIDC_EMAIL;
    return OIDC_ACCEPTED;
}

/* ---- the steps in order ---- */

/* Ends the function with the reason of a step that refuses the token. */
#define STEP(call)                        \
    do {                                  \
        enum oidc_reason reason = (call); \
        if (reason)                       \
            return reason;                \
    } while (0)

static enum oidc_reason run_steps(struct check *c, const struct span *authorization, int n_authorization)
{
    struct span token;

    STEP(take_token(authorization, n_authorization, &token));
    STEP(split(c, token));
    STEP(check_header(c));
    STEP(check_marker(c));
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
