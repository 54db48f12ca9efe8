//! Accounts and their keys. A key is stored as its SHA-256 only.

use sqlx::{PgConnection, query, query_as, query_scalar};
use uuid::Uuid;

use super::{Error, Result};

/// What an account may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Sees and touches what is its own.
    Client,
    /// May do all.
    Operator,
}

impl Role {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Client => "client",
            Role::Operator => "operator",
        }
    }
}

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Principal {
    pub account: Uuid,
    pub role: Role,
}

/// Those of `hashes` that are keys in force, with whose they are.
///
/// # Errors
/// Where the database is away.
pub async fn find_keys(connection: &mut PgConnection, hashes: &[[u8; 32]]) -> Result<Vec<([u8; 32], Principal)>> {
    struct Row {
        hash: Vec<u8>,
        account_id: Uuid,
        role: String,
    }
    let hashes: Vec<Vec<u8>> = hashes.iter().map(|hash| hash.to_vec()).collect();
    let rows = query_as!(
        Row,
        "SELECT k.hash, k.account_id, a.role FROM api_keys k JOIN accounts a ON a.id = k.account_id
         WHERE k.hash = ANY($1) AND k.revoked_at IS NULL",
        &hashes
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let hash = row.hash.try_into().map_err(|_| Error::Corrupt("a key's hash is not 32 bytes"))?;
            let role = match row.role.as_str() {
                "client" => Role::Client,
                "operator" => Role::Operator,
                _ => return Err(Error::Corrupt("an account's role is unknown")),
            };
            Ok((hash, Principal { account: row.account_id, role }))
        })
        .collect()
}

/// The ids of all accounts.
///
/// # Errors
/// Where the database is away.
pub async fn ids(connection: &mut PgConnection) -> Result<Vec<Uuid>> {
    Ok(query_scalar!("SELECT id FROM accounts").fetch_all(connection).await?)
}

/// Makes sure that an account of this name and role exists; answers with its id, or `None` where it has another role.
///
/// # Errors
/// Where the database is away.
pub async fn add_account(connection: &mut PgConnection, name: &str, role: Role) -> Result<Option<Uuid>> {
    query!(
        "INSERT INTO accounts (id, name, role) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING",
        Uuid::now_v7(),
        name,
        role.as_str()
    )
    .execute(&mut *connection)
    .await?;
    let id = query_scalar!("SELECT id FROM accounts WHERE name = $1 AND role = $2", name, role.as_str());
    Ok(id.fetch_optional(connection).await?)
}

/// Gives an account a key, by its hash. Giving it again does nothing.
///
/// # Errors
/// Where the database is away.
pub async fn add_key(connection: &mut PgConnection, account: Uuid, hash: &[u8; 32]) -> Result<()> {
    query!("INSERT INTO api_keys (hash, account_id) VALUES ($1, $2) ON CONFLICT (hash) DO NOTHING", &hash[..], account)
        .execute(connection)
        .await?;
    Ok(())
}

/// Ends a key. Answers whether it was in force.
///
/// # Errors
/// Where the database is away.
pub async fn revoke_key(connection: &mut PgConnection, hash: &[u8; 32]) -> Result<bool> {
    let revoked = query!("UPDATE api_keys SET revoked_at = now() WHERE hash = $1 AND revoked_at IS NULL", &hash[..])
        .execute(connection)
        .await?;
    Ok(revoked.rows_affected() > 0)
}
