/* The native file: one program for all plugins. Its name, or its first word, says which one it is.
 *
 * It decides nothing about a call. It answers what the build has written down, asks the fork server (door.c), or starts
 * Python with the modules that are in the file, and calls build/frontdoor.py as the first line of a single file does.
 */
#include "launcher.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>

#include "archive.h"
#if __has_include("door.h")
#include "door.h"
#define ENTRY "native"
#else /* without a front door in C, Python asks the fork server */
#define ENTRY "plugin"
struct facts {
    const char *build, *version, *release, *versions;
};
#define door(facts, plugin, package, argc, argv, envp) ((void)(facts), (void)(envp), -1)
#endif

enum kind { PLUGIN, PROGRAM, COMMAND };

/* A plugin's package or a program's module, by the name of its file. */
struct program {
    const char *name;
    enum kind kind;
    const char *module;
};

#include "written.h" /* by build/nativefile.py: BUILD, FACTS, PROGRAMS, COMMANDS */

#define MARK "pycni-build:" BUILD
#define COUNT(array) (sizeof(array) / sizeof *(array))

char **launcher_words;
size_t launcher_word_count;
const char *launcher_names[COUNT(PROGRAMS)];
const size_t launcher_name_count = COUNT(PROGRAMS);

/* Modules that Python imports before it can import from the archive. */
static const char *const EARLY[] = {"encodings", "encodings.aliases", "encodings.utf_8", "archivefinder"};
static struct _frozen frozen[COUNT(EARLY) + 1];

/* The plugin that is a daemon too, when its first argument says so. */
static const struct program daemon_program = {"daemon", PROGRAM, DAEMON_MODULE};

static const struct program *named(const struct program *among, size_t number, const char *name)
{
    for (size_t at = 0; at < number; at++)
        if (!strcmp(among[at].name, name))
            return &among[at];
    return NULL;
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* The program that is called, and the number of words before its own arguments. */
static const struct program *called(int argc, char **argv, const char *file, int *words)
{
    const struct program *found = NULL;
    *words = 1;
    if (argc > 0)
        found = named(PROGRAMS, COUNT(PROGRAMS), last_part(argv[0]));
    if (!found)
        found = named(PROGRAMS, COUNT(PROGRAMS), last_part(file));
    if (!found && argc > 0 && strcmp(last_part(argv[0]), "pycni"))
        found = named(COMMANDS, COUNT(COMMANDS), last_part(argv[0]));
    if (!found && argc > 1) {
        *words = 2;
        found = named(PROGRAMS, COUNT(PROGRAMS), argv[1]);
        if (!found)
            found = named(COMMANDS, COUNT(COMMANDS), argv[1]);
    }
    if (!found) {
        *words = argc > 0 ? 1 : 0;
        found = &COMMANDS[0];
    }
    if (*words < argc && !strcmp(argv[*words], "daemon") && !strcmp(found->module, DAEMON_PACKAGE)) {
        ++*words;
        found = &daemon_program;
    }
    return found;
}

static int freeze_early(void)
{
    for (size_t at = 0; at < COUNT(EARLY); at++) {
        char name[64];
        int package = !strcmp(EARLY[at], "encodings");
        int length = snprintf(name, sizeof name, "%s%s.pyc", EARLY[at], package ? "/__init__" : "");
        for (char *dot = name; dot < name + length - 4; dot++)
            if (*dot == '.')
                *dot = '/';
        const struct entry *entry = archive_find(name, (size_t)length);
        if (!entry || entry->size <= 16 || entry->size > INT32_MAX) {
            errno = ENOEXEC;
            return -1;
        }
        frozen[at] = (struct _frozen){
            .name = EARLY[at], .code = entry->data + 16, .size = (int)entry->size - 16, .is_package = package};
    }
    PyImport_FrozenModules = frozen;
    return 0;
}

/* Python's settings. None comes from the environment, and none makes Python look for a file. */
static PyStatus configure(PyConfig *config, int argc, char **argv, const char *file)
{
    PyStatus status;
    wchar_t **const places[] = {&config->home, &config->executable, &config->base_executable, &config->prefix,
                                &config->base_prefix, &config->exec_prefix, &config->base_exec_prefix,
                                &config->stdlib_dir, &config->program_name};
    for (size_t at = 0; at < COUNT(places); at++) {
        status = PyConfig_SetBytesString(config, places[at], file);
        if (PyStatus_Exception(status))
            return status;
    }
    wchar_t *own = Py_DecodeLocale(file, NULL);
    if (!own)
        return PyStatus_NoMemory();
    config->module_search_paths_set = 1;
    status = PyWideStringList_Append(&config->module_search_paths, own);
    PyMem_RawFree(own);
    if (PyStatus_Exception(status))
        return status;
    config->site_import = 0;
    config->install_signal_handlers = 1; /* as `python3` does: SIGPIPE is ignored */
    config->write_bytecode = 0;
    config->optimization_level = 2;
    config->pathconfig_warnings = 0;
    config->parse_argv = 0;
    return PyConfig_SetBytesArgv(config, argc, argv);
}

/* Start Python. The garbage collector is off: in a call it would take time and free little. */
static PyStatus start_python(int argc, char **argv, const char *file)
{
    PyPreConfig before;
    PyPreConfig_InitIsolatedConfig(&before);
    before.utf8_mode = 1; /* the locale is not asked */
    PyStatus status = Py_PreInitialize(&before);
    if (PyStatus_Exception(status))
        return status;
    if (PyImport_AppendInittab("_pycni", PyInit__pycni) || PyImport_AppendInittab("_jsonscanner", PyInit__jsonscanner) ||
        PyImport_AppendInittab("_contextvars", PyInit__contextvars) || PyImport_AppendInittab("resource", PyInit_resource) ||
        (PY_VERSION_HEX >= 0x030C0000 && PyImport_AppendInittab("_sha2", PyInit__sha2)) || prepare_memory())
        return PyStatus_NoMemory();
    PyConfig config;
    PyConfig_InitIsolatedConfig(&config);
    config._init_main = 0;
    status = configure(&config, argc, argv, file);
    if (!PyStatus_Exception(status))
        status = Py_InitializeFromConfig(&config);
    if (!PyStatus_Exception(status)) {
        PyGC_Disable();
        status = _Py_InitializeMain();
    }
    PyConfig_Clear(&config);
    return status;
}

/* Say why this file cannot run. A runtime gets an error object, which is its plugin's answer. */
static int unable(const struct program *program, const char *why)
{
    fprintf(stderr, "%s: %s\n", program->name, why);
    if (program->kind == PLUGIN)
        printf("{\"cniVersion\": \"1.1.0\", \"code\": 999, \"msg\": \"%s: %s\"}\n", program->name, why);
    return program->kind == PLUGIN && !fflush(stdout) ? 1 : 70;
}

/* Why the archive cannot be read, by the error of archive_open. */
static const char *unreadable(void)
{
    static char text[200];
    if (errno == ENOEXEC)
        return "this file is damaged or not complete: install it again";
    snprintf(text, sizeof text, "cannot read its own archive: %s%s", strerror(errno),
             errno == ENOENT ? ": mount /proc, or call it by its path" : "");
    return text;
}

/* Call the front door. It usually ends the process. */
static int run(const struct program *program)
{
    if (program->kind != PLUGIN)
        PyGC_Enable();
    PyObject *finder = add_setns() || import_time() ? NULL : PyImport_ImportModule("archivefinder");
    PyObject *installed = finder ? PyObject_CallMethod(finder, "take_over", NULL) : NULL;
    PyObject *door = installed ? PyImport_ImportModule("frontdoor") : NULL;
    if (door)
        PyObject_CallMethod(door, program->kind == PLUGIN ? ENTRY : "program", "ss", program->module, BUILD);
    if (PyErr_Occurred())
        PyErr_Print(); /* exits, if it is SystemExit */
    return 70;
}

int main(int argc, char **argv, char **envp)
{
    const char *file = (const char *)getauxval(AT_EXECFN);
    int words;
    if (!file)
        file = argc > 0 ? argv[0] : "pycni";
    const struct program *program = called(argc, argv, file, &words);
    if (program->kind == PLUGIN) {
        int status = door(&FACTS, program->name, program->module, argc, argv, envp);
        if (status >= 0)
            return status;
    }
    if ((archive_open("/proc/self/exe", MARK) && archive_open(file, MARK)) || freeze_early())
        return unable(program, unreadable());
    for (size_t at = 0; at < COUNT(PROGRAMS); at++)
        launcher_names[at] = PROGRAMS[at].name;
    launcher_words = argv + 1;
    launcher_word_count = words > 1 ? (size_t)words - 1 : 0;
    /* As in a single file: -c, the file, the arguments. */
    char **line = calloc((size_t)argc + 3, sizeof *line);
    if (!line)
        return unable(program, strerror(errno));
    line[0] = "-c";
    line[1] = (char *)file;
    for (int at = words; at < argc; at++)
        line[2 + at - words] = argv[at];
    PyStatus status = start_python(2 + (argc - words), line, file);
    if (PyStatus_Exception(status))
        return unable(program, status.err_msg ? status.err_msg : "Python does not start");
    return run(program);
}
