//! Values of each entity, built from what the authorities publish. Nothing here calls the guard: check
//! digits are found by trying, or by big numbers, where the guard computes them.

use super::draw::{Draw, HEX, MIXED, UPPER, UPPER_DIGITS};

fn n(text: &str) -> u128 {
    text.parse().expect("digits")
}

fn d(text: &str) -> Vec<i64> {
    text.bytes().map(|b| i64::from(b) - 48).collect()
}

fn dot(text: &str, weights: &[i64]) -> i64 {
    d(text).iter().zip(weights).map(|(a, b)| a * b).sum()
}

/// The digit that makes `payload` pass Luhn, by the table of doubled digits.
pub(super) fn luhn(payload: &str) -> String {
    const DOUBLED: [i64; 10] = [0, 2, 4, 6, 8, 1, 3, 5, 7, 9];
    let sum: i64 = d(payload)
        .iter()
        .rev()
        .enumerate()
        .map(|(i, v)| if i % 2 == 0 { DOUBLED[*v as usize] } else { *v })
        .sum();
    format!("{payload}{}", (10 - sum % 10) % 10)
}

/// Draws until there is something.
fn until<T>(draw: &mut Draw, mut make: impl FnMut(&mut Draw) -> Option<T>) -> T {
    loop {
        if let Some(made) = make(draw) {
            return made;
        }
    }
}

/// Day, month, and two digits of the year.
fn day(draw: &mut Draw) -> (u64, u64, u64) {
    (draw.range(1, 28), draw.range(1, 12), draw.range(30, 99))
}

fn letters_to_digits(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_ascii_digit() { c.to_string() } else { (u32::from(c) - 55).to_string() })
        .collect()
}

fn card(draw: &mut Draw) -> String {
    let (prefix, length) = match draw.range(0, 6) {
        0 | 1 => ("4".to_owned(), 16),
        2 => (draw.range(51, 55).to_string(), 16),
        3 => (draw.range(2221, 2720).to_string(), 16),
        4 => (draw.pick(&["34", "37"]).to_owned(), 15),
        5 => ("6011".to_owned(), 16),
        _ => (draw.range(3528, 3589).to_string(), 16),
    };
    let number = luhn(&(prefix.clone() + &draw.digits(length - 1 - prefix.len())));
    match length {
        15 => draw.written(&["###############", "#### ###### #####", "####-######-#####"], &number),
        _ => draw.written(&["################", "#### #### #### ####", "####-####-####-####"], &number),
    }
}

fn iban(draw: &mut Draw) -> String {
    let form = draw.pick(&[
        "DE 18n",
        "AT 16n",
        "FR 10n11c2n",
        "GB 4a14n",
        "ES 20n",
        "IT 1a10n12c",
        "NL 4a10n",
        "BE 12n",
        "CH 5n12c",
        "PL 24n",
        "SE 20n",
        "NO 11n",
        "DK 14n",
        "FI 14n",
        "PT 21n",
        "IE 4a14n",
        "LU 3n13c",
        "SA 2n18c",
        "MT 4a5n18c",
    ]);
    let (country, rest) = form.split_once(' ').expect("two parts");
    let (mut account, mut count) = (String::new(), String::new());
    for c in rest.chars() {
        match c {
            '0'..='9' => count.push(c),
            kind => {
                let alphabet = match kind {
                    'n' => "0123456789",
                    'a' => UPPER,
                    _ => UPPER_DIGITS,
                };
                account += &draw.of(alphabet, count.parse().expect("a count"));
                count.clear();
            }
        }
    }
    let iban = iban_of(country, &account);
    match draw.range(0, 1) {
        0 => iban,
        _ => in_fours(&iban, " "),
    }
}

/// The IBAN of an account there.
pub(crate) fn iban_of(country: &str, account: &str) -> String {
    // ISO 13616: 98 less the remainder of the number with 00 for the check digits.
    let whole = letters_to_digits(&format!("{account}{country}00"));
    let remainder = whole.bytes().fold(0u64, |r, b| (r * 10 + u64::from(b - 48)) % 97);
    format!("{country}{:02}{account}", 98 - remainder)
}

/// Four characters at a time, with `sign` between.
pub(crate) fn in_fours(number: &str, sign: &str) -> String {
    let groups = number.as_bytes().chunks(4).map(|c| String::from_utf8_lossy(c).into_owned());
    groups.collect::<Vec<_>>().join(sign)
}

/// Numbers in ranges that regulators have given out, country by country.
fn phone(draw: &mut Draw) -> String {
    let local = |draw: &mut Draw, form: &str| -> String {
        form.chars()
            .map(|c| match c {
                '#' => char::from(b'0' + draw.range(0, 9) as u8),
                '@' => char::from(b'2' + draw.range(0, 7) as u8),
                c => c,
            })
            .collect()
    };
    let form = draw.pick(&[
        "(212) @##-####",
        "(415) @##-####",
        "312-@##-####",
        "+1 646 @##-####",
        "+1-305-@##-####",
        "+44 20 7946 0###",
        "+44 7911 12####",
        "+49 30 9018####",
        "+49 151 2345####",
        "+49 (0)30 9018####",
        "+33 6 12 34 ## ##",
        "+33 1 42 68 ## ##",
        "+34 612 34 ## ##",
        "+39 06 698# ####",
        "+39 347 123 ####",
        "+31 6 1234 ####",
        "+31 20 624 ####",
        "+48 512 345 ###",
        "+46 70 123 ## ##",
        "+358 40 123 ####",
        "+45 20 12 ## ##",
        "+47 412 34 ###",
        "+351 912 345 ###",
        "+32 470 12 ## ##",
        "+41 79 123 ## ##",
        "+43 664 123 ####",
        "+91 98765 4####",
        "+61 412 345 ###",
        "+65 9123 ####",
        "+82 10-2345-####",
        "+55 11 91234-####",
        "+81 90-1234-####",
        "+1 (416) @##-####",
        "+353 85 123 ####",
    ]);
    let text = local(draw, form);
    // 212-211 and such are not given out.
    if text.contains("211-") || text.contains("@11") || text.contains("11-") { phone(draw) } else { text }
}

fn email(draw: &mut Draw) -> String {
    let first = draw.pick(&[
        "anna",
        "j.smith",
        "lukas.meier",
        "maria_rossi",
        "o'brien",
        "zoë",
        "jean-luc",
        "piotr.k",
        "info+news",
        "x9",
        "Kari.Nordmann",
    ]);
    let host = draw.pick(&[
        "example.com",
        "mail.example.org",
        "firma.example.de",
        "uni-wien.example.ac.at",
        "shop.co.uk",
        "bücher.example",
        "a-b.io",
        "sub.domain.example.museum",
    ]);
    format!(
        "{first}{}@{host}",
        if draw.range(0, 1) == 0 { String::new() } else { draw.range(1, 99).to_string() }
    )
}

fn ip(draw: &mut Draw) -> String {
    if draw.range(0, 2) > 0 {
        return format!(
            "{}.{}.{}.{}",
            draw.range(11, 223),
            draw.range(0, 255),
            draw.range(0, 255),
            draw.range(1, 254)
        )
        .replace("127.", "126.");
    }
    let group = |draw: &mut Draw| draw.of(HEX, 4);
    match draw.range(0, 1) {
        0 => format!("2001:db8::{}:{}", group(draw), group(draw)),
        _ => format!("2a02:{}", (0..7).map(|_| group(draw)).collect::<Vec<_>>().join(":")),
    }
}

fn mac(draw: &mut Draw) -> String {
    let hex = format!("02{}", draw.of(HEX, 10));
    let hex = if draw.range(0, 1) == 0 { hex.to_uppercase() } else { hex };
    draw.written(&["##:##:##:##:##:##", "##-##-##-##-##-##"], &hex)
}

fn url(draw: &mut Draw) -> String {
    let scheme = draw.pick(&["https", "postgres", "mysql", "redis", "amqp", "mongodb+srv", "ftp"]);
    let (user, password) = (draw.pick(&["admin", "app_user", "root", "ci"]), draw.of(MIXED, 10));
    format!(
        "{scheme}://{user}:{password}@{}",
        draw.pick(&["db.example.com:5432", "10.2.3.4:6379", "cache.internal", "files.example.org"])
    )
}

fn birthday(draw: &mut Draw) -> String {
    let (day, month, year) = day(draw);
    let year = 1900 + year;
    let name = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ][month as usize - 1];
    match draw.range(0, 5) {
        0 => format!("{year}-{month:02}-{day:02}"),
        1 => format!("{day:02}.{month:02}.{year}"),
        2 => format!("{month}/{day}/{year}"),
        3 => format!("{name} {day}, {year}"),
        4 => format!("{day} {name} {year}"),
        _ => format!("{day:02}/{month:02}/{year}"),
    }
}

fn passport(draw: &mut Draw) -> String {
    match draw.range(0, 4) {
        0 => draw.of("CFGHJK", 1) + &draw.of("CFGHJKLMNPRTVWXYZ0123456789", 4) + &draw.digits(4),
        1 => draw.of("123456789", 1) + &draw.digits(8),
        2 => draw.of(UPPER, 2) + &draw.digits(7),
        3 => draw.of(UPPER, 1) + &draw.digits(8),
        _ => draw.digits(2) + &draw.of(UPPER, 2) + &draw.digits(5),
    }
}

fn licence(draw: &mut Draw) -> String {
    match draw.range(0, 4) {
        0 => draw.of(UPPER, 1) + &draw.digits(7),
        1 => {
            let digits = draw.digits(11);
            draw.of(UPPER, 1) + &draw.written(&["###-####-####"], &digits)
        }
        2 => draw.of(UPPER, 5) + &draw.digits(6) + &draw.of(UPPER, 2) + &draw.digits(1) + &draw.of(UPPER, 2),
        3 => draw.digits(9),
        _ => draw.of(UPPER, 2) + &draw.digits(6) + &draw.of(UPPER, 1),
    }
}

fn base58check(version: u8, draw: &mut Draw) -> String {
    let mut payload = vec![version];
    payload.extend((0..20).map(|_| draw.range(0, 255) as u8));
    base58(checked(payload))
}

/// A payload with the four bytes behind it that begin its double SHA-256.
pub(super) fn checked(mut payload: Vec<u8>) -> Vec<u8> {
    use sha2::{Digest, Sha256};
    let check = Sha256::digest(Sha256::digest(&payload));
    payload.extend(&check[..4]);
    payload
}

/// Bytes in base58, by long division of the big number by 58.
pub(super) fn base58(mut bytes: Vec<u8>) -> String {
    let zeros = bytes.iter().take_while(|b| **b == 0).count();
    let alphabet: Vec<char> = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz".chars().collect();
    let mut out = Vec::new();
    while bytes.iter().any(|b| *b != 0) {
        let mut rest = 0u32;
        for b in &mut bytes {
            let value = rest * 256 + u32::from(*b);
            *b = (value / 58) as u8;
            rest = value % 58;
        }
        out.push(alphabet[rest as usize]);
    }
    out.extend(std::iter::repeat_n('1', zeros));
    out.iter().rev().collect()
}

pub(super) fn wallet(draw: &mut Draw) -> String {
    match draw.range(0, 4) {
        0 => base58check(0, draw),
        1 => base58check(5, draw),
        2 => base58check(0x41, draw),
        3 => format!("0x{}", draw.of(HEX, 40)),
        _ => draw
            .pick(&[
                "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
                "bc1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3qccfmv3",
                "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
                "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
                "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
            ])
            .to_owned(),
    }
}

fn key(draw: &mut Draw) -> String {
    let kinds = [
        "AKIA",
        "ghp",
        "pat",
        "slack",
        "openai",
        "stripe",
        "google",
        "jwt",
        "hf",
        "gitlab",
        "npm",
        "anthropic",
        "sendgrid",
    ];
    match draw.pick(&kinds) {
        "AKIA" => "AKIA".to_owned() + &draw.of("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16),
        "ghp" => "ghp_".to_owned() + &draw.of(MIXED, 36),
        "pat" => format!("github_pat_{}_{}", draw.of(MIXED, 22), draw.of(MIXED, 59)),
        "slack" => format!("xoxb-{}-{}-{}", draw.digits(12), draw.digits(12), draw.of(MIXED, 24)),
        "openai" => "sk-proj-".to_owned() + &draw.of(MIXED, 48),
        "stripe" => "sk_live_".to_owned() + &draw.of(MIXED, 24),
        "google" => "AIza".to_owned() + &draw.of(MIXED, 35),
        "hf" => "hf_".to_owned() + &draw.of(MIXED, 34),
        "gitlab" => "glpat-".to_owned() + &draw.of(MIXED, 20),
        "npm" => "npm_".to_owned() + &draw.of(MIXED, 36),
        "anthropic" => format!("sk-ant-api03-{}-{}AA", draw.of(MIXED, 60), draw.of(MIXED, 20)),
        "sendgrid" => format!("SG.{}.{}", draw.of(MIXED, 22), draw.of(MIXED, 43)),
        _ => format!(
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI{}.{}",
            draw.of(MIXED, 40),
            draw.of(MIXED, 43)
        ),
    }
}

fn pem(draw: &mut Draw) -> String {
    let kind = draw.pick(&["", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED "]);
    let lines: Vec<String> = (0..draw.range(3, 26)).map(|_| draw.of(MIXED, 64)).collect();
    format!(
        "-----BEGIN {kind}PRIVATE KEY-----\n{}\n{}==\n-----END {kind}PRIVATE KEY-----",
        lines.join("\n"),
        draw.of(MIXED, 30)
    )
}

/// The digits that end `payload` so that `good` holds, found by trying.
fn ending(payload: &str, length: usize, good: impl Fn(&str) -> bool) -> Option<String> {
    (0..10u32.pow(length as u32)).map(|check| format!("{payload}{check:0length$}")).find(|whole| good(whole))
}

/// Who draws values of the entities that have many forms.
pub(crate) struct Values {
    pub(crate) card: fn(&mut Draw) -> String,
    pub(crate) iban: fn(&mut Draw) -> String,
    pub(crate) email: fn(&mut Draw) -> String,
    pub(crate) phone: fn(&mut Draw) -> String,
    pub(crate) ip: fn(&mut Draw) -> String,
    pub(crate) mac: fn(&mut Draw) -> String,
    pub(crate) url: fn(&mut Draw) -> String,
    pub(crate) birthday: fn(&mut Draw) -> String,
    pub(crate) passport: fn(&mut Draw) -> String,
    pub(crate) licence: fn(&mut Draw) -> String,
    pub(crate) wallet: fn(&mut Draw) -> String,
    pub(crate) key: fn(&mut Draw) -> String,
}

/// The values of the first draws.
pub(crate) const FIRST: Values =
    Values { card, iban, email, phone, ip, mac, url, birthday, passport, licence, wallet, key };

impl Values {
    /// A value as people write it.
    pub(crate) fn value(&self, entity: &str, draw: &mut Draw) -> String {
        let of = match entity {
            "CREDIT_CARD" => self.card,
            "IBAN" => self.iban,
            "EMAIL" => self.email,
            "PHONE" => self.phone,
            "IP_ADDRESS" => self.ip,
            "MAC_ADDRESS" => self.mac,
            "URL_CREDENTIALS" => self.url,
            "DATE_OF_BIRTH" => self.birthday,
            "PASSPORT" => self.passport,
            "DRIVING_LICENCE" => self.licence,
            "CRYPTO_ADDRESS" => self.wallet,
            "API_KEY" => self.key,
            "PRIVATE_KEY" => pem,
            number => return of_one_form(number, draw),
        };
        of(draw)
    }
}

/// A value of an entity that is written in the same ways everywhere.
fn of_one_form(entity: &str, draw: &mut Draw) -> String {
    let (dd, mm, yy) = day(draw);
    match entity {
        "US_SSN" => {
            let area = until(draw, |r| Some(r.range(1, 899)).filter(|a| *a != 666));
            let digits = format!("{area:03}{:02}{:04}", draw.range(1, 99), draw.range(1, 9999));
            draw.written(&["###-##-####", "###-##-####", "### ## ####", "#########"], &digits)
        }
        "US_ITIN" => {
            let group = draw.pick(&["50", "55", "61", "65", "70", "77", "82", "88", "90", "92", "94", "99"]);
            let digits = format!("9{:02}{group}{:04}", draw.range(0, 99), draw.range(0, 9999));
            draw.written(&["###-##-####", "### ## ####", "#########"], &digits)
        }
        "US_ABA" => until(draw, |r| {
            let payload = format!("{:02}{}", r.range(1, 12), r.digits(6));
            ending(&payload, 1, |w| dot(w, &[3, 7, 1, 3, 7, 1, 3, 7, 1]) % 10 == 0)
        }),
        "US_NPI" => {
            let payload = draw.of("12", 1) + &draw.digits(8);
            luhn(&format!("80840{payload}"))[5..].to_owned()
        }
        "US_MBI" => {
            let (c, a) = ("ACDEFGHJKMNPQRTUVWXY", "ACDEFGHJKMNPQRTUVWXY0123456789");
            let mbi = draw.of("123456789", 1)
                + &draw.of(c, 1)
                + &draw.of(a, 1)
                + &draw.digits(1)
                + &draw.of(c, 1)
                + &draw.of(a, 1)
                + &draw.digits(1)
                + &draw.of(c, 2)
                + &draw.digits(2);
            draw.written(&["###########", "####-###-####"], &mbi)
        }
        "UK_NHS" => {
            let whole = until(draw, |r| {
                let payload = r.of("4679", 1) + &r.digits(8);
                ending(&payload, 1, |w| dot(w, &[10, 9, 8, 7, 6, 5, 4, 3, 2, 1]) % 11 == 0)
            });
            draw.written(&["### ### ####", "##########"], &whole)
        }
        "UK_NINO" => {
            let prefix = draw.pick(&["AB", "CE", "JG", "PW", "SR", "TY", "WL", "AA", "HX", "LM"]);
            let nino = prefix.to_owned() + &draw.digits(6) + &draw.of("ABCD", 1);
            draw.written(&["#########", "## ## ## ## #"], &nino)
        }
        "DE_TAX_ID" => {
            let whole = until(draw, |r| {
                let mut pool: Vec<char> = "0123456789".chars().collect();
                for i in (1..10).rev() {
                    pool.swap(i, r.range(0, i as u64) as usize);
                }
                // Nine different digits, one of them twice.
                let mut ten: Vec<char> = pool[..9].to_vec();
                let twice = ten[r.range(0, 8) as usize];
                ten.insert(r.range(1, 8) as usize, twice);
                let payload: String = ten.into_iter().collect();
                let iso = |w: &str| {
                    let v = d(w);
                    let mut p = 10;
                    for x in &v[..10] {
                        let mut s = (p + x) % 10;
                        if s == 0 {
                            s = 10;
                        }
                        p = s * 2 % 11;
                    }
                    (p + v[10]) % 10 == 1
                };
                Some(payload).filter(|p| !p.starts_with('0')).and_then(|p| ending(&p, 1, iso))
            });
            draw.written(&["###########", "## ### ### ###"], &whole)
        }
        "DE_SOCIAL_SECURITY" => {
            let letter = draw.of(UPPER, 1);
            let area = draw.range(2, 89);
            let serial = draw.range(0, 99);
            let code = u32::from(letter.chars().next().expect("one")) - 64;
            let payload = format!("{area:02}{dd:02}{mm:02}{yy:02}{code:02}{serial:02}");
            let weights = [2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1];
            let sum: i64 = d(&payload).iter().zip(weights).map(|(a, b)| a * b).map(|p| p / 10 + p % 10).sum();
            let whole = format!("{area:02}{dd:02}{mm:02}{yy:02}{letter}{serial:02}{}", sum % 10);
            draw.written(&["############", "## ###### # ###"], &whole)
        }
        "DE_ID_CARD" => until(draw, |r| {
            let payload = r.of("LMNPRTVWXY", 1) + &r.of("CFGHJKLMNPRTVWXYZ0123456789", 3) + &r.digits(5);
            let value = |c: char| c.to_digit(36).expect("a letter or digit");
            let sum: u32 = payload.chars().zip([7, 3, 1, 7, 3, 1, 7, 3, 1]).map(|(c, w)| value(c) * w).sum();
            Some(format!("{payload}{}", sum % 10))
        }),
        "AT_SOCIAL_SECURITY" => {
            let whole = until(draw, |r| {
                let (serial, date) = (r.range(100, 999), format!("{dd:02}{mm:02}{yy:02}"));
                let check = (dot(&serial.to_string(), &[3, 7, 9]) + dot(&date, &[5, 8, 4, 2, 1, 6])) % 11;
                (check < 10).then(|| format!("{serial}{check}{date}"))
            });
            draw.written(&["#### ######", "##########"], &whole)
        }
        "AT_TAX_ID" => {
            let payload = draw.digits(8);
            // From the left, unlike a card's.
            let sum: i64 = d(&payload)
                .iter()
                .enumerate()
                .map(|(i, v)| if i % 2 == 1 { v * 2 / 10 + v * 2 % 10 } else { *v })
                .sum();
            let whole = format!("{payload}{}", (100 - sum) % 10);
            draw.written(&["##-###/####", "## ###/####"], &whole)
        }
        "FR_NIR" => {
            let corsica = draw.range(0, 9) == 0;
            let department = if corsica {
                draw.pick(&["2A", "2B"]).to_owned()
            } else {
                format!("{:02}", draw.range(1, 95))
            };
            let number = format!(
                "{}{yy:02}{mm:02}{department}{:03}{:03}",
                draw.range(1, 2),
                draw.range(1, 900),
                draw.range(1, 990)
            );
            let plain = n(&number.replace("2A", "19").replace("2B", "18"));
            let whole = format!("{number}{:02}", 97 - plain % 97);
            draw.written(&["###############", "# ## ## ## ### ### ##"], &whole)
        }
        "FR_TAX_ID" => {
            let ten = format!("{}{}", draw.range(0, 3), draw.digits(9));
            let whole = format!("{ten}{:03}", n(&ten) % 511);
            draw.written(&["#############", "## ## ### ### ###"], &whole)
        }
        "ES_DNI" | "ES_NIE" => {
            let (lead, digits) = if entity == "ES_DNI" {
                (String::new(), draw.digits(8))
            } else {
                (draw.of("XYZ", 1), draw.digits(7))
            };
            let plain = n(&(lead.replace('X', "0").replace('Y', "1").replace('Z', "2") + &digits));
            let letter = &"TRWAGMYFPDXBNJZSQVHLCKE"[(plain % 23) as usize..][..1];
            let forms: &[&str] =
                if lead.is_empty() { &["#########", "########-#"] } else { &["#########", "#-#######-#"] };
            draw.written(forms, &format!("{lead}{digits}{letter}"))
        }
        "ES_CIF" => {
            let (lead, digits) = (draw.of("ABEH", 1), draw.digits(7));
            format!("{lead}{}", luhn(&digits))
        }
        "IT_FISCAL_CODE" => {
            let payload = draw.of("BCDFGLMNPRSTV", 6)
                + &format!("{yy:02}")
                + &draw.of("ABCDEHLMPRST", 1)
                + &format!("{:02}", dd + 40 * draw.range(0, 1))
                + &draw.of("ABCDEFGHIL", 1)
                + &format!("{:03}", draw.range(1, 999));
            // Agenzia delle Entrate's table of characters at odd places.
            let odd = |c: char| match c {
                '0' | 'A' => 1,
                '1' | 'B' => 0,
                '2' | 'C' => 5,
                '3' | 'D' => 7,
                '4' | 'E' => 9,
                '5' | 'F' => 13,
                '6' | 'G' => 15,
                '7' | 'H' => 17,
                '8' | 'I' => 19,
                '9' | 'J' => 21,
                'K' => 2,
                'L' => 4,
                'M' => 18,
                'N' => 20,
                'O' => 11,
                'P' => 3,
                'Q' => 6,
                'R' => 8,
                'S' => 12,
                'T' => 14,
                'U' => 16,
                'V' => 10,
                'W' => 22,
                'X' => 25,
                'Y' => 24,
                _ => 23,
            };
            let even = |c: char| c.to_digit(10).unwrap_or_else(|| u32::from(c) - 65);
            let sum: u32 =
                payload.chars().enumerate().map(|(i, c)| if i % 2 == 0 { odd(c) } else { even(c) }).sum();
            format!("{payload}{}", char::from(65 + (sum % 26) as u8))
        }
        "IT_VAT" => {
            let payload = format!("{:07}{:03}", draw.range(1, 9_999_999), draw.range(1, 100));
            let whole = luhn(&payload);
            if draw.range(0, 2) == 0 { format!("IT{whole}") } else { whole }
        }
        "NL_BSN" => until(draw, |r| {
            let payload = r.of("12345678", 1) + &r.digits(7);
            ending(&payload, 1, |w| dot(w, &[9, 8, 7, 6, 5, 4, 3, 2, -1]) % 11 == 0)
        }),
        "PL_PESEL" => {
            let payload = format!("{yy:02}{mm:02}{dd:02}{}", draw.digits(4));
            ending(&payload, 1, |w| dot(w, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1]) % 10 == 0).expect("one of ten")
        }
        "PL_NIP" => {
            let whole = until(draw, |r| {
                let payload = r.of("123456789", 3) + &r.digits(6);
                ending(&payload, 1, |w| dot(w, &[6, 5, 7, 2, 3, 4, 5, 6, 7, -1]) % 11 == 0)
            });
            draw.written(&["###-###-##-##", "###-##-##-###", "##########"], &whole)
        }
        "SE_PERSONAL_NUMBER" => {
            let ten = luhn(&format!("{yy:02}{mm:02}{dd:02}{}", draw.digits(3)));
            match draw.range(0, 2) {
                0 => format!("19{}-{}", &ten[..6], &ten[6..]),
                1 => format!("19{ten}"),
                _ => format!("{}-{}", &ten[..6], &ten[6..]),
            }
        }
        "FI_HETU" => {
            let (date, serial) = (format!("{dd:02}{mm:02}{yy:02}"), format!("{:03}", draw.range(2, 899)));
            let check =
                &"0123456789ABCDEFHJKLMNPRSTUVWXY"[(n(&(date.clone() + &serial)) % 31) as usize..][..1];
            format!("{date}{}{serial}{check}", draw.pick(&["-", "-", "Y", "X"]))
        }
        "DK_CPR" => format!("{dd:02}{mm:02}{yy:02}-{:04}", draw.range(1, 9999)),
        "NO_FNR" => until(draw, |r| {
            let nine = format!("{dd:02}{mm:02}{yy:02}{}", r.digits(3));
            let ten = ending(&nine, 1, |w| dot(w, &[3, 7, 6, 1, 8, 9, 4, 5, 2, 1]) % 11 == 0)?;
            let whole = ending(&ten, 1, |w| dot(w, &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1]) % 11 == 0)?;
            Some(r.written(&["###########", "###### #####"], &whole))
        }),
        "PT_NIF" => {
            let payload = draw.of("12356", 1) + &draw.digits(7);
            let rest = dot(&payload, &[9, 8, 7, 6, 5, 4, 3, 2]) % 11;
            let whole = format!("{payload}{}", if rest < 2 { 0 } else { 11 - rest });
            draw.written(&["#########", "### ### ###"], &whole)
        }
        "PT_CITIZEN_CARD" => {
            let (civil, version) = (draw.digits(8), draw.of("ZYX", 2));
            let base: i64 = {
                let rest = dot(&civil, &[9, 8, 7, 6, 5, 4, 3, 2]) % 11;
                if rest < 2 { 0 } else { 11 - rest }
            };
            let value = |c: char| i64::from(c.to_digit(36).expect("a letter or digit"));
            let payload = format!("{civil}{base}{version}");
            let sum: i64 = payload
                .chars()
                .enumerate()
                .map(|(i, c)| {
                    let v = value(c);
                    if i % 2 == 0 { if v * 2 > 9 { v * 2 - 9 } else { v * 2 } } else { v }
                })
                .sum();
            let whole = format!("{payload}{}", (10 - sum % 10) % 10);
            draw.written(&["######## # ###", "######### ###", "############"], &whole)
        }
        "BE_NRN" => {
            let nine = format!("{yy:02}{mm:02}{dd:02}{:03}", draw.range(1, 997));
            let whole = format!("{nine}{:02}", 97 - n(&nine) % 97);
            draw.written(&["###########", "##.##.##-###.##"], &whole)
        }
        "CH_AHV" => {
            let payload = "756".to_owned() + &draw.digits(9);
            let whole = ending(&payload, 1, |w| dot(w, &[1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1]) % 10 == 0)
                .expect("one of ten");
            draw.written(&["###.####.####.##", "#############"], &whole)
        }
        "CH_UID" => {
            let whole = until(draw, |r| {
                let payload = r.of("1234", 1) + &r.digits(7);
                ending(&payload, 1, |w| dot(w, &[5, 4, 3, 2, 7, 6, 5, 4, 1]) % 11 == 0)
            });
            draw.written(&["CHE-###.###.###", "CHE-###.###.###", "CHE#########"], &whole)
        }
        "IN_AADHAAR" => {
            let payload = draw.of("23456789", 1) + &draw.digits(10);
            let whole = ending(&payload, 1, verhoeff).expect("one of ten");
            draw.written(&["#### #### ####", "############"], &whole)
        }
        "IN_PAN" => {
            draw.of(UPPER, 3)
                + &draw.of("ABCFGHLJPT", 1)
                + &draw.of(UPPER, 1)
                + &format!("{:04}", draw.range(1, 9999))
                + &draw.of(UPPER, 1)
        }
        "AU_TFN" => {
            let whole = until(draw, |r| {
                let payload = r.of("123456789", 1) + &r.digits(7);
                ending(&payload, 1, |w| dot(w, &[1, 4, 3, 7, 5, 8, 6, 9, 10]) % 11 == 0)
            });
            draw.written(&["### ### ###", "#########"], &whole)
        }
        "AU_ABN" => {
            // The check digits are the first two.
            let rest = draw.digits(9);
            let whole = (10..=99)
                .map(|lead| format!("{lead}{rest}"))
                .find(|w| (dot(w, &[10, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19]) - 10) % 89 == 0);
            draw.written(&["## ### ### ###", "###########"], &whole.expect("one of ninety"))
        }
        "AU_MEDICARE" => {
            let eight = draw.of("23456", 1) + &draw.digits(7);
            let whole = format!("{eight}{}{}", dot(&eight, &[1, 3, 7, 9, 1, 3, 7, 9]) % 10, draw.range(1, 9));
            draw.written(&["#### ##### #", "##########"], &whole)
        }
        "CA_SIN" => {
            let whole = luhn(&(draw.of("1234567", 1) + &draw.digits(7)));
            draw.written(&["### ### ###", "###-###-###", "#########"], &whole)
        }
        "SG_NRIC" => {
            let (lead, digits) = (draw.of("STFG", 1), draw.digits(7));
            let sum = dot(&digits, &[2, 7, 6, 5, 4, 3, 2]) + if lead == "T" || lead == "G" { 4 } else { 0 };
            let letters = if lead == "S" || lead == "T" { "JZIHGFEDCBA" } else { "XWUTRQPNMLK" };
            format!("{lead}{digits}{}", &letters[(sum % 11) as usize..][..1])
        }
        "KR_RRN" => {
            let payload = format!("{yy:02}{mm:02}{dd:02}{}{}", draw.range(1, 2), draw.digits(5));
            let sum = dot(&payload, &[2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5]);
            let check = if draw.range(0, 4) == 0 { draw.range(0, 9) as i64 } else { (11 - sum % 11) % 10 };
            draw.written(&["######-#######"], &format!("{payload}{check}"))
        }
        "BR_CPF" => {
            let nine = draw.digits(9);
            let digit = |text: &str| {
                let weights: Vec<i64> = (2..=text.len() as i64 + 1).rev().collect();
                let rest = dot(text, &weights) % 11;
                if rest < 2 { 0 } else { 11 - rest }
            };
            let ten = format!("{nine}{}", digit(&nine));
            let whole = format!("{ten}{}", digit(&ten));
            draw.written(&["###.###.###-##", "###########"], &whole)
        }
        "BR_CNPJ" => {
            let twelve = draw.digits(8) + "0001";
            let digit = |text: &str| {
                let all = [6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2];
                let rest = dot(text, &all[13 - text.len()..]) % 11;
                if rest < 2 { 0 } else { 11 - rest }
            };
            let thirteen = format!("{twelve}{}", digit(&twelve));
            let whole = format!("{thirteen}{}", digit(&thirteen));
            draw.written(&["##.###.###/####-##", "##############"], &whole)
        }
        other => panic!("no values of {other}"),
    }
}

/// Verhoeff's tables, as printed.
fn verhoeff(text: &str) -> bool {
    const D: [&str; 10] = [
        "0123456789",
        "1234067895",
        "2340178956",
        "3401289567",
        "4012395678",
        "5987604321",
        "6598710432",
        "7659821043",
        "8765932104",
        "9876543210",
    ];
    const P: [&str; 8] = [
        "0123456789",
        "1576283094",
        "5803796142",
        "8916043527",
        "9453126870",
        "4286573901",
        "2793806415",
        "7046913258",
    ];
    let at = |row: &str, i: usize| usize::from(row.as_bytes()[i] - 48);
    text.bytes().rev().enumerate().fold(0, |c, (i, b)| at(D[c], at(P[i % 8], usize::from(b - 48)))) == 0
}
