//! What was measured, for people and for programs: Markdown, JSON and plots, under the day's date.

mod markdown;
mod plot;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use common::clock;
use serde::Serialize;

use crate::compare::Results;
use crate::growth;
use crate::options::{Compare, Growth, Profile};
use crate::profile;

/// Writes the report of a comparison, and prints its table.
pub(crate) fn write(options: &Compare, results: &Results) -> anyhow::Result<()> {
    let name = name(&options.results, "")?;
    let plots = plot::all(&name, results)?;
    let text = markdown::compared(options, results, &plots);
    println!("{text}");
    save(&name, &text, results)
}

/// Writes the report of growth, and prints its table.
pub(crate) fn write_growth(options: &Growth, results: &growth::Results) -> anyhow::Result<()> {
    let name = name(&options.results, "-growth")?;
    let text = markdown::grown(options, results);
    println!("{text}");
    save(&name, &text, results)
}

/// Writes where time goes, and prints its tables.
pub(crate) fn write_profile(options: &Profile, profiled: &[profile::Profiled]) -> anyhow::Result<()> {
    let name = name(&options.results, &format!("-profile-{}", options.scenario.name()))?;
    let text = markdown::profiled(options, profiled);
    println!("{text}");
    save(&name, &text, &profiled)
}

fn name(folder: &Path, kind: &str) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| format!("{} can't be made", folder.display()))?;
    Ok(folder.join(format!("{}{kind}", clock::now().date())))
}

fn save(name: &Path, text: &str, results: &impl Serialize) -> anyhow::Result<()> {
    let (markdown, json) = (name.with_extension("md"), name.with_extension("json"));
    fs::write(&markdown, text)?;
    fs::write(&json, serde_json::to_string_pretty(results)?)?;
    eprintln!("written: {} and {}", markdown.display(), json.display());
    Ok(())
}
