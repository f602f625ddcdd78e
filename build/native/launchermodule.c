/* The module _pycni: what a program asks of the file that it is in. */
#include "launcher.h"

#include <marshal.h>
#include <string.h>
#include <sys/mman.h>

#include "archive.h"

/* The size of a pyc's header (PEP 552). */
enum { HEADER = 16, NAME = 256 };

static PyObject *code_of(const char *name, size_t length, const char *ending, int package)
{
    char path[NAME];
    size_t whole = length + strlen(ending);
    if (whole >= sizeof path)
        return NULL;
    for (size_t at = 0; at < length; at++)
        path[at] = name[at] == '.' ? '/' : name[at];
    memcpy(path + length, ending, whole - length);
    const struct entry *entry = archive_find(path, whole);
    if (!entry || entry->size <= HEADER)
        return NULL;
    PyObject *code = PyMarshal_ReadObjectFromString((const char *)entry->data + HEADER, (Py_ssize_t)entry->size - HEADER);
    return code ? Py_BuildValue("(NO)", code, package ? Py_True : Py_False) : NULL;
}

/* find(name): the code of a module and whether it is a package, or None. */
static PyObject *find(PyObject *Py_UNUSED(self), PyObject *argument)
{
    Py_ssize_t length;
    const char *name = PyUnicode_AsUTF8AndSize(argument, &length);
    if (!name)
        return NULL;
    PyObject *found = code_of(name, (size_t)length, ".pyc", 0);
    if (!found && !PyErr_Occurred())
        found = code_of(name, (size_t)length, "/__init__.pyc", 1);
    if (!found && !PyErr_Occurred())
        Py_RETURN_NONE;
    return found;
}

/* entries(): the names of the archive's entries. */
static PyObject *entries(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(none))
{
    PyObject *list = PyList_New(0);
    const struct entry *entry;
    for (size_t at = 0; list && (entry = archive_at(at)); at++) {
        PyObject *name = PyUnicode_DecodeUTF8((const char *)entry->name, (Py_ssize_t)entry->name_length, "strict");
        if (!name || PyList_Append(list, name))
            Py_CLEAR(list);
        Py_XDECREF(name);
    }
    return list;
}

/* data(name): the bytes of an entry; raises KeyError. */
static PyObject *data(PyObject *Py_UNUSED(self), PyObject *argument)
{
    Py_ssize_t length;
    const char *name = PyUnicode_AsUTF8AndSize(argument, &length);
    if (!name)
        return NULL;
    const struct entry *entry = archive_find(name, (size_t)length);
    if (!entry) {
        PyErr_SetObject(PyExc_KeyError, argument);
        return NULL;
    }
    return PyBytes_FromStringAndSize((const char *)entry->data, (Py_ssize_t)entry->size);
}

/* madvise(start, length, advice): 0, or -1 after a fault. */
static PyObject *advise(PyObject *Py_UNUSED(self), PyObject *arguments)
{
    Py_ssize_t start, length;
    int advice;
    if (!PyArg_ParseTuple(arguments, "nni", &start, &length, &advice))
        return NULL;
    return PyLong_FromLong(madvise((void *)start, (size_t)length, advice));
}

static PyMethodDef methods[] = {
    {"find", find, METH_O, NULL},
    {"entries", entries, METH_NOARGS, NULL},
    {"data", data, METH_O, NULL},
    {"madvise", advise, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT, .m_name = "_pycni", .m_size = -1, .m_methods = methods};

/* A tuple of `number` texts, or NULL. */
static PyObject *texts(const char *const *from, size_t number)
{
    PyObject *made = PyTuple_New((Py_ssize_t)number);
    for (size_t at = 0; made && at < number; at++) {
        PyObject *text = PyUnicode_DecodeFSDefault(from[at]);
        if (text)
            PyTuple_SET_ITEM(made, (Py_ssize_t)at, text);
        else
            Py_CLEAR(made);
    }
    return made;
}

PyObject *PyInit__pycni(void)
{
    PyObject *module = PyModule_Create(&definition);
    PyObject *words = texts((const char *const *)launcher_words, launcher_word_count);
    PyObject *names = texts(launcher_names, launcher_name_count);
    if (!module || !words || !names || PyModule_AddObjectRef(module, "words", words) ||
        PyModule_AddObjectRef(module, "names", names))
        Py_CLEAR(module);
    Py_XDECREF(words);
    Py_XDECREF(names);
    return module;
}
