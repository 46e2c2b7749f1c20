//! What is found and what is not; that streams find the same wherever they are cut; that time is linear.

use proptest::prelude::*;

use super::*;
use crate::pii::Pattern;

fn scanner() -> Arc<Scanner> {
    Arc::new(Scanner::new(&ScanConfig::default()).unwrap())
}

/// Texts with everything in them: what runs on, what overlaps, characters of every width.
const TEXTS: [&str; 14] = [
    "My name is Anna Kowalska, écrivez à zoë.müller@bücher.example ou +33 6 12 34 56 78. Card 4111 1111 1111 1111!",
    "key -----BEGIN RSA PRIVATE KEY-----\nMIIBOgIBAAJBAKj34GkxFhD90vcNLYLInFEX6Ppy1tPf9Cnzj4p4WGeKLs1Pt8Qu\n\
     -----END RSA PRIVATE KEY-----\nSSN: 219-09-9999 主 IBAN DE89 3704 0044 0532 0130 00.",
    "Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyLCJ\
     hIjoiYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5ejAxMjM0NTY3ODlhYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5ejAxMjM0NTY3ODkifQ.SflKxwRJSMeKKF2QT4 end",
    "111222333 is the BSN; (212) 555-0123 (212) 555-0123 12 rue de la Paix, 75002 Paris. Né le 5 mars 1980 à Lyon",
    "postgres://bob:s3cr3t@db.example.com:5432/x fe80::1ff:fe23:4567:890a 00:1B:44:11:3A:B7 password = \"hunter2xyz99\"",
    "4111 1111 1111 1111 4111 1111 1111 1111 4111 1111 1111 1111 943 476 5919 943 476 5919 patient 🙂🙂 12345678Z",
    "-----BEGIN PRIVATE KEY-----\nMIIB unfinished \u{1F512} and -----END of it -----END PRIVATE KEY----- a.b@c.de",
    "Dr. Müller wohnt in der Hauptstraße 5, 10115 Berlin; geboren am 3. März 1971, Steuer-ID 86 095 742 719. Acme GmbH",
    r#"{"text":"Card:\n4111111111111111,\u00204012888888881881","password":"S3cure!Pass,w0rd", "x":"x\nanna@mail.example"} redis://:s3cret@cache:6379/1"#,
    "제 주민번호는900101-1234568입니다 我的卡号是4111111111111111 메일은anna@mail.example입니다 ssn _219-09-9999_ and_ __4111111111111111__ Anna,4111111111111111,42 123 456 782,50",
    "> -----BEGIN PRIVATE KEY-----\n> MIIBVQIBADANBgkqhkiG9w0BAQEFAASCAT8wggE7AgEAAkEAq7BFUpkGp3\n> -----END PRIVATE KEY----- DB_PASSWORD=X9!kQ2@zLm;user=anna (212-555-0123)",
    EXPORTED_KEY,
    BOXED_KEY,
    UNENDED_KEY,
];

/// As a mail program exports it: headers with signs that no key has.
const EXPORTED_KEY: &str = "-----BEGIN PGP PRIVATE KEY BLOCK-----\nComment: User-ID: Zoë! <zoe@buecher.example>\n\n\
    lFgEZh3k2RYJKwYBBAHaRw8BAQdAq7BFUpkGp3LQmlQYx2eqzDVxeG8kxsQFV18S\n=aB3d\n-----END PGP PRIVATE KEY BLOCK-----\nWrite to a@b.example!";
/// As a terminal shows it.
const BOXED_KEY: &str = "-----BEGIN PRIVATE KEY-----\n│ MIIBVQIBADANBgkqhkiG9w0BAQEFAASCAT8wggE7AgEAAkEAq7BFUpkG │\n\
    │ p3LQmlQYx2eqzDVxeG8kxsQFV18S5JuMIIBVQIBADANBgkqhkiG9w0BA │\n│ Qmx1ZQ== │\n│ -----END PRIVATE KEY----- │ done";
/// Without an end, in text that goes on.
const UNENDED_KEY: &str = "-----BEGIN PRIVATE KEY-----\n│ MIIBVQIBADANBgkqhkiG9w0BAQEFAASCAT8wggE7AgEAAkEAq7BFUpkG │\n\
    │ that was it! Write to /usr/local/share/documents/of/base64DecodeToBytes, or to a@b.example; is that not enough? It is, and \
    so the rest of this is about nothing in particular: it only has to be longer than what may stand between two lines of a key.";

/// What a stream finds, when it is fed these pieces.
fn streamed(scanner: &Arc<Scanner>, pieces: &[&str]) -> (Vec<Finding>, String) {
    let (mut findings, mut clear) = (Vec::new(), String::new());
    let mut stream = scanner.stream();
    let mut given = 0;
    let mut give = |segment: Segment<'_>| match segment {
        Segment::Clear { at, text } => {
            assert_eq!(at, given, "segments follow each other");
            given += text.len();
            clear.push_str(text);
        }
        Segment::Found { finding, value } => {
            assert_eq!(finding.range.start, given);
            assert!(value.len() <= MAX_LENGTH);
            given = finding.range.end;
            clear.push('\u{0}');
            findings.push(finding);
        }
    };
    for piece in pieces {
        stream.push(piece, &mut give);
        assert!(stream.held() <= MAX_HELD, "{} bytes are held back", stream.held());
    }
    stream.finish(&mut give);
    (findings, clear)
}

fn whole(scanner: &Scanner, text: &str) -> (Vec<Finding>, String) {
    let findings = scanner.scan(text);
    let (mut clear, mut at) = (String::new(), 0);
    for finding in &findings {
        clear.push_str(&text[at..finding.range.start]);
        clear.push('\u{0}');
        at = finding.range.end;
    }
    clear.push_str(&text[at..]);
    (findings, clear)
}

#[test]
fn a_stream_finds_the_same_wherever_it_is_cut_once() {
    let scanner = scanner();
    for text in TEXTS {
        let wanted = whole(&scanner, text);
        assert!(!wanted.0.is_empty());
        for cut in (0..=text.len()).filter(|cut| text.is_char_boundary(*cut)) {
            let (before, after) = text.split_at(cut);
            assert_eq!(streamed(&scanner, &[before, after]), wanted, "cut at {cut}: {text}");
        }
        // And character by character, which is every cut at once.
        let characters: Vec<&str> = text.split("").collect();
        assert_eq!(streamed(&scanner, &characters), wanted, "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Any of the texts' words in any order, with any cuts.
    #[test]
    fn a_stream_finds_the_same_of_any_text_with_any_cuts(
        picks in prop::collection::vec((0..TEXTS.len(), 0..40usize), 1..60),
        glue in prop::sample::select(vec![" ", "", "\n", ", ", "é", "-"]),
        cuts in prop::collection::vec(0..2000usize, 0..40),
    ) {
        let scanner = &*SHARED;
        let words = picks.iter().map(|(text, word)| {
            let words: Vec<&str> = TEXTS[*text].split(' ').collect();
            words[word % words.len()]
        });
        let text = words.collect::<Vec<_>>().join(glue);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % (text.len() + 1)).collect();
        cuts.retain(|cut| text.is_char_boundary(*cut));
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&str> = cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
        prop_assert_eq!(streamed(scanner, &pieces), whole(scanner, &text));
    }
}

static SHARED: std::sync::LazyLock<Arc<Scanner>> = std::sync::LazyLock::new(scanner);

#[test]
fn a_private_key_is_found_to_its_end_whatever_stands_between_its_lines() {
    let scanner = scanner();
    let long = format!(
        "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n{}-----END PGP PRIVATE KEY BLOCK-----\nso much for it, a@b.example",
        "lFgEZh3k2RYJKwYBBAHaRw8BAQdAq7BFUpkGp3LQmlQYx2eqzDVxeG8kxsQFV18S\n".repeat(1000)
    );
    // Its lines go on being taken in where there is no end to see, and nothing else does.
    let endless = long.replace("-----END PGP PRIVATE KEY BLOCK-----", "(cut)");
    for (text, rest) in [
        (EXPORTED_KEY, "\nWrite to \0!"),
        (BOXED_KEY, " │ done"),
        (long.as_str(), "\nso much for it, \0"),
        (endless.as_str(), "\n(cut)\nso much for it, \0"),
    ] {
        let (findings, clear) = whole(&scanner, text);
        assert_eq!(scanner.name(findings[0].entity), "PRIVATE_KEY");
        assert_eq!(clear, format!("\0{rest}"));
    }
    let (_, clear) = whole(&scanner, UNENDED_KEY);
    assert!(clear.contains("that was it! Write to /usr/local/share") && !clear.contains("MIIB"), "{clear}");
    // Programs and prose that only speak of keys have none that goes on.
    for text in [
        "if (text.startsWith(\"-----BEGIN PRIVATE KEY-----\")) { return base64DecodeToBytesAndCheckThem(text); }",
        "It begins with -----BEGIN PRIVATE KEY-----! See /etc/ssl/private/server/keys/of/this/host.pem for one.",
    ] {
        let (_, clear) = whole(&scanner, text);
        assert!(clear.len() > text.len() / 2, "{clear}");
    }
}

#[test]
fn prose_is_held_back_by_no_more_than_a_word() {
    let scanner = scanner();
    let mut stream = scanner.stream();
    for word in "the weather is nice and nothing of this is about anybody, so it flows; is that not good? "
        .split_inclusive(' ')
    {
        stream.push(word, &mut |_| {});
        assert_eq!(stream.held(), 0, "after {word:?}");
    }
    stream.push("unfinish", &mut |_| {});
    assert_eq!(stream.held(), "unfinish".len());
}

#[test]
fn an_address_is_found_before_a_files_ending_and_groups_of_cards_and_dates_as_people_write_them() {
    let scanner = scanner();
    for (text, name, wanted) in [
        ("see https://a.example/zoe@buecher.example.png there", "EMAIL", "zoe@buecher.example"),
        ("card 4111 - 1111 - 1111 - 1111 please", "CREDIT_CARD", "4111 - 1111 - 1111 - 1111"),
        ("card 4111/1111/1111/1111 please", "CREDIT_CARD", "4111/1111/1111/1111"),
        ("card 4111111111111111/1226 please", "CREDIT_CARD", "4111111111111111"),
        ("card 4111 1111 1111 1111 - 2026 please", "CREDIT_CARD", "4111 1111 1111 1111"),
        ("born on 03 10 1988 in Bonn", "DATE_OF_BIRTH", "03 10 1988"),
        ("born on 1988 10 03 in Bonn", "DATE_OF_BIRTH", "1988 10 03"),
    ] {
        let found = scanner.scan(text);
        let shown: Vec<_> = found.iter().map(|f| (scanner.name(f.entity), &text[f.range.clone()])).collect();
        assert!(shown.contains(&(name, wanted)), "{text}: {shown:?}");
    }
}

#[test]
fn the_head_of_a_table_names_its_cells_far_below() {
    let scanner = scanner();
    let rows = "Anna,7,Bonn\n".repeat(40);
    let text = format!("name,dutch_citizen_no,town\n{rows}Bob,111222333,Ulm\n111222333,8,Ulm\n");
    let at = text.find("111222333").unwrap();
    let found: Vec<_> =
        scanner.scan(&text).into_iter().map(|f| (scanner.name(f.entity).to_owned(), f.range)).collect();
    assert_eq!(found, [("NL_BSN".to_owned(), at..at + 9)]);
}

#[test]
fn numbers_are_found_in_other_groups_and_by_names_of_columns() {
    let scanner = scanner();
    for (text, name, wanted) in [
        ("rijksregisternr. 85.07.30-033-28", "BE_NRN", "85.07.30-033-28"),
        ("CNPJ 12.ABC.345/01DE-35 ativo", "BR_CNPJ", "12.ABC.345/01DE-35"),
        ("cnpj: 12ABC34501DE35", "BR_CNPJ", "12ABC34501DE35"),
        ("NIE X-1234567L", "ES_NIE", "X-1234567L"),
        ("assuré 2 55 08 14 168 025-38", "FR_NIR", "2 55 08 14 168 025-38"),
        ("SV-Nummer 15 070649 C 10 3", "DE_SOCIAL_SECURITY", "15 070649 C 10 3"),
        ("Personalausweis T22000129", "DE_ID_CARD", "T22000129"),
        ("MBI 1EG4 TE5 MK73", "US_MBI", "1EG4 TE5 MK73"),
        ("NIP PL1060000062", "PL_NIP", "PL1060000062"),
        ("P. IVA IT 00743110157", "IT_VAT", "IT 00743110157"),
        ("tax_file_number=123456782", "AU_TFN", "123456782"),
        ("medicare_number,2123456701", "AU_MEDICARE", "2123456701"),
        ("생년월일 1980. 3. 5.", "DATE_OF_BIRTH", "1980. 3. 5."),
        ("write to _anna@example.com today", "EMAIL", "_anna@example.com"),
        ("mobile (+30) 6912 345678 please", "PHONE", "(+30) 6912 345678"),
        ("1. call +39 06 698 12345. 6 of them came", "PHONE", "+39 06 698 12345"),
        ("24338170731 nel campo part. IVA", "IT_VAT", "24338170731"),
        ("<th>API-nyckel</th><td>9ezkR79a2hiUnbGq4XpQ71sT</td>", "API_KEY", "9ezkR79a2hiUnbGq4XpQ71sT"),
        ("write to _anna@example.com_ today", "EMAIL", "anna@example.com"),
    ] {
        let found = scanner.scan(text);
        let shown: Vec<_> = found.iter().map(|f| (scanner.name(f.entity), &text[f.range.clone()])).collect();
        assert_eq!(shown, [(name, wanted)], "{text}");
    }
}

#[test]
fn what_looks_like_personal_data_and_is_none_is_left_alone() {
    let scanner = scanner();
    for text in [
        "It began at 2031-03-12T10:33:12.123456Z and ended at 1712345678 or 1712345678901, at 12:30:45.",
        "Order 123456782, order no. 4929-1234-5678, tracking number 1Z999AA10123456784, ticket 111222333.",
        "Garrison 1.2.3, firmware version 10.4.11.2, Chrome/120.0.6099.109, v2.0.0-rc.1 and 3.11.4.",
        "id 123e4567-e89b-12d3-a456-426614174000, commit 9fceb02d0ae598e95dc970b74767f19372d61af8",
        "sha256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 of s3://bucket/2031/03/12/part-00001.gz",
        "arn:aws:s3:::my-bucket/logs/123456789012/us-east-1/2031/03/12, eks-cluster-4111, i-0abcd1234ef567890",
        "let x = vec![0x1F, 0xFF]; for i in 0..100000000 { a[i] += 1.0e-10; } std::vec::Vec::new() // 80 columns",
        "The price is $1,234,567.89 or 999.99 EUR, 1 234 567,89 in all; 3.14159265358979 is pi, 2^31 is 2147483648.",
        "iPhone 15 Pro Max, Galaxy S24 Ultra, RTX 4090, Windows 11, Boeing 737-800, Will Smith-Corona, Rose Garden",
        "March 2031 was cold. On 12.03.2031 we met. Virginia and Paris are places; Jordan is a river.",
        "Read pages 100-200 of ISBN 978-3-16-148410-0, section 4.2.1.3, figure 12-34, RFC 7519, ISO 13616.",
        "git@github.com:owner/repo.git icon@2x.png icon@2x.min.js user@1000.service @scope/package@1.2.3 127.0.0.1:8080 0.0.0.0",
        "password: ${DB_PASSWORD}, token = process.env.TOKEN, api_key=YOUR_API_KEY, https://user:$PASS@example.com",
        "Lot 0123456789, batch 20310312, SKU 12345678901, part number AB12-34567-C, EAN 4006381333931.",
        "I think I will ask the team on Monday. Dear all, please read this. Best regards from us.",
        "Danish CPR. Patient History. Mount Rushmore. Monroe Doctrine. Dear Hiring Committee. Brazilian Company Register.",
    ] {
        let found = scanner.scan(text);
        let shown: Vec<_> = found.iter().map(|f| (scanner.name(f.entity), &text[f.range.clone()])).collect();
        assert!(shown.is_empty(), "{shown:?} in {text}");
    }
}

#[test]
fn the_owner_adds_entities_and_allows_texts() {
    let config = ScanConfig {
        entities: vec![Entity::EMAIL],
        allowed: vec!["press@acme.example".into()],
        customs: vec![
            Custom {
                name: "PROJECT".into(),
                pattern: Pattern::Regex("PRJ-[0-9]{4,6}".into()),
                context: vec![],
            },
            Custom {
                name: "CODENAME".into(),
                pattern: Pattern::Words(vec!["blue heron".into(), "c++".into()]),
                context: vec!["project".into()],
            },
        ],
        ..ScanConfig::default()
    };
    let scanner = Scanner::new(&config).unwrap();
    let text = "press@acme.example, a@acme.example, PRJ-12345, project Blue Heron, \
        project c++; SSN 219-09-9999. Far away from all of this, in the reeds of a lake that nobody has ever heard of, \
        on a day without any wind at all, a blue heron flew.";
    let shown: Vec<_> = scanner
        .scan(text)
        .iter()
        .map(|f| (scanner.name(f.entity).to_owned(), &text[f.range.clone()]))
        .collect();
    let wanted = [
        ("EMAIL", "a@acme.example"),
        ("PROJECT", "PRJ-12345"),
        ("CODENAME", "Blue Heron"),
        ("CODENAME", "c++"),
    ];
    assert_eq!(shown, wanted.map(|(name, text)| (name.to_owned(), text)));
    for bad in ["(", "(?P<n>a)\\1", "[0-9]{1000000}"] {
        let customs = vec![Custom { name: "X".into(), pattern: Pattern::Regex(bad.into()), context: vec![] }];
        let error = Scanner::new(&ScanConfig { customs, ..ScanConfig::default() }).unwrap_err().to_string();
        assert!(error.starts_with("entity X: its regex cannot be used"), "{error}");
    }
}

#[test]
fn an_entity_of_the_owner_s_is_found_whatever_its_length() {
    let custom = |name: &str, expression: &str| Custom {
        name: name.into(),
        pattern: Pattern::Regex(expression.into()),
        context: vec![],
    };
    let customs = vec![custom("TICKET", "ACME-[A-Za-z0-9]+"), custom("WORDS", "§(éab )+")];
    let scanner = Arc::new(Scanner::new(&ScanConfig { customs, ..ScanConfig::default() }).unwrap());
    for length in [1, 250, 251, 252, 255, 256, 257, 300, 5000] {
        let letters = "xy7".repeat(length / 3 + 1)[..length].to_owned();
        // What ends with no match gives back what it has taken.
        let words = format!("§{}", "éab ".repeat(length / 5 + 1));
        let text = format!("see ACME-{letters}, {words}éa and a@b.example");
        let wanted = whole(&scanner, &text);
        let shown: Vec<_> =
            wanted.0.iter().map(|f| (scanner.name(f.entity), &text[f.range.clone()])).collect();
        let ticket = format!("ACME-{letters}");
        assert_eq!(shown, [("TICKET", &*ticket), ("WORDS", &*words), ("EMAIL", "a@b.example")]);
        for cut in (0..=text.len()).filter(|cut| text.is_char_boundary(*cut)).step_by(1 + length / 300) {
            assert_eq!(streamed(&scanner, &[&text[..cut], &text[cut..]]), wanted, "cut at {cut}");
        }
        assert_eq!(streamed(&scanner, &text.split("").collect::<Vec<_>>()), wanted);
    }
    let customs = vec![custom("KEY", "K[0-9]{256}")];
    let error = Scanner::new(&ScanConfig { customs, ..ScanConfig::default() }).unwrap_err().to_string();
    assert!(error.contains("KEY") && error.contains("256 bytes"), "{error}");
}

/// Texts made to be slow: candidates everywhere, prefixes of things that never end, words of context.
#[test]
fn hostile_texts_take_linear_time() {
    let scanner = scanner();
    let hostile = [
        "1 ",
        "a@",
        "(1",
        "1-",
        "A ",
        "Aa ",
        "AAAAA",
        "+1 ",
        "::",
        "a:b@",
        "-----BEGIN ",
        "phone 1234567 ",
        "1.1.",
        "é1",
        "https://a:",
        "eyJ",
        "sk-",
        "DE89 ",
        "SSN 1",
        "0x",
        "aaaaaaaaaaaaaaaaaaaaaaaa ",
        "1/1/1",
        "Dr. A",
        "password=a1",
        "password=a1!,",
        "password \"a1\\",
        "\\n1",
        "\\u00201",
        "_1",
        "1_",
        "가1",
        "1가",
        "a가@",
        "1,1",
        "-----BEGIN PRIVATE KEY-----!",
        "-----BEGIN PRIVATE KEY-----│Aa1",
        "-----BEGIN PRIVATE KEY-----!MIIBVQIBADANBgkqhkiG9w0BAQEFAASCAT8!",
    ];
    for seed in hostile {
        let work = |bytes: usize| {
            let text = seed.repeat(bytes / seed.len());
            let before = super::window::READS.get();
            std::hint::black_box(scanner.scan(&text));
            super::window::READS.get() - before
        };
        let (small, large) = (work(1 << 14), work(1 << 17));
        assert!(large <= small * 8 * 11 / 10, "{seed:?}: {small} reads for 16 kB, {large} for 128 kB");
        assert!(large < 2000 << 17, "{seed:?}: {} reads a byte", large >> 17);
    }
}
