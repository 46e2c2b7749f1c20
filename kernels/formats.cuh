// How a quantized weight lies in memory, and the one decoder of each type.
//
// Rows are cut into runs of 32 values. What the file mixes in one block lies in planes of its own, row after
// row and run after run, so that a warp's lanes, a run each, read whole lines:
// - `codes`: 8, 4 or 2 words a run (8, 4 or 2 bits a value), `high`: none, 1 or 2 words of further bits;
// - `scales`: none, one byte or two a run; `d`: one half or two for each 32 values, or for each 256.
// A quad is four neighbouring values, one to a byte. Word w of a run's nibbles holds quad w low and quad
// w + 4 high, which is what lane w of four needs for mma.sync: rows are never shuffled again.
#pragma once
#include "common.cuh"

constexpr int RUN = 32;
constexpr int QUADS = 8; // of a run

struct WeightArgs {
    const uint32_t *codes;
    const uint32_t *high;
    const uint8_t *scales;
    const uint16_t *d;
    uint32_t n;    // rows
    uint32_t runs; // of a row
};

enum class High { none, ones, twos };
// What the integer scales of a run are: none; one signed byte; for each 16 values one signed byte; a scale and
// a minimum of 6 bits for all 32; for each 16 a scale and a minimum in one byte.
enum class Scales { none, signed_run, signed_halves, pair, nibbles };

// Type   bits a value, further bits and how far up they go, what is subtracted, scales, halves in `d`,
// values that share them, whether codes are looked up.
template <int BITS_, High HIGH_, int SHIFT_, int OFFSET_, Scales SCALES_, int HALVES_, int SHARED_, bool BOOK_>
struct Format {
    static constexpr int BITS = BITS_, SHIFT = SHIFT_, OFFSET = OFFSET_, HALVES = HALVES_, SPAN = SHARED_;
    static constexpr High HIGH = HIGH_;
    static constexpr Scales SCALES = SCALES_;
    static constexpr bool BOOK = BOOK_;
    static constexpr bool HAS_MIN = HALVES_ == 2;
    // Whether scales differ within a run.
    static constexpr bool HALF_RUNS = SCALES_ == Scales::signed_halves || SCALES_ == Scales::nibbles;
    static constexpr int SCALE_BYTES = SCALES_ == Scales::none ? 0 : SCALES_ == Scales::signed_run ? 1 : 2;
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

#define FOR_EACH_FORMAT(X) \
    X(Q8_0) X(Q4_0) X(Q4_1) X(Q5_0) X(Q5_1) X(Q2_K) X(Q3_K) X(Q4_K) X(Q5_K) X(Q6_K) X(IQ4_NL) X(IQ4_XS)

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

// Two, four or eight words, which lie as one.
template <int N> __device__ __forceinline__ void load_words(uint32_t (&to)[N], const uint32_t *from) {
    if constexpr (N == 2) {
        uint2 x = *(const uint2 *)from;
        to[0] = x.x, to[1] = x.y;
    } else {
        UNROLL
        for (int i = 0; i < N; i += 4) {
            uint4 x = *(const uint4 *)(from + i);
            to[i] = x.x, to[i + 1] = x.y, to[i + 2] = x.z, to[i + 3] = x.w;
        }
    }
}

// One row of a weight, at one run.
template <class F> struct Run {
    const uint32_t *codes;
    const uint32_t *high;
    const uint8_t *scales;
    const uint16_t *d;

    __device__ __forceinline__ Run(const WeightArgs &w, uint32_t row, uint32_t run) {
        size_t at = (size_t)row * w.runs + run;
        codes = w.codes + at * F::BITS;
        high = w.high + at * HIGH_WORDS;
        scales = w.scales + at * F::SCALE_BYTES;
        d = w.d + ((size_t)row * (w.runs * RUN / F::SPAN) + run * RUN / F::SPAN) * F::HALVES;
    }

    static constexpr int HIGH_WORDS = F::HIGH == High::none ? 0 : F::HIGH == High::ones ? 1 : 2;

    // Which of a run's words hold quad `q`.
    static __device__ __forceinline__ int code_word(int q) {
        return F::BITS == 8 ? q : F::BITS == 4 ? q % 4 : q / 4;
    }
    static __device__ __forceinline__ int high_word(int q) { return F::HIGH == High::twos ? q / 4 : 0; }

    // Quad `q`, signed, of those words.
    static __device__ __forceinline__ uint32_t decode(uint32_t code, uint32_t high, int q) {
        if (F::BITS == 8) return code;
        code = F::BITS == 4 ? code >> (4 * (q / 4)) & 0x0f0f0f0fu : code >> (2 * (q % 4)) & 0x03030303u;
        if (F::BOOK) return look_up(code);
        if (F::HIGH == High::ones) code |= (high >> q & 0x01010101u) << F::SHIFT;
        if (F::HIGH == High::twos) code |= (high >> (2 * (q % 4)) & 0x03030303u) << F::SHIFT;
        return less<F::OFFSET>(code);
    }

    __device__ __forceinline__ uint32_t quad(int q) const {
        return decode(codes[code_word(q)], HIGH_WORDS ? high[high_word(q)] : 0, q);
    }

    // All quads, read by as few instructions as there can be.
    __device__ __forceinline__ void all(uint32_t (&quads)[QUADS]) const {
        uint32_t words[F::BITS], more[2] = {};
        load_words(words, codes);
        if (HIGH_WORDS == 1) more[0] = high[0];
        if (HIGH_WORDS == 2) load_words(more, high);
        UNROLL
        for (int q = 0; q < QUADS; q++) quads[q] = decode(words[code_word(q)], more[high_word(q)], q);
    }

    // The integer scale of the first or second 16 values.
    __device__ __forceinline__ int scale(int half) const {
        switch (F::SCALES) {
        case Scales::signed_run: return (int8_t)scales[0];
        case Scales::signed_halves: return (int8_t)scales[half];
        case Scales::pair: return scales[0];
        case Scales::nibbles: return scales[half] & 15;
        default: return 1;
        }
    }

    // Likewise the integer minimum.
    __device__ __forceinline__ int min(int half) const {
        switch (F::SCALES) {
        case Scales::pair: return scales[1];
        case Scales::nibbles: return scales[half] >> 4;
        default: return 1;
        }
    }

    __device__ __forceinline__ float scale_of_scales() const { return half_to_float(d[0]); }

    // What minimums are multiplied by: the file's formats of 256 subtract them.
    __device__ __forceinline__ float scale_of_mins() const {
        float m = half_to_float(d[F::HALVES - 1]);
        return F::SPAN == 256 ? -m : m;
    }
};
