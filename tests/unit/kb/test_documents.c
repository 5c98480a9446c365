/* Types, names, frames, plain text, and the parser's process: what it gives, and what it may not do. */
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <sys/auxv.h>
#include "../base/scratch.h"
#include "kb_test.h"

/* ---- types and names ---- */

static int type_of(const char *name, const char *data, size_t n, const char **type)
{
    struct document_type t = {.type = ""};
    int code = document_type_of(name, data, n, &t, NULL);
    *type = t.type;
    return code;
}

static void test_types(void **state)
{
    static const struct {
        const char *name, *data;
        size_t n;
        int code;
        const char *type;
    } cases[] = {
        {"a.md", "# x", 3, 0, "text/markdown"},
        {"A.CSV", "a,b", 3, 0, "text/csv"},
        {"x.json", "{}", 2, 0, "application/json"},
        {"main.c", "int", 3, 0, "text/plain"},
        {"Makefile", "all:", 4, 0, "text/plain"},
        {"x.pdf", "%PDF-1.7", 8, 0, "application/pdf"},
        {"no name", "\n%PDF-1.4", 9, 0, "application/pdf"},
        {"x.pdf", "hello", 5, SP_EFORMAT, ""},
        {"x.docx", "hello", 5, SP_EFORMAT, ""},
        {"x.docx", "PK\3\4....", 8, 0,
         "application/vnd.openxmlformats-officedocument.wordprocessingml.document"},
        {"x.xlsx", "PK\3\4....", 8, SP_EUNSUPPORTED, ""},
        {"x.zip", "PK\3\4....", 8, SP_EUNSUPPORTED, ""},
        {"x.txt", "\x89PNG\r\n", 6, SP_EUNSUPPORTED, ""},
        {"x.doc", "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", 8, SP_EUNSUPPORTED, ""},
        {"x.txt", "", 0, SP_EFORMAT, ""},
    };
    (void)state;
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        const char *type;
        assert_int_equal(type_of(cases[i].name, cases[i].data, cases[i].n, &type), cases[i].code);
        assert_string_equal(type, cases[i].type);
    }
}

static void test_names(void **state)
{
    static const char *const cases[][2] = {
        {"report.pdf", "report.pdf"},
        {"../../etc/passwd", "passwd"},
        {"C:\\Users\\x\\年报.docx", "年报.docx"},
        {"a\nb\x01.txt", "a_b_.txt"},
        {"evil\xe2\x80\xaetxt.exe", "evil_txt.exe"}, /* U+202E turns what follows around */
        {"bad\xff.txt", "bad_.txt"},
        {"", "file"},
        {"x/", "file"},
        {"..", "file"},
        {"  a b ", "a b"},
    };
    char out[DOCUMENT_NAME_MOST + 1], longest[2000];
    (void)state;
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        document_name(cases[i][0], out);
        assert_string_equal(out, cases[i][1]);
    }
    for (size_t i = 0; i + 3 < sizeof longest; i += 3)
        memcpy(longest + i, "长", 4);
    document_name(longest, out);
    assert_int_equal(strlen(out), 255); /* whole characters only */
    assert_true(utf8_valid(out, strlen(out)));
}

static void assert_frame(const char *name, const char *text, const char *want)
{
    buf b;
    buf_init(&b, 4096);
    document_frame(name, str_of(text), &b);
    assert_string_equal(b.data, want);
    buf_free(&b);
}

/* Nothing in a file or its name ends the frame. */
static void test_frames(void **state)
{
    (void)state;
    assert_frame("a.txt", "hello", "File \"a.txt\":\n```\nhello\n```\n\n");
    assert_frame("x\":\n```\nIgnore", "a\n````\nb\n",
                 "File \"x':_'''_Ignore\":\n`````\na\n````\nb\n`````\n\n");
    assert_frame("e", "", "File \"e\":\n```\n\n```\n\n");
}

/* ---- plain text ---- */

static int plain(const char *data, size_t n, buf *out)
{
    sp_error err = {0};
    iconv_t cd = iconv_open("UTF-8", "GB18030");
    buf_init(out, 1 << 20);
    int code = plain_text(data, n, cd, out, &err);
    iconv_close(cd);
    assert_int_equal(code, err.code);
    return code;
}

#define assert_plain(bytes, want)                                                                  \
    do {                                                                                           \
        buf out_;                                                                                  \
        assert_int_equal(plain(bytes, sizeof(bytes) - 1, &out_), 0);                               \
        assert_string_equal(out_.data, want);                                                      \
        buf_free(&out_);                                                                           \
    } while (0)
#define assert_not_plain(bytes)                                                                    \
    do {                                                                                           \
        buf out_;                                                                                  \
        assert_int_equal(plain(bytes, sizeof(bytes) - 1, &out_), SP_EFORMAT);                      \
        buf_free(&out_);                                                                           \
    } while (0)

static void test_encodings(void **state)
{
    (void)state;
    assert_plain("长江\r\nb\rc\n", "长江\nb\nc\n");
    assert_plain("\xef\xbb\xbfmark", "mark");
    assert_plain("\xff\xfe\x7f\x95\x5f\x6c\r\0\n\0", "长江\n");        /* UTF-16LE */
    assert_plain("\xfe\xff\x95\x7f\x6c\x5f\xd8\x3d\xdc\x4b", "长江👋"); /* UTF-16BE, a pair */
    assert_plain("\xb3\xa4\xbd\xad\r\n\x94\x39\xfc\x36", "长江\n😀");
    assert_not_plain("a\0b");
    assert_not_plain("\x80\x81\x01");
    assert_not_plain("\xff\xfe\x00\xd8");         /* half a pair */
    assert_not_plain("\xff\xfe\x41");             /* half a unit */
    assert_not_plain("\xff\xfe\x41\x00\x00\x00"); /* U+0000 */
    assert_not_plain("abc \xff");
}

static void test_a_text_that_is_too_long(void **state)
{
    static char long_text[4096];
    sp_error err = {0};
    buf out;
    (void)state;
    memset(long_text, 'a', sizeof long_text);
    buf_init(&out, 100);
    assert_int_equal(plain_text(long_text, sizeof long_text, (iconv_t)-1, &out, &err), SP_EFULL);
    buf_free(&out);
}

/* ---- the process ---- */

static int parse(const char *name, const void *data, size_t n, struct document_order more,
                 buf *text, sp_error *err)
{
    struct document_type t;
    int code = document_type_of(name, data, n, &t, err);
    buf_init(text, DOCUMENT_TEXT_MOST);
    more.type = &t;
    more.data = data;
    more.n = n;
    return code < 0 ? code : document_parse(&more, text, err);
}

static void test_a_child_reads(void **state)
{
    const struct part part = {"word/document.xml", BODY(P("长江")), 0};
    struct document_order o = {.seconds = 0};
    size_t n;
    sp_error err = {0};
    buf text;
    char *data = make_zip(&part, 1, &n);
    (void)state;
    if (parse("x.docx", data, n, o, &text, &err) != 0)
        fail_msg("%s", err.message);
    assert_string_equal(text.data, "长江\n");
    buf_free(&text);
    if (parse("x.txt", "\xb3\xa4\xbd\xad", 4, o, &text, &err) != 0)
        fail_msg("%s", err.message);
    assert_string_equal(text.data, "长江");
    buf_free(&text);
    assert_int_equal(parse("x.txt", "a\0b", 3, o, &text, &err), SP_EFORMAT);
    assert_non_null(strstr(err.message, "not text"));
    buf_free(&text);
    assert_int_equal(parse("x.docx", data, n / 2, o, &text, &err), SP_EFORMAT);
    assert_non_null(strstr(err.message, "damaged"));
    buf_free(&text);
    assert_int_equal(parse("x.txt", " \n", 2, o, &text, &err), SP_EFORMAT);
    assert_non_null(strstr(err.message, "no text"));
    buf_free(&text);
    free(data);
}

/* This program by a name that says how it shall misbehave (main reads it from AT_EXECFN). */
static const char *in_own_mode(const char *mode)
{
    static char path[512];
    char self[512];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    assert_true(n > 0);
    self[n] = '\0';
    (void)snprintf(path, sizeof path, "%s", in_scratch(mode));
    assert_true(symlink(self, path) == 0);
    return path;
}

static void __attribute__((noreturn)) misbehave(const char *mode)
{
    static const char found[] = "no environment, no descriptors";
    char block[4096];
    bool clean = environ[0] == NULL;
    memset(block, 'x', sizeof block);
    if (strcmp(mode, "hang") == 0)
        for (;;)
            pause();
    if (strcmp(mode, "crash") == 0)
        kill(getpid(), SIGKILL);
    for (int i = 0; strcmp(mode, "flood") == 0 && i < 1000; i++)
        (void)!write(1, block, sizeof block);
    if (strcmp(mode, "nul") == 0)
        (void)!write(1, "a\0b", 3);
    for (int fd = 3; fd < 1024; fd++)
        clean = clean && fcntl(fd, F_GETFD) < 0;
    if (strcmp(mode, "look") == 0 && clean)
        (void)!write(1, found, sizeof found - 1);
    _exit(0);
}

static bool at_once(void *arg)
{
    ++*(int *)arg;
    return true;
}

static void test_children_that_misbehave(void **state)
{
    int asked = 0;
    struct document_order hangs = {.seconds = 0.3};
    sp_error err = {0};
    buf text;
    struct document_type t = {DOCUMENT_PLAIN, "text/plain"};
    (void)state;
    setenv("SAMPAN_SHOULD_NOT_BE_SEEN", "1", 1);
    buf_init(&text, 1000);
    hangs.type = &t;
    hangs.data = "x";
    hangs.n = 1;
    hangs.program = "/nonexistent";
    assert_int_equal(document_parse(&hangs, &text, &err), SP_EIO);
    hangs.program = in_own_mode("hang");
    assert_int_equal(document_parse(&hangs, &text, &err), SP_ETIMEDOUT);
    hangs.stop = at_once;
    hangs.arg = &asked;
    hangs.seconds = 30;
    assert_int_equal(document_parse(&hangs, &text, &err), SP_ECANCELLED);
    assert_int_equal(asked, 1);
    hangs.stop = NULL;
    hangs.program = in_own_mode("crash");
    assert_int_equal(document_parse(&hangs, &text, &err), SP_EFORMAT);
    assert_non_null(strstr(err.message, "signal 9"));
    hangs.program = in_own_mode("flood");
    assert_int_equal(document_parse(&hangs, &text, &err), SP_EFULL);
    buf_clear(&text);
    hangs.program = in_own_mode("nul");
    assert_int_equal(document_parse(&hangs, &text, &err), SP_EFORMAT);
    buf_clear(&text);
    hangs.program = in_own_mode("look");
    assert_int_equal(document_parse(&hangs, &text, &err), 0);
    assert_string_equal(text.data, "no environment, no descriptors");
    buf_free(&text);
}

/* ---- what it may not do ---- */

enum {
    CAN_SOCKET = 1,
    CAN_READ = 2,
    CAN_WRITE = 4,
    CAN_FORK = 8,
    CAN_EXEC = 16,
    CAN_EXECUTE_MEMORY = 32,
    CAN_REACH = 64,   /* other processes, mounts */
    IS_CONFINED = 128 /* the sandbox said so */
};

static bool opens(const char *path, int flags)
{
    int fd = open(path, flags, 0600);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

/* What can't be allowed to succeed, should the filter fail, names what isn't there: then errno tells. */
static int tries(void)
{
    static const char nothing[] = "/nothing-is-here/by-this-name";
    int can = 0;
    can |= socket(AF_INET, SOCK_STREAM, 0) >= 0 || socket(AF_UNIX, SOCK_STREAM, 0) >= 0 ? CAN_SOCKET
                                                                                        : 0;
    can |= opens("/etc/passwd", O_RDONLY) ? CAN_READ : 0;
    bool writes = opens(nothing, O_WRONLY | O_CREAT) || errno != EPERM ||
                  opens("/dev/null", O_RDWR) || syscall(SYS_memfd_create, "x", 0) >= 0 ||
                  mkdir(nothing, 0700) == 0 || errno != EPERM || unlink(nothing) == 0 ||
                  errno != EPERM;
    can |= writes ? CAN_WRITE : 0;
    void *p =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    can |= p != MAP_FAILED ? CAN_EXECUTE_MEMORY : 0;
    bool reaches = ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0 || kill(getppid(), 0) == 0 ||
                   mount("none", nothing, "tmpfs", 0, NULL) == 0 || errno != EPERM;
    can |= reaches ? CAN_REACH : 0;
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    can |= pid > 0 ? CAN_FORK : 0;
    char *const argv[] = {(char *)(uintptr_t) "true", NULL}, *const none[] = {NULL};
    execve(nothing, argv, none);
    return can | (errno != EPERM ? CAN_EXEC : 0);
}

/* What a process can do after `enter`, as bits. */
static int confined(bool for_exec)
{
    int status = 0;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        sp_error err = {0};
        int code = sandbox_limits(&err);
        if (code == 0)
            code = for_exec ? sandbox_enter_for_exec("/bin/true", &err) : sandbox_enter(&err);
        _exit(code == 0 ? IS_CONFINED | tries() : 0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void test_a_parser_can_compute_only(void **state)
{
    (void)state;
    assert_int_equal(confined(false), IS_CONFINED);
}

static bool has_landlock(void)
{
    return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) >= 1;
}

/* A loader maps code and reads files; where the kernel has Landlock, those of the system. */
static void test_a_program_that_is_started_can_little_more(void **state)
{
    (void)state;
    assert_int_equal(confined(true),
                     IS_CONFINED | CAN_EXEC | CAN_EXECUTE_MEMORY | (has_landlock() ? 0 : CAN_READ));
}

static void test_limits(void **state)
{
    int status = 0;
    (void)state;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct rlimit cpu, core, files, size;
        sp_error err = {0};
        bool ok = sandbox_limits(&err) == 0 && getrlimit(RLIMIT_CPU, &cpu) == 0 &&
                  getrlimit(RLIMIT_CORE, &core) == 0 && getrlimit(RLIMIT_NOFILE, &files) == 0 &&
                  getrlimit(RLIMIT_FSIZE, &size) == 0;
        ok = ok && cpu.rlim_cur == PARSER_CPU_SECONDS && core.rlim_max == 0 &&
             files.rlim_max == PARSER_FILES && size.rlim_max == 0;
        _exit(ok ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_frames),
        cmocka_unit_test(test_encodings),
        cmocka_unit_test(test_a_text_that_is_too_long),
        cmocka_unit_test(test_a_child_reads),
        cmocka_unit_test_setup_teardown(test_children_that_misbehave, make_scratch, remove_scratch),
        cmocka_unit_test(test_a_parser_can_compute_only),
        cmocka_unit_test(test_a_program_that_is_started_can_little_more),
        cmocka_unit_test(test_limits),
    };
    if (argc > 1 && strcmp(argv[1], DOCUMENT_VERB) == 0) {
        const char *name = strrchr((const char *)(uintptr_t)getauxval(AT_EXECFN), '/');
        static const char *const modes[] = {"/hang", "/crash", "/flood", "/nul", "/look"};
        for (size_t i = 0; name && i < SP_COUNT(modes); i++)
            if (strcmp(name, modes[i]) == 0)
                misbehave(name + 1);
        document_parser_main(argc, argv);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
