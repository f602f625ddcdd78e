/* The module _jsonscanner: reads one JSON value, for cni.wire. Debian's libpython3.11.a lacks CPython's _json.
 *
 * It accepts what _json accepts with strict=True, without NaN and Infinity. Any fault is a ValueError without a text: cni.wire
 * then finds the text with the module json.
 */
#include "launcher.h"

/* Levels of a value: cni.wire and libcni refuse more than 200. A level takes 200 bytes of the stack. */
enum { DEPTH = 400 };

struct text {
    PyObject *whole;
    const void *data;
    int kind;
    Py_ssize_t length;
    int depth;
    PyObject *members, *real, *integer; /* functions for a list of pairs, for a float's text, for an integer's text */
};

static PyObject *value_at(struct text *text, Py_ssize_t *at);

/* The character at `at`, 0 after the end. A zero character in the text is as invalid as the end. */
static Py_UCS4 look(struct text *text, Py_ssize_t at)
{
    return at < text->length ? PyUnicode_READ(text->kind, text->data, at) : 0;
}

static PyObject *invalid(void)
{
    PyErr_SetNone(PyExc_ValueError);
    return NULL;
}

static void skip_blanks(struct text *text, Py_ssize_t *at)
{
    for (;;) {
        Py_UCS4 letter = look(text, *at);
        if (letter != ' ' && letter != '\n' && letter != '\t' && letter != '\r')
            return;
        ++*at;
    }
}

static int is_digit(Py_UCS4 letter)
{
    return letter >= '0' && letter <= '9';
}

/* The value of the four hexadecimal digits at `at`, or -1. */
static long hexadecimal(struct text *text, Py_ssize_t at)
{
    long value = 0;
    for (int place = 0; place < 4; place++) {
        Py_UCS4 letter = look(text, at + place), lower = letter | 0x20;
        if (is_digit(letter))
            value = value << 4 | (long)(letter - '0');
        else if (lower >= 'a' && lower <= 'f' && letter < 0x80)
            value = value << 4 | (long)(lower - 'a' + 10);
        else
            return -1;
    }
    return value;
}

/* The character of the escape at `at`, which is after the backslash; `at` moves behind it. -1 if it is invalid. */
static long escaped(struct text *text, Py_ssize_t *at)
{
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    Py_UCS4 letter = look(text, (*at)++);
    for (size_t place = 0; letters[place]; place++)
        if (letter == (Py_UCS4)letters[place])
            return meanings[place];
    long first = letter == 'u' ? hexadecimal(text, *at) : -1;
    if (first < 0)
        return -1;
    *at += 4;
    if (first < 0xD800 || first > 0xDBFF || look(text, *at) != '\\' || look(text, *at + 1) != 'u')
        return first;
    long second = hexadecimal(text, *at + 2);
    if (second < 0xDC00 || second > 0xDFFF)
        return first; /* an invalid second escape is found when it is read itself */
    *at += 6;
    return 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
}

/* A string with escapes, from `start` to `end`. */
static PyObject *unescaped(struct text *text, Py_ssize_t start, Py_ssize_t end)
{
    Py_ssize_t length = 0, at = start;
    Py_UCS4 *letters = PyMem_New(Py_UCS4, (size_t)(end - start));
    if (!letters)
        return PyErr_NoMemory();
    PyObject *made = NULL;
    while (at < end) {
        Py_UCS4 letter = look(text, at++);
        if (letter == '\\') {
            long meaning = escaped(text, &at);
            if (meaning < 0 || at > end) {
                invalid();
                goto done;
            }
            letter = (Py_UCS4)meaning;
        }
        letters[length++] = letter;
    }
    made = PyUnicode_FromKindAndData(PyUnicode_4BYTE_KIND, letters, length);
done:
    PyMem_Free(letters);
    return made;
}

/* The string whose first letter is at `at`, which is after the quotation mark. */
static PyObject *string_at(struct text *text, Py_ssize_t *at)
{
    Py_ssize_t start = *at, end = start;
    int escapes = 0;
    for (;; end++) {
        Py_UCS4 letter = look(text, end);
        if (letter == '"')
            break;
        if (letter < ' ')
            return invalid();
        if (letter == '\\') {
            escapes = 1;
            end++;
        }
    }
    if (end > text->length)
        return invalid();
    *at = end + 1;
    return escapes ? unescaped(text, start, end) : PyUnicode_Substring(text->whole, start, end);
}

static PyObject *number_at(struct text *text, Py_ssize_t *at)
{
    Py_ssize_t start = *at, end = start;
    int real = 0;
    if (look(text, end) == '-')
        end++;
    if (!is_digit(look(text, end)))
        return invalid();
    if (look(text, end) == '0')
        end++;
    else
        while (is_digit(look(text, end)))
            end++;
    if (look(text, end) == '.' && is_digit(look(text, end + 1))) {
        real = 1;
        for (end++; is_digit(look(text, end)); end++)
            ;
    }
    if ((look(text, end) | 0x20) == 'e' && look(text, end) < 0x80) {
        Py_UCS4 sign = look(text, end + 1);
        Py_ssize_t digits = end + 1 + (sign == '+' || sign == '-');
        if (is_digit(look(text, digits))) {
            real = 1;
            for (end = digits; is_digit(look(text, end)); end++)
                ;
        }
    }
    PyObject *written = PyUnicode_Substring(text->whole, start, end);
    if (!written)
        return NULL;
    *at = end;
    PyObject *value = PyObject_CallOneArg(real ? text->real : text->integer, written);
    Py_DECREF(written);
    return value;
}

/* One pair of an object: a name, a colon, a value. */
static PyObject *pair_at(struct text *text, Py_ssize_t *at)
{
    if (look(text, *at) != '"')
        return invalid();
    ++*at;
    PyObject *name = string_at(text, at), *value = NULL;
    if (name) {
        skip_blanks(text, at);
        if (look(text, *at) == ':') {
            ++*at;
            skip_blanks(text, at);
            value = value_at(text, at);
        } else
            invalid();
    }
    PyObject *pair = value ? PyTuple_Pack(2, name, value) : NULL;
    Py_XDECREF(name);
    Py_XDECREF(value);
    return pair;
}

/* The parts of a list or an object, whose first part is at `at`. */
static PyObject *parts_at(struct text *text, Py_ssize_t *at, Py_UCS4 last,
                          PyObject *(*part_at)(struct text *, Py_ssize_t *))
{
    PyObject *parts = PyList_New(0);
    if (!parts)
        return NULL;
    skip_blanks(text, at);
    if (look(text, *at) == last) {
        ++*at;
        return parts;
    }
    for (;;) {
        PyObject *part = part_at(text, at);
        int failed = !part || PyList_Append(parts, part);
        Py_XDECREF(part);
        if (failed)
            break;
        skip_blanks(text, at);
        Py_UCS4 letter = look(text, (*at)++);
        if (letter == last)
            return parts;
        if (letter != ',') {
            invalid();
            break;
        }
        skip_blanks(text, at);
    }
    Py_DECREF(parts);
    return NULL;
}

static PyObject *container_at(struct text *text, Py_ssize_t *at, Py_UCS4 first)
{
    PyObject *parts, *made = NULL;
    if (text->depth++ >= DEPTH) {
        PyErr_SetNone(PyExc_RecursionError);
        return NULL;
    }
    if (first == '[')
        made = parts_at(text, at, ']', value_at);
    else if ((parts = parts_at(text, at, '}', pair_at))) {
        made = PyObject_CallOneArg(text->members, parts);
        Py_DECREF(parts);
    }
    text->depth--;
    return made;
}

static PyObject *word_at(struct text *text, Py_ssize_t *at, const char *word, PyObject *value)
{
    for (; *word; word++)
        if (look(text, (*at)++) != (Py_UCS4)*word)
            return invalid();
    return Py_NewRef(value);
}

static PyObject *value_at(struct text *text, Py_ssize_t *at)
{
    Py_UCS4 letter = look(text, *at);
    switch (letter) {
    case '"':
        ++*at;
        return string_at(text, at);
    case '{':
    case '[':
        ++*at;
        return container_at(text, at, letter);
    case 'n':
        return word_at(text, at, "null", Py_None);
    case 't':
        return word_at(text, at, "true", Py_True);
    case 'f':
        return word_at(text, at, "false", Py_False);
    default:
        return number_at(text, at);
    }
}

/* scan(text, at, members, real, integer): the value at `at`, and where it ends. */
static PyObject *scan(PyObject *Py_UNUSED(self), PyObject *arguments)
{
    struct text text;
    Py_ssize_t at;
    if (!PyArg_ParseTuple(arguments, "UnOOO", &text.whole, &at, &text.members, &text.real, &text.integer))
        return NULL;
    if (at < 0 || PyUnicode_READY(text.whole))
        return PyErr_Occurred() ? NULL : invalid();
    text.data = PyUnicode_DATA(text.whole);
    text.kind = (int)PyUnicode_KIND(text.whole);
    text.length = PyUnicode_GET_LENGTH(text.whole);
    text.depth = 0;
    PyObject *value = value_at(&text, &at);
    return value ? Py_BuildValue("(Nn)", value, at) : NULL;
}

static PyMethodDef methods[] = {{"scan", scan, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};

static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT, .m_name = "_jsonscanner", .m_size = -1, .m_methods = methods};

PyObject *PyInit__jsonscanner(void)
{
    return PyModule_Create(&definition);
}
