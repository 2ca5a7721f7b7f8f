//! Figures as people read them.

/// The middle one.
pub fn median(all: &[f64]) -> f64 {
    quantile(all, 0.5)
}

/// The value that so many of them, as a part, do not exceed.
pub fn quantile(all: &[f64], part: f64) -> f64 {
    let mut sorted = all.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = ((sorted.len() as f64 * part).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

/// A Markdown table.
pub struct Table(Vec<String>);

impl Table {
    pub fn new(title: &str, columns: &[&str]) -> Self {
        let rule: Vec<&str> = columns
            .iter()
            .enumerate()
            .map(|(n, _)| if n == 0 { "---" } else { "---:" })
            .collect();
        Self(vec![
            format!("\n{title}:\n"),
            format!("| {} |", columns.join(" | ")),
            format!("|{}|", rule.join("|")),
        ])
    }

    pub fn row(&mut self, cells: &[String]) {
        self.0.push(format!("| {} |", cells.join(" | ")));
    }

    pub fn print(&self) {
        for line in &self.0 {
            println!("{line}");
        }
    }
}
