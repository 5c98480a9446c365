#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "cli/cli_int.h"

bool term_is_tty(int fd)
{
    return isatty(fd) == 1;
}

bool term_color(const options *o, int fd)
{
    const char *want = o ? options_str(o, "color") : NULL;
    if (want && strcmp(want, "always") == 0)
        return true;
    if (want && strcmp(want, "never") == 0)
        return false;
    return term_is_tty(fd) && !getenv("NO_COLOR");
}

int term_width(void)
{
    struct winsize w;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 0)
        return w.ws_col;
    return 80;
}

void term_status(const char *line)
{
    if (!term_is_tty(STDERR_FILENO))
        return;
    if (line)
        fprintf(stderr, "\r\033[K%.*s", term_width() - 1, line);
    else
        fprintf(stderr, "\r\033[K");
    fflush(stderr);
}

void term_bytes(uint64_t n, char out[24])
{
    if (n < 1000000)
        snprintf(out, 24, "%.1f kB", (double)n / 1e3);
    else if (n < 1000000000)
        snprintf(out, 24, "%.0f MB", (double)n / 1e6);
    else
        snprintf(out, 24, "%.2f GB", (double)n / 1e9);
}

void term_duration(double seconds, char out[24])
{
    if (seconds < 99.5)
        snprintf(out, 24, "%.0f s", seconds);
    else if (seconds < 5940)
        snprintf(out, 24, "%.0f min", seconds / 60);
    else if (seconds < 360000)
        snprintf(out, 24, "%.1f h", seconds / 3600);
    else
        snprintf(out, 24, "days");
}

int term_use_utf8(void)
{
    setlocale(LC_CTYPE, "");
    if (strcmp(nl_langinfo(CODESET), "UTF-8") == 0)
        return 0;
    return setlocale(LC_CTYPE, "C.UTF-8") ? 0 : SP_EUNSUPPORTED;
}
