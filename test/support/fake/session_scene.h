/*
 * session_scene - one session, its document in memory (fake_firestore.h), and a clock that stands still but for sleeps.
 *
 *   struct session_scene *s = session_scene_open("m1");
 *   fake_firestore_put(&s->fake, "{" STATUS("pending") "}");
 *   CHECK_INT(session_scene_claim(s), OUTCOME_OPEN);
 *   session_scene_close(s);
 */
#ifndef TEST_SUPPORT_FAKE_SESSION_SCENE_H
#define TEST_SUPPORT_FAKE_SESSION_SCENE_H

#include "test/support/fake/fake_firestore.h"
#include "test/support/fake/fake_sys.h"
#include "worker/job/session.h"

struct session_scene {
    struct fake_sys time;
    struct fake_firestore fake; /* its clock is the worker's */
    struct gauth *gauth;
    struct firestore fs;
    struct session_store store; /* a lease of 360 s, 5 attempts */
    struct arena arena;
    struct budget budget; /* 280 s */
    struct session session;
    enum outcome outcome;
    struct prompt_wishes wishes;
    struct err err;
};

/* There is one scene at a time, at FAKE_FIRESTORE_NOW_S; its session is that of the message. */
struct session_scene *session_scene_open(const char *message_id);
void session_scene_close(struct session_scene *s);
enum outcome session_scene_claim(struct session_scene *s); /* CHECKs that it has one */

/* Fields of a document, as Firestore writes them. */
#define STATUS(x)   "\"processingStatus\":{\"stringValue\":\"" x "\"}"
#define INPAINT(x)  "\"inpaint\":{\"mapValue\":{\"fields\":{" x "}}}"
#define MESSAGE(x)  "\"messageId\":{\"stringValue\":\"" x "\"}"
#define ATTEMPTS(x) "\"attempts\":{\"integerValue\":\"" x "\"}"
#define LEASE(id, until)                                                                      \
    "\"lease\":{\"mapValue\":{\"fields\":{\"id\":{\"stringValue\":\"" id "\"},\"expiresAt\":" \
    "{\"timestampValue\":\"" until "\"}}}}"
#define ALIVE "2033-05-18T03:33:20Z" /* second 2000000000 */
#define OVER  "2020-09-13T12:26:40Z"

#endif
