/*
 * tls_peer - an HTTPS server on loopback with an authority and a certificate of its own, which is also the proxy that
 * leads to it: a client that is told to use tls_peer_proxy() reaches this server under every host name and port, so
 * that certificates of real names can be tried without a name server.
 *
 *   struct tls_peer *p = tls_peer_open(&(struct tls_peer_options){ .host = "storage.googleapis.com", .days = 1 });
 *   setenv("SSL_CERT_FILE", tls_peer_authority(p), 1);
 *   setenv("HTTPS_PROXY", tls_peer_proxy(p), 1);
 *   ... the client sends to https://storage.googleapis.com/ ...
 *   CHECK(strstr(tls_peer_request(p), "GET / "));
 *   tls_peer_close(p);
 *
 * Every request is answered 200 with the body "ok", and its connection ends.
 */
#ifndef TEST_SUPPORT_FAKE_TLS_PEER_H
#define TEST_SUPPORT_FAKE_TLS_PEER_H

struct tls_peer_options {
    const char *host;    /* the name in the certificate; an address is one, too */
    int from_days, days; /* the certificate is valid from today + from_days for this many days; days < 0: it ended */
    const char *proxy_status; /* what CONNECT is answered instead of "200 Connection established" */
};

struct tls_peer;

struct tls_peer *tls_peer_open(const struct tls_peer_options *options);
void tls_peer_close(struct tls_peer *p); /* takes NULL */

int tls_peer_port(const struct tls_peer *p);
const char *tls_peer_proxy(const struct tls_peer *p);     /* "http://127.0.0.1:PORT" */
const char *tls_peer_authority(const struct tls_peer *p); /* a PEM file */
const char *tls_peer_folder(const struct tls_peer *p);    /* a folder with the same file under the name of its hash */

/* What came in so far, one head after another: of CONNECT, and of requests inside TLS. */
const char *tls_peer_connects(struct tls_peer *p);
const char *tls_peer_request(struct tls_peer *p);

#endif
