//! Some lines of an import, done together: new products, then new variants, then changes of what is there, then counts.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use common::clock;
use common::db;
use common::db::imports::{Progress, Refusal};
use common::db::products::{Known, Update};
use common::domain::{
    Action, ChangeStock, Command, CreateProduct, CreateVariant, DEFAULT_WAREHOUSE, ProductOutcome, StockChangeKind,
    StockOutcome,
};
use common::ids::hash_id;
use common::message::{self, Decided, Queued};
use common::partition::partition_for;
use futures_util::{StreamExt as _, stream};
use tokio::time::Instant;
use uuid::Uuid;

use super::line::{Line, Numbered, told};
use super::{DECIDED_SECONDS_MAX, Failure, Job, LOOK_EVERY, PUBLISHED_AT_ONCE, PUBLISHED_SECONDS_MAX, TOUCH_EVERY};
use crate::commands::outcomes;
use crate::state::State;

pub(super) struct Chunk<'a> {
    state: &'a State,
    job: Job,
    /// What is left to do, by the line's number.
    open: BTreeMap<i64, &'a Line>,
    /// By code.
    warehouses: HashMap<String, Uuid>,
    /// By name in lower case.
    categories: HashMap<String, Uuid>,
    known: HashMap<String, Known>,
    progress: Progress,
    refusals: Vec<Refusal>,
}

impl<'a> Chunk<'a> {
    pub(super) async fn begin(state: &'a State, job: Job, numbered: &'a [Numbered]) -> Result<Self, Failure> {
        let lines: Vec<(i64, &Line)> =
            numbered.iter().filter_map(|n| Some((n.number, n.line.as_ref().ok()?))).collect();
        let unreadable = numbered.iter().filter_map(|n| {
            let reason = n.line.as_ref().err()?.clone();
            Some(Refusal { line: n.number, sku: n.sku.clone(), reason })
        });
        let lines_done = i64::try_from(numbered.len()).unwrap_or(i64::MAX);
        let names: Vec<String> = lines.iter().filter_map(|(_, line)| line.category.clone()).collect();
        let found = state.read(move |c| {
            Box::pin(async move {
                let warehouses = db::warehouses::codes(c).await?;
                Ok((warehouses, db::categories::named(c, &names).await?))
            })
        });
        let (warehouses, categories) = found.await?;
        Ok(Self {
            state,
            job,
            open: lines.into_iter().collect(),
            refusals: unreadable.collect(),
            warehouses,
            categories,
            known: HashMap::new(),
            progress: Progress { lines_done, ..Progress::default() },
        })
    }

    pub(super) fn end(mut self) -> (Progress, Vec<Refusal>) {
        self.progress.refused = i64::try_from(self.refusals.len()).unwrap_or(i64::MAX);
        (self.progress, self.refusals)
    }

    fn refuse(&mut self, number: i64, reason: impl Into<String>) {
        if let Some(line) = self.open.remove(&number) {
            self.refusals.push(Refusal { line: number, sku: Some(line.sku.clone()), reason: told(&reason.into()) });
        }
    }

    /// The id of what a line is sent as: the same each time that the import is run.
    fn id(&self, number: i64, what: &str) -> Uuid {
        hash_id("import-line", &[self.job.id.as_bytes(), &number.to_be_bytes(), what.as_bytes()])
    }

    /// Looks up what the catalogue has of the lines and their parents.
    async fn look(&mut self) -> Result<(), Failure> {
        let own = self.open.values().map(|line| line.sku.clone());
        let skus: Vec<String> = own.chain(self.open.values().filter_map(|line| line.parent_sku.clone())).collect();
        let found = self.state.read(move |c| Box::pin(async move { db::products::known(c, &skus).await }));
        self.known = found.await?;
        Ok(())
    }

    /// Notes what this import has created before.
    async fn note_created(&mut self) -> Result<(), Failure> {
        let ids: HashMap<Uuid, i64> = self.open.keys().map(|number| (self.id(*number, "create"), *number)).collect();
        let asked: Vec<Uuid> = ids.keys().copied().collect();
        let found = self.state.read(move |c| Box::pin(async move { outcomes(c, &asked).await }));
        for decided in found.await? {
            if let Some(number) = ids.get(&decided.id()) {
                self.note(*number, decided);
            }
        }
        Ok(())
    }

    pub(super) async fn create_products(&mut self) -> Result<(), Failure> {
        self.note_created().await?;
        self.look().await?;
        let mut new = Vec::new();
        let mut skus = HashSet::new();
        for (number, line) in self.open.clone() {
            if line.parent_sku.is_some() || self.known.contains_key(&line.sku) || !skus.insert(line.sku.as_str()) {
                continue;
            }
            match self.product(line) {
                Ok(product) => new.push((number, Action::CreateProduct(product))),
                Err(reason) => self.refuse(number, reason),
            }
        }
        self.send(new, "create").await
    }

    fn product(&self, line: &Line) -> Result<CreateProduct, String> {
        let (Some(name), Some(price)) = (&line.name, line.price) else {
            return Err("a new product needs a name, a price and a currency".to_owned());
        };
        Ok(CreateProduct {
            name: Arc::from(name.as_str()),
            sku: Arc::from(line.sku.as_str()),
            description: line.description.clone(),
            price,
            stock: line.stock.unwrap_or_default(),
            warehouse_id: self.warehouse(line)?,
            category_id: self.category(line),
            components: Vec::new(),
        })
    }

    fn warehouse(&self, line: &Line) -> Result<Uuid, String> {
        let Some(code) = &line.warehouse else { return Ok(DEFAULT_WAREHOUSE) };
        self.warehouses.get(code).copied().ok_or_else(|| format!("there is no warehouse {code:?}"))
    }

    fn category(&self, line: &Line) -> Option<Uuid> {
        self.categories.get(&line.category.as_ref()?.to_lowercase()).copied()
    }

    pub(super) async fn create_variants(&mut self) -> Result<(), Failure> {
        self.look().await?;
        let mut new = Vec::new();
        let mut skus = HashSet::new();
        for (number, line) in self.open.clone() {
            let Some(parent) = &line.parent_sku else { continue };
            if self.known.contains_key(&line.sku) || !skus.insert(line.sku.as_str()) {
                continue;
            }
            match self.variant(line, parent) {
                Ok(variant) => new.push((number, Action::CreateVariant(variant))),
                Err(reason) => self.refuse(number, reason),
            }
        }
        self.send(new, "create").await
    }

    fn variant(&self, line: &Line, parent: &str) -> Result<CreateVariant, String> {
        let product = self.known.get(parent).filter(|known| known.product_id == known.variant_id && !known.deleted);
        let product = product.ok_or_else(|| format!("there is no product {parent:?}"))?;
        Ok(CreateVariant {
            product_id: product.product_id,
            sku: Arc::from(line.sku.as_str()),
            options: line.options.clone(),
            price: line.price,
            stock: line.stock.unwrap_or_default(),
            warehouse_id: self.warehouse(line)?,
        })
    }

    /// What is left is there: has the catalogue say what the lines say.
    pub(super) async fn update(&mut self) -> Result<(), Failure> {
        self.look().await?;
        // One for each, sorted, however many lines change it.
        let mut updates = BTreeMap::new();
        for (number, line) in self.open.clone() {
            match self.known.get(&line.sku).map(|known| changed(known, line, self.category(line))) {
                None => self.refuse(number, "its product or variant could not be made"),
                Some(Err(reason)) => self.refuse(number, reason),
                Some(Ok(Some(update))) => {
                    if let Some(known) = self.known.get_mut(&line.sku) {
                        known.take(&update);
                    }
                    updates.insert(update.variant, update);
                    self.progress.updated += 1;
                }
                Some(Ok(None)) if line.stock.is_none() => self.progress.unchanged += 1,
                Some(Ok(None)) => {}
            }
        }
        if updates.is_empty() {
            return Ok(());
        }
        let updates: Vec<Update> = updates.into_values().collect();
        let written = self.state.read(move |c| {
            Box::pin(async move {
                let mut transaction = db::begin(c).await?;
                db::products::update(&mut transaction, &updates).await?;
                db::commit(transaction).await
            })
        });
        Ok(written.await?)
    }

    pub(super) async fn count(&mut self) -> Result<(), Failure> {
        let mut counts = Vec::new();
        for (number, line) in self.open.clone() {
            let (Some(quantity), Some(known)) = (line.stock, self.known.get(&line.sku)) else { continue };
            let (product_id, variant_id) = (known.product_id, known.variant_id);
            match self.warehouse(line) {
                Ok(warehouse_id) => {
                    let (kind, reason) = (StockChangeKind::Count, Some("import".to_owned()));
                    let count = ChangeStock { product_id, variant_id, warehouse_id, kind, quantity, reason };
                    counts.push((number, Action::ChangeStock(count)));
                }
                Err(reason) => self.refuse(number, reason),
            }
        }
        self.send(counts, "count").await
    }

    /// Sends commands, and waits until all are decided.
    async fn send(&mut self, actions: Vec<(i64, Action)>, what: &str) -> Result<(), Failure> {
        let mut waiting = HashMap::new();
        let mut sending = Vec::with_capacity(actions.len());
        for (number, action) in actions {
            let (id, account, accepted_at) = (self.id(number, what), self.job.account, clock::now());
            let command = Command { id, account, accepted_at, idempotency: None, action };
            let partition = partition_for(&command, self.state.partitions);
            let bytes = message::encode(&Queued { command, reply_to: None }).map_err(|_| Failure::Broker)?;
            waiting.insert(id, number);
            sending.push((partition, bytes));
        }
        self.publish(sending).await?;
        let deadline = Instant::now() + Duration::from_secs(DECIDED_SECONDS_MAX);
        let mut touched = Instant::now();
        while !waiting.is_empty() {
            let asked: Vec<Uuid> = waiting.keys().copied().collect();
            match self.state.read(move |c| Box::pin(async move { outcomes(c, &asked).await })).await {
                Ok(found) => {
                    for decided in found {
                        if let Some(number) = waiting.remove(&decided.id()) {
                            self.note(number, decided);
                        }
                    }
                }
                Err(error) => tracing::debug!(?error, "what has come of an import's lines could not be read"),
            }
            if waiting.is_empty() {
                break;
            }
            if Instant::now() > deadline {
                return Err(Failure::Undecided);
            }
            if touched.elapsed() > TOUCH_EVERY {
                touched = Instant::now();
                self.touch().await?;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Publishes commands; again what the broker, or the room for it, does not take at once.
    async fn publish(&self, mut sending: Vec<(u16, Vec<u8>)>) -> Result<(), Failure> {
        let deadline = Instant::now() + Duration::from_secs(PUBLISHED_SECONDS_MAX);
        let publisher = &self.state.publisher;
        while !sending.is_empty() {
            let publishing = sending.into_iter().map(|(partition, bytes)| async move {
                let published = publisher.publish(partition, bytes.clone()).await;
                published.is_err().then_some((partition, bytes))
            });
            let publishing = stream::iter(publishing).buffer_unordered(PUBLISHED_AT_ONCE);
            sending = publishing.filter_map(std::future::ready).collect().await;
            if !sending.is_empty() {
                if Instant::now() > deadline {
                    return Err(Failure::Broker);
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        Ok(())
    }

    /// Says that this import is worked on.
    async fn touch(&self) -> Result<(), Failure> {
        let Job { id, attempt, .. } = self.job;
        match self.state.read(move |c| Box::pin(async move { db::imports::touch(c, id, attempt).await })).await {
            Ok(false) => Err(Failure::TakenOver),
            Ok(true) | Err(_) => Ok(()),
        }
    }

    /// Notes what has come of a line.
    fn note(&mut self, number: i64, decided: Decided) {
        let reason = match decided {
            Decided::ProductV1 { outcome: ProductOutcome::Created { .. }, .. } => {
                self.open.remove(&number);
                self.progress.created += 1;
                return;
            }
            Decided::StockV1 { outcome: StockOutcome::Changed { .. }, .. } => {
                self.open.remove(&number);
                self.progress.counted += 1;
                return;
            }
            // Somebody else was faster: it is changed, as any that is there.
            Decided::ProductV1 { outcome: ProductOutcome::SkuTaken, .. } => return,
            Decided::ProductV1 { outcome: ProductOutcome::OtherCurrency, .. } => {
                "its product is priced in another currency".to_owned()
            }
            Decided::StockV1 { outcome: StockOutcome::Short { reserved, .. }, .. } => {
                format!("{reserved} pieces are reserved: no less can be there")
            }
            Decided::StockV1 { outcome: StockOutcome::IsBundle, .. } => "a bundle has no stock of its own".to_owned(),
            decided => format!("it could not be done: {decided:?}"),
        };
        self.refuse(number, reason);
    }
}

/// What of a product or variant a line changes, if anything.
fn changed(known: &Known, line: &Line, category: Option<Uuid>) -> Result<Option<Update>, String> {
    if known.deleted {
        return Err("it is no longer sold".to_owned());
    }
    let is_variant = known.product_id != known.variant_id;
    if is_variant != line.parent_sku.is_some() {
        return Err(
            if is_variant { "it is a variant: name its parentSku" } else { "it is a product of its own" }.to_owned()
        );
    }
    if line.price.is_some_and(|price| price.currency.as_str() != known.currency) {
        return Err(format!("it is priced in {}", known.currency));
    }
    let update = Update {
        variant: known.variant_id,
        name: line.name.clone().unwrap_or_else(|| known.name.clone()),
        description: line.description.clone().or_else(|| known.description.clone()),
        category: category.or(known.category_id),
        price_amount: line.price.map(|price| price.amount).or(known.price_amount),
    };
    let is_same = update.name == known.name
        && update.description == known.description
        && update.category == known.category_id
        && update.price_amount == known.price_amount;
    Ok((!is_same).then_some(update))
}
