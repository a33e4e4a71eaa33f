#include "worker/job/reporter.h"

#include "worker/base/wait.h"

/* Called with the lock held. Returns early when the reporter has to stop. */
static void wait_interval(struct reporter *r)
{
    struct timespec until = wait_deadline(REPORTER_INTERVAL_MS);

    while (!r->stop && wait_until(&r->changed, &r->lock, &until))
        ;
}

static void *report(void *arg)
{
    struct reporter *r = arg;

    (void)pthread_mutex_lock(&r->lock);
    while (!r->stop && !r->lost) {
        enum stage stage;
        int percent;
        double eta;
        enum err_code rc;

        wait_interval(r);
        if (r->stop || !r->fresh)
            continue;
        stage = r->stage;
        percent = r->percent;
        eta = r->eta_seconds;
        r->fresh = false;
        (void)pthread_mutex_unlock(&r->lock);
        rc = session_progress(r->session, stage, percent, eta, r->budget, NULL);
        (void)pthread_mutex_lock(&r->lock);
        if (rc)
            r->lost = rc;
    }
    (void)pthread_mutex_unlock(&r->lock);
    return NULL;
}

enum err_code reporter_start(struct reporter *r, struct session *session, const struct budget *budget, struct err *err)
{
    *r = (struct reporter){ .session = session, .budget = budget };
    if (pthread_mutex_init(&r->lock, NULL) || wait_cond_init(&r->changed))
        return err_set(err, ERR_NOMEM, "reporter: no lock");
    if (pthread_create(&r->thread, NULL, report, r))
        return err_set(err, ERR_NOMEM, "reporter: no thread");
    r->running = true;
    return ERR_OK;
}

void reporter_set(struct reporter *r, enum stage stage, int percent, double eta_seconds)
{
    (void)pthread_mutex_lock(&r->lock);
    r->stage = stage;
    r->percent = percent;
    r->eta_seconds = eta_seconds;
    r->fresh = true;
    (void)pthread_mutex_unlock(&r->lock);
}

enum err_code reporter_lost(const struct reporter *r)
{
    return (enum err_code)r->lost;
}

enum err_code reporter_lose(struct reporter *r, enum err_code rc)
{
    r->lost = rc;
    return rc;
}

void reporter_stop(struct reporter *r)
{
    if (!r->running)
        return;
    (void)pthread_mutex_lock(&r->lock);
    r->stop = true;
    (void)pthread_cond_signal(&r->changed);
    (void)pthread_mutex_unlock(&r->lock);
    (void)pthread_join(r->thread, NULL);
    (void)pthread_cond_destroy(&r->changed);
    (void)pthread_mutex_destroy(&r->lock);
    r->running = false;
}
