//! The sixth draw, by now to work with: frames, values and innocent texts. Written after the recognizers were mended by what the fifth draw
//! showed, without a look at them, and before any of it was judged, with other fields (minutes, forms read aloud, bug
//! reports, spreadsheets, markup, wills), other issuers, countries and spellings; what has only one form is as in
//! [`values`](super::values).

use super::draw::{Draw, HEX, MIXED, UPPER};
use super::fourth::account;
use super::values::{self, Values, luhn};

pub(crate) const FRAMES: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "* {L} -> {V}",
            "{L} ........ {V}",
            "<label>{L}</label> <output>{V}</output>",
            "{L}\n    {V}\n",
            "[{L}] {V} [/{L}]",
            "export_row('{L}', '{V}')",
            "{L} = \"{V}\"  # do not share",
            "2031;ok;{L};{V};none",
            "| **{L}** | `{V}` |",
            "{L}: {V}; status: open",
        ],
    ),
    (
        "en",
        &[
            "Minutes: the clerk read out the {L} ({V}) and everybody nodded.",
            "Bug report: after login the page shows somebody else's {L}, namely {V}.",
            "For the form I need your {L}; mine, for example, is {V}.",
            "They had misprinted the {L}. Correct is {V}!",
            "I, the undersigned, with {L} {V}, leave everything to my niece.",
            "Row 18 has the {L} \"{V}\" in the wrong column.",
            "Is {V} still the {L} of Mr Ortega?",
            "Spoke to Dana on Monday - {L} {V} - will call back.",
            "Somebody wrote the {L} on the whiteboard: {V}",
            "Attached: a scan on which the {L} ({V}) can be read.",
            "You asked for a {L}: here it is, {V}, please confirm.",
            "Her {L} used to be different; now it's {V}, she says.",
        ],
    ),
    (
        "de",
        &[
            "Laut Protokoll wurde die {L} {V} verlesen.",
            "Im Anhang sieht man die {L} ({V}) deutlich.",
            "Gilt {V} noch als {L} von Frau Brandt?",
            "Falsch gedruckt war die {L}, richtig ist {V}.",
        ],
    ),
    (
        "fr",
        &[
            "D'après le compte rendu, le {L} {V} a été lu.",
            "On voit bien le {L} ({V}) en pièce jointe.",
            "Est-ce que {V} est encore le {L} de Mme Petit ?",
            "Le {L} était mal imprimé, c'est {V}.",
        ],
    ),
    (
        "es",
        &[
            "Según el acta se leyó el {L} {V}.",
            "En el adjunto se ve el {L} ({V}).",
            "¿Sigue siendo {V} el {L} de la señora Ruiz?",
            "El {L} salió mal impreso; es {V}.",
        ],
    ),
    (
        "it",
        &[
            "Secondo il verbale fu letto il {L} {V}.",
            "Nell'allegato si vede il {L} ({V}).",
            "È ancora {V} il {L} della signora Conti?",
        ],
    ),
    (
        "nl",
        &[
            "Volgens de notulen werd {L} {V} voorgelezen.",
            "In de bijlage ziet men {L} ({V}).",
            "Is {V} nog steeds het {L} van mevrouw Smit?",
        ],
    ),
    (
        "pl",
        &[
            "Według protokołu odczytano {L} {V}.",
            "W załączniku widać {L} ({V}).",
            "Czy {V} to nadal {L} pani Zając?",
        ],
    ),
    (
        "sv",
        &[
            "Enligt protokollet lästes {L} {V} upp.",
            "I bilagan syns {L} ({V}).",
            "Är {V} fortfarande {L} för fru Lund?",
        ],
    ),
    (
        "fi",
        &[
            "Pöytäkirjan mukaan luettiin {L} {V}.",
            "Liitteessä näkyy {L} ({V}).",
            "Onko {V} yhä rouva Laineen {L}?",
        ],
    ),
    (
        "da",
        &[
            "Ifølge referatet blev {L} {V} læst op.",
            "I bilaget ses {L} ({V}).",
            "Er {V} stadig fru Holms {L}?",
        ],
    ),
    (
        "no",
        &[
            "Ifølge referatet ble {L} {V} lest opp.",
            "I vedlegget ser man {L} ({V}).",
            "Er {V} fremdeles fru Bergs {L}?",
        ],
    ),
    (
        "pt",
        &[
            "Segundo a ata, foi lido o {L} {V}.",
            "No anexo vê-se o {L} ({V}).",
            "O {L} da senhora Reis ainda é {V}?",
        ],
    ),
    (
        "ko",
        &[
            "회의록에 따르면 {L} {V} 를 읽었습니다.",
            "첨부 파일에 {L} ({V}) 이 보입니다.",
            "김 선생님의 {L} 는 아직 {V} 인가요?",
        ],
    ),
];

pub(crate) const INNOCENT: &[&str] = &[
    "Locker {3} opens with ticket {A}{7}",
    "pytest: {4} passed, {2} skipped in {2}.{2}s",
    "Artikel {3}.{3}.{2}, Gewicht {1},{3} kg",
    "Debian {2}.{1}-{1}+deb12u{1}",
    "subscription {A}{A}{A}-{6}-{2} renewed on {D}",
    "{T} WARN retry {1} of {2}, lag {7} ms",
    "bus line {2}, stop {5}",
    "sha256:{H40}{H16}{H8}",
    "lot {8}/{3}, best before {D}",
    "container {A}{A}{A}{A}{7} left the port",
    "poll: {4} yes, {4} no, {3} undecided",
    "Lieferschein {10} vom {D}",
    "node {H12} has {3} replicas",
    "thread id {15}",
    "arXiv:{4}.{5}v{1}",
    "patch {H8}..{H8} touches {3} files",
    "bon de commande n° {9}",
    "albarán {A}{A}{7}",
    "protocollo n. {6}/{4}",
    "følgeseddel {10}",
    "serial {A}{A}{2}-{A}{4}-{5}",
    "page view {16} by bot",
    "ETag: \"{H32}-{2}\"",
    "trace {U} parent {H16}",
    "box {6}, {3} pieces at {2}.{2} each",
    "firmware {1}.{2}.{3} build {8}",
    "elapsed {9} ns over {6} runs",
    "PUT /v{1}/carts/{10}/lines/{2} {3}",
    "member since {D}, points {6}",
    "seat {2}{A}, coach {2}, train {4}",
];

pub(crate) const SIXTH: Values = Values {
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

/// Elo, Hipercard, Verve, Troy, Mastercard's second range, Visa and American Express; groups with narrow blanks that do
/// not break, with spaces around dashes and with slashes.
fn card(draw: &mut Draw) -> String {
    let (prefix, length) = match draw.range(0, 6) {
        0 => ("636368".to_owned(), 16),
        1 => ("606282".to_owned(), 16),
        2 => ("5061".to_owned() + &draw.of("01", 1), 16),
        3 => ("9792".to_owned(), 16),
        4 => (draw.range(2300, 2699).to_string(), 16),
        5 => (draw.pick(&["34", "37"]).to_owned(), 15),
        _ => ("4".to_owned() + &draw.digits(5), 16),
    };
    let number = luhn(&(prefix.clone() + &draw.digits(length - 1 - prefix.len())));
    match length {
        15 => draw
            .written(&["###############", "#### ###### #####", "####\u{202f}######\u{202f}#####"], &number),
        _ => draw.written(
            &[
                "################",
                "#### #### #### ####",
                "####\u{202f}####\u{202f}####\u{202f}####",
                "#### - #### - #### - ####",
                "####/####/####/####",
            ],
            &number,
        ),
    }
}

/// Countries of the registry that no other draw has.
fn iban(draw: &mut Draw) -> String {
    let (country, form) = match draw.range(0, 13) {
        0 => ("AL", "nnnnnnnncccccccccccccccc"),
        1 => ("AD", "nnnnnnnncccccccccccc"),
        2 => ("AZ", "aaaacccccccccccccccccccc"),
        3 => ("BH", "aaaacccccccccccccc"),
        4 => ("CR", "nnnnnnnnnnnnnnnnnn"),
        5 => ("GE", "aannnnnnnnnnnnnnnn"),
        6 => ("GI", "aaaaccccccccccccccc"),
        7 => ("KZ", "nnnccccccccccccc"),
        8 => ("LB", "nnnncccccccccccccccccccc"),
        9 => ("ME", "nnnnnnnnnnnnnnnnnn"),
        10 => ("MK", "nnnccccccccccnn"),
        11 => ("PK", "aaaacccccccccccccccc"),
        12 => ("TN", "nnnnnnnnnnnnnnnnnnnn"),
        _ => ("XK", "nnnnnnnnnnnnnnnn"),
    };
    let iban = values::iban_of(country, &account(form, draw));
    values::in_fours(&iban, draw.pick(&["", " ", "-", "\u{202f}"]))
}

fn email(draw: &mut Draw) -> String {
    let user = draw.pick(&[
        "e.m.a.i.l",
        "van-dijk",
        "office.wien",
        "ÿves",
        "first+last+tag",
        "0815",
        "zażółć",
        "root",
        "d'angelo",
        "Info-Desk",
        "q__q",
        "jean-luc.o'brien",
    ]);
    let host = draw.pick(&[
        "post.example.ac.at",
        "mail.example.co.jp",
        "example.engineering",
        "sub.sub2.example.com",
        "xn--mnchen-3ya.example",
        "EXAMPLE.NET",
        "example.gob.mx",
        "пошта.example",
        "my-host-01.example.io",
        "example.museum",
    ]);
    format!(
        "{user}{}@{host}",
        if draw.range(0, 3) == 0 { format!(".{}", draw.range(10, 99)) } else { String::new() }
    )
}

/// Mobile ranges of countries' numbering plans, in spellings that the other draws do not have.
fn phone(draw: &mut Draw) -> String {
    let form = draw.pick(&[
        "+45 20 12 ## ##",
        "+47 412 34 ###",
        "+358 40 123 45##",
        "+353 (0)87 123 45##",
        "+351 912-345-###",
        "+30 694 123 45##",
        "+36 30/123-45##",
        "+420 601 123 ###",
        "+421/905/123 ###",
        "+385.91.234.5###",
        "+386 40 123 ###",
        "+40 712 345 ###",
        "+90 (532) 123 45 ##",
        "+380-67-123-45-##",
        "+972-50-123-45##",
        "+971 50 123 45##",
        "+91 98765-4####",
        "+63 917 123 ####",
        "+66 81-234-####",
        "+81-90-1234-####",
        "+82-10-2345-####",
        "+61 (412) 345 ###",
        "+27 82 123 45##",
        "+55 (11) 91234-####",
        "+52 55 1234 ####",
        "+56 9 8765 ####",
        "+57 300 123 ####",
        "00 46 70 123 45 ##",
        "0033 6 12 34 56 ##",
        "(312) 555-01##",
        "212.555.01##",
        "+1 (416) 555 01##",
    ]);
    form.chars().map(|c| if c == '#' { char::from(b'0' + draw.range(0, 9) as u8) } else { c }).collect()
}

fn ip(draw: &mut Draw) -> String {
    let group = |draw: &mut Draw| draw.of("123456789abcdef", 1) + &draw.of(HEX, 3);
    match draw.range(0, 5) {
        0 => format!("10.{}.{}.{}", draw.range(0, 255), draw.range(0, 255), draw.range(1, 254)),
        1 => format!("198.51.100.{}", draw.range(1, 254)),
        2 => format!("100.{}.{}.{}", draw.range(64, 127), draw.range(0, 255), draw.range(1, 254)),
        3 => format!("::ffff:203.0.113.{}", draw.range(1, 254)),
        4 => format!("2606:{}::{}", group(draw), group(draw)),
        _ => format!("FE80::{}:{}:FFFE:{}", group(draw), group(draw), group(draw)).to_uppercase(),
    }
}

fn mac(draw: &mut Draw) -> String {
    let hex = draw.of(HEX, 1) + &draw.of("02468ace", 1) + &draw.of(HEX, 10);
    let hex = if draw.range(0, 1) == 0 { hex.to_uppercase() } else { hex };
    draw.written(&["##:##:##:##:##:##", "##-##-##-##-##-##", "####.####.####"], &hex)
}

fn url(draw: &mut Draw) -> String {
    let user = draw.pick(&["default", "svc-backup", "Admin", "u%40corp", "etl_2031"]);
    let password = draw.pick(&["hunter2!", "S3cr3t~pass", "a.b-c_d", "pässwort9", "x%23y%3Fz", "0000"]);
    let (scheme, host) = match draw.range(0, 7) {
        0 => ("postgresql+psycopg2", "db-2.example.net:5433/app?sslmode=require"),
        1 => ("rediss", "cache.example.org:6380/0"),
        2 => ("sftp", "files.example.com/in/2031/"),
        3 => ("smtp", "mail.example.io:587"),
        4 => ("mysql2", "127.0.0.1/shop"),
        5 => ("http", "proxy.example.net:3128"),
        6 => ("neo4j+s", "graph.example.dev:7687"),
        _ => ("wss", "live.example.app/socket?v=2"),
    };
    format!("{scheme}://{user}:{password}@{host}")
}

fn birthday(draw: &mut Draw) -> String {
    let (day, month, year) = (draw.range(1, 28), draw.range(1, 12), draw.range(1931, 2013));
    let at = |names: &str| names.split(' ').nth(month as usize - 1).unwrap_or_default().to_owned();
    match draw.range(0, 9) {
        0 => format!(
            "{day} {} {year}",
            at("janvier février mars avril mai juin juillet août septembre octobre novembre décembre")
        ),
        1 => format!(
            "{day}. {} {year}",
            at("Januar Februar März April Mai Juni Juli August September Oktober November Dezember")
        ),
        2 => format!(
            "{day} de {} de {year}",
            at("janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro")
        ),
        3 => format!(
            "{day}. {} {year}",
            at("januar februar marts april maj juni juli august september oktober november december")
        ),
        4 => format!("{year}-{month:02}-{day:02}"),
        5 => format!(
            "{} {day}{}, {year}",
            at("January February March April May June July August September October November December"),
            ordinal(day)
        ),
        6 => format!(
            "{day}{} of {} {year}",
            ordinal(day),
            at("January February March April May June July August September October November December")
        ),
        7 => format!("{day:02}-{}-{year}", at("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec")),
        8 => format!("{day}/{month}/{year}"),
        _ => format!("{day:02} {month:02} {year}"),
    }
}

fn ordinal(day: u64) -> &'static str {
    match (day, day % 10) {
        (11..=13, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    }
}

fn passport(draw: &mut Draw) -> String {
    match draw.range(0, 5) {
        // India, Japan, China, Spain, Ireland, Switzerland.
        0 => draw.of("JKLMNPRSTUVZ", 1) + &draw.of("123456789", 1) + &draw.digits(6),
        1 => draw.of("TM", 1) + &draw.of("HJKRSZ", 1) + &draw.digits(7),
        2 => draw.of("EG", 1) + &draw.digits(8),
        3 => draw.of(UPPER, 3) + &draw.digits(6),
        4 => draw.of("PLX", 1) + &draw.of(UPPER, 1) + &draw.digits(7),
        _ => draw.of("SXF", 1) + &draw.digits(7),
    }
}

fn licence(draw: &mut Draw) -> String {
    match draw.range(0, 4) {
        // California, Florida, Texas, Quebec, New Jersey.
        0 => draw.of(UPPER, 1) + &draw.digits(7),
        1 => {
            let digits = draw.digits(12);
            draw.of(UPPER, 1) + &draw.written(&["###-###-##-###-#", "############"], &digits)
        }
        2 => draw.of("123456789", 1) + &draw.digits(7),
        3 => {
            let digits = draw.digits(12);
            draw.of(UPPER, 1) + &draw.written(&["####-######-##", "############"], &digits)
        }
        _ => {
            let digits = draw.digits(14);
            draw.of(UPPER, 1) + &draw.written(&["#### ##### #####", "##############"], &digits)
        }
    }
}

/// Services that the other draws do not have, by the prefixes that they publish.
fn key(draw: &mut Draw) -> String {
    match draw.range(0, 12) {
        0 => "dop_v1_".to_owned() + &draw.of(HEX, 64),
        1 => "shpat_".to_owned() + &draw.of(HEX, 32),
        2 => "sq0atp-".to_owned() + &draw.of(MIXED, 22),
        3 => "figd_".to_owned() + &draw.of(MIXED, 40),
        4 => "ntn_".to_owned() + &draw.of(MIXED, 46),
        5 => "pypi-AgEIcHlwaS5vcmc".to_owned() + &draw.of(MIXED, 120),
        6 => draw.of("123456789", 1) + &draw.digits(8) + ":AA" + &draw.of(MIXED, 33),
        7 => "dp.pt.".to_owned() + &draw.of(MIXED, 43),
        8 => "AGE-SECRET-KEY-1".to_owned() + &draw.of("QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L", 58),
        9 => format!("pat{}.{}", draw.of(MIXED, 14), draw.of(HEX, 64)),
        10 => "pplx-".to_owned() + &draw.of(MIXED, 48),
        11 => "nfp_".to_owned() + &draw.of(MIXED, 36),
        _ => format!("xkeysib-{}-{}", draw.of(HEX, 64), draw.of(MIXED, 16)),
    }
}
