#include "scratch.h"

#include "base/cpu.h"

/* Whether /proc/cpuinfo lists the flag; -1 when this system's file has no flags. */
static int listed(const char *flag)
{
    char *text = NULL;
    int found = -1;
    if (file_read("/proc/cpuinfo", 1 << 24, &text, NULL, NULL))
        return -1;
    char *line = strstr(text, "\nflags");
    if (line) {
        char *end = strchr(line + 1, '\n'), word[64];
        if (end)
            *end = '\0';
        (void)snprintf(word, sizeof word, " %s", flag);
        found = 0;
        for (char *at = strstr(line, word); at; at = strstr(at + 1, word)) {
            char after = at[strlen(word)];
            if (after == ' ' || after == '\0')
                found = 1;
        }
    }
    sp_free(text);
    return found;
}

static void agrees_with_the_kernel(void **state)
{
    (void)state;
    const cpu_features *f = cpu_get();
    const struct {
        const char *flag;
        bool here;
    } cases[] = {{"avx2", f->avx2},
                 {"fma", f->fma},
                 {"f16c", f->f16c},
                 {"bmi2", f->bmi2},
                 {"avx_vnni", f->avx_vnni},
                 {"avx512f", f->avx512f},
                 {"avx512bw", f->avx512bw},
                 {"avx512dq", f->avx512dq},
                 {"avx512vl", f->avx512vl},
                 {"avx512_vnni", f->avx512_vnni},
                 {"avx512_bf16", f->avx512_bf16}};
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        int want = listed(cases[i].flag);
        if (want >= 0 && want != cases[i].here)
            fail_msg("%s: the kernel says %d", cases[i].flag, want);
    }
}

/* What processors of each kind report (Intel SDM and AMD APM, CPUID leaves 1 and 7). */
#define HASWELL .avx2 = true, .fma = true, .f16c = true, .bmi2 = true
#define SKYLAKE_SERVER                                                                             \
    HASWELL, .avx512f = true, .avx512bw = true, .avx512dq = true, .avx512vl = true
#define CASCADE_LAKE SKYLAKE_SERVER, .avx512_vnni = true

static void picks_the_best_of_each_kind(void **state)
{
    (void)state;
    const struct {
        const char *kind;
        cpu_features features;
        enum cpu_isa best;
    } cases[] = {
        {"nothing", {0}, ISA_REF},
        {"Piledriver", {.fma = true, .f16c = true}, ISA_REF},
        {"Haswell, Zen to Zen 3", {HASWELL}, ISA_AVX2},
        {"Skylake server: no VNNI", {SKYLAKE_SERVER}, ISA_AVX2},
        {"Alder, Arrow Lake", {HASWELL, .avx_vnni = true}, ISA_AVXVNNI},
        {"Cascade, Ice, Tiger Lake", {CASCADE_LAKE}, ISA_AVX512},
        {"Cooper Lake, Zen 4", {CASCADE_LAKE, .avx512_bf16 = true}, ISA_AVX512},
        {"Sapphire Rapids, Zen 5",
         {CASCADE_LAKE, .avx512_bf16 = true, .avx_vnni = true},
         ISA_AVX512},
    };
    for (size_t i = 0; i < SP_COUNT(cases); i++)
        if (cpu_best_isa(&cases[i].features) != cases[i].best)
            fail_msg("%s: %s", cases[i].kind, cpu_isa_name(cpu_best_isa(&cases[i].features)));
}

static void picks_what_is_asked(void **state)
{
    (void)state;
    enum cpu_isa best = ISA_REF, isa = ISA_AVX512;
    sp_error err = {0};
    assert_int_equal(unsetenv("SAMPAN_ISA"), 0);
    assert_int_equal(cpu_pick_isa(&best, &err), 0);
    for (enum cpu_isa want = ISA_REF; want <= ISA_AVX512; want++) {
        assert_int_equal(setenv("SAMPAN_ISA", cpu_isa_name(want), 1), 0);
        int rc = cpu_pick_isa(&isa, &err);
        if (want <= best) {
            assert_int_equal(rc, 0);
            assert_int_equal(isa, want);
        } else {
            assert_int_equal(rc, SP_EUNSUPPORTED);
            assert_non_null(strstr(err.message, cpu_isa_name(best)));
        }
    }
    assert_int_equal(setenv("SAMPAN_ISA", "", 1), 0);
    assert_int_equal(cpu_pick_isa(&isa, &err), 0);
    assert_int_equal(isa, best);
}

static void unknown_names_are_refused(void **state)
{
    (void)state;
    enum cpu_isa isa = ISA_REF;
    sp_error err = {0};
    assert_int_equal(setenv("SAMPAN_ISA", "avx9", 1), 0);
    assert_int_equal(cpu_pick_isa(&isa, &err), SP_EINVAL);
    assert_non_null(strstr(err.message, "SAMPAN_ISA=avx9"));
    assert_non_null(strstr(err.message, "ref, avx2, avxvnni or avx512"));
    assert_int_equal(unsetenv("SAMPAN_ISA"), 0);
}

static void names(void **state)
{
    (void)state;
    assert_string_equal(cpu_isa_name(ISA_REF), "ref");
    assert_string_equal(cpu_isa_name(ISA_AVX2), "avx2");
    assert_string_equal(cpu_isa_name(ISA_AVXVNNI), "avxvnni");
    assert_string_equal(cpu_isa_name(ISA_AVX512), "avx512");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_kernel),
        cmocka_unit_test(picks_the_best_of_each_kind),
        cmocka_unit_test(picks_what_is_asked),
        cmocka_unit_test(unknown_names_are_refused),
        cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
