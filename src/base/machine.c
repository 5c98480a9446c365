/* Limits are the smallest along the way from this process's cgroup up to the root: an outer group
 * binds whatever an inner one says. Nothing here allocates: it may run while memory is short. */
#include "base/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/machine_int.h"
#include "base/str.h"

#define TEXT_MAX MACHINE_TEXT_MAX

struct limits {
    int cores;                    /* INT_MAX: none */
    uint64_t memory, memory_free; /* bytes; UINT64_MAX: none */
};

typedef void (*read_group)(const char *dir, struct limits *l);

bool machine_read_text(const char *dir, const char *name, char text[TEXT_MAX])
{
    char path[PATH_MAX];
    int len = snprintf(path, sizeof path, "%s/%s", dir, name);
    if (len < 0 || (size_t)len >= sizeof path)
        return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    size_t n = 0;
    while (n < TEXT_MAX - 1) {
        ssize_t got = read(fd, text + n, TEXT_MAX - 1 - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    (void)close(fd);
    text[n] = '\0';
    return n > 0;
}

bool machine_leading_number(const char *text, uint64_t *out)
{
    size_t n = strspn(text, "0123456789");
    int64_t v = 0;
    if (!str_to_i64((str){text, n}, &v))
        return false;
    *out = (uint64_t)v;
    return true;
}

/* The number after `key` at the start of a line ("MemTotal:  123 kB", "inactive_file 77"). */
static bool keyed_number(const char *text, const char *key, uint64_t *out)
{
    size_t n = strlen(key);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        if (*line == '\n')
            line++;
        if (strncmp(line, key, n) == 0) {
            const char *value = line + n;
            return machine_leading_number(value + strspn(value, ": \t"), out);
        }
    }
    return false;
}

static void lower(uint64_t *to, uint64_t v)
{
    if (v < *to)
        *to = v;
}

static void limit_cores(struct limits *l, uint64_t quota, uint64_t period)
{
    if (period == 0 || quota == 0)
        return;
    uint64_t cores = quota / period + (quota % period != 0);
    if (cores < (uint64_t)l->cores)
        l->cores = (int)cores;
}

/* What may still be had under `limit`: page cache counts as used but goes when it must. */
static void limit_memory(struct limits *l, uint64_t limit, uint64_t used, uint64_t cache)
{
    lower(&l->memory, limit);
    used = used > cache ? used - cache : 0;
    lower(&l->memory_free, limit > used ? limit - used : 0);
}

static void read_v2(const char *dir, struct limits *l)
{
    char text[TEXT_MAX];
    uint64_t quota = 0, period = 0;
    if (machine_read_text(dir, "cpu.max", text) && machine_leading_number(text, &quota)) {
        const char *space = strchr(text, ' ');
        if (space && machine_leading_number(space + 1, &period))
            limit_cores(l, quota, period);
    }
    uint64_t limit = 0, used = 0, active = 0, inactive = 0;
    if (!machine_read_text(dir, "memory.max", text) || !machine_leading_number(text, &limit))
        return;
    if (machine_read_text(dir, "memory.current", text))
        (void)machine_leading_number(text, &used);
    if (machine_read_text(dir, "memory.stat", text)) {
        (void)keyed_number(text, "active_file ", &active);
        (void)keyed_number(text, "inactive_file ", &inactive);
    }
    limit_memory(l, limit, used, active + inactive);
}

static void read_v1_cpu(const char *dir, struct limits *l)
{
    char text[TEXT_MAX];
    uint64_t quota = 0, period = 0;
    if (!machine_read_text(dir, "cpu.cfs_quota_us", text) || !machine_leading_number(text, &quota))
        return;
    if (!machine_read_text(dir, "cpu.cfs_period_us", text) ||
        !machine_leading_number(text, &period))
        return;
    limit_cores(l, quota, period);
}

static void read_v1_memory(const char *dir, struct limits *l)
{
    char text[TEXT_MAX];
    uint64_t limit = 0, used = 0, active = 0, inactive = 0;
    if (!machine_read_text(dir, "memory.limit_in_bytes", text) ||
        !machine_leading_number(text, &limit))
        return;
    if (machine_read_text(dir, "memory.usage_in_bytes", text))
        (void)machine_leading_number(text, &used);
    if (machine_read_text(dir, "memory.stat", text)) {
        (void)keyed_number(text, "total_active_file ", &active);
        (void)keyed_number(text, "total_inactive_file ", &inactive);
    }
    limit_memory(l, limit, used, active + inactive);
}

/* Reads group `path` below root/mount and every group above it. In a container the path may be the
 * host's and lead nowhere here; the mount itself is then the container's own group. */
static void walk(const char *root, const char *mount, str path, read_group visit, struct limits *l)
{
    char dir[PATH_MAX];
    int base = snprintf(dir, sizeof dir, "%s%s", root, mount);
    if (base < 0 || (size_t)base + path.n >= sizeof dir)
        return;
    memcpy(dir + base, path.p, path.n);
    dir[(size_t)base + path.n] = '\0';
    if (strstr(dir + base, "/.."))
        dir[base] = '\0'; /* outside of the cgroup namespace */
    for (;;) {
        visit(dir, l);
        char *slash = strrchr(dir + base, '/');
        if (!slash)
            return;
        *slash = '\0';
    }
}

static bool in_list(str list, const char *name)
{
    size_t from = 0;
    for (size_t i = 0; i <= list.n; i++) {
        if (i < list.n && list.p[i] != ',')
            continue;
        if (str_eqz((str){list.p + from, i - from}, name))
            return true;
        from = i + 1;
    }
    return false;
}

/* One line of /proc/self/cgroup: "id:controllers:path"; v2 has no controllers. */
static void read_line(const char *root, str line, struct limits *l)
{
    const char *first = memchr(line.p, ':', line.n);
    if (!first)
        return;
    size_t rest = line.n - (size_t)(first + 1 - line.p);
    const char *second = memchr(first + 1, ':', rest);
    if (!second)
        return;
    str controllers = {first + 1, (size_t)(second - first - 1)};
    str path = {second + 1, rest - controllers.n - 1};
    if (controllers.n == 0) {
        walk(root, "/sys/fs/cgroup", path, read_v2, l);
        walk(root, "/sys/fs/cgroup/unified", path, read_v2, l);
    }
    if (in_list(controllers, "cpu")) {
        walk(root, "/sys/fs/cgroup/cpu", path, read_v1_cpu, l);
        walk(root, "/sys/fs/cgroup/cpu,cpuacct", path, read_v1_cpu, l);
    }
    if (in_list(controllers, "memory"))
        walk(root, "/sys/fs/cgroup/memory", path, read_v1_memory, l);
}

static struct limits read_limits(const char *root)
{
    struct limits l = {INT_MAX, UINT64_MAX, UINT64_MAX};
    char text[TEXT_MAX];
    if (!machine_read_text(root, "proc/self/cgroup", text))
        return l;
    const char *line = text;
    while (*line) {
        size_t n = strcspn(line, "\n");
        read_line(root, (str){line, n}, &l);
        line += n + (line[n] == '\n');
    }
    return l;
}

int machine_quota_at(const char *root)
{
    return read_limits(root).cores;
}

/* ---- CPUs ---- */

void machine_read_list(const char *text, struct cpu_bits *out)
{
    memset(out, 0, sizeof *out);
    while (*text >= '0' && *text <= '9') {
        uint64_t from = 0, to = 0;
        if (!machine_leading_number(text, &from))
            return;
        to = from;
        text += strspn(text, "0123456789");
        if (*text == '-' && machine_leading_number(text + 1, &to))
            text += 1 + strspn(text + 1, "0123456789");
        if (to >= from && to < MACHINE_CPU_BITS)
            memset(out->has + from, 1, (size_t)(to - from) + 1);
        if (*text == ',')
            text++;
    }
}

int machine_count(const struct cpu_bits *set)
{
    int n = 0;
    for (int i = 0; i < MACHINE_CPU_BITS; i++)
        n += set->has[i];
    return n;
}

static bool usable_here(struct cpu_bits *out)
{
    unsigned long mask[MACHINE_CPU_BITS / (8 * sizeof(unsigned long))] = {0};
    if (sched_getaffinity(0, sizeof mask, (cpu_set_t *)mask) != 0)
        return false;
    for (size_t i = 0; i < MACHINE_CPU_BITS; i++)
        out->has[i] = CPU_ISSET_S(i, sizeof mask, (cpu_set_t *)mask) != 0;
    return true;
}

/* The rest of the line that starts with key, after blanks; NULL: there is none. */
static const char *line_value(const char *text, const char *key)
{
    const char *at = strstr(text, key);
    return at ? at + strlen(key) + strspn(at + strlen(key), ": \t") : NULL;
}

void machine_usable_at(const char *root, struct cpu_bits *out)
{
    char text[TEXT_MAX];
    bool real = strcmp(root, "/") == 0 || *root == '\0';
    if (real && usable_here(out))
        return;
    struct cpu_bits allowed;
    const char *list = machine_read_text(root, "proc/self/status", text)
                           ? line_value(text, "Cpus_allowed_list")
                           : NULL;
    machine_read_list(list ? list : "0-8191", &allowed);
    machine_read_list(machine_read_text(root, "sys/devices/system/cpu/online", text) ? text
                      : list                                                         ? "0-8191"
                                                                                     : "0",
                      out);
    for (int i = 0; i < MACHINE_CPU_BITS; i++)
        out->has[i] &= allowed.has[i];
}

int machine_cores_at(const char *root)
{
    struct cpu_bits usable;
    machine_usable_at(root, &usable);
    int cores = machine_count(&usable), quota = machine_quota_at(root);
    if (quota < cores)
        cores = quota;
    return cores < 1 ? 1 : cores;
}

/* A line of /proc/meminfo in bytes; 0 when it is not there. */
static uint64_t meminfo(const char *root, const char *key)
{
    char text[TEXT_MAX];
    uint64_t kib = 0;
    if (!machine_read_text(root, "proc/meminfo", text) || !keyed_number(text, key, &kib))
        return 0;
    return kib < UINT64_MAX / 1024 ? kib * 1024 : UINT64_MAX;
}

uint64_t machine_memory_total_at(const char *root)
{
    uint64_t total = meminfo(root, "MemTotal");
    lower(&total, read_limits(root).memory);
    return total;
}

uint64_t machine_memory_free_at(const char *root)
{
    uint64_t bytes = meminfo(root, "MemAvailable");
    lower(&bytes, read_limits(root).memory_free);
    return bytes;
}

int machine_cores(void)
{
    return machine_cores_at("/");
}

uint64_t machine_memory_total(void)
{
    return machine_memory_total_at("/");
}

uint64_t machine_memory_free(void)
{
    return machine_memory_free_at("/");
}

uint64_t machine_rss(void)
{
    char text[TEXT_MAX];
    uint64_t pages = 0;
    if (!machine_read_text("/proc/self", "statm", text))
        return 0;
    const char *space = strchr(text, ' ');
    if (!space || !machine_leading_number(space + 1, &pages))
        return 0;
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* ---- caches ---- */

/* sysfs writes "32K", "512K", "32768K". */
static bool read_cache(const char *dir, struct machine_cache *c)
{
    char text[TEXT_MAX];
    uint64_t v = 0;
    if (!machine_read_text(dir, "type", text) || strncmp(text, "Instruction", 11) == 0)
        return false;
    if (!machine_read_text(dir, "level", text) || !machine_leading_number(text, &v) || v < 1 ||
        v > 9)
        return false;
    c->level = (int)v;
    if (!machine_read_text(dir, "size", text) ||
        !str_to_bytes((str){text, strcspn(text, "\n")}, &c->bytes))
        return false;
    struct cpu_bits sharers;
    machine_read_list(machine_read_text(dir, "shared_cpu_list", text) ? text : "0", &sharers);
    c->shared_by = machine_count(&sharers);
    return true;
}

size_t machine_caches_at(const char *root, struct machine_cache out[MACHINE_CACHES_MOST])
{
    size_t n = 0;
    for (int i = 0; i < MACHINE_CACHES_MOST; i++) {
        char dir[PATH_MAX];
        int len =
            snprintf(dir, sizeof dir, "%s/sys/devices/system/cpu/cpu0/cache/index%d", root, i);
        if (len > 0 && (size_t)len < sizeof dir && read_cache(dir, &out[n]))
            n++;
    }
    return n;
}

size_t machine_caches(struct machine_cache out[MACHINE_CACHES_MOST])
{
    size_t n = machine_caches_at("/", out);
    if (n)
        return n;
#ifdef _SC_LEVEL1_DCACHE_SIZE /* glibc asks cpuid; who shares a cache is not told */
    const int names[] = {_SC_LEVEL1_DCACHE_SIZE, _SC_LEVEL2_CACHE_SIZE, _SC_LEVEL3_CACHE_SIZE};
    for (int i = 0; i < 3; i++) {
        long bytes = sysconf(names[i]);
        if (bytes > 0)
            out[n++] = (struct machine_cache){i + 1, (uint64_t)bytes, 1};
    }
#endif
    return n;
}

void machine_cpu_name(char *out, size_t n)
{
    char text[TEXT_MAX];
    const char *at =
        machine_read_text("/proc", "cpuinfo", text) ? strstr(text, "model name") : NULL;
    at = at ? strchr(at, ':') : NULL;
    if (at)
        at += 1 + strspn(at + 1, " ");
    (void)snprintf(out, n, "%.*s", at ? (int)strcspn(at, "\n") : 0, at ? at : "");
}
