/* Lines on their way to stderr: a bounded ring between those who log and the thread that writes. Once it is full, all
 * lines are lost until TELL_ROOM is free; then the writer puts a line with their number where they would have stood.
 * The memory is static, since the writer may still hold it when the program ends. */
#include "base/log_int.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/log.h"

#define QUEUE_BYTES ((size_t)256 << 10)
#define TELL_ROOM ((size_t)64 << 10) /* more than the longest line */
#define STOP_SECONDS 2               /* for a reader that is slow; one that is gone gets no more */

_Static_assert(TELL_ROOM > LOG_LINE_MAX + sizeof(uint32_t), "a line fits into what is free");

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t more = PTHREAD_COND_INITIALIZER, over = PTHREAD_COND_INITIALIZER;
static struct {
    char bytes[QUEUE_BYTES]; /* a ring: each line's length, then its text */
    size_t first, used;
    bool runs, stop, full;
    uint64_t lost;
} queue; /* under lock */
static _Thread_local bool is_writer;

static void ring_put(const void *from, size_t n)
{
    size_t at = (queue.first + queue.used) % QUEUE_BYTES;
    size_t head = n < QUEUE_BYTES - at ? n : QUEUE_BYTES - at;
    memcpy(queue.bytes + at, from, head);
    memcpy(queue.bytes, (const char *)from + head, n - head);
    queue.used += n;
}

static void ring_take(void *to, size_t n)
{
    size_t head = n < QUEUE_BYTES - queue.first ? n : QUEUE_BYTES - queue.first;
    memcpy(to, queue.bytes + queue.first, head);
    memcpy((char *)to + head, queue.bytes, n - head);
    queue.first = (queue.first + n) % QUEUE_BYTES;
    queue.used -= n;
}

bool log_queue_add(const char *line, size_t n)
{
    const uint32_t length = (uint32_t)n;
    pthread_mutex_lock(&lock);
    bool runs = queue.runs;
    if (runs && !is_writer)
        queue.full |= QUEUE_BYTES - queue.used < n + sizeof length;
    if (runs && queue.full && !is_writer) {
        queue.lost++;
    } else if (runs) {
        ring_put(&length, sizeof length);
        ring_put(line, n);
        pthread_cond_signal(&more);
    }
    pthread_mutex_unlock(&lock);
    return runs;
}

void log_write_all(const char *text, size_t n)
{
    while (n > 0) {
        ssize_t wrote = write(STDERR_FILENO, text, n);
        if (wrote > 0) {
            text += wrote;
            n -= (size_t)wrote;
        } else if (errno != EINTR) {
            return; /* nowhere left to say it */
        }
    }
}

/* Under lock, which it gives up meanwhile. */
static void tell_lost(void)
{
    uint64_t lost = queue.lost;
    if (!queue.full || QUEUE_BYTES - queue.used < TELL_ROOM)
        return;
    pthread_mutex_unlock(&lock);
    log_warn("base", "%" PRIu64 " lines of the log were lost: nobody read them", lost);
    pthread_mutex_lock(&lock);
    queue.lost -= lost;
    queue.full = queue.lost > 0;
}

static void *write_lines(void *arg)
{
    static char line[LOG_LINE_MAX];
    uint32_t n;
    is_writer = true;
    pthread_mutex_lock(&lock);
    for (;;) {
        while (queue.used == 0 && !queue.stop)
            pthread_cond_wait(&more, &lock);
        if (queue.used == 0)
            break;
        ring_take(&n, sizeof n);
        ring_take(line, n);
        pthread_mutex_unlock(&lock);
        log_write_all(line, n);
        pthread_mutex_lock(&lock);
        tell_lost();
    }
    queue.runs = false;
    pthread_cond_signal(&over);
    pthread_mutex_unlock(&lock);
    return arg;
}

int log_writer_start(sp_error *err)
{
    pthread_t thread;
    sigset_t all, before;
    pthread_mutex_lock(&lock);
    queue.runs = true;
    queue.stop = false;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&thread, NULL, write_lines, NULL);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    queue.runs = rc == 0;
    pthread_mutex_unlock(&lock);
    if (rc)
        return sp_fail(err, SP_ENOMEM, "the log's thread could not be started");
    (void)pthread_detach(thread);
    return 0;
}

void log_writer_stop(void)
{
    struct timespec until;
    int rc = 0;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += STOP_SECONDS;
    pthread_mutex_lock(&lock);
    queue.stop = true;
    pthread_cond_signal(&more);
    while (queue.runs && rc == 0)
        rc = pthread_cond_timedwait(&over, &lock, &until);
    pthread_mutex_unlock(&lock);
}
