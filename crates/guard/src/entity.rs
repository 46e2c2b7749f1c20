//! What can be found in a text, and what users call it.

use std::fmt;

/// A kind of personal data or secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Entity {
    /// One of [`Entity::BUILT_IN`], by its place there.
    BuiltIn(u8),
    /// The owner's own, by its place in the configuration.
    Custom(u16),
}

macro_rules! entities {
    ($($constant:ident $name:literal $what:literal,)*) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        enum Place { $($constant),* }

        impl Entity {
            $(
                #[doc = $what]
                pub const $constant: Entity = Entity::BuiltIn(Place::$constant as u8);
            )*

            /// Name and meaning of every built-in entity.
            pub const BUILT_IN: &'static [(&'static str, &'static str)] = &[$(($name, $what)),*];
        }
    };
}

entities! {
    CREDIT_CARD "CREDIT_CARD" "Payment card numbers: Luhn, issuer ranges.",
    IBAN "IBAN" "Bank account numbers: mod 97, length and account format by country.",
    EMAIL "EMAIL" "Email addresses.",
    PHONE "PHONE" "Phone numbers, as libphonenumber knows them.",
    IP_ADDRESS "IP_ADDRESS" "IPv4 and IPv6 addresses.",
    MAC_ADDRESS "MAC_ADDRESS" "Hardware addresses.",
    URL_CREDENTIALS "URL_CREDENTIALS" "URLs with a password in them.",
    DATE_OF_BIRTH "DATE_OF_BIRTH" "Dates that are said to be somebody's birth.",
    PASSPORT "PASSPORT" "Passport numbers, in context.",
    DRIVING_LICENCE "DRIVING_LICENCE" "Driving licence numbers, in context.",
    CRYPTO_ADDRESS "CRYPTO_ADDRESS" "Addresses of cryptocurrencies: base58check, bech32, EIP-55.",
    API_KEY "API_KEY" "API keys, tokens, passwords in configuration.",
    PRIVATE_KEY "PRIVATE_KEY" "Private keys as PEM.",
    US_SSN "US_SSN" "US social security numbers.",
    US_ITIN "US_ITIN" "US individual taxpayer numbers.",
    US_ABA "US_ABA" "US bank routing numbers.",
    US_NPI "US_NPI" "US health care provider numbers.",
    US_MBI "US_MBI" "US Medicare beneficiary identifiers.",
    UK_NHS "UK_NHS" "UK NHS numbers.",
    UK_NINO "UK_NINO" "UK national insurance numbers.",
    DE_TAX_ID "DE_TAX_ID" "German tax identification numbers.",
    DE_SOCIAL_SECURITY "DE_SOCIAL_SECURITY" "German pension insurance numbers.",
    DE_ID_CARD "DE_ID_CARD" "German identity card numbers.",
    AT_SOCIAL_SECURITY "AT_SOCIAL_SECURITY" "Austrian social security numbers.",
    AT_TAX_ID "AT_TAX_ID" "Austrian tax numbers.",
    FR_NIR "FR_NIR" "French social security numbers.",
    FR_TAX_ID "FR_TAX_ID" "French tax numbers (SPI).",
    ES_DNI "ES_DNI" "Spanish identity and tax numbers of citizens.",
    ES_NIE "ES_NIE" "Spanish identity and tax numbers of foreigners.",
    ES_CIF "ES_CIF" "Spanish tax numbers of organizations.",
    IT_FISCAL_CODE "IT_FISCAL_CODE" "Italian tax codes.",
    IT_VAT "IT_VAT" "Italian VAT numbers.",
    NL_BSN "NL_BSN" "Dutch citizen service numbers.",
    PL_PESEL "PL_PESEL" "Polish personal numbers.",
    PL_NIP "PL_NIP" "Polish tax numbers.",
    SE_PERSONAL_NUMBER "SE_PERSONAL_NUMBER" "Swedish personal and coordination numbers.",
    FI_HETU "FI_HETU" "Finnish personal identity codes.",
    DK_CPR "DK_CPR" "Danish personal numbers.",
    NO_FNR "NO_FNR" "Norwegian birth and D numbers.",
    PT_NIF "PT_NIF" "Portuguese tax numbers.",
    PT_CITIZEN_CARD "PT_CITIZEN_CARD" "Portuguese citizen card numbers.",
    BE_NRN "BE_NRN" "Belgian national register numbers.",
    CH_AHV "CH_AHV" "Swiss social security numbers.",
    CH_UID "CH_UID" "Swiss business and tax numbers.",
    IN_AADHAAR "IN_AADHAAR" "Indian Aadhaar numbers.",
    IN_PAN "IN_PAN" "Indian permanent account numbers.",
    AU_TFN "AU_TFN" "Australian tax file numbers.",
    AU_ABN "AU_ABN" "Australian business numbers.",
    AU_MEDICARE "AU_MEDICARE" "Australian Medicare numbers.",
    CA_SIN "CA_SIN" "Canadian social insurance numbers.",
    SG_NRIC "SG_NRIC" "Singapore identity numbers (NRIC, FIN).",
    KR_RRN "KR_RRN" "Korean resident registration numbers.",
    BR_CPF "BR_CPF" "Brazilian tax numbers of persons.",
    BR_CNPJ "BR_CNPJ" "Brazilian tax numbers of companies.",
    ADDRESS "ADDRESS" "Postal addresses: street and number.",
    PERSON "PERSON" "Names of people.",
    ORGANIZATION "ORGANIZATION" "Names of companies, by their legal form.",
}

impl Entity {
    /// How many are built in.
    pub(crate) const COUNT: usize = Entity::BUILT_IN.len();

    /// The built-in entity of this name.
    pub fn named(name: &str) -> Option<Entity> {
        let place = Entity::BUILT_IN.iter().position(|(known, _)| *known == name)?;
        u8::try_from(place).ok().map(Entity::BuiltIn)
    }

    /// Every built-in entity.
    pub fn all() -> impl Iterator<Item = Entity> {
        (0..Entity::COUNT).filter_map(|place| u8::try_from(place).ok().map(Entity::BuiltIn))
    }

    /// Its name, as findings, placeholders and the configuration have it. An owner's own has its
    /// name in the scanner ([`crate::Scanner::name`]).
    pub(crate) fn built_in_name(self) -> Option<&'static str> {
        match self {
            Entity::BuiltIn(place) => Entity::BUILT_IN.get(usize::from(place)).map(|(name, _)| *name),
            Entity::Custom(_) => None,
        }
    }
}

impl fmt::Display for Entity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Entity::Custom(place) => write!(f, "CUSTOM_{place}"),
            built_in => f.write_str(built_in.built_in_name().unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_entities() {
        for entity in Entity::all() {
            assert_eq!(Entity::named(&entity.to_string()), Some(entity));
        }
        assert_eq!(Entity::named("PHONE"), Some(Entity::PHONE));
        assert_eq!(Entity::named("phone"), None);
    }
}
