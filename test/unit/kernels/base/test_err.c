#include "kernels/base/err.h"

#include <string.h>

#include "test/support/check.h"

TEST(err__keeps_the_first_message_and_prefixes_it)
{
    struct err err = { 0 };

    CHECK_INT(err_set(&err, ERR_IO, "disk %d", 3), ERR_IO);
    CHECK_INT(err_set(&err, ERR_INVALID, "later"), ERR_INVALID);
    CHECK_INT(err_prefix(&err, "%s", "file"), ERR_IO);
    CHECK_STR(err.msg, "file: disk 3");
    CHECK_INT(err_set(NULL, ERR_IO, "nobody listens"), ERR_IO);
}

TEST(err__is_one_line_that_fits)
{
    struct err err = { 0 };
    char text[2 * ERR_MESSAGE_MAX];

    (void)err_set(&err, ERR_CORRUPT, "name '%s'", "a\n\x1b[2J\x7f\xc3\xa9");
    (void)err_prefix(&err, "%s", "b\r");
    CHECK_STR(err.msg, "b?: name 'a??[2J?\xc3\xa9'");
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    (void)err_prefix(&err, "%s", text);
    CHECK_INT(strlen(err.msg), ERR_MESSAGE_MAX - 1);
}
