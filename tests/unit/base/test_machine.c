#include "scratch.h"

#include <unistd.h>
#include "base/machine.h"

#define GIB ((uint64_t)1 << 30)

/* A fresh root named after the test, with 8 CPUs and 16 GiB of which 12 are available. */
static const char *new_root(const char *name)
{
    static char root[512];
    char path[128];
    (void)snprintf(path, sizeof path, "%s/sys/devices/system/cpu/online", name);
    (void)put_file(path, "0-5,8-9\n");
    (void)snprintf(path, sizeof path, "%s/proc/meminfo", name);
    (void)put_file(path, "MemTotal:       16777216 kB\nMemFree:         1000000 kB\n"
                         "MemAvailable:   12582912 kB\nBuffers: 5 kB\n");
    (void)snprintf(root, sizeof root, "%s/%s", scratch, name);
    return root;
}

static void put(const char *name, const char *path, const char *text)
{
    char whole[256];
    (void)snprintf(whole, sizeof whole, "%s/%s", name, path);
    (void)put_file(whole, text);
}

static void without_limits(void **state)
{
    (void)state;
    const char *root = new_root("plain");
    assert_int_equal(machine_cores_at(root), 8);
    assert_true(machine_memory_total_at(root) == 16 * GIB);
    assert_true(machine_memory_free_at(root) == 12 * GIB);
}

static void v2_limits_of_the_own_group(void **state)
{
    (void)state;
    const char *root = new_root("v2");
    put("v2", "proc/self/cgroup", "0::/user.slice/app.scope\n");
    put("v2", "sys/fs/cgroup/user.slice/app.scope/cpu.max", "250000 100000\n");
    put("v2", "sys/fs/cgroup/user.slice/app.scope/memory.max", "4294967296\n");
    put("v2", "sys/fs/cgroup/user.slice/app.scope/memory.current", "3221225472\n");
    put("v2", "sys/fs/cgroup/user.slice/app.scope/memory.stat",
        "anon 1\nfile 2\ninactive_anon 3\nactive_anon 4\ninactive_file 536870912\nactive_file "
        "536870912\n");
    assert_int_equal(machine_cores_at(root), 3); /* 2.5, rounded up */
    assert_true(machine_memory_total_at(root) == 4 * GIB);
    assert_true(machine_memory_free_at(root) == 2 * GIB); /* 4 - (3 - 1 of page cache) */
}

static void the_smallest_on_the_way_counts(void **state)
{
    (void)state;
    const char *root = new_root("walk");
    put("walk", "proc/self/cgroup", "0::/a/b/c\n");
    put("walk", "sys/fs/cgroup/a/b/c/cpu.max", "max 100000\n");
    put("walk", "sys/fs/cgroup/a/b/c/memory.max", "max\n");
    put("walk", "sys/fs/cgroup/a/b/cpu.max", "600000 100000\n");
    put("walk", "sys/fs/cgroup/a/cpu.max", "200000 100000\n");
    put("walk", "sys/fs/cgroup/a/memory.max", "2147483648\n");
    put("walk", "sys/fs/cgroup/a/memory.current", "1073741824\n");
    put("walk", "sys/fs/cgroup/a/b/memory.max", "8589934592\n");
    put("walk", "sys/fs/cgroup/a/b/memory.current", "0\n");
    assert_int_equal(machine_cores_at(root), 2);
    assert_true(machine_memory_total_at(root) == 2 * GIB);
    assert_true(machine_memory_free_at(root) == GIB);
}

/* In a container the file may name the host's path, and limits stand at the mount itself. */
static void limits_at_the_mount(void **state)
{
    (void)state;
    const char *root = new_root("container");
    put("container", "proc/self/cgroup", "0::/system.slice/docker-1234.scope\n");
    put("container", "sys/fs/cgroup/cpu.max", "50000 100000\n");
    put("container", "sys/fs/cgroup/memory.max", "1073741824\n");
    put("container", "sys/fs/cgroup/memory.current", "2147483648\n"); /* over it, for a moment */
    assert_int_equal(machine_cores_at(root), 1);
    assert_true(machine_memory_total_at(root) == GIB);
    assert_true(machine_memory_free_at(root) == 0);
    put("container", "proc/self/cgroup", "0::/../../other\n");
    assert_true(machine_memory_total_at(root) == GIB);
    put("container", "proc/self/cgroup", "0::/\n");
    assert_true(machine_memory_total_at(root) == GIB);
}

static void v1_limits(void **state)
{
    (void)state;
    const char *root = new_root("v1");
    put("v1", "proc/self/cgroup",
        "12:pids:/x\n5:memory:/docker/1\n4:cpuset:/\n3:cpu,cpuacct:/docker/1\n"
        "1:name=systemd:/docker/1\n0::/\n");
    put("v1", "sys/fs/cgroup/cpu,cpuacct/docker/1/cpu.cfs_quota_us", "400000\n");
    put("v1", "sys/fs/cgroup/cpu,cpuacct/docker/1/cpu.cfs_period_us", "100000\n");
    put("v1", "sys/fs/cgroup/cpu/docker/cpu.cfs_quota_us", "-1\n");
    put("v1", "sys/fs/cgroup/cpu/docker/cpu.cfs_period_us", "100000\n");
    put("v1", "sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes", "8589934592\n");
    put("v1", "sys/fs/cgroup/memory/docker/1/memory.usage_in_bytes", "6442450944\n");
    put("v1", "sys/fs/cgroup/memory/docker/1/memory.stat",
        "inactive_file 9\ntotal_inactive_file 1073741824\n");
    put("v1", "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    assert_int_equal(machine_cores_at(root), 4);
    assert_true(machine_memory_total_at(root) == 8 * GIB);
    assert_true(machine_memory_free_at(root) == 3 * GIB);
}

static void nonsense_is_ignored(void **state)
{
    (void)state;
    const char *root = new_root("odd");
    put("odd", "proc/self/cgroup", "\n::\n0:\nrubbish\n0::/a\n");
    put("odd", "sys/fs/cgroup/a/cpu.max", "100000\n");
    put("odd", "sys/fs/cgroup/a/memory.max", "-5\n");
    put("odd", "sys/fs/cgroup/cpu.max", "100000 0\n");
    put("odd", "sys/fs/cgroup/memory.max", "99999999999999999999999\n");
    assert_int_equal(machine_cores_at(root), 8);
    assert_true(machine_memory_total_at(root) == 16 * GIB);
    put("odd", "sys/devices/system/cpu/online", "junk\n");
    put("odd", "proc/meminfo", "MemTotal: lots\n");
    assert_int_equal(machine_cores_at(root), 1);
    assert_true(machine_memory_total_at(root) == 0);
}

static void an_empty_root_has_one_core(void **state)
{
    (void)state;
    assert_int_equal(machine_cores_at(in_scratch("nothing")), 1);
    assert_true(machine_memory_total_at(in_scratch("nothing")) == 0);
    char longest[6000];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(machine_cores_at(longest), 1);
}

static void caches_of_sysfs(void **state)
{
    struct machine_cache c[MACHINE_CACHES_MOST];
    (void)state;
    const char *root = new_root("caches");
    static const struct {
        const char *level, *type, *size, *shared;
    } files[] = {{"1", "Data", "48K", "0,4"},
                 {"1", "Instruction", "32K", "0"},
                 {"2", "Unified", "2048K", "0,4"},
                 {"3", "Unified", "105M", "0-15"}};
    for (int i = 0; i < 4; i++) {
        char path[96];
        const char *const names[] = {"level", "type", "size", "shared_cpu_list"};
        const char *const texts[] = {files[i].level, files[i].type, files[i].size, files[i].shared};
        for (int k = 0; k < 4; k++) {
            char text[32];
            (void)snprintf(path, sizeof path, "sys/devices/system/cpu/cpu0/cache/index%d/%s", i,
                           names[k]);
            (void)snprintf(text, sizeof text, "%s\n", texts[k]);
            put("caches", path, text);
        }
    }
    assert_int_equal(machine_caches_at(root, c), 3);
    assert_true(c[0].level == 1 && c[0].bytes == 48 << 10 && c[0].shared_by == 2);
    assert_true(c[1].level == 2 && c[1].bytes == 2 << 20 && c[1].shared_by == 2);
    assert_true(c[2].level == 3 && c[2].bytes == 105 << 20 && c[2].shared_by == 16);
    assert_int_equal(machine_caches_at(new_root("no-caches"), c), 0);
    char name[8];
    machine_cpu_name(name, sizeof name);
    assert_true(strlen(name) < sizeof name);
}

static void this_machine(void **state)
{
    (void)state;
    assert_true(machine_cores() >= 1 && machine_cores() <= sysconf(_SC_NPROCESSORS_CONF));
    assert_true(machine_memory_total() > 0);
    assert_true(machine_memory_free() <= machine_memory_total());
    uint64_t before = machine_rss();
    assert_true(before > 100000 && before < machine_memory_total());
    size_t n = (size_t)64 << 20;
    volatile char *p = sp_malloc(n);
    for (size_t i = 0; i < n; i += 4096)
        p[i] = 1;
    assert_true(machine_rss() >= before + n / 2);
    sp_free((void *)(uintptr_t)p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_limits),
        cmocka_unit_test(v2_limits_of_the_own_group),
        cmocka_unit_test(the_smallest_on_the_way_counts),
        cmocka_unit_test(limits_at_the_mount),
        cmocka_unit_test(v1_limits),
        cmocka_unit_test(nonsense_is_ignored),
        cmocka_unit_test(an_empty_root_has_one_core),
        cmocka_unit_test(caches_of_sysfs),
        cmocka_unit_test(this_machine),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
