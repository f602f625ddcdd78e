/* The front door of the native file: what is done with a call before Python starts (docs/forkserver.md). */
#ifndef PYCNI_DOOR_H
#define PYCNI_DOOR_H

/* What the build writes into the file. */
struct facts {
    const char *build;    /* the identity of the build, in hexadecimal digits */
    const char *version;  /* the answer to VERSION, with its line feed */
    const char *release;  /* "1.9.1+pycni.0.1.0" */
    const char *versions; /* "0.1.0, 0.2.0, ..." */
};

/*
 * Answer the call of a plugin, or let the fork server serve it. `plugin` is its type, `package` its Python package.
 * Returns the exit status, from 0 to 255. Returns -1 if Python must serve the call in this process: then nothing was done,
 * standard input was not read, and signals are as before; after VERSION, SIGPIPE is ignored.
 * Python must not ask the fork server again. Words and variables are sent as bytes, which Python must take for UTF-8.
 */
int door(const struct facts *facts, const char *plugin, const char *package, int argc, char **argv, char **envp);

#endif
