//! What services' keys begin with, as they publish it so that leaked ones can be found.

use std::sync::LazyLock;

use super::random::{Drawn, drawn, entropy, is_drawn, placeholder};

/// What follows the beginning of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    /// Characters of a token that look drawn.
    Token,
    /// Capitals and digits.
    Capitals,
    /// Letters and digits.
    Letters,
    /// Hexadecimal digits in lower case.
    Hex,
}

use Body::{Capitals, Hex, Letters, Token};

/// Beginnings, with how many characters of what follow at least. The longer of two that fit stands first.
const ISSUED: &[(&str, usize, Body)] = &[
    // Clouds and hosting.
    ("AKIA", 16, Capitals),
    ("ASIA", 16, Capitals),
    ("AROA", 16, Capitals),
    ("AIDA", 16, Capitals),
    ("ABIA", 16, Capitals),
    ("ACCA", 16, Capitals),
    ("ABSK", 100, Token),
    ("AIza", 35, Token),
    ("ya29.", 20, Token),
    ("1//0", 40, Token),
    ("GOCSPX-", 24, Token),
    ("LTAI", 12, Letters),
    ("AKLT", 32, Token),
    ("AKID", 32, Letters),
    ("AQVN", 34, Token),
    ("t1.9eu", 100, Token),
    ("y0_", 50, Token),
    ("dop_v1_", 60, Token),
    ("doo_v1_", 60, Token),
    ("dor_v1_", 60, Token),
    ("HRKU-", 36, Token),
    ("fo1_", 40, Token),
    ("fm1_", 100, Token),
    ("fm1a_", 100, Token),
    ("fm2_", 100, Token),
    ("rnd_", 26, Letters),
    ("nfp_", 36, Letters),
    ("nfc_", 36, Letters),
    ("nfo_", 36, Letters),
    ("nfu_", 36, Letters),
    ("vcp_", 24, Token),
    ("vci_", 24, Token),
    ("vca_", 24, Token),
    ("vcr_", 24, Token),
    ("vck_", 24, Token),
    ("sha256~", 43, Token),
    ("tk-us-", 48, Token),
    ("AVNS_", 16, Token),
    ("bce-v3/ALTAK-", 20, Token),
    ("scw_secret_", 30, Token),
    ("cfut_", 40, Token),
    ("cfat_", 40, Token),
    ("v1.0-", 100, Token),
    // Code, packages, builds.
    ("ghp_", 30, Token),
    ("gho_", 30, Token),
    ("ghu_", 30, Token),
    ("ghs_", 30, Token),
    ("ghr_", 30, Token),
    ("github_pat_", 40, Token),
    ("glpat-", 20, Token),
    ("glrt-", 20, Token),
    ("gldt-", 20, Token),
    ("glptt-", 20, Token),
    ("glft-", 20, Token),
    ("glimt-", 20, Token),
    ("glagent-", 40, Token),
    ("glcbt-", 20, Token),
    ("glsoat-", 20, Token),
    ("glffct-", 20, Token),
    ("gloas-", 40, Token),
    ("GR1348941", 20, Token),
    ("ATBB", 28, Letters),
    ("npm_", 36, Token),
    ("pypi-AgE", 40, Token),
    ("rubygems_", 40, Token),
    ("CLOJARS_", 60, Token),
    ("oy2", 43, Letters),
    ("cio", 32, Letters),
    ("dckr_pat_", 24, Token),
    ("dckr_oat_", 24, Token),
    ("AKCp", 60, Token),
    ("cmVmdGtu", 48, Token),
    ("CCIPAT_", 40, Token),
    ("CCIPRJ_", 40, Token),
    ("bkua_", 40, Token),
    ("sgp_", 40, Token),
    ("slk_", 60, Token),
    ("squ_", 40, Hex),
    ("sqp_", 40, Hex),
    ("sqa_", 40, Hex),
    ("pul-", 40, Token),
    ("dp.pt.", 40, Token),
    ("dp.st.", 40, Token),
    ("dp.ct.", 40, Token),
    ("dp.sa.", 40, Token),
    ("dp.scim.", 40, Token),
    ("dp.audit.", 40, Token),
    ("hvs.", 20, Token),
    ("hvb.", 20, Token),
    ("hvr.", 20, Token),
    ("ico-", 32, Letters),
    ("PMAK-", 50, Token),
    ("rdme_", 60, Token),
    ("pnu_", 36, Letters),
    ("pnb_", 36, Letters),
    ("e2b_", 40, Hex),
    ("ddp_", 30, Letters),
    ("ddo_", 30, Letters),
    // Secrets and identities.
    ("ops_eyJ", 100, Token),
    ("AGE-SECRET-KEY-1", 50, Token),
    ("tskey-", 20, Token),
    ("ATATT3", 40, Token),
    ("ATCTT3", 40, Token),
    ("ATOA", 64, Token),
    ("ATTA", 60, Token),
    ("pat.", 40, Token),
    ("sat.", 40, Token),
    ("p8e-", 32, Token),
    ("aio_", 28, Letters),
    ("zpka_", 32, Token),
    // Models.
    ("sk-ant-", 20, Token),
    ("sk-proj-", 20, Token),
    ("sk-svcacct-", 20, Token),
    ("sk-or-", 20, Token),
    ("sk-lf-", 32, Token),
    ("sk-", 20, Token),
    ("sess-", 40, Letters),
    ("csk-", 40, Token),
    ("hf_", 30, Token),
    ("api_org_", 30, Letters),
    ("nvapi-", 40, Token),
    ("r8_", 32, Token),
    ("gsk_", 40, Token),
    ("tvly-", 20, Token),
    ("lsv2_pt_", 32, Token),
    ("lsv2_sk_", 32, Token),
    ("pplx-", 40, Token),
    ("xai-", 60, Token),
    ("fw_", 20, Token),
    ("fc-", 32, Hex),
    ("jina_", 50, Token),
    ("pcsk_", 40, Token),
    ("tgp_v1_", 40, Token),
    ("wandb_v1_", 40, Token),
    ("rpa_", 40, Token),
    ("apify_api_", 32, Token),
    ("pa-", 43, Token),
    ("pylf_v1_", 40, Token),
    // Talking to people.
    ("xoxb-", 20, Token),
    ("xoxp-", 20, Token),
    ("xoxa-", 20, Token),
    ("xoxr-", 20, Token),
    ("xoxs-", 20, Token),
    ("xoxe.", 20, Token),
    ("xoxe-", 20, Token),
    ("xoxo-", 20, Token),
    ("xoxc-", 20, Token),
    ("xoxd-", 20, Token),
    ("xapp-", 20, Token),
    ("xwfp-", 20, Token),
    ("SG.", 40, Token),
    ("xkeysib-", 60, Token),
    ("xsmtpsib-", 60, Token),
    ("key-", 32, Token),
    ("re_", 24, Token),
    ("SK", 32, Hex),
    ("EAA", 100, Letters),
    ("IGQV", 80, Token),
    ("whsec_", 24, Token),
    // Money and shops.
    ("sk_live_", 16, Token),
    ("pk_live_", 16, Token),
    ("pk_test_", 16, Token),
    ("sk_test_", 16, Token),
    ("sk_org_", 24, Token),
    ("rk_live_", 16, Token),
    ("rk_test_", 16, Token),
    ("sk_", 48, Hex),
    ("shpat_", 32, Token),
    ("shpss_", 32, Token),
    ("shpca_", 32, Token),
    ("shppa_", 32, Token),
    ("shpit_", 32, Token),
    ("shpua_", 32, Token),
    ("sq0atp-", 22, Token),
    ("sq0csp-", 40, Token),
    ("sandbox-sq0csp-", 40, Token),
    ("EAAA", 56, Token),
    ("rzp_live_", 14, Token),
    ("rzp_test_", 14, Token),
    ("EZAK", 54, Token),
    ("EZTK", 54, Token),
    ("FLWSECK-", 32, Token),
    ("FLWPUBK-", 32, Token),
    ("FLWPUBK_TEST-", 32, Token),
    ("FLWSECK_TEST-", 12, Token),
    ("xnd_production_", 32, Token),
    ("xnd_development_", 32, Token),
    ("access-production-", 36, Token),
    ("access-sandbox-", 36, Token),
    ("access-development-", 36, Token),
    ("access_token$production$", 40, Token),
    ("access_token$sandbox$", 40, Token),
    ("APP_USR-", 40, Token),
    ("shippo_live_", 40, Token),
    ("shippo_test_", 40, Token),
    ("duffel_live_", 40, Token),
    ("duffel_test_", 40, Token),
    ("ck_", 40, Hex),
    ("cs_", 40, Hex),
    ("cfsk_ma_", 40, Token),
    // Watching, data, work.
    ("glsa_", 32, Token),
    ("glc_", 32, Token),
    ("NRAK-", 24, Token),
    ("NRJS-", 16, Token),
    ("NRII-", 24, Token),
    ("NRIQ-", 24, Token),
    ("NRAA-", 24, Token),
    ("NRBR-", 16, Token),
    ("dt0c01.", 80, Token),
    ("dt0s01.", 80, Token),
    ("sntrys_", 40, Token),
    ("sntryu_", 40, Token),
    ("sntrya_", 40, Token),
    ("hcaik_", 40, Token),
    ("hcalk_", 40, Token),
    ("xaat-", 36, Token),
    ("phc_", 36, Token),
    ("phx_", 36, Token),
    ("dapi", 32, Token),
    ("dose", 32, Hex),
    ("pscale_tkn_", 32, Token),
    ("pscale_oauth_", 32, Token),
    ("pscale_pw_", 32, Token),
    ("sbp_", 40, Token),
    ("sb_secret_", 20, Token),
    ("napi_", 60, Token),
    ("mdb_sa_sk_", 40, Token),
    ("CCDB1_", 40, Token),
    ("lin_api_", 32, Token),
    ("lin_oauth_", 32, Token),
    ("figd_", 32, Token),
    ("figo_", 32, Token),
    ("figu_", 32, Token),
    ("secret_", 40, Token),
    ("ntn_", 40, Token),
    ("pat-na1-", 32, Token),
    ("pat-eu1-", 32, Token),
    ("tfp_", 40, Token),
    ("CFPAT-", 40, Token),
    ("cal_live_", 28, Hex),
    ("fio-u-", 60, Token),
    ("waka_", 36, Token),
    ("sm_aat_", 16, Token),
    ("sm_pat_", 16, Token),
    ("sm_sat_", 16, Token),
    ("sl.", 60, Token),
    ("pk.eyJ", 60, Token),
    ("sk.eyJ", 60, Token),
    ("tk.eyJ", 60, Token),
];

/// `[first byte]` their places.
static BY_FIRST: LazyLock<Vec<Vec<usize>>> = LazyLock::new(|| {
    let mut places = vec![Vec::new(); 128];
    for (place, (prefix, ..)) in ISSUED.iter().enumerate() {
        places[usize::from(prefix.as_bytes()[0])].push(place);
    }
    places
});

/// Whether a token is a key of a service that is known.
pub(super) fn is_issued(token: &str) -> bool {
    // What stands before an equals sign is a name.
    if token.trim_end_matches('=').contains('=') {
        return false;
    }
    let Some(places) = token.bytes().next().and_then(|first| BY_FIRST.get(usize::from(first))) else {
        return false;
    };
    places.iter().map(|place| ISSUED[*place]).any(|(prefix, least, body)| {
        let rest = token.strip_prefix(prefix).filter(|rest| rest.len() >= least);
        rest.is_some_and(|rest| body.fits(rest) && entropy(rest) >= 2.7 && !placeholder(rest))
    }) || is_composed(token)
}

impl Body {
    fn fits(self, rest: &str) -> bool {
        let all = |kind: fn(&u8) -> bool| rest.bytes().all(|b| kind(&b));
        match self {
            Token => is_drawn(rest),
            Capitals => all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()),
            Letters => all(u8::is_ascii_alphanumeric) && is_drawn(rest),
            Hex => all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f')),
        }
    }
}

/// Keys that are known by how they are put together: Airtable's, Terraform's, 1Password's, Mailchimp's, Entra's, Discord's, New
/// Relic's and Zoho's.
fn is_composed(token: &str) -> bool {
    let letters = |part: &str, length: std::ops::RangeInclusive<usize>| {
        length.contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    let hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'))
    };
    let safe = |part: &str, length: std::ops::RangeInclusive<usize>| {
        length.contains(&part.len())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && is_drawn(part)
    };
    let parts: Vec<&str> = token.splitn(4, '.').collect();
    match parts.as_slice() {
        [id, secret] if id.starts_with("pat") => letters(id, 17..=17) && hex(secret, 64),
        [id, "atlasv1", secret] => letters(id, 14..=14) && safe(secret, 60..=80),
        ["1000", first, second] => hex(first, 32) && hex(second, 32),
        // The bot's number in base64, when, and a signature.
        [id, when, secret] if matches!(token.as_bytes()[0], b'M' | b'N' | b'O') => {
            letters(id, 23..=28) && is_drawn(id) && safe_length(when, 6) && safe(secret, 27..=40)
        }
        // 1Password's.
        [whole] if whole.starts_with("A3-") && drawn(whole) == Drawn::Long => whole.split('-').count() >= 6,
        [whole] => {
            let mailchimp = whole.split_once("-us").is_some_and(|(key, place)| {
                hex(key, 32) && (1..=2).contains(&place.len()) && place.bytes().all(|b| b.is_ascii_digit())
            });
            let relic = whole.strip_suffix("NRAL").is_some_and(|key| hex(key, 36));
            mailchimp || relic || is_entra(whole)
        }
        _ => is_entra(token),
    }
}

fn safe_length(part: &str, length: usize) -> bool {
    part.len() == length && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// Entra's client secrets: three characters, a digit, `Q~`, and 31 to 34 more.
fn is_entra(token: &str) -> bool {
    let Some((head, rest)) = token.split_once("Q~") else { return false };
    let digit = head.bytes().next_back().is_some_and(|b| b.is_ascii_digit());
    let of = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    head.len() == 4 && digit && (31..=34).contains(&rest.len()) && rest.bytes().all(of) && is_drawn(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWN: &str = "aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY3zA5bC7dE9fG1hJ3kL5mN7pQ9rS1tU3vW5xY7zA9bC1dE3fG5hJ7kL9mN1pQ3rS5tU7v";
    const HEX: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";

    #[test]
    fn a_key_of_each_service_is_known_and_a_name_that_begins_like_one_is_not() {
        for (prefix, least, body) in ISSUED {
            let rest = match body {
                Token | Letters => DRAWN[..*least.min(&DRAWN.len())].to_owned(),
                Capitals => DRAWN.to_uppercase()[..*least].to_owned(),
                Hex => HEX[..*least].to_owned(),
            };
            assert!(is_issued(&format!("{prefix}{rest}")), "{prefix}{rest}");
            let name = "_some_name_of_configuration".repeat(5);
            assert!(!is_issued(&format!("{prefix}{name}")), "{prefix}{name}");
        }
        for key in [
            format!("pat{}.{HEX}", &DRAWN[..14]),
            format!("{}.atlasv1.{}", &DRAWN[..14], &DRAWN[..64]),
            format!("1000.{}.{}", &HEX[..32], &HEX[32..]),
            format!("M{}.{}.{}", &DRAWN[..23], &DRAWN[..6], &DRAWN[..30]),
            format!("{}-us12", &HEX[..32]),
            "A3-JFYMDW-VG57M0-NI3R5-PK58C-FVUG6-QYZIV".to_owned(),
            format!("{}NRAL", &HEX[..36]),
            format!("abc8Q~{}", &DRAWN[..34]),
        ] {
            assert!(is_issued(&key), "{key}");
        }
        for other in ["My.very.long.name", "1000.2.3", "path.atlasv1.x", "a-us1"] {
            assert!(!is_issued(other), "{other}");
        }
    }
}
