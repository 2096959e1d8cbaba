//! How much VRAM is the job's.

use super::reading::{GpuReading, JobReading};

/// Said where growth stands for what the driver does not tell.
const GROWTH: &str = "job VRAM is what VRAM in use has grown by since the start: the driver does not \
                      say whose it is";

/// What each GPU had in use when it was first read.
#[derive(Debug, Clone, Default)]
pub(super) struct JobVram {
    at_start: Vec<Option<f64>>,
}

impl JobVram {
    /// Remembers what was in use before the job could use it.
    pub(super) fn remember(&mut self, gpus: &[GpuReading]) {
        if self.at_start.len() < gpus.len() {
            self.at_start.resize(gpus.len(), None);
        }
        for (start, gpu) in self.at_start.iter_mut().zip(gpus) {
            *start = start.or(gpu.vram_used_mib);
        }
    }

    /// MiB of all GPUs that say anything, and a note when some of it is a guess.
    ///
    /// Where the driver names processes and counts them as we do, it is what it says of the job's.
    /// Elsewhere (WSL2, containers) it is by how much the VRAM in use has grown, where the job is as
    /// young as the watch.
    pub(super) fn of(
        &self,
        gpus: &[GpuReading],
        job: &JobReading,
    ) -> Option<(f64, Option<&'static str>)> {
        let ours = job.processes.as_deref()?;
        let mut total = None;
        let mut note = None;
        for (i, gpu) in gpus.iter().enumerate() {
            let named = gpu
                .processes
                .as_deref()
                .filter(|_| job.numbers_are_the_hosts);
            let mib = named.and_then(|all| told(all, ours)).or_else(|| {
                if !job.since_the_start {
                    return None;
                }
                let grown = gpu.vram_used_mib? - self.at_start.get(i).copied().flatten()?;
                note = Some(GROWTH);
                Some(grown.max(0.0))
            });
            total = total.into_iter().chain(mib).reduce(|a: f64, b| a + b);
        }
        Some((total?, note))
    }
}

/// What the driver says of our processes; nothing where it names one and not its memory.
fn told(all: &[(u32, Option<f64>)], ours: &[i32]) -> Option<f64> {
    let is_ours = |pid: u32| i32::try_from(pid).is_ok_and(|pid| ours.contains(&pid));
    let mine = all.iter().filter(|(pid, _)| is_ours(*pid));
    // Not `sum`: that of nothing is a negative zero.
    mine.map(|(_, mib)| *mib)
        .try_fold(0.0, |all, mib| Some(all + mib?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn gpu(used: Option<f64>, processes: Option<&[(u32, Option<f64>)]>) -> GpuReading {
        GpuReading {
            vram_used_mib: used,
            processes: processes.map(<[_]>::to_vec),
            ..GpuReading::default()
        }
    }

    fn job(processes: &[i32], numbers_are_the_hosts: bool) -> JobReading {
        JobReading {
            processes: Some(processes.to_vec()),
            numbers_are_the_hosts,
            since_the_start: true,
            rss_mib: None,
        }
    }

    #[test]
    fn the_jobs_processes_count_on_every_gpu() {
        let gpus = [
            gpu(
                Some(9000.0),
                Some(&[(5, Some(100.0)), (6, Some(30.0)), (9, Some(7.0))]),
            ),
            gpu(Some(9000.0), Some(&[(6, Some(1.0))])),
            gpu(Some(9000.0), Some(&[])),
        ];
        let vram = JobVram::default();
        assert_eq!(vram.of(&gpus, &job(&[5, 6], true)), Some((131.0, None)));
        let none = vram.of(&gpus, &job(&[7], true)).unwrap().0;
        assert!(none == 0.0 && none.is_sign_positive());
        assert_eq!(vram.of(&gpus, &JobReading::default()), None);
    }

    #[test]
    fn growth_stands_for_what_the_driver_does_not_tell() {
        let mut vram = JobVram::default();
        vram.remember(&[gpu(Some(500.0), None), gpu(None, None)]);
        vram.remember(&[gpu(Some(700.0), None), gpu(Some(50.0), None)]);
        let unsaid: &[(u32, Option<f64>)] = &[(5, None)];
        for (processes, ours) in [
            (None, job(&[5], true)),
            (Some(unsaid), job(&[5], true)),
            (Some(&[(5, Some(9.0))][..]), job(&[5], false)),
        ] {
            let gpus = [gpu(Some(2500.0), processes), gpu(Some(40.0), processes)];
            assert_eq!(
                vram.of(&gpus, &ours),
                Some((2000.0, Some(GROWTH))),
                "{processes:?}"
            );
        }
        // A GPU that hangs says nothing; what the others say still counts.
        let gpus = [gpu(None, None), gpu(Some(60.0), None)];
        assert_eq!(vram.of(&gpus, &job(&[5], true)), Some((10.0, Some(GROWTH))));
        assert_eq!(vram.of(&gpus[..1], &job(&[5], true)), None);
        // Of a process that ran before, growth says nothing.
        let older = JobReading {
            since_the_start: false,
            ..job(&[5], false)
        };
        assert_eq!(vram.of(&gpus, &older), None);
    }

    proptest! {
        /// Never less than none, whoever else comes and goes.
        #[test]
        fn it_is_never_negative(start in 0.0..1e5f64, now in 0.0..1e5f64, others in proptest::collection::vec((any::<u32>(), proptest::option::of(0.0..1e5f64)), 0..8)) {
            let mut vram = JobVram::default();
            vram.remember(&[gpu(Some(start), None)]);
            for host in [true, false] {
                let found = vram.of(&[gpu(Some(now), Some(&others))], &job(&[3, 4], host));
                prop_assert!(found.is_some_and(|(mib, _)| mib >= 0.0));
            }
        }
    }
}
