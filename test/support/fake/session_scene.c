#include "test/support/fake/session_scene.h"

#include <string.h>

#include "test/support/check.h"

struct session_scene *session_scene_open(const char *message_id)
{
    static struct session_scene s;
    struct gauth_options auth = { .http = &s.fake.http, .emulator = { true, true }, .project = "demo" };
    const struct firestore_options *o;

    memset(&s, 0, sizeof s);
    fake_sys_init(&s.time, FAKE_FIRESTORE_NOW_S, 1);
    fake_firestore_init(&s.fake);
    s.fake.now_us = s.time.sys.wall_us;
    s.fake.now_ctx = &s.time;
    auth.sys = &s.time.sys;
    CHECK_OK(arena_init(&s.arena, 64 << 20, &s.err), s.err);
    CHECK_OK(gauth_open(&auth, &s.gauth, &s.err), s.err);
    o = &(struct firestore_options){
        .http = &s.fake.http, .gauth = s.gauth, .project = "demo", .emulator_host = "127.0.0.1:1"
    };
    CHECK_OK(firestore_init(&s.fs, o, &s.arena, &s.err), s.err);
    s.store = (struct session_store){ .fs = &s.fs, .sys = &s.time.sys, .lease_ms = 360000, .max_attempts = 5 };
    s.budget = (struct budget){ .sys = &s.time.sys, .deadline_mono_ms = s.time.mono_ms + 280000 };
    CHECK_OK(session_init(&s.session, &s.store, "users/u/sessions/s", message_id, &s.err), s.err);
    return &s;
}

void session_scene_close(struct session_scene *s)
{
    session_done(&s->session);
    gauth_close(s->gauth);
    arena_done(&s->arena);
    fake_firestore_done(&s->fake);
}

enum outcome session_scene_claim(struct session_scene *s)
{
    struct err err = { 0 };

    CHECK_OK(session_claim(&s->session, &s->budget, &s->arena, &s->outcome, &s->wishes, &err), err);
    return s->outcome;
}
