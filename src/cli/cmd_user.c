/* sampan user: who may sign in on the page, from the terminal of the machine. Works while a server runs: it sees the
 * change within some seconds. */
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include "cli/cli_int.h"
#include "server/password.h"
#include "store/accounts.h"

#define LINE_BYTES (PASSWORD_MOST + 2)

/* ---- passwords ---- */

/* A line of standard input, without echo on a terminal. */
static int read_line(const char *ask, char out[LINE_BYTES], sp_error *err)
{
    struct termios before, silent;
    bool tty = term_is_tty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &before) == 0;
    if (tty) {
        silent = before;
        silent.c_lflag &= ~(tcflag_t)ECHO;
        (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
        fprintf(stderr, "%s: ", ask);
    }
    bool got = fgets(out, LINE_BYTES, stdin) != NULL;
    if (tty) {
        (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
        fputc('\n', stderr);
    }
    if (!got)
        return sp_fail(err, SP_EUSAGE, "a password is needed: one line on standard input");
    out[strcspn(out, "\r\n")] = '\0';
    return 0;
}

static int ask_password(char hash[STORE_PASSWORD_BYTES], sp_error *err)
{
    char first[LINE_BYTES], second[LINE_BYTES];
    int code = read_line("Password", first, err);
    if (code == 0 && !password_sound(first))
        code =
            sp_fail(err, SP_EINVAL, "a password has %d to %d bytes", PASSWORD_LEAST, PASSWORD_MOST);
    if (code == 0 && term_is_tty(STDIN_FILENO)) {
        code = read_line("The same again", second, err);
        if (code == 0 && strcmp(first, second) != 0)
            code = sp_fail(err, SP_EINVAL, "the two are not the same");
    }
    return code == 0 ? password_hash(first, hash, err) : code;
}

/* ---- the verb ---- */

static int user_add(store *s, const char *name, sp_error *err)
{
    char hash[STORE_PASSWORD_BYTES];
    struct store_account account = {0};
    if (!store_account_name_sound(name))
        return sp_fail(err, SP_EINVAL,
                       "'%.80s' is no name for an account: take 1 to %d bytes without control "
                       "characters, and no blank at its ends",
                       name, STORE_NAME_MOST);
    int code = ask_password(hash, err);
    if (code == 0)
        code = store_account_add(s, name, hash, false, &account, err);
    if (code == 0)
        fprintf(stderr, "%s: %s may sign in\n", store_file(s), name);
    return code;
}

static int user_passwd(store *s, const char *name, sp_error *err)
{
    char hash[STORE_PASSWORD_BYTES];
    struct store_account account = {0};
    int code = store_account_password(s, name, &account, hash, err);
    if (code == 0)
        code = ask_password(hash, err);
    if (code == 0)
        code = store_account_set_password(s, account.id, hash, NULL, err);
    if (code == 0)
        fprintf(stderr, "%s: %s has another password, and is signed out everywhere\n",
                store_file(s), account.name);
    return code;
}

static int user_remove(const options *o, store *s, const char *name, sp_error *err)
{
    char answer[LINE_BYTES] = "yes", hash[STORE_PASSWORD_BYTES];
    struct store_account account = {0};
    bool ask = !options_bool(o, "yes");
    int code = store_account_password(s, name, &account, hash, err);
    if (code == 0 && ask && !term_is_tty(STDIN_FILENO))
        return sp_fail(err, SP_EUSAGE,
                       "user remove asks before it deletes, and standard input is no terminal: say "
                       "--yes");
    if (code == 0 && ask) {
        fprintf(stderr,
                "Remove %s with its keys? Its chats are deleted, too, unless it is the last "
                "account. [y/N] ",
                account.name);
        if (!fgets(answer, sizeof answer, stdin) || (answer[0] != 'y' && answer[0] != 'Y'))
            return sp_fail(err, SP_ECANCELLED, "nothing is removed");
    }
    if (code == 0)
        code = store_account_remove(s, name, err);
    if (code == 0)
        fprintf(stderr, "%s: %s is removed\n", store_file(s), account.name);
    return code;
}

static size_t sessions_of(const struct store_access *a, int64_t id)
{
    size_t n = 0;
    for (size_t i = 0; i < a->n_sessions; i++)
        n += a->sessions[i].account == id;
    return n;
}

static void print_account(const struct store_access *a, const struct store_account *one)
{
    char day[32];
    time_t at = (time_t)one->created;
    struct tm tm;
    (void)gmtime_r(&at, &tm);
    (void)strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%SZ", &tm);
    printf("%-20s %8zu  %s\n", day, sessions_of(a, one->id), one->name);
}

static int user_list(const options *o, store *s, sp_error *err)
{
    struct store_access a;
    int code = store_access_load(s, &a, err);
    if (code < 0)
        return code;
    json_t *list = options_bool(o, "json") ? json_array() : NULL;
    if (!list)
        printf("%-20s %8s  %s\n", "CREATED", "SESSIONS", "NAME");
    for (size_t i = 0; i < a.n_accounts; i++) {
        if (list)
            json_array_append_new(list,
                                  json_pack("{s:s,s:I,s:I}", "name", a.accounts[i].name, "created",
                                            (json_int_t)a.accounts[i].created, "sessions",
                                            (json_int_t)sessions_of(&a, a.accounts[i].id)));
        else
            print_account(&a, &a.accounts[i]);
    }
    if (list)
        cli_print_json(list);
    store_access_free(&a);
    return 0;
}

int cmd_user(const options *o, sp_error *err)
{
    const char *const *args;
    size_t n = options_args(o, &args);
    char *path = NULL;
    store *s = NULL;
    const char *what = n > 0 ? args[0] : "";
    bool list = n == 1 && strcmp(what, "list") == 0, add = n == 2 && strcmp(what, "add") == 0,
         passwd = n == 2 && strcmp(what, "passwd") == 0,
         leave = n == 2 && strcmp(what, "remove") == 0;
    if (!list && !add && !passwd && !leave)
        return sp_fail(
            err, SP_EUSAGE,
            "say `user list`, `user add NAME`, `user passwd NAME` or `user remove NAME`");
    int code = cli_history(o, &path, err);
    if (code == 0 && !path)
        code = sp_fail(err, SP_EUSAGE, "--history off: name the file that keeps the accounts");
    struct store_opts so = {.path = path, .writes = !list, .beside = true};
    if (code == 0)
        code = store_open(&so, &s, err);
    if (code == 0)
        code = list     ? user_list(o, s, err)
               : add    ? user_add(s, args[1], err)
               : passwd ? user_passwd(s, args[1], err)
                        : user_remove(o, s, args[1], err);
    store_close(s);
    sp_free(path);
    return code;
}
