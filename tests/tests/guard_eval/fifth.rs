//! The fifth draw, by now to work with: frames, values and innocent texts. Written after the recognizers were mended by what the fourth
//! draw showed and before any of it was judged, with other fields (chats, calls, tickets, configuration, letters),
//! other issuers, countries and spellings; what has only one form is as in [`values`](super::values).

use super::draw::{Draw, HEX, MIXED, UPPER};
use super::fourth::account;
use super::values::{self, Values, luhn};

pub(crate) const FRAMES: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "{L} {V}\n",
            "- name: \"{L}\"\n  value: \"{V}\"",
            "[section]\n{L} = {V}\nlast = 1",
            "\"{L}\";\"{V}\";\"2031\"",
            "{\"field\":\"{L}\",\"value\":\"{V}\"}",
            "<dt>{L}</dt><dd>{V}</dd>",
            "{L}:\t{V}",
            "{L}: [{V}]",
            "{L}?? {V}!!",
            "+ {L}: {V}\n- {L}: none",
        ],
    ),
    (
        "en",
        &[
            "agent: may I have your {L} please?\ncustomer: sure, {V}",
            "Hello, I was told to send you my {L}. It is {V}. Best, Tom",
            "Could you update the {L} from the old one to {V}?",
            "@support your bot asked for my {L} and then leaked {V} in the channel",
            "Voicemail 14: \"...my {L} again is {V}, call whenever you like.\"",
            "Ticket opened by Maria, who gave the {L} {V} and hung up.",
            "The {L}, {V}, was printed on the back of the envelope.",
            "I hereby confirm that {V} is the {L} of the undersigned.",
            "Found in the shared folder: a note with a {L} ({V}) on it.",
            "Do you need my {L}? I have it here - {V} - if that helps.",
            "Subject: change of {L}\n\nPlease replace what you have by {V}.",
            "In the screenshot one can read the {L} {V} quite clearly.",
        ],
    ),
    (
        "de",
        &[
            "Hallo, meine {L} hat sich geändert, neu ist {V}.",
            "Am Telefon nannte er die {L} {V} und legte auf.",
            "Können Sie {V} als {L} hinterlegen?",
            "Auf Seite zwei steht unter {L} der Wert {V}.",
        ],
    ),
    (
        "fr",
        &[
            "Bonjour, mon {L} a changé, c'est maintenant {V}.",
            "Au téléphone il a donné le {L} {V} puis a raccroché.",
            "Pouvez-vous enregistrer {V} comme {L} ?",
            "Page deux, sous {L}, on lit {V}.",
        ],
    ),
    (
        "es",
        &[
            "Hola, mi {L} ha cambiado, ahora es {V}.",
            "Por teléfono dio el {L} {V} y colgó.",
            "¿Pueden registrar {V} como {L}?",
            "En la página dos, en {L}, se lee {V}.",
        ],
    ),
    (
        "it",
        &[
            "Salve, il mio {L} è cambiato, ora è {V}.",
            "Al telefono ha dato il {L} {V} e ha riattaccato.",
            "Potete registrare {V} come {L}?",
        ],
    ),
    (
        "nl",
        &[
            "Hallo, mijn {L} is gewijzigd, het is nu {V}.",
            "Aan de telefoon gaf hij {L} {V} door.",
            "Kunt u {V} als {L} vastleggen?",
        ],
    ),
    (
        "pl",
        &[
            "Dzień dobry, mój {L} się zmienił, teraz to {V}.",
            "Przez telefon podał {L} {V} i się rozłączył.",
            "Czy mogą Państwo zapisać {V} jako {L}?",
        ],
    ),
    (
        "sv",
        &[
            "Hej, mitt {L} har ändrats, nu är det {V}.",
            "I telefon uppgav han {L} {V}.",
            "Kan ni spara {V} som {L}?",
        ],
    ),
    (
        "fi",
        &[
            "Hei, minun {L} on muuttunut, nyt se on {V}.",
            "Puhelimessa hän antoi tiedon {L} {V}.",
            "Voitteko tallentaa arvon {V} kohtaan {L}?",
        ],
    ),
    (
        "da",
        &[
            "Hej, mit {L} er ændret, nu er det {V}.",
            "I telefonen oplyste han {L} {V}.",
            "Kan I gemme {V} som {L}?",
        ],
    ),
    (
        "no",
        &[
            "Hei, mitt {L} er endret, nå er det {V}.",
            "På telefonen oppga han {L} {V}.",
            "Kan dere lagre {V} som {L}?",
        ],
    ),
    (
        "pt",
        &[
            "Olá, o meu {L} mudou, agora é {V}.",
            "Ao telefone deu o {L} {V} e desligou.",
            "Podem registar {V} como {L}?",
        ],
    ),
    (
        "ko",
        &[
            "안녕하세요, {L}가 바뀌어서 이제 {V} 입니다.",
            "전화로 {L} {V} 를 알려 주셨습니다.",
            "{L} 항목에 {V} 라고 적혀 있어요.",
        ],
    ),
];

pub(crate) const INNOCENT: &[&str] = &[
    "Parcel {12} waits at locker {3}",
    "job {7} finished in {3}.{2} s, exit {1}",
    "Seite {3} von {4}, Auflage {5}",
    "kernel {1}.{2}.{2}-{3}-generic",
    "Order {A}{A}-{8} was paid on {D}",
    "{T} INFO cache miss key={H32}",
    "voucher {A}{A}{A}{4} is valid until {D}",
    "wafer lot {9}, die {4}",
    "part no. {3}.{3}.{3}.{2}",
    "cargo container {A}{A}{A}U {7}",
    "score {2}:{2} after {2} minutes",
    "Rechnungsnummer: {A}{2}-{7}",
    "tcp {5} packets, {8} bytes",
    "pull request {5}, run {10}",
    "the file is {10} bytes long",
    "doi:10.{4}/{7}",
    "blob {H40} in pack {H40}",
    "numéro de suivi {11}",
    "número de factura {A}-{8}",
    "ticket n. {9}",
    "kolli {9}, vægt {2},{1} kg",
    "magazijn {2}, vak {4}",
    "shard {2} of {3}, epoch {E}",
    "uuid {U} expired at {T}",
    "item {6} x {2} = {4}.{2}",
    "stock code {5}{A}",
    "ran {4} tests, {1} failed, seed {10}",
    "GET /v{1}/items/{9} {3} {5}",
    "asset tag {A}{A}{6}",
    "train {A}{A} {4}, platform {1}, coach {2}",
];

pub(crate) const FIFTH: Values = Values {
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

/// Mir, Maestro of nineteen digits, UnionPay, JCB, RuPay, Dankort, and Visa; groups with blanks that do not break, with
/// dots and with long dashes.
fn card(draw: &mut Draw) -> String {
    let (prefix, length) = match draw.range(0, 7) {
        0 => (draw.range(2200, 2204).to_string(), 16),
        1 => ("6759".to_owned(), 19),
        2 => ("62".to_owned() + &draw.of("2345678", 1), 19),
        3 => (draw.range(3528, 3589).to_string(), 16),
        4 => ("6521".to_owned(), 16),
        5 => ("5019".to_owned(), 16),
        6 => (draw.pick(&["34", "37"]).to_owned(), 15),
        _ => ("4".to_owned() + &draw.digits(3), 16),
    };
    let number = luhn(&(prefix.clone() + &draw.digits(length - 1 - prefix.len())));
    match length {
        15 => draw.written(&["###############", "####\u{a0}######\u{a0}#####", "####.######.#####"], &number),
        19 => draw
            .written(&["###################", "#### #### #### #### ###", "####-####-####-####-###"], &number),
        _ => draw.written(
            &[
                "################",
                "####\u{a0}####\u{a0}####\u{a0}####",
                "####.####.####.####",
                "####–####–####–####",
            ],
            &number,
        ),
    }
}

fn iban(draw: &mut Draw) -> String {
    let (country, form) = match draw.range(0, 11) {
        0 => ("BG", "aaaannnnnncccccccc"),
        1 => ("LV", "aaaaccccccccccccc"),
        2 => ("CY", "nnnnnnnncccccccccccccccc"),
        3 => ("IS", "nnnnnnnnnnnnnnnnnnnnnn"),
        4 => ("MC", "nnnnnnnnnncccccccccccnn"),
        5 => ("SM", "annnnnnnnnncccccccccccc"),
        6 => ("AE", "nnnnnnnnnnnnnnnnnnn"),
        7 => ("IL", "nnnnnnnnnnnnnnnnnnn"),
        8 => ("UA", "nnnnnnccccccccccccccccccc"),
        9 => ("RS", "nnnnnnnnnnnnnnnnnn"),
        10 => ("LI", "nnnnncccccccccccc"),
        _ => ("BR", "nnnnnnnnnnnnnnnnnnnnnnnac"),
    };
    let iban = values::iban_of(country, &account(form, draw));
    values::in_fours(&iban, draw.pick(&["", " ", "\u{a0}"]))
}

fn email(draw: &mut Draw) -> String {
    let user = draw.pick(&[
        "dr-anna.maria",
        "h.j.van.den.berg",
        "Łukasz.Żak",
        "contact+billing",
        "x_1",
        "7eleven",
        "firstname.lastname",
        "søren.å",
        "BÖRSE",
        "o'neil.k",
        "a-b-c",
        "m__m",
    ]);
    let host = draw.pick(&[
        "stadt-koeln.example.de",
        "mail2.example.com.au",
        "example.technology",
        "e.example",
        "xn--bcher-kva.example",
        "kth.example.se",
        "Example.Org",
        "empresa.example.com.br",
        "университет.example",
        "ac.example.in",
    ]);
    format!(
        "{user}{}@{host}",
        if draw.range(0, 2) == 0 { draw.range(2, 1999).to_string() } else { String::new() }
    )
}

/// Ranges that regulators have given out to mobile networks and cities.
fn phone(draw: &mut Draw) -> String {
    let form = draw.pick(&[
        "+371 2912 ####",
        "+359 88 812 ####",
        "+381 64 123 ####",
        "+354 611 ####",
        "+356 9912 ####",
        "+357 99 12####",
        "+352 621 123 ###",
        "+387 61 123 ###",
        "+373 691 12 ###",
        "+7 912 123-##-##",
        "+86 138 1234 ####",
        "+886 912 345 ###",
        "+84 91 234 ## ##",
        "+60 12-345 ####",
        "+92 301 234####",
        "+880 1712-34####",
        "+94 71 234 ####",
        "+20 100 123 ####",
        "+212 612-34####",
        "+234 803 123 ####",
        "+254 712 345###",
        "+233 24 123 ####",
        "+966 50 123 ####",
        "+974 3312 ####",
        "+593 99 123 ####",
        "+51 912 345 ###",
        "+598 94 123 ###",
        "+506 8312 ####",
        "0043 664 123 ####",
        "+1-718-555-01##",
        "(303) 555-01##",
        "+44-20-7946-0###",
        "+49/151/2345####",
        "+41 (0)79 123 ## ##",
    ]);
    form.chars().map(|c| if c == '#' { char::from(b'0' + draw.range(0, 9) as u8) } else { c }).collect()
}

fn ip(draw: &mut Draw) -> String {
    let group = |draw: &mut Draw| draw.of("123456789abcdef", 1) + &draw.of(HEX, 3);
    match draw.range(0, 5) {
        0 => format!("192.168.{}.{}", draw.range(0, 255), draw.range(1, 254)),
        1 => format!("172.{}.{}.{}", draw.range(16, 31), draw.range(0, 255), draw.range(1, 254)),
        2 => format!("203.0.113.{}", draw.range(1, 254)),
        3 => format!("fd{}:{}::{}", draw.of(HEX, 2), group(draw), group(draw)),
        4 => format!("2001:0db8:{}", (0..6).map(|_| group(draw)).collect::<Vec<_>>().join(":")),
        _ => format!("2a01:{}:{}:{}::{}", group(draw), group(draw), group(draw), draw.range(1, 9)),
    }
}

fn mac(draw: &mut Draw) -> String {
    let hex = draw.of(HEX, 1) + &draw.of("02468ace", 1) + &draw.of(HEX, 10);
    let hex = if draw.range(0, 1) == 0 { hex.to_uppercase() } else { hex };
    draw.written(&["##:##:##:##:##:##", "##-##-##-##-##-##", "####.####.####"], &hex)
}

fn url(draw: &mut Draw) -> String {
    let user = draw.pick(&["jenkins", "ro_user", "a.b", "guest", "team%2Fone"]);
    let password = draw.pick(&["Winter2031", "x!y$z9", "p%3Aq%2Fr", "letmein", "tr0ub4dor&3"]);
    let (scheme, host) = match draw.range(0, 7) {
        0 => ("mongodb", "mongo-0.example.net:27017/shop?authSource=admin&retryWrites=true"),
        1 => ("amqps", "broker.example.com/vhost%2F1"),
        2 => ("https", "git.example.org/team/repo.git"),
        3 => ("clickhouse", "[2001:db8::7]:9440/default"),
        4 => ("ldap", "ldap.example.com:389/dc=example,dc=com"),
        5 => ("nats", "10.1.2.3:4222"),
        6 => ("https", "dav.example.com/~anna/notes(2031).txt#top"),
        _ => ("mqtt", "iot.example.io:1883/"),
    };
    format!("{scheme}://{user}:{password}@{host}")
}

fn birthday(draw: &mut Draw) -> String {
    let (day, month, year) = (draw.range(1, 28), draw.range(1, 12), draw.range(1934, 2012));
    let at = |names: &str| names.split(' ').nth(month as usize - 1).unwrap_or_default().to_owned();
    match draw.range(0, 7) {
        0 => format!(
            "{day} de {} de {year}",
            at("enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre")
        ),
        1 => format!(
            "{day} {} {year}",
            at("januari februari maart april mei juni juli augustus september oktober november december")
        ),
        2 => format!(
            "{day} {} {year}",
            at(
                "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre"
            )
        ),
        3 => format!(
            "{day} {} {year}",
            at(
                "stycznia lutego marca kwietnia maja czerwca lipca sierpnia września października listopada grudnia"
            )
        ),
        4 => format!("{}. {day}, {year}", at("Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec")),
        5 => format!("{year}.{month:02}.{day:02}"),
        6 => format!("{day:02} {} {year}", at("JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC")),
        _ => format!("{day:02}/{month:02}/{:02}", year % 100),
    }
}

fn passport(draw: &mut Draw) -> String {
    match draw.range(0, 4) {
        // Korea, Australia, Brazil, Turkey, the Netherlands.
        0 => "M".to_owned() + &draw.digits(8),
        1 => draw.of("PRN", 1) + &draw.of("ABDEF", 1) + &draw.digits(7),
        2 => draw.of(UPPER, 2) + &draw.digits(6),
        3 => "U".to_owned() + &draw.digits(8),
        _ => {
            draw.of("BNP", 1)
                + &draw.of("ABCDEFGHJKLMNPRSTUVWXYZ", 1)
                + &draw.of("123456789", 6)
                + &draw.digits(1)
        }
    }
}

fn licence(draw: &mut Draw) -> String {
    match draw.range(0, 4) {
        // Ontario, Illinois, Poland, Italy, New South Wales.
        0 => {
            let digits = draw.digits(14);
            draw.of(UPPER, 1) + &draw.written(&["####-#####-#####"], &digits)
        }
        1 => {
            let digits = draw.digits(11);
            draw.of(UPPER, 1) + &draw.written(&["###-####-####", "###########"], &digits)
        }
        2 => format!("{}/{:02}/{}", draw.of("123456789", 5), draw.range(0, 24), draw.of("123456789", 4)),
        3 => "U1".to_owned() + &draw.digits(7) + &draw.of(UPPER, 1),
        _ => draw.of("123456789", 1) + &draw.digits(7),
    }
}

/// Services that the other draws do not have, by the prefixes that they publish.
fn key(draw: &mut Draw) -> String {
    match draw.range(0, 11) {
        0 => "hvs.".to_owned() + &draw.of(MIXED, 90),
        1 => "dckr_pat_".to_owned() + &draw.of(MIXED, 27),
        2 => "lin_api_".to_owned() + &draw.of(MIXED, 40),
        3 => "gsk_".to_owned() + &draw.of(MIXED, 52),
        4 => "r8_".to_owned() + &draw.of(MIXED, 37),
        5 => "rubygems_".to_owned() + &draw.of(HEX, 48),
        6 => format!("glsa_{}_{}", draw.of(MIXED, 32), draw.of(HEX, 8)),
        7 => "NRAK-".to_owned() + &draw.of("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", 27),
        8 => "dapi".to_owned() + &draw.of(HEX, 32),
        9 => format!("PMAK-{}-{}", draw.of(HEX, 24), draw.of(HEX, 34)),
        10 => "sbp_".to_owned() + &draw.of(HEX, 40),
        _ => "whsec_".to_owned() + &draw.of(MIXED, 32),
    }
}
