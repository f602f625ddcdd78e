/* The module _sha2 with SHA-512 and SHA-256 (FIPS 180-4). Since Python 3.12 the one in libpython needs a library that Debian
 * does not ship. The constants of SHA-256 are the upper halves of the first ones of SHA-512.
 */
#include "launcher.h"

#include <stdint.h>
#include <string.h>

enum { BLOCK = 128, DIGEST = 64 };

static const uint64_t constants[80] = {
    0x428a2f98d728ae22, 0x7137449123ef65cd, 0xb5c0fbcfec4d3b2f, 0xe9b5dba58189dbbc, 0x3956c25bf348b538,
    0x59f111f1b605d019, 0x923f82a4af194f9b, 0xab1c5ed5da6d8118, 0xd807aa98a3030242, 0x12835b0145706fbe,
    0x243185be4ee4b28c, 0x550c7dc3d5ffb4e2, 0x72be5d74f27b896f, 0x80deb1fe3b1696b1, 0x9bdc06a725c71235,
    0xc19bf174cf692694, 0xe49b69c19ef14ad2, 0xefbe4786384f25e3, 0x0fc19dc68b8cd5b5, 0x240ca1cc77ac9c65,
    0x2de92c6f592b0275, 0x4a7484aa6ea6e483, 0x5cb0a9dcbd41fbd4, 0x76f988da831153b5, 0x983e5152ee66dfab,
    0xa831c66d2db43210, 0xb00327c898fb213f, 0xbf597fc7beef0ee4, 0xc6e00bf33da88fc2, 0xd5a79147930aa725,
    0x06ca6351e003826f, 0x142929670a0e6e70, 0x27b70a8546d22ffc, 0x2e1b21385c26c926, 0x4d2c6dfc5ac42aed,
    0x53380d139d95b3df, 0x650a73548baf63de, 0x766a0abb3c77b2a8, 0x81c2c92e47edaee6, 0x92722c851482353b,
    0xa2bfe8a14cf10364, 0xa81a664bbc423001, 0xc24b8b70d0f89791, 0xc76c51a30654be30, 0xd192e819d6ef5218,
    0xd69906245565a910, 0xf40e35855771202a, 0x106aa07032bbd1b8, 0x19a4c116b8d2d0c8, 0x1e376c085141ab53,
    0x2748774cdf8eeb99, 0x34b0bcb5e19b48a8, 0x391c0cb3c5c95a63, 0x4ed8aa4ae3418acb, 0x5b9cca4f7763e373,
    0x682e6ff3d6b2b8a3, 0x748f82ee5defb2fc, 0x78a5636f43172f60, 0x84c87814a1f0ab72, 0x8cc702081a6439ec,
    0x90befffa23631e28, 0xa4506cebde82bde9, 0xbef9a3f7b2c67915, 0xc67178f2e372532b, 0xca273eceea26619c,
    0xd186b8c721c0c207, 0xeada7dd6cde0eb1e, 0xf57d4f7fee6ed178, 0x06f067aa72176fba, 0x0a637dc5a2c898a6,
    0x113f9804bef90dae, 0x1b710b35131c471b, 0x28db77f523047d84, 0x32caab7b40c72493, 0x3c9ebe0a15c9bebc,
    0x431d67c49c100d4c, 0x4cc5d4becb3e42b6, 0x597f299cfc657e2a, 0x5fcb6fab3ad6faec, 0x6c44198c4a475817,
};
static const uint64_t beginning[8] = {
    0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
    0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179,
};

typedef struct {
    PyObject_HEAD
    Py_ssize_t size;
    unsigned char digest[DIGEST];
} Hash;

static uint64_t turned(uint64_t value, int bits)
{
    return value >> bits | value << (64 - bits);
}

static void add_block(uint64_t state[8], const unsigned char *block)
{
    uint64_t w[80], v[8];
    for (int at = 0; at < 16; at++) {
        w[at] = 0;
        for (int byte = 0; byte < 8; byte++)
            w[at] = w[at] << 8 | block[8 * at + byte];
    }
    for (int at = 16; at < 80; at++) {
        uint64_t near = w[at - 15], far = w[at - 2];
        w[at] = w[at - 16] + w[at - 7] + (turned(near, 1) ^ turned(near, 8) ^ near >> 7) +
                (turned(far, 19) ^ turned(far, 61) ^ far >> 6);
    }
    memcpy(v, state, sizeof v);
    for (int at = 0; at < 80; at++) {
        uint64_t first = v[7] + (turned(v[4], 14) ^ turned(v[4], 18) ^ turned(v[4], 41)) + ((v[4] & v[5]) ^ (~v[4] & v[6])) +
                         constants[at] + w[at];
        uint64_t second = (turned(v[0], 28) ^ turned(v[0], 34) ^ turned(v[0], 39)) +
                          ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof *v);
        v[4] += first;
        v[0] = first + second;
    }
    for (int at = 0; at < 8; at++)
        state[at] += v[at];
}

static void compute(unsigned char digest[DIGEST], const unsigned char *data, size_t size)
{
    uint64_t state[8];
    unsigned char last[2 * BLOCK] = {0};
    size_t whole = size / BLOCK * BLOCK, rest = size - whole, padded = rest < BLOCK - 16 ? BLOCK : 2 * BLOCK;
    memcpy(state, beginning, sizeof state);
    for (size_t at = 0; at < whole; at += BLOCK)
        add_block(state, data + at);
    if (rest)
        memcpy(last, data + whole, rest);
    last[rest] = 0x80;
    uint64_t bits = (uint64_t)size << 3;
    for (int byte = 0; byte < 8; byte++)
        last[padded - 1 - (size_t)byte] = (unsigned char)(bits >> 8 * byte);
    for (size_t at = 0; at < padded; at += BLOCK)
        add_block(state, last + at);
    for (int at = 0; at < DIGEST; at++)
        digest[at] = (unsigned char)(state[at / 8] >> (56 - at % 8 * 8));
}

static uint32_t turned32(uint32_t value, int bits)
{
    return value >> bits | value << (32 - bits);
}

static void add_block32(uint32_t state[8], const unsigned char *block)
{
    uint32_t w[64], v[8];
    for (int at = 0; at < 16; at++)
        w[at] = (uint32_t)block[4 * at] << 24 | (uint32_t)block[4 * at + 1] << 16 | (uint32_t)block[4 * at + 2] << 8 |
                block[4 * at + 3];
    for (int at = 16; at < 64; at++) {
        uint32_t near = w[at - 15], far = w[at - 2];
        w[at] = w[at - 16] + w[at - 7] + (turned32(near, 7) ^ turned32(near, 18) ^ near >> 3) +
                (turned32(far, 17) ^ turned32(far, 19) ^ far >> 10);
    }
    memcpy(v, state, sizeof v);
    for (int at = 0; at < 64; at++) {
        uint32_t first = v[7] + (turned32(v[4], 6) ^ turned32(v[4], 11) ^ turned32(v[4], 25)) +
                         ((v[4] & v[5]) ^ (~v[4] & v[6])) + (uint32_t)(constants[at] >> 32) + w[at];
        uint32_t second = (turned32(v[0], 2) ^ turned32(v[0], 13) ^ turned32(v[0], 22)) +
                          ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof *v);
        v[4] += first;
        v[0] = first + second;
    }
    for (int at = 0; at < 8; at++)
        state[at] += v[at];
}

static void compute32(unsigned char digest[DIGEST], const unsigned char *data, size_t size)
{
    enum { BLOCK32 = BLOCK / 2 };
    uint32_t state[8];
    unsigned char last[2 * BLOCK32] = {0};
    size_t whole = size / BLOCK32 * BLOCK32, rest = size - whole, padded = rest < BLOCK32 - 8 ? BLOCK32 : 2 * BLOCK32;
    for (int at = 0; at < 8; at++)
        state[at] = (uint32_t)(beginning[at] >> 32);
    for (size_t at = 0; at < whole; at += BLOCK32)
        add_block32(state, data + at);
    if (rest)
        memcpy(last, data + whole, rest);
    last[rest] = 0x80;
    uint64_t bits = (uint64_t)size << 3;
    for (int byte = 0; byte < 8; byte++)
        last[padded - 1 - (size_t)byte] = (unsigned char)(bits >> 8 * byte);
    for (size_t at = 0; at < padded; at += BLOCK32)
        add_block32(state, last + at);
    for (int at = 0; at < DIGEST / 2; at++)
        digest[at] = (unsigned char)(state[at / 4] >> (24 - at % 4 * 8));
}

static PyObject *digest(PyObject *self, PyObject *Py_UNUSED(none))
{
    return PyBytes_FromStringAndSize((const char *)((Hash *)self)->digest, ((Hash *)self)->size);
}

static PyObject *hexdigest(PyObject *self, PyObject *Py_UNUSED(none))
{
    static const char digits[] = "0123456789abcdef";
    const Hash *hash = (Hash *)self;
    char text[2 * DIGEST];
    for (Py_ssize_t at = 0; at < hash->size; at++) {
        text[2 * at] = digits[hash->digest[at] >> 4];
        text[2 * at + 1] = digits[hash->digest[at] & 15];
    }
    return PyUnicode_FromStringAndSize(text, 2 * hash->size);
}

static PyMethodDef hash_methods[] = {
    {"digest", digest, METH_NOARGS, NULL}, {"hexdigest", hexdigest, METH_NOARGS, NULL}, {NULL, NULL, 0, NULL}};
static PyType_Slot slots[] = {{Py_tp_methods, hash_methods}, {0, NULL}};
static PyType_Spec spec = {.name = "_sha2.sha512", .basicsize = sizeof(Hash), .flags = Py_TPFLAGS_DEFAULT, .slots = slots};
static PyObject *hash_type;

static PyObject *hashed(PyObject *data, Py_ssize_t size)
{
    Py_buffer view;
    Hash *made = PyObject_New(Hash, (PyTypeObject *)hash_type);
    if (!made || PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)) {
        Py_XDECREF((PyObject *)made);
        return NULL;
    }
    made->size = size;
    (size == DIGEST ? compute : compute32)(made->digest, view.buf, (size_t)view.len);
    PyBuffer_Release(&view);
    return (PyObject *)made;
}

/* sha512(data), sha256(data): an object whose method digest() returns the hash. */
static PyObject *sha512(PyObject *Py_UNUSED(self), PyObject *data)
{
    return hashed(data, DIGEST);
}

static PyObject *sha256(PyObject *Py_UNUSED(self), PyObject *data)
{
    return hashed(data, DIGEST / 2);
}

static PyMethodDef methods[] = {
    {"sha512", sha512, METH_O, NULL}, {"sha256", sha256, METH_O, NULL}, {NULL, NULL, 0, NULL}};

static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT, .m_name = "_sha2", .m_size = -1, .m_methods = methods};

PyObject *PyInit__sha2(void)
{
    hash_type = PyType_FromSpec(&spec);
    return hash_type ? PyModule_Create(&definition) : NULL;
}
