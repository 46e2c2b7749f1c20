//! What numbers are called that every country has: a kind of number, and the country that gives it out. So "Portuguese tax
//! number" and "belgisch nationaal nummer" need no entry of their own.

use crate::entity::Entity;

const TAX: u8 = 0;
const COMPANY: u8 = 1;
const SOCIAL: u8 = 2;
const PERSONAL: u8 = 3;
const CARD: u8 = 4;
const HEALTH: u8 = 5;

/// Words for each kind, separated by `|`.
pub(super) const KINDS: [&str; 6] = [
    "tax|tax id|tax number|tax no|tax code|tax identification|tax identifier|taxpayer|tin|fiscal|fiscale|fiscaal|\
     fiscal number|steuer|steuernummer|steuernr|steuer-id|steueridentifikationsnummer|impôt|impôts|numéro fiscal|tributario|\
     tributaria|número fiscal|identificación fiscal|imposta|tasse|codice fiscale|belasting|belastingdienst|belastingnummer|\
     fiscaal nummer|podatkowy|podatkowa|podatnika|numer podatkowy|skatt|skat|skattenummer|skattenr|skatteverket|vero|\
     verotunnus|veronumero|imposto|tributário|identificação fiscal|납세|세금|税号|税番号",
    "vat|vat id|vat number|vat no|vat registration|ust-id|ust-idnr|umsatzsteuer|mwst|tva|iva|btw|btw-nummer|moms|\
     momsnummer|alv|company|company number|company id|company tax|business|business number|unternehmen|firma|firmen|\
     firmennummer|entreprise|société|empresa|sociedad|azienda|impresa|società|bedrijf|onderneming|ondernemingsnummer|\
     spółka|företag|organisationsnummer|virksomhed|bedrift|yritys|sociedade",
    "social security|social insurance|insurance number|insurance no|insurance id|pension|pension number|\
     sozialversicherung|sozialversicherungsnummer|versicherungsnummer|sécurité sociale|assurance sociale|seguridad social|\
     seguro social|previdenza sociale|assicurazione sociale|sociale zekerheid|ubezpieczenia|ubezpieczenie|\
     socialförsäkring|sosiaaliturva|sosiaaliturvatunnus|segurança social|trygd|사회보장|社会保障",
    "national id|national number|national no|national identity|national identification|national identifier|\
     national insurance|national register|id number|id no|id code|identity|identity number|identity code|\
     identification number|identification code|identification no|personal number|personal no|personal id|personal code|\
     personal identity|personal identification|civil registration|citizen|citizen number|citizen id|person number|\
     person id|resident|residence|birth number|kennnummer|personenkennzahl|personenkennziffer|personennummer|identité|\
     numéro national|numéro d'identité|identidad|número de identidad|identità|identiteit|identiteitsnummer|\
     nationaal nummer|burger|burgernummer|tożsamości|identitet|identitetsnummer|personnummer|henkilötunnus|henkilö|\
     identidade|foreigner|신분|주민|身份|証明",
    "id card|identity card|identity document|id document|id-card|card|ausweis|personalausweis|carte d'identité|\
     tarjeta de identidad|cédula|carta d'identità|identiteitskaart|dowód|dowód osobisty|dowodu|id-kort|identitetskort|\
     henkilökortti|cartão|bilhete de identidade|신분증|身份证",
    "health|health service|health card|health insurance|healthcare|patient|medical|medicare|krankenversicherung|\
     gesundheit|santé|salud|sanità|gezondheid|zdrowia|hälsa|helse|terveys|saúde",
];

/// What each kind is called in names of fields of programs, before or behind the country's code: `ssn_se`, `de_tax_id`.
pub(super) const FIELDS: [&str; 6] = [
    "tax id|tax no|tax number|tin|taxid",
    "vat|vat id|vat no|vat number|company id|tax id",
    "ssn|social security|social security number|social security no",
    "ssn|national id|nin|id number|id no|personal id|person id|personal number|national number|personal code",
    "id card|identity card|id card no|id card number",
    "health id|health no|health number",
];

/// A country: its code (ISO 3166), words for it and what is of it, in the languages in which people write about it, and the
/// kinds of its numbers.
pub(super) struct Country {
    pub(super) code: &'static str,
    pub(super) words: &'static str,
    pub(super) numbers: &'static [(Entity, &'static [u8])],
}

pub(super) const COUNTRIES: &[Country] = &[
    Country {
        code: "us",
        words: "american|usa|united states|u.s.|amerikanische|amerikanisch|américain|américaine|estadounidense|americano|\
                amerikaans|amerykański|amerikansk|yhdysvaltain|미국",
        numbers: &[(Entity::US_SSN, &[SOCIAL]), (Entity::US_ITIN, &[TAX])],
    },
    Country {
        code: "uk",
        words: "uk|u.k.|british|britain|united kingdom|english|britische|britisch|britannique|británico|britannico|brits|\
                brytyjski|brittisk|britisk|britannian|britânico|영국",
        numbers: &[(Entity::UK_NINO, &[SOCIAL, PERSONAL, TAX]), (Entity::UK_NHS, &[HEALTH])],
    },
    Country {
        code: "de",
        words: "german|germany|deutsche|deutscher|deutsches|deutschland|allemand|allemande|allemagne|alemán|alemana|alemania|\
                tedesco|tedesca|germania|duits|duitse|duitsland|niemiecki|niemiec|tysk|tyska|saksan|saksalainen|alemão|alemã|\
                alemanha|독일",
        numbers: &[
            (Entity::DE_TAX_ID, &[TAX]),
            (Entity::DE_SOCIAL_SECURITY, &[SOCIAL]),
            (Entity::DE_ID_CARD, &[CARD, PERSONAL]),
        ],
    },
    Country {
        code: "at",
        words: "austrian|austria|österreich|österreichische|österreichischer|österreichischen|autrichien|autrichienne|autriche|\
                austriaco|austriaca|oostenrijks|oostenrijkse|oostenrijk|austriacki|österrikisk|østrigsk|østerriksk|\
                itävallan|오스트리아",
        numbers: &[(Entity::AT_SOCIAL_SECURITY, &[SOCIAL]), (Entity::AT_TAX_ID, &[TAX])],
    },
    Country {
        code: "fr",
        words: "french|france|französische|französischer|frankreich|français|française|francés|francesa|francia|francese|\
                frans|franse|frankrijk|francuski|fransk|franska|ranskan|ranskalainen|francês|frança|프랑스",
        numbers: &[(Entity::FR_NIR, &[SOCIAL, PERSONAL, HEALTH]), (Entity::FR_TAX_ID, &[TAX])],
    },
    Country {
        code: "es",
        words: "spanish|spain|spanische|spanischer|spanien|espagnol|espagnole|espagne|español|española|españa|spagnolo|spagnola|\
                spaans|spaanse|spanje|hiszpański|spansk|spanska|espanjan|espanjalainen|espanhol|espanhola|스페인",
        numbers: &[
            (Entity::ES_DNI, &[PERSONAL, CARD, TAX]),
            (Entity::ES_NIE, &[PERSONAL, CARD, TAX]),
            (Entity::ES_CIF, &[COMPANY, TAX]),
        ],
    },
    Country {
        code: "it",
        words: "italian|italy|italienische|italienischer|italien|italienne|italie|italiano|italiana|italia|italiaans|\
                italiaanse|włoski|italiensk|italienska|italialainen|이탈리아",
        numbers: &[(Entity::IT_FISCAL_CODE, &[TAX, PERSONAL]), (Entity::IT_VAT, &[COMPANY])],
    },
    Country {
        code: "nl",
        words: "dutch|netherlands|niederländische|niederländischer|niederlande|néerlandais|néerlandaise|pays-bas|neerlandés|\
                holandés|países bajos|olandese|nederlands|nederlandse|nederland|holenderski|niderlandzki|nederländsk|\
                hollandsk|nederlandsk|hollannin|alankomaiden|holandês|neerlandês|네덜란드",
        numbers: &[(Entity::NL_BSN, &[PERSONAL, TAX, SOCIAL])],
    },
    Country {
        code: "pl",
        words: "polish|poland|polnische|polnischer|polen|polonais|polonaise|pologne|polaco|polaca|polonia|polacco|polacca|pools|\
                poolse|polski|polska|polskie|polsk|puolan|puolalainen|polonês|폴란드",
        numbers: &[(Entity::PL_PESEL, &[PERSONAL]), (Entity::PL_NIP, &[TAX, COMPANY])],
    },
    Country {
        code: "se",
        words: "swedish|sweden|schwedische|schwedischer|schweden|suédois|suédoise|suède|sueco|sueca|suecia|svedese|svezia|zweeds|\
                zweedse|zweden|szwedzki|svensk|svenska|svenskt|sverige|ruotsin|ruotsalainen|스웨덴",
        numbers: &[(Entity::SE_PERSONAL_NUMBER, &[PERSONAL, SOCIAL, TAX])],
    },
    Country {
        code: "fi",
        words: "finnish|finland|finnische|finnischer|finnland|finlandais|finlandaise|finlande|finlandés|finlandesa|finlandia|\
                finlandese|fins|finse|fiński|finsk|finska|suomen|suomalainen|finlandês|핀란드",
        numbers: &[(Entity::FI_HETU, &[PERSONAL, SOCIAL, TAX])],
    },
    Country {
        code: "dk",
        words: "danish|denmark|dänische|dänischer|dänemark|danois|danoise|danemark|danés|danesa|dinamarca|danese|danimarca|\
                deens|deense|denemarken|duński|dansk|danska|danmark|tanskan|tanskalainen|dinamarquês|덴마크",
        numbers: &[(Entity::DK_CPR, &[PERSONAL, SOCIAL, TAX])],
    },
    Country {
        code: "no",
        words: "norwegian|norway|norwegische|norwegischer|norwegen|norvégien|norvégienne|norvège|noruego|noruega|norvegese|\
                norvegia|noors|noorse|noorwegen|norweski|norsk|norska|norge|norjan|norjalainen|norueguês|노르웨이",
        numbers: &[(Entity::NO_FNR, &[PERSONAL, SOCIAL, TAX])],
    },
    Country {
        code: "pt",
        words: "portuguese|portugal|portugiesische|portugiesischer|portugais|portugaise|portugués|portuguesa|portoghese|\
                portogallo|portugees|portugese|portugalski|portugisisk|portugalin|português|포르투갈",
        numbers: &[(Entity::PT_NIF, &[TAX, COMPANY]), (Entity::PT_CITIZEN_CARD, &[CARD, PERSONAL])],
    },
    Country {
        code: "be",
        words: "belgian|belgium|belgische|belgischer|belgien|belge|belgique|belga|bélgica|belgio|belgisch|belgië|belgijski|\
                belgisk|belgialainen|벨기에",
        numbers: &[(Entity::BE_NRN, &[PERSONAL, SOCIAL, TAX])],
    },
    Country {
        code: "ch",
        words: "swiss|switzerland|schweizer|schweizerische|schweiz|suisse|suizo|suiza|svizzero|svizzera|zwitsers|zwitserse|\
                zwitserland|szwajcarski|schweizisk|sveitsiläinen|sveitsin|suíço|스위스",
        numbers: &[(Entity::CH_AHV, &[SOCIAL, PERSONAL]), (Entity::CH_UID, &[COMPANY, TAX])],
    },
    Country {
        code: "in",
        words: "indian|india|indische|indien|indienne|inde|indio|indiano|indiaas|indyjski|indisk|intialainen|인도|भारत",
        numbers: &[(Entity::IN_AADHAAR, &[PERSONAL]), (Entity::IN_PAN, &[TAX])],
    },
    Country {
        code: "au",
        words: "australian|australia|australische|australien|australienne|australie|australiano|australisch|australijski|\
                australsk|australialainen|호주",
        numbers: &[(Entity::AU_TFN, &[TAX]), (Entity::AU_ABN, &[COMPANY]), (Entity::AU_MEDICARE, &[HEALTH])],
    },
    Country {
        code: "ca",
        words: "canadian|canada|kanadische|kanada|canadien|canadienne|canadiense|canadese|canadees|kanadyjski|kanadensisk|\
                kanadalainen|캐나다",
        numbers: &[(Entity::CA_SIN, &[SOCIAL, PERSONAL])],
    },
    Country {
        code: "sg",
        words: "singapore|singaporean|singapur|singapour|singapura|싱가포르|新加坡",
        numbers: &[(Entity::SG_NRIC, &[PERSONAL, CARD])],
    },
    Country {
        code: "kr",
        words: "korean|korea|koreanische|südkorea|coréen|coréenne|corée|coreano|corea|koreaans|koreański|koreansk|한국|대한민국|韩国",
        numbers: &[(Entity::KR_RRN, &[PERSONAL, CARD])],
    },
    Country {
        code: "br",
        words: "brazilian|brazil|brasilianische|brasilien|brésilien|brésilienne|brésil|brasileño|brasileña|brasiliano|\
                braziliaans|brazylijski|brasiliansk|brasileiro|brasileira|brasil|브라질",
        numbers: &[(Entity::BR_CPF, &[TAX, PERSONAL]), (Entity::BR_CNPJ, &[COMPANY])],
    },
];
