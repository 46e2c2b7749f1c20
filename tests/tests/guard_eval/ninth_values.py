"""Values of the ninth draw, from libraries that others wrote: numbers are drawn at random and kept if python-stdnum
(LGPL, used as a program, none of it is copied here) or the authority's own rule below calls them valid; people's data are
Faker's, dates are written by CLDR (babel), IBANs by schwifty's registry, phones are Faker's that libphonenumber calls valid.

    pip install faker==40.63.0 python-stdnum==2.2 schwifty==2026.10.1 babel==2.19.0 phonenumbers==9.0.43 \
        base58==2.1.1 bech32==1.2.0 "pycryptodome>=3.20,<4"
    python3 ninth_values.py > ninth_values.txt

A line is an entity, a tab and a value. Keys and private keys are not here: they are drawn where they are judged
(ninth.rs), so that no file of this repository looks as if it held any."""

import base64
import binascii
import datetime
import hashlib
import random
import string
from importlib import import_module

import base58
import bech32
import phonenumbers
from babel.dates import format_date
from Crypto.Hash import SHA512, keccak
from faker import Faker
from schwifty import IBAN, registry
from stdnum import luhn, verhoeff

R = random.Random(30_000_000)
Faker.seed(30_000_000)
D, U = string.digits, string.ascii_uppercase


def of(alphabet, length):
    return "".join(R.choice(alphabet) for _ in range(length))


def written(digits, *forms):
    symbols = iter(digits)
    return "".join(next(symbols) if c == "#" else c for c in R.choice(forms))


def valid(module, make):
    """A random candidate that the module of python-stdnum takes."""
    judge = import_module("stdnum." + module).is_valid
    while True:
        candidate = make()
        if judge(candidate):
            return candidate


def date(first=1932, last=2009):
    return datetime.date(first, 1, 1) + datetime.timedelta(R.randrange((last - first + 1) * 365))


def fake(*locales):
    return Faker(R.choice(locales))


FAKE = {}


def faker(locale):
    return FAKE.setdefault(locale, Faker(locale))


# National numbers.


def us_mbi():
    letters = "ACDEFGHJKMNPQRTUVWXY"
    both = letters + D
    mbi = of("123456789", 1) + of(letters, 1) + of(both, 1) + of(D, 1) + of(letters, 1) + of(both, 1) + of(D, 1)
    return written(mbi + of(letters, 2) + of(D, 2), "###########", "####-###-####", "#### ### ####")


def us_npi():
    nine = of("12", 1) + of(D, 8)
    return nine + luhn.calc_check_digit("80840" + nine)


def us_aba():
    lead = R.choice([*range(1, 13), *range(21, 33), *range(61, 73)])
    return valid("us.rtn", lambda: f"{lead:02}" + of(D, 7))


def nhs():
    whole = valid("gb.nhs", lambda: of("467", 1) + of(D, 9))
    return written(whole, "### ### ####", "##########", "###-###-####")


def nino():
    first, second = "ABCEGHJKLMNOPRSTWXYZ", "ABCEGHJKLMNPRSTWXYZ"
    while (pair := of(first, 1) + of(second, 1)) in ("BG", "GB", "KN", "NK", "NT", "TN", "ZZ") or pair[0] == "O":
        pass
    return written(pair + of(D, 6) + of("ABCD", 1), "#########", "## ## ## ## #", "## ###### #")


def de_social():
    area, born, letter, serial = R.choice([10, 13, 24, 39, 40, 53, 65, 80, 89]), date(), of(U, 1), of(D, 2)
    head = f"{area:02}{born:%d%m%y}"
    payload = head + f"{ord(letter) - 64:02}" + serial
    weights = [2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1]
    total = sum(sum(divmod(int(d) * w, 10)) for d, w in zip(payload, weights))
    return written(head + letter + serial + str(total % 10), "############", "## ###### # ###", "## ###### # ## #")


def de_id_card():
    serial = of("LMNPRTVWXY", 1) + of("0123456789CFGHJKLMNPRTVWXYZ", 8)
    total = sum(int(c, 36) * w for c, w in zip(serial, [7, 3, 1] * 3))
    if not any(c.isdigit() for c in serial[1:]):
        return de_id_card()
    # With the check digit, as the back has it, and without, as the front does.
    return serial + str(total % 10) if R.random() < 0.5 else serial


def at_social():
    whole = valid("at.vnr", lambda: of("123456789", 1) + of(D, 3) + f"{date():%d%m%y}")
    return written(whole, "#### ######", "##########", "####-######")


def fr_nir():
    def make():
        born = date()
        place = R.choice([f"{R.randint(1, 95):02}", "2A", "2B", "99"])
        head = of("12", 1) + f"{born:%y%m}" + place + of("01234", 1) + of(D, 2) + of(D, 3)
        plain = head.replace("2A", "19").replace("2B", "18")
        return head + f"{97 - int(plain) % 97:02}"

    return written(valid("fr.nir", make), "###############", "# ## ## ## ### ### ##", "############# ##", "# ## ## ## ### ###-##")


def es_cif():
    whole = valid("es.cif", lambda: of("ABCDEFGHJNPQRSUVW", 1) + of(D, 7) + of("ABCDEFGHIJ" + D, 1))
    return written(whole, "#########", "#-########")


def fiscal_code():
    def make():
        consonants, born = "BCDFGLMNPRSTVZ", date()
        day = born.day + R.choice([0, 40])
        head = of(consonants, 2) + of("AEIOX" + consonants, 1) + of(consonants, 3)
        head += f"{born:%y}" + "ABCDEHLMPRST"[born.month - 1] + f"{day:02}" + of("ABCDEFGHILZ", 1) + of(D, 3)
        if R.random() < 0.1:
            # Omocodia: a letter for the last digit.
            head = head[:14] + "LMNPQRSTUV"[int(head[14])]
        return head + of(U, 1)

    return written(valid("it.codicefiscale", make), "################", "################", "### ### ##### #####")


def pesel():
    def make():
        born = date(1932, 2019)
        return f"{born:%y}{born.month + (20 if born.year > 1999 else 0):02}{born:%d}" + of(D, 5)

    return valid("pl.pesel", make)


def swedish():
    def make():
        born = date()
        day = born.day + (60 if R.random() < 0.1 else 0)
        return f"{born:%Y%m}{day:02}" + of(D, 4)

    whole = make()
    while not luhn.is_valid(whole[2:]):
        whole = make()
    sign = "-"
    return written(whole[2:], "######-####") if R.random() < 0.4 else written(whole, "########" + sign + "####", "############")


def finnish():
    born = date(1930, 2019)
    serial = f"{R.randint(2, 899):03}"
    check = "0123456789ABCDEFHJKLMNPRSTUVWXY"[int(f"{born:%d%m%y}" + serial) % 31]
    sign = R.choice("--YXWVU") if born.year < 2000 else R.choice("AABCDEF")
    return f"{born:%d%m%y}{sign}{serial}{check}"


def danish():
    born = date(1938, 1999)
    # The seventh digit tells the century: 0 to 3 the twentieth.
    return written(f"{born:%d%m%y}" + of("0123", 1) + of(D, 3), "######-####", "######-####", "##########", "###### ####")


def norwegian():
    def make():
        born = date(1940, 1999)
        day = born.day + (40 if R.random() < 0.1 else 0)
        return f"{day:02}{born:%m%y}" + of("01234", 1) + of(D, 4)

    return written(valid("no.fodselsnummer", make), "###########", "###### #####", "######-#####")


def citizen_card():
    whole = valid("pt.cc", lambda: of(D, 9) + of(U + D, 2) + of(D, 1))
    return written(whole, "######## # ###", "############", "########-#-###")


def belgian():
    def make():
        born = date()
        return f"{born:%y%m%d}" + f"{R.randint(1, 997):03}" + of(D, 2)

    return written(valid("be.nn", make), "###########", "##.##.##-###.##", "##.##.##-###-##", "###### ### ##")


def medicare():
    eight = of("23456", 1) + of(D, 7)
    check = sum(int(d) * w for d, w in zip(eight, [1, 3, 7, 9, 1, 3, 7, 9])) % 10
    return written(f"{eight}{check}{R.randint(1, 9)}", "#### ##### #", "##########", "####-#####-#")


def nric():
    lead, digits = R.choice("SSTTFGM"), of(D, 7)
    total = sum(int(d) * w for d, w in zip(digits, [2, 7, 6, 5, 4, 3, 2])) + {"T": 4, "G": 4, "M": 3}.get(lead, 0)
    table = {"S": "JZIHGFEDCBA", "T": "JZIHGFEDCBA", "M": "XWUTRQPNJLK"}.get(lead, "XWUTRQPNMLK")
    return lead + digits + table[total % 11]


def korean():
    def make():
        born = date(1935, 2015)
        return f"{born:%y%m%d}" + (of("34", 1) if born.year > 1999 else of("1256", 1)) + of("0123456789", 1) + of(D, 5)

    def check(twelve):
        return (11 - sum(int(d) * w for d, w in zip(twelve, [2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5])) % 11) % 10

    whole = make()[:12]
    whole += str(check(whole) if whole[6] in "1234" else (check(whole) + 2) % 10)
    return written(whole, "######-#######", "######-#######", "#############")


def cnpj():
    # Letters are given out since July 2026 (IN RFB 2.229/2024); a character counts as its code less 48.
    alphabet = D if R.random() < 0.92 else U + D
    twelve = of(alphabet, 8) + (of(alphabet, 4) if alphabet != D else R.choice(["0001", "0002", "0015"]))
    for _ in range(2):
        weights = [6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2][-len(twelve):]
        rest = sum((ord(c) - 48) * w for c, w in zip(twelve, weights)) % 11
        twelve += str(0 if rest < 2 else 11 - rest)
    return written(twelve, "##.###.###/####-##", "##.###.###/####-##", "##############")


def simple(module, make, *forms):
    return lambda: written(valid(module, make), *forms)


NUMBERS = {
    "US_SSN": simple("us.ssn", lambda: of(D, 9), "###-##-####", "###-##-####", "### ## ####", "#########"),
    "US_ITIN": simple("us.itin", lambda: "9" + of(D, 8), "###-##-####", "###-##-####", "#########"),
    "US_ABA": us_aba,
    "US_NPI": us_npi,
    "US_MBI": us_mbi,
    "UK_NHS": nhs,
    "UK_NINO": nino,
    "DE_TAX_ID": simple("de.idnr", lambda: of("123456789", 1) + of(D, 10), "###########", "## ### ### ###"),
    "DE_SOCIAL_SECURITY": de_social,
    "DE_ID_CARD": de_id_card,
    "AT_SOCIAL_SECURITY": at_social,
    "AT_TAX_ID": simple("at.tin", lambda: of(D, 9), "##-###/####", "## ###/####", "#########"),
    "FR_NIR": fr_nir,
    "FR_TAX_ID": simple("fr.nif", lambda: of("0123", 1) + of(D, 12), "#############", "## ## ### ### ###"),
    "ES_DNI": simple("es.dni", lambda: of(D, 8) + of("TRWAGMYFPDXBNJZSQVHLCKE", 1), "#########", "########-#", "##.###.###-#", "######## #"),
    "ES_NIE": simple("es.nie", lambda: of("XYZ", 1) + of(D, 7) + of("TRWAGMYFPDXBNJZSQVHLCKE", 1), "#########", "#-#######-#", "#-########"),
    "ES_CIF": es_cif,
    "IT_FISCAL_CODE": fiscal_code,
    "IT_VAT": simple("it.iva", lambda: of(D, 11), "###########", "IT###########", "IT ###########"),
    "NL_BSN": simple("nl.bsn", lambda: of("123456789", 1) + of(D, 8), "#########", "#########", "####.##.###"),
    "PL_PESEL": pesel,
    "PL_NIP": simple("pl.nip", lambda: of("123456789", 3) + of(D, 7), "###-###-##-##", "##########", "PL##########", "### ### ## ##"),
    "SE_PERSONAL_NUMBER": swedish,
    "FI_HETU": finnish,
    "DK_CPR": danish,
    "NO_FNR": norwegian,
    "PT_NIF": simple("pt.nif", lambda: of("12356", 1) + of(D, 8), "#########", "### ### ###", "PT#########"),
    "PT_CITIZEN_CARD": citizen_card,
    "BE_NRN": belgian,
    "CH_AHV": simple("ch.ssn", lambda: "756" + of(D, 10), "###.####.####.##", "#############", "### #### #### ##"),
    "CH_UID": simple("ch.uid", lambda: "CHE" + of("1234", 1) + of(D, 8), "###-###.###.###", "############", "### ###.###.###"),
    "IN_AADHAAR": simple("in_.aadhaar", lambda: of("23456789", 1) + of(D, 11), "#### #### ####", "############", "####-####-####"),
    "IN_PAN": simple("in_.pan", lambda: of(U, 3) + of("PPPCHFATBLJG", 1) + of(U, 1) + of(D, 4) + of(U, 1), "##########"),
    "AU_TFN": simple("au.tfn", lambda: of("123456789", 1) + of(D, 8), "### ### ###", "#########", "###-###-###"),
    "AU_ABN": simple("au.abn", lambda: of("123456789", 1) + of(D, 10), "## ### ### ###", "###########", "##-###-###-###"),
    "AU_MEDICARE": medicare,
    "CA_SIN": simple("ca.sin", lambda: of("12345679", 1) + of(D, 8), "### ### ###", "###-###-###", "#########"),
    "SG_NRIC": nric,
    "KR_RRN": korean,
    "BR_CPF": simple("br.cpf", lambda: of(D, 11), "###.###.###-##", "###.###.###-##", "###########"),
    "BR_CNPJ": cnpj,
}

# What is written in many forms.

# The numbers that payment services publish to test with.
PUBLISHED = """4242424242424242 4000056655665556 5555555555554444 2223003122003222 5200828282828210 5105105105105100
378282246310005 371449635398431 6011111111111117 6011000990139424 3056930009020004 36227206271667 3566002020360505
6200000000000005 4111111111111111 4012888888881881 30569309025904 3530111333300000 6304000000000000 4988438843884305
5454545454545454 2222400070000005 6771798021000008 5019555544445555 6445644564456445""".split()


def card():
    number = R.choice(PUBLISHED) if R.random() < 0.3 else faker("en_US").credit_card_number(
        R.choice(["visa16", "mastercard", "amex", "discover", "jcb16", "diners"]))
    if not luhn.is_valid(number):
        return card()
    if len(number) == 14:
        return written(number, "##############", "#### ###### ####")
    if len(number) == 15:
        return written(number, "###############", "#### ###### #####")
    return written(number, "################", "#### #### #### ####", "####-####-####-####", "####\u00a0####\u00a0####\u00a0####")


COUNTRIES = sorted(c for c in sorted(registry.get_countries()) if not IBAN.random(country_code=c, random=R).is_aspirational)


def iban():
    number = IBAN.random(country_code=R.choice(COUNTRIES), random=R)
    return number.compact if R.random() < 0.5 else number.formatted


LOCALES = ["en_US", "en_GB", "de_DE", "de_AT", "de_CH", "fr_FR", "fr_CH", "es_ES", "it_IT", "nl_NL", "nl_BE", "pl_PL", "pt_BR",
           "pt_PT", "sv_SE", "da_DK", "no_NO", "fi_FI", "cs_CZ", "hu_HU", "ro_RO", "tr_TR", "ko_KR", "ja_JP", "en_AU", "en_CA",
           "en_IN", "en_NZ", "es_MX", "hr_HR", "sk_SK", "sl_SI", "bg_BG", "el_GR", "en_IE", "id_ID"]


def email():
    locale = R.choice(LOCALES)
    f = faker(locale)
    kind = R.random()
    if kind < 0.6:
        return f.ascii_company_email() if kind < 0.2 else f.ascii_email() if kind < 0.4 else f.email()
    user = R.choice([f.user_name(), f.user_name() + "+" + f.word() if locale.startswith("en") else f.user_name() + "+list",
                     f.user_name().upper(), f.user_name()[:1] + "." + f.user_name(), "_" + f.user_name(), f.user_name() + "_" + of(D, 4)])
    return user + "@" + R.choice([f.domain_name(2), f.domain_name(3), f.free_email_domain()])


def phone():
    locale = R.choice([l for l in LOCALES if l != "en_NZ"])
    text = faker(locale).phone_number()
    region = locale[3:]
    if "x" in text or not text[-1].isdigit():
        return phone()
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return phone()
    if not phonenumbers.is_valid_number(number):
        return phone()
    if not text.startswith("+") and R.random() < 0.6:
        return phonenumbers.format_number(number, R.choice([phonenumbers.PhoneNumberFormat.INTERNATIONAL, phonenumbers.PhoneNumberFormat.E164]))
    return text


def ip():
    f, kind = faker("en_US"), R.random()
    if kind < 0.45:
        return f.ipv4_public()
    if kind < 0.6:
        return R.choice(["10.%d.%d.%d", "192.168.%d.%d", "172.31.%d.%d"]).replace("%d", "{}").format(*(R.randint(0, 254) for _ in range(3)))
    whole = f.ipv6()
    groups = whole.split(":")
    groups[0] = R.choice(["2001", "2a01", "2600", "2404", "fe80", "fd12"])
    if kind < 0.8:
        return ":".join(groups)
    return ":".join(groups[:R.randint(2, 4)]) + "::" + ":".join(group.lstrip("0") or "0" for group in groups[:R.randint(1, 3)])


def mac():
    hexes = R.choice(["00", "3c", "a4", "f0", "dc", "08"]) + of("0123456789abcdef", 10)
    hexes = hexes.upper() if R.random() < 0.5 else hexes
    return written(hexes, "##:##:##:##:##:##", "##-##-##-##-##-##", "####.####.####")


def url():
    f = faker("en_US")
    user = R.choice(["svc-" + f.word(), f.user_name(), "sa", "deploy%40corp", "guest", "neo4j", "x-access-token"])
    password = R.choice([f.password(12, special_chars=False), f.password(16, special_chars=False), "Summer2031!", "p%40ss%2Fw0rd",
                         "hunter2", f.word() + "-" + f.word() + "-" + of(D, 2), of("0123456789abcdef", 32), "$up3r_S3cret"])
    host = R.choice([f.domain_name(), f.domain_name(3), f.ipv4_private(), "localhost", "db-" + of(D, 2) + ".eu-west-1.rds.example.com"])
    scheme, tail = R.choice([
        ("postgresql+psycopg2", ":5432/" + f.word()), ("mssql+pyodbc", "/" + f.word() + "?driver=ODBC+Driver+18+for+SQL+Server"),
        ("mysql+aiomysql", ":3306/" + f.word() + "?charset=utf8mb4"), ("rediss", ":6380/1"), ("amqps", ":5671/prod"),
        ("https", "/" + f.word() + "/" + f.word() + ".git"), ("http", ":3128"), ("socks5", ":1080"), ("smtp", ":587"),
        ("ftps", "/pub/" + f.word() + ".csv"), ("sftp", ":22/home/" + f.word()), ("rtsp", ":554/stream1"), ("ldap", ":389"),
        ("neo4j+s", ":7687"), ("nats", ":4222"), ("clickhouse", ":9000/default"), ("mqtt", ":1883"), ("https", "/simple/"),
        ("mongodb", ":27017/" + f.word() + "?authSource=admin"), ("imaps", ":993/INBOX")])
    return f"{scheme}://{user}:{password}@{host}{tail}"


def birthday():
    born = date(1925, 2018)
    locale = R.choice(["en_US", "en_GB", "de", "fr", "es", "it", "nl", "pl", "sv", "da", "nb", "fi", "pt", "ko", "de_AT", "en_AU"])
    style = R.choice(["short", "medium", "long", "long", "iso", "iso"])
    return born.isoformat() if style == "iso" else format_date(born, style, locale=locale)


def shaped(*forms):
    """A letter for A, a digit for 0, either for X."""
    return "".join(of(U, 1) if c == "A" else of(D, 1) if c == "0" else of(U + D, 1) if c == "X" else c for c in R.choice(forms))


def passport():
    # By the forms of the register of travel documents (PRADO) and of the issuing offices; a backslash keeps a letter.
    kind = R.choice(["GB", "US", "US2", "FR", "ES", "IT", "NL", "PL", "SE", "IN", "CA", "AU", "BR", "KR", "SG", "JP", "CH", "PT", "DK", "FI", "BE", "AT", "IE"])
    form = {"GB": "000000000", "US": "A00000000", "US2": "000000000", "FR": "00AA00000", "ES": "AAA000000", "IT": "Y" + "A0000000",
            "NL": "N" + "A0XXXX00", "PL": "AA0000000", "SE": "00000000", "IN": "A0000000", "CA": "AA000000", "AU": "P" + "A0000000",
            "BR": "AA000000", "KR": "M00000000", "SG": "K0000000A", "JP": "T" + "A0000000", "CH": "X0000000", "PT": "C000000",
            "DK": "000000000", "FI": "FP0000000", "BE": "EN000000", "AT": "P0000000", "IE": "P" + "A0000000"}[kind]
    return shaped(form) if "A" in form or "X" not in form[:1] else form[0] + of(D, 7)


def licence():
    f = faker("en_US")
    kind = R.randrange(16)
    if kind == 0:
        # DVLA: surname, decade, month, day, year, initials, nines, check characters.
        born = date(1950, 2007)
        name = (f.last_name().upper() + "9999")[:5]
        month = born.month + R.choice([0, 50])
        return f"{name}{born.year // 10 % 10}{month:02}{born:%d}{born.year % 10}{of(U, 1)}{R.choice([of(U, 1), '9'])}9{of(U, 2)}"
    form = ["", "X000XXX0XX0", "000000000000", "U1XX00000A", "0000000000", "00000/00/0000", "A0000000", "A000-0000-0000",
            "A000-000-00-000-0", "00000000", "A0000-00000-00000", "AA00 00000000000", "AA-0000000000000", "000 000 000", "00-00-000000-00",
            "A0000 00000 00000"][kind]
    return shaped(form)


# Wallets: the payload is random, what checks it is computed as each chain's specification says.
XRP = b"rpshnaf39wBUDNEGHJKLM4PQRST7VWXYZ2bcdeCg65jkm8oFqi1tuvAxyz"


def polymod_m(hrp, version, program):
    data = [version] + bech32.convertbits(program, 8, 5)
    const = 1 if version == 0 else 0x2BC830A3
    mod = bech32.bech32_polymod(bech32.bech32_hrp_expand(hrp) + data + [0] * 6) ^ const
    return hrp + "1" + "".join(bech32.CHARSET[d] for d in data + [(mod >> 5 * (5 - i)) & 31 for i in range(6)])


def keccak256(data):
    return keccak.new(digest_bits=256, data=data).digest()


def crc16(data, start=0):
    return binascii.crc_hqx(data, start)


def cash_address(payload):
    data = bech32.convertbits(b"\x00" + payload, 8, 5)
    state = 1
    for value in [ord(c) & 31 for c in "bitcoincash"] + [0] + data + [0] * 8:
        top, state = state >> 35, (state & 0x07FFFFFFFF) << 5 ^ value
        for bit, generator in enumerate([0x98F2BC8E61, 0x79B76D99E2, 0xF33E5FB3C4, 0xAE2EABE2A8, 0x1E4F43E470]):
            state ^= generator if top >> bit & 1 else 0
    state ^= 1
    return "bitcoincash:" + "".join(bech32.CHARSET[d] for d in data + [(state >> 5 * (7 - i)) & 31 for i in range(8)])


def monero():
    body = b"\x12" + R.randbytes(64)
    body += keccak256(body)[:4]
    alphabet = base58.BITCOIN_ALPHABET.decode()
    sizes = [0, 2, 3, 5, 6, 7, 9, 10, 11]
    out = ""
    for at in range(0, len(body), 8):
        block = body[at:at + 8]
        value, text = int.from_bytes(block, "big"), ""
        for _ in range(sizes[len(block)]):
            value, digit = divmod(value, 58)
            text = alphabet[digit] + text
        out += text
    return out


def wallet():
    r = R.randbytes
    kind = R.randrange(20)
    if kind < 6:
        return base58.b58encode_check([b"\x00", b"\x05", b"\x30", b"\x1e", b"\x4c", b"\x41"][kind] + r(20)).decode()
    if kind == 6:
        return polymod_m("bc", 0, r(20))
    if kind == 7:
        return polymod_m("bc", 1, r(32))
    if kind == 8:
        return polymod_m("ltc", 0, r(20))
    if kind == 9:
        return "0x" + r(20).hex()
    if kind == 10:
        plain = r(20).hex()
        marks = keccak256(plain.encode()).hex()
        return "0x" + "".join(c.upper() if int(m, 16) > 7 else c for c, m in zip(plain, marks))
    if kind == 11:
        return base58.b58encode_check(b"\x00" + r(20), alphabet=XRP).decode()
    if kind == 12:
        return bech32.bech32_encode("addr", bech32.convertbits(b"\x01" + r(56), 8, 5))
    if kind == 13:
        return base58.b58encode(r(32)).decode()
    if kind == 14:
        return cash_address(r(20))
    if kind == 15:
        return monero()
    if kind == 16:
        body = b"\x30" + r(32)
        return base64.b32encode(body + crc16(body).to_bytes(2, "little")).decode()
    if kind == 17:
        body = r(32)
        return base64.b32encode(body + SHA512.new(body, truncate="256").digest()[-4:]).decode().rstrip("=")
    if kind == 18:
        body = b"\x00" + r(32)
        return base58.b58encode(body + hashlib.blake2b(b"SS58PRE" + body).digest()[:2]).decode()
    return base58.b58encode_check(b"\x06\xa1\x9f" + r(20)).decode() if R.random() < 0.5 else bech32.bech32_encode(
        "cosmos", bech32.convertbits(r(20), 8, 5))


FREE = {"CREDIT_CARD": card, "IBAN": iban, "EMAIL": email, "PHONE": phone, "IP_ADDRESS": ip, "MAC_ADDRESS": mac,
        "URL_CREDENTIALS": url, "DATE_OF_BIRTH": birthday, "PASSPORT": passport, "DRIVING_LICENCE": licence, "CRYPTO_ADDRESS": wallet}

if __name__ == "__main__":
    for entity, make in sorted((NUMBERS | FREE).items()):
        for value in sorted({make() for _ in range(240 if entity in FREE else 80)}):
            # Faker's numbers of JCB begin with 35 and anything; that scheme gives out 3528 to 3589. Left out since the first judging.
            if entity != "CREDIT_CARD" or value[:2] != "35" or "3528" <= value[:4] <= "3589":
                print(f"{entity}\t{value}")
