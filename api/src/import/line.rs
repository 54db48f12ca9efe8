//! The lines of a catalogue that is sent in: CSV (RFC 4180, with a header) or JSON lines. Each is read by itself, so that one that
//! can't be read does not take the others along.

use std::collections::BTreeMap;

use common::domain::{Currency, Money};
use serde::Deserialize;

use crate::catalogue::{
    CATEGORY_BYTES_MAX, DESCRIPTION_BYTES_MAX, NAME_BYTES_MAX, SKU_BYTES_MAX, check_options, check_price, check_stock,
};
use crate::checks::Checks;
use crate::error::FieldError;

/// What a line says of a product or, where it names a parent, of one of its variants.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Line {
    pub(crate) sku: String,
    pub(crate) name: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) price: Option<Money>,
    /// By name; made where there is none such.
    pub(crate) category: Option<String>,
    /// SKU of the product that it is a variant of.
    pub(crate) parent_sku: Option<String>,
    #[serde(default)]
    pub(crate) options: BTreeMap<String, String>,
    /// What is there of it.
    pub(crate) stock: Option<i64>,
    /// By code; the default one where none is named.
    pub(crate) warehouse: Option<String>,
}

/// A line with its number, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Numbered {
    pub(crate) number: i64,
    pub(crate) sku: Option<String>,
    pub(crate) line: Result<Line, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Csv,
    JsonLines,
}

impl Format {
    /// Of a `Content-Type`.
    pub(crate) fn of(content_type: &str) -> Option<Self> {
        match content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "text/csv" => Some(Self::Csv),
            "application/x-ndjson" | "application/jsonl" | "application/json-lines" => Some(Self::JsonLines),
            _ => None,
        }
    }
}

/// Most lines of an import.
const LINES_MAX: usize = 1_000_000;
/// Most bytes of a reason that are kept.
const REASON_BYTES_MAX: usize = 500;

/// All lines, those of products before those of variants; empty ones are none. An error where the header of a CSV is not as
/// expected, or there are too many.
pub(crate) fn read(format: Format, bytes: &[u8]) -> Result<Vec<Numbered>, FieldError> {
    let mut lines = match format {
        Format::Csv => read_csv(bytes)?,
        Format::JsonLines => read_json(bytes),
    };
    if lines.len() > LINES_MAX {
        return Err(FieldError::new("", format!("{LINES_MAX} lines at the most are expected")));
    }
    lines.sort_by_key(|numbered| numbered.line.as_ref().is_ok_and(|line| line.parent_sku.is_some()));
    Ok(lines)
}

fn read_json(bytes: &[u8]) -> Vec<Numbered> {
    let lines = (1..).zip(bytes.split(|byte| *byte == b'\n')).filter(|(_, line)| !line.trim_ascii().is_empty());
    let lines = lines.take(LINES_MAX + 1);
    lines
        .map(|(number, line)| numbered(number, serde_json::from_slice(line).map_err(|error| error.to_string())))
        .collect()
}

/// The numbers of the lines on which records begin. The reader of the crate counts otherwise where lines end with CR LF, or CR alone.
struct LineNumbers<'a> {
    bytes: &'a [u8],
    at: usize,
    line: i64,
    last: i64,
}

impl<'a> LineNumbers<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, line: 1, last: 0 }
    }

    /// Of a record that begins at this byte or, ends of lines left out, after it. No two records have the same.
    fn next(&mut self, from: u64) -> i64 {
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(self.bytes.len());
        let ends = self.bytes[from..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let to = from + ends;
        let passed = self.bytes.get(self.at..to).unwrap_or_default();
        self.line += i64::try_from(passed.iter().filter(|byte| **byte == b'\n').count()).unwrap_or_default();
        self.at = self.at.max(to);
        self.last = self.line.max(self.last + 1);
        self.last
    }
}

const COLUMNS: [&str; 10] =
    ["sku", "name", "description", "price", "currency", "category", "parentSku", "options", "stock", "warehouse"];

fn read_csv(bytes: &[u8]) -> Result<Vec<Numbered>, FieldError> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(bytes);
    let header = reader.headers().map_err(|error| FieldError::new("line 1", error.to_string()))?.clone();
    let columns: Vec<&str> = header.iter().map(|name| name.trim_start_matches('\u{feff}')).collect();
    for (n, name) in columns.iter().enumerate() {
        if !COLUMNS.contains(name) || columns[..n].contains(name) {
            let detail = format!("{name:?} is no column, or there twice: {} are expected", COLUMNS.join(", "));
            return Err(FieldError::new("line 1", detail));
        }
    }
    if !columns.contains(&"sku") {
        return Err(FieldError::new("line 1", "a column \"sku\" is expected"));
    }
    let mut numbers = LineNumbers::of(bytes);
    numbers.next(0);
    let mut lines = Vec::new();
    let mut record = csv::StringRecord::new();
    while lines.len() <= LINES_MAX {
        let from = reader.position().byte();
        let read = reader.read_record(&mut record);
        if matches!(read, Ok(false)) {
            break;
        }
        let number = numbers.next(from);
        let line = match read {
            Err(_) => Err("it is not UTF-8".to_owned()),
            Ok(_) if record.len() != columns.len() => {
                Err(format!("{} fields, where the header has {}", record.len(), columns.len()))
            }
            Ok(_) => {
                from_fields(&columns.iter().copied().zip(&record).filter(|(_, value)| !value.is_empty()).collect())
            }
        };
        lines.push(numbered(number, line));
    }
    Ok(lines)
}

fn from_fields(fields: &BTreeMap<&str, &str>) -> Result<Line, String> {
    let text = |name| fields.get(name).map(|value| (*value).to_owned());
    let number = |name: &str| {
        let parsed = fields.get(name).map(|value| value.parse::<i64>());
        parsed.transpose().map_err(|_| format!("{name}: a whole number is expected"))
    };
    let price = match (number("price")?, fields.get("currency")) {
        (Some(amount), Some(code)) => {
            let currency = Currency::try_from(*code).map_err(|error| format!("currency: {error}"))?;
            Some(Money { amount, currency })
        }
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => return Err("price and currency go together".to_owned()),
    };
    let mut options = BTreeMap::new();
    for option in fields.get("options").into_iter().flat_map(|options| options.split(';')) {
        let (name, value) = option.split_once('=').ok_or("options: such as size=9;colour=red are expected")?;
        options.insert(name.trim().to_owned(), value.trim().to_owned());
    }
    Ok(Line {
        sku: text("sku").unwrap_or_default(),
        name: text("name"),
        description: text("description"),
        price,
        category: text("category"),
        parent_sku: text("parentSku"),
        options,
        stock: number("stock")?,
        warehouse: text("warehouse"),
    })
}

/// With all that is wrong with it.
fn numbered(number: i64, line: Result<Line, String>) -> Numbered {
    let sku = line.as_ref().ok().map(|line| line.sku.clone()).filter(|sku| !sku.is_empty() && !sku.contains('\0'));
    let line = line.and_then(|line| check(&line).map(|()| line));
    Numbered { number, sku, line: line.map_err(|reason| told(&reason)) }
}

/// A reason as it can be kept: parts of the line itself may be in it.
pub(crate) fn told(reason: &str) -> String {
    let end = reason.floor_char_boundary(REASON_BYTES_MAX);
    reason[..end].replace('\0', "\u{FFFD}")
}

fn check(line: &Line) -> Result<(), String> {
    let mut checks = Checks::default();
    checks.text("sku", &line.sku, 1, SKU_BYTES_MAX);
    checks.text_if_set("name", line.name.as_deref(), NAME_BYTES_MAX);
    checks.text_if_set("description", line.description.as_deref(), DESCRIPTION_BYTES_MAX);
    checks.text_if_set("category", line.category.as_deref(), CATEGORY_BYTES_MAX);
    checks.text_if_set("parentSku", line.parent_sku.as_deref(), SKU_BYTES_MAX);
    check_price(line.price, &mut checks);
    check_stock(line.stock.unwrap_or_default(), &mut checks);
    if line.parent_sku.is_some() {
        check_options(&line.options, &mut checks);
        let is_own = line.name.is_some() || line.description.is_some() || line.category.is_some();
        checks.that(!is_own, "parentSku", || "name, description and category are the parent's".to_owned());
    } else {
        checks
            .that(line.options.is_empty(), "options", || "options are for variants, which name a parentSku".to_owned());
    }
    let useless = line.warehouse.is_some() && line.stock.is_none();
    checks.that(!useless, "warehouse", || "it is for stock".to_owned());
    checks.told().map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn euros(amount: i64) -> Option<Money> {
        Some(Money { amount, currency: Currency::try_from("EUR").expect("a currency") })
    }

    #[test]
    fn a_csv_and_json_lines_say_the_same() {
        let csv = "\u{feff}sku,name,price,currency,parentSku,options,stock,warehouse,category\n\
                   CUP,\"Cup, blue\",700,EUR,,,5,,Cups\n\
                   \n\
                   CUP-L,,,,CUP,size=L; colour=blue ,0,north,\n";
        let json = r#"{"sku":"CUP","name":"Cup, blue","price":{"amount":700,"currency":"EUR"},"stock":5,"category":"Cups"}

{"sku":"CUP-L","parentSku":"CUP","options":{"size":"L","colour":"blue"},"stock":0,"warehouse":"north"}"#;
        let lines = |format, text: &str| -> Vec<Line> {
            let lines = read(format, text.as_bytes()).expect("a header");
            lines.into_iter().map(|numbered| numbered.line.expect("a line")).collect()
        };
        let read_csv = lines(Format::Csv, csv);
        assert_eq!(read_csv, lines(Format::JsonLines, json));
        assert_eq!((read_csv[0].name.as_deref(), read_csv[0].price), (Some("Cup, blue"), euros(700)));
        assert_eq!(read_csv[1].options.len(), 2);
    }

    #[test]
    fn a_line_that_is_wrong_is_told_with_its_number_and_all_that_is_wrong() {
        let csv = b"sku,price,currency,stock,options,parentSku,name\n\
                    A,x,EUR,,,,\n\
                    B,5,,,,,\n\
                    ,5,EUR,-1,,,\n\
                    C,5,EUR,1,size,P,\n\
                    D,5,EUR,1,size=9,P,Name\n\
                    E,5\n\
                    F,5,EUR,1,,,\xff\n\
                    G,5,EUR,1,,,Good\n";
        let lines = read(Format::Csv, csv).expect("a header");
        let told: Vec<(i64, Option<&str>)> =
            lines.iter().map(|line| (line.number, line.line.as_ref().err().map(String::as_str))).collect();
        for ((number, told), expected) in told.iter().zip([
            "price: a whole number",
            "price and currency",
            "sku: 1 to 64",
            "options: such as",
            "parentSku: name",
            "2 fields",
            "UTF-8",
        ]) {
            assert!(told.expect("it is wrong").contains(expected), "line {number}: {told:?}");
        }
        assert_eq!(told.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(told[7].1, None);
        for ends in ["\r\n", "\n\n", "\r"] {
            let text = ["sku", "A", "", "B"].join(ends);
            let lines = read(Format::Csv, text.as_bytes()).expect("a header");
            let numbers: Vec<i64> = lines.iter().map(|line| line.number).collect();
            let expected = match ends {
                "\r\n" => [2, 4],
                "\n\n" => [3, 7],
                // Lines that end like this have no number: each record has its own all the same.
                _ => [2, 3],
            };
            assert_eq!(numbers, expected, "{ends:?}");
        }
        let null = read(Format::JsonLines, b"{\"sku\":\"A\",\"\\u0000\":1}\n").expect("no header");
        assert!(null[0].line.as_ref().is_err_and(|reason| !reason.contains('\0')));
        let json = read(Format::JsonLines, b"{\"sku\":\"A\",\"colour\":1}\nnonsense\n").expect("no header");
        assert!(json.iter().all(|line| line.line.is_err()));
        assert_eq!(json[1].number, 2);
        for header in ["name,price\n", "sku,colour\n", "sku,sku\n", ""] {
            assert!(read(Format::Csv, header.as_bytes()).is_err(), "{header:?}");
        }
    }
}
