/*
 * Call the door again and again against a server that says anything, with any words and variables: hostile FOLDER SEED COUNT.
 * What the door does is compared with what it should do, which is written here a second time.
 */
#include "door.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define MUST(condition) ((condition) ? (void)0 : fail(#condition, __LINE__))
enum { PACKETS = 8, LARGEST = 140000, WORDS = 40 };
static const char build[] = "0123456789abcdef";
static const struct facts facts = {build, "{}\n", "1", "1.0.0"};

/* What the server says in one round, and what was heard of the door. */
static struct {
    int greeting; /* 0: the build; 1: something else; 2: nothing, and hang up; 3: nothing, and wait */
    bool deaf;    /* hang up without reading the call */
    int count;
    size_t lengths[PACKETS];
    size_t descriptors;
    bool called, whole;
} script;
static char packets[PACKETS][LARGEST], received[1 << 19], wanted[PACKETS * LARGEST], printed[PACKETS * LARGEST];
static int listener, report = 2;
static long iteration;
static uint64_t state;

static void fail(const char *what, int line)
{
    dprintf(report, "round %ld, line %d: %s\n", iteration, line, what);
    abort();
}

/* A number below `limit` (xorshift64*). */
static size_t below(size_t limit)
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (size_t)((state * 0x2545F4914F6CDD1DULL) >> 33) % limit;
}

static void write_script(void)
{
    static const char kinds[] = "OOOOOOSN?";

    memset(&script, 0, sizeof script);
    script.greeting = below(6) ? 0 : (int)(below(40) ? 1 + below(2) : 3);
    script.deaf = !below(12);
    script.count = (int)below(PACKETS + 1);
    for (int at = 0; at < script.count; at++) {
        size_t length = below(10) ? below(below(3) ? 3 : 300) : below(LARGEST);

        for (size_t byte = 0; byte < length && byte < 400; byte++)
            packets[at][byte] = (char)below(256);
        if (length)
            packets[at][0] = kinds[below(sizeof kinds - (below(20) ? 2 : 1))];
        script.lengths[at] = length;
    }
}

static void hear(int connection)
{
    char control[512];
    struct iovec piece = {received, sizeof received};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t length = recvmsg(connection, &message, MSG_CMSG_CLOEXEC);

    for (struct cmsghdr *at = CMSG_FIRSTHDR(&message); length > 0 && at; at = CMSG_NXTHDR(&message, at)) {
        script.descriptors = (at->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t number = 0; number < script.descriptors; number++) {
            int fd;

            memcpy(&fd, CMSG_DATA(at) + number * sizeof fd, sizeof fd);
            close(fd);
        }
    }
    script.called = length > 0;
    script.whole = length > (ssize_t)sizeof build && !memcmp(received, build, sizeof build) && received[length - 1];
}

static void *serve(void *unused)
{
    int connection = accept(listener, NULL, NULL);
    char nothing;

    if (script.greeting < 2)
        send(connection, script.greeting ? build + 1 : build, sizeof build - (script.greeting ? 2 : 1), MSG_NOSIGNAL);
    if (script.greeting == 3)
        MUST(recv(connection, &nothing, 1, 0) <= 0); /* until the door has gone */
    else if (!script.greeting && !script.deaf)
        hear(connection);
    for (int at = 0; script.called && at < script.count; at++)
        send(connection, packets[at], script.lengths[at], MSG_NOSIGNAL);
    close(connection);
    return unused;
}

/* The status that the door should return for what the server says after the call. Writes `wanted`, but no error object. */
static int expected(size_t *length)
{
    *length = 0;
    for (int at = 0; at < script.count; at++) {
        size_t size = script.lengths[at];
        char kind = packets[at][0];

        if (size >= 1 << 17 || !size || !strchr("OSN", kind) || (kind == 'S' && size < 2))
            return 256;
        if (kind == 'S')
            return (unsigned char)packets[at][1];
        if (kind == 'N')
            return -1;
        memcpy(wanted + *length, packets[at] + 1, size - 1);
        *length += size - 1;
    }
    return 256;
}

/* Words of any kind, the last one NULL. */
static void choose(char *words[], const char *forced, bool of_environment)
{
    static char room[2][WORDS][16000];
    size_t count = 1 + below(WORDS - 2), large = below(30) ? 15 : 1;

    for (size_t at = 0; at < count; at++) {
        char *word = room[of_environment][at];
        size_t length = below(large) ? below(30) : below(sizeof room[0][0]);

        for (size_t byte = 0; byte < length; byte++)
            word[byte] = below(6) ? (char)(1 + below(255)) : "=/AC_"[below(5)];
        word[length] = 0;
        words[at] = word;
    }
    if (forced)
        words[below(count)] = strcpy(room[of_environment][WORDS - 1], forced);
    words[count] = NULL;
}

static void play(const char *path, int output)
{
    char *argv[WORDS], *envp[WORDS + 3], variable[200], debug[] = "CNI_DEBUG=1";
    int argc = 0, first = open("/dev/null", O_RDONLY | O_CLOEXEC), status, wanted_status, last;
    struct sigaction now;
    pthread_t server;
    size_t length;
    off_t size;

    write_script();
    choose(argv, NULL, false);
    choose(envp, "CNI_COMMAND=ADD", true);
    snprintf(variable, sizeof variable, "CNI_FORKSERVER=%s", path);
    for (last = 0; envp[last]; last++)
        if (!strncmp(envp[last], "CNI_FORKSERVER=", 15) || !strncmp(envp[last], "CNI_DEBUG=", 10))
            envp[last][0] = 'X';
    envp[last++] = variable;
    if (below(2))
        envp[last++] = debug;
    envp[last] = NULL;
    while (argv[argc])
        argc++;
    MUST(!ftruncate(output, 0) && !lseek(output, 0, SEEK_SET));
    MUST(!pthread_create(&server, NULL, serve, NULL));
    status = door(&facts, "plugin", "cni_plugin", argc, argv, envp);
    MUST(!pthread_join(server, NULL));
    MUST(script.called || script.deaf || status < 0);
    wanted_status = script.greeting || (!script.called && status < 0) ? -1 : script.deaf ? 256 : expected(&length);
    size = lseek(output, 0, SEEK_END);
    MUST(pread(output, printed, sizeof printed, 0) == size);
    if (wanted_status < 0) {
        MUST(status == -1 && !size);
        MUST(!sigaction(SIGPIPE, NULL, &now) && now.sa_handler == SIG_DFL);
        MUST(!sigaction(SIGINT, NULL, &now) && now.sa_handler == SIG_DFL);
    } else if (wanted_status > 255) {
        MUST(status == 1 && size > 20 && !memcmp(printed, "{\"cniVersion\"", 13) && printed[size - 1] == '}');
    } else {
        MUST(status == wanted_status && (size_t)size == length && !memcmp(printed, wanted, length));
    }
    MUST(!script.called || (script.whole && script.descriptors == 7));
    signal(SIGPIPE, SIG_DFL);
    signal(SIGXFSZ, SIG_DFL);
    close(first);
    last = open("/dev/null", O_RDONLY | O_CLOEXEC);
    MUST(last == first); /* nothing was left open */
    close(last);
}

int main(int argc, char **argv)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int output = memfd_create("output", MFD_CLOEXEC);

    if (argc != 4)
        return 2;
    snprintf(address.sun_path, sizeof address.sun_path, "%s/socket", argv[1]);
    state = strtoull(argv[2], NULL, 10) * 2 + 1;
    listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    MUST(!bind(listener, (const struct sockaddr *)&address, sizeof address) && !listen(listener, 1));
    report = fcntl(2, F_DUPFD_CLOEXEC, 10);
    MUST(dup2(output, 1) == 1 && dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), 2) == 2);
    for (iteration = 0; iteration < strtol(argv[3], NULL, 10); iteration++)
        play(address.sun_path, output);
    return 0;
}
