"""Values of the tenth draw, from libraries that others wrote: numbers are drawn at random and kept if python-stdnum
(LGPL, used as a program, none of it is copied here) or the authority's own rule below calls them valid; IBANs are
schwifty's that python-stdnum takes too, phones libphonenumber's, mails Faker's, cards kept only within the ranges of
their schemes (Faker's are not used: it gives JCB numbers outside 3528 to 3589). Each form of writing has its source
beside it; what the author was not sure of is told in README.md.

    pip install faker==40.63.0 python-stdnum==2.2 schwifty==2026.10.1 babel==2.19.0 phonenumbers==9.0.43 \
        base58==2.1.1 bech32==1.2.0 "pycryptodome>=3.20,<4"
    python3 tenth_values.py > tenth_values.txt

Wallets are made by ninth_values.py, which must lie beside this file, with another seed. Keys and private keys are not
here: they are drawn where they are judged (tenth.rs)."""

import base64
import binascii
import datetime
import ipaddress
import random
import re
import string
from importlib import import_module

import phonenumbers
from babel.dates import format_date
from faker import Faker
from schwifty import IBAN, registry
from stdnum import bitcoin, iban as stdnum_iban, luhn

import ninth_values

R = random.Random(31_622_776)
Faker.seed(31_622_776)
ninth_values.R.seed(31_622_776)
D, U, L = string.digits, string.ascii_uppercase, string.ascii_lowercase
HEX = "0123456789abcdef"


def of(alphabet, length):
    return "".join(R.choice(alphabet) for _ in range(length))


def written(symbols, forms):
    """Forms with weights, `#` is the next symbol."""
    names = list(forms)
    form = R.choices(names, [forms[name] for name in names])[0]
    left = iter(symbols)
    out = "".join(next(left) if c == "#" else c for c in form)
    assert next(left, None) is None, form
    return out


def valid(module, make):
    judge = import_module("stdnum." + module).is_valid
    while True:
        candidate = make()
        if judge(candidate):
            return candidate


def date(first, last):
    start = datetime.date(first, 1, 1)
    return start + datetime.timedelta(R.randrange((datetime.date(last, 12, 31) - start).days))




def by(module, make, forms):
    return lambda: written(valid(module, make), forms)


# Numbers. The weights are a guess at how often a form is met.


def us_npi():
    # CMS, "NPI check digit": Luhn with 80840 in front, ten digits, never grouped.
    nine = of("12", 1) + of(D, 8)
    return nine + luhn.calc_check_digit("80840" + nine)


def us_mbi():
    # CMS, "Understanding the MBI": the card prints 1EG4-TE5-MK73, claims go without dashes.
    a = "ACDEFGHJKMNPQRTUVWXY"
    whole = of("123456789", 1) + of(a, 1) + of(a + D, 1) + of(D, 1) + of(a, 1) + of(a + D, 1) + of(D, 1) + of(a, 2) + of(D, 2)
    return written(whole, {"####-###-####": 1, "###########": 1})


def us_aba():
    lead = R.choice([*range(1, 13), *range(21, 33)])
    return valid("us.rtn", lambda: f"{lead:02}" + of(D, 7))


def nino():
    # HMRC NIM39110: prefixes; gov.uk writes QQ 12 34 56 C, payrolls QQ123456C.
    while True:
        pair = of("ABCEGHJKLMNOPRSTWXYZ", 1) + of("ABCEGHJKLMNPRSTWXYZ", 1)
        if pair not in ("BG", "GB", "KN", "NK", "NT", "TN", "ZZ") and pair[0] != "O":
            return written(pair + of(D, 6) + of("ABCD", 1), {"## ## ## ## #": 2, "#########": 3, "## ###### #": 0.5})


def de_social():
    # DRV, "Aufbau der Versicherungsnummer" (VKVV): 65 170839 J 008 on the card, without spaces in DEUEV records.
    area = R.choice([*range(2, 5), *range(8, 22), 23, 24, 25, 26, 28, 29, 38, 39, 40, *range(42, 45), *range(48, 50), *range(50, 55), 65])
    born, letter, serial = date(1940, 2006), of(U, 1), of(D, 2)
    payload = f"{area:02}{born:%d%m%y}{ord(letter) - 64:02}{serial}"
    total = sum(sum(divmod(int(d) * w, 10)) for d, w in zip(payload, [2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1]))
    return written(f"{area:02}{born:%d%m%y}{letter}{serial}{total % 10}", {"## ###### # ###": 2, "############": 2})


def de_id_card():
    # BMI, "Muster des Personalausweises" (PAuswV, Anhang 1): nine characters on the front, with check digit in the zone.
    while True:
        serial = of("LMNPRTVWXYCFGHJK", 1) + of("0123456789CFGHJKLMNPRTVWXYZ", 8)
        if sum(c.isdigit() for c in serial) >= 2:
            check = sum(int(c, 36) * w for c, w in zip(serial, [7, 3, 1] * 3)) % 10
            return serial if R.random() < 0.7 else f"{serial}{check}"


def fr_nir():
    # Ameli: 1 85 05 78 006 084 36 on the carte Vitale's letter, without spaces in payroll files. Corsica writes 2A and 2B.
    def make():
        born = date(1935, 2008)
        place = R.choice([f"{R.randint(1, 95):02}"] * 8 + ["2A", "2B", "99"])
        head = of("12", 1) + f"{born:%y%m}" + place + of("01234", 1) + of(D, 2) + of(D, 3)
        return head + f"{97 - int(head.replace('2A', '19').replace('2B', '18')) % 97:02}"

    return written(valid("fr.nir", make), {"# ## ## ## ### ### ##": 2, "###############": 2, "############# ##": 1})


def fiscal_code():
    # DM 12 marzo 1974; printed in one piece on the tessera sanitaria.
    def make():
        born = date(1935, 2012)
        c, v = "BCDFGLMNPRSTVZ", "AEIO"
        head = R.choice([of(c, 3), of(c, 2) + of(v, 1)]) + R.choice([of(c, 3), of(c, 2) + of(v, 1)])
        head += f"{born:%y}" + "ABCDEHLMPRST"[born.month - 1] + f"{born.day + R.choice([0, 40]):02}"
        return head + of("ABCDEFGHILMZ", 1) + of(D, 3) + of(U, 1)

    return written(valid("it.codicefiscale", make), {"################": 8, "### ### ##### #####": 1})


def pesel():
    def make():
        born = date(1930, 2022)
        return f"{born:%y}{born.month + (20 if born.year > 1999 else 0):02}{born:%d}" + of(D, 5)

    return valid("pl.pesel", make)


def swedish():
    # Skatteverket SKV 704: ÅÅMMDD-NNNN; authorities' systems ÅÅÅÅMMDDNNNN; a samordningsnummer adds 60 to the day.
    while True:
        born = date(1930, 2020)
        whole = f"{born:%Y%m}{born.day + (60 if R.random() < 0.08 else 0):02}" + of(D, 4)
        if luhn.is_valid(whole[2:]):
            break
    if R.random() < 0.5:
        return written(whole[2:], {"######-####": 3, "##########": 1})
    return written(whole, {"########-####": 2, "############": 2})


def finnish():
    # DVV: PPKKVV, a sign of the century (since 2024 also Y X W V U and B to F), three digits, a check character.
    def make():
        born = date(1930, 2021)
        sign = R.choice("-----YX") if born.year < 2000 else R.choice("AAAAB")
        serial = f"{R.randint(2, 899):03}"
        return f"{born:%d%m%y}{sign}{serial}{'0123456789ABCDEFHJKLMNPRSTUVWXY'[int(f'{born:%d%m%y}{serial}') % 31]}"

    return valid("fi.hetu", make)


def danish():
    # CPR-kontoret: DDMMÅÅ-LLLL; in systems without the dash. Modulus 11 holds for all but some numbers given since 2007.
    born = date(1938, 2021)
    seventh = of("0123", 1) if born.year < 2000 else of("4567", 1)
    eleven = R.random() < 0.8

    def make():
        while True:
            whole = f"{born:%d%m%y}{seventh}" + of(D, 3)
            if not eleven or sum(int(d) * w for d, w in zip(whole, [4, 3, 2, 7, 6, 5, 4, 3, 2, 1])) % 11 == 0:
                return whole

    return written(valid("dk.cpr", make), {"######-####": 3, "##########": 1.5})


def norwegian():
    # Skatteetaten: eleven digits, people write 010190 12345.
    def make():
        born = date(1940, 1999)
        return f"{born.day + (40 if R.random() < 0.08 else 0):02}{born:%m%y}" + of("01234", 1) + of(D, 4)

    return written(valid("no.fodselsnummer", make), {"###########": 3, "###### #####": 2})


def belgian():
    # IBZ: the eID prints 85.07.30-033.61; KSZ/BCSS systems go without.
    def make():
        born = date(1940, 2015)
        head = f"{born:%y%m%d}{R.randint(1, 997):03}"
        return head + f"{97 - int(('2' if born.year > 1999 else '') + head) % 97:02}"

    return written(valid("be.nn", make), {"##.##.##-###.##": 3, "###########": 2, "######-###-##": 0.7})


def nric():
    # ICA: a letter, seven digits, a check letter; M since 2022. There is no second library: the table is the published one.
    lead, digits = R.choice("SSSTTFGM"), of(D, 7)
    if lead == "S":
        digits = of("01256789", 1) + digits[1:]
    total = sum(int(d) * w for d, w in zip(digits, [2, 7, 6, 5, 4, 3, 2])) + {"T": 4, "G": 4, "M": 3}.get(lead, 0)
    table = {"S": "JZIHGFEDCBA", "T": "JZIHGFEDCBA", "F": "XWUTRQPNMLK", "G": "XWUTRQPNMLK", "M": "XWUTRQPNJLK"}[lead]
    return lead + digits + table[total % 11]


def korean():
    # MOIS: YYMMDD-SBBBBNC.
    def make():
        born = date(1940, 2016)
        return f"{born:%y%m%d}" + (of("12", 1) if born.year < 2000 else of("34", 1)) + of(D, 6)

    return written(valid("kr.rrn", make), {"######-#######": 4, "#############": 1})


def medicare():
    # Services Australia: 2123 45670 1 on the card; claims ten digits.
    eight = of("23456", 1) + of(D, 7)
    check = sum(int(d) * w for d, w in zip(eight, [1, 3, 7, 9, 1, 3, 7, 9])) % 10
    return written(f"{eight}{check}{R.randint(1, 9)}", {"#### ##### #": 2, "##########": 2})


def cnpj():
    # Receita Federal, IN 2.119/2022: 00.000.000/0001-00; with letters since July 2026 (IN 2.229/2024).
    alphabet = D if R.random() < 0.95 else U + D
    whole = of(alphabet, 8) + ("000" + of("1234", 1) if alphabet == D else of(alphabet, 4))
    for _ in range(2):
        weights = [6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2][-len(whole):]
        rest = sum((ord(c) - 48) * w for c, w in zip(whole, weights)) % 11
        whole += str(0 if rest < 2 else 11 - rest)
    if alphabet == D:
        assert import_module("stdnum.br.cnpj").is_valid(whole)
    return written(whole, {"##.###.###/####-##": 3, "##############": 1.2})


FIRST = "123456789"
TRW = "TRWAGMYFPDXBNJZSQVHLCKE"
NUMBERS = {
    # SSA prints 123-45-6789; SSA's EFW2 and payroll exports nine digits; Form 1040's boxes are read with spaces.
    "US_SSN": by("us.ssn", lambda: of(D, 9), {"###-##-####": 5, "#########": 2, "### ## ####": 0.7}),
    # IRS, CP565: 9NN-NN-NNNN.
    "US_ITIN": by("us.itin", lambda: "9" + of(D, 8), {"###-##-####": 3, "#########": 1}),
    "US_ABA": us_aba,
    "US_NPI": us_npi,
    "US_MBI": us_mbi,
    # NHS Data Dictionary: ten digits, shown to people as 3 3 4.
    "UK_NHS": by("gb.nhs", lambda: of("46", 1) + of(D, 9), {"### ### ####": 2, "##########": 2, "###-###-####": 0.3}),
    "UK_NINO": nino,
    # BZSt: letters print 12 345 678 901, ELSTER takes it in one piece.
    "DE_TAX_ID": by("de.idnr", lambda: of(FIRST, 1) + of(D, 10), {"###########": 2, "## ### ### ###": 2}),
    "DE_SOCIAL_SECURITY": de_social,
    "DE_ID_CARD": de_id_card,
    # SV (oesterreichische Sozialversicherung): the e-card prints 1234 010180; ELDA ten digits; forms with a stroke.
    "AT_SOCIAL_SECURITY": by("at.vnr", lambda: of(FIRST, 1) + of(D, 3) + f"{date(1935, 2020):%d%m%y}",
                             {"#### ######": 3, "##########": 2, "####/######": 0.7}),
    # BMF, FinanzOnline: 03-046/4142 on notices, nine digits in XML.
    "AT_TAX_ID": by("at.tin", lambda: of(D, 9), {"##-###/####": 3, "## ###/####": 1, "#########": 1}),
    "FR_NIR": fr_nir,
    # DGFiP, "numero fiscal": 30 23 217 600 053 on notices, thirteen digits on impots.gouv.fr.
    "FR_TAX_ID": by("fr.nif", lambda: of("0123", 1) + of(D, 12), {"#############": 2, "## ## ### ### ###": 2}),
    # RD 1553/2005; the card prints 12345678A, forms 12345678-A and 12.345.678-A.
    "ES_DNI": by("es.dni", lambda: of(D, 8) + of(TRW, 1), {"#########": 4, "########-#": 2, "##.###.###-#": 1, "######## #": 0.5}),
    # Orden INT/2058/2008; certificates print X-1234567-L.
    "ES_NIE": by("es.nie", lambda: of("XYZ", 1) + of(D, 7) + of(TRW, 1), {"#########": 4, "#-#######-#": 2, "########-#": 0.5}),
    # Orden EHA/451/2008; invoices also B-12345678.
    "ES_CIF": by("es.cif", lambda: of("AABBBFGHJQPSUV", 1) + of(D, 7) + of("ABCDEFGHIJ" + D, 1), {"#########": 4, "#-########": 1.5}),
    "IT_FISCAL_CODE": fiscal_code,
    # DPR 633/1972 art. 35; VIES puts IT in front.
    "IT_VAT": by("it.iva", lambda: of("0", 1) + of(D, 10) if R.random() < 0.7 else of("1", 1) + of(D, 10),
                 {"###########": 3, "IT###########": 1.5, "IT ###########": 0.4}),
    # RvIG: nine digits; old sofi letters 1234.56.789.
    "NL_BSN": by("nl.bsn", lambda: of("123456789", 1) + of(D, 8), {"#########": 5, "####.##.###": 1}),
    "PL_PESEL": pesel,
    # Ustawa o NIP: 123-456-32-18 for companies, 123-45-67-819 for persons; JPK ten digits; PL for VIES.
    "PL_NIP": by("pl.nip", lambda: of(FIRST, 3) + of(D, 7),
                 {"###-###-##-##": 2, "###-##-##-###": 1, "##########": 3, "PL##########": 1}),
    "SE_PERSONAL_NUMBER": swedish,
    "FI_HETU": finnish,
    "DK_CPR": danish,
    "NO_FNR": norwegian,
    # AT (Autoridade Tributaria): nine digits; invoices group by three; PT for VIES.
    "PT_NIF": by("pt.nif", lambda: of("1235", 1) + of(D, 8), {"#########": 4, "### ### ###": 1.5, "PT#########": 1}),
    # IRN: the card prints 12345678 9 ZZ4.
    "PT_CITIZEN_CARD": by("pt.cc", lambda: of("123", 1) + of(D, 8) + "Z" + of("XYZ", 1) + of(D, 1), {"######## # ###": 2, "############": 2}),
    "BE_NRN": belgian,
    # BSV/ZAS: 756.1234.5678.97; in eCH-0044 thirteen digits.
    "CH_AHV": by("ch.ssn", lambda: "756" + of(D, 10), {"###.####.####.##": 4, "#############": 1.5}),
    # BFS, UID register: CHE-123.456.788; eCH-0108 without marks.
    "CH_UID": by("ch.uid", lambda: "CHE" + of("1234", 1) + of(D, 8), {"###-###.###.###": 3, "############": 1}),
    # UIDAI: 1234 5678 9012 on the card; e-KYC twelve digits.
    "IN_AADHAAR": by("in_.aadhaar", lambda: of("23456789", 1) + of(D, 11), {"#### #### ####": 3, "############": 2, "####-####-####": 0.7}),
    "IN_PAN": by("in_.pan", lambda: of(U, 3) + of("PPPPPCHFT", 1) + of(U, 1) + of(D, 4) + of(U, 1), {"##########": 1}),
    # ATO: 123 456 782.
    "AU_TFN": by("au.tfn", lambda: of(FIRST, 1) + of(D, 8), {"### ### ###": 2, "#########": 2}),
    # ABR: 51 824 753 556.
    "AU_ABN": by("au.abn", lambda: of(FIRST, 1) + of(D, 10), {"## ### ### ###": 3, "###########": 2}),
    "AU_MEDICARE": medicare,
    # Service Canada: 123 456 789 on letters; forms with dashes; T4 XML nine digits.
    "CA_SIN": by("ca.sin", lambda: of("1234579", 1) + of(D, 8), {"### ### ###": 2, "###-###-###": 2, "#########": 2}),
    "SG_NRIC": nric,
    "KR_RRN": korean,
    # Receita Federal, IN 1.548/2015.
    "BR_CPF": by("br.cpf", lambda: of(D, 11), {"###.###.###-##": 3, "###########": 1.5}),
    "BR_CNPJ": cnpj,
}


def card():
    # ISO/IEC 7812 ranges as the schemes publish them; grouped as embossed.
    def made(head, length):
        payload = head + of(D, length - len(head) - 1)
        return payload + luhn.calc_check_digit(payload)

    head, length = R.choice([
        ("4", 16), ("4", 16), ("4", 16), (str(R.randint(51, 55)), 16), (str(R.randint(51, 55)), 16), (str(R.randint(2221, 2720)), 16),
        ("34", 15), ("37", 15), ("6011", 16), ("65", 16), (str(R.randint(644, 649)), 16), (str(R.randint(3528, 3589)), 16),
        ("36", 14), (str(R.randint(300, 305)), 14), (str(R.randint(622126, 622925)), 16)])
    number = made(head, length)
    forms = {16: {"#" * 16: 3, "#### #### #### ####": 3, "####-####-####-####": 1}, 15: {"#" * 15: 1, "#### ###### #####": 1},
             14: {"#" * 14: 1, "#### ###### ####": 1}}[length]
    return written(number, forms)


COUNTRIES = sorted(c for c in registry.get_countries() if not IBAN.random(country_code=c, random=R).is_aspirational)


def iban():
    # ISO 13616: electronic in one piece, on paper in groups of four.
    while True:
        number = IBAN.random(country_code=R.choice(COUNTRIES + ["DE", "FR", "ES", "IT", "NL", "AT", "CH", "GB", "PL", "BE"] * 4), random=R)
        if stdnum_iban.is_valid(number.compact):
            return number.compact if R.random() < 0.45 else number.formatted


LOCALES = ["en_US", "en_GB", "de_DE", "fr_FR", "es_ES", "it_IT", "nl_NL", "pl_PL", "pt_BR", "sv_SE", "da_DK", "no_NO", "fi_FI"]
FAKE = {locale: Faker(locale) for locale in LOCALES}


def email():
    f, kind = FAKE[R.choice(LOCALES)], R.random()
    if kind < 0.4:
        return f.ascii_company_email() if kind < 0.2 else f.ascii_free_email()
    user = R.choice([f.user_name() + "+" + R.choice(["news", "shop", "2031", "test-1"]), "info", "no-reply", "j.o." + f.user_name(),
                     f.user_name().capitalize(), f.user_name() + "_" + of(D, 2), of(L, 1) + of(D, 6), f.user_name() + "-ext",
                     of(HEX, 8), of(L, 1) + "." + f.user_name()])
    return user + "@" + R.choice([f.domain_name(), "mail." + f.domain_name(), f.free_email_domain(), of(L, 5) + ".co.uk",
                                  of(L, 6) + ".com.au", of(L, 4) + "-" + of(L, 5) + ".gov.br", of(L, 7) + ".museum", of(L, 3) + ".io"])


REGIONS = ["US", "GB", "DE", "AT", "CH", "FR", "ES", "IT", "NL", "BE", "PL", "PT", "BR", "SE", "DK", "NO", "FI", "IE", "AU", "CA", "IN",
           "SG", "KR", "JP", "CZ", "HU", "RO", "GR", "TR", "MX", "NZ", "ZA"]


def phone():
    # Formats are libphonenumber's; 00 instead of + is ITU-T E.123's usual prefix in Europe.
    kinds, style = phonenumbers.PhoneNumberType, phonenumbers.PhoneNumberFormat
    region = R.choice(REGIONS)
    example = phonenumbers.example_number_for_type(region, R.choice([kinds.MOBILE, kinds.MOBILE, kinds.FIXED_LINE]))
    while True:
        national = str(example.national_number)
        national = national[:-6] + of(D, 6)
        number = phonenumbers.parse("+%d%s%s" % (example.country_code, "0" if example.italian_leading_zero else "", national))
        if phonenumbers.is_valid_number(number):
            break
    kind = R.random()
    if kind < 0.35:
        return phonenumbers.format_number(number, style.INTERNATIONAL)
    if kind < 0.55:
        return phonenumbers.format_number(number, style.E164)
    if kind < 0.65 and region in ("DE", "AT", "CH", "FR", "ES", "IT", "NL", "BE", "PL", "PT", "SE", "DK", "NO", "GB"):
        return "00" + phonenumbers.format_number(number, style.INTERNATIONAL)[1:]
    return phonenumbers.format_number(number, style.NATIONAL)


def ip():
    kind = R.random()
    if kind < 0.4:
        while not (address := ipaddress.IPv4Address(R.getrandbits(32))).is_global:
            pass
        return str(address)
    if kind < 0.6:
        return str(ipaddress.IPv4Address(R.choice([0x0A000000 + R.getrandbits(24), 0xC0A80000 + R.getrandbits(16), 0xAC100000 + R.getrandbits(20)])))
    # RFC 5952 for the short form, RFC 4291 for the long one.
    head = R.choice([0x20010DB8, 0x2A020810, 0x26001F18, 0x24048000, 0xFE800000, 0xFD3C11A0]) << 96
    address = ipaddress.IPv6Address(head + R.getrandbits(R.choice([16, 64, 90])))
    return address.exploded if R.random() < 0.2 else str(address)


def mac():
    # IEEE 802: hyphens; Unix colons; Cisco dots.
    head = R.choice(["001a2b", "3c5282", "a4c3f0", "f0def1", "dca632", "b827eb", "9c8e99"])
    whole = head + of(HEX, 6)
    return written(R.choice([whole, whole.upper()]), {"##:##:##:##:##:##": 4, "##-##-##-##-##-##": 2}) if R.random() < 0.85 else written(
        whole, {"####.####.####": 1})


def url():
    # RFC 3986 userinfo, as the drivers' manuals show it.
    f = FAKE["en_US"]
    user = R.choice(["app", "postgres", "root", "admin", "svc_" + f.word(), f.user_name(), "reader%40corp", "oauth2", "default"])
    password = R.choice([of(U + L + D, 16), of(L, 6) + "-" + of(D, 4), "Winter2030!", "p%40ss%3Aword", of(HEX, 24), "s3cr3t", f.word() + of(D, 3) + "!",
                         "changeme", of(U + L + D, 8) + "_" + of(L, 4)])
    host = R.choice([f.domain_name(), "10.%d.%d.%d" % (R.randint(0, 9), R.randint(0, 254), R.randint(1, 254)), "localhost", "db",
                     "redis-" + of(D, 5) + ".c1.eu-central-1.ec2.cloud.example", "cluster0." + of(L + D, 5) + ".mongodb.example"])
    scheme, tail = R.choice([
        ("postgres", ":5432/" + f.word()), ("postgresql", ":6432/app?sslmode=require"), ("mysql", ":3306/" + f.word()),
        ("mariadb", ":3306/shop"), ("mongodb+srv", "/?retryWrites=true&w=majority"), ("mongodb", ":27017/admin"), ("redis", ":6379/0"),
        ("rediss", ":6380"), ("amqp", ":5672/%2F"), ("https", "/" + f.word() + "/repo.git"), ("https", ":9200"), ("ftp", "/incoming/" + f.word() + ".xml"),
        ("sftp", "/upload"), ("smtp", ":587"), ("smtps", ":465"), ("http", ":8080/proxy.pac"), ("jdbc:postgresql", "/" + f.word()),
        ("rtsp", ":554/cam/2"), ("cockroachdb", ":26257/defaultdb"), ("nats", ":4222"), ("mqtts", ":8883"), ("socks5h", ":1080"),
        ("ldaps", ":636"), ("couchdb", ":5984"), ("mssql", ":1433/" + f.word())])
    # JDBC's own form of userinfo is not RFC 3986's; PostgreSQL's driver does not take it, so it is left out.
    return url() if scheme.startswith("jdbc") else f"{scheme}://{user}:{password}@{host}{tail}"


def birthday():
    # CLDR's forms and the usual numeric ones; the text's language is not known here.
    born, kind = date(1928, 2019), R.random()
    if kind < 0.3:
        return born.isoformat()
    if kind < 0.75:
        return born.strftime(R.choice(["%d.%m.%Y", "%d.%m.%Y", "%d/%m/%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d" if R.random() < 0.3 else "%d.%m.%Y", "%d/%m/%y"]))
    if kind < 0.85:
        return born.strftime(R.choice(["%d-%b-%Y", "%d %b %Y", "%b %d, %Y", "%d%b%Y"])) if R.random() < 0.9 else born.strftime("%d-%b-%Y").upper()
    return format_date(born, "long", locale=R.choice(["en_US", "en_GB", "de", "fr", "es", "it", "nl", "pl", "sv", "da", "nb", "fi", "pt", "ko"]))


def shaped(*forms):
    """A letter for A, a digit for 0."""
    return "".join(of(U, 1) if c == "A" else of(D, 1) if c == "0" else c for c in R.choice(forms))


def passport():
    # PRADO (Council of the EU) and the issuing offices: US letter and eight digits (since 2021), GB nine digits, DE C/F/G/H/J/K
    # and eight of its alphabet, FR two digits two letters five digits, ES three letters six digits, IT two letters seven
    # digits, PL two letters seven digits, IN letter and seven digits, CA two letters six digits (since 2023 letter, six digits,
    # two letters), AU letter(s) and seven digits, BR two letters six digits, KR M and eight digits or M, three digits, letter,
    # four digits (since 2021), SG K, seven digits, letter, CH letter and seven digits, NL two letters and more, SE eight digits
    # or two letters and six digits, PT letter(s) and six digits, AT letter and seven digits, BE two letters six digits.
    if R.random() < 0.12:
        return of("CFGHJK", 1) + of("0123456789CFGHJKLMNPRTVWXYZ", 7) + of(D, 1)
    return shaped("A00000000", "A00000000", "000000000", "000000000", "00AA00000", "AAA000000", "YB0000000", "EA0000000", "Z0000000",
                  "AA000000", "A000000AA", "PA0000000", "RA0000000", "FS000000", "M00000000", "M000A0000", "K0000000A", "X0000000",
                  "AA000000", "CA000000", "U0000000", "GA000000", "U00000000")


def licence():
    # AAMVA's list of state forms (US), DVLA (INF45), FE-Register (DE), MIT (IT), ANTS (FR), RDW (NL), MoRTH Sarathi (IN),
    # ICBC/SAAQ/MTO (CA), SENATRAN (BR), state offices (AU), 도로교통공단 (KR).
    if R.random() < 0.1:
        born, name = date(1950, 2008), (FAKE["en_GB"].last_name().upper().replace("'", "") + "99999")[:5]
        return f"{name}{born.year // 10 % 10}{born.month + R.choice([0, 50]):02}{born:%d}{born.year % 10}{of(U, 1)}{R.choice([of(U, 1), '9'])}9{of(U, 2)}"
    if R.random() < 0.1:
        return of("BJKLNST", 1) + "".join(of(D + "ABCDE", 1) for _ in range(8)) + of(D + "X", 1) + of("12", 1)
    if R.random() < 0.1:
        # State, office, year of issue, seven digits.
        state, year = R.choice(["MH", "DL", "KA", "TN", "UP", "GJ"]) + f"{R.randint(1, 48):02}", R.randint(1998, 2026)
        return f"{state}{R.choice([' ', ' ', '-'])}{year}{of(D, 7)}"
    return shaped("A0000000", "A000-0000-0000", "A0000-00000-00000", "000000000000", "AA0000000A", "U10000000A", "0000000000",
                  "00-00-000000-00", "00000000", "00000000000", "A000-000-00-000-0", "000 000 000", "A00000000", "0000000")


def ton():
    # TON docs, "Smart contract addresses": tag, workchain, hash, CRC16, base64url.
    body = bytes([0x11 if R.random() < 0.5 else 0x51, 0]) + R.randbytes(32)
    return base64.urlsafe_b64encode(body + binascii.crc_hqx(body, 0).to_bytes(2, "big")).decode()


def wallet():
    made = ton() if R.random() < 0.04 else ninth_values.wallet()
    if re.match(r"(bc1|[13])[0-9a-zA-Z]{25,}$", made) and len(made) < 36 and made[0] in "13":
        assert bitcoin.is_valid(made), made
    return made


FREE = {"CREDIT_CARD": card, "IBAN": iban, "EMAIL": email, "PHONE": phone, "IP_ADDRESS": ip, "MAC_ADDRESS": mac,
        "URL_CREDENTIALS": url, "DATE_OF_BIRTH": birthday, "PASSPORT": passport, "DRIVING_LICENCE": licence, "CRYPTO_ADDRESS": wallet}

if __name__ == "__main__":
    for entity, make in sorted((NUMBERS | FREE).items()):
        for value in sorted({make() for _ in range(240 if entity in FREE else 100)}):
            print(f"{entity}\t{value}")
