/* Python's memory comes in pieces of one MiB. The first ones are in huge pages: the kernel gives 4 MiB in 0.2 ms instead of
 * 1.4 ms, and takes them back faster too. If it has no huge page, they are ordinary pages.
 */
#include "launcher.h"

#include <malloc.h>
#include <stdint.h>
#include <sys/mman.h>

enum { HUGE = 2 << 20, ROOM = 2 * HUGE };
static char *room, *room_end;

static void *allocate(void *context, size_t size)
{
    (void)context;
    if (room && size <= (size_t)(room_end - room)) {
        room += size;
        return room - size;
    }
    void *more = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return more == MAP_FAILED ? NULL : more;
}

static void release(void *context, void *at, size_t size)
{
    (void)context;
    munmap(at, size);
}

int prepare_memory(void)
{
    /* A buffer for an answer of the kernel would be mapped and unmapped each time. */
    mallopt(M_MMAP_THRESHOLD, 16 << 20);
    mallopt(M_TRIM_THRESHOLD, 16 << 20);
    mallopt(M_TOP_PAD, 1 << 20);
    char *mapped = mmap(NULL, ROOM + HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapped == MAP_FAILED)
        return -1;
    room = (char *)(((uintptr_t)mapped + HUGE - 1) & ~(uintptr_t)(HUGE - 1));
    room_end = room + ROOM;
    madvise(room, ROOM, MADV_HUGEPAGE);
    PyObjectArenaAllocator allocator = {NULL, allocate, release};
    PyObject_SetArenaAllocator(&allocator);
    return 0;
}
