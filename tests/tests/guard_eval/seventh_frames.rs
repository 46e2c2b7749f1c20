//! The seventh draw's frames and innocent texts: fields that the six draws before do not have (records of a clinic, tenancy,
//! court, text messages, subtitles, exports of a shop's customers, shells, diffs, infrastructure as code).

pub(crate) const FRAMES: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "{L}\n------\n{V}",
            "$ echo \"{L}: {V}\"",
            "-{L}: none\n+{L}: {V}",
            "variable \"{L}\" {\n  default = \"{V}\"\n}",
            "<entry key=\"{L}\">{V}</entry>",
            "{L}|{V}|2031-04-02|closed",
            "WHERE {L} = '{V}' LIMIT 1",
            "00:01:12 --> 00:01:15\n{L}: {V}",
            "fields: {L} ({V}), status (new)",
            "[INFO] {L} -> {V} [done]",
            "{L} \u{2022} {V}",
            "> > {L}: {V}\n> noted",
        ],
    ),
    (
        "en",
        &[
            "hey its me, new {L} is {V}, delete the old one ok",
            "Intake form, page 2. {L}: {V}. Allergies: none.",
            "The tenant gave {V} as {L} when the lease was signed.",
            "Exhibit C shows the {L} of the defendant, {V}, in the upper corner.",
            "Sorry, wrong {L} earlier. Use {V} instead!",
            "We could not reach anyone under the {L} {V} last week.",
            "My husband's {L} is {V} and mine is on the other sheet.",
            "If the {L} on your badge is not {V}, tell reception.",
            "Whose {L} is {V}?",
            "According to the export, {V} was entered as {L} twice.",
            "Kindly amend the {L} in your books to read {V}, with effect from May.",
            "The courier only wrote down \"{L} {V}\" and left.",
        ],
    ),
    (
        "de",
        &[
            "Im Mietvertrag steht die {L} {V}.",
            "Sorry, falsche {L}! Nimm {V} stattdessen.",
            "Laut Aufnahmebogen: {L} {V}, keine Allergien.",
            "Wem gehört die {L} {V}?",
        ],
    ),
    (
        "fr",
        &[
            "Le bail mentionne le {L} {V}.",
            "Désolé, mauvais {L} ! Prends {V} à la place.",
            "Fiche d'admission : {L} {V}, aucune allergie.",
            "À qui appartient le {L} {V} ?",
        ],
    ),
    (
        "es",
        &[
            "En el contrato de alquiler aparece el {L} {V}.",
            "Perdona, el {L} estaba mal. Usa {V} en su lugar.",
            "Ficha de ingreso: {L} {V}, sin alergias.",
            "¿De quién es el {L} {V}?",
        ],
    ),
    (
        "it",
        &[
            "Nel contratto d'affitto compare il {L} {V}.",
            "Scusa, {L} sbagliato! Usa {V}.",
            "Scheda d'ingresso: {L} {V}, nessuna allergia.",
        ],
    ),
    (
        "nl",
        &[
            "In het huurcontract staat {L} {V}.",
            "Sorry, verkeerde {L}! Neem {V}.",
            "Intake: {L} {V}, geen allergieën.",
        ],
    ),
    (
        "pl",
        &[
            "W umowie najmu jest {L} {V}.",
            "Przepraszam, zły {L}! Użyj {V}.",
            "Karta przyjęcia: {L} {V}, bez alergii.",
        ],
    ),
    (
        "sv",
        &[
            "I hyresavtalet står {L} {V}.",
            "Förlåt, fel {L}! Ta {V}.",
            "Inskrivning: {L} {V}, inga allergier.",
        ],
    ),
    (
        "fi",
        &[
            "Vuokrasopimuksessa on {L} {V}.",
            "Anteeksi, väärä {L}! Käytä {V}.",
            "Tulotiedot: {L} {V}, ei allergioita.",
        ],
    ),
    (
        "da",
        &[
            "I lejekontrakten står {L} {V}.",
            "Undskyld, forkert {L}! Tag {V}.",
            "Indskrivning: {L} {V}, ingen allergier.",
        ],
    ),
    (
        "no",
        &[
            "I leiekontrakten står {L} {V}.",
            "Beklager, feil {L}! Ta {V}.",
            "Innskriving: {L} {V}, ingen allergier.",
        ],
    ),
    (
        "pt",
        &[
            "No contrato de arrendamento consta o {L} {V}.",
            "Desculpe, {L} errado! Use {V}.",
            "Ficha de admissão: {L} {V}, sem alergias.",
        ],
    ),
    (
        "ko",
        &[
            "임대 계약서에 {L} {V} 가 적혀 있습니다.",
            "죄송해요, {L} 가 틀렸어요. {V} 로 바꿔 주세요.",
            "접수 기록: {L} {V}, 알레르기 없음.",
        ],
    ),
];

pub(crate) const INNOCENT: &[&str] = &[
    "case {A}{A}-{4}/{2} adjourned to {D}",
    "lane {1}, bay {2}, pallet {A}{8}",
    "npm i left-pad@{1}.{2}.{1} --save-exact",
    "layer {H12}: Pull complete, {8} B",
    "elevation {4} m, azimuth {3}.{2}",
    "{T} DEBUG gc pause {2}.{3} ms heap {9}",
    "reel {A}{A}{3}, take {2}",
    "Flurstück {4}/{2}, Gemarkung {3}",
    "coupon {A}{A}{A}{A}{A}-{4}",
    "chunk {U} of upload {H24}",
    "sku={A}{A}{A}-{5}-{A}{A} qty={2}",
    "chip select {1}, register 0x{H8}, value 0x{H16}",
    "Kassenbon {12}, Kasse {2}",
    "ticket de caisse {10}, caisse {2}",
    "recibo {9} pagado el {D}",
    "scontrino {8} del {D}",
    "bon {9}, kassa {2}",
    "paragon {10}, kasa {1}",
    "kvitto {9}, kassa {2}",
    "frame {7} at {2}.{3} fps",
    "s3://media-{5}/raw/{U}/clip-{6}.mov",
    "integrity sha256-{H40}{H24}",
    "go.sum: v{1}.{2}.{1} h1:{H40}",
    "image {H12}/app:{1}.{2}.{2}",
    "ISBN {13}, shelf {A}{2}",
    "seed {10} gave loss {1}.{5}",
    "lot {A}{7} expires {D}",
    "rack {2}, unit {2}, serial {A}{A}{A}{9}",
    "poll {5} closed with {6} votes",
    "€{3}.{3},{2} for {2} licences of {A}{A}-{4}",
];
