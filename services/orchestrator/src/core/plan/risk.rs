//! How risky a plan is, explained by its parts.

use meta_domain::plan::{PlannedStep, RiskPart};
use meta_domain::source::SourceListing;

/// The parts of the score; each says what it found.
pub(super) fn parts(steps: &[PlannedStep], listing: &SourceListing) -> Vec<RiskPart> {
    let count = |holds: &dyn Fn(&PlannedStep) -> bool| steps.iter().filter(|s| holds(s)).count();
    let command = |s: &PlannedStep| s.run.to_string();
    let has_file = |part: &str| listing.files.iter().any(|f| f.contains(part));
    let mut parts = Vec::new();
    let mut add = |points: usize, reason: String| {
        if points > 0 {
            parts.push(RiskPart { reason, points: u32::try_from(points).unwrap_or(100) });
        }
    };
    add(steps.len().min(10), format!("{} steps", steps.len()));
    let network = count(&|s| s.network);
    add((network * 10).min(20), format!("{network} steps use the network"));
    let piped = count(&|s| {
        let line = command(s);
        (line.contains("curl") || line.contains("wget"))
            && line.contains("sh")
            && line.contains('|')
    });
    add((piped * 25).min(25), format!("{piped} steps execute what they download"));
    if !steps.iter().any(|s| command(s).contains("test") || s.name.contains("test")) {
        add(10, "no step runs tests".to_owned());
    }
    if has_file("migrations/") || has_file("alembic") {
        add(15, "the source has database migrations".to_owned());
    }
    let writable = count(&|s| !s.writable.is_empty());
    add((writable * 5).min(10), format!("{writable} steps widen what patches may touch"));
    parts
}
