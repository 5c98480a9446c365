/* What a parser may do: limits of the kernel, a list of its calls, and Landlock where it is. */
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "kb/parser_int.h"

/* AddressSanitizer reserves terabytes of addresses. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define BOUNDS_MEMORY 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define BOUNDS_MEMORY 0
#endif
#endif
#ifndef BOUNDS_MEMORY
#define BOUNDS_MEMORY 1
#endif

static int limited(const char *what, sp_error *err)
{
    return sp_fail(err, SP_EIO, "the parser could not be confined (%s: %s), so nothing was read",
                   what, strerror(errno));
}

int sandbox_limits(sp_error *err)
{
    const struct {
        int what;
        rlim_t most;
    } limits[] = {
        {RLIMIT_CPU, PARSER_CPU_SECONDS},
        {RLIMIT_FSIZE, 0},
        {RLIMIT_CORE, 0},
        {RLIMIT_NOFILE, PARSER_FILES},
        {RLIMIT_AS, PARSER_MEMORY_BYTES},
    };
    for (size_t i = 0; i < SP_COUNT(limits); i++) {
        struct rlimit l = {limits[i].most, limits[i].most};
        l.rlim_max += limits[i].what == RLIMIT_CPU; /* SIGXCPU first, which says what it was */
        if ((BOUNDS_MEMORY || limits[i].what != RLIMIT_AS) &&
            setrlimit((__rlimit_resource_t)limits[i].what, &l) != 0)
            return limited("setrlimit", err);
    }
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || prctl(PR_SET_DUMPABLE, 0) != 0 ||
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return limited("prctl", err);
    return chdir("/") == 0 ? 0 : limited("chdir", err);
}

/* ---- seccomp ---- */

static int allow(scmp_filter_ctx f, const int *calls, size_t n)
{
    int code = 0;
    for (size_t i = 0; i < n && code == 0; i++)
        code = seccomp_rule_add(f, SCMP_ACT_ALLOW, calls[i], 0);
    return code;
}

/* What computing takes: what is open is read and written, memory comes and goes. */
static int allow_computing(scmp_filter_ctx f)
{
    static const int calls[] = {
        SCMP_SYS(read),          SCMP_SYS(write),           SCMP_SYS(readv),
        SCMP_SYS(writev),        SCMP_SYS(pread64),         SCMP_SYS(lseek),
        SCMP_SYS(fstat),         SCMP_SYS(close),           SCMP_SYS(brk),
        SCMP_SYS(munmap),        SCMP_SYS(mremap),          SCMP_SYS(madvise),
        SCMP_SYS(futex),         SCMP_SYS(rt_sigreturn),    SCMP_SYS(rt_sigprocmask),
        SCMP_SYS(rt_sigaction),  SCMP_SYS(sigaltstack),     SCMP_SYS(getrandom),
        SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday),    SCMP_SYS(sched_yield),
        SCMP_SYS(getpid),        SCMP_SYS(gettid),          SCMP_SYS(exit),
        SCMP_SYS(exit_group),    SCMP_SYS(restart_syscall),
    };
    return allow(f, calls, SP_COUNT(calls));
}

/* Memory that can be executed is only for a loader. */
static int allow_memory(scmp_filter_ctx f, bool executable)
{
    const int calls[] = {SCMP_SYS(mmap), SCMP_SYS(mprotect)};
    int code = 0;
    if (executable)
        return allow(f, calls, SP_COUNT(calls));
    for (size_t i = 0; i < SP_COUNT(calls) && code == 0; i++)
        code = seccomp_rule_add(f, SCMP_ACT_ALLOW, calls[i], 1,
                                SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    return code;
}

/* A program's start: loader, libc's preparations, and files for reading. */
static int allow_starting(scmp_filter_ctx f)
{
    static const int calls[] = {
        SCMP_SYS(execve),    SCMP_SYS(arch_prctl),      SCMP_SYS(set_tid_address),
        SCMP_SYS(rseq),      SCMP_SYS(set_robust_list), SCMP_SYS(access),
        SCMP_SYS(faccessat), SCMP_SYS(faccessat2),      SCMP_SYS(newfstatat),
        SCMP_SYS(stat),      SCMP_SYS(lstat),           SCMP_SYS(statx),
        SCMP_SYS(readlink),  SCMP_SYS(readlinkat),      SCMP_SYS(getdents64),
        SCMP_SYS(getcwd),    SCMP_SYS(uname),           SCMP_SYS(sysinfo),
        SCMP_SYS(getuid),    SCMP_SYS(geteuid),         SCMP_SYS(getgid),
        SCMP_SYS(getegid),   SCMP_SYS(fcntl),           SCMP_SYS(sched_getaffinity),
    };
    const scmp_datum_t writing = O_ACCMODE | O_CREAT | O_TRUNC | O_APPEND;
    int code = allow(f, calls, SP_COUNT(calls));
    if (code == 0)
        code = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(openat), 1,
                                SCMP_A2(SCMP_CMP_MASKED_EQ, writing, O_RDONLY));
    if (code == 0)
        code = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(open), 1,
                                SCMP_A1(SCMP_CMP_MASKED_EQ, writing, O_RDONLY));
    if (code == 0) /* limits are read, not set */
        code =
            seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 1, SCMP_A2(SCMP_CMP_EQ, 0, 0));
    if (code == 0) /* is it a terminal? */
        code = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
                                SCMP_A1(SCMP_CMP_EQ, TCGETS, 0));
    return code;
}

static int enter(bool starts, sp_error *err)
{
    scmp_filter_ctx f = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (!f)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    int code = allow_computing(f);
    if (code == 0)
        code = allow_memory(f, starts);
    if (code == 0 && starts)
        code = allow_starting(f);
    if (code == 0)
        code = seccomp_load(f);
    seccomp_release(f);
    errno = -code;
    return code == 0 ? 0 : limited("seccomp", err);
}

int sandbox_enter(sp_error *err)
{
    return enter(false, err);
}

/* ---- Landlock ---- */

static void let_read(int rules, const char *path, uint64_t rights)
{
    struct landlock_path_beneath_attr a = {.allowed_access = rights};
    a.parent_fd = open(path, O_PATH | O_CLOEXEC);
    if (a.parent_fd < 0)
        return; /* what isn't there needs no right */
    (void)syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &a, 0);
    close(a.parent_fd);
}

/* Programs and libraries of the system may be read, nothing else. Without Landlock, or where a container or a unit
 * forbids its calls, nothing happens. */
static int confine_files(const char *program, sp_error *err)
{
    static const char *const folders[] = {"/usr", "/lib", "/lib64", "/lib32", "/bin"};
    static const char *const files[] = {"/etc/ld.so.cache", "/dev/null"};
    const uint64_t read_file = LANDLOCK_ACCESS_FS_READ_FILE,
                   all = read_file | LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_EXECUTE;
    struct landlock_ruleset_attr handled = {
        .handled_access_fs = all | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |
                             LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR |
                             LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |
                             LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |
                             LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM};
    int rules = (int)syscall(SYS_landlock_create_ruleset, &handled, sizeof handled, 0);
    if (rules < 0)
        return errno == ENOSYS || errno == EOPNOTSUPP || errno == EPERM ? 0
                                                                        : limited("landlock", err);
    for (size_t i = 0; i < SP_COUNT(folders); i++)
        let_read(rules, folders[i], all);
    for (size_t i = 0; i < SP_COUNT(files); i++)
        let_read(rules, files[i], read_file);
    let_read(rules, program, read_file | LANDLOCK_ACCESS_FS_EXECUTE);
    int code = (int)syscall(SYS_landlock_restrict_self, rules, 0);
    close(rules);
    return code == 0 ? 0 : limited("landlock", err);
}

int sandbox_enter_for_exec(const char *program, sp_error *err)
{
    int code = confine_files(program, err);
    return code == 0 ? enter(true, err) : code;
}
