//! `migctl profiles`: the profiles each board offers, from the driver.
//!
//! Must never print what the catalog says where the driver says otherwise.

use std::process::ExitCode;

use api::{BoardProfileView, BoardView, ComputeProfileView};
use clap::Args;
use driver::Driver;
use model::{
    ComputeInstanceProfile, GpuInstanceProfile, GpuSnapshot, MemoryMib, SliceIndex, Timestamp,
};

use crate::draw::table::{Side, Table};
use crate::draw::text::{clean, ranges};
use crate::draw::{FAINT, HEADING};
use crate::gpu_list::GpuList;
use crate::output::styled;
use crate::{Context, Failure, connect};

/// Options of `profiles`.
#[derive(Debug, Args)]
#[command(
    about = "List the profiles each board offers",
    long_about = "Lists the GPU instance profiles of every board, with the columns of \
                  `nvidia-smi mig -lgip`: name, id, instances free and in all, memory, \
                  peer-to-peer, multiprocessors, decoders, encoders, copy engines, JPEG and OFA \
                  engines. GPUs that are alike share a table.",
    after_help = "Examples:\n  \
        migctl profiles --placements\n  \
        migctl profiles --compute --gpu 0\n  \
        migctl --simulate a30x4 profiles --gpu 0 --json"
)]
pub(crate) struct ProfilesArgs {
    /// Only the boards of these GPUs: 0, 0,2, 0-3, a UUID, PCI address or model
    #[arg(long, value_name = "SEL")]
    pub(crate) gpu: Option<GpuList>,
    /// Show where each profile may lie on the placement grid
    #[arg(long)]
    pub(crate) placements: bool,
    /// Show what each GPU instance can be divided into
    ///
    /// The compute instance profiles, as `nvidia-smi mig -lcip` names them. Compute instances of
    /// one GPU instance share its memory and engines.
    #[arg(long)]
    pub(crate) compute: bool,
}

/// Runs the verb.
pub(crate) fn run(context: &Context, args: &ProfilesArgs) -> Result<ExitCode, Failure> {
    let what = "cannot read the profiles";
    let source = connect::gpus_here(context, "profiles")?;
    let driver = daemon::open_driver(&source).map_err(|error| super::of_daemon(what, &error))?;
    let snapshot =
        driver.snapshot(Timestamp::default()).map_err(|error| Failure::of_driver(what, &error))?;
    let gpus = GpuList::chosen(args.gpu.as_ref(), &snapshot.gpus)?;
    let boards = boards(&gpus, |gpu, profile| driver_says_free(&driver, gpu, profile));
    if context.json() {
        context.output.data(&boards)?;
    } else {
        context.output.line(
            &lines(&boards, Shown { placements: args.placements, compute: args.compute })
                .join("\n"),
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What is shown beside the profiles.
#[derive(Debug, Clone, Copy)]
struct Shown {
    placements: bool,
    compute: bool,
}

/// How many more the driver would make now; unknown while MIG is off on drivers that refuse.
fn driver_says_free(driver: &Driver, gpu: &GpuSnapshot, of: &GpuInstanceProfile) -> Option<u32> {
    if !gpu.mig.is_enabled() {
        return None;
    }
    driver.remaining_capacity(&gpu.uuid, of.id).ok()
}

fn boards(
    gpus: &[&GpuSnapshot],
    free: impl Fn(&GpuSnapshot, &GpuInstanceProfile) -> Option<u32>,
) -> Vec<BoardView> {
    let mut boards: Vec<BoardView> = Vec::new();
    for gpu in gpus {
        let geometry = gpu.geometry.as_deref();
        let mut profiles: Vec<&GpuInstanceProfile> =
            geometry.iter().flat_map(|geometry| &geometry.profiles).collect();
        profiles.sort_by_key(|profile| {
            let name = profile.name;
            (name.slices, name.memory, !name.attributes.is_plain(), profile.nvml_enum)
        });
        let rows: Vec<BoardProfileView> =
            profiles.into_iter().map(|profile| row(profile, free(gpu, profile))).collect();
        let alike = boards.iter_mut().find(|b| b.name == gpu.name && b.profiles == rows);
        match alike {
            Some(board) => board.gpus.push(gpu.index.get()),
            None => boards.push(BoardView {
                gpus: vec![gpu.index.get()],
                name: gpu.name.clone(),
                grid: geometry.map_or(0, |geometry| geometry.grid.get()),
                profiles: rows,
            }),
        }
    }
    boards
}

fn row(profile: &GpuInstanceProfile, free: Option<u32>) -> BoardProfileView {
    BoardProfileView {
        name: profile.name.to_string(),
        id: profile.id.get(),
        free,
        total: profile.max_instances,
        memory_mib: profile.memory.get(),
        p2p: profile.p2p,
        multiprocessors: profile.multiprocessors,
        decoders: profile.engines.decoders,
        encoders: profile.engines.encoders,
        copy_engines: profile.engines.copy,
        jpeg: profile.engines.jpeg,
        ofa: profile.engines.ofa,
        size: profile.size.get(),
        starts: starts(&profile.starts),
        compute: compute(profile),
    }
}

fn starts(starts: &[SliceIndex]) -> Vec<u8> {
    starts.iter().map(|start| start.get()).collect()
}

/// Compute instance profiles, the smallest first. Of several that take the whole GPU instance, the
/// one that migd takes comes first.
fn compute(profile: &GpuInstanceProfile) -> Vec<ComputeProfileView> {
    let mut parts: Vec<&ComputeInstanceProfile> = profile.compute_profiles.iter().collect();
    parts.sort_by_key(|part| (part.slices, part.id));
    let view = |part: &ComputeInstanceProfile| ComputeProfileView {
        name: profile.compute_name(part.id).to_string(),
        id: part.id.get(),
        total: part.max_count,
        multiprocessors: part.multiprocessors,
        size: part.slices,
        starts: starts(&part.starts),
        whole: part.slices == profile.name.slices,
    };
    parts.into_iter().map(view).collect()
}

fn lines(boards: &[BoardView], shown: Shown) -> Vec<String> {
    let mut lines = Vec::new();
    for board in boards {
        if !lines.is_empty() {
            lines.push(String::new());
        }
        let title = format!("GPU {}  {}", ranges(&board.gpus), clean(&board.name));
        lines.push(styled(HEADING, &title));
        if board.profiles.is_empty() {
            lines.push(styled(FAINT, "  offers no MIG profiles"));
        } else {
            lines.extend(table(board, shown.placements).lines());
            if shown.compute {
                lines.push(String::new());
                lines.extend(compute_table(board, shown.placements).lines());
            }
        }
    }
    lines
}

fn table(board: &BoardView, placements: bool) -> Table {
    let mut columns = vec![
        ("NAME", Side::Left),
        ("ID", Side::Right),
        ("FREE/TOTAL", Side::Right),
        ("GiB", Side::Right),
        ("P2P", Side::Left),
        ("SM", Side::Right),
        ("DEC", Side::Right),
        ("ENC", Side::Right),
        ("CE", Side::Right),
        ("JPEG", Side::Right),
        ("OFA", Side::Right),
    ];
    if placements {
        columns.push(("PLACEMENTS", Side::Left));
    }
    let mut table = Table::new(columns);
    for row in &board.profiles {
        let free = row.free.map_or_else(|| String::from("-"), |free| free.to_string());
        let mut cells = vec![
            format!("MIG {}", row.name),
            row.id.to_string(),
            format!("{free}/{}", row.total),
            gib(MemoryMib::new(row.memory_mib)),
            String::from(if row.p2p { "Yes" } else { "No" }),
        ];
        let engines =
            [row.multiprocessors, row.decoders, row.encoders, row.copy_engines, row.jpeg, row.ofa];
        cells.extend(engines.map(|count| count.to_string()));
        if placements {
            cells.push(places(&row.starts, row.size));
        }
        table.row(cells);
    }
    table
}

/// `{0,1,2}:1`: the starts, and the size.
fn places(starts: &[u8], size: u8) -> String {
    let starts: Vec<String> = starts.iter().map(u8::to_string).collect();
    format!("{{{}}}:{size}", starts.join(","))
}

/// What each GPU instance can be divided into; `*` marks the one that takes all of it, as the
/// vendor does.
fn compute_table(board: &BoardView, placements: bool) -> Table {
    let mut columns = vec![
        ("GPU INSTANCE", Side::Left),
        ("COMPUTE INSTANCE", Side::Left),
        ("ID", Side::Right),
        ("TOTAL", Side::Right),
        ("SM", Side::Right),
    ];
    if placements {
        columns.push(("PLACEMENTS", Side::Left));
    }
    let mut table = Table::new(columns);
    for row in &board.profiles {
        for (at, part) in row.compute.iter().enumerate() {
            let star = if part.whole { "*" } else { "" };
            let mut cells = vec![
                if at == 0 { format!("MIG {}", row.name) } else { String::new() },
                format!("MIG {}", part.name),
                format!("{}{star}", part.id),
                part.total.to_string(),
                part.multiprocessors.to_string(),
            ];
            if placements {
                cells.push(places(&part.starts, part.size));
            }
            table.row(cells);
        }
    }
    table
}

/// GiB with two decimals; halves go to the even digit, as in the vendor's table (19.62 for 20,096
/// MiB, 39.38 for 40,320).
fn gib(memory: MemoryMib) -> String {
    format!("{:.2}", memory.get() as f64 / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(name: &str, id: u32, memory_mib: u64, starts: &[u8]) -> BoardProfileView {
        BoardProfileView {
            name: name.into(),
            id,
            free: Some(3),
            total: 7,
            memory_mib,
            p2p: false,
            multiprocessors: 14,
            decoders: 0,
            encoders: 0,
            copy_engines: 1,
            jpeg: 0,
            ofa: 0,
            size: 1,
            starts: starts.to_vec(),
            compute: Vec::new(),
        }
    }

    #[test]
    fn parts_are_named_and_ordered_as_the_vendor_does() {
        let geometry = model::catalog::board("a100-sxm4-40gb").unwrap().geometry();
        let third = geometry.select(&"3g.20gb".parse().unwrap()).unwrap();
        let whole = row(third, None);
        let board =
            BoardView { gpus: vec![0], name: "A100".into(), grid: 8, profiles: vec![whole] };
        let text = compute_table(&board, true).lines().join("\n");
        assert_eq!(
            anstream::adapter::strip_str(&text).to_string(),
            "\
GPU INSTANCE  COMPUTE INSTANCE  ID  TOTAL  SM  PLACEMENTS
MIG 3g.20gb   MIG 1c.3g.20gb     0      3  14  {0,1,2}:1
              MIG 2c.3g.20gb     1      1  28  {0,1}:2
              MIG 3g.20gb       2*      1  42  {0}:3"
        );
    }

    #[test]
    fn the_columns_are_the_vendors() {
        let boards = [
            BoardView {
                gpus: vec![0, 1, 2, 5],
                name: "NVIDIA A100-SXM4-40GB".into(),
                grid: 8,
                profiles: vec![
                    profile("1g.5gb", 19, 4864, &[0, 1, 2]),
                    BoardProfileView { free: None, ..profile("1g.5gb+me", 20, 40_192, &[0]) },
                ],
            },
            BoardView { gpus: vec![3], name: "NVIDIA L40S".into(), grid: 0, profiles: vec![] },
        ];
        let text = lines(&boards, Shown { placements: true, compute: false }).join("\n");
        assert_eq!(
            anstream::adapter::strip_str(&text).to_string(),
            "\
GPU 0-2,5  NVIDIA A100-SXM4-40GB
NAME           ID  FREE/TOTAL    GiB  P2P  SM  DEC  ENC  CE  JPEG  OFA  PLACEMENTS
MIG 1g.5gb     19         3/7   4.75  No   14    0    0   1     0    0  {0,1,2}:1
MIG 1g.5gb+me  20         -/7  39.25  No   14    0    0   1     0    0  {0}:1

GPU 3  NVIDIA L40S
  offers no MIG profiles"
        );
    }

    #[test]
    fn gib_has_two_decimals() {
        assert_eq!(gib(MemoryMib::new(4864)), "4.75");
        assert_eq!(gib(MemoryMib::new(5952)), "5.81");
        assert_eq!(gib(MemoryMib::new(9984)), "9.75");
        assert_eq!(gib(MemoryMib::new(20_096)), "19.62");
        assert_eq!(gib(MemoryMib::new(40_320)), "39.38");
        assert_eq!(gib(MemoryMib::new(23_612)), "23.06");
    }
}
