//! Where a value begins and ends in what programs and people write: rows of values, JSON, logs, markup, code,
//! and scripts that write words and particles without blanks. And what looks like a value there and is none.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may

use std::sync::LazyLock;

use garrison_guard::{Custom, Pattern, ScanConfig, Scanner};

static SCANNER: LazyLock<Scanner> = LazyLock::new(|| Scanner::new(&ScanConfig::default()).unwrap());

fn found(scanner: &Scanner, text: &str) -> Vec<(String, String)> {
    let findings = scanner.scan(text);
    findings.iter().map(|f| (scanner.name(f.entity).to_owned(), text[f.range.clone()].to_owned())).collect()
}

/// What is wrong if `value` is not found as exactly that.
fn missed(text: &str, name: &str, value: &str) -> Option<String> {
    let found = found(&SCANNER, text);
    let hit = found.iter().any(|(n, v)| n == name && v == value);
    (!hit).then(|| format!("{name} {value:?} in {text:?}: {found:?}"))
}

fn assert_none(missed: impl Iterator<Item = String>) {
    let missed: Vec<String> = missed.collect();
    assert!(missed.is_empty(), "{} missed:\n{}", missed.len(), missed.join("\n"));
}

/// Values with a word that says what they are.
const VALUES: [(&str, &str, &str); 13] = [
    ("CREDIT_CARD", "card", "4111111111111111"),
    ("CREDIT_CARD", "card", "4012 8888 8888 1881"),
    ("IBAN", "iban", "DE89370400440532013000"),
    ("US_SSN", "ssn", "219-09-9999"),
    ("KR_RRN", "rrn", "900101-1234568"),
    ("DE_TAX_ID", "steuer-id", "86095742719"),
    ("ES_DNI", "dni", "12345678Z"),
    ("EMAIL", "email", "anna@mail.example"),
    ("PHONE", "phone", "+49 30 901820"),
    ("PHONE", "phone", "212-555-0123"),
    ("IP_ADDRESS", "ip", "203.0.113.77"),
    ("MAC_ADDRESS", "mac", "00:1B:44:11:3A:B7"),
    ("API_KEY", "token", "ghp_aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY3zA5"),
];

/// `L` is the word, `V` the value.
const FRAMES: [&str; 54] = [
    // Rows of values.
    "name,L,year\nAnna,V,2027\n",
    "name,L,age\nAnna,V,42\n",
    "L\nV,2027",
    "L,V,7,x",
    "L;V;42",
    "L\tV\t42",
    "\"L\",\"V\",\"42\"",
    "'L','V',42",
    // JSON and what is like it.
    "{\"L\":\"V\",\"n\":42}",
    "{\"L\": \"V\"}",
    "{\"L\":[\"V\",\"V\"]}",
    "{'L': 'V'}",
    "{L:\"V\"}",
    r#"{"content":"L:\nV"}"#,
    r#"{"content":"L:\n\nV\n"}"#,
    r#"{"content":"L\tV\tx"}"#,
    r#"{"content":"x\r\nL: V\r\nx"}"#,
    r#"{"content":"\nL V"}"#,
    r#"{"content":"L:\u0020V\u0020x"}"#,
    r#"{"content":"L:\u00a0V\u00a0x"}"#,
    r#"{"content":"L \u003cV\u003e"}"#,
    r#"{"log":"{\"L\":\"V\"}"}"#,
    r#"{"log":"{\\n\"L\":\\n\"V\"}"}"#,
    "L: V\nother: 42",
    "- L: V",
    "L = \"V\"",
    // Markup.
    "<L>V</L>",
    "<x L=\"V\"/>",
    "<td>L</td><td>V</td><td>42</td>",
    "L&nbsp;V<br>",
    "<!-- L:V -->",
    "| L | V | 42 |",
    "|L|V|42|",
    "**L**: **V**",
    "L: _V_",
    "L: __V__",
    "L: `V`",
    "> L: V",
    "[L](V)",
    // Logs and queries.
    "level=info L=V n=42",
    "L=V,n=42",
    "L=V;n=42",
    "GET /x?L=V&n=42",
    "[L:V]",
    "(L V)",
    "L->V",
    "L: V.",
    "L: V, and so on",
    "L “V”",
    // Scripts without cases, and particles.
    "L는 V입니다",
    "Lは「V」です",
    "我的L是V。",
    "我的L是V的",
    "Lคือ V ครับ",
];

#[test]
fn a_value_is_found_in_whatever_it_stands() {
    assert_none(FRAMES.iter().flat_map(|frame| {
        VALUES.iter().filter_map(|(name, label, value)| {
            let mut text = String::new();
            for c in frame.chars() {
                match c {
                    'L' => text.push_str(label),
                    'V' => text.push_str(value),
                    c => text.push(c),
                }
            }
            missed(&text, name, value)
        })
    }));
}

#[test]
fn what_stands_right_behind_or_before_a_number_does_not_hide_it() {
    assert_none(
        [
            ("Anna,4111111111111111,2027", "CREDIT_CARD", "4111111111111111"),
            ("219-09-9999,42 ssn", "US_SSN", "219-09-9999"),
            ("ssn 219-09-9999,4", "US_SSN", "219-09-9999"),
            ("[4111111111111111,4012888888881881]", "CREDIT_CARD", "4111111111111111"),
            ("[4111111111111111,4012888888881881]", "CREDIT_CARD", "4012888888881881"),
            ("4111111111111111:12:25", "CREDIT_CARD", "4111111111111111"),
            ("4111111111111111|12|25|123", "CREDIT_CARD", "4111111111111111"),
            ("4111111111111111/12/25", "CREDIT_CARD", "4111111111111111"),
            ("4111111111111111,42", "CREDIT_CARD", "4111111111111111"),
            ("제 주민번호는 900101-1234568입니다", "KR_RRN", "900101-1234568"),
            ("전화 010-1234-5678입니다", "PHONE", "010-1234-5678"),
            ("전화+82 10-1234-5678로", "PHONE", "+82 10-1234-5678"),
            ("我的卡号是4111111111111111", "CREDIT_CARD", "4111111111111111"),
            ("口座はDE89370400440532013000です", "IBAN", "DE89370400440532013000"),
            ("메일은anna@mail.example입니다", "EMAIL", "anna@mail.example"),
            ("邮箱anna@mail.example，谢谢", "EMAIL", "anna@mail.example"),
            ("อีเมลanna@mail.exampleครับ", "EMAIL", "anna@mail.example"),
            ("이름은 Anna Kowalska입니다", "PERSON", "Anna Kowalska"),
            ("DNI nº12345678Z", "ES_DNI", "12345678Z"),
            (r"CORP\ursula@mail.example", "EMAIL", "ursula@mail.example"),
            (r"Hi,\nAnna Kowalska", "PERSON", "Anna Kowalska"),
            (r"x\nanna@mail.example", "EMAIL", "anna@mail.example"),
            ("signed _Anna Kowalska_", "PERSON", "Anna Kowalska"),
            ("tel,+49 30 901820,42", "PHONE", "+49 30 901820"),
            ("?card=%204111111111111111%20", "CREDIT_CARD", "4111111111111111"),
            ("ssn%3A219-09-9999%2C", "US_SSN", "219-09-9999"),
            ("card \x1b[1;31m4111111111111111\x1b[0m", "CREDIT_CARD", "4111111111111111"),
            (r"card\x3a4111111111111111\x0a", "CREDIT_CARD", "4111111111111111"),
            (r"userSsn: 219-09-9999", "US_SSN", "219-09-9999"),
            ("INSERT INTO c VALUES (1,4111111111111111,'Anna')", "CREDIT_CARD", "4111111111111111"),
        ]
        .into_iter()
        .filter_map(|(text, name, value)| missed(text, name, value)),
    );
}

#[test]
fn passwords_in_addresses_are_found_whatever_the_path() {
    for (text, value) in [
        ("redis://default:p%40ss@redis:6379/0", "redis://default:p%40ss@redis:6379/0"),
        ("redis://:p%40ss@redis:6379/0", "redis://:p%40ss@redis:6379/0"),
        ("amqp://u:p@host/1vhost", "amqp://u:p@host/1vhost"),
        ("postgres://u:p@host/2031_reports", "postgres://u:p@host/2031_reports"),
        ("mysql://u:p@10.1.2.3:3306,10.1.2.4:3306/x", "mysql://u:p@10.1.2.3:3306,10.1.2.4:3306/x"),
        ("a,mysql://u:p@10.1.2.3:3306,10.1.2.4,x", "mysql://u:p@10.1.2.3:3306"),
        ("postgres://u:p@ss@host:5432/x", "postgres://u:p@ss@host:5432/x"),
        ("postgres://u:p/w#1?@db.host:5432/x", "postgres://u:p/w#1?@db.host:5432/x"),
        ("amqp://a.b:p#w?1@[fd00::15]:5672/%2F", "amqp://a.b:p#w?1@[fd00::15]:5672/%2F"),
        ("redis://u:{p}1@cache/1", "redis://u:{p}1@cache/1"),
        ("postgres://u:p@%2Fvar%2Frun%2Fpg/x", "postgres://u:p@%2Fvar%2Frun%2Fpg/x"),
        ("ldaps://u:p@[2001:db8::1]:636/dc=a", "ldaps://u:p@[2001:db8::1]:636/dc=a"),
        ("jdbc:postgresql://u:p@db:5432/x?ssl=true", "jdbc:postgresql://u:p@db:5432/x?ssl=true"),
        ("jdbc:sqlserver://u:p@db:1433;database=x;ssl=1", "jdbc:sqlserver://u:p@db:1433;database=x;ssl=1"),
        ("7;redis://:s3cret@cache/1;a=b", "redis://:s3cret@cache/1"),
        ("ftp://u:p@host/a;type=i;open", "ftp://u:p@host/a;type=i"),
        ("7,redis://:s3cret@cache/1,2031", "redis://:s3cret@cache/1"),
        ("https://q7Hn2LxT9bVw4ZcR8mKd@git.example/x", "https://q7Hn2LxT9bVw4ZcR8mKd@git.example/x"),
        ("https://u:%21secret1@host/", "https://u:%21secret1@host/"),
        ("https://u:$3cr3t!@host/", "https://u:$3cr3t!@host/"),
        ("DSN=\"redis://:s3cret@cache:6379/1\"", "redis://:s3cret@cache:6379/1"),
    ] {
        assert_eq!(missed(text, "URL_CREDENTIALS", value), None);
    }
    for text in [
        "https://u:$PASS@host/",
        "https://u:${PASS_2}@host/",
        "https://u:$PASS2@host/",
        "https://u:%PASS%@host/",
        "https://u:{password}@host/",
        "https://u:****@host/1",
        "https://u:xxxx@host/1",
        "http://localhost:8080/@scope/package",
        "https://registry.example:8443/@scope/package.js",
        "https://medium.example/@somebody/a-title-of-an-article",
    ] {
        assert_eq!(found(&SCANNER, text), [], "{text}");
    }
}

#[test]
fn keys_of_services_that_nobody_told_of_are_found_by_how_they_look_and_what_stands_near() {
    const MIXED: &str = "q7Hn2LxT9bVw4ZcR8mKd";
    const LONG: &str = "q7Hn2LxT9bVw4ZcR8mKdq7Hn2LxT9bVw4ZcR";
    const HEX: &str = "9f86d081884c7d659a2feaa0c55ad015";
    assert_none(
        [
            (format!("acme_{LONG}"), format!("acme_{LONG}")),
            (format!("see acme-live-{LONG}."), format!("acme-live-{LONG}")),
            (format!("the token that you sent me was {MIXED}, I think"), MIXED.to_owned()),
            (format!("Is {MIXED} still the API key?"), MIXED.to_owned()),
            (format!("Whose token is {HEX}?"), HEX.to_owned()),
            (format!("Use {MIXED}! The token before it is void."), MIXED.to_owned()),
            (
                "The API key on the badge is not 4hyifm9sjrpns5hv, sorry".to_owned(),
                "4hyifm9sjrpns5hv".to_owned(),
            ),
            (
                format!("post to https://hooks.slack.com/services/T0A1B2C3D/B0A1B2C3D/{MIXED}."),
                format!("https://hooks.slack.com/services/T0A1B2C3D/B0A1B2C3D/{MIXED}"),
            ),
            (format!("app 759416430597118|{MIXED}{MIXED}."), format!("759416430597118|{MIXED}{MIXED}")),
            (format!("the key ops_eyJ{}. And on", LONG.repeat(8)), format!("ops_eyJ{}", LONG.repeat(8))),
            (format!("As API key we use\n\n{HEX}\n"), HEX.to_owned()),
            (
                "credentials of the bot, namely 781986416:AAJPKXRBwg0oxjkbFiFD8IQyoF2YvzH0Rln.".to_owned(),
                "781986416:AAJPKXRBwg0oxjkbFiFD8IQyoF2YvzH0Rln".to_owned(),
            ),
        ]
        .iter()
        .filter_map(|(text, value)| missed(text, "API_KEY", value)),
    );
    for text in [
        format!("customer cus_{MIXED}, invoice in_{MIXED}, answer chatcmpl-{MIXED}aB3dE5fG7"),
        format!("sha512-{LONG}{LONG}== nonce-{LONG}"),
        format!("the page {MIXED} was moved"),
        format!("commit {HEX}aabbccdd has no token in it"),
        "the token for pod web-7d4b9c6f5d-x2x7z expired; token my-service-account-2031-v2".to_owned(),
        "the token of the session with the id 123e4567-e89b-12d3-a456-426614174000 is not here".to_owned(),
        format!("token docs: https://docs.example/document/d/{MIXED}{MIXED}/edit"),
        "secret_manager_service_account_credentials_file_2 re_compile_all_the_patterns_1".to_owned(),
    ] {
        assert_eq!(found(&SCANNER, &text), [], "{text}");
    }
}

#[test]
fn phones_of_areas_that_nobody_knows_count_beside_a_word_alone() {
    assert_none(
        [
            ("phone +972-50-123-4545", "+972-50-123-4545"),
            ("mobile: 0532 123 45 67", "0532 123 45 67"),
            ("tel. 0912-345-678", "0912-345-678"),
            ("Tel. 030 / 9018 2057", "030 / 9018 2057"),
            ("mobile +49 (0) 30 / 9018 4658 is", "+49 (0) 30 / 9018 4658"),
            ("call 030 9018 2057 / 030 9018 2058", "030 9018 2058"),
            ("¡(212) 646-9775 no es mi teléfono!", "(212) 646-9775"),
        ]
        .into_iter()
        .filter_map(|(text, value)| missed(text, "PHONE", value)),
    );
    for text in [
        "+972-50-123-4545 is a number",
        "0532 123 45 67",
        "call me on 02.03.2031 or 02-03-2031",
        "phone number|2031-04-02|closed",
        "call 010 times; ring 02 03 2031",
    ] {
        assert_eq!(found(&SCANNER, text), [], "{text}");
    }
}

#[test]
fn a_word_for_a_birth_is_said_of_the_date_that_is_nearest_to_it() {
    for (text, value) in [
        ("DOB|1955-12-13|2031-04-02|closed", "1955-12-13"),
        ("born 5 March 1980, moved here on 2012-03-04", "5 March 1980"),
        ("DOB (updated 2024): 03.10.1988", "03.10.1988"),
    ] {
        assert_eq!(found(&SCANNER, text), [("DATE_OF_BIRTH".to_owned(), value.to_owned())], "{text}");
    }
}

#[test]
fn a_password_is_found_from_its_first_to_its_last_character() {
    assert_none(
        [
            ("DB_PASSWORD=X9!kQ2@zLm", "X9!kQ2@zLm"),
            ("password: S3cure!Passw0rd", "S3cure!Passw0rd"),
            ("password: S3cure!Passw0rd, then log in.", "S3cure!Passw0rd"),
            ("The password is S3cure!Passw0rd.", "S3cure!Passw0rd"),
            ("\"password\": \"S3cure!Pass,w0rd\"", "S3cure!Pass,w0rd"),
            (r#"{"password":"S3cure\"Passw0rd"}"#, r#"S3cure\"Passw0rd"#),
            (r#"{"log":"{\"password\":\"S3cure!Passw0rd\"}"}"#, "S3cure!Passw0rd"),
            (r#"{"log":"password=S3cure!Passw0rd\nuser=anna"}"#, "S3cure!Passw0rd"),
            ("password='S3cure!Passw0rd'", "S3cure!Passw0rd"),
            ("password=S3cure!Passw0rd;user=anna", "S3cure!Passw0rd"),
            ("Server=db;Password=S3cure;P4ss!;Database=x", "S3cure;P4ss!"),
            ("?password=S3cure!Passw0rd&user=anna", "S3cure!Passw0rd"),
            ("{user: anna, password: S3cure!Passw0rd, port: 1}", "S3cure!Passw0rd"),
            ("<password>S3cure!Passw0rd</password>", "S3cure!Passw0rd"),
            ("| password | S3cure!Passw0rd |", "S3cure!Passw0rd"),
            ("password: **S3cure!Passw0rd**", "S3cure!Passw0rd"),
            ("password: `S3cure!Passw0rd`", "S3cure!Passw0rd"),
            ("--password=S3cure#Passw0rd --port 1", "S3cure#Passw0rd"),
            ("PGPASSWORD=a1,b2c3&d4e5 psql", "a1,b2c3&d4e5"),
            ("clientSecret: S3cure!Passw0rd", "S3cure!Passw0rd"),
            ("secret = $3cr3tPassw0rd", "3cr3tPassw0rd"),
        ]
        .into_iter()
        .filter_map(|(text, value)| missed(text, "API_KEY", value)),
    );
    for text in [
        "password = ${DB_PASSWORD1}",
        "password = $DB_PASSWORD1",
        "token = tokens[i1]; secret = sha256(x1, y2)",
        "token: 2031-03-12T10:33:12Z",
        "the token is 12:30:45pm, token limit: 128,000tokens",
        "| token | uint64_t |",
        "<td>token</td><td>int64_t_1</td>",
        "password: must be 8 or more",
        "secret: namespace::thing1::Other2",
    ] {
        assert_eq!(found(&SCANNER, text), [], "{text}");
    }
}

const KEY: [&str; 3] = [
    "MIIBVQIBADANBgkqhkiG9w0BAQEFAASCAT8wggE7AgEAAkEAq7BFUpkGp3",
    "LQmlQYx2eqzDV+xeG8kx/sQFV18S5JuMIIBVQIBADANBgkqhkiG9w0BAQE",
    "FAASCAT8wggE7AgEAAkEAq7BFUpkGp3==",
];

#[test]
fn a_private_key_is_found_to_its_end_in_quotes_replies_comments_and_programs() {
    let frames = [
        ("> ", "\n"),
        (">> ", "\r\n"),
        ("# ", "\n"),
        ("// ", "\n"),
        (" * ", "\n"),
        ("; ", "\n"),
        ("| ", " |\n"),
        ("-- ", "\n"),
        ("\"", "\\n\" +\n  "),
        ("'", "',\n"),
        ("\t", "\\\n"),
        ("", "\\n"),
        ("", "\\r\\n"),
        ("", "&#10;"),
        ("<p>", "</p>\n"),
        ("", "<br>"),
        ("", "%0A"),
    ];
    for (before, after) in frames {
        let mut text = String::from("x ");
        let lines =
            ["-----BEGIN PRIVATE KEY-----"].into_iter().chain(KEY).chain(["-----END PRIVATE KEY-----"]);
        for line in lines {
            text += &format!("{before}{line}{after}");
        }
        let findings = SCANNER.scan(&text);
        let end = text.find("-----END PRIVATE KEY-----").unwrap() + 25;
        assert!(
            findings.iter().any(|f| SCANNER.name(f.entity) == "PRIVATE_KEY" && f.range.end == end),
            "{text}: {findings:?}"
        );
    }
}

#[test]
fn what_looks_like_a_value_between_signs_and_is_none_is_left_alone() {
    let scanner = &*SCANNER;
    for text in [
        "1.234,56 EUR; 12.345.678,90 EUR; 123456782,50; 123 456 782,50; 1,234,567.89",
        "at 10:33:12, 2031-03-12T10:33:12.123456Z, 20310312:103312, 1712345678:42",
        "v1.2.3-rc.1, 10.4.11.2.7, 2.0.0+build.20310312, rustc_1.80.0_x86",
        "order 123456782,42; order no. 4929-1234-5678,7; invoice 219099999:12",
        "src/main.rs:12345678:42, a_4111_b, id_12345678Z_x, x_111222333",
        "s3://bucket/4111111111111111/99/x, /2031/03/12/12345678",
        "{\"id\":123456782,\"n\":42}, [1712345678,1712345679], {\"t\":1712345678901}",
        r"C:\new\table\run1, \d{3}-\d{2}, \u00e9t\u00e9, a\nb, \n1.2.3\n",
        "订单123456782号, 버전1.2.3입니다, 第4111話, 価格は1,234,567円です, 2031年3月12日",
        "주문번호 123456782입니다, 3月12日に10:33:12から",
        "<a href=\"/p/123456782\">123456782</a>, &#8364; &nbsp;",
        "| sku | 123456782 | 42 |, _emphasis_, __init__, snake_case_name",
    ] {
        assert_eq!(found(scanner, text), [], "{text}");
    }
}

#[test]
fn an_owner_s_entity_may_begin_with_a_sign_or_stand_in_a_script_without_blanks() {
    let custom = |name: &str, pattern| Custom { name: name.into(), pattern, context: vec![] };
    let customs = vec![
        custom("CASE", Pattern::Regex("#[0-9]{6}".into())),
        custom("HANDLE", Pattern::Words(vec!["@acme".into(), "蓝鹭".into(), "블루헤론".into()])),
        custom("SECTION", Pattern::Regex("§ ?[0-9]+".into())),
    ];
    let config =
        ScanConfig { entities: vec![garrison_guard::Entity::EMAIL], customs, ..ScanConfig::default() };
    let scanner = Scanner::new(&config).unwrap();
    for (text, name, value) in [
        ("see #123456.", "CASE", "#123456"),
        ("(#123456)", "CASE", "#123456"),
        ("x#123456", "CASE", "#123456"),
        ("ask @acme, please", "HANDLE", "@acme"),
        ("项目蓝鹭的预算", "HANDLE", "蓝鹭"),
        ("블루헤론은 비밀", "HANDLE", "블루헤론"),
        ("nach § 12 und", "SECTION", "§ 12"),
    ] {
        assert_eq!(found(&scanner, text), [(name.to_owned(), value.to_owned())], "{text}");
    }
    for text in ["#12345", "@acmes are others", "anna@acme.example"] {
        let names: Vec<String> = found(&scanner, text).into_iter().map(|(name, _)| name).collect();
        assert!(!names.iter().any(|name| name != "EMAIL"), "{text}: {names:?}");
    }
    let blank = vec![custom("BLANK", Pattern::Regex(r" +[a-z]+x".into()))];
    let error =
        Scanner::new(&ScanConfig { customs: blank, ..ScanConfig::default() }).unwrap_err().to_string();
    assert!(error.contains("BLANK") && error.contains("white space"), "{error}");
}
