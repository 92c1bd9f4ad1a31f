//! `migctl sim list`: what can be simulated, and what is.
//!
//! Must never make a machine.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};
use sim_gpu::HostSpec;
use sim_nvml::SimHost;

use super::table;
use crate::{Context, Failure};

pub(super) fn run(context: &Context) -> Result<ExitCode, Failure> {
    let presets = presets()?;
    let existing = existing(&context.library_dir()?.with_file_name("sim"));
    if context.json() {
        let data = json!({
            "presets": presets.iter().map(Row::json).collect::<Vec<_>>(),
            "boards": model::catalog::boards().map(|board| board.id).collect::<Vec<_>>(),
            "machines": existing.iter().map(Row::json).collect::<Vec<_>>(),
        });
        context.output.data(&data)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = "Presets, for --simulate:\n".to_owned();
    text.push_str(&table_of(&presets));
    text.push_str(
        "Also: a board and a count, such as a30:4, or the path of a TOML file. The boards:\n",
    );
    text.push_str(&boards());
    if existing.is_empty() {
        text.push_str("\nNo machine exists yet; the first command on one makes it.\n");
    } else {
        text.push_str("\nMachines that exist:\n");
        text.push_str(&table_of(&existing));
    }
    context.output.print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// The ids of the catalog's boards, folded.
fn boards() -> String {
    let mut lines = vec![" ".to_owned()];
    for board in model::catalog::boards() {
        match lines.last_mut() {
            Some(line) if line.len() + board.id.len() < 78 => {
                line.push(' ');
                line.push_str(board.id);
            }
            _ => lines.push(format!("  {}", board.id)),
        }
    }
    lines.join("\n") + "\n"
}

/// A machine and its GPUs, or why it cannot be read.
struct Row {
    name: String,
    gpus: Result<Vec<(usize, String)>, String>,
}

impl Row {
    /// The GPUs as `4 x NVIDIA A30`, boards in the order of their first GPU.
    fn new(name: &str, boards: impl IntoIterator<Item = String>) -> Self {
        let mut counted: Vec<(usize, String)> = Vec::new();
        for board in boards {
            match counted.iter_mut().find(|(_, known)| *known == board) {
                Some((count, _)) => *count += 1,
                None => counted.push((1, board)),
            }
        }
        Self { name: name.to_owned(), gpus: Ok(counted) }
    }

    fn words(&self) -> String {
        match &self.gpus {
            Ok(gpus) => {
                let words: Vec<String> =
                    gpus.iter().map(|(count, board)| format!("{count} x {board}")).collect();
                words.join(", ")
            }
            Err(why) => format!("cannot be read: {why}"),
        }
    }

    fn json(&self) -> Value {
        match &self.gpus {
            Ok(gpus) => json!({
                "name": self.name,
                "gpus": gpus.iter()
                    .map(|(count, board)| json!({"count": count, "board": board}))
                    .collect::<Vec<_>>(),
            }),
            Err(why) => json!({"name": self.name, "error": why}),
        }
    }
}

fn table_of(rows: &[Row]) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| vec![row.name.clone(), row.words()]).collect();
    table::aligned(&["NAME", "GPUS"], &rows, 2)
}

fn presets() -> Result<Vec<Row>, Failure> {
    HostSpec::PRESETS
        .iter()
        .map(|name| {
            let spec = HostSpec::named(name, name)
                .map_err(|error| Failure::caused("E-SIM", "cannot describe a preset", &error))?;
            Ok(Row::new(name, spec.gpus.iter().map(|gpu| title(&gpu.board))))
        })
        .collect()
}

fn existing(folder: &Path) -> Vec<Row> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut dirs: Vec<_> =
        entries.map(|entry| entry.path()).filter(|dir| dir.join("state").exists()).collect();
    dirs.sort();
    dirs.iter()
        .map(|dir| {
            let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
            match SimHost::open(dir).and_then(|machine| machine.node()) {
                Ok(node) => Row::new(&name, node.value.gpus.iter().map(|gpu| title(&gpu.board))),
                Err(error) => Row { name, gpus: Err(crate::failure::chain(&error)) },
            }
        })
        .collect()
}

fn title(id: &str) -> String {
    model::catalog::board(id).map_or(id, |board| board.title).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_are_counted_by_board() {
        let boards = ["A30", "H100", "A30"].map(ToOwned::to_owned);
        assert_eq!(Row::new("x", boards).words(), "2 x A30, 1 x H100");
    }

    #[test]
    fn every_preset_can_be_described() {
        let presets = presets().unwrap();
        assert_eq!(presets.len(), HostSpec::PRESETS.len());
        assert!(presets.iter().any(|row| row.words().contains("8 x")));
    }
}
