/*
 * access_parts - shared by the files of access; no other file includes it.
 */
#ifndef WORKER_GOOGLE_ACCESS_PARTS_H
#define WORKER_GOOGLE_ACCESS_PARTS_H

#include "worker/google/access.h"

struct access_question {
    const char *method, *url;
    struct span body; /* JSON */
    enum gauth_service service;
    bool allow_plain;
};

struct access_reply {
    enum err_code rc;              /* ERR_OK: there is an answer */
    int status;                    /* of HTTP */
    const char *word, *message;    /* error.status and error.message; "" where there is none */
    const struct json *root;       /* the body; NULL: not JSON */
    char failure[ERR_MESSAGE_MAX]; /* why there is no answer */
};

/* Sends a question, twice at most where its failure may pass. */
void access_ask(const struct access *x, const struct access_question *q, const struct budget *budget, struct arena *a,
                struct access_reply *ret);

void access_reason(struct access_answer *ret, enum access_verdict verdict, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void access_remedy(struct access_answer *ret, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* What all services have in common: no answer, 401, a service that is switched off or not paid for, and answers that
 * may pass. `what` names the thing that was asked. False: it is something else, and *ret is as it was. */
bool access_judge_common(const struct access *x, const char *what, const struct access_reply *reply,
                         const struct budget *budget, struct access_answer *ret);

/* The e-mail address of the worker's account for a command, or words that say what to put there. */
const char *access_account(const struct access *x, const struct budget *budget, char buf[GAUTH_ACCOUNT_SIZE]);

#endif
