/* What Debian's libpython3.11.a lacks of the modules that we use: posix.setns, resource, _contextvars. */
#include "launcher.h"

#include <sched.h>
#include <sys/resource.h>
#include <time.h>

#include "modules.h" /* by build/nativefile.py: the table of libpython's modules */

struct tm *__real_localtime_r(const time_t *when, struct tm *into);
struct tm *__wrap_localtime_r(const time_t *when, struct tm *into);
static int zone_is_asked;

/* When Python imports `time`, it asks for the time zone, and the C library would read /etc/localtime. It is UTC then.
 * Linked with --wrap=localtime_r.
 */
struct tm *__wrap_localtime_r(const time_t *when, struct tm *into)
{
    if (zone_is_asked)
        return __real_localtime_r(when, into);
    *into = (struct tm){.tm_zone = "UTC"};
    return into;
}

int import_time(void)
{
    PyObject *module = PyImport_ImportModule("time");
    zone_is_asked = 1;
    Py_XDECREF(module);
    return module ? 0 : -1;
}

static PyObject *failed(void)
{
    return PyErr_SetFromErrno(PyExc_OSError);
}

static PyObject *enter(PyObject *Py_UNUSED(self), PyObject *arguments)
{
    int fd, kind = 0;
    if (!PyArg_ParseTuple(arguments, "i|i", &fd, &kind))
        return NULL;
    if (setns(fd, kind))
        return failed();
    Py_RETURN_NONE;
}

static PyMethodDef setns_method = {"setns", enter, METH_VARARGS, NULL};

int add_setns(void)
{
    /* `os` copies the names of posix when it is imported, which is later. */
    PyObject *posix = PyImport_ImportModule("posix");
    if (posix && PyObject_HasAttrString(posix, "setns")) {
        Py_DECREF(posix);
        return 0;
    }
    PyObject *function = posix ? PyCFunction_New(&setns_method, NULL) : NULL;
    int status = function ? PyObject_SetAttrString(posix, "setns", function) : -1;
    Py_XDECREF(function);
    Py_XDECREF(posix);
    return status;
}

static PyObject *pair(const struct rlimit *limit)
{
    return Py_BuildValue("(LL)", (long long)limit->rlim_cur, (long long)limit->rlim_max);
}

/* resource.prlimit(pid, kind[, (soft, hard)]) */
static PyObject *limits(PyObject *Py_UNUSED(self), PyObject *arguments)
{
    int pid, kind;
    long long soft = 0, hard = 0;
    struct rlimit old;
    if (PyTuple_GET_SIZE(arguments) < 3) {
        if (!PyArg_ParseTuple(arguments, "ii", &pid, &kind))
            return NULL;
        return prlimit(pid, (__rlimit_resource_t)kind, NULL, &old) ? failed() : pair(&old);
    }
    if (!PyArg_ParseTuple(arguments, "ii(LL)", &pid, &kind, &soft, &hard))
        return NULL;
    struct rlimit wanted = {(rlim_t)soft, (rlim_t)hard};
    return prlimit(pid, (__rlimit_resource_t)kind, &wanted, &old) ? failed() : pair(&old);
}

static PyObject *get_limit(PyObject *Py_UNUSED(self), PyObject *arguments)
{
    int kind;
    struct rlimit found;
    if (!PyArg_ParseTuple(arguments, "i", &kind))
        return NULL;
    return getrlimit((__rlimit_resource_t)kind, &found) ? failed() : pair(&found);
}

static PyObject *set_limit(PyObject *Py_UNUSED(self), PyObject *arguments)
{
    int kind;
    long long soft, hard;
    if (!PyArg_ParseTuple(arguments, "i(LL)", &kind, &soft, &hard))
        return NULL;
    struct rlimit wanted = {(rlim_t)soft, (rlim_t)hard};
    if (setrlimit((__rlimit_resource_t)kind, &wanted))
        return failed();
    Py_RETURN_NONE;
}

static PyMethodDef resource_methods[] = {
    {"prlimit", limits, METH_VARARGS, NULL},
    {"getrlimit", get_limit, METH_VARARGS, NULL},
    {"setrlimit", set_limit, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef resource_definition = {
    .m_base = PyModuleDef_HEAD_INIT, .m_name = "resource", .m_size = -1, .m_methods = resource_methods};

PyObject *PyInit_resource(void)
{
    static const struct {
        const char *name;
        int kind;
    } kinds[] = {
        {"RLIMIT_CPU", RLIMIT_CPU},         {"RLIMIT_FSIZE", RLIMIT_FSIZE},       {"RLIMIT_DATA", RLIMIT_DATA},
        {"RLIMIT_STACK", RLIMIT_STACK},     {"RLIMIT_CORE", RLIMIT_CORE},         {"RLIMIT_NOFILE", RLIMIT_NOFILE},
        {"RLIMIT_OFILE", RLIMIT_OFILE},     {"RLIMIT_AS", RLIMIT_AS},             {"RLIMIT_NPROC", RLIMIT_NPROC},
        {"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK}, {"RLIMIT_RSS", RLIMIT_RSS},           {"RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE},
        {"RLIMIT_NICE", RLIMIT_NICE},       {"RLIMIT_RTPRIO", RLIMIT_RTPRIO},     {"RLIMIT_RTTIME", RLIMIT_RTTIME},
        {"RLIMIT_SIGPENDING", RLIMIT_SIGPENDING},
    };
    PyObject *module = PyModule_Create(&resource_definition);
    for (size_t at = 0; module && at < sizeof kinds / sizeof *kinds; at++)
        if (PyModule_AddIntConstant(module, kinds[at].name, kinds[at].kind))
            Py_CLEAR(module);
    if (module && PyModule_AddIntConstant(module, "RLIM_INFINITY", -1))
        Py_CLEAR(module);
    return module;
}

static PyObject *copy_context(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(none))
{
    return PyContext_CopyCurrent();
}

static PyMethodDef context_methods[] = {{"copy_context", copy_context, METH_NOARGS, NULL}, {NULL, NULL, 0, NULL}};

static struct PyModuleDef context_definition = {
    .m_base = PyModuleDef_HEAD_INIT, .m_name = "_contextvars", .m_size = -1, .m_methods = context_methods};

PyObject *PyInit__contextvars(void)
{
    PyObject *module = PyModule_Create(&context_definition);
    if (module && (PyModule_AddType(module, &PyContext_Type) || PyModule_AddType(module, &PyContextVar_Type) ||
                   PyModule_AddType(module, &PyContextToken_Type)))
        Py_CLEAR(module);
    return module;
}
