//! What a metric is, as data.

use std::sync::OnceLock;

/// The value of a label that is none of the known ones.
pub const OTHER: &str = "_OTHER";

/// What is measured, and how it is called.
#[derive(Debug)]
pub struct Definition {
    /// Its name. One with dots is OpenTelemetry's; Prometheus sees it with underscores, its unit and
    /// its kind.
    pub name: &'static str,
    /// How its values behave.
    pub kind: Kind,
    /// In the Unified Code for Units of Measure, such as `s` or `{task}`.
    pub unit: &'static str,
    /// What tells its series apart.
    pub labels: &'static [Label],
    /// What a value says, in a sentence.
    pub help: &'static str,
    /// Who shows it.
    pub of: &'static str,
}

/// How the values of a metric behave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It is what it is now.
    Gauge,
    /// How often values were at most each of these.
    Histogram(&'static [f64]),
}

/// A label with every value that it can have.
#[derive(Debug)]
pub struct Label {
    /// Its name; for names with dots see [`Definition::name`].
    pub name: &'static str,
    /// Its values.
    pub values: Values,
}

/// Every value that a label can have.
#[derive(Debug)]
pub enum Values {
    /// These.
    Words(&'static [&'static str]),
    /// Those of a table of the product, and [`OTHER`] for anything else.
    Table(&'static Table),
}

/// Values that another part of the product knows, told once at the start.
#[derive(Debug)]
pub struct Table {
    /// What they are, for the reference.
    pub what: &'static str,
    /// How many there may be.
    pub max: usize,
    values: OnceLock<Vec<&'static str>>,
}

impl Table {
    /// A table that nobody has told yet.
    pub const fn new(what: &'static str, max: usize) -> Self {
        Self { what, max, values: OnceLock::new() }
    }

    /// Tells the values; those beyond the limit are [`OTHER`]. A second telling changes nothing.
    pub fn tell(&self, values: impl IntoIterator<Item = &'static str>) {
        self.values.get_or_init(|| {
            let mut known: Vec<_> = values.into_iter().collect();
            known.sort_unstable();
            known.dedup();
            known.truncate(self.max.saturating_sub(1));
            known.push(OTHER);
            known
        });
    }

    fn values(&self) -> &[&'static str] {
        self.values.get().map_or(&[OTHER], Vec::as_slice)
    }

    fn find(&self, value: &str) -> usize {
        let values = self.values();
        let known = &values[..values.len() - 1];
        known.binary_search(&value).unwrap_or(known.len())
    }
}

impl Values {
    /// How many there are.
    pub fn count(&self) -> usize {
        match self {
            Self::Words(words) => words.len(),
            Self::Table(table) => table.values().len(),
        }
    }

    /// The one at a place.
    pub(crate) fn at(&self, place: usize) -> &'static str {
        let value = match self {
            Self::Words(words) => words.get(place),
            Self::Table(table) => table.values().get(place),
        };
        value.copied().unwrap_or(OTHER)
    }

    /// The place of a value; nothing when it is none of them.
    pub(crate) fn find(&self, value: &str) -> Option<usize> {
        match self {
            Self::Words(words) => words.iter().position(|word| *word == value),
            Self::Table(table) => Some(table.find(value)),
        }
    }
}

impl Definition {
    /// How Prometheus calls it, without the suffixes of a histogram's series.
    pub fn prometheus(&self) -> String {
        if !self.name.contains('.') {
            return self.name.to_owned();
        }
        let plain = self.name.replace('.', "_");
        match (self.unit, self.kind) {
            ("s", _) => format!("{plain}_seconds"),
            (_, Kind::Counter) => format!("{plain}_total"),
            _ => plain,
        }
    }

    /// The number of its series, at most.
    pub fn series_max(&self) -> usize {
        self.labels.iter().map(|label| label.values.count()).product()
    }

    /// The place of the series with these label values; nothing when one is not known.
    pub(crate) fn place(&self, values: &[&str]) -> Option<usize> {
        if values.len() != self.labels.len() {
            return None;
        }
        let mut place = 0;
        for (label, value) in self.labels.iter().zip(values) {
            place = place * label.values.count() + label.values.find(value)?;
        }
        Some(place)
    }

    /// The label values of the series at a place.
    pub(crate) fn values(&self, place: usize) -> Vec<&'static str> {
        let mut rest = place;
        let mut values: Vec<&'static str> = Vec::with_capacity(self.labels.len());
        for label in self.labels.iter().rev() {
            values.push(label.values.at(rest % label.values.count()));
            rest /= label.values.count();
        }
        values.reverse();
        values
    }
}

impl Label {
    /// How Prometheus calls it.
    pub fn prometheus(&self) -> String {
        self.name.replace('.', "_")
    }
}
