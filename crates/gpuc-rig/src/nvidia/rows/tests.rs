use super::*;
use proptest::prelude::*;

#[test]
fn live_rows_are_read_in_order() {
    let gpus = live("120.50, 450.00, 55, 8000, 24564, 33\r\n\n10,400,88,99,100,0\n").unwrap();
    assert_eq!(gpus.len(), 2);
    assert_eq!(gpus[0].power_w, Ok(120.5));
    assert_eq!(gpus[0].vram_used_mib, Ok(8000.0));
    assert_eq!(gpus[1].temp_c, Ok(88.0));
    assert_eq!(gpus[1].util_pct, Ok(0.0));
}

#[test]
fn what_is_no_number_is_missing_with_its_reason() {
    // (cell, what the reason quotes)
    let cells = [
        ("[N/A]", "[N/A]"),
        ("N/A", "N/A"),
        ("[Not Supported]", "[Not Supported]"),
        ("[Unknown Error]", "[Unknown Error]"),
        ("[GPU requires reset]", "[GPU requires reset]"),
        ("ERR!", "ERR!"),
        ("", "empty"),
        ("nan", "\"nan\""),
        ("inf", "\"inf\""),
        ("-inf", "\"-inf\""),
        ("1_20", "\"1_20\""),
        ("120 W", "\"120 W\""),
        ("１２０", "no number"),
    ];
    for (cell, quoted) in cells {
        let gpus = live(&format!("{cell}, 450, 55, 8000, 24564, 33\n")).unwrap();
        let why = gpus[0].power_w.clone().unwrap_err();
        assert!(why.contains(quoted), "{cell:?}: {why}");
        assert_eq!(gpus[0].power_limit_w, Ok(450.0), "{cell:?}");
    }
}

#[test]
fn reasons_and_errors_follow_where_they_were_asked_for() {
    let gpus = live("1, 2, 3, 4, 5, 6, 0x0000000000000044, 7\n1, 2, 3, 4, 5, 6, [N/A], [N/A]\n");
    let gpus = gpus.unwrap();
    let reasons = ["sw-power-cap", "hw-thermal-slowdown"].map(String::from);
    assert_eq!(gpus[0].throttle_reasons, Ok(reasons.to_vec()));
    assert_eq!(gpus[0].ecc_errors, Ok(7));
    assert!(gpus[1].throttle_reasons.is_err() && gpus[1].ecc_errors.is_err());
    for cell in ["44", "0x", "0xg", "-0x1"] {
        let gpus = live(&format!("1, 2, 3, 4, 5, 6, {cell}, 7\n")).unwrap();
        assert!(gpus[0].throttle_reasons.is_err(), "{cell}");
    }
}

#[test]
fn processes_are_listed_with_what_is_known_of_their_memory() {
    let rows = "GPU-1f, 12, 300\nGPU-2f, 12, 40\nGPU-1f, 13, [N/A]\n";
    let want = vec![(12, Some(300.0)), (12, Some(40.0)), (13, None)];
    assert_eq!(processes(rows), Ok(want));
    assert_eq!(processes(""), Ok(vec![]));
    assert!(processes("No running processes found").is_err());
}

#[test]
fn an_answer_without_rows_says_why() {
    assert_eq!(live(" \n").unwrap_err(), "it listed no GPU");
    assert!(
        live("Failed to initialize NVML: Unknown Error\n")
            .unwrap_err()
            .contains("1 columns")
    );
    assert!(
        identities("Card, 555.1, 8192\n")
            .unwrap_err()
            .contains("3 columns")
    );
}

#[test]
fn identity_rows() {
    // (row, name, driver, total, capability, lanes)
    let plain = "NVIDIA GeForce RTX 4070, 571.2, 12282, 11020, 8.9, 4, 16";
    let cases = [
        (
            plain,
            Ok("NVIDIA GeForce RTX 4070"),
            "571.2",
            Ok(12282.0),
            Some("8.9"),
            Some(16),
        ),
        (
            "Card, 571.2, 12282, 11020, 8.9",
            Ok("Card"),
            "571.2",
            Ok(12282.0),
            Some("8.9"),
            None,
        ),
        (
            "Card, 571.2, 1, 1, 8.9, 4, 16, 0, x",
            Ok("Card"),
            "571.2",
            Ok(1.0),
            Some("8.9"),
            Some(16),
        ),
        (
            "Ca, rd, 571.2, 12282, 1, 8.9, 4, 16",
            Ok("Ca, rd"),
            "571.2",
            Ok(12282.0),
            Some("8.9"),
            Some(16),
        ),
        (
            "A, 2, B, 571.2, [N/A], [N/A], 12.1, [N/A], 1",
            Ok("A, 2, B"),
            "571.2",
            Err("[N/A]"),
            Some("12.1"),
            Some(1),
        ),
        (
            "[N/A], 571.2, 8, 8, [Not Supported], 4, 16",
            Err("[N/A]"),
            "571.2",
            Ok(8.0),
            None,
            Some(16),
        ),
        (
            ", 571.2, -1, 8, 8.6, 4, 16",
            Err("empty"),
            "571.2",
            Ok(-1.0),
            Some("8.6"),
            Some(16),
        ),
    ];
    for (row, name, driver, total, capability, lanes) in cases {
        let gpu = identities(row).unwrap().remove(0);
        match name {
            Ok(name) => assert_eq!(gpu.name.as_deref(), Ok(name), "{row}"),
            Err(why) => assert!(gpu.name.unwrap_err().contains(why), "{row}"),
        }
        assert_eq!(gpu.driver_version.as_deref(), Ok(driver), "{row}");
        match total {
            Ok(total) => assert_eq!(gpu.vram_total_mib, Ok(total), "{row}"),
            Err(why) => assert!(gpu.vram_total_mib.unwrap_err().contains(why), "{row}"),
        }
        assert_eq!(gpu.compute_capability.as_deref().ok(), capability, "{row}");
        assert_eq!(gpu.pcie_width.ok(), lanes, "{row}");
    }
}

#[test]
fn further_columns_are_taken_when_they_are_about_the_gpus() {
    let row = "GPU-1f, 00000000:01:00.0, 1, 16, 405, 10501, 210, 3105, 12.31, 450.00, 41, \
               [N/A], Disabled";
    let found = details(row, 1).unwrap().remove(0);
    assert_eq!(found.uuid.as_deref(), Ok("GPU-1f"));
    assert_eq!(found.memory_clock_max_mhz, Ok(10501));
    assert_eq!(found.power_w, Ok(12.31));
    assert!(found.ecc.unwrap_err().contains("[N/A]"));
    assert_eq!(found.mig, Ok(false));
    for (output, gpus) in [(row, 2), ("NVIDIA, 1, 8, 8, 8.6, 4, 16", 1), ("", 1)] {
        assert_eq!(details(output, gpus), None, "{output}");
    }
}

proptest! {
    #[test]
    fn any_text_gives_finite_numbers_or_reasons(output in any::<String>(), cells in "[-0-9., /NA\\[\\]nainf\n]*") {
        for output in [&output, &cells] {
            for gpu in live(output).unwrap_or_default() {
                for x in [gpu.power_w, gpu.vram_total_mib, gpu.temp_c].into_iter().flatten() {
                    prop_assert!(x.is_finite());
                }
            }
            let _ = (identities(output), details(output, 1), processes(output));
        }
    }
}
