//! NVML as the driver's library offers it: whole, old, in parts, in trouble.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests only")]

#[path = "../../../tests/support/nvml.rs"]
mod nvml;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use gpuc_rig::nvidia::{Live, Probe, ProbeError, Watched};

/// Long enough for any call that answers, on any machine.
const PATIENT: Duration = Duration::from_secs(30);
const HASTY: Duration = Duration::from_millis(300);

/// A probe of a stand-in, which must stay in place while it is used.
fn probe(defines: &[&str], readings: &str, deadline: Duration) -> Option<(Probe, PathBuf)> {
    let folder = tempfile::tempdir().unwrap().keep();
    let library = nvml::stand_in(&folder, defines, readings)?;
    Some((Probe::open_library(&library, deadline).unwrap(), library))
}

#[test]
fn readings_of_several_gpus() {
    let readings = "GPUS=2\nPOWER_MW=95500\n1_POWER_MW=0\n1_TEMP_C=88\n1_USED_MIB=0\nUTIL=0\n";
    let Some((mut probe, library)) = probe(&[], readings, PATIENT) else {
        return;
    };
    assert_eq!(probe.tool(), "NVML");
    let gpus = probe.live().unwrap();
    assert_eq!(gpus.len(), 2);
    assert_eq!(gpus[0].power_w, Ok(95.5));
    assert_eq!(gpus[0].power_limit_w, Ok(170.0));
    assert_eq!(gpus[0].temp_c, Ok(61.0));
    // Used as a plan sees it: what the driver reserves is not free.
    assert_eq!(gpus[0].vram_used_mib, Ok(1300.0));
    assert_eq!(gpus[0].vram_total_mib, Ok(12288.0));
    assert_eq!(gpus[0].util_pct, Ok(0.0));
    // 0 is a reading, not a gap.
    assert_eq!(gpus[1].power_w, Ok(0.0));
    assert_eq!(gpus[1].vram_used_mib, Ok(300.0));
    assert_eq!(gpus[1].temp_c, Ok(88.0));
    // A reading is asked for each time.
    let mut conf = library.into_os_string();
    conf.push(".conf");
    std::fs::write(conf, "GPUS=1\nTEMP_C=70\n").unwrap();
    let gpus = probe.live().unwrap();
    assert_eq!((gpus.len(), gpus[0].temp_c.clone()), (1, Ok(70.0)));
}

#[test]
fn identity_of_a_gpu() {
    let Some((mut probe, _)) = probe(&[], "NAME=Card, 12 GB\nCUDA=13010\n", PATIENT) else {
        return;
    };
    let gpu = probe.identities().unwrap().remove(0);
    assert_eq!(gpu.name.as_deref(), Ok("Card, 12 GB"));
    assert_eq!(gpu.source, "nvml-v2");
    assert_eq!(gpu.vram_total_mib, Ok(12288.0));
    assert_eq!(gpu.vram_free_mib, Ok(10988.0));
    assert_eq!(gpu.vram_reserved_mib, Ok(300.0));
    assert_eq!(gpu.driver_version.as_deref(), Ok("580.95.05"));
    assert_eq!(gpu.cuda_version.as_deref(), Ok("13.1"));
    assert_eq!(gpu.compute_capability.as_deref(), Ok("8.9"));
    assert_eq!((gpu.pcie_gen, gpu.pcie_width), (Ok(4), Ok(16)));
}

#[test]
fn an_old_driver_counts_the_reserve_as_used() {
    let Some((mut probe, _)) = probe(&["-DNO_MEMORY_V2"], "", PATIENT) else {
        return;
    };
    let gpu = probe.identities().unwrap().remove(0);
    assert_eq!(gpu.source, "nvml-v1");
    assert_eq!(gpu.vram_free_mib, Ok(10988.0));
    assert!(gpu.vram_reserved_mib.is_err());
    assert_eq!(probe.live().unwrap()[0].vram_used_mib, Ok(1300.0));
}

#[test]
fn missing_symbols_are_missing_readings() {
    let Some((mut probe, _)) = probe(&["-DFEW_SYMBOLS"], "", PATIENT) else {
        return;
    };
    let live = probe.live().unwrap().remove(0);
    assert!(
        live.power_w
            .unwrap_err()
            .contains("nvmlDeviceGetPowerUsage")
    );
    assert!(live.temp_c.is_err() && live.util_pct.is_err() && live.power_limit_w.is_err());
    assert_eq!(live.vram_total_mib, Ok(12288.0));
    let gpu = probe.identities().unwrap().remove(0);
    assert!(gpu.name.is_err() && gpu.pcie_gen.is_err() && gpu.driver_version.is_err());
    assert_eq!(gpu.vram_total_mib, Ok(12288.0));
}

#[test]
fn what_fails_says_so_and_leaves_the_rest() {
    let readings = "GPUS=2\n0_FAIL_HANDLE=15\n1_FAIL_UTIL=3\n1_FAIL_MEMORY=15\n";
    let Some((mut probe, _)) = probe(&[], readings, PATIENT) else {
        return;
    };
    let gpus = probe.live().unwrap();
    // A lost GPU stays in the list.
    assert!(
        gpus[0]
            .temp_c
            .clone()
            .unwrap_err()
            .contains("fell off the bus")
    );
    assert!(
        gpus[1]
            .util_pct
            .clone()
            .unwrap_err()
            .contains("not available")
    );
    assert!(gpus[1].vram_used_mib.is_err() && gpus[1].vram_total_mib.is_err());
    assert_eq!(gpus[1].temp_c, Ok(61.0));
}

#[test]
fn a_call_that_hangs_costs_its_own_reading_and_those_behind_it() {
    let Some((mut probe, _)) = probe(&[], "GPUS=2\n1_HANG_TEMP_C=1\n", HASTY) else {
        return;
    };
    let begun = Instant::now();
    let gpus = probe.live().unwrap();
    assert_eq!(gpus[0].temp_c, Ok(61.0));
    assert_eq!(gpus[1].power_w, Ok(95.0));
    assert_eq!(
        gpus[1].temp_c.clone().unwrap_err(),
        "NVML did not answer within 0.3 s"
    );
    assert!(gpus[1].vram_used_mib.is_err());
    // The next round does not wait for it again, and still asks the other.
    let gpus = probe.live().unwrap();
    assert_eq!(
        (&gpus[0].temp_c, gpus[1].power_w.is_err()),
        (&Ok(61.0), true)
    );
    assert!(begun.elapsed() < PATIENT);
}

#[test]
fn a_library_that_never_gets_ready() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = nvml::stand_in(folder.path(), &[], "HANG_INIT=1\n") else {
        return;
    };
    let opened = Probe::open_library(&library, HASTY);
    assert_eq!(
        opened.unwrap_err(),
        ProbeError::Hung {
            tool: "NVML",
            after: HASTY
        }
    );
}

#[test]
fn a_library_that_cannot_be_used_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("nothing.so");
    let no_library = folder.path().join("text.so");
    std::fs::write(&no_library, "text").unwrap();
    for library in [&missing, &no_library] {
        let e = Probe::open_library(library, PATIENT)
            .unwrap_err()
            .to_string();
        assert!(
            e.contains(library.file_name().unwrap().to_str().unwrap()),
            "{e}"
        );
    }
    let Some(library) = nvml::stand_in(folder.path(), &[], "FAIL_INIT=9\n") else {
        return;
    };
    let e = Probe::open_library(&library, PATIENT)
        .unwrap_err()
        .to_string();
    assert!(e.contains("driver is not loaded"), "{e}");
}

const FURTHER: Watched = Watched {
    further: true,
    processes_always: true,
};

#[test]
fn why_a_gpu_is_slow_its_errors_and_its_processes() {
    let readings = "GPUS=2\n0_THROTTLE=68\n0_ECC=1\n0_ECC_ERRORS=3\n0_PROCESSES=12:300,13\n\
                    1_XID=79\n1_FAIL_PROCESSES=3\n";
    let Some((mut probe, library)) = probe(&[], readings, PATIENT) else {
        return;
    };
    probe.watch(FURTHER);
    let gpus = probe.live().unwrap();
    let reasons = ["sw-power-cap", "hw-thermal-slowdown"].map(String::from);
    assert_eq!(gpus[0].throttle_reasons, Ok(reasons.to_vec()));
    assert_eq!(gpus[0].ecc_errors, Ok(3));
    assert_eq!(gpus[0].processes, Ok(vec![(12, Some(300.0)), (13, None)]));
    assert!(gpus[1].ecc_errors.is_err() && gpus[1].processes.is_err());
    // An error is told once.
    assert_eq!((&gpus[0].xids[..], &gpus[1].xids[..]), (&[][..], &[79][..]));
    let mut conf = library.into_os_string();
    conf.push(".conf");
    std::fs::write(conf, "GPUS=2\n1_XID=79\n0_PROCESSES=12:400\n").unwrap();
    let gpus = probe.live().unwrap();
    assert_eq!(gpus[0].processes, Ok(vec![(12, Some(400.0))]));
    assert!(gpus.iter().all(|gpu| gpu.xids.is_empty()));
}

#[test]
fn an_old_driver_lacks_the_further_readings_only() {
    let Some((mut probe, _)) = probe(&["-DFEW_SYMBOLS"], "", PATIENT) else {
        return;
    };
    probe.watch(FURTHER);
    let gpu = probe.live().unwrap().remove(0);
    assert!(gpu.throttle_reasons.is_err() && gpu.processes.is_err() && gpu.xids.is_empty());
    assert_eq!(gpu.vram_total_mib, Ok(12288.0));
}

#[test]
fn one_of_eight_that_hangs_is_pending_and_then_missing_and_keeps_nobody_waiting() {
    let Some((mut probe, library)) = probe(&[], "GPUS=8\n3_HANG_TEMP_C=1\n", PATIENT) else {
        return;
    };
    let begun = Instant::now();
    let others = |gpus: &[Live]| {
        assert_eq!(gpus.len(), 8);
        for (i, gpu) in gpus.iter().enumerate().filter(|(i, _)| *i != 3) {
            assert_eq!((gpu.temp_c.clone(), gpu.pending), (Ok(61.0), false), "{i}");
        }
    };
    // Far longer than seven answers take, far shorter than the eighth may.
    let patience = Duration::from_millis(500);
    for _ in 0..3 {
        let gpus = probe.live_within(patience).unwrap();
        others(&gpus);
        assert!(gpus[3].pending && gpus[3].temp_c.is_err());
        // What it has said before it fell silent.
        assert_eq!(gpus[3].power_w, Ok(95.0));
    }
    assert!(begun.elapsed() < PATIENT);
    let mut probe = Probe::open_library(&library, HASTY).unwrap();
    let first = probe.live().unwrap();
    assert!(!first[3].pending && first[3].power_w == Ok(95.0));
    let later = probe.live().unwrap();
    others(&later);
    let why = later[3].power_w.clone().unwrap_err();
    assert_eq!(why, "NVML did not answer within 0.3 s");
}

#[test]
fn a_driver_that_was_loaded_anew_is_begun_anew() {
    let Some((mut probe, library)) = probe(&[], "GPUS=2\n0_XID=79\n", PATIENT) else {
        return;
    };
    probe.watch(FURTHER);
    assert_eq!(probe.live().unwrap()[0].xids, [79]);
    let mut conf = library.into_os_string();
    conf.push(".conf");
    std::fs::write(conf, "GPUS=3\n0_XID=79\nDRIVER=1\n").unwrap();
    assert!(matches!(probe.live(), Err(ProbeError::Failed { .. })));
    let begun = Instant::now();
    probe.renew();
    let mut gpus = probe.live();
    while gpus.is_err() && begun.elapsed() < PATIENT {
        gpus = probe.live();
    }
    let gpus = gpus.unwrap();
    assert_eq!((gpus.len(), &gpus[0].temp_c), (3, &Ok(61.0)));
    // What it keeps of each GPU is new as well: the stand-in tells its error once for each.
    assert_eq!(gpus[0].xids, [79]);
}
