/* Machines as Linux shows them, as small trees of files. The facts are those of real machines: lscpu -e, and
 * the files named in Documentation/ABI/testing/sysfs-devices-system-cpu. */
#include "scratch.h"

#include "base/machine.h"

static char root[512], tree[64];

static void put(const char *path, const char *text)
{
    char whole[256];
    (void)snprintf(whole, sizeof whole, "%s/%s", tree, path);
    (void)put_file(whole, text);
}

static void new_tree(const char *name, const char *online)
{
    (void)snprintf(tree, sizeof tree, "%s", name);
    (void)snprintf(root, sizeof root, "%s/%s", scratch, name);
    put("sys/devices/system/cpu/online", online);
}

static void put_cpu(int cpu, const char *name, const char *text)
{
    char path[128];
    (void)snprintf(path, sizeof path, "sys/devices/system/cpu/cpu%d/%s", cpu, name);
    put(path, text);
}

static void put_siblings(int cpu, int first, int second)
{
    char text[32];
    (void)snprintf(text, sizeof text, second == first + 1 ? "%d-%d\n" : "%d,%d\n", first, second);
    if (first == second)
        (void)snprintf(text, sizeof text, "%d\n", first);
    put_cpu(cpu, "topology/thread_siblings_list", text);
}

static void expect(int performance, int efficiency, int siblings, int threads)
{
    struct machine_topology t;
    machine_topology_at(root, &t);
    assert_int_equal(t.performance, performance);
    assert_int_equal(t.efficiency, efficiency);
    assert_int_equal(t.siblings, siblings);
    assert_int_equal(t.cpus, performance + efficiency + siblings);
    assert_int_equal(t.threads, threads);
}

static void expect_order(const int *want, int n)
{
    struct machine_topology t;
    machine_topology_at(root, &t);
    assert_int_equal(t.cpus, n);
    for (int i = 0; i < n; i++)
        assert_int_equal(t.order[i], want[i]);
}

/* Core i7-12700: 8 P-cores with two threads each (0-15), 4 E-cores (16-19). */
static void make_hybrid(void)
{
    new_tree("hybrid", "0-19\n");
    put("sys/devices/cpu_core/cpus", "0-15\n");
    put("sys/devices/cpu_atom/cpus", "16-19\n");
    for (int i = 0; i < 20; i++) {
        put_siblings(i, i < 16 ? i / 2 * 2 : i, i < 16 ? i / 2 * 2 + 1 : i);
        put_cpu(i, "cpufreq/cpuinfo_max_freq", i < 16 ? "4800000\n" : "3600000\n");
    }
    put("proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu vme avx2 avx_vnni\n");
}

static void intel_hybrid(void **state)
{
    (void)state;
    make_hybrid();
    expect(8, 4, 8, 8);
    static const int order[] = {0,  2,  4, 6, 8, 10, 12, 14, 16, 17,
                                18, 19, 1, 3, 5, 7,  9,  11, 13, 15};
    expect_order(order, 20);
    /* Only E-cores allowed: they are what there is. */
    put("proc/self/status", "Name:\tx\nCpus_allowed:\tf0000\nCpus_allowed_list:\t16-19\n");
    expect(0, 4, 0, 4);
    /* Second threads whose first ones may not be used are cores. */
    put("proc/self/status", "Cpus_allowed_list:\t1,3,16\n");
    expect(2, 1, 0, 2);
}

/* An older kernel, or a processor whose kinds have no folder: frequencies tell. */
static void kinds_by_frequency(void **state)
{
    (void)state;
    new_tree("frequency", "0-7\n");
    for (int i = 0; i < 8; i++)
        put_cpu(i, "cpufreq/cpuinfo_max_freq",
                i < 2   ? "5200000\n"
                : i < 4 ? "4900000\n"
                        : "3800000\n");
    expect(4, 4, 0, 4);
}

/* Ryzen 9 5950X: 16 cores, the second threads are 16-31. */
static void amd_with_smt(void **state)
{
    (void)state;
    new_tree("amd", "0-31\n");
    for (int i = 0; i < 32; i++) {
        put_siblings(i, i % 16, i % 16 + 16);
        put_cpu(i, "cpufreq/cpuinfo_max_freq", i % 16 < 2 ? "5083398\n" : "4900000\n");
    }
    put("sys/devices/system/node/node0/cpulist", "0-31\n");
    expect(16, 0, 16, 16);
}

/* RK3588 (4 + 4) and a phone with three kinds (1 + 3 + 4). */
static void arm_big_little(void **state)
{
    (void)state;
    new_tree("rk3588", "0-7\n");
    for (int i = 0; i < 8; i++)
        put_cpu(i, "cpu_capacity", i < 4 ? "397\n" : "1024\n");
    expect(4, 4, 0, 4);
    static const int order[] = {4, 5, 6, 7, 0, 1, 2, 3};
    expect_order(order, 8);
    new_tree("phone", "0-7\n");
    for (int i = 0; i < 8; i++)
        put_cpu(i, "cpu_capacity", i < 4 ? "251\n" : i < 7 ? "871\n" : "1024\n");
    expect(4, 4, 0, 4);
}

static void without_any_files(void **state)
{
    (void)state;
    new_tree("plain", "0-3\n");
    expect(4, 0, 0, 4);
    struct machine_topology t;
    machine_topology_at(in_scratch("nothing"), &t);
    assert_true(t.cpus == 1 && t.threads == 1 && t.order[0] == 0 && t.nodes == 1 && t.quota == 0);
}

/* A cloud machine of two virtual CPUs that are called threads of one core. */
static void siblings_of_a_virtual_machine_count(void **state)
{
    (void)state;
    new_tree("cloud", "0-1\n");
    put_siblings(0, 0, 1);
    put_siblings(1, 0, 1);
    put("proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu hypervisor avx2\nbugs\t\t:\n");
    expect(2, 0, 0, 2);
    put("proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu avx2\n");
    expect(1, 0, 1, 1);
}

static void affinity_and_quota(void **state)
{
    (void)state;
    struct machine_topology t;
    new_tree("container", "0-15\n");
    put("proc/self/status", "Cpus_allowed_list:\t2,5-6\nMems_allowed:\t1\n");
    expect(3, 0, 0, 3);
    static const int order[] = {2, 5, 6};
    expect_order(order, 3);
    put("proc/self/cgroup", "0::/\n");
    put("sys/fs/cgroup/cpu.max", "150000 100000\n");
    expect(3, 0, 0, 2);
    machine_topology_at(root, &t);
    assert_int_equal(t.quota, 2);
    put("sys/fs/cgroup/cpu.max", "50000 100000\n");
    expect(3, 0, 0, 1);
    put("sys/devices/system/cpu/online", "0-5\n"); /* allowed, but switched off */
    expect(2, 0, 0, 1);
}

static void nodes_with_our_cpus(void **state)
{
    (void)state;
    struct machine_topology t;
    new_tree("numa", "0-15\n");
    put("sys/devices/system/node/node0/cpulist", "0-7\n");
    put("sys/devices/system/node/node1/cpulist", "8-15\n");
    put("sys/devices/system/node/node2/cpulist", "\n"); /* memory alone */
    machine_topology_at(root, &t);
    assert_int_equal(t.nodes, 2);
    put("proc/self/status", "Cpus_allowed_list:\t8-11\n");
    machine_topology_at(root, &t);
    assert_int_equal(t.nodes, 1);
}

static void nonsense_is_ignored(void **state)
{
    (void)state;
    new_tree("odd", "0-3\n");
    put("sys/devices/cpu_atom/cpus", "none\n");
    put_cpu(0, "topology/thread_siblings_list", "x\n");
    put_cpu(1, "topology/thread_siblings_list", "99999-3\n");
    put("sys/devices/system/node/node0/cpulist", "junk\n");
    expect(4, 0, 0, 4);
}

static void this_machine(void **state)
{
    (void)state;
    struct machine_topology t;
    machine_topology(&t);
    assert_true(t.threads >= 1 && t.threads <= machine_cores());
    assert_int_equal(t.cpus, t.performance + t.efficiency + t.siblings);
    assert_true(t.nodes >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(intel_hybrid),
        cmocka_unit_test(kinds_by_frequency),
        cmocka_unit_test(amd_with_smt),
        cmocka_unit_test(arm_big_little),
        cmocka_unit_test(without_any_files),
        cmocka_unit_test(siblings_of_a_virtual_machine_count),
        cmocka_unit_test(affinity_and_quota),
        cmocka_unit_test(nodes_with_our_cpus),
        cmocka_unit_test(nonsense_is_ignored),
        cmocka_unit_test(this_machine),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
