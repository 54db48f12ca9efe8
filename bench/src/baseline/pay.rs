//! Paying what was reserved, in a transaction of its own: what is locked is one order and its stock, in every way alike.

use common::db;
use common::domain::{ChangeOutcome, Command};
use common::message::Decided;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Baseline, Failure};
use crate::system::Who;

/// The same rows as Onhand writes: the order, its history, the command, the stock, its movements, and the reservation that is no more.
const PAY: &str = "
    WITH paid AS (
      UPDATE orders SET status = 'paid', revision = revision + 1, paid_at = now(), payment = '{}'
      WHERE id = $1 AND status = 'pending' AND due_at > now() RETURNING revision, partition),
    released AS (DELETE FROM reservations r USING paid WHERE r.order_id = $1 RETURNING r.variant_id, r.warehouse_id, r.quantity),
    sold AS (
      UPDATE stock s SET on_hand = s.on_hand - r.quantity, reserved = s.reserved - r.quantity, version = s.version + 1
      FROM released r WHERE s.variant_id = r.variant_id AND s.warehouse_id = r.warehouse_id
      RETURNING s.variant_id, s.warehouse_id, s.version, r.quantity),
    moved AS (
      INSERT INTO stock_movements (variant_id, warehouse_id, stock_version, cause, quantity, reserved, command_id, order_id, moved_at)
      SELECT variant_id, warehouse_id, version, 'sold', -quantity, -quantity, $2, $1, now() FROM sold),
    told AS (
      INSERT INTO order_status_history (order_id, revision, status, partition, sequence, command_id, account_id, changed_at)
      SELECT $1, revision, 'paid', partition, $3, $2, $4, now() FROM paid),
    asked AS (
      INSERT INTO commands (id, account_id, partition, sequence, body, outcome, accepted_at, decided_at)
      SELECT $2, $4, partition, $3, '{}', '{}', $5, now() FROM paid)
    SELECT revision FROM paid";

impl Baseline {
    pub(super) async fn pay(&self, c: &mut PgConnection, command: &Command, order: Uuid) -> Result<Decided, Failure> {
        // One statement is a transaction of its own, and guards itself; only the serializable one must say so.
        let is_serializable = self.who == Who::Serializable;
        if is_serializable {
            sqlx::raw_sql("BEGIN ISOLATION LEVEL SERIALIZABLE").execute(&mut *c).await?;
        }
        let paid = sqlx::query_scalar(PAY)
            .bind(order)
            .bind(command.id)
            .bind(self.next_sequence())
            .bind(command.account)
            .bind(command.accepted_at)
            .fetch_optional(&mut *c)
            .await;
        if is_serializable {
            sqlx::raw_sql(if paid.is_ok() { "COMMIT" } else { "ROLLBACK" }).execute(&mut *c).await?;
        }
        let revision: Option<i32> = paid?;
        let outcome = revision.map_or(ChangeOutcome::Unknown, |revision| ChangeOutcome::Changed { revision });
        let stored = db::orders::find(c, &[order]).await;
        let stored = stored.map_err(|error| Failure::Database(sqlx::Error::Protocol(error.to_string())))?;
        let order = stored.into_iter().next().map(|stored| stored.order);
        Ok(Decided::ChangeV1 { id: command.id, outcome, order })
    }
}
