//! Files that say how the GPUs of a machine are cut, nvidia-mig-parted's and our own, and files of
//! services that are to be sized.
//!
//! Text in, values out, and back: [`read`] gives a [`Document`], [`resolve`] says what it means on
//! one machine. Must never touch a file, the environment or a GPU.
//!
//! ```
//! use layout_file::{Schema, Syntax, convert, read, write};
//!
//! let text = "version: v1\nmig-configs:\n  a: [{devices: all, mig-enabled: true, \
//!             mig-devices: {1g.5gb: 7, 1g.5gb: 6}}]";
//! let document = read(text)?;
//! assert!(document.warnings[0].to_string().starts_with("3:66: `1g.5gb` stands here and at line 3"));
//! let ours = convert(&document, Schema::Own, None);
//! assert!(write(&ours.document, Syntax::Yaml).starts_with("schema: migd/v1\nlayouts:\n  a:\n"));
//! assert!(ours.notes.is_empty());
//! # Ok::<(), layout_file::Faults>(())
//! ```

mod checkpoint;
mod compare;
mod convert;
mod document;
mod export;
mod fault;
mod fit;
mod generate;
mod hooks;
mod keys;
mod mig_parted;
mod out;
mod own;
mod pack;
mod profiles;
mod read;
mod resolve;
mod scalar;
mod select;
mod services;
mod tree;
mod write;
mod yaml;

pub use checkpoint::{Restored, read_checkpoint, write_checkpoint};
pub use compare::{Difference, DifferenceKind, Differences, Scope, compare};
pub use convert::convert;
pub use document::{
    ComputeItem, ComputeSize, Computes, Config, Count, CountedName, DeviceFilter, DeviceId,
    Devices, Document, Entry, GpuName, GpuSelector, Item, NamedGpu, Schema, Wish,
};
pub use export::{Made, export};
pub use fault::{Fault, Faults, Mark, Warning};
pub use generate::{Kind, generate_config, kinds};
pub use hooks::{Hook, Hooks, read_hooks};
pub use out::Syntax;
pub use read::read;
pub use resolve::{ResolveError, Resolved, modes_of, resolve};
pub use services::{
    Ask, Asked, Measured, Model, Named, ProfileTable, Source, Spread, TableForm,
    read_profile_table, read_services, write_profile_table,
};
pub use write::write;
