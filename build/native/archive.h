/* The archive at the end of this file: a zip whose entries are stored and sorted by name (build/archive.py). */
#ifndef PYCNI_ARCHIVE_H
#define PYCNI_ARCHIVE_H

#include <stddef.h>

struct entry {
    const unsigned char *name; /* not terminated */
    size_t name_length;
    const unsigned char *data;
    size_t size;
};

/* Map the file with this mark at its end, and read the archive's directory. 0, or -1 with errno: ENOEXEC
 * if it is no such file. */
int archive_open(const char *path, const char *mark);

/* The entry with this name, or NULL. */
const struct entry *archive_find(const char *name, size_t length);

/* The entry with this number, or NULL after the last one. */
const struct entry *archive_at(size_t number);

#endif
