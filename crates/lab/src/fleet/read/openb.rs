//! Pods of Alibaba's cluster-trace-gpu-v2023, known as openb.
//!
//! Must never say that these were MIG slices: the trace has thousandths of whole GPUs of other
//! kinds, and the profiles are a mapping of ours.
//!
//! The mapping, as `docs/lab.md` has it: a pod with several GPUs asks for so many whole ones; a pod
//! with a part of one asks for the smallest plain profile with at least that part of the compute
//! slices (`gpu_milli` times seven, divided by 1000, rounded up: 1, 2, 3, 4 or all 7 slices). It
//! comes when it was created and holds its slice as long as it existed after it was scheduled, or
//! was created where it never was. `gpu_spec`, CPUs and memory of the host play no part.

use model::{Millis, Timestamp};

use super::csv::Table;
use super::{Length, ReadError, Row, Trace};
use crate::fleet::work::Wish;

const EXPECTED: &str = "the heading of openb_pod_list_*.csv: name,cpu_milli,memory_mib,num_gpu,\
                        gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time";

pub(super) fn read(text: &str) -> Result<Trace, ReadError> {
    let table = Table::read(text, EXPECTED)?;
    let need = |name: &str| table.need(name, EXPECTED);
    let (number, thousandths) = (need("num_gpu")?, need("gpu_milli")?);
    let (created, deleted) = (need("creation_time")?, need("deletion_time")?);
    let (scheduled, class) = (need("scheduled_time")?, need("qos")?);
    let (mut rows, mut without, mut never) = (Vec::new(), 0, 0);
    for row in &table.rows {
        let gpus = row[number].whole("num_gpu", "GPUs")?;
        let part = row[thousandths].whole("gpu_milli", "thousandths of a GPU")?;
        if gpus == 0 {
            without += 1;
            continue;
        }
        if part == 0 || part > 1000 || gpus > 1024 {
            return Err(row[thousandths].wrong("gpu_milli", "1 to 1000 thousandths of a GPU"));
        }
        let arrival = row[created].seconds("creation_time")?;
        let begun = if row[scheduled].text.is_empty() {
            never += 1;
            arrival
        } else {
            row[scheduled].seconds("scheduled_time")?
        };
        let ended = row[deleted].seconds("deletion_time")?;
        let length = ended.checked_sub(begun).ok_or_else(|| {
            row[deleted].wrong("deletion_time", "a time that is not before the pod was scheduled")
        })?;
        rows.push(Row {
            line: row[number].line,
            arrival: Timestamp::from_millis(arrival),
            length: Length::Lasts(Millis::new(length.max(1))),
            wish: if part == 1000 { Wish::WholeGpu } else { Wish::Share(part as u32) },
            count: gpus as u32,
            tenant: row[class].text.clone(),
        });
    }
    let notes = vec![
        format!("{without} pods without a GPU are left out"),
        format!("{never} pods never were scheduled: they last from creation to deletion"),
        "tenants are the classes of service (qos) of the trace".to_owned(),
    ];
    Ok(Trace { unit: "line", rows, notes })
}
