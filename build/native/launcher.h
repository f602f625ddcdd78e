/* What the parts of the launcher share. */
#ifndef PYCNI_LAUNCHER_H
#define PYCNI_LAUNCHER_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* Modules that are part of this file: launchermodule.c, jsonscanner.c, missing.c, sha512.c. */
PyObject *PyInit__pycni(void);
PyObject *PyInit__jsonscanner(void);
PyObject *PyInit__contextvars(void);
PyObject *PyInit_resource(void);
PyObject *PyInit__sha2(void);

/* Give Python its first memory in huge pages. It is called before Python starts. 0, or -1 if there is not enough: Python
 * would end with SIGABRT.
 */
int prepare_memory(void);

/* Add setns(2), which Python has from 3.12 on, to the module posix. 0, or -1 with an exception. */
int add_setns(void);

/* Import the module time without asking for the time zone. 0, or -1 with an exception. */
int import_time(void);

/* The words between the name of the file and the program's own arguments, for example "forkserver". */
extern char **launcher_words;
extern size_t launcher_word_count;

/* The names of all plugins and programs. */
extern const char *launcher_names[];
extern const size_t launcher_name_count;

#endif
