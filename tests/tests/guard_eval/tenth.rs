//! The tenth draw's values. Written by somebody who had not read the recognizers, and whose values come from elsewhere: from
//! `tenth_values.txt`, which `tenth_values.py` makes of what others wrote (python-stdnum, schwifty, libphonenumber, Faker,
//! CLDR). Keys and private keys are made here, by what their services and the public lists of secret scanners say of them. A
//! key that is a plain UUID is not among them.

use std::sync::LazyLock;

use super::draw::{BASE64, ByEntity, Draw, HEX, LOWER, MIXED, UPPER, UPPER_DIGITS, URL_SAFE, by_entity};

const BASE32: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The file's values.
static VALUES: LazyLock<ByEntity> = LazyLock::new(|| by_entity(include_str!("tenth_values.txt")));

/// A value as people write it.
pub(crate) fn value(entity: &str, draw: &mut Draw) -> String {
    match entity {
        "API_KEY" => key(draw),
        "PRIVATE_KEY" => pem(draw),
        _ => draw.pick(&VALUES[entity]).to_owned(),
    }
}

/// Keys by the documentation of fifty services. An alphabet with marks is closed by one without, so that no key ends in a mark.
fn key(draw: &mut Draw) -> String {
    let uuid = |draw: &mut Draw| [8, 4, 4, 4, 12].map(|length| draw.of(HEX, length)).join("-");
    match draw.range(0, 49) {
        // GitHub, fine-grained and classic.
        0 => format!("github_pat_{}_{}", draw.of(MIXED, 22), draw.of(MIXED, 59)),
        1 => "ghp_".to_owned() + &draw.of(MIXED, 36),
        // GitLab.
        2 => "glpat-".to_owned() + &draw.of(URL_SAFE, 19) + &draw.of(MIXED, 1),
        // AWS: an access key's id, a temporary one's, a secret.
        3 => draw.pick(&["AKIA", "ASIA"]).to_owned() + &draw.of(BASE32, 16),
        4 => draw.of(BASE64, 39) + &draw.of(MIXED, 1),
        // Google.
        5 => "AIzaSy".to_owned() + &draw.of(URL_SAFE, 32) + &draw.of(MIXED, 1),
        // Stripe.
        6 => draw.pick(&["sk_live_", "pk_live_", "sk_test_"]).to_owned() + &draw.of(MIXED, 24),
        // Slack: a bot, a workflow's configuration.
        7 => format!("xoxb-{}-{}-{}", draw.digits(12), draw.digits(13), draw.of(MIXED, 24)),
        8 => "xoxe-1-".to_owned() + &draw.of(MIXED, 146),
        // SendGrid.
        9 => format!(
            "SG.{}{}.{}{}",
            draw.of(URL_SAFE, 21),
            draw.of(MIXED, 1),
            draw.of(URL_SAFE, 42),
            draw.of(MIXED, 1)
        ),
        // Mailgun.
        10 => "key-".to_owned() + &draw.of(HEX, 32),
        // npm.
        11 => "npm_".to_owned() + &draw.of(MIXED, 36),
        // OpenAI, Anthropic, Hugging Face, DeepSeek, ElevenLabs.
        12 => {
            format!("sk-proj-{}T3BlbkFJ{}{}", draw.of(URL_SAFE, 74), draw.of(URL_SAFE, 73), draw.of(MIXED, 1))
        }
        13 => format!("sk-ant-api03-{}AA", draw.of(URL_SAFE, 93)),
        14 => "hf_".to_owned() + &draw.of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", 34),
        15 => "sk-".to_owned() + &draw.of(HEX, 32),
        16 => "sk_".to_owned() + &draw.of(HEX, 48),
        // Cohere and others without any prefix; Datadog and Algolia; Linode; Twilio's token.
        17 => draw.of(MIXED, 40),
        18 => draw.of(HEX, 32),
        19 => draw.of(HEX, 64),
        // Postman.
        20 => format!("PMAK-{}-{}", draw.of(HEX, 24), draw.of(HEX, 34)),
        // Sentry.
        21 => "sntryu_".to_owned() + &draw.of(HEX, 64),
        // Supabase.
        22 => format!("sb_secret_{}_{}", draw.of(MIXED, 22), draw.of(MIXED, 8)),
        // Pulumi.
        23 => "pul-".to_owned() + &draw.of(HEX, 40),
        // Firecrawl, Tavily, Langfuse, LangSmith.
        24 => "fc-".to_owned() + &draw.of(HEX, 32),
        25 => "tvly-".to_owned() + &draw.of(MIXED, 32),
        26 => "sk-lf-".to_owned() + &uuid(draw),
        27 => format!("lsv2_pt_{}_{}", draw.of(HEX, 32), draw.of(HEX, 10)),
        // Resend, Clerk, PostHog.
        28 => format!("re_{}_{}", draw.of(MIXED, 8), draw.of(MIXED, 24)),
        29 => "phc_".to_owned() + &draw.of(MIXED, 43),
        // Razorpay, Paystack, Flutterwave, Mollie.
        30 => "rzp_live_".to_owned() + &draw.of(MIXED, 14),
        31 => "sk_live_".to_owned() + &draw.of(HEX, 40),
        32 => format!("FLWSECK-{}-X", draw.of(HEX, 32)),
        33 => draw.pick(&["live_", "test_"]).to_owned() + &draw.of(MIXED, 30),
        // Okta.
        34 => "00".to_owned() + &draw.of(URL_SAFE, 39) + &draw.of(MIXED, 1),
        // Typeform, Contentful.
        35 => format!("tfp_{}_{}", draw.of(MIXED, 44), draw.of(MIXED, 14)),
        36 => "CFPAT-".to_owned() + &draw.of(URL_SAFE, 42) + &draw.of(MIXED, 1),
        // ClickUp, Asana.
        37 => format!("pk_{}_{}", draw.digits(8), draw.of(UPPER_DIGITS, 32)),
        38 => format!("2/{}/{}:{}", draw.of("123456789", 16), draw.of("123456789", 16), draw.of(HEX, 32)),
        // Trello.
        39 => "ATTA".to_owned() + &draw.of(HEX, 72),
        // Dynatrace.
        40 => format!("dt0c01.{}.{}", draw.of(BASE32, 24), draw.of(BASE32, 64)),
        // SonarQube.
        41 => draw.pick(&["sqp_", "squ_", "sqa_"]).to_owned() + &draw.of(HEX, 40),
        // LaunchDarkly.
        42 => "sdk-".to_owned() + &uuid(draw),
        // NuGet, Alibaba Cloud.
        43 => "oy2".to_owned() + &draw.of(LOWER, 43),
        44 => "LTAI5t".to_owned() + &draw.of(MIXED, 18),
        // Scaleway, Vultr.
        45 => "SCW".to_owned() + &draw.of(UPPER_DIGITS, 17),
        46 => draw.of(UPPER_DIGITS, 36),
        // Azure Storage.
        47 => draw.of(BASE64, 86) + "==",
        // A JSON web token.
        48 => format!(
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ{}.{}{}",
            draw.of(MIXED, 60),
            draw.of(URL_SAFE, 42),
            draw.of(MIXED, 1)
        ),
        // Heroku since 2024.
        _ => format!("HRKU-AA{}_____{}", draw.of(UPPER, 2), draw.of(MIXED, 49)),
    }
}

/// Private keys as OpenSSL, OpenSSH and GnuPG write them: of many lengths, with ends of lines of Unix, of
/// Windows, and escaped as within JSON.
fn pem(draw: &mut Draw) -> String {
    let end = draw.pick(&["\n", "\n", "\n", "\r\n", "\\n"]).to_owned();
    let kind = draw.pick(&[
        "RSA PRIVATE KEY",
        "PRIVATE KEY",
        "EC PRIVATE KEY",
        "OPENSSH PRIVATE KEY",
        "ENCRYPTED PRIVATE KEY",
        "PGP PRIVATE KEY BLOCK",
    ]);
    let headers = match kind {
        "RSA PRIVATE KEY" | "EC PRIVATE KEY" if draw.range(0, 2) == 0 => {
            format!(
                "Proc-Type: 4,ENCRYPTED{end}DEK-Info: AES-256-CBC,{}{end}{end}",
                draw.of("0123456789ABCDEF", 32)
            )
        }
        "PGP PRIVATE KEY BLOCK" => {
            format!("{}{end}", draw.pick(&["", "Version: GnuPG v2\n"]).replace('\n', &end))
        }
        _ => String::new(),
    };
    let (width, count) = match kind {
        "EC PRIVATE KEY" => (64, draw.range(2, 4)),
        "OPENSSH PRIVATE KEY" => (70, draw.range(4, 38)),
        _ => (64, draw.range(12, 50)),
    };
    let lines: Vec<String> = (0..count).map(|_| draw.of(BASE64, width)).collect();
    let last = draw.of(BASE64, 30) + "==";
    let sum = if kind.starts_with("PGP") { format!("{end}={}", draw.of(BASE64, 4)) } else { String::new() };
    format!(
        "-----BEGIN {kind}-----{end}{headers}{}{end}{last}{sum}{end}-----END {kind}-----",
        lines.join(&end)
    )
}
