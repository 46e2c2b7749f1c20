// Runs a kernel's blocks one after the other, each of its threads on a fiber of its own.
//
// Fibers are switched by hand on x86-64 (ten instructions; swapcontext makes a system call each time),
// by ucontext elsewhere. The scheduler runs each lane of a warp until it waits, lets those meet that are
// complete, and goes on to the next warp. It may do so from the front or from the back: where results
// differ, a barrier is missing.
#include "shim.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <sys/mman.h>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace emulator {

thread_local State *state = nullptr;

namespace {

constexpr uint32_t MAX_THREADS = 1024;
constexpr uint32_t WARP = 32;
#if defined(__SANITIZE_ADDRESS__)
constexpr size_t STACK = 256 << 10;
#else
constexpr size_t STACK = 64 << 10;
#endif
constexpr size_t PAGE = 4096;
// What a block has without asking for more.
constexpr size_t SHARED_BYTES = 48 << 10;
constexpr size_t GUARD = 64;
constexpr uint8_t POISON = 0xff; // a NaN in every float type

enum class Order : uint32_t { forward, backward };

// A copy that was begun.
struct Copy {
    uint8_t *to;
    const uint8_t *from;
    uint32_t group;
    int line;
};
constexpr size_t COPY_BYTES = 16;
constexpr uint32_t MAX_COPIES = 128; // of a thread, under way

struct Fiber : Thread {
    void *stack; // its lowest address
    void *sp;
#if !defined(__x86_64__)
    ucontext_t context;
#endif
#if defined(__SANITIZE_ADDRESS__)
    void *fake_stack;
#endif
    Request *waits;
    uint32_t result;
    bool ready, done;
    size_t shared_used;
    uint32_t shared_arrays;
    uint32_t n_copies, copy_group;
    Copy *copies; // [MAX_COPIES], elsewhere, so that what is looked at in each switch lies close together
};

struct Machine : State {
    Fiber *fibers; // [MAX_THREADS]
    Fiber *current;
    void *scheduler_sp;
#if !defined(__x86_64__)
    ucontext_t scheduler_context;
#endif
#if defined(__SANITIZE_ADDRESS__)
    void *scheduler_fake;
    const void *scheduler_stack;
    size_t scheduler_stack_size;
#endif
    const Kernel *kernel;
    const void *args;
    uint32_t threads;
    uint8_t *shared;
    size_t shared_end;          // of what any thread has asked for in this block
    size_t array_ends[64];      // where each array ends and its guard begins
    int array_lines[64];
    uint32_t arrays;
    bool under_way[2 * SHARED_BYTES / COPY_BYTES]; // where a copy that was begun will arrive
    Order order;
    char error[512];
};

Machine &machine() { return *static_cast<Machine *>(state); }

void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

// Keeps the first error.
void fail(const char *format, ...) {
    Machine &m = machine();
    if (m.error[0]) return;
    int n = snprintf(m.error, sizeof m.error, "kernel %s, block (%u, %u, %u): ", m.kernel->name, m.block.x,
                     m.block.y, m.block.z);
    va_list list;
    va_start(list, format);
    vsnprintf(m.error + n, sizeof m.error - (size_t)n, format, list);
    va_end(list);
}

#if defined(__x86_64__)
// Leaves this stack, whose pointer goes to `save`, for another that was left so. It is no call, and jumps instead of
// returning, because a processor foretells where returns go by the calls before them, and those were on another stack.
__attribute__((always_inline)) inline void switch_stack(void **save, void *load) {
    asm volatile("leaq -128(%%rsp), %%rsp\n" // what a function may use below its stack pointer
                 "pushq %%rbp\n pushq %%rbx\n"
                 "leaq 1f(%%rip), %%rax\n pushq %%rax\n"
                 "movq %%rsp, (%0)\n"
                 "movq %1, %%rsp\n"
                 "popq %%rax\n jmp *%%rax\n"
                 "1:\n"
                 "popq %%rbx\n popq %%rbp\n"
                 "leaq 128(%%rsp), %%rsp\n"
                 : "+D"(save), "+S"(load)
                 :
                 : "rax", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "cc", "memory", "xmm0",
                   "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",
                   "xmm13", "xmm14", "xmm15");
}
#endif

// From the running fiber back to the scheduler.
void leave(Fiber &f) {
    Machine &m = machine();
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(f.done ? nullptr : &f.fake_stack, m.scheduler_stack, m.scheduler_stack_size);
#endif
#if defined(__x86_64__)
    switch_stack(&f.sp, m.scheduler_sp);
#else
    swapcontext(&f.context, &m.scheduler_context);
#endif
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(f.fake_stack, nullptr, nullptr);
#endif
}

// Where a fiber begins.
void begin() {
    Machine &m = machine();
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &m.scheduler_stack, &m.scheduler_stack_size);
#endif
    Fiber &f = *m.current;
    m.kernel->body(m.args);
    f.done = true;
    leave(f);
    abort(); // nobody resumes a fiber that is done
}

void enter(Fiber &f) {
    Machine &m = machine();
    m.current = &f;
    m.thread = &f;
    f.ready = false;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&m.scheduler_fake, f.stack, STACK);
#endif
#if defined(__x86_64__)
    switch_stack(&m.scheduler_sp, f.sp);
#else
    swapcontext(&m.scheduler_context, &f.context);
#endif
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(m.scheduler_fake, nullptr, nullptr);
#endif
}

void prepare(Fiber &f, uint32_t index) {
    f.index = dim3{index, 0, 0};
    f.waits = nullptr;
    f.ready = true;
    f.done = false;
    f.shared_used = 0;
    f.shared_arrays = 0;
    f.n_copies = 0;
    f.copy_group = 0;
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(f.stack, STACK);
#endif
#if defined(__x86_64__)
    // As switch_stack leaves a stack: where to go on top. A function is entered with the stack eight bytes off a multiple
    // of sixteen. Lanes begin at different distances from their pages' ends, or all would share a few lines of the nearest
    // cache.
    void **top = reinterpret_cast<void **>(static_cast<char *>(f.stack) + STACK - index % WARP * 128);
    *--top = nullptr;
    *--top = reinterpret_cast<void *>(&begin);
    f.sp = top;
#else
    getcontext(&f.context);
    f.context.uc_stack.ss_sp = f.stack;
    f.context.uc_stack.ss_size = STACK;
    f.context.uc_link = nullptr;
    makecontext(&f.context, begin, 0);
#endif
}

// d = a b + c as mma.sync.aligned.m16n8k{16,32}.row.col.s32.s8.s8.s32 defines its fragments: of lane
// 4 g + t, row g and columns 4 t to 4 t + 3 of the first factor, and so on. The factors are laid out as matrices first,
// since looking for each byte in a lane's registers was most of what emulation took.
template <uint32_t K> void multiply(Fiber *lanes) {
    int8_t a[16][K], b[8][K];
    for (uint32_t lane = 0; lane < WARP; lane++) {
        uint32_t g = lane / 4, t = lane % 4;
        const uint32_t *own_a = static_cast<const uint32_t *>(lanes[lane].waits->a), *own_b = lanes[lane].waits->b;
        // Registers hold four of k each, the lowest byte first; with k = 32 the second half's follow those of both rows.
        for (uint32_t half = 0; half < K / 16; half++) {
            uint32_t at = 16 * half + 4 * t;
            std::memcpy(&a[g][at], &own_a[2 * half], 4);
            std::memcpy(&a[g + 8][at], &own_a[2 * half + 1], 4);
            std::memcpy(&b[g][at], &own_b[half], 4);
        }
    }
    for (uint32_t lane = 0; lane < WARP; lane++) {
        int *c = static_cast<int *>(lanes[lane].waits->c);
        for (uint32_t i = 0; i < 4; i++) {
            const int8_t *of_a = a[lane / 4 + i / 2 * 8], *of_b = b[lane % 4 * 2 + i % 2];
            int sum = 0;
            for (uint32_t k = 0; k < K; k++) sum += of_a[k] * of_b[k];
            c[i] = (int)((uint32_t)c[i] + (uint32_t)sum);
        }
    }
}

float bf16_to_float(uint16_t x) { return from_bits((uint32_t)x << 16); }

// d = a b + c as mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32, or with .bf16, defines its fragments: of lane
// 4 g + t, row g and columns 2 t and 2 t + 1 of the first factor, and so on. All is added exactly, or nearly, and rounded
// once. `widen` says what a half is.
template <float (*widen)(uint16_t)> void multiply_halves(Fiber *lanes) {
    auto half_of = [&](uint32_t word, uint32_t i) { return (double)widen((uint16_t)(word >> (16 * i))); };
    double a[16][16], b[8][16];
    for (uint32_t lane = 0; lane < WARP; lane++) {
        uint32_t g = lane / 4, t = lane % 4;
        const Request &own = *lanes[lane].waits;
        for (uint32_t i = 0; i < 8; i++) {
            a[g + i / 2 % 2 * 8][2 * t + i % 2 + i / 4 * 8] = half_of(static_cast<const uint32_t *>(own.a)[i / 2], i % 2);
        }
        for (uint32_t i = 0; i < 4; i++) b[g][2 * t + i % 2 + i / 2 * 8] = half_of(own.b[i / 2], i % 2);
    }
    for (uint32_t lane = 0; lane < WARP; lane++) {
        float *c = static_cast<float *>(lanes[lane].waits->c);
        for (uint32_t i = 0; i < 4; i++) {
            const double *of_a = a[lane / 4 + i / 2 * 8], *of_b = b[lane % 4 * 2 + i % 2];
            double sum = c[i];
            for (uint32_t k = 0; k < 16; k++) sum += of_a[k] * of_b[k];
            c[i] = (float)sum;
        }
    }
}

// As ldmatrix.sync.aligned.m8n8.x4.shared.b16, or with .trans.
void load_all_matrices(Fiber *lanes, bool turned) {
    Machine &m = machine();
    for (uint32_t lane = 0; lane < WARP; lane++) {
        const Request &own = *lanes[lane].waits;
        const uint8_t *from = static_cast<const uint8_t *>(own.a);
        if (reinterpret_cast<uintptr_t>(from) % 16 || from < m.shared || from + 16 > m.shared + m.shared_end) {
            fail("thread %u loads a row of a matrix from what is not shared or no multiple of 16, at line %d",
                 lanes[lane].index.x, own.line);
            return;
        }
    }
    for (uint32_t lane = 0; lane < WARP; lane++) {
        uint32_t *to = static_cast<uint32_t *>(lanes[lane].waits->c), g = lane / 4, t = lane % 4;
        for (uint32_t i = 0; i < 4; i++) {
            auto at = [&](uint32_t row, uint32_t col) {
                uint16_t half;
                std::memcpy(&half, static_cast<const uint8_t *>(lanes[8 * i + row].waits->a) + 2 * col, 2);
                return (uint32_t)half;
            };
            to[i] = turned ? at(2 * t, g) | at(2 * t + 1, g) << 16 : at(g, 2 * t) | at(g, 2 * t + 1) << 16;
        }
    }
}

// Lets those lanes of a warp meet that are complete; whether any did.
bool meet_in_warp(Fiber *lanes, uint32_t count) {
    bool any = false;
    for (uint32_t lane = 0; lane < count; lane++) {
        Fiber &f = lanes[lane];
        if (!f.waits || f.waits->meet == Meet::block || f.ready) continue;
        const Request &r = *f.waits;
        if (!(r.mask >> lane & 1)) {
            fail("thread %u meets lanes %08x at line %d and is none of them", f.index.x, r.mask, r.line);
            return false;
        }
        bool complete = true;
        for (uint32_t other = 0; other < WARP && complete; other++) {
            if (!(r.mask >> other & 1)) continue;
            const Request *o = other < count ? lanes[other].waits : nullptr;
            complete = o && !lanes[other].ready && o->meet == r.meet && o->mask == r.mask && o->line == r.line;
        }
        if (!complete) continue;
        uint32_t votes = 0, sum = 0, mask = r.mask;
        Meet kind = r.meet;
        for (uint32_t i = 0; i < count; i++) {
            if (!(mask >> i & 1)) continue;
            votes |= lanes[i].waits->value << i;
            sum += lanes[i].waits->value;
            if (kind == Meet::shuffle && !(mask >> lanes[i].waits->from & 1)) {
                fail("thread %u reads from lane %u, which is not of %08x, at line %d", lanes[i].index.x,
                     lanes[i].waits->from, mask, r.line);
                return false;
            }
        }
        if (kind == Meet::mma_s8_k16) multiply<16>(lanes);
        if (kind == Meet::mma_s8_k32) multiply<32>(lanes);
        if (kind == Meet::mma_f16_k16) multiply_halves<half_to_float>(lanes);
        if (kind == Meet::mma_bf16_k16) multiply_halves<bf16_to_float>(lanes);
        if (kind == Meet::matrices || kind == Meet::matrices_turned) {
            load_all_matrices(lanes, kind == Meet::matrices_turned);
        }
        for (uint32_t i = 0; i < count; i++) {
            if (!(mask >> i & 1)) continue;
            Fiber &one = lanes[i];
            one.result = kind == Meet::shuffle ? lanes[one.waits->from].waits->value
                         : kind == Meet::vote  ? votes
                                               : sum;
        }
        for (uint32_t i = 0; i < count; i++) {
            if (mask >> i & 1) lanes[i].ready = true;
        }
        any = true;
    }
    return any;
}

void say_who_waits() {
    Machine &m = machine();
    for (uint32_t i = 0; i < m.threads; i++) {
        const Fiber &f = m.fibers[i];
        if (f.done || !f.waits) continue;
        if (f.waits->meet == Meet::block) continue;
        uint32_t missing = 0, first = i / WARP * WARP;
        for (uint32_t lane = 0; lane < WARP; lane++) {
            if (!(f.waits->mask >> lane & 1)) continue;
            uint32_t other = first + lane;
            const Request *o = other < m.threads && !m.fibers[other].done ? m.fibers[other].waits : nullptr;
            if (!o || o->meet != f.waits->meet || o->mask != f.waits->mask || o->line != f.waits->line) {
                missing |= 1u << lane;
            }
        }
        fail("thread %u waits at line %d for lanes %08x of its warp, which never come", i, f.waits->line, missing);
        return;
    }
    for (uint32_t i = 0; i < m.threads; i++) {
        const Fiber &f = m.fibers[i];
        if (f.done) continue;
        fail("thread %u waits at the barrier at line %d, to which not all threads come", i, f.waits->line);
        return;
    }
}

// Whether all threads are at the same barrier; then they go on.
bool meet_in_block() {
    Machine &m = machine();
    for (uint32_t i = 0; i < m.threads; i++) {
        const Fiber &f = m.fibers[i];
        if (f.done || !f.waits || f.waits->meet != Meet::block || f.waits->line != m.fibers[0].waits->line) {
            return false;
        }
    }
    for (uint32_t i = 0; i < m.threads; i++) m.fibers[i].ready = true;
    return true;
}

void check_shared() {
    Machine &m = machine();
    for (uint32_t i = 0; i < m.arrays; i++) {
        for (size_t at = m.array_ends[i]; at < m.array_ends[i] + GUARD; at++) {
            if (m.shared[at] != POISON) {
                fail("something was written %zu bytes beyond the shared array of line %d", at - m.array_ends[i],
                     m.array_lines[i]);
                return;
            }
        }
    }
}

void unpoison_shared() {
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(machine().shared, 2 * SHARED_BYTES);
#endif
}

// Whoever ends with copies under way has not waited for what it asked for.
void check_copies() {
    Machine &m = machine();
    for (uint32_t i = 0; i < m.threads && !m.error[0]; i++) {
        const Fiber &f = m.fibers[i];
        if (f.n_copies != 0) fail("thread %u ended without waiting for the copy of line %d", i, f.copies[0].line);
    }
}

void run_block() {
    Machine &m = machine();
    unpoison_shared();
    std::memset(m.shared, POISON, m.shared_end);
    std::memset(m.under_way, 0, sizeof m.under_way);
    m.shared_end = 0;
    m.arrays = 0;
    for (uint32_t i = 0; i < m.threads; i++) prepare(m.fibers[i], i);
    uint32_t warps = (m.threads + WARP - 1) / WARP, left = m.threads;
    while (left && !m.error[0]) {
        bool moved = false;
        for (uint32_t w = 0; w < warps; w++) {
            uint32_t warp = m.order == Order::forward ? w : warps - 1 - w;
            Fiber *lanes = m.fibers + warp * WARP;
            uint32_t count = m.threads - warp * WARP < WARP ? m.threads - warp * WARP : WARP;
            for (bool again = true; again && !m.error[0];) {
                for (uint32_t l = 0; l < count && !m.error[0]; l++) {
                    Fiber &f = lanes[m.order == Order::forward ? l : count - 1 - l];
                    if (!f.ready) continue;
                    enter(f);
                    moved = true;
                    if (f.done) left--;
                }
                again = meet_in_warp(lanes, count);
                moved |= again;
            }
        }
        if (left && !m.error[0] && !moved && !meet_in_block()) say_who_waits();
    }
    unpoison_shared();
    check_copies();
    check_shared();
}

void *map(size_t bytes) {
    void *at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) abort();
    return at;
}

// One for each thread of the host that launches; never given back.
Machine *start_machine() {
    Machine *m = static_cast<Machine *>(calloc(1, sizeof(Machine)));
    m->fibers = static_cast<Fiber *>(calloc(MAX_THREADS, sizeof(Fiber)));
    Copy *copies = static_cast<Copy *>(map(MAX_THREADS * MAX_COPIES * sizeof(Copy)));
    // Below each stack a page that nobody may touch: an overflow is a fault and not a riddle.
    char *stacks = static_cast<char *>(map(MAX_THREADS * (STACK + PAGE)));
    for (uint32_t i = 0; i < MAX_THREADS; i++) {
        char *at = stacks + i * (STACK + PAGE);
        mprotect(at, PAGE, PROT_NONE);
        m->fibers[i].stack = at + PAGE;
        m->fibers[i].copies = copies + i * MAX_COPIES;
    }
    m->shared = static_cast<uint8_t *>(map(2 * SHARED_BYTES));
    m->shared_end = 2 * SHARED_BYTES;
    return m;
}

// Gives a machine's memory back when its thread ends.
struct Owner {
    ~Owner() {
        if (!state) return;
        Machine *m = static_cast<Machine *>(state);
        munmap(static_cast<char *>(m->fibers[0].stack) - PAGE, MAX_THREADS * (STACK + PAGE));
        munmap(m->shared, 2 * SHARED_BYTES);
        munmap(m->fibers[0].copies, MAX_THREADS * MAX_COPIES * sizeof(Copy));
        free(m->fibers);
        free(m);
        state = nullptr;
    }
};

} // namespace

uint32_t meet(Request &request) {
    Fiber &f = *machine().current;
    f.waits = &request;
    leave(f);
    f.waits = nullptr;
    return f.result;
}

void copy_async(int line, void *to, const void *from) {
    Machine &m = machine();
    Fiber &f = *m.current;
    Copy copy{static_cast<uint8_t *>(to), static_cast<const uint8_t *>(from), f.copy_group, line};
    const char *why = nullptr;
    if (reinterpret_cast<uintptr_t>(to) % COPY_BYTES || reinterpret_cast<uintptr_t>(from) % COPY_BYTES) {
        why = "copies from or to what is no multiple of 16";
    }
    if (copy.to < m.shared || copy.to + COPY_BYTES > m.shared + m.shared_end) why = "copies to what is not shared";
    if (f.n_copies == MAX_COPIES) why = "has too many copies under way";
    if (!why && m.under_way[(copy.to - m.shared) / COPY_BYTES]) why = "copies to where a copy is under way";
    if (why) {
        fail("thread %u %s, at line %d", f.index.x, why, line);
        f.done = true; // never to go on
        leave(f);
    }
    std::memset(copy.to, POISON, COPY_BYTES);
#if defined(__SANITIZE_ADDRESS__)
    __asan_poison_memory_region(copy.to, COPY_BYTES);
#endif
    m.under_way[(copy.to - m.shared) / COPY_BYTES] = true;
    f.copies[f.n_copies++] = copy;
}

void copy_commit() { machine().current->copy_group++; }

// What must have come has come now, and not before.
void copy_wait(uint32_t left) {
    Machine &m = machine();
    Fiber &f = *m.current;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < f.n_copies; i++) {
        const Copy &copy = f.copies[i];
        if (copy.group + left >= f.copy_group) {
            f.copies[kept++] = copy;
            continue;
        }
#if defined(__SANITIZE_ADDRESS__)
        __asan_unpoison_memory_region(copy.to, COPY_BYTES);
#endif
        std::memcpy(copy.to, copy.from, COPY_BYTES);
        m.under_way[(copy.to - m.shared) / COPY_BYTES] = false;
    }
    f.n_copies = kept;
}

void *shared(size_t bytes, int line) {
    Machine &m = machine();
    Fiber &f = *m.current;
    size_t begin = f.shared_used, end = begin + bytes;
    size_t next = (end + GUARD + 15) / 16 * 16;
    uint32_t i = f.shared_arrays++;
    if (i >= 64 || next > 2 * SHARED_BYTES || end - i * (GUARD + 16) > SHARED_BYTES) {
        fail("more shared memory at line %d than a block has", line);
        f.done = true; // never to go on
        leave(f);
    }
    if (i == m.arrays) {
        m.array_ends[m.arrays] = end;
        m.array_lines[m.arrays++] = line;
        m.shared_end = next;
#if defined(__SANITIZE_ADDRESS__)
        __asan_poison_memory_region(m.shared + end, next - end);
#endif
    } else if (m.array_ends[i] != end || m.array_lines[i] != line) {
        fail("thread %u asks for other shared arrays than the others, at line %d", f.index.x, line);
        f.done = true;
        leave(f);
    }
    f.shared_used = next;
    return m.shared + begin;
}

// IEEE 754 binary16: five bits of exponent, ten of fraction.
float half_to_float(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31, fraction = half & 0x3ff;
    if (exponent == 31) return from_bits(sign | 0x7f800000u | fraction << 13);
    if (exponent == 0) {
        float magnitude = (float)fraction * 0x1p-24f;
        return sign ? -magnitude : magnitude;
    }
    return from_bits(sign | (exponent + 112) << 23 | fraction << 13);
}

// The nearest, ties to even; what is too large is infinite.
uint16_t float_to_half(float x) {
    uint32_t b = bits(x), sign = b >> 16 & 0x8000, magnitude = b & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x3ff));
    if (magnitude >= 0x47800000u) return (uint16_t)(sign | 0x7c00); // 2^16 and more
    if (magnitude < 0x38800000u) {                                  // below 2^-14: steps of 2^-24
        return (uint16_t)(sign | (uint32_t)std::nearbyintf(from_bits(magnitude) * 0x1p24f));
    }
    uint32_t rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
    return (uint16_t)(sign | (rounded - (112u << 23)) >> 13);
}

extern "C" {

// Runs a kernel to its end. What went wrong is written to `error`, as a string; empty if nothing did.
__attribute__((visibility("default"))) void emulator_launch(const Kernel *kernel, const uint32_t *grid,
                                                            uint32_t threads, const void *args, uint32_t args_size,
                                                            uint32_t order, char *error, size_t error_size) {
    static thread_local Owner owner;
    (void)&owner;
    if (!state) state = start_machine();
    Machine &m = machine();
    m.kernel = kernel;
    m.args = args;
    m.grid = dim3{grid[0], grid[1], grid[2]};
    m.block_dim = dim3{threads, 1, 1};
    m.block = dim3{0, 0, 0};
    m.threads = threads;
    m.order = static_cast<Order>(order);
    m.error[0] = 0;
    if (args_size != kernel->args_size) {
        fail("takes %u bytes of arguments and was given %u", kernel->args_size, args_size);
    }
    if (threads == 0 || threads > kernel->threads || threads > MAX_THREADS) {
        fail("%u threads; it is made for %u at most", threads, kernel->threads);
    }
    if (grid[0] == 0 || grid[1] == 0 || grid[2] == 0 || grid[0] > 0x7fffffffu || grid[1] > 65535 || grid[2] > 65535) {
        fail("a grid of (%u, %u, %u)", grid[0], grid[1], grid[2]);
    }
    for (uint32_t z = 0; z < grid[2] && !m.error[0]; z++) {
        for (uint32_t y = 0; y < grid[1] && !m.error[0]; y++) {
            for (uint32_t x = 0; x < grid[0] && !m.error[0]; x++) {
                m.block = dim3{x, y, z};
                run_block();
            }
        }
    }
    snprintf(error, error_size, "%s", m.error);
}

// Forbids memory to whoever is sanitized, or allows it again.
__attribute__((visibility("default"))) void emulator_guard(void *from, size_t bytes, uint32_t forbidden) {
#if defined(__SANITIZE_ADDRESS__)
    if (forbidden) __asan_poison_memory_region(from, bytes);
    else __asan_unpoison_memory_region(from, bytes);
#else
    (void)from, (void)bytes, (void)forbidden;
#endif
}

// For the tests of the conversions.
__attribute__((visibility("default"))) float emulator_half_to_float(uint16_t half) { return half_to_float(half); }
__attribute__((visibility("default"))) uint16_t emulator_float_to_half(float x) { return float_to_half(x); }
}

} // namespace emulator
