//! `GET /products?category=&q=&sku=&sort=&limit=&cursor=`: a page of the catalogue.

use axum::response::Response;
use common::db;
use common::db::products::{After, Filter, Product, Sort};
use uuid::Uuid;

use super::view::ProductView;
use crate::auth::Caller;
use crate::error::Error;
use crate::page::{self, Asked, Cursor};
use crate::state::App;

/// Most bytes of words that are searched for.
const WORDS_BYTES_MAX: usize = 200;

pub(crate) async fn handle(App(state): App, _: Caller, query: Asked) -> Result<Response, Error> {
    let mut reading = query.read(&["category", "q", "sku", "sort", "limit", "cursor"]);
    let category = reading.id("category");
    let is_text = |text: &str| (1..=WORDS_BYTES_MAX).contains(&text.len()) && !text.contains('\0');
    let mut text = |name| {
        let expected = format!("1 to {WORDS_BYTES_MAX} bytes");
        reading.parsed(name, &expected, |text| is_text(text).then(|| text.to_owned()))
    };
    let filter = Filter { category, words: text("q"), sku: text("sku") };
    let sort = reading.parsed("sort", "name, -name, price or -price", sort).unwrap_or_default();
    let (limit, after) = (reading.limit(), reading.cursor::<After>());
    let ((), kept) = reading.finish(())?;
    // One more than asked for tells whether there is a next page.
    let found = state
        .read(move |c| Box::pin(async move { db::products::list(c, &filter, sort, after.as_ref(), limit + 1).await }));
    let place = |product: &Product| After { id: product.id, name: product.name.clone(), price: product.price.amount };
    Ok(page::answer("/products", kept, limit, found.await?, place, ProductView::from))
}

fn sort(text: &str) -> Option<Sort> {
    Some(match text {
        "name" => Sort::Name,
        "-name" => Sort::NameDescending,
        "price" => Sort::Price,
        "-price" => Sort::PriceDescending,
        _ => return None,
    })
}

impl Cursor for After {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '-');
        let (id, price, name) = (parts.next()?, parts.next()?, parts.next()?);
        let is_text = !name.contains('\0');
        is_text.then_some(Self { id: Uuid::try_parse(id).ok()?, name: name.to_owned(), price: price.parse().ok()? })
    }

    fn text(&self) -> String {
        format!("{}-{}-{}", self.id.simple(), self.price, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        for name in ["Shoe", "A - B", "", "%&?=ü-"] {
            let after = After { id: Uuid::from_u128(7), name: name.to_owned(), price: 42 };
            assert_eq!(After::parse(&after.text()), Some(after));
        }
        for nonsense in ["", "x", "7-1", "x-1-Shoe"] {
            assert_eq!(After::parse(nonsense), None, "{nonsense}");
        }
    }
}
