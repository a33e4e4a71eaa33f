/*
 * egress - what the environment says about the way out: which authorities are trusted, and the proxy of HTTPS.
 *
 * SSL_CERT_FILE and SSL_CERT_DIR take the place of the system's file and folder of authorities, each of its own, as
 * they do for every program over OpenSSL; libcurl does not read them itself. https_proxy, HTTPS_PROXY, all_proxy and
 * ALL_PROXY name the proxy, the first that is set; no_proxy or NO_PROXY the hosts to be reached without it, beside this
 * machine and the metadata server. Plain HTTP never takes a proxy: it goes to emulators and the metadata server alone.
 * A variable that is empty counts as not set.
 */
#ifndef WORKER_HTTP_EGRESS_H
#define WORKER_HTTP_EGRESS_H

#include "kernels/base/err.h"

struct egress { /* NULL: not set */
    char *ca_file, *ca_dir;
    char *proxy;    /* may hold a password: never shown */
    char *no_proxy; /* only with a proxy: a list as libcurl wants it */
};

/* ERR_INVALID: the message names the variable; ERR_NOMEM. Either way egress_done() is due. */
MUST_CHECK enum err_code egress_read(struct egress *ret, struct err *err);

/* Reports all that is wrong with them, a sentence each that begins with the variable; returns how much that is. */
int egress_problems(void (*report)(void *ctx, const char *problem), void *ctx);

void egress_done(struct egress *e);

#endif
