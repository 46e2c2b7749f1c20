//! The eighth draw's values. Written after the recognizers were mended by what the seventh draw showed and before any of it was
//! judged, by somebody who knew them; keys by lot again, as in [`seventh`](super::seventh) (seed 28284271, without what the
//! seventh had). What is not here is as there, in other frames and with another seed.

use super::draw::{Draw, HEX, LOWER, MIXED, UPPER};
use super::seventh::SEVENTH;
use super::values::{Values, luhn};

pub(crate) const EIGHTH: Values = Values { card, email, phone, url, birthday, key, ..SEVENTH };

/// Visa, Mastercard, American Express, JCB and Discover; with a comma-free row of fours, dashes, and none.
fn card(draw: &mut Draw) -> String {
    let (prefix, length) = match draw.range(0, 4) {
        0 => ("4".to_owned() + &draw.digits(4), 16),
        1 => (draw.range(2500, 2720).to_string(), 16),
        2 => (draw.pick(&["34", "37"]).to_owned(), 15),
        3 => (draw.range(3528, 3589).to_string(), 16),
        _ => (draw.range(644, 649).to_string(), 16),
    };
    let number = luhn(&(prefix.clone() + &draw.digits(length - 1 - prefix.len())));
    match length {
        15 => draw.written(&["###############", "####\u{2009}######\u{2009}#####"], &number),
        _ => draw.written(
            &["################", "#### #### #### ####", "####–####–####–####", "####.####.####.####"],
            &number,
        ),
    }
}

fn email(draw: &mut Draw) -> String {
    let user = draw.pick(&[
        "anmeldung",
        "j_doe-2",
        "maria.del.mar",
        "K.Ö",
        "dev+ci+nightly",
        "o.brien",
        "kitchen.42",
        "ÅSA",
        "a1.b2.c3",
        "x",
    ]);
    let host = draw.pick(&[
        "schule.example.at",
        "mail.example.com.tr",
        "example.photos",
        "xn--80ak6aa92e.example",
        "my.example.university",
        "EXAMPLE.ORG",
        "пример.example",
        "node-7.example.cloud",
    ]);
    format!("{user}{}@{host}", if draw.range(0, 3) == 0 { draw.digits(2) } else { String::new() })
}

/// Mobile networks and cities by the plans of their countries, in spellings that the seven draws before do not have.
fn phone(draw: &mut Draw) -> String {
    let form = draw.pick(&[
        "+43 (0) 676 123 45 ##",
        "+41 78 765 43 ##",
        "+49 (0) 30 / 9018 ####",
        "+33 7 81 23 4# ##",
        "+34 91 123 45 ##",
        "+39 (02) 1234 ####",
        "+31 6 8765 43 ##",
        "+32 2 123 45 ##",
        "+44 (20) 7946-0###",
        "+353 1 987 65##",
        "+46 8 123 456 ##",
        "+47 22 12 34 ##",
        "+358 9 1234 5##",
        "+45 33 12 34 ##",
        "+48 22 123 4# ##",
        "+420 222 123 ###",
        "+36 1 234 56##",
        "+30 21 1234 56##",
        "+351 21 123 4###",
        "+1 (303) 555 01##",
        "1-800-555-01##",
        "(415) 555 01##",
        "+1.213.555.01##",
        "+52 (55) 8765 43##",
        "+55 11 3123-45##",
        "+54 11 4321-56##",
        "+61 2 9876 54##",
        "+64 9 123 45##",
        "+65 6123 45##",
        "+81 3-1234-56##",
        "+82 2-312-34##",
        "+91 22 2345 67##",
        "+971 4 123 45##",
        "+972 3-123-45##",
        "+27 11 123 45##",
        "020 7946 0###",
        "030 / 9018 ####",
        "01 42 68 12 ##",
        "0664 123 45 ##",
    ]);
    form.chars().map(|c| if c == '#' { char::from(b'0' + draw.range(0, 9) as u8) } else { c }).collect()
}

fn url(draw: &mut Draw) -> String {
    let user = draw.pick(&["reader", "", "Backup_01", "anna.k%2Bci", "root"]);
    let password =
        draw.pick(&["correct-horse-9", "Zx%5B9%5D!", "s:e:c:r:e:t", "1q2w3e4r", "p#ss/w?rd1", "élan2031"]);
    let (scheme, host) = match draw.range(0, 8) {
        0 => ("postgres", "%2Fvar%2Frun%2Fpostgresql/app"),
        1 => ("mongodb+srv", "cluster0.example.mongodb.example/?retryWrites=true&w=majority"),
        2 => ("amqp", "[fd00::15]:5672/%2F"),
        3 => ("influxdb", "tsdb.example.com:8086/metrics"),
        4 => ("ws", "10.0.0.8:8080/stream"),
        5 => ("webdavs", "dav.example.org/remote.php/dav/files/anna/"),
        6 => ("elasticsearch", "es-1.example.net:9200"),
        7 => ("oracle", "db.example.com:1521/ORCLPDB1"),
        _ => ("svn+ssh", "svn.example.dev/repos/tool/trunk"),
    };
    format!("{scheme}://{user}:{password}@{host}")
}

fn birthday(draw: &mut Draw) -> String {
    let (day, month, year) = (draw.range(1, 28), draw.range(1, 12), draw.range(1927, 2015));
    let at = |names: &str| names.split(' ').nth(month as usize - 1).unwrap_or_default().to_owned();
    match draw.range(0, 6) {
        0 => format!("{day:02}/{month:02}/{year}"),
        1 => format!("{year}{month:02}{day:02}"),
        2 => format!("{day}.{month}.{year}"),
        3 => format!(
            "{} {day}, {year}",
            at("January February March April May June July August September October November December")
        ),
        4 => format!(
            "{day} {} {year}",
            at("janvier février mars avril mai juin juillet août septembre octobre novembre décembre")
        ),
        5 => format!(
            "{day}. {} {year}",
            at("Januar Februar März April Mai Juni Juli August September Oktober November Dezember")
        ),
        _ => format!("{year}-{month:02}-{day:02}"),
    }
}

/// What the lot gave, without a password that is any text in an element of a file.
fn key(draw: &mut Draw) -> String {
    match draw.range(0, 14) {
        0 => {
            let kind = draw.pick(&["pat", "sat"]);
            format!("{kind}.{}.{}.{}", draw.of(MIXED, 22), draw.of(MIXED, 24), draw.of(MIXED, 20))
        }
        1 => "tk-us-".to_owned() + &draw.of(MIXED, 48),
        2 => {
            let capitals = UPPER.to_owned() + "0123456789";
            format!("dt0c01.{}.{}", draw.of(&capitals, 24), draw.of(&capitals, 64))
        }
        3 => format!("s-s4t2{}-{}", draw.pick(&["ud", "af"]), draw.of(HEX, 64)),
        4 => format!("FLWPUBK_TEST-{}-X", draw.of("abcdefgh0123456789", 32)),
        5 => "sm_aat_".to_owned() + &draw.of(MIXED, 16),
        6 => "fo1_".to_owned() + &draw.of(MIXED, 43),
        7 => format!("FLWSECK_TEST-{}-X", draw.of("abcdefgh0123456789", 32)),
        8 => "4b1d".to_owned() + &draw.of(MIXED, 38),
        9 => "p8e-".to_owned() + &draw.of(LOWER, 32),
        10 => "pnu_".to_owned() + &draw.of(MIXED, 36),
        11 | 14 => draw.of(LOWER, 32),
        12 => draw.of(HEX, 32),
        _ => [8, 4, 4, 4, 12].map(|length| draw.of(HEX, length)).join("-"),
    }
}
