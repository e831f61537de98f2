//! A chart of what one request costs, on a logarithmic scale.

use std::fmt::{self, Write};

use crate::measure::Row;
use crate::report::{self, Report};

/// The bars, from the top: label and row.
const BARS: [(&str, &str); 8] = [
    ("portcullis, token seen before", "portcullis/hit/RS256"),
    (
        "the same + roles + rate limit + metrics",
        "portcullis/chain/RS256",
    ),
    ("the RSA signature alone (aws-lc)", "raw/verify/RS256"),
    ("portcullis, token never seen", "portcullis/miss/RS256"),
    ("aliri_tower", "aliri_tower/request/RS256"),
    ("jwt-authorizer", "jwt-authorizer/request/RS256"),
    (
        "tower-oauth2-resource-server",
        "tower-oauth2-resource-server/request/RS256",
    ),
    ("axum-jwt-auth", "axum-jwt-auth/request/RS256"),
];

const WIDTH: f64 = 840.0;
const LABELS: f64 = 290.0;
const RIGHT: f64 = 84.0;
const TOP: f64 = 54.0;
const STEP: f64 = 30.0;
const BAR: f64 = 20.0;

/// The decades of the scale, in nanoseconds.
const DECADES: [(f64, &str); 5] = [
    (1e2, "100 ns"),
    (1e3, "1 µs"),
    (1e4, "10 µs"),
    (1e5, "100 µs"),
    (1e6, "1 ms"),
];

/// Draws the chart as SVG, readable on light and dark backgrounds.
pub fn draw(report: &Report) -> String {
    let bars: Vec<(&str, &Row)> = BARS
        .iter()
        .filter_map(|(label, name)| Some((*label, report.find(name)?)))
        .collect();
    let mut svg = String::new();
    // Writing into a string cannot fail.
    let _ = write(&mut svg, &bars);
    svg
}

fn write(svg: &mut String, bars: &[(&str, &Row)]) -> fmt::Result {
    let bottom = TOP + STEP * bars.len() as f64;
    let height = bottom + 62.0;
    writeln!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="system-ui, sans-serif" font-size="13">
<style>
  text {{ fill: #1f2328 }}
  .quiet {{ fill: #656d76; font-size: 11px }}
  .grid {{ stroke: #d0d7de }}
  .ours {{ fill: #1a7f5a }}
  .other {{ fill: #9aa4af }}
  .raw {{ fill: #c8a24a }}
  @media (prefers-color-scheme: dark) {{
    text {{ fill: #e6edf3 }}
    .quiet {{ fill: #9198a1 }}
    .grid {{ stroke: #3d444d }}
    .ours {{ fill: #3fb68b }}
    .other {{ fill: #6e7681 }}
  }}
</style>
<text x="0" y="16" font-weight="600">What authentication adds to a request: processor time, RS256 (logarithmic scale)</text>"#
    )?;
    for (nanos, label) in DECADES {
        let x = place(nanos);
        writeln!(
            svg,
            r#"<line class="grid" x1="{x:.1}" x2="{x:.1}" y1="{}" y2="{bottom}"/><text class="quiet" x="{x:.1}" y="{}" text-anchor="middle">{label}</text>"#,
            TOP - 8.0,
            TOP - 14.0
        )?;
    }
    for (at, (label, row)) in bars.iter().enumerate() {
        let y = TOP + STEP * at as f64;
        let middle = y + BAR / 2.0 + 4.5;
        let class = match row.name.split('/').next() {
            Some("portcullis") => "ours",
            Some("raw") => "raw",
            _ => "other",
        };
        let end = place(row.nanos);
        writeln!(
            svg,
            r#"<text x="{}" y="{middle}" text-anchor="end">{label}</text><rect class="{class}" x="{LABELS}" y="{y}" width="{:.1}" height="{BAR}" rx="2"/><text x="{:.1}" y="{middle}">{}</text>"#,
            LABELS - 10.0,
            end - LABELS,
            end + 6.0,
            amount(row.nanos)
        )?;
    }
    for (at, line) in report::machine().lines().enumerate() {
        let y = bottom + 22.0 + 16.0 * at as f64;
        writeln!(svg, r#"<text class="quiet" x="0" y="{y}">{line}</text>"#)?;
    }
    svg.write_str("</svg>\n")
}

fn place(nanos: f64) -> f64 {
    let (first, last) = (DECADES[0].0.log10(), DECADES[DECADES.len() - 1].0.log10());
    let share = (nanos.log10() - first) / (last - first);
    LABELS + (WIDTH - LABELS - RIGHT) * share.clamp(0.0, 1.0)
}

fn amount(nanos: f64) -> String {
    match nanos {
        ..1e3 => format!("{nanos:.0} ns"),
        ..1e4 => format!("{:.1} µs", nanos / 1e3),
        _ => format!("{:.0} µs", nanos / 1e3),
    }
}
