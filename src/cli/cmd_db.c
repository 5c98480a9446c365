/* sampan db: the chats that the page keeps, from the command line. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/file.h"
#include "cli/cli_int.h"
#include "store/accounts.h"

#define PIECE_MAX ((size_t)1 << 30) /* of a chat's text */

int cli_history(const options *o, char **path, sp_error *err)
{
    const char *asked = options_str(o, "history");
    hub *h = NULL;
    *path = NULL;
    if (asked && strcmp(asked, "off") == 0)
        return 0;
    int code = asked ? 0 : hub_open(options_str(o, "store"), &h, err);
    if (code < 0)
        return code;
    *path = asked ? sp_strdup(asked) : path_join(hub_store(h), "history.db");
    hub_close(h);
    return *path ? 0 : sp_fail(err, SP_ENOMEM, "out of memory");
}

/* --user, or the first account; 0 while there is none. */
static int whose(const options *o, store *s, int64_t *owner, sp_error *err)
{
    const char *name = options_str(o, "user");
    char hash[STORE_PASSWORD_BYTES];
    struct store_account account = {0};
    struct store_access a;
    int code =
        name ? store_account_password(s, name, &account, hash, err) : store_access_load(s, &a, err);
    *owner = account.id;
    if (code < 0 || name)
        return code;
    if (a.n_accounts > 0)
        *owner = a.accounts[0].id;
    store_access_free(&a);
    return 0;
}

/* ---- check ---- */

static int tell_health(const options *o, const store *s, struct store_health *h)
{
    size_t i, n = json_array_size(h->problems);
    const json_t *problem;
    if (options_bool(o, "json")) {
        cli_print_json(json_pack("{s:s,s:b,s:I,s:I,s:I,s:i,s:O}", "file", store_file(s), "sound",
                                 n == 0, "chats", (json_int_t)h->chats, "messages",
                                 (json_int_t)h->messages, "bytes", (json_int_t)h->bytes, "version",
                                 h->version, "problems", h->problems));
        return 0;
    }
    json_array_foreach(h->problems, i, problem)
    {
        printf("%s\n", json_string_value(problem));
    }
    printf("%s: %s: %lld chats, %lld messages, %.1f MB, version %d\n", store_file(s),
           n == 0 ? "sound" : "damaged", (long long)h->chats, (long long)h->messages,
           (double)h->bytes / 1e6, h->version);
    return 0;
}

static int db_check(const options *o, store *s, sp_error *err)
{
    struct store_health h;
    int code = store_check(s, &h, err);
    if (code < 0)
        return code;
    code = tell_health(o, s, &h);
    size_t n = json_array_size(h.problems);
    json_decref(h.problems);
    if (code == 0 && n > 0)
        code = sp_fail(err, SP_ECHECKSUM,
                       "%s: %zu problems: export what can be read, or take a backup", store_file(s),
                       n);
    return code;
}

/* ---- out and in ---- */

static int db_backup(const options *o, store *s, const char *to, sp_error *err)
{
    int code = store_backup(s, to, err);
    if (code == 0 && options_bool(o, "json"))
        cli_print_json(json_pack("{s:s,s:I}", "file", to, "bytes", (json_int_t)file_size(to)));
    else if (code == 0)
        fprintf(stderr, "%s: %.1f MB\n", to, (double)file_size(to) / 1e6);
    return code;
}

struct export
{
    FILE *to;
    const char *name;
    bool markdown;
    size_t chats;
};

static int write_chat(void *arg, const json_t *chat, sp_error *err)
{
    struct export *e = arg;
    buf b;
    buf_init(&b, PIECE_MAX);
    int code = e->markdown ? store_write_markdown(chat, &b) : store_write_jsonl(chat, &b);
    if (code < 0)
        code = sp_fail(err, code, "out of memory");
    else if (fwrite(b.data, 1, b.len, e->to) != b.len)
        code = sp_fail(err, errno == ENOSPC ? SP_ENOSPACE : SP_EIO, "%s: writing failed: %s",
                       e->name, strerror(errno));
    buf_free(&b);
    e->chats++;
    return code;
}

static int db_export(const options *o, store *s, const char *file, sp_error *err)
{
    const char *as = options_str(o, "as");
    struct export e = {.to = stdout, .name = file ? file : "standard output"};
    e.markdown = as ? strcmp(as, "md") == 0 : file && str_ends(str_of(file), ".md");
    if (file && file_exists(file))
        return sp_fail(err, SP_EINVAL, "%s: it is there already: name another file", file);
    if (file)
        e.to = fopen(file, "we");
    if (!e.to)
        return sp_fail(err, SP_EIO, "%s: %s", file, strerror(errno));
    int64_t owner;
    int code = whose(o, s, &owner, err);
    if (code == 0)
        code = store_each(s, owner, options_str(o, "chat"), write_chat, &e, err);
    bool failed = file && (fflush(e.to) != 0 || fsync(fileno(e.to)) != 0);
    failed |= file && fclose(e.to) != 0;
    if (code == 0 && failed)
        code = sp_fail(err, SP_EIO, "%s: writing failed: %s", file, strerror(errno));
    if (code < 0 && file)
        (void)unlink(file);
    if (code == 0 && file)
        fprintf(stderr, "%s: %zu chats\n", file, e.chats);
    return code;
}

static void tell_imported(const options *o, const struct store_imported *in)
{
    size_t i;
    const json_t *one;
    if (options_bool(o, "json")) {
        cli_print_json(json_pack("{s:I,s:I,s:I,s:O}", "chats", (json_int_t)in->chats, "messages",
                                 (json_int_t)in->messages, "skipped_count",
                                 (json_int_t)in->n_skipped, "skipped", in->skipped));
        return;
    }
    json_array_foreach(in->skipped, i, one)
    {
        fprintf(stderr, "skipped: %s\n", json_string_value(json_object_get(one, "reason")));
    }
    if (in->n_skipped > json_array_size(in->skipped))
        fprintf(stderr, "and %zu more\n", in->n_skipped - json_array_size(in->skipped));
    fprintf(stderr, "%zu chats with %zu messages\n", in->chats, in->messages);
}

static int db_import(const options *o, store *s, const char *file, sp_error *err)
{
    file_map m;
    struct store_imported in = {0};
    int code = file_map_open(file, &m, err);
    if (code < 0)
        return code;
    int64_t owner;
    code = whose(o, s, &owner, err);
    if (code == 0)
        code = store_import(s, owner, (const char *)m.data, m.size, &in, err);
    file_map_close(&m);
    if (code == 0)
        tell_imported(o, &in);
    else
        sp_fail_within(err, code, "%s, after %zu chats", file, in.chats);
    json_decref(in.skipped);
    return code;
}

int cmd_db(const options *o, sp_error *err)
{
    const char *const *args;
    size_t n = options_args(o, &args);
    const char *what = n > 0 ? args[0] : "", *file = n > 1 ? args[1] : NULL;
    char *path = NULL;
    store *s = NULL;
    bool check = n == 1 && strcmp(what, "check") == 0,
         backup = n == 2 && strcmp(what, "backup") == 0;
    bool export = (n == 1 || n == 2) && strcmp(what, "export") == 0,
         import = n == 2 && strcmp(what, "import") == 0;
    if (!check && !backup && !export && !import)
        return sp_fail(err, SP_EUSAGE,
                       "say `db check`, `db backup FILE`, `db export [FILE]` or `db import FILE`");
    int code = cli_history(o, &path, err);
    if (code == 0 && !path)
        code = sp_fail(err, SP_EUSAGE, "--history off: name the file to look after");
    struct store_opts so = {.path = path, .writes = import};
    if (code == 0)
        code = store_open(&so, &s, err);
    if (code == 0)
        code = check    ? db_check(o, s, err)
               : backup ? db_backup(o, s, file, err)
               : export ? db_export(o, s, file, err)
                        : db_import(o, s, file, err);
    store_close(s);
    sp_free(path);
    return code;
}
