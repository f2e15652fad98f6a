//! Which gateway a client certificate names. Its chain has been verified before.

use models::wire;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// `urn:forewarn:gateway:{tenant}/{gateway}`.
const URN: &str = "urn:forewarn:gateway:";

/// Tenant and gateway, from the first of these that is there: a subject alternative name
/// `urn:forewarn:gateway:{tenant}/{gateway}`; a common name `{tenant}/{gateway}`; an organisation
/// `{tenant}` and a common name `{gateway}`.
pub(super) fn gateway(der: &[u8]) -> Option<(String, String)> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let pair = |text: &str| {
        let (tenant, gateway) = text.split_once('/')?;
        good(tenant, gateway)
    };
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let by_urn = alternative.and_then(|names| {
        names.value.general_names.iter().find_map(|name| match name {
            GeneralName::URI(uri) => pair(uri.strip_prefix(URN)?),
            _ => None,
        })
    });
    let subject = certificate.subject();
    let common = subject
        .iter_common_name()
        .next()
        .and_then(|name| name.as_str().ok());
    let organization = subject
        .iter_organization()
        .next()
        .and_then(|name| name.as_str().ok());
    by_urn
        .or_else(|| pair(common?))
        .or_else(|| good(organization?, common?))
}

/// Both must be what a topic can hold, as the register has it.
fn good(tenant: &str, gateway: &str) -> Option<(String, String)> {
    let slug = |text: &str| {
        let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        (1..=63).contains(&text.len()) && !text.starts_with('-') && text.chars().all(inside)
    };
    let topic = wire::topic(tenant, gateway, "state");
    (slug(tenant) && slug(gateway) && gateway != "me" && wire::Topic::parse(&topic).is_ok())
        .then(|| (tenant.to_owned(), gateway.to_owned()))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    fn named(change: impl FnOnce(&mut CertificateParams)) -> Option<(String, String)> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        change(&mut params);
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        super::gateway(certificate.der())
    }

    #[test]
    fn names_are_read_in_their_order() {
        let expect = Some(("acme".to_owned(), "line-1".to_owned()));
        let urn = |text: &str| SanType::URI(text.try_into().unwrap());
        assert_eq!(
            named(|params| {
                params.distinguished_name.push(DnType::CommonName, "acme/other");
                params.subject_alt_names.push(urn("https://example.com"));
                params
                    .subject_alt_names
                    .push(urn("urn:forewarn:gateway:acme/line-1"));
            }),
            expect
        );
        assert_eq!(
            named(|params| params.distinguished_name.push(DnType::CommonName, "acme/line-1")),
            expect
        );
        assert_eq!(
            named(|params| {
                params.distinguished_name.push(DnType::OrganizationName, "acme");
                params.distinguished_name.push(DnType::CommonName, "line-1");
            }),
            expect
        );
        assert_eq!(
            named(|params| params.distinguished_name.push(DnType::CommonName, "line-1")),
            None
        );
        assert_eq!(
            named(|params| params.distinguished_name.push(DnType::CommonName, "acme/me")),
            None
        );
        assert_eq!(
            named(|params| params.distinguished_name.push(DnType::CommonName, "a+/#")),
            None
        );
        assert_eq!(super::gateway(b"no certificate"), None);
    }
}
