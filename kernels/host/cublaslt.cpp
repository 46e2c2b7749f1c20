// What stands in for cuBLASLt on the host: the few entry points that crates/device-cuda calls, by their own names and with
// their own arguments, over plain loops.
//
// It computes what the library documents and refuses what the library refuses or may: a matrix whose columns overlap, an
// address that is less aligned than was promised, a workspace that is too small, a choice made for another product. A
// mistake in how a product is described is one here, too.
#include "../common.cuh"

#include <new>
#include <vector>

namespace {

// As cublasLt.h, cublas_api.h and library_types.h number them.
enum Status { SUCCESS = 0, ALLOC_FAILED = 3, INVALID_VALUE = 7, NOT_SUPPORTED = 15 };
enum Type { R_32F = 0, R_16F = 2, R_16BF = 14 };
enum { COMPUTE_32F = 68, POINTERS_ON_DEVICE = 1, PLAIN = 0, TURNED = 1 };
enum DescAttribute { DESC_POINTER_MODE = 2, DESC_TRANSA = 3, DESC_TRANSB = 4 };
enum PreferenceAttribute { PREF_MAX_WORKSPACE = 1, PREF_MIN_ALIGNMENT_A = 5 };

struct Handle {
    int fault; // what products end with, if not well
};
struct Desc {
    int compute, scale;
    int32_t pointers, turned[2];
};
struct Layout {
    int type;
    uint64_t rows, cols;
    int64_t ld;
};
struct Preference {
    uint64_t workspace;
    uint32_t alignment[4]; // of A, B, C, D
};
// What a choice was made for.
struct Problem {
    uint64_t magic, m, n, k, workspace;
    uint32_t types, alignment[4];
};
struct Algo {
    uint64_t data[8];
};
struct Choice {
    Algo algo;
    size_t workspace;
    int state;
    float waves;
    int reserved[4];
};
static_assert(sizeof(Problem) <= sizeof(Algo), "a choice says what it was made for");

constexpr uint64_t MAGIC = 0x6c70726f64756374;
constexpr size_t WORKSPACE = 512; // that a product wants

bool columns_apart(const Layout &l) { return l.rows > 0 && l.cols > 0 && l.ld >= (int64_t)l.rows; }

// What the library computes with these, of the kind that is wanted of it here; 0 if it does not.
int problem_of(const Desc &desc, const Layout &a, const Layout &b, const Layout &c, const Layout &d, Problem &p) {
    for (const Layout *l : {&a, &b, &c, &d}) {
        if (!columns_apart(*l)) return INVALID_VALUE;
    }
    p = Problem{};
    p.magic = MAGIC;
    p.m = desc.turned[0] ? a.cols : a.rows, p.k = desc.turned[0] ? a.rows : a.cols;
    p.n = desc.turned[1] ? b.rows : b.cols;
    if (p.k != (desc.turned[1] ? b.cols : b.rows)) return INVALID_VALUE;
    if (d.rows != p.m || d.cols != p.n || c.rows != d.rows || c.cols != d.cols) return INVALID_VALUE;
    if (desc.compute != COMPUTE_32F || desc.scale != R_32F) return NOT_SUPPORTED;
    if (a.type != b.type || (a.type != R_16F && a.type != R_16BF)) return NOT_SUPPORTED;
    if (c.type != R_32F || d.type != R_32F) return NOT_SUPPORTED;
    // On tensor cores columns of 16 bits begin at multiples of 16 bytes.
    if (a.ld % 8 != 0 || b.ld % 8 != 0) return NOT_SUPPORTED;
    p.types = (uint32_t)a.type;
    return SUCCESS;
}

bool aligned(const void *at, uint32_t to) { return to != 0 && (uintptr_t)at % to == 0; }

float widen(int type, uint16_t x) { return type == R_16F ? half_to_float(x) : bf16_to_float(x); }

// Columns of `x` as f32, those of its transpose if it is turned: [count][k].
std::vector<float> rows_of(const Layout &l, const uint16_t *x, bool by_columns, uint64_t count, uint64_t k) {
    std::vector<float> values(count * k);
    for (uint64_t i = 0; i < count; i++) {
        for (uint64_t j = 0; j < k; j++) {
            uint64_t row = by_columns ? j : i, col = by_columns ? i : j;
            values[i * k + j] = widen(l.type, x[col * (uint64_t)l.ld + row]);
        }
    }
    return values;
}

float dot(const float *a, const float *b, uint64_t k) {
    float sums[4] = {};
    uint64_t j = 0;
    for (; j + 4 <= k; j += 4) {
        for (int i = 0; i < 4; i++) sums[i] += a[j + i] * b[j + i];
    }
    for (; j < k; j++) sums[0] += a[j] * b[j];
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

template <class T> int made(T **to, const T &what) {
    *to = new (std::nothrow) T(what);
    return *to ? SUCCESS : ALLOC_FAILED;
}
template <class T> int gone(T *what) {
    delete what;
    return SUCCESS;
}
template <class T> int set(T &to, const void *from, size_t size) {
    if (!from || size != sizeof(T)) return INVALID_VALUE;
    std::memcpy(&to, from, size);
    return SUCCESS;
}

} // namespace

extern "C" {
#define EXPORTED __attribute__((visibility("default")))

EXPORTED int cublasLtCreate(Handle **handle) { return made(handle, Handle{SUCCESS}); }
EXPORTED int cublasLtDestroy(Handle *handle) { return gone(handle); }

// All products of this handle end with this status.
EXPORTED void emulator_cublaslt_fail(Handle *handle, int status) { handle->fault = status; }

EXPORTED int cublasLtMatmulDescCreate(Desc **desc, int compute, int scale) {
    return made(desc, Desc{compute, scale, 0, {PLAIN, PLAIN}});
}
EXPORTED int cublasLtMatmulDescDestroy(Desc *desc) { return gone(desc); }
EXPORTED int cublasLtMatmulDescSetAttribute(Desc *desc, int attribute, const void *from, size_t size) {
    switch (attribute) {
    case DESC_POINTER_MODE: return set(desc->pointers, from, size);
    case DESC_TRANSA: return set(desc->turned[0], from, size);
    case DESC_TRANSB: return set(desc->turned[1], from, size);
    default: return NOT_SUPPORTED;
    }
}

EXPORTED int cublasLtMatrixLayoutCreate(Layout **layout, int type, uint64_t rows, uint64_t cols, int64_t ld) {
    return made(layout, Layout{type, rows, cols, ld});
}
EXPORTED int cublasLtMatrixLayoutDestroy(Layout *layout) { return gone(layout); }

EXPORTED int cublasLtMatmulPreferenceCreate(Preference **preference) {
    return made(preference, Preference{0, {256, 256, 256, 256}});
}
EXPORTED int cublasLtMatmulPreferenceDestroy(Preference *preference) { return gone(preference); }
EXPORTED int cublasLtMatmulPreferenceSetAttribute(Preference *preference, int attribute, const void *from, size_t size) {
    if (attribute == PREF_MAX_WORKSPACE) return set(preference->workspace, from, size);
    if (attribute >= PREF_MIN_ALIGNMENT_A && attribute < PREF_MIN_ALIGNMENT_A + 4) {
        return set(preference->alignment[attribute - PREF_MIN_ALIGNMENT_A], from, size);
    }
    return NOT_SUPPORTED;
}

EXPORTED int cublasLtMatmulAlgoGetHeuristic(Handle *handle, const Desc *desc, const Layout *a, const Layout *b,
                                            const Layout *c, const Layout *d, const Preference *preference, int wanted,
                                            Choice *choices, int *found) {
    if (!handle || !preference || wanted < 1 || !choices || !found) return INVALID_VALUE;
    *found = 0;
    Problem problem;
    int status = problem_of(*desc, *a, *b, *c, *d, problem);
    if (status != SUCCESS) return status;
    if (preference->workspace < WORKSPACE) return NOT_SUPPORTED;
    // Less than this no kernel on tensor cores takes.
    if (preference->alignment[0] < 16 || preference->alignment[1] < 16) return NOT_SUPPORTED;
    problem.workspace = WORKSPACE;
    std::memcpy(problem.alignment, preference->alignment, sizeof(problem.alignment));
    Choice choice = {};
    std::memcpy(&choice.algo, &problem, sizeof(problem));
    choice.workspace = WORKSPACE;
    choices[0] = choice;
    *found = 1;
    return SUCCESS;
}

// D = alpha op(A) op(B) + beta C, matrices by columns; C is not read where beta is 0.
EXPORTED int cublasLtMatmul(Handle *handle, const Desc *desc, const float *alpha, const uint16_t *a,
                            const Layout *a_layout, const uint16_t *b, const Layout *b_layout, const float *beta,
                            const float *c, const Layout *c_layout, float *d, const Layout *d_layout, const Algo *algo,
                            void *workspace, size_t workspace_size, const void *stream) {
    (void)stream;
    if (handle->fault != SUCCESS) return handle->fault;
    Problem problem, chosen;
    int status = problem_of(*desc, *a_layout, *b_layout, *c_layout, *d_layout, problem);
    if (status != SUCCESS) return status;
    // The library could choose for itself; here it is always told.
    if (!algo || !alpha || !beta || desc->pointers != POINTERS_ON_DEVICE) return INVALID_VALUE;
    std::memcpy(&chosen, algo, sizeof(chosen));
    if (chosen.magic != MAGIC || chosen.m != problem.m || chosen.n != problem.n || chosen.k != problem.k ||
        chosen.types != problem.types) {
        return INVALID_VALUE;
    }
    const void *matrices[4] = {a, b, c, d};
    for (int i = 0; i < 4; i++) {
        if (!matrices[i] || !aligned(matrices[i], chosen.alignment[i])) return INVALID_VALUE;
    }
    if (workspace_size < chosen.workspace || !aligned(workspace, 256)) return INVALID_VALUE;
    // Whoever counts on what is in there has no luck.
    std::memset(workspace, 0xff, chosen.workspace);

    uint64_t m = problem.m, n = problem.n, k = problem.k;
    std::vector<float> rows = rows_of(*a_layout, a, desc->turned[0] == TURNED, m, k);
    std::vector<float> cols = rows_of(*b_layout, b, desc->turned[1] == PLAIN, n, k);
    for (uint64_t j = 0; j < n; j++) {
        for (uint64_t i = 0; i < m; i++) {
            float value = *alpha * dot(&rows[i * k], &cols[j * k], k);
            if (*beta != 0) value += *beta * c[j * (uint64_t)c_layout->ld + i];
            d[j * (uint64_t)d_layout->ld + i] = value;
        }
    }
    return SUCCESS;
}
}
