#include "worker/google/service_account.h"

#include <stdio.h>
#include <string.h>

#include "kernels/base/base64.h"
#include "worker/base/crypto.h"
#include "worker/base/members.h"

enum { PEM_MAX = 8 << 10, DEPTH_MAX = 4, LIFETIME_S = 3600 };

static const char google_token_uri[] = "https://oauth2.googleapis.com/token";

/* The copies of the key's text, in one place so that all are overwritten. */
struct secrets {
    char json[SERVICE_ACCOUNT_JSON_MAX], pem[PEM_MAX];
};

static bool has_only(struct span s, const char *more, size_t max)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        bool alphanumeric = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');

        if (!alphanumeric && (!c || !strchr(more, c)))
            return false;
    }
    return s.len >= 1 && s.len <= max;
}

/* What every message may end with: none quotes anything of the text, which may be a key in any disguise. */
#define NEW_KEY "create a new JSON key of the service account"

static struct span skip_white_space(struct span text)
{
    while (text.len && strchr(" \t\r\n", *text.ptr))
        text.ptr++, text.len--;
    return text;
}

/* Refuses what people put where the key belongs. No base64 of JSON begins like these. */
static enum err_code check_text(struct span text, struct err *err)
{
    if (!text.len)
        return err_set(err, ERR_INVALID,
                       "the text is empty; it must be the JSON key of a service account, or its base64");
    if (strchr("\"'", *text.ptr))
        return err_set(err, ERR_INVALID, "the text stands in quotes, which do not belong to it");
    if (span_starts(text, "\xEF\xBB\xBF"))
        return err_set(err, ERR_INVALID, "the text begins with a byte-order mark, which does not belong to it");
    if (strchr("/.~", *text.ptr))
        return err_set(err, ERR_INVALID,
                       "the text is a path and not a key; set GOOGLE_APPLICATION_CREDENTIALS to a path");
    if (span_starts(text, "-----BEGIN"))
        return err_set(err, ERR_INVALID, "the text is a PEM file; it must be the JSON key of a service account, whole");
    return ERR_OK;
}

/* Copies or decodes the text into secrets->json. */
static enum err_code take_text(struct span text, struct secrets *secrets, struct span *ret, struct err *err)
{
    const unsigned flags = BASE64_STANDARD | BASE64_URL | BASE64_MAY_PAD | BASE64_WHITE_SPACE;
    enum err_code rc = ERR_OK;
    size_t n;

    text = skip_white_space(text);
    TRY(check_text(text, err));
    n = text.len;
    if (*text.ptr != '{')
        rc = base64_decode(text, flags, secrets->json, sizeof secrets->json, &n, NULL);
    else if (n > sizeof secrets->json)
        rc = ERR_TOO_LARGE;
    else
        memcpy(secrets->json, text.ptr, n);
    if (rc == ERR_TOO_LARGE)
        return err_set(err, rc, "the text is longer than %zu bytes, so it is not the JSON key of a service account",
                       sizeof secrets->json);
    if (rc)
        return err_set(err, rc,
                       "the text is neither JSON nor base64; it must be the JSON key of a service account, or its "
                       "base64");
    *ret = (struct span){ secrets->json, n };
    return ERR_OK;
}

/* What a text that is no JSON object is, in words. */
static const char *nature_of(struct span text)
{
    text = skip_white_space(text);
    if (span_starts(text, "{"))
        return "begins as a JSON object but is damaged or not whole (line breaks inside its texts must be \\n)";
    if (span_starts(text, "-----BEGIN"))
        return "is a PEM file";
    return "is not JSON";
}

static enum err_code read_members(struct span json, struct member *m, int n, struct err *err)
{
    struct err why = { 0 };
    enum err_code rc = members_parse(json, DEPTH_MAX, "credentials", m, n, &why);

    if (rc == ERR_NOMEM)
        return err_set(err, rc, "there is no memory to read the key");
    if (rc && strstr(why.msg, " twice "))
        return err_set(err, rc, "the JSON has a member twice; " NEW_KEY);
    if (rc)
        return err_set(err, rc, "the key %s; it must be the JSON key of a service account, or its base64",
                       nature_of(json));
    return ERR_OK;
}

/* Copies an optional member. ERR_INVALID: it is not a string, or does not fit. */
static enum err_code take_field(const struct member *m, char *buf, size_t size, const char *if_absent, struct err *err)
{
    if (m->type == JSON_END)
        (void)snprintf(buf, size, "%s", if_absent);
    else if (!member_text(m, buf, size))
        return err_set(err, ERR_INVALID, "the JSON's member '%s' is not a text of at most %zu bytes; " NEW_KEY, m->name,
                       size - 1);
    return ERR_OK;
}

static enum err_code take_required(const struct member *m, char *buf, size_t size, struct err *err)
{
    if (m->type == JSON_END)
        return err_set(err, ERR_INVALID, "the JSON has no member '%s', so it is not a whole key; " NEW_KEY, m->name);
    return take_field(m, buf, size, "", err);
}

/* The types that Google's tools write, named only where the text is exactly one of them. */
static const char *known_type(const char *text)
{
    static const char *const types[] = { "authorized_user", "external_account", "external_account_authorized_user",
                                         "impersonated_service_account", "gdch_service_account" };

    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(text, types[i]) == 0)
            return types[i];
    return "unknown";
}

static enum err_code check_kind(const struct member *type, const struct member *universe, struct err *err)
{
    char text[64];

    if (type->type == JSON_END)
        return err_set(err, ERR_UNSUPPORTED,
                       "the JSON has no member 'type', so it is not the key of a service account; " NEW_KEY);
    TRY(take_field(type, text, sizeof text, "", err));
    if (strcmp(text, "service_account") != 0)
        return err_set(err, ERR_UNSUPPORTED, "the JSON's 'type' is %s and must be service_account; " NEW_KEY,
                       known_type(text));
    TRY(take_field(universe, text, sizeof text, "googleapis.com", err));
    if (strcmp(text, "googleapis.com") != 0)
        return err_set(err, ERR_UNSUPPORTED,
                       "the JSON's 'universe_domain' is not googleapis.com, the only one supported");
    return ERR_OK;
}

static bool is_token_uri(const char *uri, enum token_uri_rule rule)
{
    return strcmp(uri, google_token_uri) == 0 || (rule == TOKEN_URI_GOOGLE_OR_LOOPBACK && is_loopback_url(uri));
}

static enum err_code check_fields(const struct service_account *sa, enum token_uri_rule rule, struct err *err)
{
    const char *bad = NULL;

    if (!has_only(span_of(sa->client_email), "@.+_-", sizeof sa->client_email - 1) || !strchr(sa->client_email, '@'))
        bad = "'client_email' is not an e-mail address";
    else if (*sa->key_id && !has_only(span_of(sa->key_id), "_-", sizeof sa->key_id - 1))
        bad = "'private_key_id' is malformed";
    else if (*sa->project_id && !project_id_is_valid(span_of(sa->project_id)))
        bad = "'project_id' is not a project id";
    else if (!is_token_uri(sa->token_uri, rule))
        return err_set(err, ERR_INVALID, "the JSON's member 'token_uri' is not %s", google_token_uri);
    return bad ? err_set(err, ERR_INVALID, "the JSON's member %s; " NEW_KEY, bad) : ERR_OK;
}

static enum err_code take_key(const struct member *m, struct secrets *secrets, struct service_account *sa,
                              struct err *err)
{
    struct err why = { 0 };
    enum err_code rc;

    TRY(take_required(m, secrets->pem, sizeof secrets->pem, err));
    rc = libjwt_key_private(span_of(secrets->pem), &sa->key, &why);
    if (rc == ERR_NOMEM)
        return err_set(err, rc, "there is no memory for the key");
    if (rc)
        return err_set(err, rc,
                       "the JSON's member 'private_key' is not an RSA key of %d to %d bits in PEM without a "
                       "passphrase (its line breaks must be \\n); " NEW_KEY,
                       CRYPTO_RSA_MIN_BITS, CRYPTO_RSA_MAX_BITS);
    return ERR_OK;
}

static enum err_code read_account(struct span json, enum token_uri_rule rule, struct secrets *secrets,
                                  struct service_account *sa, struct err *err)
{
    enum { TYPE, UNIVERSE, EMAIL, KEY_ID, PROJECT, TOKEN_URI, KEY, N };
    struct member m[N] = { { .name = "type" },           { .name = "universe_domain" }, { .name = "client_email" },
                           { .name = "private_key_id" }, { .name = "project_id" },      { .name = "token_uri" },
                           { .name = "private_key" } };

    TRY(read_members(json, m, N, err));
    TRY(check_kind(&m[TYPE], &m[UNIVERSE], err));
    TRY(take_required(&m[EMAIL], sa->client_email, sizeof sa->client_email, err));
    TRY(take_field(&m[KEY_ID], sa->key_id, sizeof sa->key_id, "", err));
    TRY(take_field(&m[PROJECT], sa->project_id, sizeof sa->project_id, "", err));
    TRY(take_field(&m[TOKEN_URI], sa->token_uri, sizeof sa->token_uri, google_token_uri, err));
    TRY(check_fields(sa, rule, err));
    return take_key(&m[KEY], secrets, sa, err);
}

static enum err_code parse_with(struct secrets *secrets, struct span text, enum token_uri_rule rule,
                                struct service_account *ret, struct err *err)
{
    struct span json = { 0 };

    TRY(take_text(text, secrets, &json, err));
    return read_account(json, rule, secrets, ret, err);
}

enum err_code service_account_parse(struct span text, enum token_uri_rule rule, struct service_account *ret,
                                    struct err *err)
{
    struct service_account sa = { .key = NULL };
    struct secrets secrets;
    struct err why = { 0 };
    enum err_code rc = parse_with(&secrets, text, rule, &sa, &why);

    crypto_clear(&secrets, sizeof secrets);
    if (rc)
        return err_set(err, rc, "%s", why.msg);
    *ret = sa;
    return ERR_OK;
}

void service_account_done(struct service_account *sa)
{
    libjwt_key_free(sa->key);
    *sa = (struct service_account){ .key = NULL };
}

enum err_code service_account_sign(const struct service_account *sa, const char *scope, const char *audience,
                                   int64_t now_s, char ret[SERVICE_ACCOUNT_JWT_SIZE], struct err *err)
{
    const struct libjwt_claim claims[] = {
        { .name = "iss", .text = sa->client_email },
        { .name = audience ? "aud" : "sub", .text = audience ? audience : sa->client_email },
        { .name = "scope", .text = scope },
        { .name = "iat", .number = now_s },
        { .name = "exp", .number = now_s + LIFETIME_S },
    };

    return libjwt_sign(sa->key, sa->key_id, claims, sizeof claims / sizeof *claims, ret, SERVICE_ACCOUNT_JWT_SIZE, err);
}
