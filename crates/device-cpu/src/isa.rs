//! Which instruction set the kernels use. Chosen at run time from what the processor says, never
//! by how the binary was compiled; a lesser one can be forced for tests and comparisons.

#[cfg(target_arch = "aarch64")]
use std::arch::is_aarch64_feature_detected;
use std::str::FromStr;

/// An instruction set the kernels have variants for; of one architecture, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// Plain Rust: the reference the others are held to.
    Scalar,
    /// AVX2, FMA and F16C.
    Avx2,
    /// AVX-512 F, BW, VL, DQ and VNNI.
    Avx512Vnni,
    /// NEON with the dot product extension, on aarch64. Processors of before it compute in plain Rust.
    NeonDot,
}

impl Isa {
    const ALL: [Isa; 4] = [Isa::Scalar, Isa::Avx2, Isa::Avx512Vnni, Isa::NeonDot];

    /// The best instruction set of this processor.
    pub fn detect() -> Isa {
        Isa::available().last().unwrap_or(Isa::Scalar)
    }

    /// Whether this processor has it.
    pub fn is_available(self) -> bool {
        match self {
            Isa::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("f16c")
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni => {
                Isa::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(target_arch = "aarch64")]
            Isa::NeonDot => is_aarch64_feature_detected!("neon") && is_aarch64_feature_detected!("dotprod"),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512Vnni => false,
            #[cfg(not(target_arch = "aarch64"))]
            Isa::NeonDot => false,
        }
    }

    /// Every instruction set of this processor, least first.
    pub fn available() -> impl Iterator<Item = Isa> {
        Isa::ALL.into_iter().filter(|isa| isa.is_available())
    }
}

/// Whether the processor computes registers of 512 bits in two halves, as AMD's fourth generation (family 25) does: then
/// registers of 256 bits are as fast for what they hold, and what only the narrow ones do in one go is faster in them.
#[cfg(target_arch = "x86_64")]
pub(crate) fn computes_halves() -> bool {
    static HALVES: std::sync::LazyLock<bool> = std::sync::LazyLock::new(|| {
        use std::arch::x86_64::__cpuid;
        let vendor = __cpuid(0);
        let signature = __cpuid(1).eax;
        let family = (signature >> 8 & 0xf) + (signature >> 20 & 0xff);
        vendor.ebx == u32::from_le_bytes(*b"Auth") && family == 25
    });
    *HALVES
}

impl FromStr for Isa {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "scalar" => Ok(Isa::Scalar),
            "avx2" => Ok(Isa::Avx2),
            "avx512" => Ok(Isa::Avx512Vnni),
            "neon" => Ok(Isa::NeonDot),
            _ => Err(format!("instruction set \"{s}\" is not known; known: scalar, avx2, avx512, neon")),
        }
    }
}
