//! Which GPU is profiled: the one that --gpu names, else the visible one with most memory free.

use gpuc_core::error::{Code, Fault};
use gpuc_rig::nvidia::{Identity, Reading};

/// What was chosen out of the GPUs of a rig.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Choice {
    /// The GPU's place in the list; none when every GPU is hidden.
    pub(super) gpu: Option<usize>,
    /// The instance of it that was named, where it is split.
    pub(super) instance: Option<usize>,
    /// Which GPUs a CUDA program started from here sees.
    pub(super) visible: Vec<bool>,
}

/// Chooses by `--gpu` and by the value of CUDA_VISIBLE_DEVICES.
pub(super) fn choose(
    gpus: &[Identity],
    asked: Option<&str>,
    visible_devices: Option<&str>,
) -> Result<Choice, Fault> {
    let shown = visible_devices.map(|list| shown(gpus, list));
    let visible: Vec<bool> = (0..gpus.len())
        .map(|gpu| {
            shown
                .as_ref()
                .is_none_or(|shown| shown.iter().any(|(g, _)| *g == gpu))
        })
        .collect();
    let fitting: Vec<(usize, Option<usize>)> = match (asked, &shown) {
        (Some(asked), _) => {
            let found = named(gpus, asked);
            if found.is_empty() {
                return Err(unknown(gpus, asked));
            }
            found
        }
        (None, Some(shown)) => shown.clone(),
        (None, None) => (0..gpus.len()).map(|gpu| (gpu, None)).collect(),
    };
    // The first of equals: the others come later in the list.
    let best = fitting.into_iter().fold(None, |best, next| match best {
        Some(best) if free(gpus, best) >= free(gpus, next) => Some(best),
        _ => Some(next),
    });
    Ok(Choice {
        gpu: best.map(|(gpu, _)| gpu),
        instance: best.and_then(|(_, instance)| instance),
        visible,
    })
}

/// Memory free, MiB; a card that does not tell comes behind all that do.
fn free(gpus: &[Identity], (gpu, instance): (usize, Option<usize>)) -> f64 {
    let Some(gpu) = gpus.get(gpu) else {
        return -1.0;
    };
    let (free, total) = match instance.and_then(|i| gpu.details.instances.get(i)) {
        Some(i) => (&i.vram_free_mib, &i.vram_total_mib),
        None => (&gpu.vram_free_mib, &gpu.vram_total_mib),
    };
    *free.as_ref().or(total.as_ref()).unwrap_or(&-1.0)
}

/// What a list as CUDA reads it shows: it ends at the first entry that means nothing.
fn shown(gpus: &[Identity], list: &str) -> Vec<(usize, Option<usize>)> {
    list.split(',')
        .map(|entry| by_number(gpus, entry.trim()).or_else(|| by_uuid(gpus, entry.trim())))
        .map_while(|found| found)
        .collect()
}

fn by_number(gpus: &[Identity], entry: &str) -> Option<(usize, Option<usize>)> {
    let index: usize = entry.parse().ok()?;
    (index < gpus.len()).then_some((index, None))
}

/// An identifier, or a beginning of one that leaves no doubt.
fn by_uuid(gpus: &[Identity], entry: &str) -> Option<(usize, Option<usize>)> {
    let entry = entry.to_ascii_lowercase();
    if !entry.starts_with("gpu-") && !entry.starts_with("mig-") {
        return None;
    }
    let begins = |uuid: &Reading<String>| matches!(uuid, Ok(u) if u.to_ascii_lowercase().starts_with(&entry));
    let mut found = Vec::new();
    for (at, gpu) in gpus.iter().enumerate() {
        if begins(&gpu.details.uuid) {
            found.push((at, None));
        }
        for (i, instance) in gpu.details.instances.iter().enumerate() {
            if begins(&instance.uuid) {
                found.push((at, Some(i)));
            }
        }
    }
    match found.as_slice() {
        [one] => Some(*one),
        _ => None,
    }
}

/// The GPUs that `asked` may mean: a number, an identifier, a name, or a part of a name.
fn named(gpus: &[Identity], asked: &str) -> Vec<(usize, Option<usize>)> {
    let asked = asked.trim();
    if !asked.is_empty() && asked.bytes().all(|b| b.is_ascii_digit()) {
        return by_number(gpus, asked).into_iter().collect();
    }
    if let Some(found) = by_uuid(gpus, asked) {
        return vec![found];
    }
    let asked = asked.to_lowercase();
    let such = |is: &dyn Fn(&str) -> bool| -> Vec<(usize, Option<usize>)> {
        gpus.iter()
            .enumerate()
            .filter(|(_, gpu)| gpu.name.as_ref().is_ok_and(|name| is(&name.to_lowercase())))
            .map(|(at, _)| (at, None))
            .collect()
    };
    if asked.is_empty() {
        return Vec::new();
    }
    let whole = such(&|name| name == asked || name == format!("nvidia {asked}"));
    if whole.is_empty() {
        such(&|name| name.contains(&asked))
    } else {
        whole
    }
}

fn unknown(gpus: &[Identity], asked: &str) -> Fault {
    let names: Vec<String> = gpus
        .iter()
        .enumerate()
        .map(|(at, gpu)| format!("{at} {}", gpu.name.as_deref().unwrap_or("unknown")))
        .collect();
    Fault::new(
        Code::InputUnknownGpu,
        format!("this rig has no GPU {asked:?}"),
    )
    .with_hint(if names.is_empty() {
        "no GPU was found at all; leave --gpu out to profile the rest".into()
    } else {
        format!("it has {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use gpuc_rig::nvidia::Instance;

    fn gpu(name: &str, uuid: &str, free: f64) -> Identity {
        let mut gpu = Identity::missing("not asked", "nvml-v2");
        gpu.name = Ok(name.into());
        gpu.vram_free_mib = Ok(free);
        gpu.details.uuid = Ok(uuid.into());
        gpu
    }

    fn rig() -> Vec<Identity> {
        let mut split = gpu("NVIDIA A100-SXM4-80GB", "GPU-aa22", 70000.0);
        split.details.instances = vec![Instance {
            name: Ok("MIG 2g.20gb".into()),
            uuid: Ok("MIG-77".into()),
            vram_total_mib: Ok(19968.0),
            vram_free_mib: Ok(19900.0),
        }];
        vec![
            gpu("NVIDIA GeForce RTX 4090", "GPU-aa11", 20000.0),
            gpu("NVIDIA GeForce RTX 4090", "GPU-bb11", 23000.0),
            split,
            gpu("NVIDIA GeForce RTX 4090 D", "GPU-cc11", 23000.0),
        ]
    }

    #[test]
    fn the_one_with_most_free_memory_unless_another_is_named() {
        // (--gpu, CUDA_VISIBLE_DEVICES, GPU, instance)
        let cases = [
            (None, None, Some(2), None),
            (Some("0"), None, Some(0), None),
            (Some("GPU-bb11"), None, Some(1), None),
            (Some("gpu-b"), None, Some(1), None),
            (Some("RTX 4090"), None, Some(1), None),
            (Some("nvidia geforce rtx 4090"), None, Some(1), None),
            (Some("4090 D"), None, Some(3), None),
            (Some("mig-77"), None, Some(2), Some(0)),
            (None, Some("0,1"), Some(1), None),
            (None, Some("GPU-aa1"), Some(0), None),
            (None, Some("MIG-77"), Some(2), Some(0)),
            // CUDA stops at what it cannot resolve.
            (None, Some("0,9,1"), Some(0), None),
            (None, Some(""), None, None),
            (None, Some("-1"), None, None),
            (None, Some("GPU-aa"), None, None),
            (Some("1"), Some("0"), Some(1), None),
        ];
        for (asked, visible, want, instance) in cases {
            let choice = choose(&rig(), asked, visible).unwrap();
            assert_eq!(
                (choice.gpu, choice.instance),
                (want, instance),
                "{asked:?} {visible:?}"
            );
        }
        assert_eq!(
            choose(&rig(), None, Some("1,0")).unwrap().visible,
            [true, true, false, false]
        );
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        for asked in ["4", "GPU-aa", "Radeon", "", "99999999999999999999"] {
            let e = choose(&rig(), Some(asked), None).unwrap_err();
            assert_eq!(e.code(), Code::InputUnknownGpu, "{asked}");
        }
        assert!(choose(&[], Some("0"), None).is_err());
        assert_eq!(choose(&[], None, None).unwrap().gpu, None);
    }
}
