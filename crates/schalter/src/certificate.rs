//! The certificate of `--lan`: generated at the first start and kept, so that a browser's exception lasts.

use std::net::IpAddr;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

use crate::Failure;
use crate::state::StateDir;

/// Certificate and key in PEM, valid for `localhost` and `addresses`.
pub(crate) struct LanCertificate {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// Finds or makes the certificate. It is made again when this machine's addresses changed.
pub(crate) fn lan_certificate(
    state: &StateDir,
    addresses: &[IpAddr],
) -> Result<LanCertificate, Failure> {
    let key = state.file_or("lan-key.pem", || {
        KeyPair::generate()
            .map(|key| key.serialize_pem())
            .map_err(Failure::setup)
    })?;
    // One file for each set of addresses: an old one stays good for the network it was made in.
    let mut name = String::from("lan");
    for address in addresses {
        name.push('-');
        name.extend(
            address
                .to_string()
                .chars()
                .map(|c| if c == ':' { '_' } else { c }),
        );
    }
    // File names end at 255 bytes; a machine with that many addresses gets one certificate a start.
    name.truncate(200);
    let certificate = state.file_or(&format!("{name}.pem"), || {
        let pair = KeyPair::from_pem(&key).map_err(Failure::setup)?;
        let mut params =
            CertificateParams::new(vec!["localhost".to_owned()]).map_err(Failure::setup)?;
        params
            .subject_alt_names
            .extend(addresses.iter().copied().map(SanType::IpAddress));
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, "Schalter in the local network");
        params
            .self_signed(&pair)
            .map(|certificate| certificate.pem())
            .map_err(Failure::setup)
    })?;
    Ok(LanCertificate { certificate, key })
}
