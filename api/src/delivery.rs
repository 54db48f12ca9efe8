//! Where an order goes, as requests say it.

use common::domain::{Address, DeliveryMode, DeliveryWish};

use crate::checks::Checks;

const NAME_BYTES_MAX: usize = 200;
const STREET_BYTES_MAX: usize = 300;
const CODE_BYTES_MAX: usize = 20;
const CITY_BYTES_MAX: usize = 100;
const PHONE_BYTES_MAX: usize = 40;

/// The delivery that a request asks for, if it asks for one: standard where it names no mode.
pub(crate) fn delivery(
    mode: Option<DeliveryMode>,
    address: Option<Address>,
    checks: &mut Checks,
) -> Option<DeliveryWish> {
    let Some(address) = address else {
        checks.that(mode.is_none(), "address", || "a deliveryMode needs an address".to_owned());
        return None;
    };
    check_address(&address, checks);
    Some(DeliveryWish { mode: mode.unwrap_or_default(), address })
}

pub(crate) fn check_address(address: &Address, checks: &mut Checks) {
    checks.text("address.name", &address.name, 1, NAME_BYTES_MAX);
    checks.text("address.street", &address.street, 1, STREET_BYTES_MAX);
    checks.text_if_set("address.street2", address.street2.as_deref(), STREET_BYTES_MAX);
    checks.text("address.city", &address.city, 1, CITY_BYTES_MAX);
    checks.text_if_set("address.region", address.region.as_deref(), CITY_BYTES_MAX);
    checks.text_if_set("address.phone", address.phone.as_deref(), PHONE_BYTES_MAX);
    check_place(&address.country, &address.postal_code, checks);
}

/// What a zone is found by.
pub(crate) fn check_place(country: &str, postal_code: &str, checks: &mut Checks) {
    checks.text("address.postalCode", postal_code, 1, CODE_BYTES_MAX);
    let is_country = country.len() == 2 && country.bytes().all(|byte| byte.is_ascii_uppercase());
    checks
        .that(is_country, "address.country", || "two letters such as DE (ISO 3166-1 alpha-2) are expected".to_owned());
}
