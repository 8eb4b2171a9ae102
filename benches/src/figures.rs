//! The measured figures: rows with a sample for each round, printed as one table, median and range.
//!
//! Must not know how anything is measured. A row without a sample is not printed: what could not be measured has failed before.

use std::fmt::Write as _;
use std::time::Duration;

/// The subject of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Measure {
    /// The heading that it stands below.
    pub(crate) part: &'static str,
    pub(crate) what: String,
    pub(crate) unit: Unit,
    pub(crate) aim: Option<Aim>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Ratio,
    PerSecond,
    Milliseconds,
    Seconds,
    Mebibytes,
}

/// The project's aim, in thousandths of the unit. Nothing is asserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    AtLeast(u32),
    AtMost(u32),
}

impl Measure {
    pub(crate) fn new(part: &'static str, unit: Unit, what: impl Into<String>) -> Measure {
        let what = what.into();
        Measure {
            part,
            what,
            unit,
            aim: None,
        }
    }

    pub(crate) fn aim(mut self, aim: impl Into<Option<Aim>>) -> Measure {
        self.aim = aim.into();
        self
    }
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Unit::Ratio => "",
            Unit::PerSecond => " /s",
            Unit::Milliseconds => " ms",
            Unit::Seconds => " s",
            Unit::Mebibytes => " MiB",
        }
    }

    /// A figure in this unit, with three digits or so.
    fn write(self, value: f64) -> String {
        let digits = match value.abs() {
            large if large >= 100.0 => 0,
            middle if middle >= 10.0 => 1,
            small if small >= 0.1 || small == 0.0 => 2,
            _ => 4,
        };
        format!("{value:.digits$}{}", self.name())
    }
}

impl Aim {
    pub(crate) fn value(self) -> f64 {
        let (Aim::AtLeast(thousandths) | Aim::AtMost(thousandths)) = self;
        f64::from(thousandths) / 1000.0
    }
}

/// One row with what its rounds gave.
pub(crate) struct Row {
    pub(crate) measure: Measure,
    sorted: Vec<f64>,
}

impl Row {
    pub(crate) fn least(&self) -> f64 {
        self.sorted.first().copied().unwrap_or_default()
    }

    pub(crate) fn most(&self) -> f64 {
        self.sorted.last().copied().unwrap_or_default()
    }

    pub(crate) fn median(&self) -> f64 {
        let middle = self.sorted.len() / 2;
        let above = self.sorted.get(middle).copied().unwrap_or_default();
        if self.sorted.len() % 2 == 1 {
            return above;
        }
        let below = self.sorted.get(middle.wrapping_sub(1)).copied();
        below.map_or(above, |below| f64::midpoint(below, above))
    }
}

/// All rows.
#[derive(Default)]
pub(crate) struct Figures {
    rows: Vec<Row>,
}

impl Figures {
    /// Adds what one round gave.
    pub(crate) fn add(&mut self, measure: Measure, value: f64) {
        let found = self.rows.iter_mut().find(|row| row.measure == measure);
        let Some(row) = found else {
            let sorted = vec![value];
            return self.rows.push(Row { measure, sorted });
        };
        let at = row.sorted.partition_point(|other| *other < value);
        row.sorted.insert(at, value);
    }

    pub(crate) fn add_time(&mut self, measure: Measure, time: Duration) {
        let seconds = time.as_secs_f64();
        let value = match measure.unit {
            Unit::Milliseconds => seconds * 1000.0,
            _ => seconds,
        };
        self.add(measure, value);
    }

    pub(crate) fn ratios(&self) -> impl Iterator<Item = &Row> {
        let rows = self.rows_by_part();
        rows.filter(|row| row.measure.unit == Unit::Ratio)
    }

    /// Parts, and rows in each, are in the order in which they were measured first.
    fn rows_by_part(&self) -> impl Iterator<Item = &Row> {
        let first_of = |part| self.rows.iter().position(|row| row.measure.part == part);
        let mut rows: Vec<&Row> = self.rows.iter().collect();
        rows.sort_by_key(|row| first_of(row.measure.part));
        rows.into_iter()
    }

    /// The table, in Markdown.
    pub(crate) fn table(&self) -> String {
        let mut table = String::new();
        let mut part = "";
        for row in self.rows_by_part() {
            let Measure {
                what, unit, aim, ..
            } = &row.measure;
            if part != row.measure.part {
                part = row.measure.part;
                let head = if table.is_empty() { TABLE_HEAD } else { "" };
                // Writing to a string does not fail.
                let _ = writeln!(table, "{head}| **{part}** | | | | |");
            }
            let range = if row.sorted.len() == 1 {
                "–".to_owned()
            } else {
                format!("{} to {}", unit.write(row.least()), unit.write(row.most()))
            };
            let aim = match aim {
                None => String::new(),
                Some(aim @ Aim::AtLeast(_)) => format!("≥ {}", unit.write(aim.value())),
                Some(aim @ Aim::AtMost(_)) => format!("≤ {}", unit.write(aim.value())),
            };
            let median = unit.write(row.median());
            let _ = writeln!(
                table,
                "| {what} | {median} | {range} | {} | {aim} |",
                row.sorted.len()
            );
        }
        table
    }
}

const TABLE_HEAD: &str = "| | median | range | rounds | aim |\n|---|---|---|---|---|\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_median_and_the_range_of_its_rounds() {
        let mut figures = Figures::default();
        let ratio = || Measure::new("Part", Unit::Ratio, "ours over theirs").aim(Aim::AtLeast(750));
        for value in [0.9, 0.5, 0.7] {
            figures.add(ratio(), value);
        }
        figures.add(Measure::new("Other", Unit::PerSecond, "decisions"), 1234.0);
        // Its part is there already.
        figures.add(Measure::new("Part", Unit::Milliseconds, "status"), 12.0);
        figures.add(Measure::new("Part", Unit::Milliseconds, "status"), 14.0);
        let rows = [
            "| **Part** | | | | |",
            "| ours over theirs | 0.70 | 0.50 to 0.90 | 3 | ≥ 0.75 |",
            "| status | 13.0 ms | 12.0 ms to 14.0 ms | 2 |  |",
            "| **Other** | | | | |",
            "| decisions | 1234 /s | – | 1 |  |\n",
        ];
        assert_eq!(figures.table(), TABLE_HEAD.to_owned() + &rows.join("\n"));
    }
}
