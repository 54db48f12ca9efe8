//! Where webhooks may be sent: to addresses of the public internet, and to networks that the operator allows; never to a host's own
//! services, its neighbours or a cloud's metadata. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use url::{Host, Url};

/// Longest URL, in bytes.
pub const URL_BYTES_MAX: usize = 2_000;

/// Networks that are not public and may be sent to all the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// From a list such as `127.0.0.0/8, 10.1.2.3/32`.
    ///
    /// # Errors
    /// With what is no network.
    pub fn parse(list: &str) -> Result<Self, String> {
        let names = list.split(',').map(str::trim).filter(|name| !name.is_empty());
        let networks = names.map(|name| name.parse().map_err(|_| name.to_owned()));
        networks.collect::<Result<Vec<IpNet>, String>>().map(Self)
    }

    /// Whether the operator allows this address.
    #[must_use]
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Whether something may be sent to this address: unencrypted only where the operator allows it.
    #[must_use]
    pub fn permit(&self, address: IpAddr, encrypted: bool) -> bool {
        self.contain(address) || (encrypted && is_public(address))
    }
}

/// A URL that something may be sent to, as far as can be told without looking its host up.
///
/// # Errors
/// With what is wrong with it, to be told to whoever gave it.
pub fn check_url(text: &str, allowed: &Networks) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "a URL such as https://example.com/hooks is expected")?;
    let encrypted = match url.scheme() {
        "https" => true,
        "http" if !allowed.0.is_empty() => false,
        _ => return Err("a URL with https is expected"),
    };
    if url.as_str().len() > URL_BYTES_MAX {
        return Err("a URL of up to 2,000 bytes is expected");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a URL without a user's name and password is expected");
    }
    let literal = match url.host() {
        Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
        Some(Host::Domain(_)) => None,
        None => return Err("a URL with a host is expected"),
    };
    if literal.is_some_and(|address| !allowed.permit(address, encrypted)) {
        return Err("an address of the public internet is expected");
    }
    Ok(url)
}

/// Whether an address is one of the public internet (IANA's registries of special-purpose addresses).
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = a == 0
        || a == 10
        || a == 127
        || (a == 100 && (64..128).contains(&b))
        || (a == 169 && b == 254)
        || (a == 172 && (16..32).contains(&b))
        || (a == 192 && b == 168)
        || (a == 192 && b == 0 && (c == 0 || c == 2))
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (b == 18 || b == 19))
        || (a == 198 && b == 51 && c == 100)
        || (a == 203 && b == 0 && c == 113)
        || a >= 224
        // The host that a machine runs on, in one of the large clouds.
        || address == Ipv4Addr::new(168, 63, 129, 16);
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        // An IPv4 address in other clothes: mapped, by way of NAT64, by way of 6to4.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            embedded(high, low)
        }
        // Teredo and other protocols' own, benchmarks, documentation.
        [0x2001, second, ..] if second < 0x200 || second == 0xdb8 => false,
        [0x3fff, second, ..] if second < 0x1000 => false,
        // All that was ever given out.
        [first, ..] => (0x2000..0x4000).contains(&first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_public_internet_are_public() {
        for address in [
            "1.1.1.1",
            "93.184.216.34",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
        ] {
            assert!(is_public(address.parse().expect("an address")), "{address}");
        }
        for address in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "168.63.129.16",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(address.parse().expect("an address")), "{address}");
        }
    }

    #[test]
    fn a_url_is_of_https_and_of_a_public_host_or_of_a_network_that_is_allowed() {
        let none = Networks::default();
        let home = Networks::parse("127.0.0.0/8, ::1/128").expect("networks");
        for (url, public, at_home) in [
            ("https://example.com/hooks?a=1", true, true),
            ("https://93.184.216.34:8443/", true, true),
            ("http://example.com/", false, true),
            ("http://127.0.0.1:9/", false, true),
            ("https://127.0.0.1/", false, true),
            ("https://[::1]/", false, true),
            ("https://[::ffff:127.0.0.1]/", false, true),
            // As browsers and libraries read it.
            ("https://0x7f.1/", false, true),
            ("https://2130706433/", false, true),
            ("https://10.0.0.1/", false, false),
            ("http://93.184.216.34/", false, false),
            ("https://169.254.169.254/latest", false, false),
            ("https://user:secret@example.com/", false, false),
            ("ftp://example.com/", false, false),
            ("example.com", false, false),
            ("", false, false),
        ] {
            assert_eq!(check_url(url, &none).is_ok(), public, "{url}");
            assert_eq!(check_url(url, &home).is_ok(), at_home, "{url}, at home");
        }
        assert_eq!(Networks::parse("127.0.0.0/8, local"), Err("local".to_owned()));
    }
}
