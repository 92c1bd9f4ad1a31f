//! The table of decisions.

use model::{MemoryMib, NominalGb};

use super::*;

const CALM: Need = Need {
    trust: Trust::SameUser,
    processes: 4,
    memory: None,
    latency: false,
    bursty: false,
    one_program: false,
    multi_gpu: false,
};

fn dgx() -> Hardware {
    let geometry = model::catalog::board("a100-sxm4-40gb").unwrap().geometry();
    Hardware {
        name: "NVIDIA A100-SXM4-40GB".into(),
        gpus: 8,
        memory_mib: 40_960,
        profiles: geometry.profiles,
    }
}

fn old() -> Hardware {
    Hardware { name: "NVIDIA L40S".into(), gpus: 1, memory_mib: 46_068, profiles: Vec::new() }
}

#[test]
fn each_need_has_its_way() {
    let gb = |gb| Some(MemoryRequest::Nominal(NominalGb::new(gb)));
    let strangers = Need { trust: Trust::Strangers, ..CALM };
    let table: [(&str, Need, Option<Hardware>, &str); 14] = [
        ("tenants who do not trust each other", strangers, Some(dgx()), "mig"),
        ("the same without a machine", strangers, None, "mig"),
        ("the same where MIG is not there", strangers, Some(old()), "whole_gpu"),
        ("latency of services", Need { latency: true, ..CALM }, Some(dgx()), "mig"),
        ("bursts of one user", Need { bursty: true, processes: 12, ..CALM }, Some(dgx()), "mps"),
        ("bursts on a GPU without MIG", Need { bursty: true, ..CALM }, Some(old()), "mps"),
        (
            "many bursts of strangers",
            Need { bursty: true, processes: 100, ..strangers },
            Some(dgx()),
            "mps_in_mig",
        ),
        ("work on several GPUs", Need { multi_gpu: true, ..CALM }, Some(dgx()), "whole_gpu"),
        (
            "several GPUs, and strangers",
            Need { multi_gpu: true, ..strangers },
            Some(dgx()),
            "whole_gpu",
        ),
        (
            "one program with many kernels",
            Need { one_program: true, processes: 1, ..CALM },
            Some(dgx()),
            "streams",
        ),
        ("one process of any size", Need { processes: 1, ..CALM }, Some(dgx()), "whole_gpu"),
        (
            "one process that fills more than a slice",
            Need { processes: 1, memory: gb(80), ..CALM },
            Some(dgx()),
            "streams",
        ),
        (
            "a small process for sure",
            Need { processes: 1, memory: gb(5), latency: true, ..CALM },
            Some(dgx()),
            "mig",
        ),
        (
            "a few processes of known size",
            Need { memory: gb(10), trust: Trust::Trusted, ..CALM },
            Some(dgx()),
            "mig",
        ),
    ];
    for (what, need, hardware, choice) in table {
        if what == "one process that fills more than a slice" {
            // 80 GB fit nowhere on this board: nothing but several GPUs would do.
            let advice = advise(&need, hardware.as_ref());
            let possible = advice.options.iter().filter(|option| option.possible);
            let ids: Vec<&str> = possible.map(|option| option.id.as_str()).collect();
            assert!(!ids.contains(&"mig") && !ids.contains(&"whole_gpu"), "{what}: {ids:?}");
            continue;
        }
        let advice = advise(&need, hardware.as_ref());
        assert_eq!(advice.choice, choice, "{what}: {advice:#?}");
        let best = &advice.options[0];
        assert!(best.possible && !best.pro.is_empty(), "{what}: {best:?}");
        assert!(!advice.commands.is_empty(), "{what}");
    }
}

#[test]
fn every_reason_is_said() {
    let advice = advise(&Need { trust: Trust::Strangers, bursty: true, ..CALM }, Some(&dgx()));
    assert_eq!(advice.options.len(), 6);
    for option in &advice.options {
        assert!(!option.pro.is_empty() || !option.contra.is_empty(), "{option:?}");
        assert!(option.possible || !option.contra.is_empty(), "{option:?}");
    }
    let mps = advice.options.iter().find(|option| option.id == "mps").unwrap();
    assert!(!mps.possible && mps.contra[0].contains("ends all"), "{mps:?}");
}

#[test]
fn commands_name_the_slice_that_is_needed() {
    let strict = Some(MemoryRequest::Strict(MemoryMib::new(9000)));
    let need = Need { memory: strict, latency: true, ..CALM };
    let advice = advise(&need, Some(&dgx()));
    assert_eq!(advice.commands, ["migctl run --gpu-mem 9000MiB -- ./program"]);
    let advice = advise(&Need { latency: true, ..CALM }, Some(&dgx()));
    assert_eq!(advice.commands, ["migctl run --profile 1g.5gb -- ./program"]);
    assert!(advice.assumed[0].contains("--memory"), "{:?}", advice.assumed);
}

#[test]
fn more_processes_than_slices_are_counted() {
    let hardware = Hardware { gpus: 1, ..dgx() };
    let need = Need { memory: Some(MemoryRequest::Nominal(NominalGb::new(20))), ..CALM };
    let advice = advise(&need, Some(&hardware));
    let mig = advice.options.iter().find(|option| option.id == "mig").unwrap();
    assert!(mig.contra.iter().any(|why| why.starts_with("2 slices at once")), "{mig:?}");
}
