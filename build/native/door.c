/*
 * The front door of the native file. It answers VERSION and a call without a verb, and sends each other call to the fork
 * server, as build/handover.py does. It decides nothing about a call: if anything is unusual, Python starts.
 * Its only allocation is a `struct call`, which has a fixed size.
 */
#include "door.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

/* Milliseconds that the server may take to send its build, and for each packet of its answer. */
#ifndef GREETING_TIME
#define GREETING_TIME 1000
#define CALL_TIME 115000
#endif
#define SOCKET "/run/cni-forkserver/socket"
enum { PACKET_MAX = 1 << 18, PIECE_MAX = (1 << 17) - 1, OUTPUT_MAX = 16 << 20, REASON_MAX = 200, VARIABLES_MAX = 4096 };

/* The standard streams, then the caller's surroundings in this order, are sent as file descriptors. */
enum { STREAMS = 3, DESCRIPTORS = 7 };
static const char *const surroundings[] = {".", "/", "/proc/self/ns/net", "/proc/self/ns/mnt"};
static const int flags[] = {O_PATH | O_CLOEXEC, O_PATH | O_CLOEXEC, O_RDONLY | O_CLOEXEC, O_RDONLY | O_CLOEXEC};

struct call {
    const struct facts *facts;
    const char *package, *path; /* of the plugin; of the server's socket */
    char **argv, **envp;
    int argc, socket, status;
    size_t length, written;
    char packet[PACKET_MAX], output[OUTPUT_MAX + 1]; /* `length` and `written` bytes of them are used */
};

/* How signals were handled before. */
static struct sigaction old_pipe, old_size, old_interrupt;

/* The value of a variable, or NULL. As in Python, the first one counts. */
static const char *value_of(char **envp, const char *name)
{
    size_t length = strlen(name);

    for (; *envp; envp++)
        if (!strncmp(*envp, name, length) && (*envp)[length] == '=')
            return *envp + length + 1;
    return NULL;
}

/* The text of the last error, as Python has it. `path` is the file that cannot be opened, or NULL. */
static const char *failed(const char *path)
{
    static char text[REASON_MAX];
    int number = errno;

    if (path)
        snprintf(text, sizeof text, "[Errno %d] %s: '%s'", number, strerror(number), path);
    else
        snprintf(text, sizeof text, "[Errno %d] %s", number, strerror(number));
    return text;
}

/* Write up to five texts and a line feed to standard error, with one system call. It may be closed. */
static void say(const char *const texts[])
{
    struct iovec pieces[6];
    int count = 0;

    for (; count < 5 && texts[count]; count++)
        pieces[count] = (struct iovec){(char *)texts[count], strlen(texts[count])};
    pieces[count] = (struct iovec){(char *)"\n", 1};
    if (writev(STDERR_FILENO, pieces, count + 1) < 0)
        return;
}

static void say_not_used(const struct call *call, const char *reason)
{
    const char *debug = value_of(call->envp, "CNI_DEBUG");

    if (debug && *debug)
        say((const char *const[]){"cni-forkserver: not used: ", reason, NULL});
}

/* Print the plugin's output, and return the exit status. */
static int print_output(int status, const char *output, size_t length)
{
    while (length) {
        ssize_t written = write(STDOUT_FILENO, output, length);

        if (written >= 0) {
            output += written;
            length -= (size_t)written;
        } else if (errno != EINTR) {
            say((const char *const[]){"cannot write the result: ", failed(NULL), NULL});
            return 1;
        }
    }
    return status;
}

/* Print an error object: the server may have done a part of the call, and the runtime will send DEL. */
static int print_failure(const char *reason)
{
    static const char start[] =
        "{\"cniVersion\": \"1.1.0\", \"code\": 11, \"msg\": \"the fork server did not finish the call: ";
    static const char end[] = "\", \"details\": \"DEL removes what the call has done; then try again\"}";
    char document[sizeof start + REASON_MAX + sizeof end];
    size_t length = sizeof start - 1;

    memcpy(document, start, length);
    for (; *reason && length < sizeof start + REASON_MAX; reason++)
        document[length++] = isalnum((unsigned char)*reason) ? *reason : ' ';
    memcpy(document + length, end, sizeof end - 1);
    return print_output(1, document, length + sizeof end - 1);
}

/* Python would raise KeyboardInterrupt. */
static void interrupted(int number __attribute__((unused)))
{
    _exit(print_failure("KeyboardInterrupt"));
}

/* Do what Python does when it starts: the server sees which signals are ignored. */
static void change_signals(void)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN}, handle = {.sa_handler = interrupted};

    sigaction(SIGPIPE, &ignore, &old_pipe);
    sigaction(SIGXFSZ, &ignore, &old_size);
    sigaction(SIGINT, NULL, &old_interrupt);
    if (old_interrupt.sa_handler == SIG_DFL)
        sigaction(SIGINT, &handle, NULL);
}

static void restore_signals(void)
{
    sigaction(SIGPIPE, &old_pipe, NULL);
    sigaction(SIGXFSZ, &old_size, NULL);
    sigaction(SIGINT, &old_interrupt, NULL);
}

/* Receive a packet. Returns NULL, or why not. */
static const char *receive(struct call *call, size_t room, int limit)
{
    struct pollfd waiting = {call->socket, POLLIN, 0};
    int ready = poll(&waiting, 1, limit);
    ssize_t received = ready > 0 ? recv(call->socket, call->packet, room, 0) : -1;

    if (!ready)
        return "timed out";
    if (received < 0)
        return failed(NULL);
    call->length = (size_t)received;
    return NULL;
}

/* Connect to a server of root and of this build. Returns NULL, or why not. */
static const char *greet(struct call *call)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct ucred peer = {.uid = 1};
    socklen_t size = sizeof peer;
    const char *fault;

    if (strlen(call->path) >= sizeof address.sun_path)
        return "AF_UNIX path too long";
    strcpy(address.sun_path, call->path);
    if (connect(call->socket, (const struct sockaddr *)&address, sizeof address) ||
        getsockopt(call->socket, SOL_SOCKET, SO_PEERCRED, &peer, &size))
        return failed(NULL);
    if (peer.uid)
        return "the server is not root's";
    fault = receive(call, 128, GREETING_TIME);
    if (fault)
        return fault;
    if (call->length != strlen(call->facts->build) || memcmp(call->packet, call->facts->build, call->length))
        return "the server is of another build";
    return NULL;
}

/* Append a field and a zero byte to the packet. Returns whether there was room. */
static bool append(struct call *call, const char *text)
{
    size_t added = strlen(text) + 1;

    if (added > sizeof call->packet - call->length)
        return false;
    memcpy(call->packet + call->length, text, added);
    call->length += added;
    return true;
}

/* Append the environment, as Python has it: each name once. Returns whether there was room. */
static bool append_variables(struct call *call)
{
    for (int at = 0; call->envp[at]; at++) {
        const char *entry = call->envp[at], *equals = strchr(entry, '=');
        size_t name = equals ? (size_t)(equals - entry) + 1 : 0;
        int earlier = 0;

        while (earlier < at && strncmp(call->envp[earlier], entry, name))
            earlier++;
        if (equals && earlier == at && !append(call, entry))
            return false;
        if (at == VARIABLES_MAX) /* the comparisons would take long */
            return false;
    }
    return true;
}

/* Write the call into the packet. Returns NULL, or why not. */
static const char *pack(struct call *call)
{
    const char *program = (const char *)getauxval(AT_EXECFN); /* as with a script, this is not argv[0] */
    char umask_text[16], count[16];
    mode_t mask = umask(077);
    bool fits;

    umask(mask);
    if (!program || call->argc < 1)
        return "the program has no name";
    snprintf(umask_text, sizeof umask_text, "%u", mask);
    snprintf(count, sizeof count, "%d", call->argc);
    call->length = 0;
    fits = append(call, call->facts->build) && append(call, call->package) && append(call, umask_text) && append(call, count);
    if (fits && *program != '/') { /* make it absolute, because the working directory may change */
        if (!getcwd(call->packet + call->length, sizeof call->packet - call->length))
            return failed(NULL);
        call->length += strlen(call->packet + call->length);
        call->packet[call->length++] = '/';
    }
    fits = fits && append(call, program);
    for (int at = 1; at < call->argc; at++)
        fits = fits && append(call, call->argv[at]);
    if (!fits || !append_variables(call))
        return "[Errno 90] Message too long";
    call->length--; /* there is no zero byte at the end */
    return NULL;
}

/* Send the packet with the file descriptors. Returns NULL, or why not. */
static const char *send_packet(struct call *call, const int *descriptors)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(DESCRIPTORS * sizeof(int))];
    } control = {.room = {0}};
    struct iovec piece = {call->packet, call->length};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};

    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(DESCRIPTORS * sizeof(int));
    memcpy(CMSG_DATA(&control.header), descriptors, DESCRIPTORS * sizeof(int));
    return sendmsg(call->socket, &message, 0) < 0 ? failed(NULL) : NULL;
}

/* Connect, and send the call. Returns NULL, or why it was not sent. */
static const char *send_call(struct call *call)
{
    int descriptors[DESCRIPTORS] = {0, 1, 2}, count = STREAMS;
    const char *fault = greet(call);

    if (!fault)
        fault = pack(call);
    while (!fault && count < DESCRIPTORS) {
        descriptors[count] = open(surroundings[count - STREAMS], flags[count - STREAMS]);
        if (descriptors[count] < 0)
            fault = failed(surroundings[count - STREAMS]);
        else
            count++;
    }
    if (!fault)
        fault = send_packet(call, descriptors);
    while (count > STREAMS)
        close(descriptors[--count]);
    return fault;
}

/* Receive the output and the exit status; or -1 and the reason, if nothing was done. Returns NULL, or why not. */
static const char *receive_answer(struct call *call)
{
    for (;;) {
        const char *fault = receive(call, PIECE_MAX + 1, CALL_TIME);
        char kind = call->packet[0];
        size_t length = call->length - 1;

        if (fault)
            return fault;
        if (call->length > PIECE_MAX)
            return "its answer is too large";
        if (call->length > 1 && kind == 'S') {
            call->status = (unsigned char)call->packet[1];
            return NULL;
        }
        if (!call->length || (kind != 'O' && kind != 'N'))
            return "its process ended before it had answered";
        if (kind == 'N')
            call->written = 0;
        if (length > OUTPUT_MAX - call->written)
            return "its answer is too large";
        memcpy(call->output + call->written, call->packet + 1, length);
        call->written += length;
        call->output[call->written] = 0;
        if (kind == 'N')
            return NULL;
    }
}

/* Let the fork server serve the call. Returns the exit status, or -1 if it has done nothing. */
static int serve(struct call *call)
{
    const char *fault = send_call(call);

    if (fault) {
        say_not_used(call, fault);
        return -1;
    }
    fault = receive_answer(call);
    sigaction(SIGINT, &old_interrupt, NULL);
    if (fault)
        return print_failure(fault);
    if (call->status >= 0)
        return print_output(call->status, call->output, call->written);
    say_not_used(call, call->output);
    return -1;
}

int door(const struct facts *facts, const char *plugin, const char *package, int argc, char **argv, char **envp)
{
    const char *verb = value_of(envp, "CNI_COMMAND"), *path = value_of(envp, "CNI_FORKSERVER");
    struct stat found;
    struct call *call;
    int status = -1;

    for (int stream = 0; stream < STREAMS; stream++)
        if (fcntl(stream, F_GETFD) < 0)
            return -1;
    if (!verb || !*verb || !strcmp(verb, "VERSION"))
        signal(SIGPIPE, SIG_IGN); /* Python does it too, if it has to answer */
    if (!verb || !*verb) {
        say((const char *const[]){"CNI ", plugin, " plugin v", facts->release, NULL});
        say((const char *const[]){"CNI protocol versions supported: ", facts->versions, NULL});
        return 0;
    }
    if (!strcmp(verb, "VERSION"))
        return write(STDOUT_FILENO, facts->version, strlen(facts->version)) > 0 ? 0 : -1;
    path = path ? path : SOCKET;
    call = *path && !stat(path, &found) ? calloc(1, sizeof *call) : NULL;
    if (!call)
        return -1;
    call->facts = facts;
    call->package = package;
    call->path = path;
    call->argc = argc;
    call->argv = argv;
    call->envp = envp;
    call->status = -1;
    call->socket = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (call->socket >= 0) {
        change_signals();
        status = serve(call);
        close(call->socket);
        if (status < 0)
            restore_signals();
    }
    free(call);
    return status;
}
