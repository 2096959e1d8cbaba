//! What a watch reads: the host, the job, what the GPUs have to say, and all of it once more.

use std::time::{Duration, Instant};

use gpuc_core::document::{Level, Report};
use gpuc_core::safety::{
    GpuReadings, GroupReading, HostReading, HostWanted, JobReading, Limit, Reading,
};
use gpuc_rig::host::nearest;
use gpuc_rig::supervise::Job;

use super::Patrol;

/// How often the job's processes are counted where no limit asks for more: it costs something for
/// each of their threads. A young job, which may not live that long, is counted more often.
const JOB_LOOK: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(5)];

impl Patrol<'_> {
    /// The host, and the job's own control group with it.
    pub(super) fn host(&mut self, wanted: HostWanted) -> HostReading {
        let mut host = (self.host)(wanted);
        let share = |g: &GroupReading| g.held_mib / g.limit_mib;
        let own = self.groups.as_mut().filter(|_| wanted.groups);
        let own = own.and_then(nearest);
        host.group = host
            .group
            .into_iter()
            .chain(own)
            .max_by(|a, b| share(a).total_cmp(&share(b)));
        host
    }

    /// The job's processes and memory, read anew where a limit depends on it.
    pub(super) fn job(&mut self, job: Option<&Job>) -> JobReading {
        let read = || match (job, &self.subject) {
            (Some(job), _) => job.reading(),
            (None, Some(subject)) => subject.reading(),
            (None, None) => JobReading::default(),
        };
        let t = self.watch.thresholds();
        let needed = [Limit::JobVram, Limit::JobRss].map(|l| l.get(t).is_some());
        let now = Instant::now();
        let [shortest, longest] = JOB_LOOK;
        let rest = |read: Instant| ((read - self.started) / 2).clamp(shortest, longest);
        match &self.job {
            Some((read, last)) if needed == [false; 2] && now < *read + rest(*read) => last.clone(),
            _ => {
                let reading = read();
                self.job = Some((now, reading.clone()));
                reading
            }
        }
    }

    /// A fresh sample, within one interval, before a job is stopped for what may be over.
    pub(super) fn is_confirmed(&mut self, report: &Report, job: Option<&Job>) -> bool {
        let aborts = report.breaches.iter().filter(|b| b.level == Level::Abort);
        // What does not need the GPUs does not wait for them.
        let of_gpus_alone = aborts
            .filter_map(|b| Limit::of_metric(&b.metric))
            .all(Limit::is_of_gpus);
        let most = self.settings.interval.min(self.settings.gpu_timeout);
        let gpus = if of_gpus_alone {
            self.gpus.answer_within(most)
        } else {
            None
        };
        let why = "not asked again in time".to_owned();
        let gpus = gpus.unwrap_or(GpuReadings::NotAwaited(why));
        let (host, job) = (self.host(self.watch.host_wanted()), self.job(job));
        self.watch.confirms(report, &Reading { gpus, host, job })
    }

    /// What the GPUs say, as soon as that is to be had or to be given up.
    pub(super) fn answered(
        &self,
        late: bool,
        urgent: bool,
        answer: Option<GpuReadings>,
    ) -> Option<GpuReadings> {
        if answer.is_some() {
            answer
        } else if urgent {
            let why = "GPUs not waited for: host memory is past its limit";
            Some(GpuReadings::NotAwaited(why.to_owned()))
        } else if self.gpus.is_gone() {
            let why = "asking the GPUs failed inside the watchdog";
            Some(GpuReadings::Failed(why.to_owned()))
        } else if late {
            let s = self.settings.gpu_timeout.as_secs_f64();
            Some(GpuReadings::Failed(format!("no answer within {s} s")))
        } else {
            None
        }
    }
}
