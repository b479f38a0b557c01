/* Remembers what of a database file is on the disk for sure, so that a test can take away the rest.
 *
 * Preloaded into a process. Of each database file below $POWER_LOSS_LIVE there is a second one in
 * $POWER_LOSS_DURABLE, which gets the pages that were written when they are synced, and not before.
 * When the process is killed, the second file is what a machine that lost its power would surely
 * find; each page in which they differ may be there or not. A sync takes $POWER_LOSS_SYNC_MS, as on
 * a slow disk, so that there is something to lose at most moments.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGE = 4096, FILES = 32, FDS = 65536, NAME = 1024 };

struct file {
    char name[NAME];
    int durable;
    unsigned char *dirty;
    size_t pages;
};

static struct file files[FILES];
static int file_of[FDS]; /* index of the file, from 1 */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static void give_up(const char *what) {
    fprintf(stderr, "power_loss: %s: %s\n", what, strerror(errno));
    abort();
}

static int is_database(const char *name) {
    const char *endings[] = {".db", ".db-wal", ".db-journal"};
    size_t length = strlen(name);
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        size_t end = strlen(endings[i]);
        if (length >= end && strcmp(name + length - end, endings[i]) == 0) return 1;
    }
    return 0;
}

/* The name of a file directly in the live folder; nothing for any other. */
static const char *name_in(const char *path) {
    const char *live = getenv("POWER_LOSS_LIVE");
    if (live == NULL) return NULL;
    size_t length = strlen(live);
    if (strncmp(path, live, length) != 0 || path[length] != '/') return NULL;
    const char *name = path + length + 1;
    return strchr(name, '/') == NULL && is_database(name) ? name : NULL;
}

static void durable_path(char *out, const char *name) {
    const char *folder = getenv("POWER_LOSS_DURABLE");
    if (folder == NULL) give_up("POWER_LOSS_DURABLE is not set");
    snprintf(out, NAME, "%s/%s", folder, name);
}

static void mark(struct file *file, off_t from, size_t length) {
    size_t last = ((size_t)from + length + PAGE - 1) / PAGE;
    if (last > file->pages) {
        size_t pages = last * 2;
        file->dirty = realloc(file->dirty, pages);
        if (file->dirty == NULL) give_up("no memory");
        memset(file->dirty + file->pages, 0, pages - file->pages);
        file->pages = pages;
    }
    for (size_t page = (size_t)from / PAGE; page < last; page++) file->dirty[page] = 1;
}

static void opened(int fd) {
    char link[64], path[NAME];
    if (fd < 0 || fd >= FDS) return;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return;
    path[length] = 0;
    const char *name = name_in(path);
    if (name == NULL) return;
    pthread_mutex_lock(&lock);
    int at = 0;
    while (at < FILES && files[at].name[0] != 0 && strcmp(files[at].name, name) != 0) at++;
    if (at == FILES) give_up("too many files");
    struct file *file = &files[at];
    if (file->name[0] == 0) {
        char durable[NAME];
        durable_path(durable, name);
        struct stat stat;
        snprintf(file->name, NAME, "%s", name);
        file->durable = REAL(open)(durable, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (file->durable < 0 || fstat(fd, &stat) != 0) give_up(durable);
    }
    file_of[fd] = at + 1;
    pthread_mutex_unlock(&lock);
}

static struct file *of(int fd) {
    return fd >= 0 && fd < FDS && file_of[fd] != 0 ? &files[file_of[fd] - 1] : NULL;
}

static void written(int fd, off_t at, ssize_t length) {
    struct file *file = of(fd);
    if (file == NULL || length <= 0) return;
    pthread_mutex_lock(&lock);
    mark(file, at, (size_t)length);
    pthread_mutex_unlock(&lock);
}

/* What was written is on the disk from now on. */
static void synced(int fd) {
    struct file *file = of(fd);
    if (file == NULL) return;
    unsigned char page[PAGE];
    struct stat stat;
    pthread_mutex_lock(&lock);
    for (size_t at = 0; at < file->pages; at++) {
        if (!file->dirty[at]) continue;
        file->dirty[at] = 0;
        ssize_t length = pread(fd, page, PAGE, (off_t)(at * PAGE));
        if (length > 0 && REAL(pwrite)(file->durable, page, (size_t)length, (off_t)(at * PAGE)) != length)
            give_up(file->name);
    }
    if (fstat(fd, &stat) != 0 || REAL(ftruncate)(file->durable, stat.st_size) != 0)
        give_up(file->name);
    pthread_mutex_unlock(&lock);
}

#define OPEN(NAME_)                                                                                \
    int NAME_(const char *path, int flags, ...) {                                                  \
        va_list more;                                                                              \
        va_start(more, flags);                                                                     \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;                    \
        va_end(more);                                                                              \
        int fd = REAL(NAME_)(path, flags, mode);                                                   \
        int before = errno;                                                                        \
        opened(fd);                                                                                \
        errno = before;                                                                            \
        return fd;                                                                                 \
    }
OPEN(open)
OPEN(open64)

#define PWRITE(NAME_)                                                                              \
    ssize_t NAME_(int fd, const void *bytes, size_t length, off_t at) {                            \
        ssize_t done = REAL(NAME_)(fd, bytes, length, at);                                         \
        written(fd, at, done);                                                                     \
        return done;                                                                               \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

ssize_t write(int fd, const void *bytes, size_t length) {
    ssize_t done = REAL(write)(fd, bytes, length);
    if (done > 0 && of(fd) != NULL) written(fd, lseek(fd, 0, SEEK_CUR) - done, done);
    return done;
}

static void take_time(int fd) {
    const char *ms = getenv("POWER_LOSS_SYNC_MS");
    if (ms != NULL && of(fd) != NULL) usleep((useconds_t)atoi(ms) * 1000);
}

#define SYNC(NAME_)                                                                                \
    int NAME_(int fd) {                                                                            \
        take_time(fd);                                                                             \
        int done = REAL(NAME_)(fd);                                                                \
        if (done == 0) synced(fd);                                                                 \
        return done;                                                                               \
    }
SYNC(fsync)
SYNC(fdatasync)

int close(int fd) {
    if (fd >= 0 && fd < FDS) file_of[fd] = 0;
    return REAL(close)(fd);
}

int unlink(const char *path) {
    int done = REAL(unlink)(path);
    const char *name = done == 0 ? name_in(path) : NULL;
    if (name != NULL) {
        char durable[NAME];
        durable_path(durable, name);
        pthread_mutex_lock(&lock);
        for (int at = 0; at < FILES; at++) {
            if (strcmp(files[at].name, name) != 0) continue;
            if (REAL(ftruncate)(files[at].durable, 0) != 0) give_up(durable);
            if (files[at].dirty != NULL) memset(files[at].dirty, 0, files[at].pages);
        }
        pthread_mutex_unlock(&lock);
    }
    return done;
}
