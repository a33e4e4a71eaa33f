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

/* Copies or decodes the text into secrets->json. */
static enum err_code take_text(struct span text, struct secrets *secrets, struct span *ret, struct err *err)
{
    size_t n;

    while (text.len && strchr(" \t\r\n", *text.ptr))
        text.ptr++, text.len--;
    if (!text.len)
        return err_set(err, ERR_INVALID, "credentials: the text is empty");
    if (*text.ptr == '{') {
        if (text.len > sizeof secrets->json)
            return err_set(err, ERR_TOO_LARGE, "credentials: more than %zu bytes", sizeof secrets->json);
        memcpy(secrets->json, text.ptr, text.len);
        n = text.len;
    } else {
        enum err_code rc = base64_decode(text, BASE64_STANDARD | BASE64_URL | BASE64_MAY_PAD | BASE64_WHITE_SPACE,
                                         secrets->json, sizeof secrets->json, &n, NULL);

        if (rc)
            return err_set(err, rc, "credentials: neither JSON nor base64 of at most %zu bytes", sizeof secrets->json);
    }
    *ret = (struct span){ secrets->json, n };
    return ERR_OK;
}

/* Copies an optional member. ERR_INVALID: it is not a string, or does not fit. */
static enum err_code take_field(const struct member *m, char *buf, size_t size, const char *if_absent, struct err *err)
{
    if (m->type == JSON_END)
        (void)snprintf(buf, size, "%s", if_absent);
    else if (!member_text(m, buf, size))
        return err_set(err, ERR_INVALID, "credentials: '%s' is not a text of at most %zu bytes", m->name, size - 1);
    return ERR_OK;
}

static enum err_code check_kind(const struct member *type, const struct member *universe, struct err *err)
{
    char text[64];

    TRY(take_field(type, text, sizeof text, "", err));
    if (strcmp(text, "service_account") != 0)
        return err_set(err, ERR_UNSUPPORTED,
                       "credentials: type '%.40s' is not supported: use the JSON key of a service account", text);
    TRY(take_field(universe, text, sizeof text, "googleapis.com", err));
    if (strcmp(text, "googleapis.com") != 0)
        return err_set(err, ERR_UNSUPPORTED, "credentials: universe_domain '%.40s' is not googleapis.com", text);
    return ERR_OK;
}

static bool is_token_uri(const char *uri, enum token_uri_rule rule)
{
    return strcmp(uri, google_token_uri) == 0 || (rule == TOKEN_URI_GOOGLE_OR_LOOPBACK && is_loopback_url(uri));
}

static enum err_code check_fields(const struct service_account *sa, enum token_uri_rule rule, struct err *err)
{
    if (!has_only(span_of(sa->client_email), "@.+_-", sizeof sa->client_email - 1) || !strchr(sa->client_email, '@'))
        return err_set(err, ERR_INVALID, "credentials: 'client_email' is missing or not an e-mail address");
    if (*sa->key_id && !has_only(span_of(sa->key_id), "_-", sizeof sa->key_id - 1))
        return err_set(err, ERR_INVALID, "credentials: 'private_key_id' is malformed");
    if (*sa->project_id && !project_id_is_valid(span_of(sa->project_id)))
        return err_set(err, ERR_INVALID, "credentials: 'project_id' is malformed");
    if (!is_token_uri(sa->token_uri, rule))
        return err_set(err, ERR_INVALID, "credentials: 'token_uri' is not %s", google_token_uri);
    return ERR_OK;
}

static enum err_code read_account(struct span json, enum token_uri_rule rule, struct secrets *secrets,
                                  struct service_account *sa, struct err *err)
{
    enum { TYPE, UNIVERSE, EMAIL, KEY_ID, PROJECT, TOKEN_URI, KEY, N };
    struct member m[N] = { { .name = "type" },           { .name = "universe_domain" }, { .name = "client_email" },
                           { .name = "private_key_id" }, { .name = "project_id" },      { .name = "token_uri" },
                           { .name = "private_key" } };

    TRY(members_parse(json, DEPTH_MAX, "credentials", m, N, err));
    TRY(check_kind(&m[TYPE], &m[UNIVERSE], err));
    TRY(take_field(&m[EMAIL], sa->client_email, sizeof sa->client_email, "", err));
    TRY(take_field(&m[KEY_ID], sa->key_id, sizeof sa->key_id, "", err));
    TRY(take_field(&m[PROJECT], sa->project_id, sizeof sa->project_id, "", err));
    TRY(take_field(&m[TOKEN_URI], sa->token_uri, sizeof sa->token_uri, google_token_uri, err));
    TRY(check_fields(sa, rule, err));
    TRY(take_field(&m[KEY], secrets->pem, sizeof secrets->pem, "", err));
    if (libjwt_key_private(span_of(secrets->pem), &sa->key, err))
        return err_prefix(err, "credentials: 'private_key'");
    return ERR_OK;
}

static enum err_code parse_with(struct secrets *secrets, struct span text, enum token_uri_rule rule,
                                struct service_account *ret, struct err *err)
{
    struct span json;

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
