//! The ninth draw's values. Written by somebody who had not read the recognizers, and whose values come from elsewhere: from
//! `ninth_values.txt`, which `ninth_values.py` makes of what others wrote (python-stdnum, Faker, CLDR, the registry of IBANs,
//! libphonenumber). Keys and private keys are made here, as their services document them. A key that is a plain UUID is not
//! among them: the guard says that it takes these for ids.

use std::sync::LazyLock;

use super::draw::{BASE64, ByEntity, Draw, HEX, LOWER, MIXED, UPPER, URL_SAFE, by_entity};

/// The file's values.
static VALUES: LazyLock<ByEntity> = LazyLock::new(|| by_entity(include_str!("ninth_values.txt")));

/// A value as people write it.
pub(crate) fn value(entity: &str, draw: &mut Draw) -> String {
    match entity {
        "API_KEY" => key(draw),
        "PRIVATE_KEY" => pem(draw),
        _ => draw.pick(&VALUES[entity]).to_owned(),
    }
}

/// Keys by the documentation of fifty services.
fn key(draw: &mut Draw) -> String {
    let uuid = |draw: &mut Draw| [8, 4, 4, 4, 12].map(|length| draw.of(HEX, length)).join("-");
    match draw.range(0, 49) {
        0 => draw.pick(&["gho_", "ghs_", "ghr_", "ghu_"]).to_owned() + &draw.of(MIXED, 36),
        1 => draw.pick(&["glrt-", "gldt-", "glptt-"]).to_owned() + &draw.of(URL_SAFE, 20),
        2 => format!("xoxp-{}-{}-{}-{}", draw.digits(11), draw.digits(12), draw.digits(13), draw.of(HEX, 32)),
        3 => format!(
            "xapp-1-A{}-{}-{}",
            draw.of(&UPPER.replace('O', "0"), 10),
            draw.digits(13),
            draw.of(HEX, 64)
        ),
        4 => draw.pick(&["rk_live_", "sk_test_", "rk_test_"]).to_owned() + &draw.of(MIXED, 99),
        5 => "whsec_".to_owned() + &draw.of(MIXED, 32),
        6 => draw.pick(&["dop_v1_", "doo_v1_"]).to_owned() + &draw.of(HEX, 64),
        7 => draw.pick(&["shpat_", "shpss_", "shpca_"]).to_owned() + &draw.of(HEX, 32),
        8 => "sq0csp-".to_owned() + &draw.of(URL_SAFE, 42) + "A",
        9 => "SK".to_owned() + &draw.of(HEX, 32),
        10 => format!("{}-{}-{}", draw.of(HEX, 32), draw.of(HEX, 8), draw.of(HEX, 8)),
        11 => "NRAK-".to_owned() + &draw.of(&(UPPER.to_owned() + "0123456789"), 27),
        12 => draw.of(HEX, 40),
        13 => draw.of(URL_SAFE, 38) + &draw.of(MIXED, 2),
        14 => draw.of(BASE64, 86) + "==",
        15 => format!("{}8Q~{}", draw.of(MIXED, 3), draw.of(MIXED, 34)),
        16 => "GOCSPX-".to_owned() + &draw.of(MIXED, 28),
        17 => "ya29.a0".to_owned() + &draw.of(URL_SAFE, 120) + &draw.of(MIXED, 4),
        18 => "dapi".to_owned() + &draw.of(HEX, 32),
        19 => "hvs.CAESI".to_owned() + &draw.of(URL_SAFE, 80) + &draw.of(MIXED, 6),
        20 => format!("{}.atlasv1.{}", draw.of(MIXED, 14), draw.of(MIXED, 67)),
        21 => "pypi-AgEIcHlwaS5vcmc".to_owned() + &draw.of(URL_SAFE, 80) + &draw.of(MIXED, 6),
        22 => "rubygems_".to_owned() + &draw.of(HEX, 48),
        23 => "dckr_pat_".to_owned() + &draw.of(MIXED, 27),
        24 => "figd_".to_owned() + &draw.of(URL_SAFE, 38) + &draw.of(MIXED, 2),
        25 => "lin_api_".to_owned() + &draw.of(MIXED, 40),
        26 => draw.pick(&["secret_", "ntn_"]).to_owned() + &draw.of(MIXED, 43),
        27 => format!("pat{}.{}", draw.of(MIXED, 14), draw.of(HEX, 64)),
        28 => format!("glsa_{}_{}", draw.of(MIXED, 32), draw.of(HEX, 8)),
        29 => "sk-or-v1-".to_owned() + &draw.of(HEX, 64),
        30 => "gsk_".to_owned() + &draw.of(MIXED, 52),
        31 => "pplx-".to_owned() + &draw.of(MIXED, 48),
        32 => "r8_".to_owned() + &draw.of(MIXED, 37),
        33 => "xai-".to_owned() + &draw.of(MIXED, 80),
        34 => format!(
            "{}{}:AA{}{}",
            draw.of("123456789", 1),
            draw.digits(9),
            draw.of(URL_SAFE, 30),
            draw.of(MIXED, 3)
        ),
        35 => format!("MT{}.{}.{}", draw.of(MIXED, 24), draw.of(MIXED, 6), draw.of(MIXED, 38)),
        36 => format!("sk.eyJ1Ijoi{}.{}", draw.of(MIXED, 60), draw.of(MIXED, 22)),
        37 => draw.of(BASE64, 39) + &draw.of(MIXED, 1),
        38 => format!("ATATT3xFfGF0{}={}", draw.of(URL_SAFE, 172), draw.of("0123456789ABCDEF", 8)),
        39 => "sbp_".to_owned() + &draw.of(HEX, 40),
        40 => "nfp_".to_owned() + &draw.of(MIXED, 36),
        41 => "bkua_".to_owned() + &draw.of(HEX, 40),
        42 => format!("CCIPAT_{}_{}", draw.of(MIXED, 22), draw.of(HEX, 40)),
        43 => "pscale_tkn_".to_owned() + &draw.of(URL_SAFE, 42) + &draw.of(MIXED, 1),
        44 => "dp.pt.".to_owned() + &draw.of(MIXED, 43),
        45 => format!("tskey-auth-k{}CNTRL-{}", draw.of(MIXED, 11), draw.of(MIXED, 32)),
        46 => format!("xkeysib-{}-{}", draw.of(HEX, 64), draw.of(MIXED, 16)),
        47 => format!("{}-us{}", draw.of(HEX, 32), draw.range(1, 21)),
        48 => format!("pat-{}-{}", draw.pick(&["na1", "eu1"]), uuid(draw)),
        _ => "cio".to_owned() + &draw.of(LOWER, 32),
    }
}

/// Private keys as OpenSSL, OpenSSH and GnuPG write them: with lines of Unix and of Windows, with headers, within a string of
/// JSON whose line ends are escaped.
fn pem(draw: &mut Draw) -> String {
    let end = draw.pick(&["\n", "\n", "\r\n", "\\n"]).to_owned();
    let kind = draw.pick(&[
        "PRIVATE KEY",
        "RSA PRIVATE KEY",
        "EC PRIVATE KEY",
        "DSA PRIVATE KEY",
        "OPENSSH PRIVATE KEY",
        "ENCRYPTED PRIVATE KEY",
        "PGP PRIVATE KEY BLOCK",
    ]);
    let headers = match kind {
        "RSA PRIVATE KEY" | "DSA PRIVATE KEY" if draw.range(0, 1) == 0 => {
            format!(
                "Proc-Type: 4,ENCRYPTED{end}DEK-Info: AES-128-CBC,{}{end}{end}",
                draw.of("0123456789ABCDEF", 32)
            )
        }
        "PGP PRIVATE KEY BLOCK" => {
            format!("{}{end}", draw.pick(&["", "Comment: made with a test\n"]).replace('\n', &end))
        }
        _ => String::new(),
    };
    let width = draw.pick(&["64", "70", "76"]).parse().expect("a width");
    let lines: Vec<String> = (0..draw.range(2, 30)).map(|_| draw.of(BASE64, width)).collect();
    let last = draw.of(BASE64, 22) + "==";
    let sum = if kind.starts_with("PGP") { format!("{end}={}", draw.of(BASE64, 4)) } else { String::new() };
    format!(
        "-----BEGIN {kind}-----{end}{headers}{}{end}{last}{sum}{end}-----END {kind}-----",
        lines.join(&end)
    )
}
