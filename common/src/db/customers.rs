//! What is known of customers: their tier. A customer is the shop's own name for somebody, whichever client orders.

use sqlx::{PgConnection, query, query_scalar};

use super::{Error, Result};

/// How long a customer's unpaid orders are held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    #[default]
    Standard,
    Priority,
}

/// A customer's tier: standard where nothing else was said.
///
/// # Errors
/// Where the database is away.
pub async fn tier(connection: &mut PgConnection, customer: &str) -> Result<Tier> {
    let tier = query_scalar!("SELECT tier FROM customers WHERE id = $1", customer).fetch_optional(connection).await?;
    match tier.as_deref() {
        None | Some("standard") => Ok(Tier::Standard),
        Some("priority") => Ok(Tier::Priority),
        Some(_) => Err(Error::Corrupt("a customer's tier")),
    }
}

/// Gives a customer a tier.
///
/// # Errors
/// Where the database is away.
pub async fn set_tier(connection: &mut PgConnection, customer: &str, tier: Tier) -> Result<()> {
    let tier = match tier {
        Tier::Standard => "standard",
        Tier::Priority => "priority",
    };
    query!(
        "INSERT INTO customers (id, tier) VALUES ($1, $2)
         ON CONFLICT (id) DO UPDATE SET tier = EXCLUDED.tier, changed_at = now()",
        customer,
        tier
    )
    .execute(connection)
    .await?;
    Ok(())
}
