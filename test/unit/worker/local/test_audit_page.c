#include "worker/local/audit_page.h"

#include <string.h>

#include "test/support/bytes.h"
#include "test/support/check.h"
#include "test/support/pictures.h"

static struct arena arena;

static const char *page_of(const char *audit)
{
    const char *path = temp_path("audit.html");
    const struct json *root = NULL;
    struct err err = { 0 };

    arena_done(&arena);
    CHECK_OK(arena_init(&arena, 16 << 20, &err), err);
    CHECK_OK(json_parse(&arena, span_of(audit), 16, &root, &err), err);
    CHECK_OK(audit_page_write(path, root, &err), err);
    return file_bytes(&arena, path).ptr;
}

static int count(const char *text, const char *part)
{
    int n = 0;

    for (; (text = strstr(text, part)); text++)
        n++;
    return n;
}

#define CELL(model, seed, scores)                                                                                             \
    "{\"folder\":\"cells/" seed "\",\"request\":{\"guidance\":2.5,\"steps\":8,\"seed\":\"" seed "\"},\"engine\":{\"model\":\"" model   \
    "\"},\"seconds\":61.25,\"editedBytes\":204800,\"pictures\":[{\"before\":\"before-0.jpg\",\"after\":\"cells/" seed                \
    "/after-0.jpg\",\"difference\":\"cells/" seed "/difference-0.png\",\"width\":320,\"height\":208}],\"inpaint\":{\"scores\":" \
    scores ",\"warnings\":[\"W1\"]}}"

TEST(audit_page__has_a_row_for_each_cell_with_its_numbers_and_pictures)
{
    const char *page = page_of("{\"planned\":3,\"cells\":[" CELL("m", "1", "{\"seam\":1.5,\"sharpness\":{\"ratio\":0.25}}") "," CELL(
        "m", "18446744073709551615", "{\"seam\":2,\"other\":3}") "]}");

    CHECK_INT(count(page, "<tr>"), 3);
    CHECK_INT(count(page, "<img "), 6);
    CHECK_INT(count(page, "<th"), 12 + 1); /* with <thead> */
    CHECK(strstr(page, "Cells: 2 of 3"));
    CHECK(strstr(page, ">seam</button>") && strstr(page, ">sharpness.ratio</button>") && strstr(page, ">other</button>"));
    CHECK(strstr(page, "<td data-value=\"0.25\">0.250</td>") && strstr(page, "<td data-value=\"2.5\">2.5</td>"));
    CHECK(strstr(page, "<td data-value=\"61.25\">61.2</td>") && strstr(page, "<td data-value=\"200\">200</td>"));
    CHECK(strstr(page, ">18446744073709551615</td>") && strstr(page, " width=\"320\" height=\"208\""));
    CHECK(strstr(page, "src=\"cells/1/difference-0.png\"") && strstr(page, "href=\"cells/1/edited.jpg\"") && strstr(page, " W1"));
    CHECK_INT(count(page, "data-value=\"\">\xe2\x80\x93</td>"), 6); /* what a cell lacks: two numbers each, and two scores */
    arena_done(&arena);
}

TEST(audit_page__needs_nothing_from_elsewhere_and_escapes_every_text)
{
    const char *page = page_of("{\"version\":\"<script>1</script>\",\"photo\":{\"name\":\"<img src=x onerror=alert(1)>\"},"
                               "\"mask\":{\"name\":\"a&b\"},\"prompt\":\"\\\"'><b>\",\"cells\":[" CELL(
                                   "\\\"><script src=http://example.com/x.js></script>", "1", "{\"<i>\":1}") "]}");

    CHECK_INT(count(page, "<script"), 1);
    CHECK_INT(count(page, "<img "), 3);
    CHECK(!strstr(page, "<b>") && !strstr(page, "<i>") && !strstr(page, "<link") && !strstr(page, "\"http") && !strstr(page, "url("));
    CHECK(strstr(page, "&lt;img src=x onerror=alert(1)&gt;") && strstr(page, "a&amp;b") && strstr(page, "&quot;&#39;&gt;&lt;b&gt;"));
    arena_done(&arena);
}

TEST(audit_page__takes_cells_that_lack_everything)
{
    const char *page = page_of("{\"cells\":[{},1,null,{\"pictures\":[{}],\"inpaint\":{\"scores\":[1,2]}},{\"inpaint\":{\"scores\":"
                               "{\"a\":{\"b\":{\"c\":{\"d\":1}}},\"e\":\"text\"}}}]}");

    CHECK_INT(count(page, "<tr>"), 6);
    CHECK_INT(count(page, "<img "), 0);
    CHECK(strstr(page_of("{}"), "Cells: 0"));
    arena_done(&arena);
}

TEST(audit_page__has_a_column_of_loras_where_a_cell_has_any)
{
    const char *page = page_of("{\"cells\":[{\"engine\":{\"model\":\"m\"}},{\"engine\":{\"model\":\"m\",\"loras\":\"<a>:0.8,b:1\"}}]}");

    CHECK_INT(count(page, ">LoRAs</button>"), 1);
    CHECK(strstr(page, " data-value=\"none\">none</td>") && strstr(page, " data-value=\"&lt;a&gt;:0.8,b:1\">&lt;a&gt;:0.8,b:1</td>"));
    CHECK_INT(count(page, "<th"), 1 + count(page_of("{\"cells\":[{\"engine\":{\"model\":\"m\"}}]}"), "<th"));
    CHECK_INT(count(page_of("{\"cells\":[{\"engine\":{\"model\":\"m\"}}]}"), "LoRAs"), 0);
    arena_done(&arena);
}
