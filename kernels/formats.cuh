// How a quantized weight lies in memory, and the one decoder of each type.
//
// Rows are cut into units of 256 values, eight runs of 32; a row whose end is no whole unit is filled up with zeros.
// What the file mixes in one block lies in planes of its own, row after row and unit after unit:
// - `codes`: 8, 4 or 2 bits a value, `high`: none, 1 or 2 further bits;
// - `scales`: none, or 16 bytes a unit;
// - `d`: one half or two for each unit, or for each run.
// A quad is four neighbouring values, one to a byte. mma.sync wants of a run, in lane t of four, quads t and t + 4. So
// bits lie by lanes: of a group of four runs, each lane's eight quads are neighbours, quads t and t + 4 of the first
// run, then of the second, and so on, in as few words as hold them. A lane reads them at once, lanes beside it read
// what is beside it, and what is read is a fragment: rows are never shuffled again. Activations lie as 8-bit codes do.
#pragma once
#include "common.cuh"

constexpr int RUN = 32;
constexpr int UNIT = 256;
constexpr int UNIT_RUNS = UNIT / RUN;
constexpr int GROUP_RUNS = 4;
constexpr int GROUPS = UNIT_RUNS / GROUP_RUNS; // of a unit
constexpr int LANE_QUADS = 8;                  // of a lane in a group: quads t and t + 4 of each run
constexpr int SCALE_BYTES = 16;                // of a unit

// No plane has more words than 32 bits count.
struct WeightArgs {
    const uint32_t *codes;
    const uint32_t *high;
    const uint8_t *scales;
    const uint16_t *d;
    uint32_t n;     // rows
    uint32_t units; // of a row
};

enum class High { none, ones, twos };
// What the 16 bytes of a unit's integer scales are: none; a signed byte for each run, then nothing; a signed byte for
// each 16 values; a scale of 6 bits for each run, then a minimum for each; for each 16 values both in one byte.
enum class Scales { none, signed_run, signed_halves, pair, nibbles };

// Type   bits a value, further bits and how far up they go, what is subtracted, scales, halves in `d`,
// values that share them, whether codes are looked up.
template <int BITS_, High HIGH_, int SHIFT_, int OFFSET_, Scales SCALES_, int HALVES_, int SHARED_, bool BOOK_>
struct Format {
    static constexpr int BITS = BITS_, SHIFT = SHIFT_, OFFSET = OFFSET_, HALVES = HALVES_, SPAN = SHARED_;
    static constexpr Scales SCALES = SCALES_;
    static constexpr bool BOOK = BOOK_;
    static constexpr bool HAS_MIN = HALVES_ == 2;
    static constexpr bool HAS_SCALES = SCALES_ != Scales::none;
    // Whether scales differ within a run.
    static constexpr bool HALF_RUNS = SCALES_ == Scales::signed_halves || SCALES_ == Scales::nibbles;
    // Further bits of a code: so many are a lane's words of a group, too, as BITS are of the first.
    static constexpr int HIGH = HIGH_ == High::none ? 0 : HIGH_ == High::ones ? 1 : 2;
    // Halves in `d` of a unit.
    static constexpr int UNIT_HALVES = UNIT / SHARED_ * HALVES_;
};

using Q8_0 = Format<8, High::none, 0, 0, Scales::none, 1, 32, false>;
using Q4_0 = Format<4, High::none, 0, 8, Scales::none, 1, 32, false>;
using Q4_1 = Format<4, High::none, 0, 0, Scales::none, 2, 32, false>;
using Q5_0 = Format<4, High::ones, 4, 16, Scales::none, 1, 32, false>;
using Q5_1 = Format<4, High::ones, 4, 0, Scales::none, 2, 32, false>;
using Q2_K = Format<2, High::none, 0, 0, Scales::nibbles, 2, 256, false>;
using Q3_K = Format<2, High::ones, 2, 4, Scales::signed_halves, 1, 256, false>;
using Q4_K = Format<4, High::none, 0, 0, Scales::pair, 2, 256, false>;
using Q5_K = Format<4, High::ones, 4, 0, Scales::pair, 2, 256, false>;
using Q6_K = Format<4, High::twos, 4, 32, Scales::signed_halves, 1, 256, false>;
using IQ4_NL = Format<4, High::none, 0, 0, Scales::none, 1, 32, true>;
using IQ4_XS = Format<4, High::none, 0, 0, Scales::signed_run, 1, 256, true>;

// Those that have scales for each run, and for each unit.
#define FOR_EACH_RUN_FORMAT(X) X(Q8_0) X(Q4_0) X(Q4_1) X(Q5_0) X(Q5_1) X(IQ4_NL)
#define FOR_EACH_UNIT_FORMAT(X) X(Q2_K) X(Q3_K) X(Q4_K) X(Q5_K) X(Q6_K) X(IQ4_XS)
#define FOR_EACH_FORMAT(X) FOR_EACH_RUN_FORMAT(X) FOR_EACH_UNIT_FORMAT(X)

// Four codes less OFFSET, each within its byte: the top bit, which no code has, keeps borrows in.
template <int OFFSET> __device__ __forceinline__ uint32_t less(uint32_t codes) {
    if (OFFSET == 0) return codes;
    return ((codes | 0x80808080u) - OFFSET * 0x01010101u) ^ 0x80808080u;
}

// What four nibbles stand for in the non-linear types, one to a byte in and out.
__device__ __forceinline__ uint32_t look_up(uint32_t nibbles) {
    // The codebook's 16 signed bytes. A selector has four bits of which three choose; the fourth is taken
    // apart here.
    uint32_t packed = nibbles | nibbles >> 4;
    uint32_t choose = (packed & 0xffu) | (packed >> 8 & 0xff00u);
    uint32_t low = __byte_perm(0xbfad9881u, 0xf6eaddcfu, choose & 0x7777u);
    uint32_t high = __byte_perm(0x26190d01u, 0x71594535u, choose & 0x7777u);
    uint32_t upper = (nibbles >> 3 & 0x01010101u) * 0xffu;
    return (low & ~upper) | (high & upper);
}

// Words that lie as one: one, two or four, or twice four 16 words apart.
template <int N> __device__ __forceinline__ void load_words(uint32_t (&to)[N], const uint32_t *from) {
    if constexpr (N == 1) {
        to[0] = from[0];
    } else if constexpr (N == 2) {
        uint2 x = *(const uint2 *)from;
        to[0] = x.x, to[1] = x.y;
    } else {
        UNROLL
        for (int i = 0; i < N; i += 4) {
            uint4 x = *(const uint4 *)(from + 4 * i);
            to[i] = x.x, to[i + 1] = x.y, to[i + 2] = x.z, to[i + 3] = x.w;
        }
    }
}

// Where lane t's words of a group begin, of BITS bits a value, in words from the group's first; the group has 4 BITS.
template <int BITS> __device__ __forceinline__ int lane_words(int t) { return t * (BITS == 8 ? 4 : BITS); }

// Quads from words: `i` counts a lane's quads of a group, two for each run.
template <class F> struct Decoder {
    // Quad `i`, signed, of a lane's words.
    static __device__ __forceinline__ uint32_t decode(const uint32_t *codes, const uint32_t *high, int i) {
        if (F::BITS == 8) return codes[i];
        constexpr int PER_WORD = 8 / F::BITS;
        constexpr uint32_t MASK = F::BITS == 4 ? 0x0f0f0f0fu : 0x03030303u;
        uint32_t code = codes[i / PER_WORD] >> (F::BITS * (i % PER_WORD)) & MASK;
        if (F::BOOK) return look_up(code);
        if (F::HIGH == 1) code |= (high[0] >> i & 0x01010101u) << F::SHIFT;
        if (F::HIGH == 2) code |= (high[i / 4] >> (2 * (i % 4)) & 0x03030303u) << F::SHIFT;
        return less<F::OFFSET>(code);
    }

    // All quads of lane t in group `group` (of all units) of a row.
    static __device__ __forceinline__ void all(const WeightArgs &w, uint32_t group, int t, uint32_t (&quads)[LANE_QUADS]) {
        uint32_t codes[F::BITS], high[F::HIGH ? F::HIGH : 1];
        load_words(codes, w.codes + group * 4 * F::BITS + lane_words<F::BITS>(t));
        if constexpr (F::HIGH != 0) load_words(high, w.high + group * 4 * F::HIGH + lane_words<F::HIGH>(t));
        UNROLL
        for (int i = 0; i < LANE_QUADS; i++) quads[i] = decode(codes, high, i);
    }
};

// Asks for the codes and integer scales of `rows` rows from `first` on, which are no kernel's to write.
template <class F> __device__ __forceinline__ void prefetch_rows(const WeightArgs &w, uint32_t first, uint32_t rows) {
    if (first >= w.n) return;
    size_t of = (size_t)first * w.units, units = (size_t)(rows < w.n - first ? rows : w.n - first) * w.units;
    PREFETCH(w.codes + of * 8 * F::BITS, units * 32 * F::BITS);
    if (F::HIGH != 0) PREFETCH(w.high + of * 8 * F::HIGH, units * 32 * F::HIGH);
    if (F::HAS_SCALES) PREFETCH(w.scales + of * SCALE_BYTES, units * SCALE_BYTES);
}

// The integer scale that one byte, or the low half of it, is.
template <class F> __device__ __forceinline__ int scale_of(uint32_t byte) {
    switch (F::SCALES) {
    case Scales::signed_run:
    case Scales::signed_halves: return (int8_t)byte;
    case Scales::pair: return (int)(byte & 0xff);
    case Scales::nibbles: return (int)(byte & 15);
    default: return 1;
    }
}

// The scales of a group of a unit, as words: those of the group's runs, or of their halves.
template <class F> struct GroupScales {
    static constexpr int WORDS = F::HALF_RUNS ? 2 : 1;
    uint32_t words[WORDS];

    __device__ __forceinline__ void load(const uint8_t *unit, int group) {
        const uint32_t *from = (const uint32_t *)unit + group * WORDS;
        UNROLL
        for (int i = 0; i < WORDS; i++) words[i] = from[i];
    }
    // Of a half of run `run` of the group.
    __device__ __forceinline__ int of(int run, int half) const {
        int at = F::HALF_RUNS ? 2 * run + half : run;
        return scale_of<F>(words[at / 4] >> (8 * (at % 4)));
    }
};

// The minimums of a unit for values 64 t to 64 t + 63, a byte for each 16: as mma.sync wants them in lane t.
template <class F> __device__ __forceinline__ uint32_t minimums(const uint8_t *unit, int t) {
    if (F::SCALES == Scales::nibbles) return ((const uint32_t *)unit)[t] >> 4 & 0x0f0f0f0fu;
    // Of two runs, each of which has two times 16 values.
    uint32_t two = ((const uint16_t *)(unit + UNIT_RUNS))[t];
    return __byte_perm(two, 0, 0x1100);
}

// What a unit's integers are scaled by, and its minimums: the file's formats of 256 subtract those.
template <class F> __device__ __forceinline__ float scale_of_scales(const uint16_t *d) { return half_to_float(d[0]); }
template <class F> __device__ __forceinline__ float scale_of_mins(const uint16_t *d) {
    float m = half_to_float(d[F::HALVES - 1]);
    return F::SPAN == UNIT ? -m : m;
}
