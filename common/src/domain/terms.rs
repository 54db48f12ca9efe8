//! What the shop asks for beside the goods: tax and delivery. One version of it holds for a whole batch of decisions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{AMOUNT_MAX, Currency, Money, Timestamp};

/// Zones are numbered from 1 to this.
pub const ZONE_MAX: u16 = 99;
/// Highest tax, in basis points: 100 %.
pub const TAX_BASIS_POINTS_MAX: u32 = 10_000;
/// Longest delivery, in days.
pub const DELIVERY_DAYS_MAX: u16 = 365;
/// Most areas that have a zone.
const AREAS_MAX: usize = 10_000;
/// Most characters of a postal code that an area may be named by.
const CODE_CHARACTERS_MAX: usize = 10;
/// The area that every address is in.
const ANYWHERE: &str = "*";

/// A day without a time, in UTC.
pub type Day = time::Date;

time::serde::format_description!(pub day, Date, "[year]-[month]-[day]");

/// The terms of sale.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Terms {
    /// In hundredths of a percent: 1000 is 10 %.
    pub tax_basis_points: u32,
    /// The zone of each area: a country (`DE`), a country with the first characters of a postal code (`DE-80`), or
    /// everywhere else (`*`). An address that is in none is not delivered to.
    pub zones: BTreeMap<String, u16>,
    /// What delivery costs, by currency.
    pub delivery: BTreeMap<Currency, Rates>,
}

/// What delivery costs in one currency, by mode and then by tier: `tier_1`, `tier_2`, `tier_3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rates {
    pub standard: [Rate; 3],
    pub express: [Rate; 3],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rate {
    /// In minor units.
    pub cost: i64,
    /// From the decision to the door.
    pub days: u16,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryMode {
    #[default]
    Standard,
    Express,
}

impl DeliveryMode {
    pub const ALL: [Self; 2] = [Self::Standard, Self::Express];
}

/// How far it is: by the distance of the zones of warehouse and address, and where several warehouses serve an order, of the
/// farthest.
///
/// | distance | tier |
/// | --- | --- |
/// | 0: the same zone | `tier_1` |
/// | 1: the next zone | `tier_2` |
/// | more | `tier_3` |
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DeliveryTier {
    #[serde(rename = "tier_1")]
    One,
    #[serde(rename = "tier_2")]
    Two,
    #[serde(rename = "tier_3")]
    Three,
}

impl DeliveryTier {
    #[must_use]
    pub fn at(distance: u16) -> Self {
        match distance {
            0 => Self::One,
            1 => Self::Two,
            _ => Self::Three,
        }
    }
}

/// Where an order goes. Texts are as their writer spelled them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Address {
    pub name: String,
    pub street: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub street2: Option<String>,
    pub postal_code: String,
    pub city: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// ISO 3166-1 alpha-2, such as `DE`.
    pub country: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryWish {
    pub mode: DeliveryMode,
    pub address: Address,
}

/// What was agreed, at the decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    #[serde(flatten)]
    pub wish: DeliveryWish,
    /// Of the address.
    pub zone: u16,
    pub tier: DeliveryTier,
    /// In minor units of the order's currency.
    pub cost: i64,
    /// Not known where something of it is not there yet, and nobody knows when it will be.
    #[serde(default, with = "day::option", skip_serializing_if = "Option::is_none")]
    pub estimated_on: Option<Day>,
}

/// What an order comes to, in minor units of one currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amounts {
    pub subtotal: i64,
    pub delivery: i64,
    pub tax: i64,
    pub total: i64,
}

impl Terms {
    /// The zone of an address: that of the longest area that holds it.
    #[must_use]
    pub fn zone(&self, country: &str, postal_code: &str) -> Option<u16> {
        let code: String =
            postal_code.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_uppercase();
        let country = country.to_ascii_uppercase();
        let code = &code[..code.len().min(CODE_CHARACTERS_MAX)];
        let prefixes = (1..=code.len()).rev().map(|length| format!("{country}-{}", &code[..length]));
        let areas = prefixes.chain([country.clone(), ANYWHERE.to_owned()]);
        areas.into_iter().find_map(|area| self.zones.get(&area).copied())
    }

    #[must_use]
    pub fn rates(&self, currency: Currency, mode: DeliveryMode) -> Option<&[Rate; 3]> {
        let rates = self.delivery.get(&currency)?;
        Some(match mode {
            DeliveryMode::Standard => &rates.standard,
            DeliveryMode::Express => &rates.express,
        })
    }

    /// Tax is on goods and delivery together, rounded once: to the nearest minor unit, and up where two are as near. `None`
    /// where it comes to more than [`AMOUNT_MAX`].
    ///
    /// | subtotal | delivery | at | tax |
    /// | --- | --- | --- | --- |
    /// | 1000 | 0 | 10 % | 100 |
    /// | 1000 | 490 | 10 % | 149 |
    /// | 4 | 0 | 10 % | 0 (0.4) |
    /// | 5 | 0 | 10 % | 1 (0.5) |
    /// | 999 | 0 | 7.25 % | 72 (72.4275) |
    #[must_use]
    pub fn amounts(&self, subtotal: i64, delivery: i64) -> Option<Amounts> {
        let net = subtotal.checked_add(delivery)?;
        let tax = (i128::from(net) * i128::from(self.tax_basis_points) + 5_000) / 10_000;
        let tax = i64::try_from(tax).ok()?;
        let total = net.checked_add(tax).filter(|total| *total <= AMOUNT_MAX)?;
        Some(Amounts { subtotal, delivery, tax, total })
    }

    /// What is wrong with them: each mistake with its place.
    #[must_use]
    pub fn mistakes(&self) -> Vec<(String, String)> {
        let mut mistakes = Vec::new();
        if self.tax_basis_points > TAX_BASIS_POINTS_MAX {
            mistakes.push(("taxBasisPoints".to_owned(), format!("0 to {TAX_BASIS_POINTS_MAX} is expected")));
        }
        if self.zones.len() > AREAS_MAX {
            mistakes.push(("zones".to_owned(), format!("{AREAS_MAX} areas at the most are expected")));
        }
        for (area, zone) in &self.zones {
            if !is_area(area) {
                let expected =
                    "an area is a country such as DE, one with the beginning of a postal code such as DE-80, or *";
                mistakes.push((format!("zones.{area}"), expected.to_owned()));
            }
            if !(1..=ZONE_MAX).contains(zone) {
                mistakes.push((format!("zones.{area}"), format!("1 to {ZONE_MAX} is expected")));
            }
        }
        for (currency, rates) in &self.delivery {
            for (mode, rates) in [("standard", &rates.standard), ("express", &rates.express)] {
                for (n, rate) in rates.iter().enumerate() {
                    let place = format!("delivery.{}.{mode}[{n}]", currency.as_str());
                    if !(0..=AMOUNT_MAX).contains(&rate.cost) {
                        mistakes.push((format!("{place}.cost"), format!("0 to {AMOUNT_MAX} is expected")));
                    }
                    if rate.days > DELIVERY_DAYS_MAX {
                        mistakes.push((format!("{place}.days"), format!("0 to {DELIVERY_DAYS_MAX} is expected")));
                    }
                }
            }
        }
        mistakes
    }
}

impl Rate {
    /// The day of the arrival of what is complete `now`.
    #[must_use]
    pub fn arrival(&self, now: Timestamp) -> Day {
        let today = now.to_offset(time::UtcOffset::UTC).date();
        today.saturating_add(time::Duration::days(i64::from(self.days)))
    }
}

impl Delivery {
    #[must_use]
    pub fn price(&self, currency: Currency) -> Money {
        Money { amount: self.cost, currency }
    }
}

fn is_area(area: &str) -> bool {
    let is_country = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase());
    let is_code = |text: &str| {
        (1..=CODE_CHARACTERS_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
    };
    match area.split_once('-') {
        Some((country, prefix)) => is_country(country) && is_code(prefix),
        None => area == ANYWHERE || is_country(area),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(tax_basis_points: u32) -> Terms {
        let zones = [("DE", 1), ("DE-8", 2), ("DE-80", 3), ("GB-SW1A", 4), ("*", 9)];
        let zones = zones.map(|(area, zone)| (area.to_owned(), zone)).into();
        Terms { tax_basis_points, zones, delivery: BTreeMap::new() }
    }

    #[test]
    fn tax_is_rounded_once_to_the_nearest_and_up_from_the_middle() {
        for (subtotal, delivery, basis_points, tax) in [
            (1_000, 0, 1_000, 100),
            (1_000, 490, 1_000, 149),
            (4, 0, 1_000, 0),
            (5, 0, 1_000, 1),
            (999, 0, 725, 72),
            (0, 0, 1_000, 0),
            (1_000, 490, 0, 0),
            (3, 2, 1_000, 1),
            (1, 0, 10_000, 1),
            (9_007_199_254_740_991, 0, 0, 0),
        ] {
            let amounts = terms(basis_points).amounts(subtotal, delivery);
            let expected = Amounts { subtotal, delivery, tax, total: subtotal + delivery + tax };
            assert_eq!(amounts, Some(expected), "{basis_points} of {subtotal} and {delivery}");
        }
        assert_eq!(terms(1_000).amounts(AMOUNT_MAX, 0), None);
        assert_eq!(terms(0).amounts(AMOUNT_MAX, 1), None);
        assert_eq!(terms(0).amounts(i64::MAX, i64::MAX), None);
    }

    #[test]
    fn an_address_is_in_the_zone_of_the_longest_area_that_holds_it() {
        for (country, code, zone) in [
            ("DE", "10115", 1),
            ("de", "10115", 1),
            ("DE", "81667", 2),
            ("DE", "80331", 3),
            ("GB", "sw1a 1aa", 4),
            ("GB", "E1 6AN", 9),
            ("GB", "SW1A 1AA and much more than that", 4),
            ("GB", "ß", 9),
            ("FR", "80331", 9),
        ] {
            assert_eq!(terms(0).zone(country, code), Some(zone), "{country} {code}");
        }
        assert_eq!(Terms::default().zone("DE", "10115"), None);
    }

    #[test]
    fn a_tier_is_a_distance() {
        let tiers = [0, 1, 2, 98].map(DeliveryTier::at);
        assert_eq!(tiers, [DeliveryTier::One, DeliveryTier::Two, DeliveryTier::Three, DeliveryTier::Three]);
        assert_eq!(serde_json::to_value(DeliveryTier::Two).ok(), Some("tier_2".into()));
    }

    #[test]
    fn every_mistake_in_terms_is_told_with_its_place() {
        let mut terms = terms(10_001);
        terms.zones = [("D", 1), ("de", 1), ("DE-", 1), ("DE-8!", 1), ("**", 1), ("FR", 0), ("IT", 100), ("ES", 99)]
            .map(|(area, zone)| (area.to_owned(), zone))
            .into();
        let rate = |cost, days| Rate { cost, days };
        let rates = Rates { standard: [rate(0, 0), rate(-1, 1), rate(1, 366)], express: [rate(AMOUNT_MAX, 365); 3] };
        terms.delivery.insert(Currency::try_from("EUR").expect("a currency"), rates);
        let places: Vec<String> = terms.mistakes().into_iter().map(|(place, _)| place).collect();
        let expected = "taxBasisPoints zones.** zones.D zones.DE- zones.DE-8! zones.FR zones.IT zones.de \
                        delivery.EUR.standard[1].cost delivery.EUR.standard[2].days";
        assert_eq!(places.join(" "), expected);
    }

    #[test]
    fn delivery_arrives_so_many_days_after_the_day_of_the_decision() {
        let now = Timestamp::UNIX_EPOCH + time::Duration::hours(23);
        let arrival = Rate { cost: 0, days: 3 }.arrival(now);
        assert_eq!((arrival.month(), arrival.day()), (time::Month::January, 4));
    }
}
