//! The page for a ticket: what was examined, and what was found, as plain text.
//!
//! Must never hold a secret, a process's arguments, a user's name or a lease's name: it goes to
//! other people.

use std::fmt::Write as _;

use api::{DoctorView, Severity};
use host::preflight;

use super::gather::{Daemon, Evidence};

/// The page.
pub(crate) fn report(evidence: &Evidence, view: &DoctorView) -> String {
    let mut page = String::from("migctl doctor --report\n\n");
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(page, "{name:<12} {value}");
    };
    line("migctl", env!("CARGO_PKG_VERSION"));
    line("machine", evidence.simulated.as_deref().unwrap_or("real"));
    let system = evidence.system.as_ref().and_then(preflight::distribution);
    line("system", system.as_ref().map_or("not known", |found| found.name.as_str()));
    let kernel = rustix::system::uname();
    line("kernel", &kernel.release().to_string_lossy());
    match &evidence.driver {
        Ok(driver) => {
            line("driver", &driver.versions.driver);
            line("NVML", driver.versions.nvml.as_deref().unwrap_or("not told"));
        }
        Err(why) => line("driver", why),
    }
    let daemon = match &evidence.daemon {
        Daemon::Absent => String::from("none"),
        Daemon::Silent(why) => format!("does not answer: {why}"),
        Daemon::Answers(view) => {
            let version = view.daemon_version.as_deref().unwrap_or("?");
            format!("migd {version}, {} leases", view.leases.len())
        }
    };
    line("daemon", &daemon);
    page.push('\n');
    gpus(evidence, &mut page);
    findings(view, &mut page);
    page
}

fn gpus(evidence: &Evidence, page: &mut String) {
    let Ok(driver) = &evidence.driver else { return };
    for gpu in &driver.gpus {
        let seen = &gpu.seen;
        let mode = api::MigView::from(seen.mig);
        let mode = serde_json::to_value(mode).unwrap_or_default();
        let mode = mode.as_str().unwrap_or("?").to_owned();
        let (index, health) = (seen.index, &seen.health);
        let _ = writeln!(page, "GPU {index}  {}  {}  MIG {mode}  {health}", seen.name, seen.pci);
        for instance in &seen.instances {
            let geometry = seen.geometry.as_deref();
            let profile = geometry.and_then(|geometry| geometry.profile(instance.profile));
            let name = profile.map_or_else(|| instance.profile.to_string(), |p| p.name.to_string());
            let parts = instance.compute_instances.len();
            let processes: usize =
                instance.compute_instances.iter().map(|part| part.processes.len()).sum();
            let (start, size) = (instance.placement.start, instance.placement.size);
            let id = instance.id;
            let _ = writeln!(
                page,
                "       GI {id}  {name}  {start}:{size}  {parts} CI  {processes} processes"
            );
        }
    }
    page.push('\n');
}

fn findings(view: &DoctorView, page: &mut String) {
    for finding in &super::merged(&view.findings) {
        let _ =
            writeln!(page, "{:<5} {}: {}", word(finding.severity), finding.id, finding.evidence);
        if let Some(mend) = finding.mend.as_ref().filter(|_| finding.severity > Severity::Ok) {
            let _ = writeln!(page, "      -> {mend}");
        }
    }
    for gap in &view.unseen {
        let _ = writeln!(page, "?     not seen: {gap}");
    }
}

/// The word for a severity.
pub(crate) const fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Ok => "ok",
        Severity::Info => "info",
        Severity::Warn => "warn",
        Severity::Error => "ERROR",
    }
}

#[cfg(test)]
mod tests {
    use model::{
        ComputeInstance, ComputeInstanceId, ComputeInstanceProfileId, GpuInstance, GpuInstanceId,
        GpuInstanceProfileId, GpuProcess, Placement,
    };

    use super::super::examine;
    use super::super::gather::tests::{gpu, machine};
    use super::*;

    #[test]
    fn the_page_holds_the_machine_and_the_findings_and_no_names_of_people() {
        let mut gpu = gpu("a100-sxm4-40gb");
        gpu.extras.serial = Some("1448588108287".into());
        gpu.seen.instances.push(GpuInstance {
            id: GpuInstanceId::new(1),
            profile: GpuInstanceProfileId::new(9),
            placement: Placement::new(4, 4),
            compute_instances: vec![ComputeInstance {
                id: ComputeInstanceId::new(0),
                profile: ComputeInstanceProfileId::new(2),
                placement: Placement::new(0, 3),
                uuid: None,
                processes: vec![GpuProcess { pid: std::process::id(), memory: None }],
            }],
        });
        let (_folder, mut evidence) = machine(&[], vec![gpu]);
        let lease = serde_json::json!({
            "host": "secret-host", "simulated": null, "daemon_version": "1", "driver_version": "580",
            "cuda_version": null, "gpus": [], "leases": [], "warnings": [],
        });
        evidence.daemon = Daemon::Answers(Box::new(serde_json::from_value(lease).unwrap()));
        evidence.unseen.push("this".into());
        let page = report(&evidence, &examine(&evidence));
        assert!(
            page.contains("GPU 0  NVIDIA A100-SXM4-40GB  00000000:07:00.0  MIG enabled  ok"),
            "{page}"
        );
        assert!(page.contains("       GI 1  3g.20gb  4:4  1 CI  1 processes"), "{page}");
        assert!(page.contains("warn  reset: GPU 0 cannot be reset alone"), "{page}");
        assert!(page.contains("?     not seen: this"), "{page}");
        for secret in ["secret-host", "1448588108287"] {
            assert!(!page.contains(secret), "{page}");
        }
    }
}
