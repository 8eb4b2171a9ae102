//! The table's ratios as a picture: for each its range, its median, and what is aimed at.

use std::path::Path;

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::figures::{Aim, Figures, Row};

/// Draws all rows that are ratios, in the table's order, on a logarithmic scale.
pub(crate) fn draw(figures: &Figures, path: &Path) -> Result<()> {
    let rows: Vec<&Row> = figures.ratios().collect();
    let height = HEAD + ROW * i32::try_from(rows.len())? + FOOT;
    let area = SVGBackend::new(path, (WIDTH.unsigned_abs(), height.unsigned_abs()));
    let area = area.into_drawing_area();
    area.fill(&WHITE)?;
    let place = |ratio: f64| {
        let share = (ratio.clamp(LEAST, MOST) / LEAST).ln() / (MOST / LEAST).ln();
        #[allow(clippy::cast_possible_truncation)]
        let across = (share * f64::from(WIDTH - NAMES - EDGE)) as i32;
        NAMES + across
    };
    let small = ("sans-serif", 12).into_font().color(&BLACK.mix(0.8));
    let centred = small.pos(Pos::new(HPos::Center, VPos::Center));
    for mark in MARKS {
        let x = place(mark);
        let style = if (mark - 1.0).abs() < f64::EPSILON {
            BLACK.mix(0.6)
        } else {
            BLACK.mix(0.15)
        };
        area.draw(&PathElement::new(
            vec![(x, HEAD), (x, height - FOOT)],
            style,
        ))?;
        area.draw(&Text::new(
            mark.to_string(),
            (x, height - FOOT / 2),
            centred.clone(),
        ))?;
    }
    let legend = "median and range of the rounds; green: reached, red: not yet, blue: no aim; triangle: the aim";
    area.draw(&Text::new(legend, (EDGE, HEAD / 3), small.clone()))?;
    for (number, row) in (0..).zip(rows) {
        let y = HEAD + ROW * number + ROW / 2;
        let colour = colour_of(row);
        let name = small.pos(Pos::new(HPos::Right, VPos::Center));
        area.draw(&Text::new(
            row.measure.what.clone(),
            (NAMES - EDGE, y),
            name,
        ))?;
        let range = vec![(place(row.least()), y), (place(row.most()), y)];
        area.draw(&PathElement::new(range, colour.stroke_width(3)))?;
        let median = place(row.median());
        area.draw(&Circle::new((median, y), 4, colour.filled()))?;
        let figure = format!("{:.2}", row.median());
        area.draw(&Text::new(
            figure,
            (WIDTH - EDGE / 2, y),
            small.pos(Pos::new(HPos::Right, VPos::Center)),
        ))?;
        if let Some(aim) = row.measure.aim {
            area.draw(&TriangleMarker::new(
                (place(aim.value()), y - 7),
                4,
                BLACK.filled(),
            ))?;
        }
    }
    area.present()?;
    Ok(())
}

fn colour_of(row: &Row) -> RGBColor {
    let is_reached = match row.measure.aim {
        None => return RGBColor(40, 90, 160),
        Some(aim @ Aim::AtLeast(_)) => row.median() >= aim.value(),
        Some(aim @ Aim::AtMost(_)) => row.median() <= aim.value(),
    };
    if is_reached {
        RGBColor(30, 130, 60)
    } else {
        RGBColor(190, 50, 40)
    }
}

/// Pixels: the picture, its names, its edges, the lines above and below, and a row.
const WIDTH: i32 = 960;
const NAMES: i32 = 470;
const EDGE: i32 = 16;
const HEAD: i32 = 40;
const FOOT: i32 = 30;
const ROW: i32 = 22;

/// The range of the scale.
const LEAST: f64 = 0.05;
const MOST: f64 = 20.0;
const MARKS: [f64; 8] = [0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];
