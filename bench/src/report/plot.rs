//! Plots, as SVG.

use std::path::Path;

use anyhow::Context as _;
use clap::ValueEnum as _;
use plotters::prelude::*;

use crate::compare::{Loaded, Results};
use crate::scenario::Kind;
use crate::system::Who;

const SIZE: (u32, u32) = (900, 420);
const FONT: (&str, i32) = ("sans-serif", 14);

/// Draws what there is; answers with the files' names.
pub(super) fn all(name: &Path, results: &Results) -> anyhow::Result<Vec<String>> {
    let mut drawn = Vec::new();
    for (kind, title, of) in [
        (
            "throughput",
            "Decided orders a second, each outcome awaited",
            figure as fn(&Results, Kind, Who) -> Option<f64>,
        ),
        ("latency", "p99 of the outcome at full load, milliseconds", p99),
    ] {
        let file = name.with_file_name(format!(
            "{}-{kind}.svg",
            name.file_name().context("a report has a name")?.to_string_lossy()
        ));
        if draw(&file, title, results, of)? {
            drawn.push(file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default());
        }
    }
    Ok(drawn)
}

fn figure(results: &Results, kind: Kind, who: Who) -> Option<f64> {
    results.median(kind, who, Loaded::Full, |run| run.decided)
}

fn p99(results: &Results, kind: Kind, who: Who) -> Option<f64> {
    results.median(kind, who, Loaded::Full, |run| run.latency.p99)
}

/// A group of bars per scenario, a bar per system.
fn draw(
    file: &Path,
    title: &str,
    results: &Results,
    of: fn(&Results, Kind, Who) -> Option<f64>,
) -> anyhow::Result<bool> {
    let systems = Who::value_variants();
    let groups: Vec<Kind> = Kind::value_variants()
        .iter()
        .copied()
        .filter(|kind| systems.iter().any(|who| of(results, *kind, *who).is_some()))
        .collect();
    let most = groups
        .iter()
        .flat_map(|kind| systems.iter().filter_map(|who| of(results, *kind, *who)))
        .fold(0.0_f64, f64::max);
    if groups.is_empty() || most <= 0.0 {
        return Ok(false);
    }
    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    area.fill(&WHITE).map_err(|error| anyhow::anyhow!("{error}"))?;
    let width = f64::from(u32::try_from(systems.len())?) + 1.5;
    let end = width * f64::from(u32::try_from(groups.len())?);
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(70)
        .build_cartesian_2d(0.0..end, 0.0..most * 1.15)?;
    let name = |x: &f64| {
        let group = (*x / width) as usize;
        groups.get(group).map(|kind| kind.name()).unwrap_or_default()
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(groups.len() * 2 + 1)
        .x_label_formatter(&|_| String::new())
        .label_style(FONT)
        .draw()?;
    for (n, who) in (0..).zip(systems) {
        let color = Palette99::pick(n).to_rgba();
        let bars = (0..).zip(&groups).filter_map(|(group, kind)| {
            let value = of(results, *kind, *who)?;
            let x = f64::from(group) * width + 0.75 + f64::from(u32::try_from(n).ok()?);
            Some(Rectangle::new([(x, 0.0), (x + 0.9, value)], color.filled()))
        });
        chart
            .draw_series(bars)?
            .label(who.name())
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], color.filled()));
    }
    for group in (0..).take(groups.len()) {
        let x = f64::from(group) * width + 0.75;
        let at = chart.backend_coord(&(x, 0.0));
        area.draw(&Text::new(name(&x), (at.0, at.1 + 8), FONT.into_font()))?;
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK).label_font(FONT).draw()?;
    area.present()?;
    Ok(true)
}
