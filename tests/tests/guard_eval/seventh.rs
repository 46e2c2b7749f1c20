//! The seventh draw's values, by now to work with. Written after the recognizers were mended by what the sixth draw showed and before any of it was
//! judged, by somebody who knew them. What services' keys look like was therefore drawn by lot from what gitleaks looks
//! for (its rules in a shuffled order, seed 26457513): 12 of those that know a key by its form and 4 of those that know it
//! only beside a service's name, without services of the draws before and without what are URLs. The others are other
//! issuers, countries and spellings than before; what has only one form is as in [`values`](super::values).

use super::draw::{Draw, HEX, LOWER, MIXED, UPPER, UPPER_DIGITS};
use super::fourth::account;
use super::values::{self, Values, base58, checked, luhn};

const SAFE: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";

pub(crate) const SEVENTH: Values =
    Values { card, iban, email, phone, ip, mac, url, birthday, passport, licence, wallet, key };

/// Diners of another range, Maestro, Mastercard, Discover beside UnionPay, Visa and American Express.
fn card(draw: &mut Draw) -> String {
    let (prefix, length) = match draw.range(0, 6) {
        0 => (draw.pick(&["38", "39"]).to_owned(), 14),
        1 => (draw.pick(&["5018", "5020", "6304"]).to_owned(), 16),
        2 => (draw.range(2221, 2299).to_string(), 16),
        3 => (draw.range(622_126, 622_925).to_string(), 16),
        4 => (draw.pick(&["34", "37"]).to_owned(), 15),
        5 => (draw.range(51, 55).to_string(), 16),
        _ => ("4".to_owned() + &draw.digits(2), 16),
    };
    let number = luhn(&(prefix.clone() + &draw.digits(length - 1 - prefix.len())));
    match length {
        14 => draw.written(&["##############", "#### ###### ####"], &number),
        15 => draw.written(&["###############", "#### ###### #####", "####-######-#####"], &number),
        _ => draw.written(
            &[
                "################",
                "#### #### #### ####",
                "####-####-####-####",
                "####\u{2009}####\u{2009}####\u{2009}####",
            ],
            &number,
        ),
    }
}

/// Countries of the registry that no other draw has.
fn iban(draw: &mut Draw) -> String {
    let (country, form) = match draw.range(0, 11) {
        0 => ("BY", "ccccnnnncccccccccccccccc"),
        1 => ("DO", "ccccnnnnnnnnnnnnnnnnnnnn"),
        2 => ("FO", "nnnnnnnnnnnnnn"),
        3 => ("GL", "nnnnnnnnnnnnnn"),
        4 => ("GT", "cccccccccccccccccccccccc"),
        5 => ("JO", "aaaannnncccccccccccccccccc"),
        6 => ("KW", "aaaacccccccccccccccccccccc"),
        7 => ("MD", "cccccccccccccccccccc"),
        8 => ("MR", "nnnnnnnnnnnnnnnnnnnnnnn"),
        9 => ("PS", "aaaaccccccccccccccccccccc"),
        10 => ("QA", "aaaaccccccccccccccccccccc"),
        _ => ("VG", "aaaannnnnnnnnnnnnnnn"),
    };
    let iban = values::iban_of(country, &account(form, draw));
    values::in_fours(&iban, draw.pick(&["", " "]))
}

fn email(draw: &mut Draw) -> String {
    let user = draw.pick(&[
        "service_clients",
        "a.very.long.name.of.somebody",
        "éloïse",
        "r2d2",
        "no.reply+7f3a",
        "Praxis-Dr-Lang",
        "x-y_z",
        "ŽELJKO",
        "mc'donald",
        "42",
    ]);
    let host = draw.pick(&[
        "klinik.example.com",
        "example.co.nz",
        "mail-out.example.travel",
        "xn--fiq228c.example",
        "example.edu.au",
        "почта.example",
        "a.b.c.d.example",
        "EXAMPLE.Co.Uk",
        "example.berlin",
    ]);
    format!("{user}{}@{host}", if draw.range(0, 2) == 0 { draw.digits(3) } else { String::new() })
}

/// Numbers of mobile networks by the plans of their countries, with the countries' codes and without.
fn phone(draw: &mut Draw) -> String {
    let form = draw.pick(&[
        "+61 491 570 ###",
        "+64 27 412 ####",
        "+65 8123 ####",
        "+62 811-2345-###",
        "+84 35 678 ####",
        "+81 80 5678 ####",
        "+86 139-1234-####",
        "+91-99887-7####",
        "+92 (300) 123-####",
        "+98 912 345 ####",
        "+7 (916) 123-##-##",
        "+380 (50) 123-##-##",
        "+48 601-234-###",
        "+36 20 987 6###",
        "+40 722 111 ###",
        "+359 (0) 888 123 ###",
        "+30 6945 12 ####",
        "+39 333.123.####",
        "+34 655.12.##.##",
        "+33.6.12.34.##.##",
        "+32 (0)475 12 ## ##",
        "+31 (0)6-1234####",
        "+44 7700 9000##",
        "+44 (0) 20 7946 0###",
        "+45 3012####",
        "+1 202 555 01##",
        "+1 (604) 555-01##",
        "+52 33 1234 ####",
        "+55 21 99876-####",
        "+20 (10) 1234 ####",
        "+27-83-123-####",
        "+234-802-345-####",
        "07700 900###",
        "0170 12345##",
        "06 12 34 ## ##",
        "(202) 555-01##",
        "202-555-01##",
    ]);
    form.chars().map(|c| if c == '#' { char::from(b'0' + draw.range(0, 9) as u8) } else { c }).collect()
}

fn ip(draw: &mut Draw) -> String {
    let group = |draw: &mut Draw| draw.of("123456789abcdef", 1) + &draw.of(HEX, 2);
    match draw.range(0, 4) {
        0 => format!("172.{}.{}.{}", draw.range(16, 31), draw.range(0, 255), draw.range(1, 254)),
        1 => format!(
            "{}.{}.{}.{}",
            draw.range(11, 99),
            draw.range(0, 255),
            draw.range(0, 255),
            draw.range(1, 254)
        ),
        2 => format!("2400:{}:{}::{}:{}", group(draw), group(draw), group(draw), group(draw)),
        3 => format!("fd00::{}:{}", group(draw), group(draw)),
        _ => format!("2001:db8:{}:{}::1", group(draw), group(draw)),
    }
}

fn mac(draw: &mut Draw) -> String {
    let hex = draw.of(HEX, 1) + &draw.of("048c", 1) + &draw.of(HEX, 10);
    let hex = if draw.range(0, 1) == 0 { hex.to_uppercase() } else { hex };
    draw.written(&["##:##:##:##:##:##", "##-##-##-##-##-##", "####.####.####"], &hex)
}

fn url(draw: &mut Draw) -> String {
    let user = draw.pick(&["app", "svc.reports", "Deploy-Bot", "admin%40eu", "u_42"]);
    let password = draw.pick(&[
        "Tr%C3%A4ume2031",
        "k9$Lm!2p",
        "p@ssw0rd",
        "a+b=c,d",
        "(secret)1",
        "winter*is*here7",
        "9d8f7a6b5c",
    ]);
    let (scheme, host) = match draw.range(0, 9) {
        0 => ("mongodb", "h1.example.net:27017,h2.example.net:27017/app?replicaSet=rs0"),
        1 => ("mssql", "sql.example.com:1433/Orders?encrypt=true"),
        2 => ("ftps", "[2001:db8::21]:990/out/"),
        3 => ("imap", "mail.example.org:143/INBOX"),
        4 => ("cockroachdb", "10.20.30.40:26257/bank"),
        5 => ("git+https", "code.example.dev/team/tool.git#v2.1"),
        6 => ("socks5", "proxy.example.net:1080"),
        7 => ("kafka", "broker-0.example.io:9092"),
        8 => ("https", "registry.example.com/v2/"),
        _ => ("redis", "localhost:6379/3"),
    };
    format!("{scheme}://{user}:{password}@{host}")
}

fn birthday(draw: &mut Draw) -> String {
    let (day, month, year) = (draw.range(1, 28), draw.range(1, 12), draw.range(1929, 2014));
    let at = |names: &str| names.split(' ').nth(month as usize - 1).unwrap_or_default().to_owned();
    match draw.range(0, 6) {
        0 => format!("{year}-{month:02}-{day:02}"),
        1 => format!("{day:02}.{month:02}.{year}"),
        2 => format!("{month:02}/{day:02}/{year}"),
        3 => format!("{day} {} {year}", at("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec")),
        4 => format!(
            "{} {day} {year}",
            at("January February March April May June July August September October November December")
        ),
        5 => format!(
            "{day} {} {year}",
            at("enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre")
        ),
        _ => format!("{day}-{month}-{year}"),
    }
}

fn passport(draw: &mut Draw) -> String {
    match draw.range(0, 4) {
        // The United States, Italy, Austria, Norway, Mexico.
        0 => draw.of(UPPER, 1) + &draw.digits(8),
        1 => draw.of("YA", 1) + &draw.of(UPPER, 1) + &draw.digits(7),
        2 => draw.of("PU", 1) + &draw.digits(7),
        3 => draw.of("CFNU", 1) + &draw.of(UPPER, 2) + &draw.digits(6),
        _ => "G".to_owned() + &draw.digits(8),
    }
}

fn licence(draw: &mut Draw) -> String {
    match draw.range(0, 4) {
        // Michigan, Ohio, Pennsylvania, Belgium, the United Kingdom.
        0 => {
            let digits = draw.digits(12);
            draw.of(UPPER, 1) + &draw.written(&["############", " ### ### ### ###"], &digits)
        }
        1 => draw.of(UPPER, 2) + &draw.digits(6),
        2 => draw.of("123456789", 1) + &draw.digits(7),
        3 => draw.of("123456789", 1) + &draw.digits(9),
        _ => draw.of(UPPER, 5) + &draw.digits(6) + &draw.of(UPPER, 2) + &draw.digits(1) + &draw.of(UPPER, 2),
    }
}

/// Litecoin, Dogecoin, Dash, XRP, Solana, Stellar, and bech32 of several chains with any data, beside Ethereum.
fn wallet(draw: &mut Draw) -> String {
    let bytes =
        |count: usize, draw: &mut Draw| (0..count).map(|_| draw.range(0, 255) as u8).collect::<Vec<u8>>();
    let of_version = |version: u8, draw: &mut Draw| checked([vec![version], bytes(20, draw)].concat());
    match draw.range(0, 8) {
        0 => base58(of_version(0x30, draw)),
        1 => base58(of_version(0x1E, draw)),
        2 => base58(of_version(0x4C, draw)),
        3 => in_xrp(&base58(of_version(0, draw))),
        4 => base58([vec![draw.range(1, 255) as u8], bytes(31, draw)].concat()),
        5 => stellar(&bytes(32, draw)),
        6 => {
            let chain = draw.pick(&["cosmos", "osmo", "ltc", "bc", "terra"]);
            bech32(chain, &(0..32).map(|_| draw.range(0, 31) as u8).collect::<Vec<_>>())
        }
        7 => bech32("addr", &(0..92).map(|_| draw.range(0, 31) as u8).collect::<Vec<_>>()),
        _ => format!("0x{}", draw.of(HEX, 40)),
    }
}

/// The same number in the order of the symbols that the XRP Ledger has.
fn in_xrp(text: &str) -> String {
    let bitcoin = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let xrp: Vec<char> = "rpshnaf39wBUDNEGHJKLM4PQRST7VWXYZ2bcdeCg65jkm8oFqi1tuvAxyz".chars().collect();
    text.chars().map(|c| xrp[bitcoin.find(c).expect("a symbol")]).collect()
}

/// A key of 32 bytes as Stellar writes it: kind, key and CRC in base32, bit by bit.
fn stellar(key: &[u8]) -> String {
    let mut bytes = [&[48][..], key].concat();
    let mut crc = 0u32;
    for bit in bytes.iter().flat_map(|b| (0..8).rev().map(move |i| u32::from(b >> i & 1))) {
        let top = crc >> 15 & 1;
        crc = crc << 1 & 0xFFFF;
        if top != bit {
            crc ^= 0x1021;
        }
    }
    bytes.extend([crc as u8, (crc >> 8) as u8]);
    let bits: Vec<usize> =
        bytes.iter().flat_map(|b| (0..8).rev().map(move |i| usize::from(b >> i & 1))).collect();
    let symbols: Vec<char> = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".chars().collect();
    bits.chunks(5).map(|five| symbols[five.iter().fold(0, |n, bit| n * 2 + bit)]).collect()
}

/// Bech32 by the remainder of a polynomial, as BIP 173 describes it.
fn bech32(readable: &str, data: &[u8]) -> String {
    let remainder = |values: &[u8]| {
        values.iter().fold(1u32, |check, value| {
            let top = check >> 25;
            let mut next = (check & 0x1ff_ffff) << 5 ^ u32::from(*value);
            for (i, term) in
                [0x3b6a57b2u32, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3].into_iter().enumerate()
            {
                if top >> i & 1 == 1 {
                    next ^= term;
                }
            }
            next
        })
    };
    let mut values: Vec<u8> = readable.bytes().map(|b| b >> 5).collect();
    values.push(0);
    values.extend(readable.bytes().map(|b| b & 31));
    values.extend(data);
    values.extend([0; 6]);
    let check = remainder(&values) ^ 1;
    let symbols: Vec<char> = "qpzry9x8gf2tvdw0s3jn54khce6mua7l".chars().collect();
    let check = (0..6).map(|i| (check >> (5 * (5 - i)) & 31) as u8);
    let written: String =
        data.iter().copied().chain(check).map(|value| symbols[usize::from(value)]).collect();
    format!("{readable}1{written}")
}

/// What the lot gave.
fn key(draw: &mut Draw) -> String {
    match draw.range(0, 15) {
        0 => format!("duffel_{}_{}", draw.pick(&["test", "live"]), draw.of(SAFE, 43)),
        1 => "CLOJARS_".to_owned() + &draw.of(LOWER, 60),
        2 => "LTAI".to_owned() + &draw.of(MIXED, 20),
        3 => {
            let service = draw.pick(&["sc", "ext", "scauth", "authress"]);
            let (id, short) = (draw.of(LOWER, 22), draw.of(LOWER, 4));
            format!("{service}_{id}.{short}.acc_{}.{}", draw.of(LOWER, 16), draw.of(MIXED, 64))
        }
        4 => "ico-".to_owned() + &draw.of(MIXED, 32),
        5 => "sha256~".to_owned() + &draw.of(MIXED, 43),
        6 => {
            let group = |length: usize, draw: &mut Draw| draw.of(UPPER_DIGITS, length);
            let parts = [6, 6, 5, 5, 5, 5].map(|length| group(length, draw));
            format!("A3-{}", parts.join("-"))
        }
        7 => "ops_eyJ".to_owned() + &draw.of(MIXED, 260),
        8 => "HRKU-AA".to_owned() + &draw.of(MIXED, 58),
        9 => format!("v1.0-{}-{}", draw.of(HEX, 24), draw.of(HEX, 146)),
        10 => format!("{}|{}", draw.of("123456789", 1) + &draw.digits(14), draw.of(MIXED, 27)),
        11 => "rdme_".to_owned() + &draw.of(LOWER, 70),
        12 => format!("{}_pub_{}", draw.pick(&["test", "live"]), draw.of(HEX, 31)),
        13 => draw.of(LOWER, 30),
        14 => draw.of(LOWER, 16),
        _ => draw.of(LOWER, 32),
    }
}
