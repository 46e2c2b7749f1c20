//! Values of the fourth draw, by now to work with: other issuers, countries and spellings than in [`values`](super::values), from what
//! authorities and services publish; what has only one form is as there.

use super::draw::{Draw, HEX, MIXED, UPPER};
use super::values::{self, Values, luhn};

pub(crate) const FOURTH: Values = Values {
    card,
    iban,
    email,
    phone,
    ip,
    mac,
    url,
    birthday,
    passport,
    licence,
    wallet: values::wallet,
    key,
};

/// Discover, Diners, UnionPay and Maestro, and how people group what is on the card.
fn card(draw: &mut Draw) -> String {
    let (prefix, length) = match draw.range(0, 6) {
        0 => ("65".to_owned(), 16),
        1 => (draw.range(644, 649).to_string(), 16),
        2 => ("36".to_owned(), 14),
        3 => (draw.range(300, 305).to_string(), 14),
        4 => ("4".to_owned() + &draw.digits(3), 16),
        5 => (draw.range(51, 55).to_string(), 16),
        _ => ("62".to_owned() + &draw.of("2345678", 1), 16),
    };
    let number = luhn(&(prefix.clone() + &draw.digits(length - 1 - prefix.len())));
    match length {
        14 => draw.written(&["##############", "#### ###### ####", "####-######-####"], &number),
        _ => draw.written(
            &["################", "#### #### #### ####", "####-####-####-####", "####.####.####.####"],
            &number,
        ),
    }
}

/// Countries that the other draws do not have.
fn iban(draw: &mut Draw) -> String {
    let (country, form) = match draw.range(0, 9) {
        0 => ("GR", "nnnnnnncccccccccccccccc"),
        1 => ("CZ", "nnnnnnnnnnnnnnnnnnnn"),
        2 => ("HR", "nnnnnnnnnnnnnnnnn"),
        3 => ("HU", "nnnnnnnnnnnnnnnnnnnnnnnn"),
        4 => ("RO", "aaaacccccccccccccccc"),
        5 => ("SK", "nnnnnnnnnnnnnnnnnnnn"),
        6 => ("SI", "nnnnnnnnnnnnnnn"),
        7 => ("LT", "nnnnnnnnnnnnnnnn"),
        8 => ("TR", "nnnnnncccccccccccccccc"),
        _ => ("EE", "nnnnnnnnnnnnnnnn"),
    };
    let iban = values::iban_of(country, &account(form, draw));
    match draw.range(0, 2) {
        0 => iban,
        _ => values::in_fours(&iban, " "),
    }
}

/// An account's number: of digits, letters or both, as `n`, `a` and `c` say.
pub(crate) fn account(form: &str, draw: &mut Draw) -> String {
    form.chars()
        .map(|kind| match kind {
            'n' => draw.digits(1),
            'a' => draw.of(UPPER, 1),
            _ => draw.of("0123456789ABCDEFGHJKLMNPQRSTUVWXYZ", 1),
        })
        .collect()
}

fn email(draw: &mut Draw) -> String {
    let user = draw.pick(&[
        "frau.dr.holzer",
        "tomasz_wisniewski",
        "n.o-reply",
        "1984reader",
        "k",
        "b.a.b.a",
        "sales-emea",
        "jürgen.groß",
        "test.user+spam",
        "o_o",
        "ACCOUNTING",
        "m%relay",
    ]);
    let host = draw.pick(&[
        "krankenhaus-nord.example",
        "ministry.example.gov.pl",
        "mx1.example.net",
        "example.photography",
        "x.example",
        "post.example.co.jp",
        "EXAMPLE.EDU",
        "correo.example.com.mx",
        "i.example.io",
        "straße.example",
    ]);
    format!(
        "{user}{}@{host}",
        if draw.range(0, 2) == 0 { draw.range(2, 2031).to_string() } else { String::new() }
    )
}

fn phone(draw: &mut Draw) -> String {
    let form = draw.pick(&[
        "+30 21 0123 ####",
        "+420 602 123 ###",
        "+36 30 123 ####",
        "+40 721 234 ###",
        "+385 91 234 ####",
        "+386 31 234 ###",
        "+421 905 123 ###",
        "+370 612 34 ###",
        "+372 512 3###",
        "+90 532 123 ## ##",
        "+52 55 1234 ####",
        "+54 9 11 2345-####",
        "+56 9 6123 ####",
        "+57 301 234 ####",
        "+972 50-234-####",
        "+27 82 123 ####",
        "+64 21 234 ###",
        "+63 917 123 ####",
        "+66 81 234 ####",
        "+62 812-3456-###",
        "+971 50 123 ####",
        "+380 67 123 ## ##",
        "0049 30 9018 ####",
        "+1.617.555.01##",
        "+44 (0)161 496 0###",
        "+4989123#####",
        "+33 (0)6 12 34 ## ##",
        "+1 (312) 555-01##",
        "+353 1 234 ####",
        "+852 9123 ####",
    ]);
    form.chars().map(|c| if c == '#' { char::from(b'0' + draw.range(0, 9) as u8) } else { c }).collect()
}

fn ip(draw: &mut Draw) -> String {
    let group = |draw: &mut Draw| draw.of("123456789abcdef", 1) + &draw.of(HEX, 2);
    match draw.range(0, 4) {
        0 => format!("198.51.100.{}", draw.range(1, 254)),
        1 => format!("{}.{}.{}.{}", draw.range(1, 9), draw.range(0, 255), draw.range(0, 9), draw.range(1, 9)),
        2 => format!("fe80::{}:{}:{}", group(draw), group(draw), group(draw)),
        3 => format!("2A00:{}:{}::{}", group(draw), group(draw), group(draw)).to_uppercase(),
        _ => format!("2606:{}::{}", group(draw), draw.range(1, 9)),
    }
}

fn mac(draw: &mut Draw) -> String {
    let hex = draw.of("048c", 1) + &draw.of("02468ace", 1) + &draw.of(HEX, 10);
    draw.written(&["##:##:##:##:##:##", "##-##-##-##-##-##", "####.####.####"], &hex)
}

fn url(draw: &mut Draw) -> String {
    let user = draw.pick(&["svc-backup", "reader", "u1", "etl%40corp", "dba"]);
    let password = draw.pick(&["hunter2", "s3cr3t!", "P%40ss-w0rd", "changeme", "correct-horse"]);
    let (scheme, host) = match draw.range(0, 5) {
        0 => ("postgresql", "pg-1.internal.example:6432/app?sslmode=require"),
        1 => ("mariadb", "10.8.0.2/orders"),
        2 => ("rediss", "cache.example.com:6380/0"),
        3 => ("smb", "files.example.org/share"),
        4 => ("http", "proxy.example.net:3128"),
        _ => ("sftp", "drop.example.com/in"),
    };
    format!("{scheme}://{user}:{password}@{host}")
}

fn birthday(draw: &mut Draw) -> String {
    let (day, month, year) = (draw.range(1, 28), draw.range(1, 12), draw.range(1931, 2011));
    let at = |names: [&str; 12]| names[month as usize - 1].to_owned();
    let english = at(["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]);
    match draw.range(0, 6) {
        0 => format!("{day:02}-{english}-{year}"),
        1 => format!("{english} {day}, {year}"),
        2 => format!("{year}/{month:02}/{day:02}"),
        3 => format!("{day}.{month}.{year}"),
        4 => format!(
            "{day}. {} {year}",
            at([
                "Januar",
                "Februar",
                "März",
                "April",
                "Mai",
                "Juni",
                "Juli",
                "August",
                "September",
                "Oktober",
                "November",
                "Dezember",
            ])
        ),
        5 => format!(
            "{day} {} {year}",
            at([
                "janvier",
                "février",
                "mars",
                "avril",
                "mai",
                "juin",
                "juillet",
                "août",
                "septembre",
                "octobre",
                "novembre",
                "décembre",
            ])
        ),
        _ => format!("{day:02}-{month:02}-{year}"),
    }
}

fn passport(draw: &mut Draw) -> String {
    match draw.range(0, 4) {
        // Canada, Sweden, Spain, Poland, India.
        0 => draw.of(UPPER, 2) + &draw.digits(6),
        1 => draw.of("123456789", 1) + &draw.digits(7),
        2 => draw.of(UPPER, 3) + &draw.digits(6),
        3 => draw.of("ABCDEFGHJKLMNPRSTUVWXYZ", 2) + &draw.digits(7),
        _ => draw.of("JKLMNPRSTUVWXYZ", 1) + &draw.of("123456789", 1) + &draw.digits(6),
    }
}

fn licence(draw: &mut Draw) -> String {
    match draw.range(0, 4) {
        // New York, Florida, Texas, the Netherlands, Germany.
        0 => draw.of("123456789", 1) + &draw.digits(8),
        1 => draw.of(UPPER, 1) + &draw.digits(12),
        2 => draw.of("0123", 1) + &draw.digits(7),
        3 => draw.of("345", 1) + &draw.digits(9),
        _ => {
            draw.of("BCDEFHJN", 1)
                + &draw.digits(3)
                + &draw.of("ABCDEF0123456789", 5)
                + &draw.digits(1)
                + &draw.of("0123456789X", 1)
        }
    }
}

/// Services that the other draws do not have, by the prefixes that they publish.
fn key(draw: &mut Draw) -> String {
    match draw.range(0, 9) {
        0 => "dop_v1_".to_owned() + &draw.of(HEX, 64),
        1 => "shpat_".to_owned() + &draw.of(HEX, 32),
        2 => "pypi-AgEIcHlwaS5vcmc".to_owned() + &draw.of(MIXED, 70),
        3 => format!("{}:AA{}", draw.range(100_000_000, 9_999_999_999), draw.of(MIXED, 33)),
        4 => "ghs_".to_owned() + &draw.of(MIXED, 36),
        5 => "rk_live_".to_owned() + &draw.of(MIXED, 24),
        6 => "gho_".to_owned() + &draw.of(MIXED, 36),
        7 => "ASIA".to_owned() + &draw.of("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16),
        8 => format!("xoxp-{}-{}-{}-{}", draw.digits(12), draw.digits(12), draw.digits(12), draw.of(HEX, 32)),
        _ => "glpat-".to_owned() + &draw.of(MIXED, 20),
    }
}
