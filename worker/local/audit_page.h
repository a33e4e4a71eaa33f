/*
 * audit_page - the page of an audit: one row a cell, with its numbers and its pictures. It is one file that needs no
 * other place than the audit's folder, works from file:// and without scripts (then it cannot be sorted).
 *
 *   audit   the content of audit.json: { "version", "photo" { "name", "width", "height" }, "mask" { "name" }, "prompt",
 *           "planned", "cells": [ cell, ... ] }
 *   cell    { "folder", "request" { "guidance", "steps", "seed" }, "engine" { "model", "loras" }, "seconds",
 *           "denoiseSeconds", "editedBytes", "changedPixels", "pictures": [ { "before", "after", "difference", "width",
 *           "height" }, ... ], "inpaint" { "scores" { }, "warnings" [ ] } }
 *
 * What is absent is left out of the page. Every text is escaped.
 */
#ifndef WORKER_LOCAL_AUDIT_PAGE_H
#define WORKER_LOCAL_AUDIT_PAGE_H

#include "worker/base/json.h"

/* ERR_IO. */
MUST_CHECK enum err_code audit_page_write(const char *path, const struct json *audit, struct err *err);

#endif
