//! What people write beside the numbers of each kind, in the languages in which they write about it.
//! Matched without regard to ASCII case, as whole words.

use crate::entity::Entity;

/// Words by entity, separated by `|`.
pub(super) const WORDS: &[(Entity, &str)] = &[
    (
        Entity::CREDIT_CARD,
        "card|card number|cb|numéro de cb|n° de carte|numéro de carte|credit card|debit card|visa|mastercard|amex|american express|pan|kreditkarte|\
         kreditkartennummer|karte|carte|carte bancaire|carte de crédit|tarjeta|carta|carta di credito|kaart|\
         kaartnummer|creditcard|karta|karty|kort|kortnummer|kortti|luottokortti|cartão|maestro|discover|diners\
         |cc|cc number|card no|ccn|pan number|kartennummer|kartennr|kredittkort|bankkort|betaalkaart|n° cb\
         |carte bleue|nr karty|número de tarjeta|numero carta|número do cartão|카드번호|카드|卡号|信用卡|cardholder",
    ),
    (
        Entity::IBAN,
        "iban|account|konto|kontonummer|compte|cuenta|conto|rekening|rekeningnummer|tili|conta|rachunek\
         |bankkonto|bankverbindung|kontonr|rekeningnr|nr konta|cuenta bancaria|compte bancaire|계좌",
    ),
    (
        Entity::PHONE,
        "phone|telephone|tel|call|call me|mobile|cell|fax|whatsapp|sms|text me|dial|hotline|reach me|contact|\
         phone number|telefon|telefonnummer|handy|handynummer|mobil|anrufen|rufnummer|ruf|rufen|téléphone|\
         telephone|portable|appelez|appeler|joindre|numéro de téléphone|teléfono|móvil|llama|llame|llamar|\
         telefono|cellulare|chiama|chiamare|chiamami|telefoon|telefoonnummer|mobiel|bel|bellen|nummer|komórka|\
         zadzwoń|dzwonić|numer telefonu|mobilnummer|ring|ringa|puhelin|puhelinnumero|soita|ligue|telemóvel|\
         telefone|celular|phone no|mob|ph|電話|전화|전화번호|휴대폰\
         |callback|call back|cellphone|cell phone|contact number|fixe|handynr|mobilnr|tlf|tel nr\
         |nr telefonu|telefonu|komórkowy|gsm|telefonszám|telefoni|matkapuhelin\
         |tél|fon|fone|fono|msisdn|caller id|contact no|recapito|recapito telefonico|recapiti\
         |telefónico|telefonico|telefoniczny|telefoniczne|kontakt|tfno|teléf|telef|tlfn|tfn|puh|puhelinnro\
         |matkapuh|fijo|durchwahl|rückruf|rückrufnummer|mobiltelefon|mobilfunk|telefonnr|telnr|nr tel\
         |nº de teléfono|n° de tél|numéro de portable|numéro de tél|cel|contacto|contatto|contato\
         |emergency contact|viber|telegram|연락처|携帯|手机|电话",
    ),
    (
        Entity::IP_ADDRESS,
        "ip|ip address|ipv4|ipv6|host|client|remote|ip-adresse|adresse ip|dirección ip|indirizzo ip",
    ),
    (
        Entity::MAC_ADDRESS,
        "mac|mac address|hardware address|physical address|ethernet|bssid|wlan|wi-fi|wifi|nic|lladdr|hwaddr|ether|\
         mac-adresse|adresse mac|dirección mac|indirizzo mac|mac-adres|adres mac|mac-adress|mac-osoite|endereço mac",
    ),
    (
        Entity::DATE_OF_BIRTH,
        "born|born on|birth|date of birth|birth date|birthdate|birthday|dob|d.o.b.|d.o.b|geboren|geboren am|\
         geburtsdatum|geburtstag|geb.|geb|né le|née le|né|née|naissance|date de naissance|nacido|nacida|nació|\
         nacimiento|fecha de nacimiento|nato il|nata il|nato|nata|nascita|data di nascita|geboortedatum|\
         geboren op|urodzony|urodzona|urodzenia|data urodzenia|ur.|född|född den|födelsedatum|født|fødselsdato|\
         fødselsdag|syntynyt|syntymäaika|syntymäpäivä|nascido|nascida|nasceu|nascimento|data de nascimento|\
         생년월일|出生日期\
         |do b|birth dt|bday|b-day|birth_dt|geb.-datum|geb.datum|gebdat|gebdatum|geb. am|geboren den|né(e)\
         |né(e) le|ddn|date naiss|date de naiss|naiss|f. nac|f nac|fec nac|fecha nac|f. nacimiento\
         |f nacimiento|fnac|nac|d.n.|data nasc|dt nasc|dt. nasc|nasc|nato/a|nata/o|nato/a il|data nasc.\
         |geb.dat|geboortedat|geb. datum|data ur|dat. ur|ur. dnia|data ur.|synt|synt.|synt. aika|syntaika\
         |syntymäpv|födelsedag|födelsedat|født den|f. dato|f.dato|생일|생년|生日|生年月日|出生",
    ),
    (
        Entity::PASSPORT,
        "passport|passport no|passport number|reisepass|reisepassnummer|passnummer|pass-nr|pass nr|passeport|\
         pasaporte|passaporto|paspoort|paspoortnummer|paszport|paszportu|pass|passi|passin numero|\
         pasnummer|passaporte|여권|여권번호\
         |travel document|reisepass-nr|passnr|pasnr|paspoortnr|numéro de passeport|número de pasaporte\
         |numero di passaporto|numer paszportu|paszportowy|número de passaporte\
         |pass no|ppt|ppt no|passnum|travel document no|travel doc|passport id|pass number|passport card\
         |pass-nummer|reisedokument|n° passeport|passeport n|pasaporte n|passaporto n|passaporte n\
         |nr paszportu|passi nro|passinro|passinumero|pas nr|passhafte|护照|pp no|pp number",
    ),
    (
        Entity::DRIVING_LICENCE,
        "driving licence|driving license|driver's license|driver's licence|drivers license|driver license|\
         driver licence|drivers licence|licence number|license number|license no|dl|dln|dl number|führerschein|\
         führerscheinnummer|permis de conduire|numéro de permis|permis|permiso de conducir|carnet de conducir|\
         patente|patente di guida|rijbewijs|rijbewijsnummer|prawo jazdy|prawa jazdy|körkort|körkortsnummer|\
         kørekort|kørekortnummer|førerkort|førerkortnummer|ajokortti|ajokortin|carta de condução|\
         carteira de motorista|cnh|운전면허|면허번호\
         |führerschein-nr|führerscheinnr|rijbewijsnr|körkortsnr|permiso de conducción\
         |licencia de conducir|licencia de conducción|ajokorttinumero|habilitação\
         |운전면허증\
         |driver's licence number|licence no|license #|licence|driver licence no|lic no|lic #|operator license\
         |oln|d.l.|driver id|dvla|driving permit|führerschein nr|fahrerlaubnis|fs-nr|fsnr|n° permis|permis n\
         |permis de conduire n|nº carnet|nº permiso|permiso conducir|carnet|numero patente|patente n\
         |patente guida|rijbewijs nr|nr prawa jazdy|prawo jazdy nr|ajokortti nro|ajokorttinro|körkort nr\
         |kørekort nr|førerkort nr|carta condução|carta de conducao|nº da carta|título de condução|cnh nº\
         |운전면허번호",
    ),
    (
        Entity::API_KEY,
        "api key|api_key|apikey|api-key|secret|secret key|secret_key|secretkey|client_secret|client secret|\
         access key|access_key|accesskey|access token|access_token|auth token|auth_token|authtoken|token|bearer|\
         password|pgpassword|passwd|pwd|passphrase|passwort|kennwort|mot de passe|contraseña|clave|wachtwoord|hasło|\
         lösenord|salasana|adgangskode|passord|senha|credentials|private key|private_key|aws_secret_access_key|\
         api-schlüssel|clé api|clé d'api|secretaccesskey|x-api-key|authorization\
         |api token|api-token|secret token|security token|access-token|api-nyckel|api-sleutel|klucz api\
         |chave de api|chave api|chiave api|clave de api|clave api|api-avain|api-nøgle|api-nøkkel|api키\
         |api 키|zugangstoken|zugriffstoken|zugriffsschlüssel|geheimer schlüssel|zugangsschlüssel|jeton\
         |clé secrète|clave secreta|chiave segreta|chave secreta|geheime sleutel|tajny klucz\
         |token de acceso|token di accesso|token dostępu|toegangstoken|åtkomsttoken|토큰|비밀키|비밀 키|접근 키\
         |jeton d'accès|clé d'accès|clef api|personal access token|pat|signing secret|webhook secret\
         |api secret|app secret|consumer key|consumer secret|licence key|license key|client key|apitoken\
         |secret_access_key|zugangsdaten|api kulcs|klucz dostępu|token d'accès\
         |chiave di accesso|chave de acesso|åtkomstnyckel|adgangsnøgle|tilgangsnøkkel|käyttöavain\
         |认证|密钥|인증키",
    ),
    (
        Entity::CRYPTO_ADDRESS,
        "wallet|bitcoin|btc|ethereum|eth|crypto|litecoin|ltc|tron|trx|doge|dogecoin|usdt|usdc|solana|sol|monero|xmr|\
         xrp|ripple|cardano|ada|polkadot|dot|kusama|stellar|xlm|algorand|algo|tezos|xtz|cosmos|atom|dash|zcash|zec|\
         bch|bnb|ton|near|sui|aptos|filecoin|fil|avalanche|avax|polygon|matic|arbitrum|deposit address|payout address|\
         address|addr|adresse|dirección|indirizzo|adres|adress|osoite|endereço|wallet-adresse|portefeuille|\
         portemonnaie|monedero|cartera|portafoglio|portemonnee|portfel|plånbok|lompakko|tegnebog|lommebok|carteira|지갑\
         |wallet address|walletadres|walletadresse|plånboksadress|lompakko-osoite|crypto address\
         |wallet id|지갑주소\
         |coins|send the coins|cold storage|xpub|ledger|donations|donate|tip jar",
    ),
    (
        Entity::US_SSN,
        "ssn|ssns|ss#|social security|social security number|social security no|social|soc sec|\
         número de seguro social|seguro social\
         |ss number|ss|social sec|social sec number|soc sec number|ssan|ssa|usssa|social security nbr\
         |social security num|nss",
    ),
    (
        Entity::US_ITIN,
        "itin|taxpayer|taxpayer id|individual taxpayer|tax id|tin|taxpayer identification number",
    ),
    (
        Entity::US_ABA,
        "aba|routing|routing number|routing no|aba number|rtn|transit number|bank routing|wire|número de ruta|\
         routing code|ach\
         |usaba|aba rtn|routing transit|routing transit number|rt number|fedwire|bank routing number\
         |9 digit routing",
    ),
    (
        Entity::US_NPI,
        "npi|national provider|provider identifier|provider id|provider number|prescriber|physician|provider\
         |npi number|national provider identifier|rendering provider|billing provider",
    ),
    (
        Entity::US_MBI,
        "mbi|medicare|beneficiary|medicare number|medicare id|medicare beneficiary\
         |medicare beneficiary identifier|medicare id number",
    ),
    (
        Entity::UK_NHS,
        "nhs|nhs number|nhs no|health service|patient|chi\
         |nhs id|nhs num|national health|health number|health and care|h&c|nhs england",
    ),
    (
        Entity::UK_NINO,
        "nino|ni number|ni no|national insurance|national insurance number|insurance number|ni\
         |nat ins|national ins|ni num|nino number|insurance no",
    ),
    (
        Entity::DE_TAX_ID,
        "steuer-id|steuerid|steuer-identifikationsnummer|steueridentifikationsnummer|identifikationsnummer|idnr|\
         steuernummer|steuerliche|tin|german tax id|tax id|idnr.|id-nr|id-nr.|steuer-idnr|steuer-idnr.\
         |st-id|steuerident|steuer-ident|steuer ident nummer|steueridentnummer|identnummer|ident-nummer\
         |steuerl. id|steuerliche id|steuerliche identifikationsnummer|identifikations-nummer|idnummer\
         |steuer-id-nummer|steuer id",
    ),
    (
        Entity::DE_SOCIAL_SECURITY,
        "sozialversicherungsnummer|rentenversicherungsnummer|versicherungsnummer|sv-nummer|svnr|rvnr|\
         sozialversicherung|rentenversicherung|sv-nr|german social security|pension insurance|vsnr|rv-nummer\
         |rv-nr|sozialversicherungsnr|rentenversicherungsnr\
         |rentennummer|renten-nummer|sv-ausweis|vers.-nummer|vers-nummer|soz.-vers.-nummer|sozialvers.-nummer\
         |sozversnummer|versnummer|vers.nummer|sv nummer|rv nummer|sozialversicherungsausweis",
    ),
    (
        Entity::DE_ID_CARD,
        "personalausweis|personalausweisnummer|ausweis|ausweisnummer|ausweis-nr|perso|id card|identity card|\
         seriennummer|dokumentennummer|german id\
         |ausweisnr|perso-nr|persönr|personalausweisnr|personalausweis-nr|german identity\
         |personalausweises|seriennr\
         |pa-nummer|pa nummer|personalausweis nummer|ausweis nummer|npa|bpa|ausweisdokument|ausweis-id\
         |id-karte|dokumentennr|dokument-nummer|ausweis-nummer|perso-nummer|persoausweis|bundespersonalausweis",
    ),
    (
        Entity::AT_SOCIAL_SECURITY,
        "sozialversicherungsnummer|svnr|sv-nummer|sv-nr|sozialversicherung|versicherungsnummer|svnr.|e-card|\
         austrian social security|vsnr|österreichische sozialversicherungsnummer\
         |austrian insurance|austrian|insurance number|österreich|österreichische|österreichischen\
         |sozialversicherungsnr\
         |vers.nummer|vers.-nummer|versnummer|vnr|sv|soz.vers.nummer|sozversnummer|ecard|sv nummer|svnummer\
         |sozialvers.nummer|krankenkasse|gesundheitskasse|ögk",
    ),
    (
        Entity::AT_TAX_ID,
        "steuernummer|abgabenkontonummer|finanzamt|st.nr|st.-nr|stnr|abgabenkonto|austrian tax|steuer-nr|\
         tax number|tax id|steuernr\
         |fa-nummer|fa/steuernummer|finanzamts-nummer|st.-nummer|st. nummer",
    ),
    (
        Entity::FR_NIR,
        "nir|sécurité sociale|numéro de sécurité sociale|sécu|n° ss|insee|carte vitale|assuré|\
         securite sociale|numéro de sécu|french social security|social security|immatriculation\
         |numéro d'assuré|numéro insee|french nir|nir français\
         |nss|numéro ss|numéro sécu|matricule|numéro de sécurité|sécu sociale|numéro vitale|french social",
    ),
    (
        Entity::FR_TAX_ID,
        "numéro fiscal|spi|référence fiscale|fiscal|impôts|impôt|numéro spi|tax id|french tax|n° fiscal|tin|\
         numero fiscal|identifiant fiscal\
         |numéro fiscal de référence|nif français|avis d'impôt|french tax id|déclarant fiscal\
         |nif|nif fr|numéro de déclarant|identification fiscale|fr tin|tin fr",
    ),
    (
        Entity::ES_DNI,
        "dni|nif|documento nacional|identidad|d.n.i.|documento|spanish id\
         |nif/nie|dni/nie|dni/nif|dni-e|dnie|documento de identidad|doc. identidad|núm. dni",
    ),
    (
        Entity::ES_NIE,
        "nie|extranjero|extranjera|extranjeros|identidad de extranjero|n.i.e.|spanish foreigner\
         |tarjeta de residencia|permiso de residencia|nie/tie|spanish nie\
         |tie|nif/nie|dni/nie|nie/nif|documento",
    ),
    (
        Entity::ES_CIF,
        "cif|nif|empresa|sociedad|razón social|identificación fiscal|c.i.f.|spanish company\
         |cif/nif|spanish company tax|spanish cif\
         |cif empresa|nif empresa|nif sociedad|nif de la sociedad|tax id empresa",
    ),
    (
        Entity::IT_FISCAL_CODE,
        "codice fiscale|c.f.|cf|cod. fiscale|cod. fisc.|italian tax code|fiscal code|tax code\
         |codfisc|cod fiscale|codicefiscale|c fiscale|cod.fis|cod.fisc",
    ),
    (
        Entity::IT_VAT,
        "partita iva|p. iva|p.iva|piva|p.i.|iva|vat|italian vat|vat number|p. i.\
         |p.iva/c.f.|part. iva|partita iva n|italian vat no\
         |id codice|idcodice|cod. iva|codice iva|numero iva|partita|p iva|piva/cf|p.iva/cf|id fiscale iva\
         |it vat",
    ),
    (
        Entity::NL_BSN,
        "bsn|burgerservicenummer|sofinummer|sofi|burger service nummer|bsn-nummer|dutch citizen|citizen service|\
         burgerservicenr|bsn nr\
         |bsnr|burgerservice|sofi-nummer|sofi nummer|persoonsnummer|burgernummer|bsn/sofi",
    ),
    (
        Entity::PL_PESEL,
        "pesel|pesel-u|numer pesel|nr pesel|peselu|polish national\
         |nr ewid|numer ewidencyjny|ewidencyjny",
    ),
    (
        Entity::PL_NIP,
        "nip|numer nip|nr nip|nip-u|identyfikacji podatkowej|podatkowy|polish tax|vat\
         |vat-ue|nip-ue|numer vat|polish nip\
         |numer identyfikacji podatkowej|identyfikator podatkowy|nr podatkowy|nip nabywcy|nip sprzedawcy",
    ),
    (
        Entity::SE_PERSONAL_NUMBER,
        "personnummer|personnr|samordningsnummer|pnr|person-nr|swedish personal|swedish id|personnumret|\
         personal number|identity number\
         |pers.nummer|persnummer|pers nummer|person-/organisationsnummer|personorgnr|person/orgnr\
         |org/personnummer|personnummer/organisationsnummer|person id|personal identity|swedish personnummer\
         |medborgare|födelsenummer",
    ),
    (
        Entity::FI_HETU,
        "hetu|henkilötunnus|henkilötunnukseni|henkilötunnuksen|sotu|finnish identity|finnish personal|\
         personbeteckning|personal identity code\
         |sosiaaliturvatunnus|henkilöturvatunnus|hlötunnus|henkilötunnukset|finnish\
         |finnish social security\
         |hlö-tunnus|henk.tunnus|henk tunnus|henkilöt|sos.turvatunnus|sotu-tunnus|personbet|henkilö-id",
    ),
    (
        Entity::DK_CPR,
        "cpr|cpr-nummer|cpr-nr|cpr nummer|personnummer|cpr number|cpr no|danish cpr|cpr-nummeret|cprnr\
         |cpr id|personnr|pers.nummer|danish personal|cpr/person|civilregister|sundhedskort|civil registration|civil registration identifier|sygesikring|sygesikringskort",
    ),
    (
        Entity::NO_FNR,
        "fødselsnummer|fødselsnr|personnummer|fnr|d-nummer|d-nr|norwegian id|norwegian national|birth number|\
         fodselsnummer|fødselsnummeret\
         |f.nummer|fnummer|personnr|pers.nummer|d nummer|dnr|fødsels- og personnummer|norwegian personal\
         |norwegian identity|person id",
    ),
    (
        Entity::PT_NIF,
        "nif|contribuinte|número de contribuinte|identificação fiscal|nipc|número fiscal|portuguese tax|\
         nº de contribuinte|n.º de contribuinte\
         |portuguese nif|nif/nipc\
         |cont.|contrib.|número contribuinte|número de identificação fiscal|nif cliente\
         |nif do cliente|nif adquirente|tax id|portuguese tax number",
    ),
    (
        Entity::PT_CITIZEN_CARD,
        "cartão de cidadão|cartão do cidadão|cc|cidadão|bilhete de identidade|número de documento|citizen card|\
         documento|nº de documento\
         |portuguese id|portuguese citizen|portuguese identity|cc nº|cc n.º|documento de identificação\
         |cartão cidadão|cartao cidadao|número do cartão|cc número|número de cc|número cc|doc. identificação\
         |número do documento|número de identificação civil|identificação civil|nic|bi/cc|cc/bi",
    ),
    (
        Entity::BE_NRN,
        "rijksregisternummer|rijksregister|registre national|numéro national|numéro de registre national|insz|\
         niss|national register|nationaal nummer|rrn|nn|belgian national|nationalregisternummer|inss\
         |rijksregisternr|rijksregister-nr|rr-nr|rrnr|nrn|belgian|belgian nrn|numéro de registre\
         |national number\
         |rr-nummer|rr nummer|rr|numéro rn|numéro nn|rijksregister nummer|rijksreg|registre|insz-nummer|ssin\
         |bis-nummer|numéro bis|identificatienummer",
    ),
    (
        Entity::CH_AHV,
        "ahv|ahv-nummer|avs|numéro avs|ahv-nr|ahvn13|numero avs|navs|versichertennummer|swiss social security|\
         ahv nummer|sozialversicherungsnummer|n° avs\
         |swiss|oasi|swiss oasi|ahv-versichertennummer|ahvnr|schweizer|nss\
         |soz.-vers.-nummer|sozialvers.-nummer|sozialversicherungsnr|ahv/avs|avs/ahv|ahv/avs-nummer\
         |versicherten-nummer|numéro assuré|n. avs|numero assicurato|numéro d'assuré|ahv13|avs13|ahvn\
         |versichertennr",
    ),
    (
        Entity::CH_UID,
        "uid|mwst|mehrwertsteuer|ide|tva|iva|idi|unternehmens|swiss vat|swiss uid|handelsregister\
         |ide-nr|mwst-nr|uid-nummer|uid-nr|unternehmens-identifikationsnummer\
         |mwst-nummer|mwst nummer|tva numéro|numéro tva|numéro ide|numero idi|uid/mwst|che|vat|vat no",
    ),
    (
        Entity::IN_AADHAAR,
        "aadhaar|aadhar|adhaar|uidai|uid|aadhaar number|aadhaar no|आधार|aadhaar card\
         |aadhaar id|aadhar card|aadhar number|uidai number|आधार संख्या|आधार नंबर|adhar|adhar no|adharcard",
    ),
    (
        Entity::IN_PAN,
        "pan|pan card|pan no|pan number|permanent account|income tax|permanent account number|पैन\
         |pancard|pan of|it pan|पैन नंबर|permanent acct",
    ),
    (
        Entity::AU_TFN,
        "tfn|tax file|tax file number|tax file no|ato\
         |australian tax file\
         |tax file num|tfn number|payee tfn",
    ),
    (
        Entity::AU_ABN,
        "abn|business number|australian business|a.b.n.|gst|abn no\
         |abn number|abn/acn|aust business|aus business",
    ),
    (
        Entity::AU_MEDICARE,
        "medicare|medicare card|medicare number|medicare no|irn|bulk bill\
         |mcare|medicare card number|mcn|medicare card no|medicare num|m/care|aushic",
    ),
    (
        Entity::CA_SIN,
        "sin|social insurance|social insurance number|sin number|sin no|nas|assurance sociale|numéro d'assurance sociale\
         |social ins|social ins number|sin card|sin/nas|nas/sin|n.a.s.|s.i.n.|soc ins|canadian sin\
         |numéro d'ass. sociale|ass. sociale",
    ),
    (
        Entity::SG_NRIC,
        "nric|fin|identity card|singapore|ic number|singpass|ic no|nric no|uin|ic\
         |nric/fin|fin/nric|fin no|ic num|identification no|nric number|ic/passport|identity number|i/c|i/c no|uinfin|uin/fin",
    ),
    (
        Entity::KR_RRN,
        "주민등록번호|주민번호|resident registration|rrn|korean id|주민|외국인등록번호|resident number\
         |주민등록 번호|등록번호|korean rrn|korean resident\
         |jumin|jumin number|juminno|jumin id|resident reg|resident registration number|resident id|주민등록|주민등록증\
         |신분증|생년월일-성별|외국인번호|외국인등록",
    ),
    (
        Entity::BR_CPF,
        "cpf|cadastro de pessoas|contribuinte|cpf/mf|c.p.f.|brazilian tax\
         |cpf/cnpj|cpf do titular|cpf nº|nº do cpf|cadastro de pessoa|cpf_cnpj",
    ),
    (
        Entity::BR_CNPJ,
        "cnpj|cadastro nacional|pessoa jurídica|c.n.p.j.|razão social|empresa|brazilian company\
         |cpf/cnpj|cnpj nº|cnpj/mf|cgc|inscrição no cnpj|cpf_cnpj",
    ),
];

/// Words that say a number is nobody's.
pub(super) const ELSE: &str = "order|order number|order no|order id|order #|purchase order|invoice|invoice number|\
    invoice no|ticket|tracking|tracking number|tracking no|reference|ref|ref.|sku|part number|part no|serial|\
    serial number|version|release|firmware|build|batch|lot|item|product|product code|model|model number|timestamp|\
    epoch|unix time|isbn|issn|ean|upc|gtin|asin|commit|revision|sha|sha1|sha256|md5|hash|digest|checksum|uuid|guid|\
    request id|request|session|session id|transaction|transaction id|error|error code|line|page|room|price|total|\
    amount|quantity|case|article|catalog|container|pallet|shipment|parcel|row|count|population|bytes|pixels|\
    bestellung|bestellnummer|rechnung|rechnungsnummer|sendungsnummer|artikelnummer|artikel|auftragsnummer|\
    commande|numéro de commande|facture|numéro de facture|colis|réf|référence|pedido|número de pedido|factura|\
    albarán|ordine|numero d'ordine|fattura|bestelling|bestelnummer|factuur|zamówienie|zamówienia|faktura|\
    tilaus|tilausnumero|lasku|ordrenummer|ordernummer|beställning|fakturanummer|encomenda|fatura|nota fiscal|\
    주문|주문번호|part|snapshot|offset|port|thread|bucket|object|etag";
