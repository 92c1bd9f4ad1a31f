//! What is changed about a machine before requests are made on it again.
//!
//! Must never change what was not asked for.

use std::collections::BTreeMap;

use broker::{Amount, Policy};
use lab::replay::{Served, Setting, Site, lay_out_on};
use layout_file::resolve;
use model::desire::DesiredGpu;
use model::{
    GpuSnapshot, MemoryMib, MemoryRequest, MigMode, MigState, NodeSnapshot, PlacedProfile, Tenant,
    catalog,
};
use sim_gpu::{GpuSpec, HostSpec};

use super::WhatifArgs;
use crate::changing::file::Layouts;
use crate::failure::Exit;
use crate::{Context, Failure, configuration};

/// The most GPUs that a simulated machine has.
const MOST_GPUS: usize = 32;

/// GPUs that are added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Addition {
    board: &'static str,
    count: usize,
}

/// `BOARD=N`, of which the board may be short of its full id.
pub(super) fn addition(text: &str) -> Result<Addition, String> {
    let (board, count) = text.split_once('=').unwrap_or((text, "1"));
    let count = count.trim().parse::<usize>().ok().filter(|count| (1..=MOST_GPUS).contains(count));
    let count = count.ok_or_else(|| format!("a number of GPUs from 1 to {MOST_GPUS} follows ="))?;
    let board = named(board)?;
    Ok(Addition { board, count })
}

/// The board of this id, or the first whose id has all of these parts, if all such are cut alike.
fn named(typed: &str) -> Result<&'static str, String> {
    if let Some(board) = catalog::board(typed) {
        return Ok(board.id);
    }
    let lower = typed.trim().to_ascii_lowercase();
    let parts: Vec<&str> = lower.split('-').filter(|part| !part.is_empty()).collect();
    let has = |id: &str| parts.iter().all(|part| id.split('-').any(|own| own == *part));
    let found: Vec<_> = catalog::boards().filter(|board| has(board.id)).collect();
    let Some(first) = found.first().filter(|_| !parts.is_empty()) else {
        let nearest = catalog::nearest_ids(typed).join(", ");
        return Err(format!("no board is called {typed}; nearest: {nearest}"));
    };
    let shape = |board: &catalog::Board| {
        let geometry = board.geometry();
        let profiles = geometry.profiles.iter();
        let profiles = profiles.map(|profile| (profile.name, profile.size, profile.starts.clone()));
        profiles.collect::<Vec<_>>()
    };
    let first_shape = shape(first);
    if found.iter().all(|board| shape(board) == first_shape) {
        return Ok(first.id);
    }
    let ids: Vec<&str> = found.iter().map(|board| board.id).collect();
    Err(format!("{typed} may be {}; say which", ids.join(", ")))
}

/// A rule of a tenant that is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Quota {
    tenant: String,
    rule: Rule,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Cap(Limit),
    Guaranteed(Limit),
    Weight(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limit {
    Slices(u32),
    Memory(MemoryMib),
    None,
}

/// `TENANT.RULE=VALUE`.
pub(super) fn quota(text: &str) -> Result<Quota, String> {
    let form = || String::from("write TENANT.cap=80g, TENANT.guaranteed=4 or TENANT.weight=3");
    let (name, value) = text.split_once('=').ok_or_else(form)?;
    let (tenant, rule) =
        name.rsplit_once('.').filter(|(tenant, _)| !tenant.is_empty()).ok_or_else(form)?;
    let limit = || -> Result<Limit, String> {
        if value == "none" {
            return Ok(Limit::None);
        }
        if let Ok(slices) = value.parse() {
            return Ok(Limit::Slices(slices));
        }
        let memory: MemoryRequest = value.parse().map_err(|_| {
            format!("{value} is no amount: write 80g, 81920MiB, a number of slices, or none")
        })?;
        Ok(Limit::Memory(match memory {
            MemoryRequest::Nominal(gb) => MemoryMib::new(u64::from(gb.get()) * 1024),
            MemoryRequest::Strict(mib) => mib,
        }))
    };
    let rule = match rule {
        "cap" => Rule::Cap(limit()?),
        "guaranteed" => Rule::Guaranteed(limit()?),
        "weight" => {
            let weight = value.parse::<u32>().ok().filter(|weight| *weight > 0);
            Rule::Weight(weight.ok_or_else(|| format!("{value} is no weight: write 1 or more"))?)
        }
        other => return Err(format!("{other} is no rule here: cap, guaranteed or weight")),
    };
    Ok(Quota { tenant: tenant.to_owned(), rule, text: text.to_owned() })
}

impl Limit {
    const fn change(self, amount: &mut Amount) {
        match self {
            Self::Slices(slices) => amount.slices = Some(slices),
            Self::Memory(memory) => amount.memory = Some(memory),
            Self::None => *amount = Amount { slices: None, memory: None },
        }
    }
}

impl Quota {
    fn change(&self, policy: &mut Policy) {
        let tenant = Tenant::new(self.tenant.clone());
        let mut rules = policy.tenant(&tenant).clone();
        match self.rule {
            Rule::Cap(limit) => limit.change(&mut rules.cap),
            Rule::Guaranteed(limit) => limit.change(&mut rules.guaranteed),
            Rule::Weight(weight) => rules.weight = weight,
        }
        policy.tenants.insert(tenant, rules);
    }
}

/// A machine and rules to replay on.
#[derive(Debug)]
pub(super) struct Alteration {
    pub(super) name: String,
    pub(super) setting: Setting,
    /// Whether its layout is one that nobody changes.
    pub(super) is_fixed: bool,
}

/// The machine as it is.
pub(super) struct Base<'a> {
    node: &'a NodeSnapshot,
    site: Site,
    policy: &'a Policy,
    /// Whether MIG is on nowhere now: then it is on where slices are wanted, and off for whole GPUs.
    switches: bool,
}

impl<'a> Base<'a> {
    /// A simulated copy of the machine.
    ///
    /// # Errors
    /// If the catalog has no board of one of its GPUs.
    pub(super) fn new(node: &'a NodeSnapshot, policy: &'a Policy) -> Result<Self, Failure> {
        let mut spec = HostSpec { host: String::from("copy"), ..HostSpec::default() };
        for gpu in &node.gpus {
            let board = catalog::by_nvml_name(&gpu.name).ok_or_else(|| {
                let what = format!("GPU {} is a {}, which the catalog lacks", gpu.index, gpu.name);
                Failure::new("E-BOARD-UNKNOWN", what)
                    .hint("its requests cannot be made again; `migctl sim list` shows the boards")
            })?;
            let uuid = Some(gpu.uuid.clone());
            spec.gpus.push(GpuSpec { uuid, ..GpuSpec::new(board.id) });
        }
        let off = |gpu: &GpuSnapshot| {
            matches!(gpu.mig, MigState::Supported { current: MigMode::Disabled, .. })
        };
        let sliced = node.gpus.iter().any(|gpu| gpu.geometry.is_some() && !off(gpu));
        let off = node.gpus.iter().enumerate().filter(|(_, gpu)| sliced && off(gpu));
        let mig_off = off.map(|(index, _)| index).collect();
        Ok(Self { node, site: Site { mig_off, ..Site::new(spec) }, policy, switches: !sliced })
    }

    /// As it was first; then what was asked for, each alone, and what goes together together.
    ///
    /// # Errors
    /// [`Failure`] for files and layouts that make no sense here.
    pub(super) fn alterations(
        &self,
        context: &Context,
        args: &WhatifArgs,
    ) -> Result<Vec<Alteration>, Failure> {
        let as_it_was = self.alteration("replayed as it was", None, None);
        let mut all = vec![as_it_was];
        let more = self.with_more(&args.add)?;
        let rules = match &args.policy {
            Some(file) => {
                let sources = configuration::sources(context, Some(file.as_path()))?;
                Some(daemon::policy(&configuration::load(&sources)?.config, false))
            }
            None => None,
        };
        let changed = |base: &Policy| {
            let mut policy = base.clone();
            for quota in &args.quota {
                quota.change(&mut policy);
            }
            policy
        };
        let more_name = more_words(&args.add);
        if let Some(site) = &more {
            all.push(self.alteration(&more_name, Some(site.clone()), None));
        }
        let rules_name = args.policy.as_ref().map(|file| {
            format!("rules of {}", file.file_name().unwrap_or_default().to_string_lossy())
        });
        if let (Some(policy), Some(name)) = (&rules, &rules_name) {
            all.push(self.alteration(name, None, Some(policy.clone())));
        }
        let quotas: Vec<&str> = args.quota.iter().map(|quota| quota.text.as_str()).collect();
        if !quotas.is_empty() {
            all.push(self.alteration(&quotas.join(" "), None, Some(changed(self.policy))));
        }
        if all.len() > 2 {
            let policy = changed(rules.as_ref().unwrap_or(self.policy));
            all.push(self.alteration("all of these", more, Some(policy)));
        }
        if let Some(file) = &args.layout {
            let layouts = self.layouts(context, file, args.config.as_deref())?;
            let name = format!("fixed: {}", file.file_name().unwrap_or_default().to_string_lossy());
            let mut fixed = self.alteration(&name, None, None);
            fixed.setting.served = Served::Fixed(layouts);
            fixed.is_fixed = true;
            all.push(fixed);
        }
        Ok(all)
    }

    fn alteration(&self, name: &str, site: Option<Site>, policy: Option<Policy>) -> Alteration {
        let site = site.unwrap_or_else(|| self.site.clone());
        let mut policy = policy.unwrap_or_else(|| self.policy.clone());
        policy.auto_mig |= self.switches;
        let setting = Setting::new(site, policy);
        Alteration { name: name.to_owned(), setting, is_fixed: false }
    }

    fn with_more(&self, additions: &[Addition]) -> Result<Option<Site>, Failure> {
        if additions.is_empty() {
            return Ok(None);
        }
        let mut site = self.site.clone();
        for addition in additions {
            site.spec.add(&GpuSpec::new(addition.board), addition.count);
        }
        let count = site.spec.gpus.len();
        if count > MOST_GPUS {
            return Err(Failure::usage(format!(
                "a simulated machine has at most {MOST_GPUS} GPUs, and these would be {count}"
            )));
        }
        Ok(Some(site))
    }

    /// The layout of each GPU: as the file says, and as it stands where it says nothing.
    fn layouts(
        &self,
        context: &Context,
        file: &std::path::Path,
        config: Option<&str>,
    ) -> Result<Vec<Vec<PlacedProfile>>, Failure> {
        let layouts = Layouts::read(file)?;
        let resolved = resolve(&layouts.document, config, self.node);
        let resolved = resolved.map_err(|error| layouts.refused(&error))?;
        layouts.warn(context, &resolved.warnings);
        let each = self.node.gpus.iter().map(|gpu| layout(gpu, resolved.desired.get(&gpu.uuid)));
        each.collect()
    }
}

fn layout(gpu: &GpuSnapshot, desired: Option<&DesiredGpu>) -> Result<Vec<PlacedProfile>, Failure> {
    let Some(geometry) = &gpu.geometry else { return Ok(Vec::new()) };
    let stands = || gpu.instances.iter().map(|i| (i.profile, Some(i.placement))).collect();
    let parts: Vec<_> = match desired {
        Some(DesiredGpu::Exactly(instances)) => {
            instances.iter().map(|instance| (instance.profile, instance.placement)).collect()
        }
        // One job at a time has all of it, as if one slice filled it.
        Some(DesiredGpu::Whole) => {
            let plain = geometry.profiles.iter().filter(|p| p.name.attributes.is_plain());
            let largest = plain.max_by_key(|profile| (profile.size, profile.name.slices));
            largest.map(|profile| (profile.id, None)).into_iter().collect()
        }
        Some(DesiredGpu::Sliced | DesiredGpu::Beside { .. } | DesiredGpu::Without { .. })
        | None => stands(),
    };
    lay_out_on(geometry, &parts).ok_or_else(|| {
        let what = format!("the layout of GPU {} is none that its board can have", gpu.index);
        Failure::usage(what).exit(Exit::Usage)
    })
}

/// `2 more a100-sxm4-80gb`.
fn more_words(additions: &[Addition]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for addition in additions {
        *counts.entry(addition.board).or_default() += addition.count;
    }
    let words = counts.iter().map(|(board, count)| format!("+{count} {board}"));
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn additions_know_boards_by_parts_of_their_ids() {
        let board = |text: &str| addition(text).map(|found| (found.board, found.count));
        assert_eq!(board("a100-sxm4-40gb=3"), Ok(("a100-sxm4-40gb", 3)));
        assert_eq!(board("a30"), Ok(("a30", 1)));
        let (short, count) = board("a100-80gb=2").unwrap();
        assert!(short.starts_with("a100-") && short.ends_with("80gb") && count == 2, "{short}");
        for bad in ["a30=0", "a30=33", "a30=x", "q9=1", "=2"] {
            assert!(addition(bad).is_err(), "{bad}");
        }
        assert!(addition("q9=1").unwrap_err().contains("nearest"));
    }

    #[test]
    fn quotas_change_one_rule_of_one_tenant() {
        let mut policy = Policy::default();
        for text in ["vision.cap=80g", "vision.cap=4", "nlp.eu.weight=3", "vision.guaranteed=none"]
        {
            quota(text).unwrap().change(&mut policy);
        }
        let rules = policy.tenant(&Tenant::new("vision"));
        assert_eq!(rules.cap.memory, Some(MemoryMib::new(80 * 1024)));
        assert_eq!((rules.cap.slices, rules.guaranteed), (Some(4), Amount::default()));
        assert_eq!(policy.tenant(&Tenant::new("nlp.eu")).weight, 3);
        for bad in ["vision", "cap=80g", ".cap=1", "vision.size=3", "vision.cap=big", "x.weight=0"]
        {
            assert!(quota(bad).is_err(), "{bad}");
        }
    }
}
