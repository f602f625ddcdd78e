/* Read the archive at the end of this file. Every number is checked against the size of the file. */
#include "archive.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Sizes of the fixed parts (APPNOTE 4.3): local header, entry of the directory, end of the directory. */
enum { LOCAL = 30, CENTRAL = 46, END = 22 };

static struct entry *entries;
static size_t count;

static uint32_t number(const unsigned char *at, int bytes)
{
    uint32_t value = 0;
    while (bytes--)
        value = value << 8 | at[bytes];
    return value;
}

static int compare(const unsigned char *name, size_t length, const struct entry *entry)
{
    size_t common = length < entry->name_length ? length : entry->name_length;
    int order = memcmp(name, entry->name, common);
    return order ? order : (length > entry->name_length) - (length < entry->name_length);
}

/* Read one entry at `at`, whose data lie between `base` and `limit`. The length of the entry, 0 if it is malformed. */
static size_t read_entry(struct entry *entry, const unsigned char *at, const unsigned char *base, const unsigned char *limit)
{
    size_t left = (size_t)(limit - at), whole = (size_t)(limit - base);
    if (left < CENTRAL || memcmp(at, "PK\1\2", 4) || number(at + 10, 2) != 0)
        return 0;
    size_t names = number(at + 28, 2), size = number(at + 24, 4), local = number(at + 42, 4);
    size_t length = CENTRAL + names + number(at + 30, 2) + number(at + 32, 2);
    if (length > left || local > whole || whole - local < LOCAL)
        return 0;
    size_t skipped = LOCAL + (size_t)number(base + local + 26, 2) + number(base + local + 28, 2);
    if (skipped > whole - local || size > whole - local - skipped)
        return 0;
    *entry = (struct entry){at + CENTRAL, names, base + local + skipped, size};
    return length;
}

static int read_directory(const unsigned char *file, size_t size, const char *mark)
{
    size_t comment = strlen(mark);
    if (size < END + comment || memcmp(file + size - comment, mark, comment))
        return -1;
    const unsigned char *end = file + size - comment - END;
    size_t directory = number(end + 12, 4), offset = number(end + 16, 4), before = (size_t)(end - file);
    if (memcmp(end, "PK\5\6", 4) || directory > before || offset > before - directory)
        return -1;
    size_t wanted = number(end + 10, 2);
    const unsigned char *at = end - directory, *base = at - offset;
    entries = calloc(wanted ? wanted : 1, sizeof *entries);
    if (!entries)
        return -1;
    for (count = 0; count < wanted; count++) {
        size_t length = read_entry(&entries[count], at, base, end);
        if (!length || (count && compare(entries[count].name, entries[count].name_length, &entries[count - 1]) <= 0))
            return -1;
        at += length;
    }
    return 0;
}

int archive_open(const char *path, const char *mark)
{
    struct stat found;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return -1;
    void *mapped = MAP_FAILED;
    if (!fstat(file, &found) && found.st_size > 0)
        mapped = mmap(NULL, (size_t)found.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    close(file);
    if (mapped == MAP_FAILED)
        return -1;
    errno = ENOEXEC;
    return read_directory(mapped, (size_t)found.st_size, mark);
}

const struct entry *archive_find(const char *name, size_t length)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare((const unsigned char *)name, length, &entries[middle]);
        if (!order)
            return &entries[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

const struct entry *archive_at(size_t position)
{
    return position < count ? &entries[position] : NULL;
}
