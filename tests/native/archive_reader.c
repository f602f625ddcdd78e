/* Opens the archive of each file that is named on standard input, and reads every byte of its entries. */
#include "archive.h"

#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    char path[4096];
    while (argc == 2 && fgets(path, sizeof path, stdin)) {
        path[strcspn(path, "\n")] = 0;
        if (archive_open(path, argv[1])) {
            puts("refused");
            continue;
        }
        const struct entry *entry;
        size_t count = 0;
        unsigned char sum = 0;
        for (; (entry = archive_at(count)); count++) {
            for (size_t at = 0; at < entry->size; at++)
                sum = (unsigned char)(sum + entry->data[at]);
            if (archive_find((const char *)entry->name, entry->name_length) != entry)
                puts("not found");
        }
        printf("%zu %d\n", count, sum);
    }
    return 0;
}
